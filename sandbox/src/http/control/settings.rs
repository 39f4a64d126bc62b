//! What of the org can be set while it runs. `GET` on each tells how it stands; `POST` answers the same.
//!
//! - `/sandbox/clock`: `{"advance_ms": 3600000}` or `{"to": "2026-11-27T09:00:00Z"}` moves the org's time, and with
//!   it stamps, sessions and the 72 hours that events are kept. It never moves back.
//! - `/sandbox/selection`: `{"entities": ["Account", "Contact"], "max": 10}`: the objects whose changes are
//!   published; more than `max` (5 unless raised: the add-on) are refused.
//! - `/sandbox/publishing`: `{"merge": false, "overflow_after": 1000}`: whether records that changed alike share an
//!   event, and after how many changed fields of a transaction an overflow event stands for the rest (100,000).
//! - `/sandbox/limits`: `{"daily_requests": 100}`: calls of the API within 24 hours of the org's clock; what is
//!   above is refused with REQUEST_LIMIT_EXCEEDED, and `limits` and `Sforce-Limit-Info` tell how many are used.
//! - `/sandbox/bulk`: `{"page_rows": 500}`: rows of a page of bulk results where the client does not say (50,000).
//! - `/sandbox/record_types`: `{"object": "Account", "usable": ["Customer", "PersonAccount"]}`: the record types that
//!   users may use, by developer name, the first as their default.
//! - `/sandbox/transaction`: `{"open": true}`: a transaction of somebody else is under way from now on, which holds
//!   `latestDateCovered` of the lists of changes; what it writes is made by `/sandbox/changes` with `began_ms_ago`.
//! - `/sandbox/lists`: `{"refused": true}`: the lists of what was updated and deleted are refused from then on.
//! - `/sandbox/commits`: `{"keep": 10000}`: so many of the newest commits are kept from now on; `GET` with `?after=7` lists
//!   those after the seventh: what was written, with which stamp, and when others could see it.
//! - `/sandbox/rules`: see [`super::rules`].

use serde::Deserialize;
use serde_json::{Value as Json, json};

use super::super::App;
use super::super::answer::{Answer, Refusal, Reply};
use super::super::call::Call;
use super::changes::object_named;
use crate::clock;

pub(super) fn answer(app: &App, call: &Call, method: &str, setting: &str) -> Answer {
    let posted = match method {
        "POST" => true,
        "GET" => false,
        _ => return Err(Refusal::not_found()),
    };
    let told = match setting {
        "clock" => {
            posted.then(|| move_clock(app, call)).transpose()?;
            json!({ "now": clock::format_datetime(app.org.clock().now()) })
        }
        "selection" => {
            posted.then(|| select(app, call)).transpose()?;
            selection(app)
        }
        "publishing" => {
            posted.then(|| publish(app, call)).transpose()?;
            let settings = app.org.settings();
            json!({ "merge": settings.merge, "overflow_after": settings.overflow_after })
        }
        "rules" => {
            posted.then(|| super::rules::set(app, call)).transpose()?;
            json!(app.org.settings().rules)
        }
        "record_types" => {
            posted.then(|| use_record_types(app, call)).transpose()?;
            json!(app.org.settings().record_types)
        }
        "transaction" => {
            posted.then(|| hold_transaction(app, call)).transpose()?;
            let since = app.org.settings().open_since;
            json!({ "open_since": since.map(clock::format_datetime) })
        }
        "limits" => {
            posted.then(|| limit(app, call)).transpose()?;
            let (used, max) = app.usage.now(app.org.clock().now());
            json!({ "daily_requests": max, "used": used })
        }
        "lists" => {
            posted.then(|| refuse_lists(app, call)).transpose()?;
            json!({ "refused": app.org.settings().lists_refused })
        }
        "commits" => {
            posted.then(|| keep_commits(app, call)).transpose()?;
            let after = call.parameter("after").and_then(|after| after.parse().ok());
            app.org.commits().after(after.unwrap_or(0))
        }
        "bulk" => {
            posted.then(|| cut_pages(app, call)).transpose()?;
            json!({ "page_rows": app.jobs.page_rows() })
        }
        _ => return Err(Refusal::not_found()),
    };
    Ok(Reply::ok(told))
}

