//! Reading a whole object, the first time or again, without ever showing an empty table.
//!
//! Rows are written in place as pages arrive. A load that began on an empty table has nothing to remove. Any
//! other marks the ids it sees, and at the end the rows it did not see are removed, unless the stream touched
//! them since the load began. Each page is committed with the place of the next one, so a load that was cut off
//! goes on there as long as the org keeps the query's results.

use rusqlite::{Connection, OptionalExtension, Row, params};
use serde::{Deserialize, Serialize};

use crate::model::clock::Millis;
use crate::model::row::quoted;
use crate::store::cache::absence::Leave;
use crate::store::cache::repairs::reason;
use crate::store::cache::rows::Mirror;
use crate::store::cache::{Batch, Change, State, objects};

/// Rows removed per statement at the end of a load.
const SWEEP_ROWS: usize = 10_000;

/// A load under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Load {
    /// Tells this load's pages from those of one that was given up.
    pub run: u64,
    /// Rows with a newer revision were touched since the load began.
    pub start_rev: i64,
    /// The table was empty, so there is nothing to sweep and nothing to compare with.
    pub fresh: bool,
    /// The newest entry of the ledger when the load began.
    ledger: i64,
}

/// Where a load goes on: the org's query job, and the locator of its next page.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    pub job: String,
    pub locator: String,
    /// Rows that the job found.
    pub total: u64,
}

/// How far a load is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Progress {
    pub object: String,
    pub load: Load,
    /// Another load has to follow.
    pub again: bool,
    /// `None` before the first page, and for loads that cannot go on in the middle.
    pub place: Option<Place>,
    pub begun_at: Millis,
    pub rows: u64,
}

const SELECT: &str =
    "select object, run, start_rev, fresh, ledger, begun_at, job, locator, rows, total, again from _load";

fn read(row: &Row<'_>) -> rusqlite::Result<Progress> {
    let (job, locator): (Option<String>, Option<String>) = (row.get(6)?, row.get(7)?);
    let total = row.get::<_, Option<i64>>(9)?.unwrap_or(0).unsigned_abs();
    let place = job
        .zip(locator)
        .map(|(job, locator)| Place { job, locator, total });
    Ok(Progress {
        object: row.get(0)?,
        load: Load {
            run: row.get::<_, i64>(1)?.unsigned_abs(),
            start_rev: row.get(2)?,
            fresh: row.get(3)?,
            ledger: row.get(4)?,
        },
        again: row.get(10)?,
        place,
        begun_at: row.get(5)?,
        rows: row.get::<_, i64>(8)?.unsigned_abs(),
    })
}

/// The loads under way.
pub fn loads(connection: &Connection) -> rusqlite::Result<Vec<Progress>> {
    connection
        .prepare_cached(&format!("{SELECT} order by object"))?
        .query_map([], read)?
        .collect()
}

/// An object's load under way.
pub fn load(connection: &Connection, object: &str) -> rusqlite::Result<Option<Progress>> {
    connection
        .prepare_cached(&format!("{SELECT} where object = ?1"))?
        .query_row([object], read)
        .optional()
}

/// Ids of rows that a load did not see so far: of all where there are no more than `most`, else of some at random.
pub fn unseen(
    connection: &Connection,
    table: &str,
    load: &Load,
    most: usize,
) -> rusqlite::Result<Vec<String>> {
    let table = quoted(table);
    let sql = format!(
        "select id from {table} {} order by random() limit {most}",
        unseen_of(&table)
    );
    connection
        .prepare(&sql)?
        .query_map(params![load.start_rev, number(load.run)], |row| row.get(0))?
        .collect()
}

/// What a load that has read everything brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Came {
    /// Different rows; those that cannot be read and wait are among them.
    pub rows: u64,
    /// The object has never been loaded, or had no rows.
    pub is_first: bool,
    /// Rows that are here did not come.
    pub removes: bool,
    /// The org's time before the first row was read.
    pub since: Option<Millis>,
}

