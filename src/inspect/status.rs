//! `storesync status`: how everything stands, from the files alone.
//!
//! The JSON is a contract: keys are added, never renamed. Times are ISO 8601, ages and rates plain numbers with
//! their unit in the name.

use rusqlite::Connection;
use serde_json::{Map, Value, json};

use crate::cli::{Exit, StatusArgs};
use crate::config::Config;
use crate::inspect::{print, print_json, reader};
use crate::model::clock::{Clock, Millis, format_datetime};
use crate::store::cache::cursors::{self, Cursor};
use crate::store::cache::fields::{self, Missing};
use crate::store::cache::loads::{self, Progress};
use crate::store::cache::meta;
use crate::store::cache::objects::{self, ObjectState, State};
use crate::store::cache::repairs::{self, Kind, Repair};
use crate::store::database;
use crate::store::outbox::counts_in;

/// Entries of the ledger that are listed one by one.
const LISTED_MAX: usize = 50;

pub fn run(config: &Config, args: &StatusArgs) -> anyhow::Result<Exit> {
    let dir = &config.state.dir;
    let mut standing = reader(dir)?.with(Standing::read)?;
    // A channel that is no longer followed may have left its position.
    let followed = |topic: &String| config.sync.channels.contains(topic);
    standing.cursors.retain(|cursor| followed(&cursor.topic));
    standing.problems.retain(|(topic, ..)| followed(topic));
    let running = database::is_held(dir);
    let orders = counts_in(dir)?;
    let status = standing.as_json(running, &orders, Clock::System.now());
    if args.json {
        print_json(&status);
    } else {
        print(&as_text(&status));
    }
    Ok(Exit::Ok)
}

/// What one look at the cache gives.
struct Standing {
    org_id: Option<String>,
    instance_url: Option<String>,
    objects: Vec<ObjectState>,
    loads: Vec<Progress>,
    missing: Vec<Missing>,
    cursors: Vec<Cursor>,
    problems: Vec<(String, String, Millis)>,
    open_counts: Vec<(Kind, u64, Millis)>,
    open: Vec<Repair>,
}

impl Standing {
    fn read(connection: &Connection) -> rusqlite::Result<Self> {
        // All of it of one commit.
        let transaction = connection.unchecked_transaction()?;
        let mut open = Vec::new();
        for kind in Kind::ALL {
            open.extend(repairs::open(&transaction, kind, LISTED_MAX)?);
        }
        Ok(Self {
            org_id: meta(&transaction, "org_id")?,
            instance_url: meta(&transaction, "instance_url")?,
            objects: objects::objects(&transaction)?,
            loads: loads::loads(&transaction)?,
            missing: fields::missing(&transaction)?,
            cursors: cursors::cursors(&transaction)?,
            problems: cursors::problems(&transaction)?,
            open_counts: repairs::open_counts(&transaction)?,
            open,
        })
    }

    fn as_json(&self, running: bool, orders: &[(String, i64)], now: Millis) -> Value {
        let orders: Map<String, Value> = orders
            .iter()
            .map(|(state, count)| (state.clone(), (*count).into()))
            .collect();
        let objects: Vec<Value> = self
            .objects
            .iter()
            .map(|object| self.object(object, now))
            .collect();
        let channels: Vec<Value> = self.channels(now);
        json!({
            "running": running,
            "org_id": self.org_id,
            "instance_url": self.instance_url,
            "objects": objects,
            "channels": channels,
            "repairs": self.repairs(now),
            "orders": orders,
        })
    }

    fn object(&self, object: &ObjectState, now: Millis) -> Value {
        let load = self.loads.iter().find(|load| load.object == object.object);
        let missing = self
            .missing
            .iter()
            .filter(|missing| missing.object == object.object);
        let missing =
            missing.map(|missing| json!({"field": missing.field, "since": format_datetime(missing.since)}));
        json!({
            "object": object.object,
            "table": object.table,
            "state": object.state.as_str(),
            "kept_by": if object.streamed { "stream" } else { "poll" },
            "rows": object.rows,
            "lag_seconds": self.lag(object, now),
            "loaded_at": object.loaded_at.map(format_datetime),
            "load": load.map(|load| progress(load, now)),
            "verified_at": object.verified_at.map(format_datetime),
            "drift": object.drift,
            "missing_fields": missing.collect::<Vec<_>>(),
            "problem": object.problem,
        })
    }

    /// How old what is here may be at most: since the org last said anything of it.
    fn lag(&self, object: &ObjectState, now: Millis) -> Option<i64> {
        let current = match object.state {
            State::Waiting | State::Loading => None,
            State::Live | State::Reload if object.streamed => {
                self.cursors.iter().map(|cursor| cursor.heard_at).min()
            }
            State::Live | State::Reload => object.watermark,
        };
        current.map(|current| ((now - current) / 1_000).max(0))
    }

    fn channels(&self, now: Millis) -> Vec<Value> {
        let problem = |topic: &str| self.problems.iter().find(|(of, ..)| of == topic);
        let mut channels: Vec<Value> = self
            .cursors
            .iter()
            .map(|cursor| {
                let left = cursor.replay_window_left(now);
                json!({
                    "topic": cursor.topic,
                    "heard_seconds_ago": ((now - cursor.heard_at) / 1_000).max(0),
                    "position_age_seconds": ((now - cursor.position_at) / 1_000).max(0),
                    "replay_window_left_hours": left / 3_600_000,
                    "replay_window_left_seconds": left / 1_000,
                    "last_commit_at": cursor.committed_at.map(format_datetime),
                    "problem": problem(&cursor.topic).map(|(_, problem, _)| problem),
                })
            })
            .collect();
        let stopped = self
            .problems
            .iter()
            .filter(|(topic, ..)| self.cursors.iter().all(|cursor| cursor.topic != *topic));
        channels.extend(stopped.map(|(topic, problem, _)| json!({"topic": topic, "problem": problem})));
        channels
    }

