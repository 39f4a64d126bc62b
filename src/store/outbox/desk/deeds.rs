//! The deeds themselves: which states each is for, and what it leaves.

use rusqlite::{Connection, params};
use serde_json::Value;

use crate::model::clock::Millis;
use crate::model::order::{Problem, card};
use crate::model::said;
use crate::model::state::WriteState;
use crate::model::write::edit::{self, Change};
use crate::model::write::{Kind, Write};
use crate::store::outbox::audit::{self, of_writes};
use crate::store::outbox::damage::{self, shown};
use crate::store::outbox::desk::filter::{self, Filter};
use crate::store::outbox::desk::{Done, PAGE_MAX, Sought, sequence};
use crate::store::outbox::queue::email;
use crate::store::outbox::transitions::{INTERRUPTED, release};
use crate::store::outbox::{ANSWER_AWAITED, held as stock, versions};

/// What a person does, and who it is.
#[derive(Clone, Debug, PartialEq)]
pub struct Deed {
    pub actor: String,
    /// Whom the actor says that it is for.
    pub on_behalf_of: Option<String>,
    /// Why, where that is said and the action has none of its own.
    pub reason: Option<String>,
    pub action: Action,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Sends a parked or waiting write now. It is looked up first, and its attempts count anew.
    Retry { reference: String },
    /// The same for all that a filter takes, so many a second.
    RetryAll { filter: Filter, per_second: u32 },
    /// Changes what is kept by a JSON merge patch.
    Edit { reference: String, patch: Value },
    /// Gives a write up. Whatever waits for it is parked.
    Discard { reference: String, reason: String },
    /// Parks a write again that was given up.
    Reopen { reference: String },
}

/// A write as a deed finds it.
struct Row {
    sequence: i64,
    /// `None` where what is stored is no kind.
    kind: Option<Kind>,
    state: WriteState,
    lane: String,
    parent: Option<i64>,
    /// A request of it may still arrive at the org.
    is_held: bool,
}

impl Deed {
    /// By somebody who acts for nobody else.
    pub fn new(actor: impl Into<String>, action: Action) -> Self {
        Self {
            actor: actor.into(),
            on_behalf_of: None,
            reason: None,
            action,
        }
    }

    /// Why what was said of it is not taken, whoever does it and wherever, as one sentence.
    pub fn refusal(&self) -> Option<String> {
        if let Action::Discard { reason, .. } = &self.action
            && reason.trim().is_empty()
        {
            return Some("reason is missing: say why it is given up".to_owned());
        }
        let [reason, actor, named] = self.said();
        let refusal = said::refusal("reason", reason);
        refusal
            .or_else(|| said::refusal("actor", actor))
            .or_else(|| said::refusal("actor", named))
    }

    /// Why, who, and for whom.
    fn said(&self) -> [&str; 3] {
        let reason = match &self.action {
            Action::Discard { reason, .. } => reason.as_str(),
            _ => self.reason.as_deref().unwrap_or_default(),
        };
        let named = self.on_behalf_of.as_deref().unwrap_or_default();
        [reason, &self.actor, named]
    }

    pub(super) fn run(&self, connection: &Connection, now: Millis) -> rusqlite::Result<Done> {
        if let Some(sentence) = self.refusal() {
            return Ok(Done::Refused(sentence));
        }
        let named = self.said();
        if named.into_iter().any(card::contains) {
            let sentence = "the reason or a name holds a card number: card data is never taken";
            return Ok(Done::Refused(sentence.to_owned()));
        }
        match &self.action {
            Action::Retry { reference } => {
                self.one(connection, reference, |row| self.retry(connection, row, now, now))
            }
            Action::RetryAll { filter, per_second } => self.retry_all(connection, filter, *per_second, now),
            Action::Edit { reference, patch } => self.one(connection, reference, |row| {
                self.edit(connection, row, patch, now)
            }),
            Action::Discard { reference, reason } => self.one(connection, reference, |row| {
                self.discard(connection, row, reason, now)
            }),
            Action::Reopen { reference } => {
                self.one(connection, reference, |row| self.reopen(connection, row, now))
            }
        }
    }

    fn one(
        &self,
        connection: &Connection,
        reference: &str,
        act: impl FnOnce(&Row) -> rusqlite::Result<Done>,
    ) -> rusqlite::Result<Done> {
        match sequence(connection, reference)? {
            Sought::Found(sequence) => act(&row(connection, sequence)?),
            Sought::None => Ok(Done::NoSuchWrite),
            Sought::Several(sentence) => Ok(Done::Refused(sentence)),
        }
    }

