//! What the apply stage decides by and keeps nowhere else: what is mirrored and by which rules, how far reads of whole
//! objects are, and the schemas that events name. It commits with the rows, so that a stage that is made from the file
//! decides as the one before it would have.

use rusqlite::{Connection, OptionalExtension, params};

use crate::model::clock::Millis;
use crate::store::cache::Batch;

/// What is known of the reads of an object.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reading {
    /// The org's time before the newest read of the whole object began.
    pub read_at: Option<Millis>,
    /// Rows that differed so far, while what changed during a lost position is read again.
    pub catching_up: Option<u64>,
}

/// The mirrored objects as the apply stage wrote them, in their order.
pub fn planned(connection: &Connection) -> rusqlite::Result<Vec<String>> {
    connection
        .prepare_cached("select planned from _object where planned is not null order by place")?
        .query_map([], |row| row.get(0))?
        .collect()
}

pub fn reading(connection: &Connection, object: &str) -> rusqlite::Result<Reading> {
    let read = connection
        .prepare_cached("select read_at, catching_up from _object where object = ?1")?
        .query_row([object], |row| {
            Ok(Reading {
                read_at: row.get(0)?,
                catching_up: row.get::<_, Option<i64>>(1)?.map(i64::unsigned_abs),
            })
        })
        .optional()?;
    Ok(read.unwrap_or_default())
}

/// The schemas that events name, each with its id, in the order in which they came.
pub fn schemas(connection: &Connection) -> rusqlite::Result<Vec<(String, String)>> {
    connection
        .prepare_cached("select schema_id, json from _schema order by number")?
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect()
}

impl Batch<'_> {
    /// Nothing is mirrored until it is planned again.
    pub fn forget_planned(&mut self) -> rusqlite::Result<()> {
        self.transaction
            .execute("update _object set planned = null, place = null", [])
            .map(drop)
    }

    /// Notes by which rules an object is mirrored; one that was not mirrored comes after all others.
    pub fn plan(&mut self, object: &str, planned: &str) -> rusqlite::Result<()> {
        self.transaction
            .prepare_cached(
                "update _object set planned = ?2, place = \
                 coalesce(place, (select coalesce(max(place), 0) + 1 from _object)) where object = ?1",
            )?
            .execute([object, planned])
            .map(drop)
    }

    /// The number of the next load.
    pub fn next_load(&mut self) -> rusqlite::Result<u64> {
        self.transaction
            .prepare_cached(
                "insert into _meta values ('loads', 1) on conflict do update set value = value + 1 returning value",
            )?
            .query_row([], |row| row.get::<_, i64>(0))
            .map(i64::unsigned_abs)
    }

    pub fn set_read_at(&mut self, object: &str, at: Millis) -> rusqlite::Result<()> {
        self.transaction
            .prepare_cached("update _object set read_at = ?2 where object = ?1")?
            .execute(params![object, at])
            .map(drop)
    }

    pub fn set_catching_up(&mut self, object: &str, differed: Option<u64>) -> rusqlite::Result<()> {
        let differed = differed.map(|differed| i64::try_from(differed).unwrap_or(i64::MAX));
        self.transaction
            .prepare_cached("update _object set catching_up = ?2 where object = ?1")?
            .execute(params![object, differed])
            .map(drop)
    }

    /// Another load of the object has to follow the one that is under way.
    pub fn load_again(&mut self, object: &str) -> rusqlite::Result<()> {
        self.transaction
            .prepare_cached("update _load set again = 1 where object = ?1")?
            .execute([object])
            .map(drop)
    }

    /// Keeps a schema that events name.
    pub fn keep_schema(&mut self, id: &str, json: &str) -> rusqlite::Result<()> {
        self.transaction
            .prepare_cached("insert or ignore into _schema (schema_id, json) values (?1, ?2)")?
            .execute([id, json])
            .map(drop)
    }
}
