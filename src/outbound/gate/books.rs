//! The price book of an item that an edit names.
//!
//! The org takes an item only by an entry of the order's own price book and currency. Neither describe nor what is kept of
//! an order tells the book of another entry: the cache does. An entry that the cache does not have is refused.

use std::path::Path;

use serde_json::Value;

use crate::model::id;
use crate::model::order::parse::Invalid;
use crate::model::order::{Line, Placed};
use crate::model::write::Write;
use crate::store::storefront::Found;
use crate::store::storefront::objects;
use crate::store::{cache, database};

/// Refuses the first entry that an edit gives an item and that the order cannot have. `dir` is the state directory.
pub(super) fn check(dir: &Path, before: Option<&Write>, after: &Write) -> Result<(), Invalid> {
    let Write::Order(order) = after else { return Ok(()) };
    let kept: Vec<&Line> = match before {
        Some(Write::Order(before)) => before.lines.iter().collect(),
        _ => Vec::new(),
    };
    let is_kept = |entry: &str| kept.iter().any(|line| line.pricebook_entry_id == entry);
    for (index, line) in order.lines.iter().enumerate() {
        let entry = &line.pricebook_entry_id;
        if !is_kept(entry)
            && let Some(refusal) = refusal(read(dir, entry).as_ref(), order)
        {
            return Err(Invalid::new(
                format!("lines[{index}].pricebook_entry_id"),
                refusal,
            ));
        }
    }
    Ok(())
}

/// An entry as the cache has it; `None` where the cache has it not or cannot be read.
fn read(dir: &Path, entry: &str) -> Option<Value> {
    let connection = database::open_reader(dir, cache::KIND).ok()?;
    match objects::row(&connection, "PricebookEntry", &id::long(entry)).ok()? {
        Found::Row(row) => serde_json::from_slice(&row.json).ok(),
        Found::NoRow | Found::NoObject => None,
    }
}

/// Why an order cannot have an entry.
fn refusal(entry: Option<&Value>, order: &Placed) -> Option<String> {
    let book = &order.pricebook_id;
    let Some(entry) = entry.and_then(Value::as_object) else {
        return Some(format!(
            "is no price book entry that the cache has: name an entry of the order's price book {book}"
        ));
    };
    let text = |name: &str| {
        let mut members = entry.iter();
        let found = members.find(|(column, _)| column.eq_ignore_ascii_case(name));
        found.and_then(|(_, value)| value.as_str())
    };
    if text("Pricebook2Id") != Some(book) {
        return Some(format!(
            "is not of the order's price book {book}, which cannot be changed: name an entry of that book"
        ));
    }
    match (text("CurrencyIsoCode"), &order.currency) {
        (Some(has), Some(wanted)) if has != wanted => Some(format!(
            "is a price in {has}: name the entry in the order's currency {wanted}"
        )),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_entry_is_of_the_order_s_book_and_currency() {
        let order = Placed {
            pricebook_id: "01s1".to_owned(),
            currency: Some("AUD".to_owned()),
            ..Placed::default()
        };
        let refusal = |entry: &Value| refusal(Some(entry), &order).unwrap_or_default();
        for (entry, told) in [
            (json!({"Pricebook2Id": "01s1", "CurrencyIsoCode": "AUD"}), ""),
            (json!({"pricebook2id": "01s1"}), ""),
            (
                json!({"Pricebook2Id": "01s2", "CurrencyIsoCode": "AUD"}),
                "is not of the order's price book 01s1",
            ),
            (
                json!({"Pricebook2Id": "01s1", "CurrencyIsoCode": "USD"}),
                "is a price in USD",
            ),
            (json!(null), "is no price book entry that the cache has"),
        ] {
            let refused = refusal(&entry);
            assert!(
                refused.starts_with(told) && refused.is_empty() == told.is_empty(),
                "{entry}: {refused}"
            );
        }
    }
}
