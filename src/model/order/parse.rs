//! Reads a posted order and says what is wrong with it, naming the field.

use serde_json::Value;

pub use crate::model::order::members::{Invalid, check_key, check_own_key, refuse_cards};
use crate::model::order::members::{Members, address, currency, customer, fields, payment, quantity};
use crate::model::order::{Charge, ITEMS_MAX, Item, Order, ProductReference};

/// Most discounts, and most payments, of one order.
const FEW_MAX: usize = 20;

/// Reads an order. `key` stands in for `external_id` where the order has none.
pub fn order(value: &Value, key: Option<&str>) -> Result<Order, Invalid> {
    refuse_cards(value)?;
    let members = Members::of(value, "")?;
    members.only(&[
        "external_id",
        "order_date",
        "currency",
        "customer",
        "membership",
        "shipping_address",
        "billing_address",
        "items",
        "tax",
        "shipping",
        "discounts",
        "payments",
        "fields",
    ])?;
    let external_id = members.key("external_id")?.or_else(|| key.map(str::to_owned));
    let external_id = external_id.ok_or_else(|| {
        Invalid::new(
            "external_id",
            "is missing: give the order a key of its own, or send Idempotency-Key",
        )
    })?;
    check_own_key(&external_id, "external_id")?;
    Ok(Order {
        external_id,
        order_date: members.text("order_date")?,
        currency: currency(&members)?,
        customer: customer(&members)?,
        membership: members.id_of("membership", &["s_c__Membership__c"])?,
        shipping_address: address(&members, "shipping_address")?,
        billing_address: address(&members, "billing_address")?,
        items: items(&members)?,
        tax: members.amount("tax")?,
        shipping: members
            .get("shipping")
            .map(|value| charge(value, "shipping", &["stock_location_id"]))
            .transpose()?,
        discounts: members
            .list("discounts", FEW_MAX)?
            .iter()
            .map(|(value, path)| charge(value, path, &["promotion_id", "coupon"]))
            .collect::<Result<_, _>>()?,
        payments: members
            .list("payments", FEW_MAX)?
            .iter()
            .map(|(value, path)| payment(value, path))
            .collect::<Result<_, _>>()?,
        fields: fields(&members)?,
    })
}

fn items(members: &Members<'_>) -> Result<Vec<Item>, Invalid> {
    let Some(Value::Array(values)) = members.get("items") else {
        return Err(Invalid::new("items", "must be a list of items"));
    };
    if values.is_empty() {
        return Err(Invalid::new("items", "is empty: an order has at least one item"));
    }
    if values.len() > ITEMS_MAX {
        return Err(Invalid::new(
            "items",
            format!(
                "has {} items and at most {ITEMS_MAX} can be taken: split the order",
                values.len()
            ),
        ));
    }
    values
        .iter()
        .enumerate()
        .map(|(index, value)| item(value, &format!("items[{index}]")))
        .collect()
}

fn item(value: &Value, path: &str) -> Result<Item, Invalid> {
    let members = Members::of(value, path)?;
    members.only(&[
        "product_id",
        "product_code",
        "pricebook_entry_id",
        "quantity",
        "unit_price",
        "tax",
        "discount",
        "fields",
    ])?;
    let Some(product) = product(&members)? else {
        return Err(Invalid::new(path, ONE_PRODUCT));
    };
    Ok(Item {
        product,
        quantity: quantity(&members)?,
        unit_price: members.amount("unit_price")?,
        tax: members.amount("tax")?,
        discount: members.amount("discount")?,
        fields: fields(&members)?,
    })
}

const ONE_PRODUCT: &str = "must name its product by one of product_id, product_code and pricebook_entry_id";

/// The product that is named, by one name at most.
fn product(members: &Members<'_>) -> Result<Option<ProductReference>, Invalid> {
    let named = (
        members.name_of("product_id", "Product2")?,
        members.text("product_code")?,
        members.name_of("pricebook_entry_id", "PricebookEntry")?,
    );
    match named {
        (None, None, None) => Ok(None),
        (Some(id), None, None) => Ok(Some(ProductReference::ProductId(id))),
        (None, Some(code), None) => Ok(Some(ProductReference::ProductCode(code))),
        (None, None, Some(id)) => Ok(Some(ProductReference::PricebookEntryId(id))),
        _ => Err(Invalid::new(&members.path, ONE_PRODUCT)),
    }
}

