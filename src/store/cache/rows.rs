//! Writing mirrored rows, with the guards that let stream, load, poll and repair write at the same time.
//!
//! Two stamps in each row decide. `_base` is the `SystemModstamp` at which the whole row was last read from the
//! org: an event committed before it is part of the row already. `_rev` is the revision that last changed the
//! row: a whole-row read that began when the feed stood at or after it saw everything the row holds, and may
//! replace it; a read that began earlier may do so only if its own stamp is newer than `_modified`. Commit
//! times are whole seconds in practice, so equal stamps decide nothing, and the caller is told
//! [`Whole::Newer`] to have the record read again.
//!
//! Statements that change some columns are cached by their set of columns, from the second time a set is seen;
//! an event of a shape never seen before is prepared for itself alone.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::Arc;

use rusqlite::types::ValueRef;
use rusqlite::{CachedStatement, OptionalExtension, Statement};

use crate::model::clock::Millis;
use crate::model::row::{Table, Value, quoted};
use crate::store::cache::absence::Leave;
use crate::store::cache::bind::{Written, bind, same};
use crate::store::cache::{Batch, Change};

/// Column sets remembered per table; when full, all are forgotten and learnt again.
const SHAPES_MAX: usize = 1_024;

/// Parameters before those of the columns: id, revision, stamp, and one that depends on the statement.
const FIXED: usize = 4;

/// Adds rows without an entry in the feed, all under the next revision.
pub struct Inserter<'b> {
    statement: CachedStatement<'b>,
    rev: i64,
}

impl Inserter<'_> {
    /// Adds a row with the given columns, the others null. `false` where the row is there already.
    pub fn insert<'v>(
        &mut self,
        id: &str,
        sets: impl IntoIterator<Item = (usize, Value<'v>)>,
        modified: Millis,
        base: Millis,
    ) -> rusqlite::Result<bool> {
        bind_fixed(&mut self.statement, id, self.rev, modified, base)?;
        for (position, value) in sets {
            bind(&mut self.statement, FIXED + 1 + position, value)?;
        }
        Ok(self.statement.raw_execute()? == 1)
    }
}

/// What writing an event's columns did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Changed,
    /// The row was read from the org after the event: it holds the event already.
    AlreadyCurrent,
    /// There is no such row.
    Missing,
}

/// What writing a whole row did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whole {
    Inserted,
    Updated,
    Same,
    /// The stored row may be newer than the one read: it was left as it is.
    Newer,
}

/// A mirrored table with its statements.
#[derive(Debug)]
pub struct Mirror {
    pub table: Table,
    index: usize,
    /// Position of `SystemModstamp`, which events do not carry.
    stamp: Option<usize>,
    insert: String,
    select: String,
    select_guards: String,
    delete: String,
    delete_untouched: String,
    rebuild_name: Option<String>,
    /// The statement for a set of columns; `None` when the set was seen once.
    shapes: HashMap<Box<[u64]>, Option<Arc<str>>>,
    shape: Vec<u64>,
}

impl Mirror {
    pub(super) fn new(table: Table, index: usize) -> Self {
        let name = quoted(&table.name);
        let columns: Vec<String> = table.columns.iter().map(|column| quoted(&column.name)).collect();
        let mut insert = format!("insert into {name} (id, _rev, _modified, _base");
        columns
            .iter()
            .for_each(|column| insert.push_str(&format!(", {column}")));
        insert.push_str(") values (?1");
        (2..=FIXED + columns.len()).for_each(|number| insert.push_str(&format!(", ?{number}")));
        insert.push_str(") on conflict (id) do nothing");
        let list: String = columns.iter().map(|column| format!(", {column}")).collect();
        Self {
            index,
            stamp: table.position("SystemModstamp"),
            insert,
            select: format!("select _rev, _modified{list} from {name} where id = ?1"),
            select_guards: format!("select _base from {name} where id = ?1"),
            delete: format!("delete from {name} where id = ?1 and _base <= ?2"),
            delete_untouched: format!("delete from {name} where id = ?1 and _rev <= ?2"),
            rebuild_name: rebuild_name(&table),
            shapes: HashMap::new(),
            shape: vec![0; table.columns.len().div_ceil(64)],
            table,
        }
    }

