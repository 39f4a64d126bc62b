//! How everything stands: one look at the cache, the outbox and what the org last told.
//!
//! The JSON is a contract of `storesync status --json` and of `/status`: keys are added, never renamed. Times are ISO
//! 8601, ages and rates plain numbers with their unit in the name.

use rusqlite::Connection;
use serde_json::{Map, Value, json};

use crate::model::calls::{Calls, Purpose};
use crate::model::clock::{Millis, Moment, format_datetime};
use crate::model::freshness::{State, Truth};
use crate::model::trouble::Hindrances;
use crate::store::allowance::Allowance;
use crate::store::cache::absence::{self, Waiting};
use crate::store::cache::cursors::{self, Cursor};
use crate::store::cache::fields::{self, Missing};
use crate::store::cache::loads::{self, Progress};
use crate::store::cache::meta;
use crate::store::cache::objects::{self, ObjectState};
use crate::store::cache::repairs::{self, Kind, Repair};
use crate::store::holders::Log;
use crate::store::journal::forget;
use crate::store::outbox::InState;
use crate::store::polls::Polls;

/// Entries of the ledger that are listed one by one.
const LISTED_MAX: usize = 50;

/// What one look at the cache gives.
pub struct Standing {
    pub org_id: Option<String>,
    pub instance_url: Option<String>,
    pub instance_name: Option<String>,
    pub objects: Vec<ObjectState>,
    pub loads: Vec<Progress>,
    pub missing: Vec<Missing>,
    /// Removals that wait for a person.
    pub removals: Vec<Waiting>,
    pub cursors: Vec<Cursor>,
    /// Topic, what stands in its way, and since when.
    pub problems: Vec<(String, String, Millis)>,
    /// Kind, how many are open, and when the oldest of them was opened.
    pub open_counts: Vec<(Kind, u64, Millis)>,
    pub open: Vec<Repair>,
    /// How old what readers get may be; empty until told.
    pub truth: Truth,
    /// What only the running daemon knows; empty until told.
    pub hindrances: Hindrances,
    /// Of the outbox, which is another file; empty until told.
    pub orders: Vec<InState>,
    pub allowance: Option<Allowance>,
    /// The API calls that the daemon made.
    pub calls: Option<Calls>,
    /// The write-ahead logs; empty until told.
    pub logs: Vec<Log>,
    pub polls: Option<Polls>,
    /// Of the journal, which is another file; `None` until told.
    pub journal: Option<forget::Standing>,
}

impl Standing {
    /// From one commit of the cache.
    pub fn read(connection: &Connection) -> rusqlite::Result<Self> {
        let transaction = connection.unchecked_transaction()?;
        let mut open = Vec::new();
        for kind in Kind::ALL {
            open.extend(repairs::open(&transaction, kind, LISTED_MAX)?);
        }
        Ok(Self {
            org_id: meta(&transaction, "org_id")?,
            instance_url: meta(&transaction, "instance_url")?,
            instance_name: meta(&transaction, "instance_name")?,
            objects: objects::objects(&transaction)?,
            loads: loads::loads(&transaction)?,
            missing: fields::missing(&transaction)?,
            removals: absence::waiting(&transaction)?,
            cursors: cursors::cursors(&transaction)?,
            problems: cursors::problems(&transaction)?,
            open_counts: repairs::open_counts(&transaction)?,
            open,
            truth: Truth::default(),
            hindrances: Hindrances::default(),
            orders: Vec::new(),
            allowance: None,
            calls: None,
            logs: Vec::new(),
            polls: None,
            journal: None,
        })
    }

    /// Leaves out the channels that are not followed: they may have left their positions.
    pub fn follow_only(&mut self, topics: &[String]) {
        self.cursors.retain(|cursor| topics.contains(&cursor.topic));
        self.problems.retain(|(topic, ..)| topics.contains(topic));
    }

