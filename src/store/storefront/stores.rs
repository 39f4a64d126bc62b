//! The stores: those of an org that runs StoreConnect, or those that the configuration makes of price books.

use rusqlite::{Connection, Row};

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
    /// As the view `store_v1` has it, as JSON.
    pub json: Vec<u8>,
}

const SELECT: &str = "select * from store_v1";

/// A store by its id, its code or its domain.
pub fn find(connection: &Connection, key: &str) -> rusqlite::Result<Found<Store>> {
    let is_host = key.contains('.') || key == "localhost";
    let by = [
        (is_id(key), "store_id = ?1"),
        (true, "code = ?1 order by store_id limit 1"),
        // Of several stores at one domain, the primary one has its root.
        (
            is_host,
            "domain = lower(?1) order by is_default desc, path is not null, store_id limit 1",
        ),
    ];
    for (_, condition) in by.into_iter().filter(|(likely, _)| *likely) {
        let sql = format!("{SELECT} where {condition}");
        if let Some(Some(store)) = absent(first(connection, &sql, [key], store))? {
            return Ok(Found::Row(store));
        }
    }
    Ok(if are_there(connection)? {
        Found::NoRow
    } else {
        Found::NoObject
    })
}

/// All stores; an org has few.
pub fn list(connection: &Connection) -> rusqlite::Result<Found<Vec<Store>>> {
    if !are_there(connection)? {
        return Ok(Found::NoObject);
    }
    let mut stores = connection.prepare_cached(&format!("{SELECT} order by store_id"))?;
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

fn store(row: &Row<'_>) -> rusqlite::Result<Store> {
    let id: String = row.get("store_id")?;
    let mut all = Vec::with_capacity(1_024);
    json::member(&mut all, b'{', "id", Some(&id));
    let mut rest = Vec::with_capacity(1_024);
    json::view_row(&mut rest, row)?;
    all.push(b',');
    all.extend_from_slice(&rest[1..]);
    Ok(Store {
        id,
        name: row.get("name")?,
        code: row.get("code")?,
        domain: row.get("domain")?,
        path: row.get("path")?,
        currency: row.get("currency")?,
        pricebook_id: row.get("pricebook_id")?,
        zone_id: row.get("zone_id")?,
        group_id: row.get("group_id")?,
        tax_provider_id: row.get("tax_provider_id")?,
        timezone: row.get("timezone")?,
        default: row.get("is_default")?,
        disabled: row.get("is_disabled")?,
        shipping: row.get("is_shipping_enabled")?,
        tax_inclusive: row.get("is_tax_inclusive")?,
        json: all,
    })
}

/// A store with the settings of its own that are meant to be seen, and its verified host names.
pub fn with_settings(connection: &Connection, store: &Store) -> rusqlite::Result<Vec<u8>> {
    let mut out = store.json.clone();
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
    Ok(out)
}
