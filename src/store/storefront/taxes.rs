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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tax_is_in_force_from_its_first_day_to_the_end_of_its_last() {
        let connection = Connection::open_in_memory().unwrap();
        connection
            .execute_batch(
                "create table _of_zone (id, \"match\"); insert into _of_zone values ('home', 'loose');
                 create table store_zone_v1 (zone_id, kind, country, code);
                 insert into store_zone_v1 values ('home', 'country', 'AUS', null);
                 create table store_product_tax_v1 (product_id, tax_id);
                 create table store_tax_v1 (id, name, zone_id, is_by_shipping_address, effective_from, effective_to);
                 insert into store_tax_v1 values ('days', 'days', 'home', 1, '2026-11-20', '2026-11-22'),
                    ('since', 'since', 'home', 1, '2026-11-21', null), ('until', 'until', 'home', 1, null, '2026-11-21');",
            )
            .unwrap();
        for (today, expected) in [
            ("2026-11-19", "until"),
            ("2026-11-20", "days until"),
            ("2026-11-21", "days since until"),
            ("2026-11-22", "days since"),
            ("2026-11-23", "since"),
        ] {
            let query = Query {
                shipping: Place::new(Some("AU"), None, None, None),
                today: today.to_owned(),
                ..Query::default()
            };
            let (items, _) = list(&connection, &Store::default(), &query).unwrap();
            let names = items.iter().map(|item| {
                let item: serde_json::Value = serde_json::from_slice(item).unwrap();
                item["name"].as_str().unwrap().to_owned()
            });
            assert_eq!(names.collect::<Vec<_>>().join(" "), expected, "{today}");
        }
    }
}
