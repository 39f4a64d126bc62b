//! Reads a posted order and says what is wrong with it, naming the field.
//!
//! Written by hand rather than derived, because the answer to a storefront's developer is the field and what
//! to put there. Unknown members are refused: one that is silently dropped is a lost part of an order.

use serde_json::{Map, Value};

use crate::model::order::decimal::Decimal;
use crate::model::order::{Address, Customer, Fields, ITEMS_MAX, Item, Order, ProductReference, card};

/// Longest key. The org's field may be shorter; it is never longer.
const KEY_CHARACTERS_MAX: usize = 255;
/// Longest text of any member.
const TEXT_CHARACTERS_MAX: usize = 4_000;
/// Most members of `fields`.
const FIELDS_MAX: usize = 100;

/// What is wrong, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invalid {
    /// `items[2].quantity`
    pub field: String,
    pub message: String,
}

impl Invalid {
    pub fn new(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            field: field.into(),
            message: message.into(),
        }
    }
}

/// Reads an order. `key` stands in for `external_id` where the order has none.
pub fn order(value: &Value, key: Option<&str>) -> Result<Order, Invalid> {
    if let Some(field) = card::find(value) {
        return Err(Invalid::new(
            field,
            "holds a card number: card data is never taken, remove it",
        ));
    }
    let members = Members::of(value, "")?;
    members.only(&[
        "external_id",
        "currency",
        "customer",
        "shipping_address",
        "billing_address",
        "items",
        "fields",
    ])?;
    let external_id = members.text("external_id")?.or_else(|| key.map(str::to_owned));
    let external_id = external_id.ok_or_else(|| {
        Invalid::new(
            "external_id",
            "is missing: give the order a key of its own, or send Idempotency-Key",
        )
    })?;
    check_key(&external_id, "external_id")?;
    Ok(Order {
        external_id,
        currency: currency(&members)?,
        customer: customer(&members)?,
        shipping_address: address(&members, "shipping_address")?,
        billing_address: address(&members, "billing_address")?,
        items: items(&members)?,
        fields: fields(&members)?,
    })
}

/// Keys become parts of the org's addresses, where most other characters are unsafe.
pub fn check_key(key: &str, field: &str) -> Result<(), Invalid> {
    let safe = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    if key.is_empty() || key.len() > KEY_CHARACTERS_MAX || !key.bytes().all(safe) {
        return Err(Invalid::new(
            field,
            format!("must be 1 to {KEY_CHARACTERS_MAX} letters, digits, dashes or underscores"),
        ));
    }
    Ok(())
}

fn currency(members: &Members<'_>) -> Result<Option<String>, Invalid> {
    let currency = members.text("currency")?;
    match &currency {
        Some(code) if code.len() != 3 || !code.bytes().all(|byte| byte.is_ascii_uppercase()) => Err(
            Invalid::new("currency", "must be three capital letters, such as AUD"),
        ),
        _ => Ok(currency),
    }
}

fn customer(members: &Members<'_>) -> Result<Customer, Invalid> {
    let Some(members) = members.object("customer")? else {
        return Err(Invalid::new(
            "customer",
            "is missing: give at least an email address",
        ));
    };
    members.only(&["external_id", "email", "first_name", "last_name", "phone"])?;
    let customer = Customer {
        external_id: members.text("external_id")?,
        email: members.text("email")?,
        first_name: members.text("first_name")?,
        last_name: members.text("last_name")?,
        phone: members.text("phone")?,
    };
    if let Some(key) = &customer.external_id {
        check_key(key, "customer.external_id")?;
    }
    if let Some(email) = &customer.email {
        let parts = email.split_once('@');
        if parts.is_none_or(|(name, host)| name.is_empty() || host.is_empty())
            || email.contains(char::is_whitespace)
        {
            return Err(Invalid::new("customer.email", "is not an email address"));
        }
    }
    if customer.external_id.is_none() && customer.email.is_none() && customer.last_name.is_none() {
        return Err(Invalid::new(
            "customer",
            "needs an external_id, an email or a last_name",
        ));
    }
    Ok(customer)
}

fn address(members: &Members<'_>, name: &str) -> Result<Option<Address>, Invalid> {
    let Some(members) = members.object(name)? else {
        return Ok(None);
    };
    members.only(&["street", "city", "state", "postal_code", "country"])?;
    Ok(Some(Address {
        street: members.text("street")?,
        city: members.text("city")?,
        state: members.text("state")?,
        postal_code: members.text("postal_code")?,
        country: members.text("country")?,
    }))
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
        "fields",
    ])?;
    let product = match (
        members.text("product_id")?,
        members.text("product_code")?,
        members.text("pricebook_entry_id")?,
    ) {
        (Some(id), None, None) => ProductReference::ProductId(id),
        (None, Some(code), None) => ProductReference::ProductCode(code),
        (None, None, Some(id)) => ProductReference::PricebookEntryId(id),
        _ => {
            return Err(Invalid::new(
                path,
                "must name its product by one of product_id, product_code and pricebook_entry_id",
            ));
        }
    };
    let quantity = members.get("quantity").and_then(Decimal::from_json);
    let quantity = quantity.filter(|quantity| quantity.is_positive() && quantity.scale() <= 2);
    Ok(Item {
        product,
        quantity: quantity.ok_or_else(|| {
            members.invalid(
                "quantity",
                "must be a number above zero with at most two digits after the point",
            )
        })?,
        unit_price: unit_price(&members)?,
        fields: fields(&members)?,
    })
}