/// What is charged or taken off besides the items; `own` are members that only one of the two has.
fn charge(value: &Value, path: &str, own: &[&str]) -> Result<Charge, Invalid> {
    let members = Members::of(value, path)?;
    let both = [
        "amount",
        "label",
        "product_id",
        "product_code",
        "pricebook_entry_id",
    ];
    members.only(&[&both, own].concat())?;
    Ok(Charge {
        product: product(&members)?,
        amount: members
            .amount("amount")?
            .ok_or_else(|| members.invalid("amount", "is missing"))?,
        label: members.text("label")?,
        promotion_id: members.id_of("promotion_id", &["s_c__Promotion2__c"])?,
        coupon: members.text("coupon")?,
        stock_location_id: members.id("stock_location_id")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::order::Decimal;
    use serde_json::json;

    fn posted() -> Value {
        json!({
            "external_id": "WEB-1001", "currency": "AUD",
            "customer": {"external_id": "C-7", "email": "ana@example.com", "first_name": "Ana", "last_name": "Lee"},
            "shipping_address": {"street": "1 High St", "city": "Hobart", "country": "AU"},
            "items": [{"product_code": "SKU-1", "quantity": 2, "unit_price": "19.90"}],
            "fields": {"Note__c": "gift"}
        })
    }

    #[test]
    fn reads_an_order() {
        let order = order(&posted(), None).unwrap();
        assert_eq!(order.external_id, "WEB-1001");
        assert_eq!(order.items[0].unit_price, Decimal::parse("19.9"));
        assert_eq!(
            order.items[0].product,
            ProductReference::ProductCode("SKU-1".to_owned())
        );
        assert_eq!(order.shipping_address.unwrap().city.as_deref(), Some("Hobart"));
        assert_eq!(order.fields["Note__c"], json!("gift"));
    }

    #[test]
    fn a_header_may_give_the_key() {
        let mut value = posted();
        value.as_object_mut().unwrap().remove("external_id");
        assert_eq!(order(&value, Some("K-1")).unwrap().external_id, "K-1");
        assert_eq!(order(&value, None).unwrap_err().field, "external_id");
    }

    #[test]
    fn names_the_field_that_is_wrong() {
        let cases: [(&str, Value, &str); 26] = [
            ("/external_id", json!("a\nb"), "external_id"),
            ("/external_id", json!("k".repeat(256)), "external_id"),
            ("/external_id", json!("ana@example.com"), "external_id"),
            ("/external_id", json!(7), "external_id"),
            ("/currency", json!("aud"), "currency"),
            ("/customer", Value::Null, "customer"),
            ("/customer", json!({"first_name": "Ana"}), "customer"),
            ("/customer/email", json!("ana"), "customer.email"),
            ("/customer/external_id", json!("C\u{7}7"), "customer.external_id"),
            ("/items", json!([]), "items"),
            ("/items", json!(vec![json!({}); 2_001]), "items"),
            ("/items/0", json!({"quantity": 1}), "items[0]"),
            ("/items/0/quantity", json!(0), "items[0].quantity"),
            ("/items/0/quantity", json!(-1), "items[0].quantity"),
            ("/items/0/quantity", json!("1.005"), "items[0].quantity"),
            ("/items/0/unit_price", json!(19.9), "items[0].unit_price"),
            ("/items/0/unit_price", json!("-1"), "items[0].unit_price"),
            ("/fields/Note__c", json!({"a": 1}), "fields.Note__c"),
            ("/shipping", json!({"label": "Standard"}), "shipping.amount"),
            ("/discounts", json!([{"amount": "-1"}]), "discounts[0].amount"),
            (
                "/discounts",
                json!([{"amount": "1", "stock_location_id": "131000000000001"}]),
                "discounts[0].stock_location_id",
            ),
            (
                "/shipping",
                json!({"amount": "1", "coupon": "X"}),
                "shipping.coupon",
            ),
            ("/items/0/tax", json!("x"), "items[0].tax"),
            ("/payments", json!([{"amount": "1"}]), "payments[0].reference"),
            (
                "/payments",
                json!([{"reference": "r", "paid_at": "today"}]),
                "payments[0].paid_at",
            ),
            (
                "/shipping_address/street",
                json!("4111 1111 1111 1111"),
                "shipping_address.street",
            ),
        ];
        for (pointer, value, field) in cases {
            let mut order_value = posted();
            for absent in ["shipping", "discounts", "payments"] {
                order_value[absent] = Value::Null;
            }
            order_value["items"][0]["tax"] = Value::Null;
            *order_value.pointer_mut(pointer).unwrap() = value;
            assert_eq!(order(&order_value, None).unwrap_err().field, field, "{pointer}");
        }
    }

    #[test]
    fn a_key_is_any_text_of_one_line() {
        for key in [
            "a/b",
            "2026 No. 7",
            "50% + 1",
            "Größe-7",
            r"a\b'c",
            "7.xml",
            "ref@counter",
        ] {
            let mut value = posted();
            value["external_id"] = json!(key);
            value["customer"]["external_id"] = json!(format!("{key}.ana@example.com"));
            assert_eq!(order(&value, None).unwrap().external_id, key);
        }
    }

    #[test]
    fn refuses_what_it_would_lose() {
        let mut value = posted();
        value["gift"] = json!(true);
        assert_eq!(order(&value, None).unwrap_err().field, "gift");
    }
}
