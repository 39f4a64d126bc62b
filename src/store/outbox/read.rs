//! What others may see of the outbox.

use std::path::Path;

use rusqlite::{Connection, OptionalExtension, Row, params};

use crate::model::clock::Millis;
use crate::model::order::Problem;
use crate::model::write::Kind;
use crate::store::database::{self, OpenError};
use crate::store::outbox::{KIND, Outbox, OutboxError};

/// A write as it stands, without what it holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct View {
    pub sequence: i64,
    pub kind: Kind,
    pub external_id: String,
    pub store_id: String,
    /// The customer's key.
    pub customer: Option<String>,
    pub state: String,
    pub salesforce_id: Option<String>,
    pub problem: Option<Problem>,
    pub attempts: u32,
    /// When it is tried next, where it waits.
    pub due_at: Option<Millis>,
    pub accepted_at: Millis,
    pub updated_at: Millis,
    /// The key of the order that has to be in the org first, while it is not.
    pub waits_for: Option<String>,
    /// When what it held was dropped, where it was.
    pub emptied_at: Option<Millis>,
}

/// The columns of [`view`], of the table `w`.
pub(super) const VIEW: &str =
    "w.sequence, w.kind, w.external_id, w.store_id, w.customer, w.state, w.salesforce_id, w.error_code,
    w.error_message, w.attempt, w.due_at, w.accepted_at, w.updated_at,
    (select p.external_id from writes p where p.sequence = w.parent and p.state not in ('sent', 'confirmed')),
    w.emptied_at";

/// One attempt to send a write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    pub attempt: u32,
    pub began_at: Millis,
    /// `None` while it runs.
    pub ended_at: Option<Millis>,
    /// The state the write was left in.
    pub state: Option<String>,
    pub problem: Option<Problem>,
    pub request: Option<String>,
    pub response: Option<String>,
}

/// A write that the org has and that has not come back yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sent {
    pub sequence: i64,
    pub kind: Kind,
    pub external_id: String,
    pub salesforce_id: String,
    pub accepted_at: Millis,
    pub sent_at: Millis,
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
        .prepare_cached(
            "select state, count(*) from writes where kind = 'order' group by state order by state",
        )?
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect()
}

impl Outbox {
    /// A write by its kind and key, whatever the key's case.
    pub fn write(&self, kind: Kind, external_id: &str) -> Result<Option<View>, OutboxError> {
        self.read(|connection| {
            connection
                .prepare_cached(&format!(
                    "select {VIEW} from writes w where w.kind = ?1 and w.external_id = ?2"
                ))?
                .query_row(params![kind.name(), external_id], view)
                .optional()
        })
    }

    /// An order by its key.
    pub fn order(&self, external_id: &str) -> Result<Option<View>, OutboxError> {
        self.write(Kind::Order, external_id)
    }

    /// All attempts at a write, the first one first.
    pub fn attempts(&self, sequence: i64) -> Result<Vec<Attempt>, OutboxError> {
        self.read(|connection| attempts(connection, sequence))
    }

    /// How many orders are in each state that any is in.
    pub fn counts(&self) -> Result<Vec<(String, i64)>, OutboxError> {
        self.read(counts)
    }

    /// Every kind and state that any write is in: how many, and when the oldest of them was accepted.
    pub fn census(&self) -> Result<Vec<(Kind, String, i64, Millis)>, OutboxError> {
        self.read(|connection| {
            connection
                .prepare_cached(
                    "select kind, state, count(*), min(accepted_at) from writes group by kind, state",
                )?
                .query_map([], |row| {
                    Ok((kind(row, 0)?, row.get(1)?, row.get(2)?, row.get(3)?))
                })?
                .collect()
        })
    }

    /// When the next write is due, as far as one waits.
    pub fn next_due(&self) -> Result<Option<Millis>, OutboxError> {
        self.read(|connection| {
            connection
                .prepare_cached(
                    "select min(due_at) from writes indexed by writes_due where behind = 0 and state in ('queued', 'waiting')",
                )?
                .query_row([], |row| row.get(0))
        })
    }

    /// Sent writes that are not confirmed, in order of acceptance, after `sequence`.
    pub fn sent_after(&self, sequence: i64, most: u32) -> Result<Vec<Sent>, OutboxError> {
        self.read(|connection| {
            connection
                .prepare_cached(
                    "select sequence, kind, external_id, salesforce_id, updated_at, accepted_at from writes indexed by writes_sent
                     where state = 'sent' and sequence > ?1 order by sequence limit ?2",
                )?
                .query_map(params![sequence, most], |row| {
                    Ok(Sent {
                        sequence: row.get(0)?,
                        kind: kind(row, 1)?,
                        external_id: row.get(2)?,
                        salesforce_id: row.get(3)?,
                        sent_at: row.get(4)?,
                        accepted_at: row.get(5)?,
                    })
                })?
                .collect()
        })
    }
}

pub(super) fn attempts(connection: &Connection, sequence: i64) -> rusqlite::Result<Vec<Attempt>> {
    connection
        .prepare_cached(
            "select attempt, began_at, ended_at, state, error_code, error_message, request, response
             from attempts left join exchanges using (write_sequence, attempt)
             where write_sequence = ?1 order by attempt",
        )?
        .query_map([sequence], |row| {
            Ok(Attempt {
                attempt: row.get(0)?,
                began_at: row.get(1)?,
                ended_at: row.get(2)?,
                state: row.get(3)?,
                problem: problem(row, 4)?,
                request: row.get(6)?,
                response: row.get(7)?,
            })
        })?
        .collect()
}

/// The table's check lets no other name in.
fn kind(row: &Row<'_>, index: usize) -> rusqlite::Result<Kind> {
    let name: String = row.get(index)?;
    Ok(Kind::from_name(&name).unwrap_or(Kind::Order))
}

/// Reads the columns of [`VIEW`].
pub(super) fn view(row: &Row<'_>) -> rusqlite::Result<View> {
    Ok(View {
        sequence: row.get(0)?,
        kind: kind(row, 1)?,
        external_id: row.get(2)?,
        store_id: row.get(3)?,
        customer: row.get(4)?,
        state: row.get(5)?,
        salesforce_id: row.get(6)?,
        problem: problem(row, 7)?,
        attempts: row.get(9)?,
        due_at: row.get(10)?,
        accepted_at: row.get(11)?,
        updated_at: row.get(12)?,
        waits_for: row.get(13)?,
        emptied_at: row.get(14)?,
    })
}

/// A code in column `index` and its message in the next.
fn problem(row: &Row<'_>, index: usize) -> rusqlite::Result<Option<Problem>> {
    let code: Option<String> = row.get(index)?;
    let message: Option<String> = row.get(index + 1)?;
    Ok(code.zip(message).map(|(code, message)| Problem { code, message }))
}