    /// `running` is whether a daemon holds the directory.
    pub fn as_json(&self, running: bool, moment: Moment) -> Value {
        let now = moment.wall;
        let orders: Map<String, Value> = self
            .orders
            .iter()
            .map(|orders| (orders.state.name().to_owned(), orders.count.into()))
            .collect();
        let objects: Vec<Value> = self
            .objects
            .iter()
            .map(|object| self.object(object, moment))
            .collect();
        let channels: Vec<Value> = self.channels(now);
        json!({
            "running": running,
            "state": self.truth.all().state(moment).name(),
            "lag_seconds": self.truth.all().lag_seconds(moment),
            "cause": self.truth.all().cause(moment),
            "orders_problem": self.hindrances.of_orders(),
            "files": self.hindrances.files_as_json(),
            "org_id": self.org_id,
            "instance_url": self.instance_url,
            "instance_name": self.instance_name,
            "objects": objects,
            "channels": channels,
            "repairs": self.repairs(now),
            "orders": orders,
            "outbox": self.outbox(now),
            "polls": self.polls.map(|polls| polls.as_json()),
            "calls": self.calls.as_ref().map(|calls| called(calls, now)),
            "allowance": self.allowance.map(|allowance| allowed(&allowance, now)),
            "logs": self.logs.iter().map(Log::as_json).collect::<Vec<_>>(),
            "journal": self.journal.map(|journal| journalled(&journal, now)),
        })
    }

    /// What is still to be sent, and how long the oldest has waited.
    fn outbox(&self, now: Millis) -> Value {
        let pending = self.orders.iter().filter(|orders| orders.state.is_pending());
        let oldest = pending.clone().map(|orders| orders.oldest_at).min();
        json!({
            "depth": pending.map(|orders| orders.count).sum::<u64>(),
            "oldest_seconds": oldest.map(|oldest| seconds(now - oldest)),
            "damaged": self.orders.iter().map(|orders| orders.damaged).sum::<u64>(),
        })
    }

    fn object(&self, object: &ObjectState, moment: Moment) -> Value {
        let now = moment.wall;
        let standing = self.truth.object(&object.object);
        let load = self.loads.iter().find(|load| load.object == object.object);
        let removal = self
            .removals
            .iter()
            .find(|removal| removal.object == object.object);
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
            // A table that was just made is in the cache before anything is proved of it.
            "freshness": standing.map_or(State::Initializing, |standing| standing.state(moment)).name(),
            "lag_seconds": standing.and_then(|standing| standing.lag_seconds(moment)),
            "cause": standing.and_then(|standing| standing.cause(moment)),
            "last_event_at": object.last_event_at.map(format_datetime),
            "loaded_at": object.loaded_at.map(format_datetime),
            "load": load.map(|load| progress(load, now)),
            "verified_at": object.verified_at.map(format_datetime),
            "drift": object.drift,
            "missing_fields": missing.collect::<Vec<_>>(),
            "removal": removal.map(|removal| json!({
                "rows": removal.rows, "rows_of": removal.of, "reason": removal.reason,
                "since": format_datetime(removal.since),
            })),
            "problem": object.problem.clone().or_else(|| removal.map(Waiting::sentence)),
        })
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
                    "heard_seconds_ago": seconds(now - cursor.heard_at),
                    "position_age_seconds": seconds(now - cursor.position_at),
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
            "oldest_seconds": oldest.map(|oldest| seconds(now - oldest)),
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

/// Within a day, by what the calls were for.
fn called(calls: &Calls, now: Millis) -> Value {
    let of = |purpose: Purpose| (purpose.name().to_owned(), calls.of_a_day(purpose, now).into());
    Purpose::ALL.map(of).into_iter().collect::<Map<_, _>>().into()
}

fn allowed(allowance: &Allowance, now: Millis) -> Value {
    json!({
        "told_seconds_ago": seconds(now - allowance.at),
        "api": {"used": allowance.api.used, "limit": allowance.api.limit},
        "event_deliveries": allowance.deliveries.map(|share| json!({"used": share.used, "limit": share.limit})),
    })
}

/// What is being erased of persons that are gone, and where the journal begins.
fn journalled(journal: &forget::Standing, now: Millis) -> Value {
    json!({
        "erasures_pending": journal.pending,
        "erasures_oldest_seconds": journal.oldest_at.map(|oldest| seconds(now - oldest)),
        "erased_records": journal.erased,
        "unredacted": journal.unredacted,
        "first_event": journal.reaches_back.map(|reach| reach.event + 1),
        "reaches_back_to": journal.reaches_back.map(|reach| format_datetime(reach.at)),
    })
}

fn seconds(millis: Millis) -> i64 {
    (millis / 1_000).max(0)
}
