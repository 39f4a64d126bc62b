//! The rules of orders and price book entries.
//!
//! They act on a draft before it is written; the refusals' codes and texts are the platform's.

use super::super::value::Value;
use super::draft::{Draft, Parent, refuse};
use super::error::{RecordError, RecordErrors};

const LOCKED: &str =
    "Unable to modify activated or superseded Order:  cannot delete Order, or add or remove Order Products";
/// The order statuses of a new org and their classes. Those of the class Draft mean work not yet binding.
pub const STATUSES: [(&str, &str); 5] = [
    ("Draft", "Draft"),
    ("Order Processing", "Draft"),
    ("Activated", "Activated"),
    ("Shipped", "Activated"),
    ("Completed", "Activated"),
];

/// The class of a status, what StatusCode says: by the rows of OrderStatus. None where there is no such status.
fn status_class(draft: &Draft<'_>, status: &str) -> Option<String> {
    let statuses = draft.catalog.object("OrderStatus")?;
    let (label, class) = (statuses.field("ApiName")?, statuses.field("StatusCode")?);
    let mut rows = draft.records.all(statuses.index).filter(|row| !row.deleted);
    let row = rows.find(|row| row.get(label).and_then(Value::as_str) == Some(status))?;
    row.get(class).and_then(Value::as_str).map(str::to_owned)
}

/// Applies the rules of the draft's object.
pub fn judge(draft: &mut Draft<'_>, now: &Value, user: &Value) -> Result<(), RecordErrors> {
    match (draft.object.name.as_str(), draft.before.is_some()) {
        ("Order", false) => judge_new_order(draft),
        ("Order", true) => judge_order(draft, now, user),
        ("OrderItem", false) => judge_new_item(draft),
        ("OrderItem", true) => judge_item(draft),
        ("PricebookEntry", false) => judge_new_entry(draft),
        _ => Ok(()),
    }
}

/// Whether a row may be deleted.
pub fn judge_delete(row: Parent<'_>, order: Option<Parent<'_>>) -> Result<(), RecordErrors> {
    match row.object.name.as_str() {
        "Order" if row.text("StatusCode") == Some("Activated") => {
            refuse("DELETE_FAILED", "unable to modify activated order")
        }
        "OrderItem" if order.is_some_and(|order| order.text("StatusCode") == Some("Activated")) => {
            refuse("ENTITY_IS_LOCKED", LOCKED)
        }
        _ => Ok(()),
    }
}

fn judge_new_order(draft: &mut Draft<'_>) -> Result<(), RecordErrors> {
    if draft.get("AccountId").is_none() {
        return refuse("REQUIRED_FIELD_MISSING", "Select an account.");
    }
    if let Some(status) = draft.text("Status") {
        match status_class(draft, status).as_deref() {
            None => return refuse_status(status),
            Some("Draft") => {}
            Some(_) => return refuse("FAILED_ACTIVATION", "For a new or cloned order, choose Draft"),
        }
    }
    draft.set("StatusCode", Value::text("Draft"));
    draft.set("TotalAmount", Value::Double(0.0));
    Ok(())
}

fn refuse_status(status: &str) -> Result<(), RecordErrors> {
    let message = format!("Status: bad value for restricted picklist field: {status}");
    Err(vec![
        RecordError::new("INVALID_OR_NULL_FOR_RESTRICTED_PICKLIST", message).with_fields(["Status"]),
    ])
}

fn judge_order(draft: &mut Draft<'_>, now: &Value, user: &Value) -> Result<(), RecordErrors> {
    if draft.get("AccountId").is_none() {
        return refuse("REQUIRED_FIELD_MISSING", "Select an account.");
    }
    let activated = draft.held("StatusCode").and_then(Value::as_str) == Some("Activated");
    if activated
        && ["AccountId", "Pricebook2Id", "CurrencyIsoCode"]
            .iter()
            .any(|name| draft.changes(name))
    {
        return refuse("ENTITY_IS_LOCKED", "entity is locked for editing");
    }
    if (draft.changes("Pricebook2Id") || draft.changes("CurrencyIsoCode")) && has_items(draft) {
        return refuse(
            "FIELD_INTEGRITY_EXCEPTION",
            "the price book and currency of an order with products are fixed",
        );
    }
    let Some(status) = draft
        .text("Status")
        .map(str::to_owned)
        .filter(|_| draft.changes("Status"))
    else {
        return Ok(());
    };
    let Some(class) = status_class(draft, &status) else {
        return refuse_status(&status);
    };
    if class == "Activated" && !activated {
        if draft.changes.len() > 1 {
            return refuse(
                "FAILED_ACTIVATION",
                "Status is the only field you can update when activating an order.",
            );
        }
        if !has_items(draft) {
            return refuse("FAILED_ACTIVATION", "An order must have at least one product.");
        }
        draft.set("ActivatedDate", now.clone());
        draft.set("ActivatedById", user.clone());
    }
    draft.set("StatusCode", Value::text(class));
    Ok(())
}

fn has_items(draft: &Draft<'_>) -> bool {
    let Some(item) = draft.catalog.object("OrderItem") else {
        return false;
    };
    let (Some(field), Some(order)) = (item.field("OrderId"), draft.before) else {
        return false;
    };
    !draft.records.children(item.index, field, order.id()).is_empty()
}

