//! What others may see of the outbox.

use std::collections::BTreeMap;

use rusqlite::{Connection, OptionalExtension, Row, params};
use serde::{Deserialize, Serialize};

use crate::model::clock::Millis;
use crate::model::order::Problem;
use crate::model::state::WriteState;
use crate::model::write::Kind;
use crate::store::outbox::damage::{self, exact, shown, unreadable};
use crate::store::outbox::{Outbox, OutboxError, StoreKey};

/// A member that is in no record of the org's, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NotWritten {
    pub field: String,
    pub why: String,
}

impl NotWritten {
    pub fn new(field: impl Into<String>, why: impl Into<String>) -> Self {
        Self {
            field: field.into(),
            why: why.into(),
        }
    }
}

/// A write as it stands, without what it holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct View {
    pub sequence: i64,
    /// `None` where what is stored is no kind.
    pub kind: Option<Kind>,
    /// The store's key of it.
    pub external_id: String,
    /// The org's key of it, where another store used the same key first.
    pub org_key: Option<String>,
    pub store_id: String,
    /// The customer's key.
    pub customer: Option<String>,
    pub state: WriteState,
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
    /// What was left out of the request that was sent last, because of what the org has.
    pub not_written: Vec<NotWritten>,
}

impl View {
    pub fn kind_name(&self) -> &'static str {
        self.kind.map_or("unreadable", Kind::name)
    }
}

/// The columns of [`view`], of the table `w`.
pub(super) const VIEW: &str =
    "w.sequence, w.kind, w.external_id, w.store_id, w.customer, w.state, w.salesforce_id, w.error_code,
    w.error_message, w.attempt, w.due_at, w.accepted_at, w.updated_at,
    (select p.external_id from writes p where p.sequence = w.parent and p.state not in ('sent', 'confirmed')),
    w.emptied_at, w.org_key, w.not_written";
/// How many columns those are.
pub(super) const VIEW_COLUMNS: usize = 17;

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
    pub store_id: String,
    /// The org's key of it, where that is not the store's own.
    pub org_key: Option<String>,
    pub salesforce_id: String,
    pub accepted_at: Millis,
    pub sent_at: Millis,
}

fn counts(connection: &Connection) -> rusqlite::Result<Vec<(WriteState, i64)>> {
    let mut counts: BTreeMap<WriteState, i64> = BTreeMap::new();
    let mut statement = connection
        .prepare_cached("select state, count(*) from writes where kind = 'order' group by state")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        *counts.entry(damage::state(row, 0)?).or_default() += row.get::<_, i64>(1)?;
    }
    Ok(counts.into_iter().collect())
}

impl Outbox {
    /// A write by what its store calls it.
    pub fn write(&self, key: StoreKey<'_>) -> Result<Option<View>, OutboxError> {
        self.read(|connection| {
            connection
                .prepare_cached(&format!(
                    "select {VIEW} from writes w where w.kind = ?1 and w.external_id = ?2 and w.store_id = ?3"
                ))?
                .query_row(params![key.kind.name(), key.external_id, key.store_id], view)
                .optional()
        })
    }

    /// All attempts at a write, the first one first.
    pub fn attempts(&self, sequence: i64) -> Result<Vec<Attempt>, OutboxError> {
        self.read(|connection| attempts(connection, sequence))
    }

    /// How many orders are in each state that any is in.
    pub fn counts(&self) -> Result<Vec<(WriteState, i64)>, OutboxError> {
        self.read(counts)
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

    /// Sent writes that are not confirmed, in order of acceptance, after `sequence`; of those that cannot be read,
    /// the sequence.
    pub fn sent_after(&self, sequence: i64, most: u32) -> Result<Vec<Result<Sent, i64>>, OutboxError> {
        self.read(|connection| {
            connection
                .prepare_cached(
                    "select sequence, kind, external_id, salesforce_id, updated_at, accepted_at, store_id, org_key
                     from writes indexed by writes_sent
                     where state = 'sent' and sequence > ?1 order by sequence limit ?2",
                )?
                .query_map(params![sequence, most], |row| {
                    let sequence = row.get(0)?;
                    Ok(sent(row, sequence).map_err(|_| sequence))
                })?
                .collect()
        })
    }
}

fn sent(row: &Row<'_>, sequence: i64) -> Result<Sent, Problem> {
    let time = |index| row.get(index).map_err(|_| unreadable("a time"));
    Ok(Sent {
        sequence,
        kind: Kind::from_name(exact(row, 1, "a kind")?).ok_or_else(|| unreadable("a kind"))?,
        external_id: exact(row, 2, "a key")?.to_owned(),
        salesforce_id: exact(row, 3, "an id")?.to_owned(),
        sent_at: time(4)?,
        accepted_at: time(5)?,
        store_id: exact(row, 6, "a store")?.to_owned(),
        org_key: shown(row, 7).map_err(|_| unreadable("a key"))?,
    })
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
                state: shown(row, 3)?,
                problem: problem(row, 4)?,
                request: shown(row, 6)?,
                response: shown(row, 7)?,
            })
        })?
        .collect()
}

/// Reads the columns of [`VIEW`], as far as they can be read.
pub(super) fn view(row: &Row<'_>) -> rusqlite::Result<View> {
    let kind = damage::kind(row, 1)?;
    let problem = match (kind, problem(row, 7)?) {
        (None, None) => Some(unreadable("a kind")),
        (_, problem) => problem,
    };
    Ok(View {
        sequence: row.get(0)?,
        kind,
        external_id: shown(row, 2)?.unwrap_or_default(),
        store_id: shown(row, 3)?.unwrap_or_default(),
        customer: shown(row, 4)?,
        state: damage::state(row, 5)?,
        salesforce_id: shown(row, 6)?,
        problem,
        attempts: row.get(9)?,
        due_at: row.get(10)?,
        accepted_at: row.get(11)?,
        updated_at: row.get(12)?,
        waits_for: shown(row, 13)?,
        emptied_at: row.get(14)?,
        org_key: shown(row, 15)?,
        not_written: not_written(shown(row, 16)?),
    })
}

/// None where what is there cannot be read.
fn not_written(text: Option<String>) -> Vec<NotWritten> {
    let read = text.and_then(|text| serde_json::from_str(&text).ok());
    read.unwrap_or_default()
}

/// A code in column `index` and its message in the next.
fn problem(row: &Row<'_>, index: usize) -> rusqlite::Result<Option<Problem>> {
    let (code, message) = (shown(row, index)?, shown(row, index + 1)?);
    Ok(code.zip(message).map(|(code, message)| Problem { code, message }))
}