/// What an object's load brought so far.
pub fn came(connection: &Connection, object: &str, table: &str) -> rusqlite::Result<Option<Came>> {
    let (Some(progress), Some(state)) = (load(connection, object)?, objects::object(connection, object)?)
    else {
        return Ok(None);
    };
    let (load, table) = (progress.load, quoted(table));
    let (rows, removes) = match load.fresh {
        true => (fresh_rows(connection, object, &table)?, false),
        false => connection.query_row(
            &format!(
                "select (select count(*) from _seen where run = ?2), exists (select 1 from {table} {})",
                unseen_of(&table)
            ),
            params![load.start_rev, number(load.run)],
            |row| Ok((row.get::<_, i64>(0)?.unsigned_abs(), row.get(1)?)),
        )?,
    };
    Ok(Some(Came {
        rows,
        is_first: load.fresh || state.state == State::Loading,
        removes,
        since: state.watermark,
    }))
}

/// Rows of a table that was empty. A load that begins so keeps no list of what it saw.
fn fresh_rows(connection: &Connection, object: &str, table: &str) -> rusqlite::Result<u64> {
    let sql = format!(
        "select (select count(*) from {table}) + (select count(distinct record_id) from _repair \
         where object = ?1 and kind = 'record' and closed_at is null \
            and substr(reason, 1, length(?2)) = ?2 and record_id not in (select id from {table}))"
    );
    let rows: i64 = connection.query_row(&sql, [object, reason::UNREADABLE], |row| row.get(0))?;
    Ok(rows.unsigned_abs())
}

/// Rows that a load did not see and nothing has touched since it began: its revision and its number are bound.
fn unseen_of(table: &str) -> String {
    format!("where _rev <= ?1 and not exists (select 1 from _seen where run = ?2 and _seen.id = {table}.id)")
}

/// SQLite has no unsigned numbers; ours never reach so far.
fn number(unsigned: u64) -> i64 {
    i64::try_from(unsigned).unwrap_or(i64::MAX)
}