fn judge_new_item(draft: &mut Draft<'_>) -> Result<(), RecordErrors> {
    let Some(order) = draft.parent("OrderId") else {
        // A missing or unknown order is told by the general checks.
        return Ok(());
    };
    if order.text("StatusCode") == Some("Activated") {
        return refuse("ENTITY_IS_LOCKED", LOCKED);
    }
    if order.get("Pricebook2Id").is_none() {
        return refuse("FIELD_INTEGRITY_EXCEPTION", "The order is missing a price book");
    }
    let Some(entry_id) = draft.id("PricebookEntryId") else {
        return refuse_entry("unknown (versions 3.0 and higher must specify pricebook entry id;)");
    };
    let Some(entry) = draft.parent("PricebookEntryId") else {
        return refuse_entry(&format!("unknown (pricebook entry {entry_id} does not exist)"));
    };
    if entry.get("Pricebook2Id") != order.get("Pricebook2Id") {
        return refuse_entry(
            "(pricebook entry is in a different pricebook than the one assigned to the order)",
        );
    }
    if entry.get("IsActive") != Some(&Value::Boolean(true)) {
        return refuse_entry("(pricebook entry has been inactivated)");
    }
    if entry.text("CurrencyIsoCode") != order.text("CurrencyIsoCode") {
        return refuse_entry("(pricebook entry currency code does not match order currency code)");
    }
    let product = entry.get("Product2Id").cloned();
    if draft.get("Product2Id").is_some() && draft.get("Product2Id") != product.as_ref() {
        return refuse_entry("(pricebook entry is for another product)");
    }
    if draft.get("ListPrice").is_none() {
        draft.set("ListPrice", entry.get("UnitPrice").cloned());
    }
    draft.set("Product2Id", product);
    draft.set("CurrencyIsoCode", order.get("CurrencyIsoCode").cloned());
    judge_amounts(draft, order)
}

fn refuse_entry<T>(reason: &str) -> Result<T, RecordErrors> {
    let message = format!("field integrity exception: PricebookEntryId, {reason}");
    Err(vec![
        RecordError::new("FIELD_INTEGRITY_EXCEPTION", message).with_fields(["PricebookEntryId"]),
    ])
}

fn judge_item(draft: &mut Draft<'_>) -> Result<(), RecordErrors> {
    let Some(order) = draft.parent("OrderId") else {
        return Ok(());
    };
    let locked = order.text("StatusCode") == Some("Activated");
    if locked && ["Quantity", "UnitPrice"].iter().any(|name| draft.changes(name)) {
        return refuse("ENTITY_IS_LOCKED", LOCKED);
    }
    judge_amounts(draft, order)
}

fn judge_amounts(draft: &mut Draft<'_>, order: Parent<'_>) -> Result<(), RecordErrors> {
    let Some(unit_price) = draft.number("UnitPrice") else {
        return refuse(
            "FIELD_INTEGRITY_EXCEPTION",
            "Order Products must have a Unit Price.",
        );
    };
    let quantity = match draft.number("Quantity") {
        // Absence is told by the general checks.
        None => return Ok(()),
        Some(0.0) => {
            return refuse(
                "FIELD_INTEGRITY_EXCEPTION",
                "Can't save order products with quantities of zero",
            );
        }
        Some(quantity) => quantity,
    };
    if let (Some(Value::Date(service)), Some(Value::Date(start))) =
        (draft.get("ServiceDate"), order.get("EffectiveDate"))
        && service < start
    {
        let message = "the start date of an order product can't be before the start date of its order";
        return refuse("FIELD_INTEGRITY_EXCEPTION", message);
    }
    draft.set("TotalPrice", Value::Double(cents(unit_price * quantity)));
    draft.set("AvailableQuantity", Value::Double(quantity));
    Ok(())
}

/// An amount at two decimals.
pub fn cents(amount: f64) -> f64 {
    (amount * 100.0).round() / 100.0
}

fn judge_new_entry(draft: &mut Draft<'_>) -> Result<(), RecordErrors> {
    let (Some(product), Some(book)) = (draft.parent("Product2Id"), draft.parent("Pricebook2Id")) else {
        return Ok(());
    };
    let field = draft.object.field("Product2Id").unwrap_or_default();
    let siblings = draft
        .records
        .children(draft.object.index, field, product.record.id());
    let siblings = siblings
        .iter()
        .filter_map(|id| draft.records.live(draft.object.index, *id));
    let currency = draft.text("CurrencyIsoCode").map(str::to_owned);
    let mut standard = book.get("IsStandard") == Some(&Value::Boolean(true));
    for sibling in siblings.map(|record| Parent {
        object: draft.object,
        record,
    }) {
        if sibling.text("CurrencyIsoCode") != currency.as_deref() {
            continue;
        }
        if sibling.get("Pricebook2Id") == draft.get("Pricebook2Id") {
            return refuse(
                "DUPLICATE_VALUE",
                "This price definition already exists in this price book",
            );
        }
        let other_book = sibling.get("Pricebook2Id").and_then(Value::as_id);
        let other_book = other_book.and_then(|id| draft.records.live(book.object.index, id));
        let is_standard = other_book.map(|record| {
            Parent {
                object: book.object,
                record,
            }
            .get("IsStandard")
        });
        standard |= is_standard == Some(Some(&Value::Boolean(true)));
    }
    if !standard {
        let message = "No standard price defined for this product";
        return refuse("STANDARD_PRICE_NOT_DEFINED", message);
    }
    Ok(())
}
