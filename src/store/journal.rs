//! `journal.db`: every event as it came off the wire, the schemas they were written by, and what else went
//! through the door.
//!
//! An event is here before its effect is in the cache, so nothing that was received can vanish: what could not
//! be decoded can be looked at and tried again. Appending is idempotent by topic, replay id and the event's
//! number among those that share the replay id. Bounded by age and size: [`forget`] removes the oldest, and the values
//! of persons that are gone, beside the door.
//!
//! [`log`] keeps the order in which things went through the door, and the rows that the org answered, so that
//! the cache can be made again from the journal alone; [`read`] is for those who look at it.

pub mod cut;
pub mod forget;
pub mod import;
pub mod index;
pub mod log;
pub mod read;

use std::collections::HashMap;
use std::path::Path;

use rusqlite::{Connection, Transaction, TransactionBehavior, params};

use crate::model::change::{RawEvent, ReplayId};
use crate::model::clock::Millis;
use crate::store::checkpoint;
use crate::store::database::{self, Kind, OpenError};
use crate::store::journal::log::Run;

pub use crate::store::journal::read::{JournalReader, Kept};

/// The file. Only its owner may read it: payloads hold personal data.
pub const KIND: Kind = Kind {
    file_name: "journal.db",
    application_id: 0x5353_4a31,
    migrations: &[
        include_str!("migrations/journal_1.sql"),
        include_str!("migrations/journal_2.sql"),
        include_str!("migrations/journal_3.sql"),
        include_str!("migrations/journal_4.sql"),
        include_str!("migrations/journal_5.sql"),
    ],
    page_bytes: 4096,
    synchronous: "normal",
    mode: 0o600,
    kept_before_upgrade: false,
};

/// Commits between two looks at the length of the write-ahead log.
const COMMITS_PER_LOG_CHECK: u32 = 8;

/// The writer of `journal.db`.
#[derive(Debug)]
pub struct Journal {
    connection: Connection,
    topics: HashMap<String, Topic>,
    commits: u32,
    keeps_rows: bool,
}

#[derive(Debug)]
struct Topic {
    number: i64,
    last: Option<ReplayId>,
    /// Of the next event that has the same replay id as the last.
    ordinal: i64,
}

/// Events being appended: one transaction.
#[derive(Debug)]
pub struct Append<'j> {
    transaction: Transaction<'j>,
    topics: &'j mut HashMap<String, Topic>,
    received_at: Millis,
}

impl Journal {
    pub fn open(dir: &Path) -> Result<Self, OpenError> {
        let connection = database::open_writer(dir, KIND)?;
        let prepare = || {
            connection.pragma_update(None, "wal_autocheckpoint", 0)?;
            connection.pragma_update(None, "journal_size_limit", checkpoint::LOG_BYTES_MAX)?;
            let mut topics = connection.prepare("select name, number from topic")?;
            let topics = topics.query_map([], |row| {
                Ok((
                    row.get(0)?,
                    Topic {
                        number: row.get(1)?,
                        last: None,
                        ordinal: 0,
                    },
                ))
            })?;
            topics.collect::<Result<HashMap<_, _>, _>>()
        };
        let topics = prepare().map_err(|source| OpenError::of(&dir.join(KIND.file_name), source))?;
        Ok(Self {
            connection,
            topics,
            commits: 0,
            keeps_rows: true,
        })
    }

    /// Whether the rows that the org answered are kept beside the events.
    pub fn keeps_rows(&self) -> bool {
        self.keeps_rows
    }

    /// Without them the journal is smaller, and the cache cannot be made again from it.
    pub fn keep_rows(&mut self, keep: bool) {
        self.keeps_rows = keep;
    }

    /// All schemas, by the id that events name them by.
    pub fn schemas(&self) -> rusqlite::Result<Vec<(String, String)>> {
        let mut statement = self.connection.prepare("select schema_id, json from schema")?;
        statement
            .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?
            .collect()
    }

    /// Begins to append events received at this time.
    pub fn append(&mut self, received_at: Millis) -> rusqlite::Result<Append<'_>> {
        let transaction = self
            .connection
            .transaction_with_behavior(TransactionBehavior::Immediate)?;
        Ok(Append {
            transaction,
            topics: &mut self.topics,
            received_at,
        })
    }

    /// Called after a commit; see [`checkpoint`].
    pub fn bound_log(&mut self) -> rusqlite::Result<()> {
        self.commits = self.commits.wrapping_add(1);
        if self.commits.is_multiple_of(COMMITS_PER_LOG_CHECK) {
            checkpoint::reset_if_long(&self.connection, KIND.page_bytes)?;
        }
        Ok(())
    }
}

