//! Settles whether the org has an order, by comparing what it has with what was to be sent. Pure.
//!
//! Equal items settle it. Where they are not equal, three things can have happened: some pieces of a long order are
//! not there yet; the order arrived and someone changed it since; or the key is another order's. The second is
//! told from the third by the stamps: it was made after ours was accepted, and something of it was written later.

use std::collections::HashSet;

use serde_json::{Map, Value};

use crate::model::clock::{Millis, parse_datetime};
use crate::model::order::{Decimal, Placed, Problem};

/// Digits after the point that the org keeps of prices and quantities.
const ORG_SCALE: u32 = 2;
/// How much the org's clock may be behind ours.
const CLOCKS_APART: Millis = 300_000;

/// The fields of an order and of an item that are compared, besides their keys.
pub const ORDER_FIELDS: [&str; 5] = [
    "Id",
    "StatusCode",
    "CreatedDate",
    "LastModifiedDate",
    "LastModifiedById",
];
pub const ITEM_FIELDS: [&str; 7] = [
    "Id",
    "OrderId",
    "PricebookEntryId",
    "Quantity",
    "UnitPrice",
    "CreatedDate",
    "LastModifiedDate",
];

/// What the org has under an order's key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// The order, with its items.
    Same,
    /// The order, which someone has changed since it arrived.
    Edited,
    /// The order without these items.
    Missing(Vec<usize>),
    /// Another order.
    Differs(Problem),
}

/// An order of ours and what is known of it.
pub struct Ours<'a> {
    pub order: &'a Placed,
    pub accepted_at: Millis,
    /// The keys of its items and the field they are in, where items have keys.
    pub keys: Option<(String, Vec<String>)>,
    /// Whether it may be there in part.
    pub staged: bool,
}

/// Compares an order of the org's and its items with ours.
pub fn compare(ours: &Ours<'_>, there: &Map<String, Value>, items: &[Map<String, Value>]) -> Found {
    let wanted: Vec<Option<Compared>> = ours
        .order
        .lines
        .iter()
        .map(|line| {
            compared(
                &line.pricebook_entry_id,
                Some(line.quantity),
                Some(line.unit_price),
            )
        })
        .collect();
    let found: Vec<Option<Compared>> = items.iter().map(compared_item).collect();
    if !found.contains(&None) && sorted(&wanted) == sorted(&found) {
        return Found::Same;
    }
    if ours.staged
        && let Some(missing) = missing(ours, &wanted, items)
    {
        return Found::Missing(missing);
    }
    if was_edited(ours, there, items, &wanted) {
        return Found::Edited;
    }
    let id = there.get("Id").and_then(Value::as_str).unwrap_or_default();
    Found::Differs(Problem::new(
        "ORDER_DIFFERS",
        format!(
            "the org already has an order under the key {} ({id}) with other items ({} there, {} here): compare the two, then discard this one or send it under another key",
            ours.order.external_id,
            found.len(),
            wanted.len(),
        ),
    ))
}

/// The items that are not there, where all that is there is as it was to be.
fn missing(ours: &Ours<'_>, wanted: &[Option<Compared>], items: &[Map<String, Value>]) -> Option<Vec<usize>> {
    let (field, keys) = ours.keys.as_ref()?;
    let mut present = HashSet::new();
    for item in items {
        let key = item.get(field).and_then(Value::as_str)?;
        let index = keys.iter().position(|own| own.eq_ignore_ascii_case(key))?;
        if compared_item(item) != wanted[index] {
            return None;
        }
        present.insert(index);
    }
    Some((0..keys.len()).filter(|index| !present.contains(index)).collect())
}

fn was_edited(
    ours: &Ours<'_>,
    there: &Map<String, Value>,
    items: &[Map<String, Value>],
    wanted: &[Option<Compared>],
) -> bool {
    let created = there.get("CreatedDate").and_then(Value::as_str);
    let Some(created_at) = created.and_then(parse_datetime) else {
        return false;
    };
    if created_at < ours.accepted_at - CLOCKS_APART {
        return false;
    }
    let is_ours = |item: &Map<String, Value>| match &ours.keys {
        Some((field, keys)) => item
            .get(field)
            .and_then(Value::as_str)
            .is_some_and(|key| keys.iter().any(|own| own.eq_ignore_ascii_case(key))),
        None => compared_item(item).is_some_and(|item| wanted.iter().flatten().any(|own| own.0 == item.0)),
    };
    let written_later =
        |row: &Map<String, Value>| row.get("LastModifiedDate").and_then(Value::as_str) != created;
    items.iter().any(is_ours) && (written_later(there) || items.iter().any(written_later))
}

type Compared = (String, Decimal, Decimal);

fn sorted(lines: &[Option<Compared>]) -> Vec<&Option<Compared>> {
    let mut lines: Vec<_> = lines.iter().collect();
    lines.sort_unstable();
    lines
}

fn compared_item(item: &Map<String, Value>) -> Option<Compared> {
    let decimal = |field: &str| item.get(field).and_then(Decimal::from_json);
    let entry = item
        .get("PricebookEntryId")
        .and_then(Value::as_str)
        .unwrap_or_default();
    compared(entry, decimal("Quantity"), decimal("UnitPrice"))
}

