//! The stores of an org that runs StoreConnect.

use rusqlite::{Connection, Row};

use crate::store::storefront::{Found, absent, first, flag, is_id, json, text};

/// What everything else needs to know of a store.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Store {
    pub id: String,
    pub name: Option<String>,
    pub code: Option<String>,
    pub domain: Option<String>,
    pub path: Option<String>,
    pub currency: Option<String>,
    pub pricebook_id: Option<String>,
    pub locale: Option<String>,
    pub default: bool,
    pub disabled: bool,
    pub tax_inclusive: bool,
    pub revision: i64,
    /// All columns, as JSON.
    pub fields: Vec<u8>,
}

/// A store by its id, its code or its domain.
pub fn find(connection: &Connection, key: &str) -> rusqlite::Result<Found<Store>> {
    let is_host = key.contains('.') || key == "localhost";
    let by = [
        (is_id(key), "select * from s_c__store__c where id = ?1"),
        (
            true,
            "select * from s_c__store__c where s_c__code__c = ?1 order by id limit 1",
        ),
        // Of several stores at one domain, the primary one has its root.
        (
            is_host,
            "select * from s_c__store__c where s_c__domain__c = lower(?1) and s_c__default__c = 1 order by id limit 1",
        ),
        (
            is_host,
            "select * from s_c__store__c where s_c__domain__c = lower(?1) order by id limit 1",
        ),
    ];
    for (_, sql) in by.into_iter().filter(|(likely, _)| *likely) {
        if let Some(Some(store)) = absent(first(connection, sql, [key], store))? {
            return Ok(Found::Row(store));
        }
    }
    let mirrored = absent(connection.prepare_cached("select id from s_c__store__c limit 1"))?.is_some();
    Ok(if mirrored { Found::NoRow } else { Found::NoObject })
}

/// All stores; an org has few.
pub fn list(connection: &Connection) -> rusqlite::Result<Found<Vec<Store>>> {
    let Some(mut stores) = absent(connection.prepare_cached("select * from s_c__store__c order by id"))?
    else {
        return Ok(Found::NoObject);
    };
    Ok(Found::Row(
        stores.query_map([], store)?.collect::<rusqlite::Result<_>>()?,
    ))
}

fn store(row: &Row<'_>) -> rusqlite::Result<Store> {
    let mut fields = Vec::with_capacity(1_024);
    json::row(&mut fields, row)?;
    Ok(Store {
        id: row.get("id")?,
        name: text(row, "name")?,
        code: text(row, "s_c__code__c")?,
        domain: text(row, "s_c__domain__c")?,
        path: text(row, "s_c__path__c")?,
        currency: text(row, "s_c__currency__c")?,
        pricebook_id: text(row, "s_c__pricebook_id__c")?,
        locale: text(row, "s_c__locale__c")?,
        default: flag(row, "s_c__default__c")?,
        disabled: flag(row, "s_c__disable__c")?,
        tax_inclusive: flag(row, "s_c__tax_inclusive__c")?,
        revision: row.get("_rev")?,
        fields,
    })
}

impl Store {
    /// As lists show it.
    pub fn json(&self) -> Vec<u8> {
        let mut out = self.head();
        out.push(b'}');
        out
    }

    /// With all that the org says of it.
    pub fn json_with_fields(&self) -> Vec<u8> {
        let mut out = self.head();
        out.extend_from_slice(b",\"fields\":");
        out.extend_from_slice(&self.fields);
        out.push(b'}');
        out
    }

    fn head(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(256 + self.fields.len());
        json::member(&mut out, b'{', "id", Some(&self.id));
        for (name, value) in [
            ("name", &self.name),
            ("code", &self.code),
            ("domain", &self.domain),
            ("path", &self.path),
            ("currency", &self.currency),
            ("locale", &self.locale),
            ("pricebook_id", &self.pricebook_id),
        ] {
            json::member(&mut out, b',', name, value.as_deref());
        }
        for (name, value) in [
            ("default", self.default),
            ("disabled", self.disabled),
            ("tax_inclusive", self.tax_inclusive),
        ] {
            out.extend_from_slice(format!(",\"{name}\":{value}").as_bytes());
        }
        out
    }
}
