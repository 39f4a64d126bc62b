//! `/sandbox/pubsub/...`: what a test sets up on the Pub/Sub side, in one's own words.
//!
//! - `POST channels {"name": "Shop__chn", "members": [{"object": "Account", "enriched": ["Industry"]}]}` makes a
//!   custom channel, or makes it anew; its topic is `/data/Shop__chn`. `GET` lists them, `DELETE channels/Shop__chn`
//!   removes one.
//! - `POST permissions {"hidden": ["Account"]}`: the user may see the events of all objects but these.
//! - `POST deliveries {"daily_max": 100}`: events that may be delivered in 24 hours, to all subscribers together
//!   (null: no limit). `GET` tells what was delivered, and to which calls.
//! - `POST managed {"developerName": "Shop", "topicName": "/data/ChangeEvents", "defaultReplay": "EARLIEST",
//!   "errorRecoveryReplay": "LATEST", "state": "RUN"}` sets a managed subscription up, or changes it. `GET` lists
//!   them with the replay ids that were committed.
//! - `POST migrate`: the log starts anew, as the fault `migrate` has it.
//!
//! With `--data` all of it comes back after a restart, together with the org.

use serde::Deserialize;
use serde_json::json;

use super::channels;
use super::hub::Hub;
use super::managed;
use crate::http::answer::{Answer, Refusal, Reply};
use crate::http::call::Call;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Permissions {
    hidden: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Allocation {
    daily_max: Option<u64>,
}

pub fn answer(hub: &Hub, call: &Call, rest: &[&str]) -> Answer {
    let answer = set_or_tell(hub, call, rest);
    if answer.is_ok() && call.method != "GET" {
        hub.keep();
    }
    answer
}

fn set_or_tell(hub: &Hub, call: &Call, rest: &[&str]) -> Answer {
    match (call.method.as_str(), rest) {
        ("GET", ["channels"]) => Ok(Reply::ok(hub.channels.list(&hub.org))),
        ("POST", ["channels"]) => {
            let definition: channels::Definition = call.parsed()?;
            let topic = hub.channels.define(&hub.org, definition).map_err(refused)?;
            Ok(Reply::json(201, json!({ "topic": topic })))
        }
        ("DELETE", ["channels", name]) if hub.channels.remove(name) => Ok(Reply::empty(204)),
        ("POST", ["permissions"]) => {
            let permissions: Permissions = call.parsed()?;
            hub.channels
                .hide(&hub.org, &permissions.hidden)
                .map_err(refused)?;
            Ok(Reply::empty(204))
        }
        ("GET", ["deliveries"]) => Ok(Reply::ok(hub.deliveries.list())),
        ("POST", ["deliveries"]) => {
            hub.deliveries.limit(call.parsed::<Allocation>()?.daily_max);
            Ok(Reply::empty(204))
        }
        ("GET", ["managed"]) => Ok(Reply::ok(json!({ "subscriptions": hub.managed.list() }))),
        ("POST", ["managed"]) => {
            let definition: managed::Definition = call.parsed()?;
            hub.managed.define(hub, definition).map_err(refused)?;
            Ok(Reply::empty(204))
        }
        ("POST", ["migrate"]) => {
            hub.org.bus().reset();
            Ok(Reply::empty(204))
        }
        _ => Err(Refusal::not_found()),
    }
}

fn refused(reason: String) -> Refusal {
    Refusal::new(400, "INVALID_INPUT", reason)
}
