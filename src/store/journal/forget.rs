//! Taking out of the journal what it is to forget, beside the door: single persons, and what is too old or too much.
//!
//! A second writer of the file, whose transactions are small, so that the door waits for one at most some
//! milliseconds. What is deleted is overwritten (`secure_delete`, set where databases are opened), and once something
//! was erased both logs are emptied, since they hold pages as they were.

mod prune;
mod scrub;

use std::path::Path;

use rusqlite::{Connection, OptionalExtension, TransactionBehavior, params};

use crate::model::clock::Millis;
use crate::store::database::{self, OpenError};
use crate::store::journal::{KIND, joined};
use crate::store::{cache, checkpoint};

pub use prune::Keep;

/// The first schema that has what is asked here.
const FIRST_SCHEMA: i64 = 3;

/// The mark of when the first of the records that are being erased was asked for.
const ERASING_ASKED_AT: &str = "erasing_asked_at";

/// Something was erased, and what pages hold beside their rows was not overwritten since.
const UNSCRUBBED: &str = "unscrubbed";

/// Records being erased.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Erasing {
    pub object: String,
    pub record_ids: Vec<String>,
    pub key: Vec<u8>,
    pub last_batch: i64,
    pub last_event: i64,
    /// 0 until the texts that came as differences are done.
    pub next_event: i64,
    pub next_page: i64,
}

/// A page whose number, and place in the order, is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rewritten<'p> {
    pub number: i64,
    pub packed: &'p [u8],
}

/// An event that gets other bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rewrite {
    pub number: i64,
    pub payload: Vec<u8>,
    /// What is noted to be taken out of it, where that is more than before.
    pub redacted: Option<&'static str>,
}

/// An event without values that may not be kept, and whose fields those are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Redacted {
    pub number: i64,
    pub payload: Vec<u8>,
    pub fields: Vec<String>,
}

/// What a look found.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// Object and id: to be erased.
    pub records: &'a [(String, String)],
    /// Events that get other bytes at once.
    pub events: &'a [Rewrite],
}

/// What is being forgotten, for people.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// Records that wait to be erased.
    pub pending: u64,
    /// When the oldest of them was asked for.
    pub oldest_at: Option<Millis>,
    /// Records erased since the journal was made.
    pub erased: u64,
    /// Events and pages that are still to be gone through for values that may not be kept any more.
    pub unredacted: u64,
    /// Where the journal begins; `None` where nothing was pruned.
    pub reaches_back: Option<Reach>,
}

/// Where the journal begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reach {
    /// The newest event and the newest batch that are gone, and when that batch was written.
    pub event: i64,
    pub batch: i64,
    pub at: Millis,
}

fn standing(connection: &Connection) -> rusqlite::Result<Standing> {
    let (pending, oldest_at) =
        connection.query_row("select count(*), min(asked_at) from erasure", [], |row| {
            Ok((row.get::<_, i64>(0)?, row.get(1)?))
        })?;
    let under_way: i64 = connection.query_row(
        "select coalesce(sum(json_array_length(record_ids)), 0) from erasing",
        [],
        |row| row.get(0),
    )?;
    let oldest_at: Option<Millis> = oldest_at;
    let begun = mark(connection, ERASING_ASKED_AT)?;
    let begun = (under_way > 0 && begun > 0).then_some(begun);
    Ok(Standing {
        pending: (pending + under_way).unsigned_abs(),
        oldest_at: oldest_at.into_iter().chain(begun).min(),
        erased: mark(connection, "erased")?.unsigned_abs(),
        unredacted: unredacted(connection)?.unsigned_abs(),
        reaches_back: reach(connection)?,
    })
}

/// The rules by which the journal was gone through, and those by which it is being.
pub const REDACTED_BY: &str = "redacted_by";
pub const REDACTING_BY: &str = "redacting_by";
/// How far.
pub const REDACTED_EVENT: &str = "redacted_event";
pub const REDACTED_PAGE: &str = "redacted_page";

