//! Records that have to be read again from the org, and what was found when they were.
//!
//! An open repair is work for the repair stage; a closed one is history. An event that deletes a record closes
//! its open repair and opens another, so that the answer of a read which is already under way is recognised as
//! too old by its number.

use rusqlite::{Connection, params};

use crate::model::clock::Millis;
use crate::store::cache::Batch;

/// Closed repairs kept as history.
const HISTORY_MAX: i64 = 100_000;

/// What has to be read again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Repair {
    pub number: i64,
    pub object: String,
    /// `None` for an event that could not be decoded, so that its record is unknown.
    pub record_id: Option<String>,
    pub reason: String,
    pub opened_at: Millis,
}

/// Open repairs by record id, of objects that are live; the oldest first.
pub fn due(connection: &Connection, limit: usize) -> rusqlite::Result<Vec<Repair>> {
    connection
        .prepare_cached(
            "select number, object, record_id, reason, opened_at from _repair join _object using (object) \
             where closed_at is null and record_id is not null and state = 'live' order by number limit ?1",
        )?
        .query_map([i64::try_from(limit).unwrap_or(i64::MAX)], |row| {
            Ok(Repair {
                number: row.get(0)?,
                object: row.get(1)?,
                record_id: row.get(2)?,
                reason: row.get(3)?,
                opened_at: row.get(4)?,
            })
        })?
        .collect()
}

/// How many repairs are open: by record, and parked events without one.
pub fn open_count(connection: &Connection) -> rusqlite::Result<(i64, i64)> {
    connection.query_row(
        "select count(record_id), count(*) - count(record_id) from _repair where closed_at is null",
        [],
        |row| Ok((row.get(0)?, row.get(1)?)),
    )
}

impl Batch<'_> {
    /// Opens a repair unless one is open for the record. Without a record it is an entry for a person to see.
    pub fn open_repair(
        &mut self,
        object: &str,
        record_id: Option<&str>,
        reason: &str,
        detail: Option<&str>,
        now: Millis,
    ) -> rusqlite::Result<()> {
        self.transaction
            .prepare_cached(
                "insert into _repair (object, record_id, reason, detail, opened_at) values (?1, ?2, ?3, ?4, ?5) \
                 on conflict do nothing",
            )?
            .execute(params![object, record_id, reason, detail, now])?;
        Ok(())
    }

    /// Makes the answer of a read that is under way count as too old. Whether there was an open repair.
    pub fn supersede_repair(&mut self, object: &str, record_id: &str, now: Millis) -> rusqlite::Result<bool> {
        let closed = self
            .transaction
            .prepare_cached(
                "update _repair set closed_at = ?3, found = 'superseded' \
                 where object = ?1 and record_id = ?2 and closed_at is null",
            )?
            .execute(params![object, record_id, now])?;
        if closed > 0 {
            self.open_repair(object, Some(record_id), "deleted while being repaired", None, now)?;
        }
        Ok(closed > 0)
    }

    /// Whether this very repair is still open.
    pub fn is_open(&self, number: i64) -> rusqlite::Result<bool> {
        self.transaction
            .prepare_cached("select 1 from _repair where number = ?1 and closed_at is null")?
            .exists([number])
    }

    pub fn close_repair(&mut self, number: i64, found: &str, now: Millis) -> rusqlite::Result<()> {
        self.transaction
            .prepare_cached("update _repair set closed_at = ?2, found = ?3 where number = ?1")?
            .execute(params![number, now, found])?;
        self.transaction
            .prepare_cached("delete from _repair where number = ?1 and closed_at is not null")?
            .execute([number - HISTORY_MAX])?;
        Ok(())
    }
}
