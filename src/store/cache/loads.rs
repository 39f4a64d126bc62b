//! Reading a whole object, the first time or again, without ever showing an empty table.
//!
//! Rows are written in place as pages arrive. A load that began on an empty table has nothing to remove. Any
//! other marks the ids it sees, and at the end the rows it did not see are removed, unless the stream touched
//! them since the load began. A load that was cut off begins anew; its marks live in temporary tables and go
//! with the process.

use rusqlite::params;

use crate::model::clock::Millis;
use crate::model::row::quoted;
use crate::store::cache::rows::Mirror;
use crate::store::cache::{Batch, Change, State, objects};

pub(super) const TEMPORARY_TABLES: &str = "create temp table _seen (load integer not null, id text not null, \
     primary key (load, id)) without rowid";

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
}

impl Batch<'_> {
    /// Begins a load. `watermark` is the org's time before the first row is read.
    pub fn begin_load(&mut self, mirror: &Mirror, run: u64, watermark: Millis) -> rusqlite::Result<Load> {
        let table = quoted(&mirror.table.name);
        let fresh = !self
            .transaction
            .prepare(&format!("select 1 from {table} limit 1"))?
            .exists([])?;
        let first = objects::object(&self.transaction, &mirror.table.object)?
            .is_none_or(|object| matches!(object.state, State::Waiting | State::Loading));
        let state = if first { State::Loading } else { State::Reload };
        self.transaction.execute(
            "update _object set state = ?2, watermark = ?3 where object = ?1",
            params![mirror.table.object, state.as_str(), watermark],
        )?;
        self.forget_seen(mirror)?;
        Ok(Load {
            run,
            start_rev: self.memory.rev,
            fresh,
        })
    }

    /// The load saw this row in the org.
    pub fn mark_seen(&mut self, mirror: &Mirror, id: &str) -> rusqlite::Result<()> {
        self.transaction
            .prepare_cached("insert or ignore into temp._seen values (?1, ?2)")?
            .execute(params![mirror.index_number(), id])?;
        Ok(())
    }

    /// Ends a load: removes what it did not see, and the object is live. Rows removed.
    pub fn finish_load(&mut self, mirror: &Mirror, load: &Load, now: Millis) -> rusqlite::Result<usize> {
        let swept = if load.fresh { 0 } else { self.sweep(mirror, load)? };
        self.forget_seen(mirror)?;
        self.memory.rev += 1;
        let object = &mirror.table.object;
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
        Ok(swept)
    }

    fn sweep(&mut self, mirror: &Mirror, load: &Load) -> rusqlite::Result<usize> {
        let table = quoted(&mirror.table.name);
        let select = format!(
            "select id from {table} where _rev <= ?1 and not exists \
             (select 1 from temp._seen where load = ?2 and _seen.id = {table}.id) limit {SWEEP_ROWS}"
        );
        let mut swept = 0;
        loop {
            let unseen: Vec<String> = self
                .transaction
                .prepare(&select)?
                .query_map(params![load.start_rev, mirror.index_number()], |row| row.get(0))?
                .collect::<Result<_, _>>()?;
            for id in &unseen {
                self.remove(mirror, id)?;
            }
            swept += unseen.len();
            if unseen.len() < SWEEP_ROWS {
                return Ok(swept);
            }
        }
    }

    fn remove(&mut self, mirror: &Mirror, id: &str) -> rusqlite::Result<()> {
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

    fn forget_seen(&mut self, mirror: &Mirror) -> rusqlite::Result<()> {
        self.transaction
            .execute("delete from temp._seen where load = ?1", [mirror.index_number()])?;
        Ok(())
    }
}