fn unusable(message: impl Into<String>) -> Refusal {
    Refusal::new(400, "INVALID_INPUT", message)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Move {
    advance_ms: Option<i64>,
    to: Option<String>,
}

fn move_clock(app: &App, call: &Call) -> Result<(), Refusal> {
    let wanted: Move = call.parsed()?;
    let now = app.org.clock().now();
    let by = match (wanted.advance_ms, wanted.to) {
        (Some(by), None) => by,
        (None, Some(to)) => clock::parse_datetime(&to)
            .map(|to| to - now)
            .ok_or_else(|| unusable(format!("{to} is no date and time with a zone")))?,
        _ => return Err(unusable("give advance_ms or to")),
    };
    if by < 0 {
        return Err(unusable("the org's clock does not move back"));
    }
    if !app.org.advance(by) {
        return Err(unusable("this org runs by the system's clock"));
    }
    Ok(())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Held {
    open: bool,
}

fn hold_transaction(app: &App, call: &Call) -> Result<(), Refusal> {
    let wanted: Held = call.parsed()?;
    let now = app.org.clock().now();
    app.org
        .set(|settings| settings.open_since = wanted.open.then_some(now));
    Ok(())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Selection {
    entities: Vec<String>,
    max: Option<usize>,
}

fn select(app: &App, call: &Call) -> Result<(), Refusal> {
    let wanted: Selection = call.parsed()?;
    let objects = wanted.entities.iter().map(|name| object_named(app, name));
    let objects = objects.collect::<Result<std::collections::BTreeSet<usize>, _>>()?;
    let max = wanted.max.unwrap_or(app.org.settings().entities_max);
    if objects.len() > max {
        let message = format!(
            "{} entities are more than the {max} this org may select",
            objects.len()
        );
        return Err(Refusal::new(400, "LIMIT_EXCEEDED", message));
    }
    app.org.set(|settings| {
        settings.selected = objects;
        settings.entities_max = max;
    });
    Ok(())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RecordTypes {
    object: String,
    usable: Vec<String>,
}

fn use_record_types(app: &App, call: &Call) -> Result<(), Refusal> {
    let wanted: RecordTypes = call.parsed()?;
    object_named(app, &wanted.object)?;
    app.org.set(|settings| {
        settings.record_types.insert(wanted.object, wanted.usable);
    });
    Ok(())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Limits {
    daily_requests: u64,
}

fn limit(app: &App, call: &Call) -> Result<(), Refusal> {
    app.usage.set_max(call.parsed::<Limits>()?.daily_requests);
    Ok(())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Lists {
    refused: bool,
}

fn refuse_lists(app: &App, call: &Call) -> Result<(), Refusal> {
    let wanted: Lists = call.parsed()?;
    app.org.set(|settings| settings.lists_refused = wanted.refused);
    Ok(())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Kept {
    keep: usize,
}

fn keep_commits(app: &App, call: &Call) -> Result<(), Refusal> {
    app.org.commits().keep(call.parsed::<Kept>()?.keep);
    Ok(())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Bulk {
    page_rows: usize,
}

fn cut_pages(app: &App, call: &Call) -> Result<(), Refusal> {
    app.jobs.set_page_rows(call.parsed::<Bulk>()?.page_rows);
    Ok(())
}

fn selection(app: &App) -> Json {
    let settings = app.org.settings();
    let objects = app.org.catalog().objects();
    let names: Vec<&str> = settings
        .selected
        .iter()
        .map(|at| objects[*at].name.as_str())
        .collect();
    json!({ "entities": names, "max": settings.entities_max })
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Publishing {
    merge: Option<bool>,
    overflow_after: Option<usize>,
}

fn publish(app: &App, call: &Call) -> Result<(), Refusal> {
    let wanted: Publishing = call.parsed()?;
    app.org.set(|settings| {
        settings.merge = wanted.merge.unwrap_or(settings.merge);
        settings.overflow_after = wanted.overflow_after.unwrap_or(settings.overflow_after);
    });
    Ok(())
}
