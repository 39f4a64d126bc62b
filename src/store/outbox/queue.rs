//! The outbox as a queue: accept, claim, record, confirm. The table is the queue; nothing waits in memory.

use rusqlite::{Connection, OptionalExtension, named_params, params};

use crate::model::clock::Millis;
use crate::model::order::{OrderState, Placed, Problem};
use crate::store::outbox::{Outbox, OutboxError};

/// An order to accept.
#[derive(Clone, Debug)]
pub struct NewOrder {
    pub placed: Placed,
    /// Tells a replay from another order under the same key.
    pub body_hash: [u8; 32],
    /// What the storefront sent as `Idempotency-Key`, if it did.
    pub idempotency_key: Option<String>,
}

/// What became of an order at the door.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Accepted {
    /// It is on the disk.
    New { accepted_at: Millis },
    /// It had been accepted before.
    Replay { accepted_at: Millis },
    /// Its key belongs to another order.
    Conflict,
}

/// An order that is ours to send: no other claim on it can exist until its outcome is recorded.
#[derive(Debug)]
pub struct Claimed {
    sequence: i64,
    pub external_id: String,
    pub attempt: u32,
    pub failures: u32,
    /// The org may have it already.
    pub read_back: bool,
    /// [`Placed`] as JSON.
    pub body: String,
}

impl Outbox {
    /// Takes an order; it is on the disk when this returns.
    pub async fn accept(&self, order: NewOrder, now: Millis) -> Result<Accepted, OutboxError> {
        let accepted = self
            .submit(move |connection| accept(connection, &order, now))
            .await?;
        if matches!(accepted, Accepted::New { .. }) {
            self.bell.notify_one();
        }
        Ok(accepted)
    }

    /// Whether the order's key is taken already, and by the same order. A look without waiting for the writer:
    /// [`Outbox::accept`] looks again.
    pub fn earlier(
        &self,
        external_id: &str,
        idempotency_key: Option<&str>,
        body_hash: &[u8; 32],
    ) -> Result<Option<Accepted>, OutboxError> {
        self.read(|connection| earlier(connection, external_id, idempotency_key, body_hash))
    }

    /// Claims up to `most` orders that are due, the longest due first, at most one of a lane.
    pub async fn claim(&self, now: Millis, most: usize) -> Result<Vec<Claimed>, OutboxError> {
        self.submit(move |connection| claim(connection, now, most)).await
    }

    /// Writes down what became of a claim; `false` where it is no longer the order's current one.
    pub async fn record(
        &self,
        claimed: &Claimed,
        state: OrderState,
        now: Millis,
    ) -> Result<bool, OutboxError> {
        let (sequence, attempt) = (claimed.sequence, claimed.attempt);
        self.submit(move |connection| record(connection, sequence, attempt, &state, now))
            .await
    }

    /// Marks sent orders as confirmed; returns how many were.
    pub async fn confirm(&self, sequences: Vec<i64>, now: Millis) -> Result<usize, OutboxError> {
        self.submit(move |connection| confirm(connection, &sequences, now))
            .await
    }
}

fn accept(connection: &Connection, order: &NewOrder, now: Millis) -> rusqlite::Result<Accepted> {
    let key = order.idempotency_key.as_deref();
    if let Some(accepted) = earlier(connection, &order.placed.external_id, key, &order.body_hash)? {
        return Ok(accepted);
    }
    let body = serde_json::to_string(&order.placed)
        .map_err(|error| rusqlite::Error::ToSqlConversionFailure(Box::new(error)))?;
    connection
        .prepare_cached(
            "insert into orders (external_id, idempotency_key, body_hash, store_id, lane, body, state, due_at,
                 accepted_at, updated_at)
             values (:external_id, :idempotency_key, :body_hash, :store_id, :lane, :body, 'queued', :now, :now, :now)",
        )?
        .execute(named_params! {
            ":external_id": order.placed.external_id,
            ":idempotency_key": order.idempotency_key,
            ":body_hash": order.body_hash.as_slice(),
            ":store_id": order.placed.store_id,
            ":lane": order.placed.lane(),
            ":body": body,
            ":now": now,
        })?;
    Ok(Accepted::New { accepted_at: now })
}

/// What the keys were used for before, if they were.
fn earlier(
    connection: &Connection,
    external_id: &str,
    idempotency_key: Option<&str>,
    body_hash: &[u8; 32],
) -> rusqlite::Result<Option<Accepted>> {
    connection
        .prepare_cached(
            "select body_hash, accepted_at from orders where external_id = ?1
             union all
             select body_hash, accepted_at from orders where idempotency_key = ?2 and external_id <> ?1",
        )?
        .query_row(params![external_id, idempotency_key], |row| {
            let same = row.get::<_, Vec<u8>>(0)? == body_hash;
            let accepted_at = row.get(1)?;
            Ok(if same {
                Accepted::Replay { accepted_at }
            } else {
                Accepted::Conflict
            })
        })
        .optional()
}