impl Batch<'_> {
    /// Begins a load. `watermark` is the org's time before the first row is read.
    pub fn begin_load(&mut self, mirror: &Mirror, watermark: Millis, now: Millis) -> rusqlite::Result<Load> {
        let run = self.next_load()?;
        let object = &mirror.table.object;
        let table = quoted(&mirror.table.name);
        let fresh = !self
            .transaction
            .prepare(&format!("select 1 from {table} limit 1"))?
            .exists([])?;
        let first = objects::object(&self.transaction, object)?
            .is_none_or(|object| matches!(object.state, State::Waiting | State::Loading));
        let state = if first { State::Loading } else { State::Reload };
        self.transaction.execute(
            "update _object set state = ?2, watermark = ?3 where object = ?1",
            params![object, state.as_str(), watermark],
        )?;
        self.set_read_at(object, watermark)?;
        self.forget_load(object)?;
        let load = Load {
            run,
            start_rev: self.memory.rev,
            fresh,
            ledger: self.newest_repair()?,
        };
        self.transaction.execute(
            "insert into _load (object, run, start_rev, fresh, ledger, begun_at) values (?1, ?2, ?3, ?4, ?5, ?6)",
            params![object, number(run), load.start_rev, fresh, load.ledger, now],
        )?;
        Ok(load)
    }

    /// The load saw this row in the org.
    pub fn mark_seen(&mut self, load: &Load, id: &str) -> rusqlite::Result<()> {
        self.transaction
            .prepare_cached("insert or ignore into _seen values (?1, ?2)")?
            .execute(params![number(load.run), id])?;
        Ok(())
    }

    /// So many rows more are here, and the load goes on there.
    pub fn advance_load(
        &mut self,
        object: &str,
        load: &Load,
        rows: u64,
        place: Option<&Place>,
    ) -> rusqlite::Result<()> {
        self.transaction
            .prepare_cached(
                "update _load set rows = rows + ?3, job = ?4, locator = ?5, total = coalesce(?6, total) \
                 where object = ?1 and run = ?2",
            )?
            .execute(params![
                object,
                number(load.run),
                number(rows),
                place.map(|place| &place.job),
                place.map(|place| &place.locator),
                place.map(|place| number(place.total))
            ])?;
        Ok(())
    }

    /// How many rows a load that ends did not see, and how many the table has.
    pub fn unseen_rows(&self, mirror: &Mirror, load: &Load) -> rusqlite::Result<(u64, u64)> {
        let table = quoted(&mirror.table.name);
        let sql = format!(
            "select count(*), (select count(*) from {table}) from {table} {}",
            unseen_of(&table)
        );
        self.transaction
            .query_row(&sql, params![load.start_rev, number(load.run)], |row| {
                let [absent, rows]: [i64; 2] = [row.get(0)?, row.get(1)?];
                Ok((absent.unsigned_abs(), rows.unsigned_abs()))
            })
    }

    /// How many different rows a load saw. One that began on an empty table keeps no list of them.
    pub fn seen_rows(&self, load: &Load) -> rusqlite::Result<u64> {
        let seen: i64 = self.transaction.query_row(
            "select count(*) from _seen where run = ?1",
            [number(load.run)],
            |row| row.get(0),
        )?;
        Ok(seen.unsigned_abs())
    }

    /// A load turned out to be incomplete: it does not go on where it was, but begins anew.
    pub fn restart_load(&mut self, object: &str) -> rusqlite::Result<()> {
        self.transaction.execute(
            "update _load set job = null, locator = null where object = ?1",
            [object],
        )?;
        Ok(())
    }

    /// Ends a load: removes what it did not see where that may leave, and the object is live. Rows removed.
    pub fn finish_load(
        &mut self,
        mirror: &Mirror,
        load: &Load,
        leave: Option<Leave>,
        now: Millis,
    ) -> rusqlite::Result<usize> {
        let swept = match leave {
            Some(leave) if !load.fresh => self.sweep(mirror, load, leave)?,
            _ => 0,
        };
        let object = &mirror.table.object;
        self.forget_load(object)?;
        self.memory.rev += 1;
        self.transaction.execute(
            "insert into _change values (?1, ?2, null, 'loaded')",
            params![self.memory.rev, object],
        )?;
        self.transaction.execute(
            &format!(
                "update _object set state = 'live', loaded_at = ?2, rows = (select count(*) from {}) where object = ?1",
                quoted(&mirror.table.name)
            ),
            params![object, now],
        )?;
        // Counted just now, so what this batch added is in it.
        if let Some((_, rows)) = self.memory.counts.get_mut(mirror.index()) {
            *rows = 0;
        }
        let found = format!("the object was read again, {swept} rows removed");
        self.close_reloads(object, load.ledger, &found, now)?;
        Ok(swept)
    }

    fn sweep(&mut self, mirror: &Mirror, load: &Load, leave: Leave) -> rusqlite::Result<usize> {
        let table = quoted(&mirror.table.name);
        let select = format!("select id from {table} {} limit {SWEEP_ROWS}", unseen_of(&table));
        let mut swept = 0;
        loop {
            let unseen: Vec<String> = self
                .transaction
                .prepare(&select)?
                .query_map(params![load.start_rev, number(load.run)], |row| row.get(0))?
                .collect::<Result<_, _>>()?;
            for id in &unseen {
                self.remove(mirror, id, leave)?;
            }
            swept += unseen.len();
            if unseen.len() < SWEEP_ROWS {
                return Ok(swept);
            }
        }
    }

    fn remove(&mut self, mirror: &Mirror, id: &str, _leave: Leave) -> rusqlite::Result<()> {
        self.transaction
            .prepare_cached(&format!(
                "delete from {} where id = ?1",
                quoted(&mirror.table.name)
            ))?
            .execute([id])?;
        self.count(mirror, -1);
        self.record(&mirror.table.object, id, Change::Deleted)?;
        Ok(())
    }

    fn forget_load(&mut self, object: &str) -> rusqlite::Result<()> {
        self.transaction.execute(
            "delete from _seen where run in (select run from _load where object = ?1)",
            [object],
        )?;
        self.transaction
            .execute("delete from _load where object = ?1", [object])?;
        Ok(())
    }
}
