//! What storefronts ask of the cache, as SQL: stores, products with their prices, rows as they are.
//!
//! Everything here reads through a reader's connection and sees one commit. Rows are written as JSON straight
//! from SQLite's values, without a tree in between, because that is what most requests cost. Tables and
//! fields differ between orgs: a table that is not there is an answer ([`Found::NoObject`]), and so is a field
//! that is not there (no value).

pub mod items;
pub mod json;
pub mod objects;
pub mod products;
pub mod stores;

use rusqlite::{Connection, Error, OptionalExtension, Row};

/// What a look-up found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found<T> {
    Row(T),
    NoRow,
    /// The cache has no such table: the object is not mirrored.
    NoObject,
}

impl<T> Found<T> {
    pub fn map<U>(self, change: impl FnOnce(T) -> U) -> Found<U> {
        match self {
            Self::Row(row) => Found::Row(change(row)),
            Self::NoRow => Found::NoRow,
            Self::NoObject => Found::NoObject,
        }
    }
}

/// Indexes that these queries need to stay quick: table and columns.
const INDEXES: [(&str, &str); 7] = [
    ("pricebookentry", "product2id, pricebook2id"),
    ("s_c__products_product_categories__c", "s_c__product_id__c"),
    ("s_c__product_variant__c", "s_c__variant_product_id__c"),
    ("product2", "productcode"),
    ("product2", "s_c__slug__c"),
    ("s_c__store__c", "s_c__code__c"),
    ("s_c__store__c", "s_c__domain__c"),
];

/// Makes the indexes, as far as the cache has their tables and columns. For the cache's writer, best after a
/// first load; repeating it costs nothing.
pub fn index(connection: &Connection) -> rusqlite::Result<()> {
    for (table, columns) in INDEXES {
        let name = columns.replace(", ", "_");
        let made = connection.execute_batch(&format!(
            "create index if not exists storefront_{table}_{name} on {table} ({columns})"
        ));
        absent(made)?;
    }
    Ok(())
}

/// Whether a record is mirrored; never where its object is not.
pub fn is_present(connection: &Connection, object: &str, id: &str) -> rusqlite::Result<bool> {
    let table = object.to_ascii_lowercase();
    let sql = format!("select 1 from \"{table}\" where id = ?1");
    let Some(mut present) = absent(connection.prepare_cached(&sql))? else {
        return Ok(false);
    };
    present.exists([id])
}

/// Whether an order of a store's is mirrored under a storefront's key.
pub fn has_order(connection: &Connection, key: &str, store_id: &str) -> rusqlite::Result<bool> {
    for field in ["external_id__c", "s_c__sc_id__c"] {
        let sql = format!("select * from \"order\" where {field} = ?1 collate nocase limit 1");
        let row = first(connection, &sql, [key], |row| text(row, "s_c__store_id__c"));
        if let Some(Some(store)) = absent(row)? {
            return Ok(store.is_none_or(|store| store == store_id));
        }
    }
    Ok(false)
}

/// A mirrored object, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectStatus {
    pub object: String,
    pub state: String,
    /// Kept current by change events, else by asking.
    pub streamed: bool,
    pub rows: i64,
}

/// All mirrored objects by name.
pub fn object_states(connection: &Connection) -> rusqlite::Result<Vec<ObjectStatus>> {
    let sql = "select object, state, streamed, rows from _object order by object";
    let Some(mut objects) = absent(connection.prepare_cached(sql))? else {
        return Ok(Vec::new());
    };
    let states = objects.query_map([], |row| {
        Ok(ObjectStatus {
            object: row.get(0)?,
            state: row.get(1)?,
            streamed: row.get(2)?,
            rows: row.get(3)?,
        })
    })?;
    states.collect()
}

/// `None` where a table or a column is not there.
fn absent<T>(result: rusqlite::Result<T>) -> rusqlite::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if is_absence(&error) => Ok(None),
        Err(error) => Err(error),
    }
}

fn is_absence(error: &Error) -> bool {
    let message = match error {
        Error::SqliteFailure(_, Some(message)) => message,
        Error::SqlInputError { msg, .. } => msg,
        _ => return false,
    };
    message.starts_with("no such table")
        || message.starts_with("no such column")
        || message.contains("has no column named")
}

/// Whether a text may be an id of the org's.
fn is_id(text: &str) -> bool {
    text.len() == 18 && text.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

/// The first row of a query over one parameter.
fn first<T>(
    connection: &Connection,
    sql: &str,
    parameters: impl rusqlite::Params,
    read: impl FnOnce(&Row<'_>) -> rusqlite::Result<T>,
) -> rusqlite::Result<Option<T>> {
    connection
        .prepare_cached(sql)?
        .query_row(parameters, read)
        .optional()
}

/// Text in a column, where there is such a column and a value.
fn text(row: &Row<'_>, column: &str) -> rusqlite::Result<Option<String>> {
    optional(row.get(column))
}

fn flag(row: &Row<'_>, column: &str) -> rusqlite::Result<bool> {
    Ok(optional::<bool>(row.get(column))?.unwrap_or(false))
}

fn real(row: &Row<'_>, column: &str) -> rusqlite::Result<Option<f64>> {
    optional(row.get(column))
}

fn optional<T>(value: rusqlite::Result<Option<T>>) -> rusqlite::Result<Option<T>> {
    match value {
        Err(Error::InvalidColumnName(_)) => Ok(None),
        value => value,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn indexes_what_is_there() {
        let connection = Connection::open_in_memory().unwrap();
        connection
            .execute_batch("create table product2 (id text primary key, productcode text)")
            .unwrap();
        index(&connection).unwrap();
        index(&connection).unwrap();
        let made: i64 = connection
            .query_row(
                "select count(*) from sqlite_schema where type = 'index' and name like 'storefront%'",
                [],
                |row| row.get(0),
            )
            .unwrap();
        assert_eq!(made, 1);
    }

    #[test]
    fn orders_are_absent_until_they_arrive() {
        let connection = Connection::open_in_memory().unwrap();
        assert!(!is_present(&connection, "Order", "801A").unwrap());
        connection
            .execute_batch(
                "create table \"order\" (id text primary key); insert into \"order\" values ('801B')",
            )
            .unwrap();
        assert!(!is_present(&connection, "Order", "801A").unwrap());
        assert!(is_present(&connection, "Order", "801B").unwrap());
    }
}
