//! Reading the journal, from beside the daemon.

use std::path::Path;

use rusqlite::{Connection, OptionalExtension, Row, params};

use crate::model::clock::Millis;
use crate::store::database::{self, OpenError};
use crate::store::journal::KIND;
use crate::store::journal::forget::{self, Reach};
use crate::store::journal::log::KeptCommand;

/// Largest page that is unpacked; none that is taken comes near it.
const PAGE_BYTES_MAX: usize = 256 << 20;

/// An event as it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// Its place in the journal.
    pub number: i64,
    pub topic: String,
    pub replay_id: Vec<u8>,
    pub ordinal: i64,
    pub event_id: String,
    pub schema_id: String,
    pub received_at: Millis,
    pub payload: Vec<u8>,
    /// Fields whose values were taken out of the payload; `*` where nothing is left of it.
    pub redacted: Vec<String>,
}

/// What was applied in one transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeptBatch {
    pub number: i64,
    pub at: Millis,
    /// The newest revision before it.
    pub rev: i64,
    pub last_event: i64,
    pub commands: Vec<KeptCommand>,
}

/// Whole rows that the org answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeptPage {
    pub number: i64,
    pub batch: i64,
    /// The place in its batch of the command that it belongs to.
    pub command: usize,
    pub object: String,
    pub kind: String,
    pub taken_at: Millis,
    pub first_id: String,
    pub last_id: String,
    /// Packed.
    pub body: Vec<u8>,
}

/// A page that can not be unpacked.
#[derive(Debug, thiserror::Error)]
#[error("page {0} of the journal is damaged")]
pub struct Damaged(i64);

impl KeptPage {
    pub fn unpack(&self) -> Result<Vec<u8>, Damaged> {
        unpack(&self.body).ok_or(Damaged(self.number))
    }
}

/// What a page holds; `None` where it is damaged.
pub fn unpack(packed: &[u8]) -> Option<Vec<u8>> {
    let size = packed.first_chunk::<4>().map(|size| u32::from_le_bytes(*size))?;
    if size as usize > PAGE_BYTES_MAX {
        return None;
    }
    lz4_flex::decompress_size_prepended(packed).ok()
}

const EVENT: &str = "select event.number, topic.name, replay_id, ordinal, event_id, schema_id, received_at, payload, \
     redacted from event join topic on topic.number = event.topic";
const BATCH: &str = "select number, at, rev, last_event from batch";
const PAGE: &str = "select number, batch, command, object, kind, taken_at, first_id, last_id, packed \
     from page join body on body.page = page.number";

fn event(row: &Row<'_>) -> rusqlite::Result<Kept> {
    Ok(Kept {
        number: row.get(0)?,
        topic: row.get(1)?,
        replay_id: row.get(2)?,
        ordinal: row.get(3)?,
        event_id: row.get(4)?,
        schema_id: row.get(5)?,
        received_at: row.get(6)?,
        payload: row.get(7)?,
        redacted: names(row.get(8)?),
    })
}

/// Names as the table has them.
fn names(text: Option<String>) -> Vec<String> {
    let text = text.unwrap_or_default();
    text.split_whitespace().map(str::to_owned).collect()
}

fn batch(row: &Row<'_>) -> rusqlite::Result<KeptBatch> {
    Ok(KeptBatch {
        number: row.get(0)?,
        at: row.get(1)?,
        rev: row.get(2)?,
        last_event: row.get(3)?,
        commands: Vec::new(),
    })
}

fn command(row: &Row<'_>) -> rusqlite::Result<KeptCommand> {
    Ok(KeptCommand {
        kind: row.get(0)?,
        version: row.get(1)?,
        body: row.get(2)?,
    })
}

fn page(row: &Row<'_>) -> rusqlite::Result<KeptPage> {
    Ok(KeptPage {
        number: row.get(0)?,
        batch: row.get(1)?,
        command: usize::try_from(row.get::<_, i64>(2)?).unwrap_or(usize::MAX),
        object: row.get(3)?,
        kind: row.get(4)?,
        taken_at: row.get(5)?,
        first_id: row.get(6)?,
        last_id: row.get(7)?,
        body: row.get(8)?,
    })
}

/// Reads `journal.db`. A reading sees all that was committed when it began.
#[derive(Debug)]
pub struct JournalReader {
    connection: Connection,
}

