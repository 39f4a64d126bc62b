//! Tables follow the org, field by field.
//!
//! - A field that appears becomes a column, and the object is read again: the rows that are there have no value.
//! - A field that goes away, deleted or hidden from the user, which look the same, keeps its column and what is
//!   in it; it is listed as missing since then, and new rows have no value there. When it comes back, the object
//!   is read again. One that the configuration leaves out goes with its column.
//! - A field whose type changes gets its values anew, and the object is read again. Where SQLite stores the two
//!   types differently the column is made anew, so that until then readers see null and never a value of the old
//!   type.

use std::collections::{HashMap, HashSet};

use rusqlite::{Connection, params};

use crate::model::clock::Millis;
use crate::model::row::{Column, ColumnKind, Table, quoted};
use crate::store::storefront::views;

/// How a table differs from what it was: names of fields.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Evolved {
    pub added: Vec<String>,
    /// Were missing for a while.
    pub returned: Vec<String>,
    pub retyped: Vec<String>,
    pub missing: Vec<String>,
}

impl Evolved {
    /// Whether rows lack values that the org has.
    pub fn wants_values(&self) -> bool {
        !(self.added.is_empty() && self.returned.is_empty() && self.retyped.is_empty())
    }

    pub fn is_empty(&self) -> bool {
        !self.wants_values() && self.missing.is_empty()
    }
}

impl std::fmt::Display for Evolved {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let parts = [
            ("new", &self.added),
            ("back", &self.returned),
            ("of another type", &self.retyped),
            ("no longer shown", &self.missing),
        ];
        let told = parts.iter().filter(|(_, fields)| !fields.is_empty());
        let told: Vec<String> = told
            .map(|(what, fields)| format!("{what}: {}", fields.join(", ")))
            .collect();
        f.write_str(&told.join("; "))
    }
}

/// A field that the org no longer shows: object, field, and since when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Missing {
    pub object: String,
    pub field: String,
    pub since: Millis,
}

/// All fields that are missing.
pub fn missing(connection: &Connection) -> rusqlite::Result<Vec<Missing>> {
    connection
        .prepare_cached(
            "select object, field, missing_since from _field where missing_since is not null order by object, field",
        )?
        .query_map([], |row| {
            Ok(Missing {
                object: row.get(0)?,
                field: row.get(1)?,
                since: row.get(2)?,
            })
        })?
        .collect()
}

/// The fields of an object that are mirrored and that the org shows.
pub fn shown(connection: &Connection, object: &str) -> rusqlite::Result<HashSet<String>> {
    connection
        .prepare_cached("select field from _field where object = ?1 and missing_since is null")?
        .query_map([object], |row| row.get(0))?
        .collect()
}

struct Known {
    kind: String,
    missing: bool,
}

/// Makes or changes a table so that it has these columns.
pub(super) fn evolve(connection: &Connection, table: &Table, now: Millis) -> rusqlite::Result<Evolved> {
    let present = columns(connection, &table.name)?;
    let known = known(connection, &table.object)?;
    let mut evolved = Evolved::default();
    if present.is_empty() {
        connection.execute_batch(&create_sql(table))?;
    }
    for column in &table.columns {
        let field = column.field.clone();
        match known.get(&column.field) {
            _ if present.is_empty() => {}
            _ if !present.contains(&column.name) => {
                add(connection, table, column)?;
                evolved.added.push(field);
            }
            Some(known) if known.kind != kind_name(column.kind) => {
                retype(connection, table, column, &known.kind)?;
                evolved.retyped.push(field);
            }
            Some(known) if known.missing => evolved.returned.push(field),
            // A table of a version that kept no list of fields.
            Some(_) | None => {}
        }
        remember(connection, table, column)?;
    }
    for (field, known) in known {
        let shown = table.columns.iter().any(|column| column.field == field);
        if !shown && !known.missing {
            connection.execute(
                "update _field set missing_since = ?3 where object = ?1 and field = ?2",
                params![table.object, field, now],
            )?;
            evolved.missing.push(field);
        }
    }
    evolved.missing.sort();
    if !present.is_empty() && evolved.wants_values() {
        views::build(connection)?;
    }
    Ok(evolved)
}

fn known(connection: &Connection, object: &str) -> rusqlite::Result<HashMap<String, Known>> {
    connection
        .prepare("select field, kind, missing_since is not null from _field where object = ?1")?
        .query_map([object], |row| {
            let known = Known {
                kind: row.get(1)?,
                missing: row.get(2)?,
            };
            Ok((row.get(0)?, known))
        })?
        .collect()
}

fn remember(connection: &Connection, table: &Table, column: &Column) -> rusqlite::Result<()> {
    connection
        .prepare_cached(
            "insert into _field (object, field, kind) values (?1, ?2, ?3) on conflict (object, field) do update set \
             kind = excluded.kind, missing_since = null where kind <> excluded.kind or missing_since is not null",
        )?
        .execute(params![table.object, column.field, kind_name(column.kind)])?;
    Ok(())
}

