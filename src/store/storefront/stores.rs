//! The stores: those of an org that runs StoreConnect, or those that the configuration makes of price books.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use rusqlite::{Connection, Row};

use crate::model::clock::is_known_zone;
use crate::store::storefront::{Found, absent, first, is_id, json};

/// What everything else needs to know of a store.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Store {
    pub id: String,
    pub name: Option<String>,
    pub code: Option<String>,
    /// In lower case.
    pub domain: Option<String>,
    pub path: Option<String>,
    pub currency: Option<String>,
    pub pricebook_id: Option<String>,
    pub zone_id: Option<String>,
    pub group_id: Option<String>,
    pub tax_provider_id: Option<String>,
    /// IANA name; what "today" is follows it.
    pub timezone: Option<String>,
    pub default: bool,
    pub disabled: bool,
    pub shipping: bool,
    pub tax_inclusive: bool,
}

/// What nearly every request begins with: no more of the view than is needed.
macro_rules! select {
    ($rest:literal) => {
        concat!(
            "select store_id, name, code, domain, path, currency, pricebook_id, zone_id, group_id, tax_provider_id, timezone,
                 is_default, is_disabled, is_shipping_enabled, is_tax_inclusive from store_v1 ",
            $rest
        )
    };
}

/// A store by its id, its code or its domain.
pub fn find(connection: &Connection, key: &str) -> rusqlite::Result<Found<Store>> {
    let is_host = key.contains('.') || key == "localhost";
    let by = [
        (is_id(key), select!("where store_id = ?1")),
        (true, select!("where code = ?1 order by store_id limit 1")),
        // Of several stores at one domain, the primary one has its root.
        (
            is_host,
            select!("where domain = lower(?1) order by is_default desc, path is not null, store_id limit 1"),
        ),
    ];
    for (_, sql) in by.into_iter().filter(|(likely, _)| *likely) {
        if let Some(Some(store)) = absent(first(connection, sql, [key], store))? {
            return Ok(Found::Row(store));
        }
    }
    Ok(if are_there(connection)? {
        Found::NoRow
    } else {
        Found::NoObject
    })
}

/// Whether a price book is one store's and no other's.
pub fn has_book_alone(connection: &Connection, pricebook_id: &str) -> rusqlite::Result<bool> {
    let sql = "select count(*) from store_v1 where pricebook_id = ?1";
    let count: Option<i64> = first(connection, sql, [pricebook_id], |row| row.get(0))?;
    Ok(count == Some(1))
}

/// All stores; an org has few.
pub fn list(connection: &Connection) -> rusqlite::Result<Found<Vec<Store>>> {
    if !are_there(connection)? {
        return Ok(Found::NoObject);
    }
    let mut stores = connection.prepare_cached(select!("order by store_id"))?;
    let stores = stores.query_map([], store)?;
    Ok(Found::Row(stores.collect::<rusqlite::Result<_>>()?))
}

/// Whether the cache can have stores at all.
fn are_there(connection: &Connection) -> rusqlite::Result<bool> {
    let sql = "select exists (select 1 from store_v1)
        or not exists (select 1 from store_gap_v1 where object = 's_c__Store__c' and field is null)";
    let there = absent(first(connection, sql, [], |row| row.get::<_, bool>(0)))?;
    Ok(there.flatten().unwrap_or(false))
}

/// Time zones that were told of.
static UNKNOWN: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());
/// Most of them.
const UNKNOWN_MAX: usize = 100;

/// Says once that a store's days are those of UTC, because this machine does not know its time zone.
fn tell_unknown(zone: &str) {
    if is_known_zone(zone) {
        return;
    }
    let mut told = UNKNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    if told.len() < UNKNOWN_MAX && told.insert(zone.to_owned()) {
        tracing::warn!(
            zone,
            "a store has the time zone \"{zone}\", which this machine does not know: its days are those of UTC; give the store an IANA name such as Europe/Berlin in the org"
        );
    }
}

fn store(row: &Row<'_>) -> rusqlite::Result<Store> {
    Ok(Store {
        id: row.get(0)?,
        name: row.get(1)?,
        code: row.get(2)?,
        domain: row.get(3)?,
        path: row.get(4)?,
        currency: row.get(5)?,
        pricebook_id: row.get(6)?,
        zone_id: row.get(7)?,
        group_id: row.get(8)?,
        tax_provider_id: row.get(9)?,
        timezone: row
            .get::<_, Option<String>>(10)?
            .inspect(|zone| tell_unknown(zone)),
        default: row.get(11)?,
        disabled: row.get(12)?,
        shipping: row.get(13)?,
        tax_inclusive: row.get(14)?,
    })
}

/// Those of the stores that may be told of, as the view `store_v1` has them.
pub fn listed(
    connection: &Connection,
    holds: impl Fn(&str) -> bool,
) -> rusqlite::Result<Found<Vec<Vec<u8>>>> {
    if !are_there(connection)? {
        return Ok(Found::NoObject);
    }
    let mut stores = connection.prepare_cached("select * from store_v1 order by store_id")?;
    let mut rows = stores.query([])?;
    let mut listed = Vec::new();
    while let Some(row) = rows.next()? {
        if holds(&row.get::<_, String>("store_id")?) {
            listed.push(whole(row)?);
        }
    }
    Ok(Found::Row(listed))
}

/// A row of `store_v1`, with its id under the name that all of this API uses too.
fn whole(row: &Row<'_>) -> rusqlite::Result<Vec<u8>> {
    let mut out = Vec::with_capacity(1_024);
    json::member(&mut out, b'{', "id", Some(&row.get::<_, String>("store_id")?));
    let mut rest = Vec::with_capacity(1_024);
    json::view_row(&mut rest, row)?;
    out.push(b',');
    out.extend_from_slice(&rest[1..]);
    Ok(out)
}

/// A store with the settings of its own that are meant to be seen, and its verified host names; `None` where it is
/// gone since it was found.
pub fn with_settings(connection: &Connection, store: &Store) -> rusqlite::Result<Option<Vec<u8>>> {
    let row = first(
        connection,
        "select * from store_v1 where store_id = ?1",
        [&store.id],
        whole,
    )?;
    let Some(mut out) = row else { return Ok(None) };
    out.pop();
    for (name, sql) in [
        (
            "variables",
            "select id, \"key\", value from store_variable_v1 where store_id = ?1 order by \"key\", id",
        ),
        (
            "domains",
            "select id, domain, is_active, status from store_domain_v1 where store_id = ?1 order by domain, id",
        ),
        (
            "campaigns",
            "select id, campaign_id, name, opt_in_text, information_markdown, is_preselected from store_campaign_v1 \
             where store_id = ?1 order by id",
        ),
    ] {
        out.push(b',');
        json::string(&mut out, name);
        out.push(b':');
        let mut statement = connection.prepare_cached(sql)?;
        let mut rows = statement.query([&store.id])?;
        let mut open = b'[';
        while let Some(row) = rows.next()? {
            out.push(open);
            open = b',';
            json::view_row(&mut out, row)?;
        }
        if open == b'[' {
            out.push(open);
        }
        out.push(b']');
    }
    out.push(b'}');
    Ok(Some(out))
}