    pub fn index(&self) -> usize {
        self.index
    }

    /// The same mirror for a table that has changed.
    pub fn with_table(&self, table: Table) -> Self {
        Self::new(table, self.index)
    }

    /// Position of the column `SystemModstamp`.
    pub fn stamp(&self) -> Option<usize> {
        self.stamp
    }

    /// The text of the statement that sets these columns, and whether it is worth keeping prepared.
    fn update(&mut self, sets: &[(usize, Value<'_>)]) -> (Arc<str>, bool) {
        self.shape.fill(0);
        for (position, _) in sets {
            if let Some(bits) = self.shape.get_mut(position / 64) {
                *bits |= 1 << (position % 64);
            }
        }
        if let Some(Some(sql)) = self.shapes.get(&self.shape[..]) {
            return (Arc::clone(sql), true);
        }
        let sql: Arc<str> = self.update_sql().into();
        match self.shapes.get_mut(&self.shape[..]) {
            Some(entry) => {
                *entry = Some(Arc::clone(&sql));
                (sql, true)
            }
            None => {
                if self.shapes.len() >= SHAPES_MAX {
                    self.shapes.clear();
                }
                self.shapes.insert(self.shape.clone().into(), None);
                (sql, false)
            }
        }
    }

    fn update_sql(&self) -> String {
        let mut sql = format!(
            "update {} set _rev = ?2, _modified = max(coalesce(_modified, ''), ?3)",
            quoted(&self.table.name)
        );
        for (position, column) in self.table.columns.iter().enumerate() {
            if self.shape[position / 64] >> (position % 64) & 1 == 1 {
                let _ = write!(sql, ", {} = ?{}", quoted(&column.name), FIXED + 1 + position);
            }
        }
        sql.push_str(" where id = ?1 and _base <= ?4");
        sql
    }
}

/// The statement that builds `Name` from its parts, for objects that have it and them.
fn rebuild_name(table: &Table) -> Option<String> {
    table.position("Name")?;
    table.position("LastName")?;
    let parts = ["FirstName", "MiddleName", "LastName", "Suffix"];
    let present = parts.iter().filter(|part| table.position(part).is_some());
    let columns: Vec<String> = present.map(|part| quoted(&part.to_ascii_lowercase())).collect();
    let condition = match table.position("IsPersonAccount") {
        Some(_) => " and ispersonaccount = 1",
        None => "",
    };
    let (table, columns) = (quoted(&table.name), columns.join(", "));
    Some(format!(
        "update {table} set name = nullif(concat_ws(' ', {columns}), '') where id = ?1{condition}"
    ))
}

impl Batch<'_> {
    /// Adds a row with the given columns, the others null. `false` where the row is there already.
    ///
    /// `base` is the stamp of a whole-row read; 0 for a row made from an event.
    pub fn insert<'v>(
        &mut self,
        mirror: &Mirror,
        id: &str,
        sets: impl IntoIterator<Item = (usize, Value<'v>)>,
        modified: Millis,
        base: Millis,
    ) -> rusqlite::Result<bool> {
        let inserted = self.insert_quietly(mirror, id, sets, modified, base)?;
        if inserted {
            self.record(&mirror.table.object, id, Change::Created)?;
        }
        Ok(inserted)
    }

    /// [`Batch::insert`] without an entry in the feed, for a load that tells of the object as a whole.
    fn insert_quietly<'v>(
        &mut self,
        mirror: &Mirror,
        id: &str,
        sets: impl IntoIterator<Item = (usize, Value<'v>)>,
        modified: Millis,
        base: Millis,
    ) -> rusqlite::Result<bool> {
        let inserted = self.inserter(mirror)?.insert(id, sets, modified, base)?;
        if inserted {
            self.count(mirror, 1);
        }
        Ok(inserted)
    }

    /// For inserting many rows. Who uses it tells [`Batch::inserted_quietly`] how many it were.
    pub fn inserter(&self, mirror: &Mirror) -> rusqlite::Result<Inserter<'_>> {
        Ok(Inserter {
            statement: self.transaction.prepare_cached(&mirror.insert)?,
            rev: self.memory.rev + 1,
        })
    }