impl JournalReader {
    /// Opens the journal of a state directory. One of an older version has to be opened by the daemon first.
    pub fn open(dir: &Path) -> Result<Self, OpenError> {
        let connection = database::open_reader(dir, KIND)?;
        Ok(Self { connection })
    }

    /// The events at a position; several where the org split one.
    pub fn at(&self, topic: &str, replay_id: &[u8]) -> rusqlite::Result<Vec<Kept>> {
        self.connection
            .prepare_cached(&format!(
                "{EVENT} where topic.name = ?1 and replay_id = ?2 order by ordinal"
            ))?
            .query_map(params![topic, replay_id], event)?
            .collect()
    }

    /// Events from a number on, the oldest first.
    pub fn events(&self, from: i64, limit: usize) -> rusqlite::Result<Vec<Kept>> {
        self.connection
            .prepare_cached(&format!(
                "{EVENT} where event.number >= ?1 order by event.number limit ?2"
            ))?
            .query_map(params![from, bound(limit)], event)?
            .collect()
    }

    /// Events before a number, the newest first.
    pub fn events_before(&self, number: i64, limit: usize) -> rusqlite::Result<Vec<Kept>> {
        self.connection
            .prepare_cached(&format!(
                "{EVENT} where event.number < ?1 order by event.number desc limit ?2"
            ))?
            .query_map(params![number, bound(limit)], event)?
            .collect()
    }

    /// The numbers of the events that the bus gave this id.
    pub fn numbers_named(&self, event_id: &str) -> rusqlite::Result<Vec<i64>> {
        self.connection
            .prepare("select number from event where event_id = ?1 order by number")?
            .query_map([event_id], |row| row.get(0))?
            .collect()
    }

    pub fn event(&self, number: i64) -> rusqlite::Result<Option<Kept>> {
        self.connection
            .prepare_cached(&format!("{EVENT} where event.number = ?1"))?
            .query_row([number], event)
            .optional()
    }

    /// The numbers of the oldest and the newest event; none in an empty journal.
    pub fn bounds(&self) -> rusqlite::Result<Option<(i64, i64)>> {
        self.connection
            .query_row("select min(number), max(number) from event", [], |row| {
                Ok(row.get::<_, Option<i64>>(0)?.zip(row.get::<_, Option<i64>>(1)?))
            })
    }

    /// Where the journal begins; `None` where nothing was removed for its age or for want of room.
    pub fn reaches_back(&self) -> rusqlite::Result<Option<Reach>> {
        forget::reach(&self.connection)
    }

    pub fn page(&self, number: i64) -> rusqlite::Result<Option<KeptPage>> {
        self.connection
            .prepare_cached(&format!("{PAGE} where number = ?1"))?
            .query_row([number], page)
            .optional()
    }

    /// The number of the newest event; 0 where there is none.
    pub fn last_event(&self) -> rusqlite::Result<i64> {
        self.connection
            .query_row("select coalesce(max(number), 0) from event", [], |row| row.get(0))
    }

    /// The newest event that was here when a batch was written.
    pub fn last_event_of(&self, batch: i64) -> rusqlite::Result<Option<i64>> {
        self.connection
            .prepare_cached("select last_event from batch where number = ?1")?
            .query_row([batch], |row| row.get(0))
            .optional()
    }

    /// The number of the first event received at or after an instant.
    pub fn first_since(&self, instant: Millis) -> rusqlite::Result<Option<i64>> {
        self.connection.query_row(
            "select min(number) from event where received_at >= ?1",
            [instant],
            |row| row.get(0),
        )
    }

    /// The numbers of the events at a replay id, on any topic.
    pub fn numbers_at(&self, replay_id: &[u8]) -> rusqlite::Result<Vec<i64>> {
        self.connection
            .prepare("select number from event where replay_id = ?1 order by number")?
            .query_map([replay_id], |row| row.get(0))?
            .collect()
    }

    pub fn schema(&self, id: &str) -> rusqlite::Result<Option<String>> {
        self.connection
            .prepare_cached("select json from schema where schema_id = ?1")?
            .query_row([id], |row| row.get(0))
            .optional()
    }

    pub fn schema_ids(&self) -> rusqlite::Result<Vec<String>> {
        self.connection
            .prepare_cached("select schema_id from schema")?
            .query_map([], |row| row.get(0))?
            .collect()
    }

