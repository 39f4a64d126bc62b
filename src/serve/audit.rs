//! The audit as far as it is written here: what operators read of persons, exports, who came in and who did not; and how long
//! it is kept.
//!
//! What is read or refused is counted, and written down each minute as one entry for each thing that is told apart ([`sums`]).
//! What must not be done unseen waits for its entry and is refused without it; all else goes on, and what could not be written
//! is counted.

pub mod sums;

use std::sync::atomic::{AtomicI64, Ordering};
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
use crate::model::clock::Millis;
use crate::serve::audit::sums::{Lack, Summed, Sums, Who, left_of_minute, minute_of};
use crate::serve::connection::Source;
use crate::serve::operators::Operator;
use crate::serve::problem::Problem;
use crate::serve::{World, query, reply};
use crate::store::outbox::audit::removal::Step;
use crate::store::outbox::audit::{Head, Line};
use crate::store::outbox::{Outbox, OutboxError};
use crate::telemetry::metrics::AUDIT_FAILURES;

const DAY: Millis = 24 * 3_600_000;

/// What is not written to the audit yet, and how long its entries are kept.
#[derive(Debug, Default)]
pub struct Audit {
    reads: Sums,
    /// Apart, so that they take no place of the reads where neither can be written.
    refusals: Sums,
    /// 0 for ever.
    days: u32,
    /// The number of the last entry that was told of.
    told: AtomicI64,
}

impl Audit {
    /// Whose entries are kept for so many days.
    pub fn new(days: u32) -> Self {
        Self {
            days,
            ..Self::default()
        }
    }

    /// Counts what an answer at the operators' listener refuses, where it does: of a token by its name, else of the address.
    pub fn count_refused(&self, now: Millis, answer: &Response, name: Option<&str>, source: Option<Source>) {
        if let Some(lack) = answer.extensions().get::<Lack>() {
            self.refused(now, *lack, name, source);
        }
    }

    pub fn refused(&self, now: Millis, lack: Lack, name: Option<&str>, source: Option<Source>) {
        let who = match name {
            Some(name) => Who::Token(name.to_owned()),
            None => Who::Address(source.unwrap_or(Source::Here)),
        };
        self.refusals.count(now, Summed::Refused { who, lack });
    }

    /// Counts one thing that somebody was told of a person.
    pub fn read(&self, now: Millis, actor: &str, store: Option<&str>, kind: &str) {
        let read = Summed::Read {
            actor: actor.to_owned(),
            store: store.map(str::to_owned),
            kind: kind.to_owned(),
        };
        self.reads.count(now, read);
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

/// The removal of what is old: begun once a day, some entries a minute until there are no more.
#[derive(Debug, Default)]
struct Removal {
    /// When it is begun next.
    due_at: Option<Millis>,
    /// How many went since it was begun, and the last of them.
    gone: Option<(usize, Head)>,
}

impl Removal {
    /// Removes some entries where it is time for that. None of them is newer than the head that the log was told.
    async fn step(&mut self, audit: &Audit, outbox: &Outbox, now: Millis) {
        // A clock that was set back may have stood a long way ahead.
        let is_due = self.due_at.is_none_or(|at| now >= at || now < at - DAY);
        if audit.days == 0 || !is_due {
            return;
        }
        let before = now - Millis::from(audit.days) * DAY;
        let known = audit.told.load(Ordering::Relaxed);
        match outbox.shorten_audit(before, known, now).await {
            Ok(Step::Done { count, last, is_full }) => {
                let gone = self.gone.take().map_or(0, |(gone, _)| gone);
                self.gone = Some((gone + count, last));
                if is_full {
                    return;
                }
            }
            Ok(Step::Nothing) => {}
            Ok(Step::Broken { seq, why }) => tracing::error!(
                seq,
                "no entry of the audit is removed because of its age, since entry {seq} is not to be trusted ({why}): see storesync audit verify"
            ),
            // The writer has told of it.
            Err(OutboxError::Write(_)) => return,
            Err(error) => {
                tracing::warn!(%error, "old entries of the audit cannot be removed: {error}");
                return;
            }
        }
        if let Some((count, last)) = self.gone.take() {
            let days = audit.days;
            tracing::info!(
                count,
                "{count} entries of the audit that were older than [state] audit_days = {days} were removed, up to {last}"
            );
        }
        self.due_at = Some(now + DAY);
    }
}

/// Writes down each minute what was read and refused, and what is left when it is stopped; removes what is old.
pub async fn run(world: &World, stop: CancellationToken) {
    let (audit, outbox) = (&world.audit, world.intake.outbox());
    let mut removal = Removal::default();
    loop {
        let left = left_of_minute(world.clock.now());
        let is_last = tokio::select! {
            () = stop.cancelled() => true,
            () = tokio::time::sleep(Duration::from_millis(left.unsigned_abs())) => false,
        };
        let now = world.clock.now();
        let before = if is_last { Millis::MAX } else { minute_of(now) };
        audit.reads.write_down(outbox, before, now).await;
        audit.refusals.write_down(outbox, before, now).await;
        audit.tell_head(outbox);
        if is_last {
            return;
        }
        removal.step(audit, outbox, now).await;
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
