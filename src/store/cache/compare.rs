//! Reading the cache for a comparison with the org: rows counted by windows of their stamps, and looked at.
//!
//! Stamps are stored as text of one width, so that they compare as texts. A row without a stamp is before all.

use std::collections::HashSet;

use rusqlite::types::ValueRef;
use rusqlite::{Connection, OptionalExtension, params};
use serde_json::{Value as Json, json};

use crate::model::clock::{Millis, format_datetime, parse_datetime};
use crate::model::row::{Table, Value, quoted};
use crate::store::cache::bind::same;

/// Stamps from `from` up to, but not, `to`; open where there is none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Window {
    pub from: Option<Millis>,
    pub to: Option<Millis>,
}

/// How many rows a window has, and the newest stamp among them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    pub rows: u64,
    pub newest: Option<Millis>,
}

/// A column of a row that differs.
#[derive(Clone, Debug, PartialEq)]
pub struct Difference {
    pub field: String,
    pub here: Json,
    pub org: Json,
}

fn bounds(window: &Window) -> (String, String) {
    let text = |stamp: Option<Millis>, open: &str| stamp.map_or_else(|| open.to_owned(), format_datetime);
    // `:` sorts after every digit.
    (text(window.from, ""), text(window.to, ":"))
}

/// Counts a window's rows. `stamp` is the name of a field.
pub fn tally(
    connection: &Connection,
    table: &Table,
    stamp: &str,
    window: &Window,
) -> rusqlite::Result<Tally> {
    let (name, stamp) = (quoted(&table.name), quoted(&stamp.to_ascii_lowercase()));
    let sql = format!(
        "select count(*), max({stamp}) from {name} where coalesce({stamp}, '') >= ?1 and coalesce({stamp}, '') < ?2"
    );
    let (from, to) = bounds(window);
    connection.query_row(&sql, params![from, to], |row| {
        let newest: Option<String> = row.get(1)?;
        Ok(Tally {
            rows: row.get::<_, i64>(0)?.unsigned_abs(),
            newest: newest.as_deref().and_then(parse_datetime),
        })
    })
}

/// A stamp that has about half of the window's rows before it, and some of them; `None` where all are alike.
pub fn middle(
    connection: &Connection,
    table: &Table,
    stamp: &str,
    window: &Window,
    rows: u64,
) -> rusqlite::Result<Option<Millis>> {
    let (name, stamp) = (quoted(&table.name), quoted(&stamp.to_ascii_lowercase()));
    let condition = format!("coalesce({stamp}, '') >= ?1 and coalesce({stamp}, '') < ?2");
    let (from, to) = bounds(window);
    let text = |sql: &str, last: &dyn rusqlite::ToSql| {
        connection
            .query_row(sql, params![from, to, last], |row| {
                row.get::<_, Option<String>>(0)
            })
            .optional()
            .map(Option::flatten)
    };
    let at = format!("select {stamp} from {name} where {condition} order by {stamp} limit 1 offset ?3");
    let Some(half) = text(&at, &i64::try_from(rows / 2).unwrap_or(i64::MAX))? else {
        return Ok(None);
    };
    let earlier = format!("select min({stamp}) from {name} where {condition} and {stamp} < ?3");
    if text(&earlier, &half)?.is_some() {
        return Ok(parse_datetime(&half));
    }
    // More than half share one stamp: the next one divides.
    let later = format!("select min({stamp}) from {name} where {condition} and {stamp} > ?3");
    Ok(text(&later, &half)?.as_deref().and_then(parse_datetime))
}

/// The ids of a window's rows, with their stamps.
pub fn stamps(
    connection: &Connection,
    table: &Table,
    stamp: &str,
    window: &Window,
) -> rusqlite::Result<Vec<(String, Option<Millis>)>> {
    let (name, stamp) = (quoted(&table.name), quoted(&stamp.to_ascii_lowercase()));
    let sql = format!(
        "select id, {stamp} from {name} where coalesce({stamp}, '') >= ?1 and coalesce({stamp}, '') < ?2"
    );
    let (from, to) = bounds(window);
    connection
        .prepare(&sql)?
        .query_map(params![from, to], |row| {
            let stamp: Option<String> = row.get(1)?;
            Ok((row.get(0)?, stamp.as_deref().and_then(parse_datetime)))
        })?
        .collect()
}

/// The ids of all rows.
pub fn ids(connection: &Connection, table: &Table) -> rusqlite::Result<HashSet<String>> {
    connection
        .prepare(&format!("select id from {}", quoted(&table.name)))?
        .query_map([], |row| row.get(0))?
        .collect()
}

/// Whether a row is here.
pub fn has_row(connection: &Connection, table: &Table, id: &str) -> rusqlite::Result<bool> {
    connection
        .prepare_cached(&format!("select 1 from {} where id = ?1", quoted(&table.name)))?
        .exists([id])
}