    fn repairs(&self, now: Millis) -> Value {
        let open: Map<String, Value> = Kind::ALL
            .iter()
            .map(|kind| {
                let count = self.open_counts.iter().find(|(of, ..)| of == kind);
                (
                    kind.as_str().to_owned(),
                    count.map_or(0, |(_, count, _)| *count).into(),
                )
            })
            .collect();
        let oldest = self.open_counts.iter().map(|(.., opened_at)| *opened_at).min();
        let list = self.open.iter().map(|repair| {
            json!({
                "number": repair.number,
                "kind": repair.kind.as_str(),
                "object": repair.object,
                "record_id": repair.record_id,
                "reason": repair.reason,
                "opened_at": format_datetime(repair.opened_at),
                "attempts": repair.attempts,
                "error": repair.error,
            })
        });
        json!({
            "open": open,
            "oldest_seconds": oldest.map(|oldest| ((now - oldest) / 1_000).max(0)),
            "list": list.collect::<Vec<_>>(),
        })
    }
}

/// How far a load is. A load that goes on after a stop counts the pause as its own time.
fn progress(load: &Progress, now: Millis) -> Value {
    let seconds = ((now - load.begun_at) / 1_000).max(1).unsigned_abs();
    let rate = load.rows / seconds;
    let total = load.place.as_ref().map(|place| place.total);
    let left = total.map(|total| total.saturating_sub(load.rows) / rate.max(1));
    json!({
        "rows": load.rows,
        "rows_total": total,
        "rows_per_second": rate,
        "seconds_left": left,
        "begun_at": format_datetime(load.begun_at),
    })
}

/// The same for people.
fn as_text(status: &Value) -> String {
    let running = if status["running"] == true {
        "running"
    } else {
        "not running"
    };
    let mut lines = vec![format!(
        "daemon {running}, org {} at {}",
        words(&status["org_id"]),
        words(&status["instance_url"])
    )];
    lines.extend(list(&status["channels"]).iter().map(channel_line));
    lines.push(format!(
        "{:<40} {:<8} {:<7} {:>9} {:>8}",
        "object", "state", "by", "rows", "lag s"
    ));
    lines.extend(list(&status["objects"]).iter().map(object_line));
    lines.push(counted("open repairs", &status["repairs"]["open"]));
    lines.extend(list(&status["repairs"]["list"]).iter().map(repair_line));
    lines.push(counted("orders", &status["orders"]));
    lines.join("\n") + "\n"
}

fn channel_line(channel: &Value) -> String {
    format!(
        "channel {}: heard {} s ago, position {} s old, {} h left to resume{}",
        words(&channel["topic"]),
        words(&channel["heard_seconds_ago"]),
        words(&channel["position_age_seconds"]),
        words(&channel["replay_window_left_hours"]),
        problem(channel),
    )
}

fn object_line(object: &Value) -> String {
    let mut notes = problem(object);
    let missing = list(&object["missing_fields"]).iter();
    let missing: Vec<String> = missing.map(|field| words(&field["field"])).collect();
    if !missing.is_empty() {
        notes.push_str(&format!("; no longer shown by the org: {}", missing.join(", ")));
    }
    if let Some(load) = object["load"].as_object() {
        let told = ["rows", "rows_total", "seconds_left"].map(|key| words(&load[key]));
        let [rows, total, left] = told;
        notes.push_str(&format!("; loading {rows} of {total} rows, {left} s left"));
    }
    if object["drift"].as_u64().is_some_and(|drift| drift > 0) {
        notes.push_str(&format!("; {} rows differed when last compared", object["drift"]));
    }
    format!(
        "{:<40} {:<8} {:<7} {:>9} {:>8}{notes}",
        words(&object["object"]),
        words(&object["state"]),
        words(&object["kept_by"]),
        words(&object["rows"]),
        words(&object["lag_seconds"]),
    )
}

fn repair_line(repair: &Value) -> String {
    let error = repair["error"].as_str().map(|error| format!(" ({error})"));
    format!(
        "  {} {} {}: {}, since {}{}",
        words(&repair["kind"]),
        words(&repair["object"]),
        words(&repair["record_id"]),
        words(&repair["reason"]),
        words(&repair["opened_at"]),
        error.unwrap_or_default(),
    )
}

fn words(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => "-".to_owned(),
        other => other.to_string(),
    }
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn problem(value: &Value) -> String {
    value["problem"]
        .as_str()
        .map(|problem| format!("; {problem}"))
        .unwrap_or_default()
}

fn counted(what: &str, counts: &Value) -> String {
    let counts = counts.as_object().into_iter().flatten();
    let told: Vec<String> = counts
        .filter(|(_, count)| **count != 0)
        .map(|(name, count)| format!("{count} {name}"))
        .collect();
    if told.is_empty() {
        format!("{what}: none")
    } else {
        format!("{what}: {}", told.join(", "))
    }
}
