//! Which objects are mirrored, and how far each is.
//!
//! Tables follow the org: a field that appears becomes a column, and the object is then read again, since the
//! rows that are there have no value for it. A column whose field went away stays and keeps what it had.

use std::collections::HashSet;
use std::fmt;

use rusqlite::{Connection, OptionalExtension, params};

use crate::model::clock::Millis;
use crate::model::row::{ColumnKind, Table, quoted};
use crate::store::cache::{Batch, Cache};

/// How far an object is. Stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Never loaded.
    Waiting,
    /// The first load has begun: the table is not complete yet.
    Loading,
    /// Complete and kept current.
    Live,
    /// Complete once; to be read again as a whole, or being read. Rows are served meanwhile.
    Reload,
}

impl State {
    const ALL: [Self; 4] = [Self::Waiting, Self::Loading, Self::Live, Self::Reload];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Loading => "loading",
            Self::Live => "live",
            Self::Reload => "reload",
        }
    }

    fn from_str(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == text)
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A mirrored object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectState {
    /// As describe names it.
    pub object: String,
    /// As SQL names it.
    pub table: String,
    pub state: State,
    /// Kept current by change events; else by polling.
    pub streamed: bool,
    /// Rows changed in the org before it are here.
    pub watermark: Option<Millis>,
    pub rows: i64,
    pub loaded_at: Option<Millis>,
}

const SELECT: &str = "select object, table_name, state, streamed, watermark, rows, loaded_at from _object";

fn read(row: &rusqlite::Row<'_>) -> rusqlite::Result<ObjectState> {
    let state: String = row.get(2)?;
    Ok(ObjectState {
        object: row.get(0)?,
        table: row.get(1)?,
        state: State::from_str(&state).unwrap_or(State::Waiting),
        streamed: row.get(3)?,
        watermark: row.get(4)?,
        rows: row.get(5)?,
        loaded_at: row.get(6)?,
    })
}

/// All mirrored objects, by name.
pub fn objects(connection: &Connection) -> rusqlite::Result<Vec<ObjectState>> {
    connection
        .prepare_cached(&format!("{SELECT} order by object"))?
        .query_map([], read)?
        .collect()
}

/// One mirrored object.
pub fn object(connection: &Connection, name: &str) -> rusqlite::Result<Option<ObjectState>> {
    connection
        .prepare_cached(&format!("{SELECT} where object = ?1"))?
        .query_row([name], read)
        .optional()
}

impl Cache {
    /// Makes or extends an object's table and its entry. An object that changes between streamed and polled,
    /// or gains a column, is read again.
    pub fn ensure_object(&mut self, table: &Table, streamed: bool) -> rusqlite::Result<ObjectState> {
        let transaction = self.connection.transaction()?;
        let present = object(&transaction, &table.object)?;
        let columns = columns(&transaction, &table.name)?;
        let extended = if columns.is_empty() {
            transaction.execute_batch(&create_sql(table))?;
            false
        } else {
            add_columns(&transaction, table, &columns)?
        };
        if let Some(present) = &present {
            let again = extended || present.streamed != streamed || columns.is_empty();
            let state = match present.state {
                State::Live if again => State::Reload,
                state => state,
            };
            transaction.execute(
                "update _object set streamed = ?2, state = ?3 where object = ?1",
                params![table.object, streamed, state.as_str()],
            )?;
        } else {
            transaction.execute(
                "insert into _object (object, table_name, state, streamed) values (?1, ?2, 'waiting', ?3)",
                params![table.object, table.name, streamed],
            )?;
        }
        let state = object(&transaction, &table.object)?.ok_or(rusqlite::Error::QueryReturnedNoRows)?;
        transaction.commit()?;
        Ok(state)
    }

