//! Lists of what a store has that need no visitor: read from one view, in a fixed order, in pages.

use rusqlite::{Connection, params};

use crate::store::storefront::objects::Page;
use crate::store::storefront::{Found, absent, json};

/// A list that a store has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    PaymentProviders,
    AuthProviders,
    CollectionPoints,
    DeliveryWindows,
    Forms,
    Bookings,
    Availability,
    Routes,
}

impl Kind {
    /// The view, and the key that its rows are in the order of: unique together with the id.
    fn view(self) -> (&'static str, &'static str) {
        match self {
            Self::PaymentProviders => (
                "store_payment_provider_v1",
                "printf('%012.3f', coalesce(position, 99999999))",
            ),
            Self::AuthProviders => ("store_auth_provider_v1", "coalesce(name, '')"),
            Self::CollectionPoints => ("store_collection_point_v1", "coalesce(name, '')"),
            Self::DeliveryWindows => ("store_delivery_window_v1", "coalesce(name, '')"),
            Self::Forms => ("store_form_v1", "coalesce(name, '')"),
            Self::Bookings => (
                "store_booking_v1",
                "coalesce(start_date, '') || coalesce(start_time, '')",
            ),
            Self::Availability => ("store_availability_v1", "coalesce(start_date, '')"),
            Self::Routes => ("store_route_v1", "coalesce(from_path, '')"),
        }
    }
}

/// A page of a store's list after the row that the last page ended with.
pub fn list(
    connection: &Connection,
    kind: Kind,
    store_id: &str,
    after: &str,
    limit: usize,
) -> rusqlite::Result<Found<Page>> {
    let (view, key) = kind.view();
    let sql = format!(
        "select *, {key} || ' ' || id as _key from {view} where store_id = ?1 and {key} || ' ' || id > ?2 order by _key limit ?3"
    );
    let Some(mut statement) = absent(connection.prepare_cached(&sql))? else {
        return Ok(Found::NoObject);
    };
    let most = i64::try_from(limit).unwrap_or(i64::MAX).saturating_add(1);
    let mut rows = statement.query(params![store_id, after, most])?;
    let (mut items, mut last) = (Vec::new(), String::new());
    while let Some(row) = rows.next()? {
        if items.len() == limit {
            return Ok(Found::Row(Page {
                items,
                next: Some(last),
            }));
        }
        let mut out = Vec::with_capacity(256);
        json::view_row(&mut out, row)?;
        items.push(out);
        last = row.get("_key")?;
    }
    Ok(Found::Row(Page { items, next: None }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_hold_every_row_once_and_the_last_names_no_next_one_though_it_is_full() {
        let connection = Connection::open_in_memory().unwrap();
        connection
            .execute_batch(
                "create table store_payment_provider_v1 (store_id, id, position);
                 insert into store_payment_provider_v1 values ('here', 'c', 10), ('here', 'a', 2), ('here', 'b', 2),
                    ('there', 'x', 1), ('here', 'd', null);",
            )
            .unwrap();
        for limit in 1..=5 {
            let (mut after, mut seen, mut pages) = (String::new(), Vec::new(), 0);
            loop {
                let found = list(&connection, Kind::PaymentProviders, "here", &after, limit).unwrap();
                let Found::Row(page) = found else {
                    panic!("the view is there");
                };
                pages += 1;
                for item in page.items {
                    let item: serde_json::Value = serde_json::from_slice(&item).unwrap();
                    seen.push(item["id"].as_str().unwrap().to_owned());
                }
                let Some(next) = page.next else { break };
                after = next;
            }
            assert_eq!(seen, ["a", "b", "c", "d"], "{limit}");
            assert_eq!(pages, 4_usize.div_ceil(limit), "{limit}");
        }
    }
}