    /// Counts rows that an [`Inserter`] added, under a revision of their own.
    pub fn inserted_quietly(&mut self, mirror: &Mirror, rows: i64) {
        self.count(mirror, rows);
        self.memory.rev += 1;
    }

    /// Sets some columns of a row, as an event committed at `committed` says.
    pub fn update(
        &mut self,
        mirror: &mut Mirror,
        id: &str,
        sets: &[(usize, Value<'_>)],
        committed: Millis,
    ) -> rusqlite::Result<Outcome> {
        self.set(mirror, id, sets, committed, committed)
    }

    /// Sets columns of a row whose `_base` is at most `guard`.
    fn set(
        &mut self,
        mirror: &mut Mirror,
        id: &str,
        sets: &[(usize, Value<'_>)],
        modified: Millis,
        guard: Millis,
    ) -> rusqlite::Result<Outcome> {
        let (sql, keep) = mirror.update(sets);
        let execute = |statement: &mut Statement<'_>| {
            bind_fixed(statement, id, self.memory.rev + 1, modified, guard)?;
            for (position, value) in sets {
                bind(statement, FIXED + 1 + position, *value)?;
            }
            Ok::<_, rusqlite::Error>(statement.raw_execute()? == 1)
        };
        let changed = if keep {
            execute(&mut *self.transaction.prepare_cached(&sql)?)?
        } else {
            execute(&mut self.transaction.prepare(&sql)?)?
        };
        if !changed {
            return self.untouched(mirror, id);
        }
        self.record(&mirror.table.object, id, Change::Updated)?;
        Ok(Outcome::Changed)
    }

    /// After a part of a name changed: the whole is built from the stored parts, as the org does.
    pub fn rebuild_name(&mut self, mirror: &Mirror, id: &str) -> rusqlite::Result<()> {
        if let Some(sql) = &mirror.rebuild_name {
            self.transaction.prepare_cached(sql)?.execute([id])?;
        }
        Ok(())
    }

    /// Removes a row, as an event committed at `committed` says. That of a row that is not there is told in the feed too,
    /// though a read may have told it before: what is kept about the record elsewhere, and what its events have brought
    /// since that read, is erased by it.
    pub fn delete(
        &mut self,
        mirror: &Mirror,
        id: &str,
        committed: Millis,
        _leave: Leave,
    ) -> rusqlite::Result<Outcome> {
        if self
            .transaction
            .prepare_cached(&mirror.delete)?
            .execute((id, committed))?
            == 0
        {
            let untouched = self.untouched(mirror, id)?;
            if untouched == Outcome::Missing {
                self.record(&mirror.table.object, id, Change::Deleted)?;
            }
            return Ok(untouched);
        }
        self.deleted(mirror, id)
    }

    /// Removes a row that a read told to be gone, or did not find, unless it was touched since the feed stood at
    /// `read_rev`.
    pub fn delete_untouched(
        &mut self,
        mirror: &Mirror,
        id: &str,
        read_rev: i64,
        _leave: Leave,
    ) -> rusqlite::Result<Outcome> {
        if self
            .transaction
            .prepare_cached(&mirror.delete_untouched)?
            .execute((id, read_rev))?
            == 0
        {
            return self.untouched(mirror, id);
        }
        self.deleted(mirror, id)
    }

    fn deleted(&mut self, mirror: &Mirror, id: &str) -> rusqlite::Result<Outcome> {
        self.count(mirror, -1);
        self.record(&mirror.table.object, id, Change::Deleted)?;
        Ok(Outcome::Changed)
    }

    fn untouched(&self, mirror: &Mirror, id: &str) -> rusqlite::Result<Outcome> {
        let present = self
            .transaction
            .prepare_cached(&mirror.select_guards)?
            .exists([id])?;
        Ok(if present {
            Outcome::AlreadyCurrent
        } else {
            Outcome::Missing
        })
    }

    /// Writes a row as it was read from the org at its stamp `stamp`, by a read that began when the feed stood
    /// at `read_rev`. `values` has one for each column.
    pub fn write_whole(
        &mut self,
        mirror: &mut Mirror,
        id: &str,
        values: &[Value<'_>],
        stamp: Millis,
        read_rev: i64,
    ) -> rusqlite::Result<Whole> {
        if self.insert(mirror, id, values.iter().copied().enumerate(), stamp, stamp)? {
            return Ok(Whole::Inserted);
        }
        match self.compare(mirror, id, values, stamp, read_rev)? {
            Comparison::Same => Ok(Whole::Same),
            Comparison::Newer => Ok(Whole::Newer),
            Comparison::StampOnly => {
                self.replace(mirror, id, values, stamp, false)?;
                Ok(Whole::Same)
            }
            Comparison::Older => {
                self.replace(mirror, id, values, stamp, true)?;
                Ok(Whole::Updated)
            }
        }
    }

    fn compare(
        &self,
        mirror: &Mirror,
        id: &str,
        values: &[Value<'_>],
        stamp: Millis,
        read_rev: i64,
    ) -> rusqlite::Result<Comparison> {
        let mut statement = self.transaction.prepare_cached(&mirror.select)?;
        let compared = statement
            .query_row([id], |row| {
                let differs = |position: usize, value: &Value<'_>| {
                    row.get_ref(position + 2).map(|stored| !same(stored, *value))
                };
                let mut stamp_differs = false;
                let mut content_differs = false;
                for (position, value) in values.iter().enumerate() {
                    match differs(position, value)? {
                        true if Some(position) == mirror.stamp => stamp_differs = true,
                        true => content_differs = true,
                        false => {}
                    }
                }
                let newer = match row.get_ref(1)? {
                    ValueRef::Text(modified) => Written::new(stamp).datetime().0 > modified,
                    _ => true,
                };
                let replaceable = newer || row.get::<_, i64>(0)? <= read_rev;
                Ok(match (content_differs, stamp_differs, replaceable) {
                    (true, _, true) => Comparison::Older,
                    (true, _, false) => Comparison::Newer,
                    (false, true, true) => Comparison::StampOnly,
                    (false, ..) => Comparison::Same,
                })
            })
            .optional()?;
        Ok(compared.unwrap_or(Comparison::Same))
    }

    /// Replaces all columns; `tell` where the content changed, so that it gets a revision and a feed entry.
    fn replace(
        &mut self,
        mirror: &mut Mirror,
        id: &str,
        values: &[Value<'_>],
        stamp: Millis,
        tell: bool,
    ) -> rusqlite::Result<()> {
        let sets: Vec<(usize, Value<'_>)> = values.iter().copied().enumerate().collect();
        // `compare` has decided; the event's guard on `_base` does not apply.
        if tell {
            self.set(mirror, id, &sets, stamp, Millis::MAX)?;
        }
        let table = quoted(&mirror.table.name);
        let column = match mirror.stamp {
            Some(position) => format!(", {} = ?3", quoted(&mirror.table.columns[position].name)),
            None => String::new(),
        };
        let sql = format!(
            "update {table} set _base = max(_base, ?2), _modified = max(coalesce(_modified, ''), ?3){column} where id = ?1"
        );
        self.transaction
            .prepare_cached(&sql)?
            .execute((id, stamp, Written::new(stamp).datetime()))?;
        Ok(())
    }

    /// Whether the row was touched after the feed stood at `read_rev`.
    pub fn touched_since(&self, mirror: &Mirror, id: &str, read_rev: i64) -> rusqlite::Result<bool> {
        let sql = format!(
            "select 1 from {} where id = ?1 and _rev > ?2",
            quoted(&mirror.table.name)
        );
        self.transaction.prepare_cached(&sql)?.exists((id, read_rev))
    }

    pub(super) fn count(&mut self, mirror: &Mirror, rows: i64) {
        if let Some((_, count)) = self.memory.counts.get_mut(mirror.index) {
            *count += rows;
        }
    }
}

enum Comparison {
    Same,
    StampOnly,
    /// The stored row is older than the one read.
    Older,
    Newer,
}

fn bind_fixed(
    statement: &mut Statement<'_>,
    id: &str,
    rev: i64,
    modified: Millis,
    fourth: Millis,
) -> rusqlite::Result<()> {
    statement.raw_bind_parameter(1, id)?;
    statement.raw_bind_parameter(2, rev)?;
    statement.raw_bind_parameter(3, Written::new(modified).datetime())?;
    statement.raw_bind_parameter(4, fourth)
}