/// Ids have 15 significant characters; the org rounds what has more digits than it keeps.
fn compared(entry: &str, quantity: Option<Decimal>, unit_price: Option<Decimal>) -> Option<Compared> {
    let entry: String = entry.chars().take(15).collect();
    Some((
        entry,
        quantity?.rounded(ORG_SCALE),
        unit_price?.rounded(ORG_SCALE),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::order::{Customer, Line};
    use serde_json::json;

    const ACCEPTED: &str = "2026-11-22T09:00:00.000Z";

    fn order(lines: &[(&str, &str, &str)]) -> Placed {
        let line = |&(entry, quantity, price): &(&str, &str, &str)| Line {
            pricebook_entry_id: entry.to_owned(),
            quantity: Decimal::parse(quantity).unwrap(),
            unit_price: Decimal::parse(price).unwrap(),
            ..Line::default()
        };
        Placed {
            external_id: "WEB-1".to_owned(),
            store_id: String::new(),
            pricebook_id: String::new(),
            currency: None,
            effective_date: String::new(),
            customer: Customer::default(),
            shipping_address: None,
            billing_address: None,
            lines: lines.iter().map(line).collect(),
            ..Placed::default()
        }
    }

    fn records(values: Value) -> Vec<Map<String, Value>> {
        serde_json::from_value(values).unwrap()
    }

    fn header(created: &str, modified: &str) -> Map<String, Value> {
        records(json!([{"Id": "801", "CreatedDate": created, "LastModifiedDate": modified}])).remove(0)
    }

    fn verdict(found: &Found) -> &'static str {
        match found {
            Found::Same => "same",
            Found::Edited => "edited",
            Found::Missing(_) => "missing",
            Found::Differs(_) => "differs",
        }
    }

    const FIRST: (&str, &str, &str) = ("01u000000000001AAA", "2", "19.90");
    const SECOND: (&str, &str, &str) = ("01u000000000002AAA", "1", "5.005");

    fn ours(order: &Placed, keyed: bool, staged: bool) -> Ours<'_> {
        Ours {
            order,
            accepted_at: parse_datetime(ACCEPTED).unwrap(),
            keys: keyed.then(|| {
                (
                    "Key__c".to_owned(),
                    vec!["WEB-1-1".to_owned(), "WEB-1-2".to_owned()],
                )
            }),
            staged,
        }
    }

    #[test]
    fn tells_the_same_order_from_another() {
        let order = order(&[FIRST, SECOND]);
        let first = json!({"PricebookEntryId": "01u000000000001AAA", "Quantity": 2.0, "UnitPrice": 19.9});
        let second = json!({"PricebookEntryId": "01u000000000002", "Quantity": 1, "UnitPrice": 5.01});
        let dearer = json!({"PricebookEntryId": "01u000000000002AAA", "Quantity": 1, "UnitPrice": 5.02});
        let broken = json!({"PricebookEntryId": "01u000000000002AAA", "Quantity": 1, "UnitPrice": null});
        for (there, expected) in [
            (json!([second, first]), "same"),
            (json!([first]), "differs"),
            (json!([first, first]), "differs"),
            (json!([first, second, second]), "differs"),
            (json!([first, dearer]), "differs"),
            (json!([first, broken]), "differs"),
            (json!([]), "differs"),
        ] {
            let found = compare(&ours(&order, false, false), &Map::new(), &records(there.clone()));
            assert_eq!(verdict(&found), expected, "{there}");
        }
    }

    #[test]
    fn an_order_that_was_changed_since_is_ours() {
        let order = order(&[FIRST, SECOND]);
        let (made, later) = ("2026-11-22T09:00:05.000+0000", "2026-11-22T09:01:00.000+0000");
        let item = |key: &str, quantity: u32, modified: &str| {
            json!({"Key__c": key, "PricebookEntryId": "01u000000000001AAA", "Quantity": quantity, "UnitPrice": 19.9,
                "CreatedDate": made, "LastModifiedDate": modified})
        };
        for (keyed, header, items, expected) in [
            (
                true,
                header(made, made),
                json!([item("WEB-1-1", 3, later)]),
                "edited",
            ),
            (false, header(made, made), json!([item("x", 3, later)]), "edited"),
            (
                true,
                header(made, later),
                json!([item("web-1-1", 2, made)]),
                "edited",
            ),
            (
                true,
                header(made, made),
                json!([item("WEB-1-1", 3, made)]),
                "differs",
            ),
            (true, header(made, later), json!([item("x", 3, later)]), "differs"),
            (
                true,
                header("2026-11-22T08:00:00.000+0000", later),
                json!([item("WEB-1-1", 3, later)]),
                "differs",
            ),
        ] {
            let found = compare(&ours(&order, keyed, false), &header, &records(items.clone()));
            assert_eq!(verdict(&found), expected, "{items}");
        }
    }

    #[test]
    fn names_the_items_that_are_not_there_yet() {
        let order = order(&[FIRST, SECOND]);
        let second = json!({"Key__c": "WEB-1-2", "PricebookEntryId": "01u000000000002AAA", "Quantity": 1, "UnitPrice": 5.01});
        let foreign = json!({"Key__c": "X", "PricebookEntryId": "01u000000000002AAA", "Quantity": 1, "UnitPrice": 5.01});
        for (items, expected) in [
            (json!([]), Found::Missing(vec![0, 1])),
            (json!([second]), Found::Missing(vec![0])),
        ] {
            assert_eq!(
                compare(&ours(&order, true, true), &Map::new(), &records(items)),
                expected
            );
        }
        let found = compare(&ours(&order, true, true), &Map::new(), &records(json!([foreign])));
        assert_eq!(verdict(&found), "differs");
    }
}