fn unredacted(connection: &Connection) -> rusqlite::Result<i64> {
    if mark(connection, REDACTING_BY)? == mark(connection, REDACTED_BY)? {
        return Ok(0);
    }
    let left = |table: &str, name: &str| {
        let sql = format!("select coalesce(max(number), 0) from {table}");
        let last: i64 = connection.query_row(&sql, [], |row| row.get(0))?;
        Ok::<_, rusqlite::Error>((last - mark(connection, name)?).max(0))
    };
    Ok(left("event", REDACTED_EVENT)? + left("page", REDACTED_PAGE)?)
}

pub(super) fn reach(connection: &Connection) -> rusqlite::Result<Option<Reach>> {
    let batch = mark(connection, "pruned_batch")?;
    if batch == 0 {
        return Ok(None);
    }
    Ok(Some(Reach {
        batch,
        event: mark(connection, "pruned_event")?,
        at: mark(connection, "pruned_at")?,
    }))
}

/// [`Standing`] of the journal of a state directory, from beside the daemon; `None` where there is none yet, or only one
/// that a version before wrote.
pub fn standing_in(dir: &Path) -> Result<Option<Standing>, OpenError> {
    let path = dir.join(KIND.file_name);
    if !path.exists() {
        return Ok(None);
    }
    let connection = database::open_reader(dir, KIND)?;
    let read = || {
        let version: i64 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
        (version >= FIRST_SCHEMA)
            .then(|| standing(&connection))
            .transpose()
    };
    read().map_err(|source| OpenError::of(&path, source))
}

fn mark(connection: &Connection, name: &str) -> rusqlite::Result<i64> {
    let value = connection
        .prepare_cached("select value from mark where name = ?1")?
        .query_row([name], |row| row.get(0))
        .optional()?;
    Ok(value.unwrap_or(0))
}

pub(super) fn set_mark(connection: &Connection, name: &str, value: i64) -> rusqlite::Result<()> {
    connection
        .prepare_cached(
            "insert into mark values (?1, ?2) on conflict (name) do update set value = excluded.value",
        )?
        .execute(params![name, value])?;
    Ok(())
}

/// The writer beside the door's.
#[derive(Debug)]
pub struct Forgetting {
    connection: Connection,
    /// For emptying the cache's log alone.
    cache: Connection,
}

impl Forgetting {
    /// For a state directory whose files the daemon has made.
    pub fn open(dir: &Path) -> Result<Self, OpenError> {
        let connection = database::open_writer(dir, KIND)?;
        let cache = database::open_writer(dir, cache::KIND)?;
        for (connection, kind) in [(&connection, KIND), (&cache, cache::KIND)] {
            // Checkpoints are the checkpointer's.
            connection
                .pragma_update(None, "wal_autocheckpoint", 0)
                .map_err(|source| OpenError::of(&dir.join(kind.file_name), source))?;
        }
        Ok(Self { connection, cache })
    }

    pub fn mark(&self, name: &str) -> rusqlite::Result<i64> {
        mark(&self.connection, name)
    }

    /// Events and pages that are still to be gone through.
    pub fn unredacted(&self) -> rusqlite::Result<u64> {
        unredacted(&self.connection).map(i64::unsigned_abs)
    }

    /// Asks for records to be erased, and notes how far was looked for more.
    pub fn ask(&mut self, asked: &Asked<'_>, looked: (&str, i64), now: Millis) -> rusqlite::Result<()> {
        let transaction = self
            .connection
            .transaction_with_behavior(TransactionBehavior::Immediate)?;
        for (object, id) in asked.records {
            transaction
                .prepare_cached("insert or ignore into erasure values (?1, ?2, ?3)")?
                .execute(params![object, id, now])?;
        }
        rewrite(&transaction, asked.events)?;
        if !asked.events.is_empty() {
            set_mark(&transaction, UNSCRUBBED, 1)?;
        }
        set_mark(&transaction, looked.0, looked.1)?;
        transaction.commit()
    }

    /// What was asked for, the oldest first.
    pub fn asked(&self, limit: usize) -> rusqlite::Result<Vec<(String, String)>> {
        self.connection
            .prepare_cached("select object, record_id from erasure order by asked_at, object limit ?1")?
            .query_map([i64::try_from(limit).unwrap_or(i64::MAX)], |row| {
                Ok((row.get(0)?, row.get(1)?))
            })?
            .collect()
    }

    /// These are in the cache again: they are not erased.
    pub fn withdraw(&mut self, object: &str, record_ids: &[String]) -> rusqlite::Result<()> {
        let transaction = self.connection.transaction()?;
        take_off(&transaction, object, record_ids)?;
        transaction.commit()
    }