fn claim(connection: &Connection, now: Millis, most: usize) -> rusqlite::Result<Vec<Claimed>> {
    let mut due = connection.prepare_cached(
        "select sequence, lane, external_id, attempt, failures, read_back, body from orders
         where state in ('queued', 'waiting') and due_at <= ?1
             and not exists (select 1 from orders busy where busy.state = 'sending' and busy.lane = orders.lane)
         order by due_at, sequence",
    )?;
    let mut lanes: Vec<String> = Vec::new();
    let mut claimed = Vec::new();
    let mut rows = due.query([now])?;
    // Stepped rather than limited: neighbours are often of one lane.
    while claimed.len() < most {
        let Some(row) = rows.next()? else { break };
        let lane: String = row.get(1)?;
        if lanes.contains(&lane) {
            continue;
        }
        lanes.push(lane);
        claimed.push(Claimed {
            sequence: row.get(0)?,
            external_id: row.get(2)?,
            attempt: row.get::<_, u32>(3)? + 1,
            failures: row.get(4)?,
            read_back: row.get(5)?,
            body: row.get(6)?,
        });
    }
    drop(rows);
    claimed
        .iter()
        .try_for_each(|order| begin(connection, order, now))?;
    Ok(claimed)
}

fn begin(connection: &Connection, order: &Claimed, now: Millis) -> rusqlite::Result<()> {
    connection
        .prepare_cached(
            "update orders set state = 'sending', attempt = ?2, due_at = null, updated_at = ?3 where sequence = ?1",
        )?
        .execute(params![order.sequence, order.attempt, now])?;
    connection
        .prepare_cached("insert into attempts (order_sequence, attempt, began_at) values (?1, ?2, ?3)")?
        .execute(params![order.sequence, order.attempt, now])?;
    Ok(())
}

/// A state's evidence, as the columns hold it.
#[derive(Default)]
struct Columns<'a> {
    failures: Option<u32>,
    due_at: Option<Millis>,
    read_back: bool,
    salesforce_id: Option<&'a str>,
    problem: Option<&'a Problem>,
}

fn columns(state: &OrderState, now: Millis) -> Columns<'_> {
    match state {
        OrderState::Queued => Columns {
            due_at: Some(now),
            ..Columns::default()
        },
        OrderState::Sending { .. } => Columns::default(),
        OrderState::Waiting {
            failures,
            due_at,
            read_back,
            problem,
        } => Columns {
            failures: Some(*failures),
            due_at: Some(*due_at),
            read_back: *read_back,
            problem: Some(problem),
            ..Columns::default()
        },
        OrderState::Sent { salesforce_id } | OrderState::Confirmed { salesforce_id } => Columns {
            salesforce_id: Some(salesforce_id),
            ..Columns::default()
        },
        OrderState::NeedsAttention { problem } | OrderState::Discarded { problem } => Columns {
            problem: Some(problem),
            ..Columns::default()
        },
    }
}

fn record(
    connection: &Connection,
    sequence: i64,
    attempt: u32,
    state: &OrderState,
    now: Millis,
) -> rusqlite::Result<bool> {
    let columns = columns(state, now);
    let (code, message) = columns
        .problem
        .map(|problem| (&problem.code, &problem.message))
        .unzip();
    let hit = connection
        .prepare_cached(
            "update orders set state = :state, failures = coalesce(:failures, failures), due_at = :due_at,
                 read_back = :read_back, salesforce_id = :salesforce_id, error_code = :code,
                 error_message = :message, updated_at = :now
             where sequence = :sequence and state = 'sending' and attempt = :attempt",
        )?
        .execute(named_params! {
            ":state": state.name(),
            ":failures": columns.failures,
            ":due_at": columns.due_at,
            ":read_back": columns.read_back,
            ":salesforce_id": columns.salesforce_id,
            ":code": code,
            ":message": message,
            ":now": now,
            ":sequence": sequence,
            ":attempt": attempt,
        })?;
    if hit == 0 {
        return Ok(false);
    }
    connection
        .prepare_cached(
            "update attempts set ended_at = ?3, state = ?4, error_code = ?5, error_message = ?6
             where order_sequence = ?1 and attempt = ?2",
        )?
        .execute(params![sequence, attempt, now, state.name(), code, message])?;
    Ok(true)
}

fn confirm(connection: &Connection, sequences: &[i64], now: Millis) -> rusqlite::Result<usize> {
    let mut update = connection.prepare_cached(
        "update orders set state = 'confirmed', updated_at = ?2 where sequence = ?1 and state = 'sent'",
    )?;
    sequences.iter().try_fold(0, |confirmed, sequence| {
        Ok(confirmed + update.execute(params![sequence, now])?)
    })
}

/// Makes orders that were being sent when the process ended due again, to be looked up first.
pub(super) fn recover(connection: &Connection, now: Millis) -> rusqlite::Result<()> {
    let transaction = connection.unchecked_transaction()?;
    let (code, message) = (
        "INTERRUPTED",
        "storesync ended while the order was being sent: it is looked up in the org before it is sent again",
    );
    transaction.execute(
        "update attempts set ended_at = ?1, state = 'waiting', error_code = ?2, error_message = ?3
         where ended_at is null",
        params![now, code, message],
    )?;
    transaction.execute(
        "update orders set state = 'waiting', due_at = ?1, read_back = 1, error_code = ?2, error_message = ?3,
             updated_at = ?1
         where state = 'sending'",
        params![now, code, message],
    )?;
    transaction.commit()
}
