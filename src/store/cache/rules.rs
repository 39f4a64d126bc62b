//! What the configuration says of an object, as far as its rows must follow: the condition they meet, and the fields that
//! are left out.
//!
//! Rows do not tell by which condition they were read, so the cache notes it. Under another one the object is read again
//! as a whole, and until then it is known to be wrong. What is left out goes at once, values and column: unlike a field
//! that the org hides, it is not wanted here.

use rusqlite::params;

use crate::model::clock::Millis;
use crate::model::row::{Table, quoted};
use crate::store::cache::objects::{self, State};
use crate::store::cache::repairs::{Entry, Kind, reason};
use crate::store::cache::{Batch, fields, meta};
use crate::store::storefront::views;

impl Batch<'_> {
    /// Notes by which condition the rows of an object are read from now on. Whether they were read by another one; of a
    /// cache that a version before has made, that is not known.
    pub fn note_condition(&mut self, object: &str, condition: Option<&str>) -> rusqlite::Result<bool> {
        let (key, condition) = (format!("where {object}"), condition.unwrap_or_default());
        let noted = meta::<String>(&self.transaction, &key)?;
        if noted.as_deref() == Some(condition) {
            return Ok(false);
        }
        self.transaction.execute(
            "insert into _meta values (?1, ?2) on conflict do update set value = excluded.value",
            params![key, condition],
        )?;
        Ok(noted.is_some())
    }

    /// An object whose rows were read by another condition is read again from its beginning. Whether it was complete.
    pub fn read_by_condition(&mut self, object: &str, now: Millis) -> rusqlite::Result<bool> {
        self.restart_load(object)?;
        let stored = objects::object(&self.transaction, object)?;
        if !stored.is_some_and(|stored| matches!(stored.state, State::Live | State::Reload)) {
            return Ok(false);
        }
        self.mark_reload(object)?;
        self.reopen_repair(
            &Entry::object(Kind::Reload, object, reason::CONDITION_CHANGED),
            now,
        )?;
        Ok(true)
    }

    /// Drops the columns of fields that are left out. Every row is told to have changed, and a load that is under way
    /// begins anew. Gives the names of those that were there.
    pub fn leave_out(&mut self, table: &Table, left_out: &[String]) -> rusqlite::Result<Vec<String>> {
        if left_out.is_empty() {
            return Ok(Vec::new());
        }
        let present = fields::columns(&self.transaction, &table.name)?;
        let is_column = |name: &str| table.columns.iter().any(|column| column.name == name);
        let mut dropped = Vec::new();
        for field in left_out {
            let name = field.to_ascii_lowercase();
            if !present.contains(&name) || is_column(&name) || dropped.contains(field) {
                continue;
            }
            fields::drop_column(&self.transaction, &table.name, &name)?;
            self.transaction.execute(
                "delete from _field where object = ?1 and lower(field) = ?2",
                params![table.object, name],
            )?;
            dropped.push(field.clone());
        }
        if dropped.is_empty() {
            return Ok(dropped);
        }
        views::build(&self.transaction)?;
        self.restart_load(&table.object)?;
        self.tell_all_rows(table)?;
        Ok(dropped)
    }

    /// All rows of a table are others than they were.
    fn tell_all_rows(&mut self, table: &Table) -> rusqlite::Result<()> {
        self.memory.rev += 1;
        let name = quoted(&table.name);
        self.transaction
            .execute(&format!("update {name} set _rev = ?1"), [self.memory.rev])?;
        self.transaction.execute(
            "insert into _change values (?1, ?2, null, 'loaded')",
            params![self.memory.rev, table.object],
        )?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::row::{Column, ColumnKind};
    use crate::store::cache::Cache;

    #[test]
    fn another_condition_reads_an_object_again_that_was_complete() {
        let dir = tempfile::tempdir().unwrap();
        let mut cache = Cache::open(dir.path()).unwrap();
        let table = Table {
            object: "Account".to_owned(),
            name: "account".to_owned(),
            columns: vec![Column {
                field: "Name".to_owned(),
                name: "name".to_owned(),
                kind: ColumnKind::Text,
            }],
        };
        cache.ensure_object(&table, true, 1).unwrap();
        let mut batch = cache.batch().unwrap();
        let cases = [
            (Some("A = 1"), false),
            (Some("A = 1"), false),
            (Some("A = 2"), true),
            (None, true),
            (None, false),
            (Some("A = 1"), true),
        ];
        for (condition, expected) in cases {
            let changed = batch.note_condition("Account", condition).unwrap();
            assert_eq!(changed, expected, "{condition:?}");
        }
        assert!(
            !batch.read_by_condition("Account", 2).unwrap(),
            "it is loaded anyway"
        );
        batch
            .transaction
            .execute("update _object set state = 'live'", [])
            .unwrap();
        assert!(batch.read_by_condition("Account", 3).unwrap());
        let object = objects::object(&batch.transaction, "Account").unwrap();
        assert_eq!(object.unwrap().state, State::Reload);
    }
}
