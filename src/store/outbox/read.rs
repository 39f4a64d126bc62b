//! What others may see of the outbox.

use std::path::Path;

use rusqlite::{Connection, OptionalExtension, Row, params};

use crate::model::clock::Millis;
use crate::model::order::Problem;
use crate::store::database::{self, OpenError};
use crate::store::outbox::{KIND, Outbox, OutboxError};

/// An order as it stands, without what it holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OrderView {
    pub external_id: String,
    pub store_id: String,
    pub state: String,
    pub salesforce_id: Option<String>,
    pub problem: Option<Problem>,
    pub attempts: u32,
    /// When it is tried next, where it waits.
    pub due_at: Option<Millis>,
    pub accepted_at: Millis,
    pub updated_at: Millis,
}

/// One attempt to send an order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    pub attempt: u32,
    pub began_at: Millis,
    /// `None` while it runs.
    pub ended_at: Option<Millis>,
    /// The state the order was left in.
    pub state: Option<String>,
    pub problem: Option<Problem>,
}

/// An order that the org has and that has not come back yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SentOrder {
    pub sequence: i64,
    pub salesforce_id: String,
}

/// An order that the org has not confirmed, as its customer sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PendingOrder {
    pub external_id: String,
    pub store_id: String,
    pub state: String,
    pub salesforce_id: Option<String>,
    pub currency: Option<String>,
    pub accepted_at: Millis,
}

/// How many orders are in each state, from beside the daemon; none where there is no outbox yet.
pub fn counts_in(dir: &Path) -> Result<Vec<(String, i64)>, OpenError> {
    if !dir.join(KIND.file_name).exists() {
        return Ok(Vec::new());
    }
    let connection = database::open_reader(dir, KIND)?;
    counts(&connection).map_err(|source| OpenError::Database {
        path: dir.join(KIND.file_name),
        source,
    })
}

fn counts(connection: &Connection) -> rusqlite::Result<Vec<(String, i64)>> {
    connection
        .prepare_cached("select state, count(*) from orders group by state order by state")?
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect()
}

impl Outbox {
    /// An order by its key, whatever the key's case.
    pub fn order(&self, external_id: &str) -> Result<Option<OrderView>, OutboxError> {
        self.read(|connection| {
            connection
                .prepare_cached(
                    "select external_id, store_id, state, salesforce_id, error_code, error_message, attempt, due_at,
                         accepted_at, updated_at
                     from orders where external_id = ?1",
                )?
                .query_row([external_id], order_view)
                .optional()
        })
    }

    /// All attempts at an order, the first one first.
    pub fn attempts(&self, external_id: &str) -> Result<Vec<Attempt>, OutboxError> {
        self.read(|connection| {
            connection
                .prepare_cached(
                    "select a.attempt, a.began_at, a.ended_at, a.state, a.error_code, a.error_message
                     from attempts a join orders o on o.sequence = a.order_sequence
                     where o.external_id = ?1 order by a.attempt",
                )?
                .query_map([external_id], |row| {
                    Ok(Attempt {
                        attempt: row.get(0)?,
                        began_at: row.get(1)?,
                        ended_at: row.get(2)?,
                        state: row.get(3)?,
                        problem: problem(row, 4)?,
                    })
                })?
                .collect()
        })
    }

    /// A customer's orders that the org has not confirmed, by the customer's key or e-mail, whatever their case; the
    /// newest first, at most `most`.
    pub fn pending_of(&self, key: &str, email: &str, most: u32) -> Result<Vec<PendingOrder>, OutboxError> {
        self.read(|connection| {
            connection
                .prepare_cached(
                    "select external_id, store_id, state, salesforce_id, body ->> '$.currency', accepted_at from orders
                     where state in ('queued', 'sending', 'waiting', 'sent', 'needs_attention')
                         and (lane = lower(?1) or lower(body ->> '$.customer.email') = lower(?2))
                     order by sequence desc limit ?3",
                )?
                .query_map(params![key, email, most], |row| {
                    Ok(PendingOrder {
                        external_id: row.get(0)?,
                        store_id: row.get(1)?,
                        state: row.get(2)?,
                        salesforce_id: row.get(3)?,
                        currency: row.get(4)?,
                        accepted_at: row.get(5)?,
                    })
                })?
                .collect()
        })
    }

    /// How many orders are in each state that any is in.
    pub fn counts(&self) -> Result<Vec<(String, i64)>, OutboxError> {
        self.read(counts)
    }

    /// When the next order is due, as far as one waits.
    pub fn next_due(&self) -> Result<Option<Millis>, OutboxError> {
        self.read(|connection| {
            connection
                .prepare_cached(
                    "select due_at from orders
                     where state in ('queued', 'waiting')
                         and not exists (select 1 from orders busy where busy.state = 'sending' and busy.lane = orders.lane)
                     order by due_at, sequence limit 1",
                )?
                .query_row([], |row| row.get(0))
                .optional()
        })
    }

    /// Sent orders that are not confirmed, in order of acceptance, after `sequence`.
    pub fn sent_after(&self, sequence: i64, most: u32) -> Result<Vec<SentOrder>, OutboxError> {
        self.read(|connection| {
            connection
                .prepare_cached(
                    "select sequence, salesforce_id from orders
                     where state = 'sent' and sequence > ?1 order by sequence limit ?2",
                )?
                .query_map(params![sequence, most], |row| {
                    Ok(SentOrder {
                        sequence: row.get(0)?,
                        salesforce_id: row.get(1)?,
                    })
                })?
                .collect()
        })
    }
}

fn order_view(row: &Row<'_>) -> rusqlite::Result<OrderView> {
    Ok(OrderView {
        external_id: row.get(0)?,
        store_id: row.get(1)?,
        state: row.get(2)?,
        salesforce_id: row.get(3)?,
        problem: problem(row, 4)?,
        attempts: row.get(6)?,
        due_at: row.get(7)?,
        accepted_at: row.get(8)?,
        updated_at: row.get(9)?,
    })
}

/// A code in column `index` and its message in the next.
fn problem(row: &Row<'_>, index: usize) -> rusqlite::Result<Option<Problem>> {
    let code: Option<String> = row.get(index)?;
    let message: Option<String> = row.get(index + 1)?;
    Ok(code.zip(message).map(|(code, message)| Problem { code, message }))
}