/// Names as the table has them; null for none.
fn joined(names: &[String]) -> Option<String> {
    (!names.is_empty()).then(|| names.join(" "))
}

impl Append<'_> {
    pub fn schema(&mut self, id: &str, json: &str) -> rusqlite::Result<()> {
        self.transaction
            .prepare_cached("insert or ignore into schema (schema_id, json) values (?1, ?2)")?
            .execute(params![id, json])?;
        Ok(())
    }

    /// Appends a response's events. `resumed` where it is the first of a subscription, which may bring again
    /// what the last one brought.
    ///
    /// Gives where they are: a known event has kept its number.
    pub fn events(&mut self, name: &str, resumed: bool, events: &[RawEvent]) -> rusqlite::Result<Vec<Run>> {
        let mut runs: Vec<Run> = Vec::new();
        if !self.topics.contains_key(name) {
            self.transaction
                .execute("insert or ignore into topic (name) values (?1)", [name])?;
            let number =
                self.transaction
                    .query_row("select number from topic where name = ?1", [name], |row| {
                        row.get(0)
                    })?;
            self.topics.insert(
                name.to_owned(),
                Topic {
                    number,
                    last: None,
                    ordinal: 0,
                },
            );
        }
        let Some(topic) = self.topics.get_mut(name) else {
            return Ok(runs);
        };
        if resumed {
            topic.last = None;
        }
        let mut statement = self.transaction.prepare_cached(
            "insert into event (topic, replay_id, ordinal, event_id, schema_id, received_at, payload, redacted) \
             values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8) on conflict do nothing",
        )?;
        for event in events {
            topic.ordinal = if topic.last.as_ref() == Some(&event.replay_id) {
                topic.ordinal + 1
            } else {
                0
            };
            topic.last = Some(event.replay_id.clone());
            statement.raw_bind_parameter(1, topic.number)?;
            statement.raw_bind_parameter(2, &event.replay_id.0[..])?;
            statement.raw_bind_parameter(3, topic.ordinal)?;
            statement.raw_bind_parameter(4, event.event_id.as_str())?;
            statement.raw_bind_parameter(5, event.schema_id.as_str())?;
            statement.raw_bind_parameter(6, self.received_at)?;
            statement.raw_bind_parameter(7, &event.payload[..])?;
            statement.raw_bind_parameter(8, joined(&event.redacted))?;
            let number = match statement.raw_execute()? {
                1 => self.transaction.last_insert_rowid(),
                _ => number_of(&self.transaction, topic, &event.replay_id)?,
            };
            match runs.last_mut() {
                Some((first, count)) if *first + *count == number => *count += 1,
                _ => runs.push((number, 1)),
            }
        }
        Ok(runs)
    }

    pub fn commit(self) -> rusqlite::Result<()> {
        self.transaction.commit()
    }
}

/// Of an event that is here already.
fn number_of(connection: &Connection, topic: &Topic, replay_id: &ReplayId) -> rusqlite::Result<i64> {
    connection
        .prepare_cached("select number from event where topic = ?1 and replay_id = ?2 and ordinal = ?3")?
        .query_row(params![topic.number, &replay_id.0[..], topic.ordinal], |row| {
            row.get(0)
        })
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn event(replay_id: &'static [u8], event_id: &str) -> RawEvent {
        RawEvent {
            replay_id: ReplayId(Bytes::from_static(replay_id)),
            event_id: event_id.to_owned(),
            schema_id: "s".to_owned(),
            payload: Bytes::from_static(b"p"),
            redacted: Vec::new(),
        }
    }

    fn count(journal: &Journal) -> i64 {
        journal
            .connection
            .query_row("select count(*) from event", [], |row| row.get(0))
            .unwrap()
    }

    #[test]
    fn appends_once_and_keeps_events_that_share_a_position() {
        let dir = tempfile::tempdir().unwrap();
        let mut journal = Journal::open(dir.path()).unwrap();
        for _ in 0..2 {
            let mut append = journal.append(1).unwrap();
            append.schema("s", "{}").unwrap();
            let first = [event(b"1", "a"), event(b"2", "b"), event(b"2", "c")];
            let runs = append.events("/data/ChangeEvents", true, &first).unwrap();
            assert_eq!(runs, [(1, 3)]);
            let runs = append.events("/data/ChangeEvents", false, &[event(b"2", "d")]);
            assert_eq!(runs.unwrap(), [(4, 1)]);
            append.commit().unwrap();
            assert_eq!(count(&journal), 4);
        }
        drop(journal);
        let journal = Journal::open(dir.path()).unwrap();
        assert_eq!(journal.schemas().unwrap(), [("s".to_owned(), "{}".to_owned())]);
    }
}