fn add(connection: &Connection, table: &Table, column: &Column) -> rusqlite::Result<()> {
    let (table, name, kind) = (quoted(&table.name), quoted(&column.name), sql_type(column.kind));
    connection.execute_batch(&format!("alter table {table} add column {name} {kind}"))
}

fn retype(connection: &Connection, table: &Table, column: &Column, before: &str) -> rusqlite::Result<()> {
    let same = KINDS
        .iter()
        .any(|(kind, name)| *name == before && sql_type(*kind) == sql_type(column.kind));
    if same {
        return Ok(());
    }
    drop_column(connection, &table.name, &column.name)?;
    add(connection, table, column)
}

/// Views and indexes are to be built again after it.
pub(super) fn drop_column(connection: &Connection, table: &str, column: &str) -> rusqlite::Result<()> {
    // A column that an index is over can not go.
    let indexes: Vec<String> = connection
        .prepare(
            "select distinct list.name from pragma_index_list(?1) list, pragma_index_info(list.name) info \
             where info.name = ?2 and list.origin = 'c'",
        )?
        .query_map(params![table, column], |row| row.get(0))?
        .collect::<Result<_, _>>()?;
    for index in indexes {
        connection.execute_batch(&format!("drop index {}", quoted(&index)))?;
    }
    // Nor one that a view or a trigger names.
    views::drop_all(connection)?;
    let (table, column) = (quoted(table), quoted(column));
    connection.execute_batch(&format!("alter table {table} drop column {column}"))
}

pub(super) fn columns(connection: &Connection, table: &str) -> rusqlite::Result<HashSet<String>> {
    connection
        .prepare("select lower(name) from pragma_table_info(?1)")?
        .query_map([table], |row| row.get(0))?
        .collect()
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

/// As stored.
const KINDS: [(ColumnKind, &str); 7] = [
    (ColumnKind::Text, "text"),
    (ColumnKind::Boolean, "boolean"),
    (ColumnKind::Integer, "integer"),
    (ColumnKind::Real, "real"),
    (ColumnKind::Date, "date"),
    (ColumnKind::DateTime, "datetime"),
    (ColumnKind::Time, "time"),
];

fn kind_name(kind: ColumnKind) -> &'static str {
    KINDS
        .iter()
        .find(|(known, _)| *known == kind)
        .map_or("text", |(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(fields: &[(&str, ColumnKind)]) -> Table {
        let column = |(field, kind): &(&str, ColumnKind)| Column {
            field: (*field).to_owned(),
            name: field.to_ascii_lowercase(),
            kind: *kind,
        };
        Table {
            object: "Order".to_owned(),
            name: "order".to_owned(),
            columns: fields.iter().map(column).collect(),
        }
    }

    fn database() -> Connection {
        let connection = Connection::open_in_memory().unwrap();
        for migration in crate::store::cache::KIND.migrations {
            connection.execute_batch(migration).unwrap();
        }
        connection
    }

    #[test]
    fn a_table_follows_its_object_and_never_forgets() {
        use ColumnKind::{Date, Integer, Text};
        let connection = database();
        let evolve = |fields: &[(&str, ColumnKind)], now| evolve(&connection, &table(fields), now).unwrap();
        assert!(evolve(&[("Name", Text), ("Due", Text)], 1).is_empty());
        connection
            .execute_batch("insert into \"order\" values ('801', 1, null, 0, 'n', 'soon'); create index i on \"order\" (due)")
            .unwrap();
        assert!(evolve(&[("Name", Text), ("Due", Text)], 2).is_empty());
        assert_eq!(
            evolve(&[("Name", Text), ("Due", Text), ("Group", Text)], 3).added,
            ["Group"]
        );
        let gone = evolve(&[("Due", Text), ("Group", Text)], 4);
        assert_eq!(
            (gone.missing.as_slice(), gone.wants_values()),
            (&["Name".to_owned()][..], false)
        );
        let listed = missing(&connection).unwrap();
        assert_eq!((listed[0].field.as_str(), listed[0].since), ("Name", 4));
        let name: String = connection
            .query_row("select name from \"order\"", [], |row| row.get(0))
            .unwrap();
        assert_eq!(name, "n", "what a column held stays");
        assert!(
            evolve(&[("Due", Text), ("Group", Text)], 5).is_empty(),
            "said once"
        );
        assert_eq!(
            evolve(&[("Name", Text), ("Due", Text), ("Group", Text)], 6).returned,
            ["Name"]
        );
        assert_eq!(missing(&connection).unwrap(), []);
        let fields = [("Name", Text), ("Due", Date), ("Group", Integer)];
        assert_eq!(evolve(&fields, 7).retyped, ["Due", "Group"]);
        let due: Option<String> = connection
            .query_row("select due from \"order\"", [], |row| row.get(0))
            .unwrap();
        assert_eq!(
            due.as_deref(),
            Some("soon"),
            "stored alike: kept until it is read again"
        );
        let kind: String = connection
            .query_row(
                "select type from pragma_table_info('order') where name = 'group'",
                [],
                |row| row.get(0),
            )
            .unwrap();
        assert_eq!(kind.to_lowercase(), "integer");
    }
}