    fn retry(
        &self,
        connection: &Connection,
        row: &Row,
        due_at: Millis,
        now: Millis,
    ) -> rusqlite::Result<Done> {
        if row.is_held {
            return Ok(held());
        }
        if !row.state.may_be_retried() {
            return Ok(refused(row, "tried again: only what waits or needs attention is"));
        }
        let given_up = connection
            .prepare_cached("select 1 from writes where sequence = ?1 and state = 'discarded'")?
            .exists([row.parent])?;
        if given_up {
            let sentence = "its order was given up: reopen and retry the order first";
            return Ok(Done::Refused(sentence.to_owned()));
        }
        connection
            .prepare_cached(
                "update writes set state = 'queued', behind = iif(state = 'waiting', behind, 1), failures = 0, due_at = ?2,
                     read_back = read_back or attempt > 0, error_code = null, error_message = null, updated_at = ?3
                 where sequence = ?1",
            )?
            .execute(params![row.sequence, due_at, now])?;
        versions::renew(connection, row.sequence, now)?;
        release(connection, &row.lane)?;
        self.note(connection, row, "retry", None, &[], now)
    }

    fn retry_all(
        &self,
        connection: &Connection,
        filter: &Filter,
        per_second: u32,
        now: Millis,
    ) -> rusqlite::Result<Done> {
        let interval = 1_000.0 / f64::from(per_second.max(1));
        let (mut after, mut count) = (0, 0);
        loop {
            let page = filter::list(connection, filter, after, PAGE_MAX)?;
            let Some(last) = page.last() else { break };
            after = last.sequence;
            for view in page.iter().filter(|view| view.state.may_be_retried()) {
                let row = row(connection, view.sequence)?;
                #[expect(clippy::cast_possible_truncation, reason = "milliseconds of a schedule")]
                let wait = (f64::from(u32::try_from(count).unwrap_or(u32::MAX)) * interval) as Millis;
                if matches!(
                    self.retry(connection, &row, now + wait, now)?,
                    Done::Changed { .. }
                ) {
                    count += 1;
                }
            }
        }
        Ok(Done::Changed {
            count,
            changes: Vec::new(),
        })
    }

    fn edit(&self, connection: &Connection, row: &Row, patch: &Value, now: Millis) -> rusqlite::Result<Done> {
        if row.is_held {
            return Ok(held());
        }
        if !row.state.may_be_changed() {
            return Ok(refused(row, "edited: only what is not sent yet is"));
        }
        let Some((kind, body)) = kept(connection, row)? else {
            let sentence = "what it holds is not what was accepted: discard it, and have the storefront send it again under another key";
            return Ok(Done::Refused(sentence.to_owned()));
        };
        let (write, changes) = match edit::edit(kind, &body, patch) {
            Ok(edited) => edited,
            Err(sentence) => return Ok(Done::Refused(sentence)),
        };
        if changes.is_empty() {
            return Ok(Done::Refused("the edit changes nothing".to_owned()));
        }
        keep(connection, row, &write, now)?;
        self.note(connection, row, "edit", None, &changes, now)
    }

    fn discard(
        &self,
        connection: &Connection,
        row: &Row,
        reason: &str,
        now: Millis,
    ) -> rusqlite::Result<Done> {
        if row.is_held {
            return Ok(held());
        }
        if !row.state.may_be_changed() {
            return Ok(refused(row, "discarded: only what is not sent yet is"));
        }
        let problem = Problem::new("DISCARDED", format!("given up by {}: {reason}", self.actor));
        connection
            .prepare_cached(
                "update writes set state = 'discarded', behind = 0, due_at = null, error_code = coalesce(error_code, ?2),
                     error_message = coalesce(error_message, ?3), updated_at = ?4
                 where sequence = ?1",
            )?
            .execute(params![row.sequence, problem.code, problem.message, now])?;
        let sentence = "its order was given up: discard it too, or reopen the order and retry both";
        connection
            .prepare_cached(
                "update writes set state = 'needs_attention', behind = 0, due_at = null, error_code = 'ORDER_DISCARDED',
                     error_message = ?2, updated_at = ?3
                 where parent = ?1 and state in ('queued', 'waiting')",
            )?
            .execute(params![row.sequence, sentence, now])?;
        stock::release(connection, row.sequence)?;
        release(connection, &row.lane)?;
        self.note(connection, row, "discard", Some(reason), &[], now)
    }

