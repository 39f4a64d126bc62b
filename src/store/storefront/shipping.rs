//! Ways to have an order sent to an address.

use std::collections::BTreeSet;

use rusqlite::{Connection, params};

use crate::store::storefront::stores::Store;
use crate::store::storefront::zones::{self, Place};
use crate::store::storefront::{absent, json};

/// What is to be sent, and where. What is not told is not asked of a rate.
#[derive(Clone, Debug, Default)]
pub struct Query {
    pub place: Place,
    pub total: Option<f64>,
    pub weight: Option<f64>,
    pub product_ids: Vec<String>,
}

/// What is on offer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Offered {
    pub items: Vec<Vec<u8>>,
    /// Whether anything has to be sent at all.
    pub required: bool,
    /// A carrier's rates come on top, and only it knows them.
    pub needs_live_check: bool,
}

/// Rates of the store for which the address, the order's price or weight, and all its products qualify.
pub fn list(connection: &Connection, store: &Store, query: &Query) -> rusqlite::Result<Offered> {
    let methods = methods(connection, &query.product_ids)?;
    if !store.shipping || methods == Methods::NothingToShip {
        return Ok(Offered::default());
    }
    let zones = zones::of(connection, &query.place)?;
    let sql = "select * from store_shipping_v1 where store_id = ?1
            and (?2 is null or range_type <> 'price'
                or (coalesce(order_price_minimum_amount, ?2) <= ?2 and coalesce(order_price_maximum_amount, ?2) >= ?2))
            and (?3 is null or range_type <> 'weight'
                or (coalesce(order_weight_minimum, ?3) <= ?3 and coalesce(order_weight_maximum, ?3) >= ?3))
        order by cost_amount, name, id";
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query(params![store.id, query.total, query.weight])?;
    let mut items = Vec::new();
    while let Some(row) = rows.next()? {
        let zone: Option<String> = row.get("zone_id")?;
        let method: Option<String> = row.get("method")?;
        if zone.is_none_or(|zone| zones.contains(&zone)) && methods.allow(method.as_deref()) {
            let mut out = Vec::with_capacity(256);
            json::view_row(&mut out, row)?;
            items.push(out);
        }
    }
    let carriers =
        "select 1 from _of_shipping_provider where active = 1 and (store_id is null or store_id = ?1)";
    Ok(Offered {
        items,
        required: true,
        needs_live_check: connection.prepare_cached(carriers)?.exists([&store.id])?,
    })
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Methods {
    Any,
    /// What all products that have to be sent have in common.
    These(BTreeSet<String>),
    NothingToShip,
}

impl Methods {
    fn allow(&self, method: Option<&str>) -> bool {
        match self {
            Self::Any => true,
            Self::These(common) => method.is_some_and(|method| common.contains(&method.to_lowercase())),
            Self::NothingToShip => false,
        }
    }
}

fn methods(connection: &Connection, product_ids: &[String]) -> rusqlite::Result<Methods> {
    if product_ids.is_empty() {
        return Ok(Methods::Any);
    }
    let sql = "select shipping_methods from _of_product2 where id = ?1 and coalesce(virtual, 0) = 0";
    let Some(mut statement) = absent(connection.prepare_cached(sql))? else {
        return Ok(Methods::Any);
    };
    let mut common: Option<BTreeSet<String>> = None;
    for id in product_ids {
        let mut rows = statement.query([id])?;
        let Some(row) = rows.next()? else { continue };
        let own: Option<String> = row.get(0)?;
        let own: BTreeSet<String> = own
            .iter()
            .flat_map(|list| list.split(';'))
            .map(|way| way.trim().to_lowercase())
            .collect();
        common = Some(match common {
            Some(common) => common.intersection(&own).cloned().collect(),
            None => own,
        });
    }
    Ok(common.map_or(Methods::NothingToShip, Methods::These))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_for_its_range_with_both_ends() {
        let connection = Connection::open_in_memory().unwrap();
        connection
            .execute_batch(
                "create table store_zone_v1 (zone_id, kind, country, code);
                 create table _of_shipping_provider (active, store_id);
                 create table store_shipping_v1 (store_id, id, name, zone_id, method, cost_amount, range_type,
                    order_price_minimum_amount, order_price_maximum_amount, order_weight_minimum, order_weight_maximum);
                 insert into store_shipping_v1 values
                    ('here', '1', 'price', null, null, 1, 'price', 50.0, 100.0, null, null),
                    ('here', '2', 'weight', null, null, 2, 'weight', null, null, 2.0, 5.0);",
            )
            .unwrap();
        let store = Store {
            id: "here".to_owned(),
            shipping: true,
            ..Store::default()
        };
        for (total, weight, expected) in [
            (None, None, "price weight"),
            (Some(49.99), None, "weight"),
            (Some(50.0), None, "price weight"),
            (Some(100.0), None, "price weight"),
            (Some(100.01), None, "weight"),
            (None, Some(1.99), "price"),
            (None, Some(2.0), "price weight"),
            (None, Some(5.0), "price weight"),
            (None, Some(5.01), "price"),
        ] {
            let query = Query {
                total,
                weight,
                ..Query::default()
            };
            let offered = list(&connection, &store, &query).unwrap();
            let names = offered.items.iter().map(|item| {
                let item: serde_json::Value = serde_json::from_slice(item).unwrap();
                item["name"].as_str().unwrap().to_owned()
            });
            assert_eq!(
                names.collect::<Vec<_>>().join(" "),
                expected,
                "{total:?} {weight:?}"
            );
        }
    }
}