    /// The events between two numbers, both included, that were written by one of these schemas.
    pub fn events_written_by(
        &self,
        schema_ids: &[String],
        from: i64,
        to: i64,
    ) -> rusqlite::Result<Vec<Kept>> {
        let ids = serde_json::Value::from(schema_ids.to_vec()).to_string();
        self.connection
            .prepare_cached(&format!(
                "{EVENT} where event.number between ?1 and ?2 \
                 and schema_id in (select value from json_each(?3)) order by event.number"
            ))?
            .query_map(params![from, to, ids], event)?
            .collect()
    }

    pub fn schemas(&self) -> rusqlite::Result<Vec<(String, String)>> {
        self.connection
            .prepare("select schema_id, json from schema order by number")?
            .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?
            .collect()
    }

    /// Batches from a number on, the oldest first.
    pub fn batches(&self, from: i64, limit: usize) -> rusqlite::Result<Vec<KeptBatch>> {
        self.filled(
            &format!("{BATCH} where number >= ?1 order by number limit ?2"),
            params![from, bound(limit)],
        )
    }

    pub fn batch(&self, number: i64) -> rusqlite::Result<Option<KeptBatch>> {
        let mut found = self.filled(&format!("{BATCH} where number = ?1"), [number])?;
        Ok(found.pop())
    }

    /// Batches from a number on that have a command of this kind, the oldest first.
    pub fn batches_with(&self, from: i64, kind: &str) -> rusqlite::Result<Vec<KeptBatch>> {
        self.filled(
            &format!(
                "{BATCH} where number in (select batch from command where kind = ?2 and batch >= ?1) order by number"
            ),
            params![from, kind],
        )
    }

    /// The newest batch before a number that has a command of this kind.
    pub fn batch_before(&self, number: i64, kind: &str) -> rusqlite::Result<Option<KeptBatch>> {
        let mut found = self.filled(
            &format!(
                "{BATCH} where number = (select max(batch) from command where kind = ?2 and batch < ?1)"
            ),
            params![number, kind],
        )?;
        Ok(found.pop())
    }

    fn filled(&self, sql: &str, params: impl rusqlite::Params) -> rusqlite::Result<Vec<KeptBatch>> {
        let mut batches = self
            .connection
            .prepare_cached(sql)?
            .query_map(params, batch)?
            .collect::<rusqlite::Result<Vec<_>>>()?;
        let mut commands = self
            .connection
            .prepare_cached("select kind, version, body from command where batch = ?1 order by place")?;
        for batch in &mut batches {
            batch.commands = commands
                .query_map([batch.number], command)?
                .collect::<rusqlite::Result<_>>()?;
        }
        Ok(batches)
    }

    /// The batch that brought an event, and where it is not known the newest.
    pub fn batch_of(&self, event: i64) -> rusqlite::Result<Option<i64>> {
        self.connection
            .prepare_cached("select min(number) from batch where last_event >= ?1")?
            .query_row([event], |row| row.get(0))
    }

    /// The first batch written at or after an instant.
    pub fn batch_since(&self, instant: Millis) -> rusqlite::Result<Option<i64>> {
        self.connection
            .query_row("select min(number) from batch where at >= ?1", [instant], |row| {
                row.get(0)
            })
    }

    pub fn pages_of(&self, batch: i64) -> rusqlite::Result<Vec<KeptPage>> {
        self.connection
            .prepare_cached(&format!("{PAGE} where batch = ?1 order by command"))?
            .query_map([batch], page)?
            .collect()
    }

    /// The pages that may hold a record, the oldest first.
    pub fn pages_with(&self, object: &str, id: &str) -> rusqlite::Result<Vec<KeptPage>> {
        self.connection
            .prepare_cached(&format!(
                "{PAGE} where object = ?1 and first_id <= ?2 and last_id >= ?2 order by number"
            ))?
            .query_map([object, id], page)?
            .collect()
    }

    /// Pages from a number on, the oldest first.
    pub fn pages(&self, from: i64, limit: usize) -> rusqlite::Result<Vec<KeptPage>> {
        self.connection
            .prepare_cached(&format!("{PAGE} where number >= ?1 order by number limit ?2"))?
            .query_map(params![from, bound(limit)], page)?
            .collect()
    }
}

pub(super) fn bound(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}
