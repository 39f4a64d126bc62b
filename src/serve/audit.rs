//! The audit as far as it is written here: what operators read of persons, exports, and who came in.
//!
//! What is read is counted, and written down each minute as one entry for each token, store and kind. What must not be done
//! unseen waits for its entry and is refused without it; all else goes on, and what could not be written is counted.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use axum::Extension;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::Response;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::config::Role;
use crate::model::clock::{Millis, format_datetime};
use crate::serve::operators::Operator;
use crate::serve::problem::Problem;
use crate::serve::{World, query, reply};
use crate::store::outbox::Outbox;
use crate::store::outbox::audit::Line;
use crate::telemetry::metrics::AUDIT_FAILURES;

const MINUTE: Millis = 60_000;

/// Most sums that wait to be written: while the disk is full they grow.
const SUMS_MAX: usize = 10_000;

/// What was read of persons and is not written down yet.
#[derive(Debug, Default)]
pub struct Reads {
    sums: Mutex<Sums>,
    /// The number of the last entry that was told of.
    told: AtomicI64,
}

type Sums = BTreeMap<Read, u64>;

/// What is summed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Read {
    minute: Millis,
    actor: String,
    /// `None` of what is of all stores.
    store: Option<String>,
    kind: String,
}

impl Reads {
    /// Counts one thing that somebody was told.
    pub fn count(&self, now: Millis, actor: &str, store: Option<&str>, kind: &str) {
        let read = Read {
            minute: now - now.rem_euclid(MINUTE),
            actor: actor.to_owned(),
            store: store.map(str::to_owned),
            kind: kind.to_owned(),
        };
        self.add(read, 1);
    }

    fn add(&self, read: Read, count: u64) {
        let mut sums = self.sums.lock().unwrap_or_else(PoisonError::into_inner);
        if sums.len() < SUMS_MAX || sums.contains_key(&read) {
            *sums.entry(read).or_default() += count;
        } else {
            AUDIT_FAILURES.count([]);
        }
    }

    /// Takes out what was read before a time.
    fn take(&self, before: Millis) -> Sums {
        let mut sums = self.sums.lock().unwrap_or_else(PoisonError::into_inner);
        let oldest = Read {
            minute: before,
            actor: String::new(),
            store: None,
            kind: String::new(),
        };
        let later = sums.split_off(&oldest);
        std::mem::replace(&mut sums, later)
    }

    /// Writes down what was read before a time, or keeps it where that fails.
    async fn write_down(&self, outbox: &Outbox, before: Millis, now: Millis) {
        let sums = self.take(before);
        let lines = sums.iter().map(|(read, count)| {
            Line::new(&read.actor, "read")
                .about("kind", Some(read.kind.as_str()))
                .about("store", read.store.as_deref())
                .about("minute", Some(format_datetime(read.minute)))
                .about("count", Some(*count))
        });
        let lines: Vec<Line> = lines.collect();
        if lines.is_empty() {
            return;
        }
        if let Err(error) = outbox.write_down(lines, now).await {
            AUDIT_FAILURES.count([]);
            tracing::error!(%error, "what was read of persons cannot be written to the audit, and is kept for the next try: {error}");
            for (read, count) in sums {
                self.add(read, count);
            }
        }
    }

    /// Tells which entry is the last, where that has changed: whoever keeps it can see whether the end was made anew.
    fn tell_head(&self, outbox: &Outbox) {
        if let Ok(head) = outbox.audit_head()
            && self.told.swap(head.seq, Ordering::Relaxed) != head.seq
        {
            tracing::info!(seq = head.seq, "the head of the audit is {head}");
        }
    }
}

/// Writes down each minute what was read, and what is left when it is stopped.
pub async fn run(world: &World, stop: CancellationToken) {
    let (reads, outbox) = (&world.reads, world.intake.outbox());
    loop {
        let left = MINUTE - world.clock.now().rem_euclid(MINUTE);
        let is_last = tokio::select! {
            () = stop.cancelled() => true,
            () = tokio::time::sleep(Duration::from_millis(left.unsigned_abs())) => false,
        };
        let now = world.clock.now();
        let before = if is_last {
            Millis::MAX
        } else {
            now - now.rem_euclid(MINUTE)
        };
        reads.write_down(outbox, before, now).await;
        reads.tell_head(outbox);
        if is_last {
            return;
        }
    }
}

/// Writes down what goes on even where that fails.
pub async fn note(outbox: &Outbox, line: Line, now: Millis) {
    let deed = line.deed.clone();
    if let Err(error) = outbox.write_down(vec![line], now).await {
        AUDIT_FAILURES.count([]);
        tracing::error!(%error, "{deed} cannot be written to the audit: {error}");
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Asked {
    limit: Option<usize>,
    cursor: i64,
}

/// Entries, the oldest first, without what may be of a person.
pub async fn list(
    State(world): State<World>,
    Extension(operator): Extension<Operator>,
    asked: Result<Query<Asked>, QueryRejection>,
) -> Result<Response, Problem> {
    operator.check(Role::View, true)?;
    let refused = |error: QueryRejection| {
        Problem::bad_request(format!("the query cannot be used: {}", error.body_text()))
    };
    let Query(asked) = asked.map_err(refused)?;
    let limit = query::limit_of_rows(asked.limit)?;
    let entries = world.intake.outbox().audit(asked.cursor, limit)?;
    let full = entries.len() == limit as usize;
    let next = entries.last().filter(|_| full).map(|entry| entry.seq);
    let items: Vec<Value> = entries.iter().map(|entry| entry.json()).collect();
    let body = json!({"items": items, "next": next}).to_string();
    Ok(reply::json(StatusCode::OK, body.into_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_read_is_summed_by_token_store_kind_and_minute() {
        let reads = Reads::default();
        for (now, actor, store) in [
            (59_999, "ana", Some("a")),
            (1, "ana", Some("a")),
            (2, "ana", None),
            (3, "kim", Some("a")),
            (60_000, "ana", Some("a")),
        ] {
            reads.count(now, actor, store, "order");
        }
        let sums = |before| reads.take(before).into_values().collect::<Vec<_>>();
        assert_eq!(sums(60_000), [1, 2, 1]);
        assert!(sums(60_000).is_empty());
        assert_eq!(sums(Millis::MAX), [1]);
    }
}