    /// The records that are being erased.
    pub fn under_way(&self) -> rusqlite::Result<Option<Erasing>> {
        self.connection
            .query_row(
                "select object, record_ids, key, last_batch, last_event, next_event, next_page from erasing",
                [],
                |row| {
                    let record_ids: String = row.get(1)?;
                    Ok(Erasing {
                        object: row.get(0)?,
                        record_ids: serde_json::from_str(&record_ids).unwrap_or_default(),
                        key: row.get(2)?,
                        last_batch: row.get(3)?,
                        last_event: row.get(4)?,
                        next_event: row.get(5)?,
                        next_page: row.get(6)?,
                    })
                },
            )
            .optional()
    }

    /// Begins to erase records that were asked for.
    pub fn begin(&mut self, erasing: &Erasing) -> rusqlite::Result<()> {
        let transaction = self
            .connection
            .transaction_with_behavior(TransactionBehavior::Immediate)?;
        let asked_at = asked_at(&transaction, &erasing.object, &erasing.record_ids)?;
        set_mark(&transaction, ERASING_ASKED_AT, asked_at.unwrap_or(0))?;
        take_off(&transaction, &erasing.object, &erasing.record_ids)?;
        transaction.execute(
            "insert into erasing (object, record_ids, key, last_batch, last_event) values (?1, ?2, ?3, ?4, ?5)",
            params![
                erasing.object,
                serde_json::Value::from(erasing.record_ids.clone()).to_string(),
                erasing.key,
                erasing.last_batch,
                erasing.last_event
            ],
        )?;
        transaction.commit()
    }

    /// Puts other bytes in the place of events', and goes on from that number.
    pub fn rewrite_events(&mut self, events: &[Rewrite], next_event: i64) -> rusqlite::Result<()> {
        let transaction = self
            .connection
            .transaction_with_behavior(TransactionBehavior::Immediate)?;
        rewrite(&transaction, events)?;
        transaction.execute("update erasing set next_event = ?1", [next_event])?;
        transaction.commit()
    }

    pub fn set_marks(&mut self, marks: &[(&str, i64)]) -> rusqlite::Result<()> {
        let transaction = self
            .connection
            .transaction_with_behavior(TransactionBehavior::Immediate)?;
        for (name, value) in marks {
            set_mark(&transaction, name, *value)?;
        }
        transaction.commit()
    }

    /// Takes values out of events, and notes how far that is.
    pub fn redact_events(&mut self, events: &[Redacted], looked: (&str, i64)) -> rusqlite::Result<()> {
        let transaction = self
            .connection
            .transaction_with_behavior(TransactionBehavior::Immediate)?;
        for event in events {
            transaction
                .prepare_cached("update event set payload = ?2, redacted = ?3 where number = ?1")?
                .execute(params![event.number, event.payload, joined(&event.fields)])?;
        }
        set_mark(&transaction, looked.0, looked.1)?;
        transaction.commit()
    }

    /// Puts another body in the place of a page's, where there is one, and notes under a name that the page was looked
    /// at.
    pub fn redact_page(&mut self, number: i64, packed: Option<&[u8]>, mark: &str) -> rusqlite::Result<()> {
        let transaction = self
            .connection
            .transaction_with_behavior(TransactionBehavior::Immediate)?;
        if let Some(packed) = packed {
            replace_body(&transaction, Rewritten { number, packed })?;
        }
        set_mark(&transaction, mark, number)?;
        transaction.commit()
    }

    /// The pages of the object that may hold any of the records and are still to be looked at.
    pub fn pages_left(&self, erasing: &Erasing) -> rusqlite::Result<Vec<i64>> {
        let (first, last) = (erasing.record_ids.iter().min(), erasing.record_ids.iter().max());
        self.connection
            .prepare_cached(
                "select number from page where object = ?1 and first_id <= ?2 and last_id >= ?3 \
                 and batch <= ?4 and number >= ?5 and kind not in ('load_begun', 'load_ended') order by number",
            )?
            .query_map(
                params![
                    erasing.object,
                    last,
                    first,
                    erasing.last_batch,
                    erasing.next_page
                ],
                |row| row.get(0),
            )?
            .collect()
    }