fn unit_price(members: &Members<'_>) -> Result<Option<Decimal>, Invalid> {
    let wrong = || members.invalid("unit_price", "must be a decimal in quotes, such as \"19.90\"");
    match members.get("unit_price") {
        None => Ok(None),
        Some(Value::String(text)) => {
            let price = Decimal::parse(text).filter(|price| !price.is_negative());
            price.map(Some).ok_or_else(wrong)
        }
        Some(_) => Err(wrong()),
    }
}

/// Values for the org's own fields: a flat object.
fn fields(members: &Members<'_>) -> Result<Fields, Invalid> {
    let Some(members) = members.object("fields")? else {
        return Ok(Fields::new());
    };
    if members.map.len() > FIELDS_MAX {
        return Err(Invalid::new(
            members.path,
            format!("has more than {FIELDS_MAX} members"),
        ));
    }
    let plain = |name: &str| {
        let mut bytes = name.bytes();
        bytes.next().is_some_and(|first| first.is_ascii_alphabetic())
            && bytes.all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
    };
    for (name, value) in members.map {
        if !plain(name) {
            return Err(Invalid::new(
                members.path,
                "has a member whose name is not that of a field",
            ));
        }
        match value {
            Value::Array(_) | Value::Object(_) => {
                return Err(members.invalid(name, "must be text, a number, true, false or null"));
            }
            Value::String(text) if too_long(text) => return Err(members.invalid(name, &too_long_message())),
            _ => {}
        }
    }
    Ok(members
        .map
        .iter()
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect())
}

/// The members of one JSON object, with where it stands.
struct Members<'a> {
    path: String,
    map: &'a Map<String, Value>,
}

impl<'a> Members<'a> {
    fn of(value: &'a Value, path: &str) -> Result<Self, Invalid> {
        match value {
            Value::Object(map) => Ok(Self {
                path: path.to_owned(),
                map,
            }),
            _ => Err(Invalid::new(path, "must be an object")),
        }
    }

    fn invalid(&self, name: &str, message: &str) -> Invalid {
        Invalid::new(self.field(name), message)
    }

    fn field(&self, name: &str) -> String {
        if self.path.is_empty() {
            name.to_owned()
        } else {
            format!("{}.{name}", self.path)
        }
    }

    /// Refuses members that are not in the list.
    fn only(&self, known: &[&str]) -> Result<(), Invalid> {
        match self.map.keys().find(|name| !known.contains(&name.as_str())) {
            Some(name) => Err(self.invalid(
                name,
                "is not known here: the org's own fields go into \"fields\", by their names in the org",
            )),
            None => Ok(()),
        }
    }

    /// A member that is there and not null.
    fn get(&self, name: &str) -> Option<&'a Value> {
        self.map.get(name).filter(|value| !value.is_null())
    }

    fn object(&self, name: &str) -> Result<Option<Members<'a>>, Invalid> {
        self.get(name)
            .map(|value| Members::of(value, &self.field(name)))
            .transpose()
    }

    /// Text without blanks at its ends; empty text is no text.
    fn text(&self, name: &str) -> Result<Option<String>, Invalid> {
        match self.get(name) {
            None => Ok(None),
            Some(Value::String(text)) if too_long(text) => Err(self.invalid(name, &too_long_message())),
            Some(Value::String(text)) => {
                let text = text.trim();
                Ok((!text.is_empty()).then(|| text.to_owned()))
            }
            Some(_) => Err(self.invalid(name, "must be text")),
        }
    }
}

fn too_long(text: &str) -> bool {
    text.len() > TEXT_CHARACTERS_MAX && text.chars().count() > TEXT_CHARACTERS_MAX
}

fn too_long_message() -> String {
    format!("has more than {TEXT_CHARACTERS_MAX} characters")
}

#[cfg(test)]
mod tests {
    use super::*;
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
        let cases: [(&str, Value, &str); 17] = [
            ("/external_id", json!("a/b"), "external_id"),
            ("/external_id", json!(7), "external_id"),
            ("/currency", json!("aud"), "currency"),
            ("/customer", Value::Null, "customer"),
            ("/customer", json!({"first_name": "Ana"}), "customer"),
            ("/customer/email", json!("ana"), "customer.email"),
            ("/customer/external_id", json!("C 7"), "customer.external_id"),
            ("/items", json!([]), "items"),
            ("/items", json!(vec![json!({}); 498]), "items"),
            ("/items/0", json!({"quantity": 1}), "items[0]"),
            ("/items/0/quantity", json!(0), "items[0].quantity"),
            ("/items/0/quantity", json!(-1), "items[0].quantity"),
            ("/items/0/quantity", json!("1.005"), "items[0].quantity"),
            ("/items/0/unit_price", json!(19.9), "items[0].unit_price"),
            ("/items/0/unit_price", json!("-1"), "items[0].unit_price"),
            ("/fields/Note__c", json!({"a": 1}), "fields.Note__c"),
            (
                "/shipping_address/street",
                json!("4111 1111 1111 1111"),
                "shipping_address.street",
            ),
        ];
        for (pointer, value, field) in cases {
            let mut order_value = posted();
            *order_value.pointer_mut(pointer).unwrap() = value;
            assert_eq!(order(&order_value, None).unwrap_err().field, field, "{pointer}");
        }
    }

    #[test]
    fn refuses_what_it_would_lose() {
        let mut value = posted();
        value["gift"] = json!(true);
        assert_eq!(order(&value, None).unwrap_err().field, "gift");
    }
}