/// Where a row differs from these values, one for each column; `None` where it is not here.
pub fn differences(
    connection: &Connection,
    table: &Table,
    id: &str,
    values: &[Value<'_>],
) -> rusqlite::Result<Option<Vec<Difference>>> {
    let columns: Vec<String> = table.columns.iter().map(|column| quoted(&column.name)).collect();
    let list = match columns.as_slice() {
        [] => "1".to_owned(),
        columns => columns.join(", "),
    };
    let sql = format!("select {list} from {} where id = ?1", quoted(&table.name));
    connection
        .prepare_cached(&sql)?
        .query_row([id], |row| {
            let mut found = Vec::new();
            for (position, (column, value)) in table.columns.iter().zip(values).enumerate() {
                let stored = row.get_ref(position)?;
                if !same(stored, *value) {
                    found.push(Difference {
                        field: column.field.clone(),
                        here: stored_json(stored),
                        org: value_json(*value),
                    });
                }
            }
            Ok(found)
        })
        .optional()
}

fn stored_json(value: ValueRef<'_>) -> Json {
    match value {
        ValueRef::Null | ValueRef::Blob(_) => Json::Null,
        ValueRef::Integer(number) => json!(number),
        ValueRef::Real(number) => json!(number),
        ValueRef::Text(text) => json!(String::from_utf8_lossy(text)),
    }
}

fn value_json(value: Value<'_>) -> Json {
    match value {
        Value::Null => Json::Null,
        Value::Integer(number) => json!(number),
        Value::Real(number) => json!(number),
        Value::Text(text) => json!(text.as_str()),
        Value::DateTime(_) | Value::Date(_) | Value::Time(_) => json!(value.formatted()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::row::{Column, ColumnKind};

    /// 2026-11-22T09:30:00.000Z
    const T0: Millis = 1_795_339_800_000;

    fn table() -> Table {
        let column = |field: &str, kind| Column {
            field: field.to_owned(),
            name: field.to_ascii_lowercase(),
            kind,
        };
        Table {
            object: "Order".to_owned(),
            name: "order".to_owned(),
            columns: vec![
                column("Name", ColumnKind::Text),
                column("SystemModstamp", ColumnKind::DateTime),
            ],
        }
    }

    fn database(stamps: &[Option<i64>]) -> Connection {
        let connection = Connection::open_in_memory().unwrap();
        connection
            .execute_batch("create table \"order\" (id text primary key, name text, systemmodstamp text)")
            .unwrap();
        for (number, seconds) in stamps.iter().enumerate() {
            let stamp = seconds.map(|seconds| format_datetime(T0 + seconds * 1_000));
            connection
                .execute(
                    "insert into \"order\" values (?1, 'n', ?2)",
                    params![format!("8{number}"), stamp],
                )
                .unwrap();
        }
        connection
    }

    #[test]
    fn windows_divide_the_rows_between_them() {
        let connection = database(&[None, Some(0), Some(1), Some(1), Some(1), Some(5)]);
        let table = table();
        let all = Window::default();
        let tally = |window: &Window| tally(&connection, &table, "SystemModstamp", window).unwrap();
        assert_eq!(
            tally(&all),
            Tally {
                rows: 6,
                newest: Some(T0 + 5_000)
            }
        );
        let middle = middle(&connection, &table, "SystemModstamp", &all, 6).unwrap();
        assert_eq!(middle, Some(T0 + 1_000));
        let (before, after) = (
            Window {
                from: None,
                to: middle,
            },
            Window {
                from: middle,
                to: None,
            },
        );
        assert_eq!((tally(&before).rows, tally(&after).rows), (2, 4));
        let listed = stamps(&connection, &table, "SystemModstamp", &before).unwrap();
        assert_eq!(listed, [("80".to_owned(), None), ("81".to_owned(), Some(T0))]);
    }

    #[test]
    fn rows_of_one_stamp_are_not_divided() {
        let table = table();
        let middle = |stamps: &[Option<i64>]| {
            let rows = stamps.len() as u64;
            middle(
                &database(stamps),
                &table,
                "SystemModstamp",
                &Window::default(),
                rows,
            )
            .unwrap()
        };
        assert_eq!(middle(&[Some(3), Some(3), Some(3)]), None);
        assert_eq!(middle(&[Some(3), Some(3), Some(3), Some(4)]), Some(T0 + 4_000));
        assert_eq!(middle(&[]), None);
    }

    #[test]
    fn a_row_is_compared_value_by_value() {
        let connection = database(&[Some(0)]);
        let table = table();
        let compare = |id: &str, name: &str| {
            let values = [Value::Text(name.into()), Value::DateTime(T0 + 9_000)];
            differences(&connection, &table, id, &values).unwrap()
        };
        assert_eq!(compare("80", "n").unwrap()[0].field, "SystemModstamp");
        assert_eq!(compare("81", "n"), None);
        let found = compare("80", "m").unwrap();
        assert_eq!(
            (found[0].field.as_str(), &found[0].here, &found[0].org),
            ("Name", &json!("n"), &json!("m"))
        );
    }
}
