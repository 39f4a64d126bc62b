//! Settles whether the org has an order, by comparing what it has with what was to be sent. Pure.

use serde_json::{Map, Value};

use crate::model::order::{Decimal, Placed, Problem};

/// Digits after the point that the org keeps of prices and quantities.
const ORG_SCALE: u32 = 2;

/// The fields of an item that are compared.
pub const ITEM_FIELDS: [&str; 3] = ["PricebookEntryId", "Quantity", "UnitPrice"];

/// What the org has under an order's key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// The order, with its items.
    Same { salesforce_id: String },
    /// An order with other items: someone else's, or changed since.
    Differs { problem: Problem },
}

/// Compares an order of the org's (its `Id` and the records of its items) with ours.
pub fn compare(order: &Placed, salesforce_id: &str, items: &[Map<String, Value>]) -> Found {
    let mut wanted: Vec<Option<Compared>> = order
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
    let mut there: Vec<Option<Compared>> = items
        .iter()
        .map(|item| {
            let decimal = |field: &str| item.get(field).and_then(Decimal::from_json);
            let entry = item
                .get("PricebookEntryId")
                .and_then(Value::as_str)
                .unwrap_or_default();
            compared(entry, decimal("Quantity"), decimal("UnitPrice"))
        })
        .collect();
    wanted.sort_unstable();
    there.sort_unstable();
    if wanted == there && !there.contains(&None) {
        return Found::Same {
            salesforce_id: salesforce_id.to_owned(),
        };
    }
    let problem = Problem::new(
        "ORDER_DIFFERS",
        format!(
            "the org already has an order under the key {} ({salesforce_id}) with other items ({} there, {} here): compare the two, then discard this one or send it under another key",
            order.external_id,
            there.len(),
            wanted.len(),
        ),
    );
    Found::Differs { problem }
}

type Compared = (String, Decimal, Decimal);

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
    use crate::model::order::{Customer, Fields, Line};
    use serde_json::json;

    fn order(lines: &[(&str, &str, &str)]) -> Placed {
        let line = |&(entry, quantity, price): &(&str, &str, &str)| Line {
            pricebook_entry_id: entry.to_owned(),
            quantity: Decimal::parse(quantity).unwrap(),
            unit_price: Decimal::parse(price).unwrap(),
            fields: Fields::new(),
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
            fields: Fields::new(),
        }
    }

    fn items(values: Value) -> Vec<Map<String, Value>> {
        serde_json::from_value(values).unwrap()
    }

    #[test]
    fn tells_the_same_order_from_another() {
        let ours = order(&[
            ("01u000000000001AAA", "2", "19.90"),
            ("01u000000000002AAA", "1", "5.005"),
        ]);
        let first = json!({"PricebookEntryId": "01u000000000001AAA", "Quantity": 2.0, "UnitPrice": 19.9});
        let second = json!({"PricebookEntryId": "01u000000000002", "Quantity": 1, "UnitPrice": 5.01});
        let dearer = json!({"PricebookEntryId": "01u000000000002AAA", "Quantity": 1, "UnitPrice": 5.02});
        let broken = json!({"PricebookEntryId": "01u000000000002AAA", "Quantity": 1, "UnitPrice": null});
        for (there, same) in [
            (json!([second, first]), true),
            (json!([first]), false),
            (json!([first, first]), false),
            (json!([first, second, second]), false),
            (json!([first, dearer]), false),
            (json!([first, broken]), false),
            (json!([]), false),
        ] {
            let found = compare(&ours, "801", &items(there.clone()));
            assert_eq!(matches!(found, Found::Same { .. }), same, "{there}");
        }
    }
}