    /// Forgets objects that are no longer mirrored; their tables stay, so that a permission lost by mistake
    /// does not empty a storefront. Their names.
    pub fn forget_objects_except(&mut self, kept: &[&str]) -> rusqlite::Result<Vec<String>> {
        let gone: Vec<String> = objects(&self.connection)?
            .into_iter()
            .map(|state| state.object)
            .filter(|object| !kept.contains(&object.as_str()))
            .collect();
        for object in &gone {
            self.connection
                .execute("delete from _object where object = ?1", [object])?;
        }
        Ok(gone)
    }
}

impl Batch<'_> {
    /// An object that is complete is to be read again. One that is not complete yet will be read anyway.
    pub fn mark_reload(&mut self, object: &str) -> rusqlite::Result<bool> {
        let changed = self
            .transaction
            .prepare_cached("update _object set state = 'reload' where object = ?1 and state = 'live'")?
            .execute([object])?;
        Ok(changed > 0)
    }

    pub fn set_watermark(&mut self, object: &str, watermark: Millis) -> rusqlite::Result<()> {
        self.transaction
            .prepare_cached(
                "update _object set watermark = max(coalesce(watermark, 0), ?2) where object = ?1",
            )?
            .execute(params![object, watermark])?;
        Ok(())
    }
}

fn columns(connection: &Connection, table: &str) -> rusqlite::Result<HashSet<String>> {
    connection
        .prepare("select lower(name) from pragma_table_info(?1)")?
        .query_map([table], |row| row.get(0))?
        .collect()
}

fn add_columns(connection: &Connection, table: &Table, present: &HashSet<String>) -> rusqlite::Result<bool> {
    let mut extended = false;
    for column in table
        .columns
        .iter()
        .filter(|column| !present.contains(&column.name))
    {
        let (table, name, kind) = (quoted(&table.name), quoted(&column.name), sql_type(column.kind));
        connection.execute_batch(&format!("alter table {table} add column {name} {kind}"))?;
        extended = true;
    }
    Ok(extended)
}

fn create_sql(table: &Table) -> String {
    let mut sql = format!(
        "create table {} (id text primary key not null, _rev integer not null, _modified text, _base integer not null",
        quoted(&table.name)
    );
    for column in &table.columns {
        sql.push_str(&format!(", {} {}", quoted(&column.name), sql_type(column.kind)));
    }
    sql.push(')');
    sql
}

fn sql_type(kind: ColumnKind) -> &'static str {
    match kind {
        ColumnKind::Boolean | ColumnKind::Integer => "integer",
        ColumnKind::Real => "real",
        ColumnKind::Text | ColumnKind::Date | ColumnKind::DateTime | ColumnKind::Time => "text",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::row::Column;

    fn table(fields: &[&str]) -> Table {
        let column = |field: &&str| Column {
            field: (*field).to_owned(),
            name: field.to_ascii_lowercase(),
            kind: ColumnKind::Text,
        };
        Table {
            object: "Order".to_owned(),
            name: "order".to_owned(),
            columns: fields.iter().map(column).collect(),
        }
    }

    #[test]
    fn a_new_field_becomes_a_column_and_the_object_is_read_again() {
        let dir = tempfile::tempdir().unwrap();
        let mut cache = Cache::open(dir.path()).unwrap();
        let first = cache.ensure_object(&table(&["Name"]), true).unwrap();
        assert_eq!((first.state, first.streamed), (State::Waiting, true));
        cache
            .connection
            .execute("update _object set state = 'live'", [])
            .unwrap();
        assert_eq!(
            cache.ensure_object(&table(&["Name"]), true).unwrap().state,
            State::Live
        );
        assert_eq!(
            cache
                .ensure_object(&table(&["Name", "Group"]), true)
                .unwrap()
                .state,
            State::Reload
        );
        let columns = columns(&cache.connection, "order").unwrap();
        assert!(
            columns.contains("group") && columns.contains("_base"),
            "{columns:?}"
        );
        cache
            .connection
            .execute("update _object set state = 'live'", [])
            .unwrap();
        assert_eq!(
            cache.ensure_object(&table(&["Name"]), false).unwrap().state,
            State::Reload
        );
        assert_eq!(cache.forget_objects_except(&[]).unwrap(), ["Order"]);
    }
}
