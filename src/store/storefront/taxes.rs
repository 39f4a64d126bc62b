//! Taxes that an address calls for.

use rusqlite::{Connection, params};

use crate::store::storefront::stores::Store;
use crate::store::storefront::zones::{self, Place};
use crate::store::storefront::{first, json};

/// Where the goods go, who pays, and what for.
#[derive(Clone, Debug, Default)]
pub struct Query {
    pub shipping: Place,
    /// The shipping address where none is given.
    pub billing: Place,
    pub product_id: Option<String>,
    /// `2026-11-22`, in the store's time zone.
    pub today: String,
}

/// Taxes in force at the address; with a product only those that it has. Whether a tax engine has the last word.
pub fn list(connection: &Connection, store: &Store, query: &Query) -> rusqlite::Result<(Vec<Vec<u8>>, bool)> {
    let shipped = zones::of(connection, &query.shipping)?;
    let billed = if query.billing.is_empty() {
        shipped.clone()
    } else {
        zones::of(connection, &query.billing)?
    };
    let sql = "select t.* from store_tax_v1 t where (t.effective_from is null or t.effective_from <= ?1)
            and (t.effective_to is null or t.effective_to >= ?1)
            and (?2 is null or exists (select 1 from store_product_tax_v1 x where x.product_id = ?2 and x.tax_id = t.id))
        order by t.name, t.id";
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query(params![query.today, query.product_id])?;
    let mut items = Vec::new();
    while let Some(row) = rows.next()? {
        let Some(zone) = row.get::<_, Option<String>>("zone_id")? else {
            continue;
        };
        let by_shipping: bool = row.get("is_by_shipping_address")?;
        if (if by_shipping { &shipped } else { &billed }).contains(&zone) {
            let mut out = Vec::with_capacity(256);
            json::view_row(&mut out, row)?;
            items.push(out);
        }
    }
    let engine = match &store.tax_provider_id {
        Some(id) => {
            let sql = "select coalesce(active, 0) from _of_tax_provider where id = ?1";
            first(connection, sql, [id], |row| row.get::<_, bool>(0))?.unwrap_or(false)
        }
        None => false,
    };
    Ok((items, engine))
}