    fn reopen(&self, connection: &Connection, row: &Row, now: Millis) -> rusqlite::Result<Done> {
        if row.state != WriteState::Discarded {
            return Ok(refused(row, "reopened: only what was discarded is"));
        }
        let emptied = connection
            .prepare_cached("select 1 from writes where sequence = ?1 and emptied_at is not null")?
            .exists([row.sequence])?;
        if emptied {
            let sentence =
                "what it held is not kept any more: have the storefront send it again under another key";
            return Ok(Done::Refused(sentence.to_owned()));
        }
        connection
            .prepare_cached(
                "update writes set state = 'needs_attention', updated_at = ?2 where sequence = ?1",
            )?
            .execute(params![row.sequence, now])?;
        // Of a body that is not what was accepted nothing is sent, so that it needs no stock.
        let write = kept(connection, row)?.and_then(|(kind, body)| Write::from_json(kind, &body).ok());
        if let Some(write) = write {
            stock::keep(connection, row.sequence, &write)?;
        }
        self.note(connection, row, "reopen", None, &[], now)
    }

    fn note(
        &self,
        connection: &Connection,
        row: &Row,
        action: &str,
        reason: Option<&str>,
        changes: &[Change],
        now: Millis,
    ) -> rusqlite::Result<Done> {
        let who = (self.actor.as_str(), self.on_behalf_of.as_deref());
        let reason = reason.or(self.reason.as_deref());
        let line = of_writes::line(connection, (row.sequence, action), who, (reason, changes))?;
        audit::append(connection, &line, now)?;
        Ok(Done::Changed {
            count: 1,
            changes: changes.to_vec(),
        })
    }
}

/// What is done to it now would be undone by the request, or pass it.
fn held() -> Done {
    let sentence = "its answer never came and its request may still arrive: wait until it was looked up, some minutes, and see what became of it";
    Done::Refused(sentence.to_owned())
}

fn refused(row: &Row, what: &str) -> Done {
    Done::Refused(format!("a write that is {} cannot be {what}", row.state))
}

fn row(connection: &Connection, sequence: i64) -> rusqlite::Result<Row> {
    connection
        .prepare_cached(
            "select sequence, kind, state, lane, parent, state = 'waiting' and unanswered_at is not null
                 and error_code in (?2, ?3)
             from writes where sequence = ?1",
        )?
        .query_row(params![sequence, ANSWER_AWAITED, INTERRUPTED], |row| {
            Ok(Row {
                sequence: row.get(0)?,
                kind: damage::kind(row, 1)?,
                state: damage::state(row, 2)?,
                lane: shown(row, 3)?.unwrap_or_default(),
                parent: row.get(4)?,
                is_held: row.get(5)?,
            })
        })
}

/// What a write holds; `None` where that is not what was accepted.
fn kept(connection: &Connection, row: &Row) -> rusqlite::Result<Option<(Kind, String)>> {
    let body = connection
        .prepare_cached(
            "select body, checksum, external_id from bodies join writes on sequence = write_sequence where sequence = ?1",
        )?
        .query_row([row.sequence], |found| {
            let Some(kind) = row.kind else { return Ok(None) };
            Ok(damage::body(found, 0, kind, &shown(found, 2)?.unwrap_or_default())
                .ok()
                .map(|body| (kind, body)))
        })?;
    Ok(body)
}

/// Keeps an edited write, in the lane that is its own now.
fn keep(connection: &Connection, row: &Row, write: &Write, now: Millis) -> rusqlite::Result<()> {
    let body = write
        .to_json()
        .map_err(|error| rusqlite::Error::ToSqlConversionFailure(Box::new(error)))?;
    let lane = if row.parent.is_some() {
        row.lane.clone()
    } else {
        write.lane()
    };
    let customer = write
        .customer()
        .and_then(|customer| customer.external_id.as_deref());
    let moves = lane != row.lane;
    connection
        .prepare_cached(
            "update writes set lane = ?2, customer = ?3, updated_at = ?4, email = ?6,
                 behind = iif(?5 and state in ('queued', 'waiting'), 1, behind)
             where sequence = ?1",
        )?
        .execute(params![row.sequence, lane, customer, now, moves, email(write)])?;
    connection
        .prepare_cached("update bodies set body = ?2, checksum = ?3 where write_sequence = ?1")?
        .execute(params![row.sequence, body, damage::checksum(write, &body)])?;
    stock::release(connection, row.sequence)?;
    stock::keep(connection, row.sequence, write)?;
    versions::renew(connection, row.sequence, now)?;
    if moves {
        release(connection, &row.lane)?;
        release(connection, &lane)?;
    }
    Ok(())
}
