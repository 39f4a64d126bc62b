//! What storefronts ask of the cache, as SQL: stores, products with their prices, rows as they are.
//!
//! Everything here reads through a reader's connection and sees one commit. Rows are written as JSON straight
//! from SQLite's values, without a tree in between, because that is what most requests cost. Tables and
//! fields differ between orgs: what stores show is read through the views of [`views`], in which what an org lacks
//! is null; of raw rows, a table that is not there is an answer ([`Found::NoObject`]).

pub mod categories;
pub mod charges;
pub mod customers;
pub mod feed;
mod index;
pub mod items;
pub mod json;
pub mod listing;
pub mod objects;
pub mod offer;
pub mod prices;
pub mod products;
pub mod promotions;
pub mod resolve;
pub mod shelf;
pub mod shipping;
pub mod shown;
mod sources;
pub mod stores;
pub mod taxes;
pub mod views;
pub mod visitor;
pub mod zones;

use rusqlite::{Connection, Error, OptionalExtension, Row};

use crate::model::clock::{Millis, parse_datetime};

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

/// Whether a record is mirrored; never where its object is not.
pub fn is_present(connection: &Connection, object: &str, id: &str) -> rusqlite::Result<bool> {
    let table = object.to_ascii_lowercase();
    let sql = format!("select 1 from \"{table}\" where id = ?1");
    let Some(mut present) = absent(connection.prepare_cached(&sql))? else {
        return Ok(false);
    };
    present.exists([id])
}

/// When a mirrored record was made, as far as its row tells.
pub fn created_at(connection: &Connection, object: &str, id: &str) -> rusqlite::Result<Option<Millis>> {
    let text = text_of(connection, object, id, "CreatedDate")?;
    Ok(text.as_deref().and_then(parse_datetime))
}

/// A field of a mirrored record; `None` where the row does not tell it.
pub fn text_of(
    connection: &Connection,
    object: &str,
    id: &str,
    field: &str,
) -> rusqlite::Result<Option<String>> {
    let [table, column] = [object, field].map(str::to_ascii_lowercase);
    // A name in quotes that is no column's would be a text.
    let sql = format!("select \"{table}\".\"{column}\" from \"{table}\" where id = ?1");
    Ok(absent(first(connection, &sql, [id], |row| row.get(0)))?
        .flatten()
        .flatten())
}

/// The columns in which a row names persons.
const OF_PERSONS: [&str; 7] = [
    "accountid",
    "contactid",
    "leadid",
    "billtocontactid",
    "shiptocontactid",
    "personcontactid",
    "s_c__contact_id__c",
];

/// The records of persons that a mirrored row names, the row itself among them; ids of anything else may be too.
pub fn persons_of(connection: &Connection, object: &str, id: &str) -> rusqlite::Result<Vec<String>> {
    let table = object.to_ascii_lowercase();
    let read = |row: &Row<'_>| {
        let named = OF_PERSONS
            .iter()
            .map(|column| row.get::<_, Option<String>>(*column));
        // Objects have only some of them.
        Ok(named.flatten().flatten().collect::<Vec<String>>())
    };
    let sql = format!("select * from \"{table}\" where id = ?1");
    let mut persons = absent(first(connection, &sql, [id], read))?
        .flatten()
        .unwrap_or_default();
    persons.push(id.to_owned());
    Ok(persons)
}

/// Whether an order of a store's is mirrored under a storefront's key. Whose it is says the order's own store, and
/// where it has none its price book, as long as that is no other store's too.
pub fn has_order(connection: &Connection, key: &str, store: &stores::Store) -> rusqlite::Result<bool> {
    for field in ["external_id__c", "s_c__sc_id__c"] {
        let sql = format!("select * from \"order\" where {field} = ?1 collate nocase limit 1");
        let row = first(connection, &sql, [key], |row| {
            // Orders of an org have only some of them.
            let [of_store, book] =
                ["s_c__store_id__c", "pricebook2id"].map(|field| row.get::<_, Option<String>>(field));
            Ok((of_store.unwrap_or_default(), book.unwrap_or_default()))
        });
        let Some(Some((of_store, book))) = absent(row)? else {
            continue;
        };
        return match (of_store.filter(|id| !id.is_empty()), book) {
            (Some(of_store), _) => Ok(of_store == store.id),
            (None, Some(book)) if store.pricebook_id.as_ref() == Some(&book) => {
                stores::has_book_alone(connection, &book)
            }
            (None, _) => Ok(false),
        };
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

/// Whether one contact alone has an address.
pub fn is_one_s_address(connection: &Connection, address: &str) -> rusqlite::Result<bool> {
    let sql = "select count(*) from (select 1 from _of_contact where email = ?1 collate nocase limit 2)";
    let count: Option<i64> = first(connection, sql, [address], |row| row.get(0))?;
    Ok(count == Some(1))
}

/// Whether a text may be an id of the org's.
pub fn is_id(text: &str) -> bool {
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

/// A store that the configuration makes of a price book.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BookStore {
    /// The price book's id, 18 characters; also the store's.
    pub pricebook_id: String,
    pub code: String,
    pub name: String,
    pub domain: Option<String>,
    pub path: Option<String>,
    pub currency: Option<String>,
    pub locale: Option<String>,
    pub timezone: Option<String>,
}

/// Makes the views and what they need, and the stores that the configuration makes of price books. For the cache's
/// writer, once the tables are there; repeating it costs nothing.
pub fn prepare(connection: &Connection, stores: &[BookStore]) -> rusqlite::Result<()> {
    let transaction = connection.unchecked_transaction()?;
    transaction.execute("delete from _book_store", [])?;
    for store in stores {
        transaction.execute(
            "insert into _book_store values (?1, ?2, ?3, lower(?4), ?5, ?6, ?7, ?8)",
            rusqlite::params![
                store.pricebook_id,
                store.name,
                store.code,
                store.domain,
                store.path,
                store.currency,
                store.locale,
                store.timezone
            ],
        )?;
    }
    views::build(&transaction)?;
    transaction.commit()
}

/// What views would read and this org lacks: objects, and fields of objects.
pub fn gaps(connection: &Connection) -> rusqlite::Result<Vec<(String, Option<String>)>> {
    let Some(mut gaps) =
        absent(connection.prepare("select object, field from store_gap_v1 order by object, field"))?
    else {
        return Ok(Vec::new());
    };
    gaps.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

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