    /// Puts another body in the place of a page's.
    pub fn rewrite_page(&mut self, page: Rewritten<'_>) -> rusqlite::Result<()> {
        let transaction = self
            .connection
            .transaction_with_behavior(TransactionBehavior::Immediate)?;
        replace_body(&transaction, page)?;
        transaction.execute("update erasing set next_page = ?1", [page.number + 1])?;
        transaction.commit()
    }

    /// The records are erased: what their stand-ins were made with is forgotten.
    pub fn finish(&mut self, erasing: &Erasing) -> rusqlite::Result<()> {
        let transaction = self
            .connection
            .transaction_with_behavior(TransactionBehavior::Immediate)?;
        transaction.execute("delete from erasing", [])?;
        let before = mark(&transaction, "erased")?;
        let erased = i64::try_from(erasing.record_ids.len()).unwrap_or(i64::MAX);
        set_mark(&transaction, "erased", before + erased)?;
        set_mark(&transaction, UNSCRUBBED, 1)?;
        transaction.commit()
    }

    /// Empties the logs of both files. `false` where a reader was in the way: to be tried again.
    pub fn empty_logs(&self) -> rusqlite::Result<bool> {
        Ok(checkpoint::empty(&self.connection)? & checkpoint::empty(&self.cache)?)
    }
}

fn replace_body(connection: &Connection, page: Rewritten<'_>) -> rusqlite::Result<()> {
    connection.execute(
        "update body set packed = ?2 where page = ?1",
        params![page.number, page.packed],
    )?;
    let bytes = i64::try_from(page.packed.len()).unwrap_or(i64::MAX);
    connection.execute(
        "update page set bytes = ?2 where number = ?1",
        params![page.number, bytes],
    )?;
    Ok(())
}

fn rewrite(connection: &Connection, events: &[Rewrite]) -> rusqlite::Result<()> {
    for event in events {
        connection
            .prepare_cached(
                "update event set payload = ?2, redacted = coalesce(?3, redacted) where number = ?1",
            )?
            .execute(params![event.number, event.payload, event.redacted])?;
    }
    Ok(())
}

/// When the first of these was asked for.
fn asked_at(
    connection: &Connection,
    object: &str,
    record_ids: &[String],
) -> rusqlite::Result<Option<Millis>> {
    let mut oldest: Option<Millis> = None;
    for id in record_ids {
        let asked_at: Option<Millis> = connection
            .prepare_cached("select asked_at from erasure where object = ?1 and record_id = ?2")?
            .query_row([object, id], |row| row.get(0))
            .optional()?;
        oldest = oldest.into_iter().chain(asked_at).min();
    }
    Ok(oldest)
}

fn take_off(connection: &Connection, object: &str, record_ids: &[String]) -> rusqlite::Result<()> {
    for id in record_ids {
        connection
            .prepare_cached("delete from erasure where object = ?1 and record_id = ?2")?
            .execute([object, id])?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::journal::Journal;

    #[test]
    fn what_is_still_to_be_gone_through_is_counted() {
        let dir = tempfile::tempdir().unwrap();
        drop(Journal::open(dir.path()).unwrap());
        drop(cache::Cache::open(dir.path()).unwrap());
        let mut forgetting = Forgetting::open(dir.path()).unwrap();
        forgetting
            .connection
            .execute_batch(
                "insert into page select value, 1, 0, 'Contact', 'load', 0, 'a', 'b', 1 from json_each('[1,2,3,4,5,6,7]')",
            )
            .unwrap();
        let left = |forgetting: &Forgetting| {
            let told = standing_in(dir.path()).unwrap().unwrap().unredacted;
            assert_eq!(told, forgetting.unredacted().unwrap());
            told
        };
        assert_eq!(left(&forgetting), 0, "nothing has begun");
        forgetting.set_marks(&[(REDACTING_BY, 4)]).unwrap();
        assert_eq!(left(&forgetting), 7);
        forgetting.set_marks(&[(REDACTED_PAGE, 5)]).unwrap();
        assert_eq!(left(&forgetting), 2);
        forgetting.set_marks(&[(REDACTED_BY, 4)]).unwrap();
        assert_eq!(left(&forgetting), 0, "it is over");
    }
}
