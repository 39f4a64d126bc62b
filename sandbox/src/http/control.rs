//! `/sandbox/...`: the sandbox's own controls, which no real org has.
//!
//! - `/sandbox/faults`: see [`crate::faults`].
//! - `/sandbox/pubsub/...`: see [`crate::pubsub::control`].
//! - `POST /sandbox/sessions {"life_ms": 60000}` limits the life of tokens issued from then on (null: no limit);
//!   `DELETE` ends all sessions.
//! - `GET /sandbox/stats`: requests by path, and how many orders and order items there are.
//! - `/sandbox/changes`: changes as the platform's insides make them, see [`changes`].
//! - `/sandbox/schema`, `/sandbox/users`, `/sandbox/permissions`: fields and who may see them, see [`schema`].
//! - `/sandbox/rules`, `/sandbox/locks`, `/sandbox/convert`, `/sandbox/merge`: what administrators do, see [`rules`].
//! - `/sandbox/clock`, `/sandbox/commits`, `/sandbox/lists`,
//!   `/sandbox/selection`, `/sandbox/publishing`, `/sandbox/bulk`: see [`settings`].

mod changes;
mod rules;
mod schema;
mod settings;

use std::sync::PoisonError;
use std::sync::atomic::Ordering;
use std::time::Duration;

use serde::Deserialize;
use serde_json::json;

use super::App;
use super::answer::{Answer, Refusal, Reply};
use super::call::Call;
use crate::faults::Plan;
use crate::pubsub;

#[derive(Deserialize)]
struct SessionLife {
    life_ms: Option<u64>,
}

pub fn answer(app: &App, call: &Call) -> Answer {
    match (call.method.as_str(), call.segments().get(1..).unwrap_or_default()) {
        ("GET", ["faults"]) => Ok(Reply::ok(
            json!({ "rules": app.org.faults().list(), "pending": app.org.faults().pending_requests() }),
        )),
        ("POST", ["faults"]) => {
            let plan = Plan::read(call.json()?).map_err(Refusal::parser)?;
            app.org.faults().add(plan);
            Ok(Reply::ok(json!({ "rules": app.org.faults().list() })))
        }
        ("PUT", ["faults"]) => {
            let plan = Plan::read(call.json()?).map_err(Refusal::parser)?;
            app.org.faults().replace(plan);
            Ok(Reply::ok(json!({ "rules": app.org.faults().list() })))
        }
        ("DELETE", ["faults"]) => {
            app.org.faults().clear();
            Ok(Reply::empty(204))
        }
        (_, ["pubsub", rest @ ..]) => pubsub::control::answer(&app.hub, call, rest),
        ("POST", ["sessions"]) => {
            let life = call.parsed::<SessionLife>()?.life_ms.map(Duration::from_millis);
            app.login.sessions.set_life(life);
            Ok(Reply::empty(204))
        }
        ("DELETE", ["sessions"]) => {
            app.login.sessions.expire_all();
            Ok(Reply::empty(204))
        }
        ("GET", ["stats"]) => Ok(stats(app)),
        ("POST", ["changes"]) => changes::make(app, call),
        ("POST", ["schema"]) => schema::change(app, call),
        ("POST", ["users"]) => schema::add_user(app, call),
        ("POST", ["permissions"]) => schema::permit(app, call),
        ("POST", ["locks"]) => rules::lock(app, call),
        ("DELETE", ["locks"]) => {
            app.org.locks().release_all();
            Ok(Reply::empty(204))
        }
        ("POST", ["convert"]) => rules::convert(app, call),
        ("POST", ["merge"]) => rules::merge(app, call),
        (method, [setting]) => settings::answer(app, call, method, setting),
        _ => Err(Refusal::not_found()),
    }
}

fn stats(app: &App) -> Reply {
    let count = |name: &str| {
        let object = app.org.catalog().object(name).map(|object| object.index);
        object.map_or(0, |object| app.org.read(|records| records.count(object)))
    };
    let paths = app.paths.lock().unwrap_or_else(PoisonError::into_inner).clone();
    Reply::ok(json!({
        "requests": app.requests.load(Ordering::Relaxed),
        "paths": paths,
        "orders": count("Order"),
        "order_items": count("OrderItem"),
    }))
}
