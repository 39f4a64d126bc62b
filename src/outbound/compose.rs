//! Makes one all-or-none request of an order.
//!
//! The customer's account and contact are upserted by key; the order itself is created, never upserted, with
//! its key among its values: sent a second time, the whole request fails as a duplicate and writes nothing.
//! Up to 25 parts travel as a composite request, more as one graph. Pure.

use serde_json::{Map, Value, json};

use crate::model::order::{Address, Fields, Line, Placed, Problem};
use crate::outbound::shape::{Shape, Writable};

/// Most parts of a composite request.
const COMPOSITE_PARTS_MAX: usize = 25;
/// Most parts of a graph.
const GRAPH_PARTS_MAX: usize = 500;

/// The part that makes the order; its id is the order's.
pub const ORDER_REFERENCE: &str = "order";

/// What to send, and by which of the org's interfaces.
#[derive(Clone, Debug, PartialEq)]
pub enum Request {
    Composite(Value),
    Graph(Vec<Value>),
}

/// Composes an order for an org; a problem where the order cannot be written there as it is.
pub fn compose(order: &Placed, shape: &Shape, data_path: &str) -> Result<Request, Problem> {
    let mut parts = vec![
        account(order, shape, data_path)?,
        contact(order, shape, data_path)?,
    ];
    parts.push(part(
        "POST",
        &format!("{data_path}/sobjects/Order"),
        ORDER_REFERENCE,
        &header(order, shape)?,
    ));
    for (index, line) in order.lines.iter().enumerate() {
        let body = item(order, line, index, &shape.item)?;
        parts.push(part(
            "POST",
            &format!("{data_path}/sobjects/OrderItem"),
            &format!("item{index}"),
            &body,
        ));
    }
    match parts.len() {
        count if count <= COMPOSITE_PARTS_MAX => Ok(Request::Composite(json!({
            "allOrNone": true,
            // Collated parts may run in another order than they are written in.
            "collateSubrequests": false,
            "compositeRequest": parts,
        }))),
        count if count <= GRAPH_PARTS_MAX => Ok(Request::Graph(parts)),
        count => Err(Problem::new(
            "TOO_MANY_ITEMS",
            format!(
                "the order makes {count} records and one request takes {GRAPH_PARTS_MAX}: split the order"
            ),
        )),
    }
}

fn part(method: &str, url: &str, reference: &str, body: &Record<'_>) -> Value {
    json!({"method": method, "url": url, "referenceId": reference, "body": body.values})
}

/// Values for one record, holding back those that the org would refuse.
struct Record<'a> {
    shape: &'a Writable,
    values: Map<String, Value>,
}

impl<'a> Record<'a> {
    fn new(shape: &'a Writable) -> Self {
        Self {
            shape,
            values: Map::new(),
        }
    }

    /// Sets a field where the org has it and there is a value.
    fn set(&mut self, field: &str, value: Option<impl Into<Value>>) -> &mut Self {
        if let (Some(name), Some(value)) = (self.shape.createable(field), value) {
            self.values.insert(name.to_owned(), value.into());
        }
        self
    }

    /// Sets a field that the record cannot be without: describe calls some of them read-only that are not.
    fn require(&mut self, field: &str, value: impl Into<Value>) -> &mut Self {
        self.values.insert(field.to_owned(), value.into());
        self
    }

    /// Adds the storefront's own values. What the order is made of is not theirs to set.
    fn add(&mut self, fields: &Fields) -> Result<(), Problem> {
        for (field, value) in fields {
            let object = &self.shape.object;
            let Some(name) = self.shape.createable(field) else {
                return Err(Problem::new(
                    "FIELD_NOT_WRITABLE",
                    format!(
                        "{object} has no field {field} that the user may set: remove it from \"fields\", or give the user access to it in the org"
                    ),
                ));
            };
            let reserved = RESERVED
                .iter()
                .any(|reserved| reserved.eq_ignore_ascii_case(name))
                || self.values.contains_key(name);
            if reserved {
                return Err(Problem::new(
                    "FIELD_RESERVED",
                    format!("{object}.{name} is set from the order itself: remove it from \"fields\""),
                ));
            }
            self.values.insert(name.to_owned(), value.clone());
        }
        Ok(())
    }
}

/// Never a storefront's to set, whether or not this order sets them.
const RESERVED: [&str; 8] = [
    "AccountId",
    "OwnerId",
    "OrderId",
    "Pricebook2Id",
    "PricebookEntryId",
    "Status",
    "Product2Id",
    "OriginalOrderId",
];

/// The address of a record by its key, where the key fits.
fn by_key(shape: &Writable, key: &str, data_path: &str) -> Result<String, Problem> {
    let field = key_field(shape, key)?;
    Ok(format!("{data_path}/sobjects/{}/{field}/{key}", shape.object))
}

fn key_field<'a>(shape: &'a Writable, key: &str) -> Result<&'a str, Problem> {
    let object = &shape.object;
    let Some(field) = &shape.key_field else {
        return Err(Problem::new(
            "NO_KEY_FIELD",
            format!("{object} has no key field: see orders.external_id_field"),
        ));
    };
    if field.length > 0 && key.len() > field.length as usize {
        return Err(Problem::new(
            "KEY_TOO_LONG",
            format!(
                "{object}.{} takes {} characters and the key {key} has {}: use a shorter key",
                field.field,
                field.length,
                key.len()
            ),
        ));
    }
    Ok(&field.field)
}

fn account(order: &Placed, shape: &Shape, data_path: &str) -> Result<Value, Problem> {
    let mut record = Record::new(&shape.account);
    record
        .require("Name", account_name(order))
        .set("Phone", order.customer.phone.clone());
    let billing = order.billing_address.as_ref().or(order.shipping_address.as_ref());
    address(&mut record, "Billing", billing);
    address(&mut record, "Shipping", order.shipping_address.as_ref());
    let url = by_key(&shape.account, order.customer_key(), data_path)?;
    Ok(part("PATCH", &url, "account", &record))
}

fn contact(order: &Placed, shape: &Shape, data_path: &str) -> Result<Value, Problem> {
    let customer = &order.customer;
    let mut record = Record::new(&shape.contact);
    record
        .require("AccountId", "@{account.id}")
        .require(
            "LastName",
            customer.last_name.clone().unwrap_or_else(|| last_name(order)),
        )
        .set("FirstName", customer.first_name.clone())
        .set("Email", customer.email.clone())
        .set("Phone", customer.phone.clone());
    let mailing = order.shipping_address.as_ref().or(order.billing_address.as_ref());
    address(&mut record, "Mailing", mailing);
    let url = by_key(&shape.contact, order.customer_key(), data_path)?;
    Ok(part("PATCH", &url, "contact", &record))
}

fn header<'a>(order: &Placed, shape: &'a Shape) -> Result<Record<'a>, Problem> {
    let customer = &order.customer;
    let mut record = Record::new(&shape.order);
    let key = key_field(&shape.order, &order.external_id)?;
    record
        .require(key, order.external_id.clone())
        .require("AccountId", "@{account.id}")
        .require("EffectiveDate", order.effective_date.clone())
        .require("Status", "Draft")
        .require("Pricebook2Id", order.pricebook_id.clone())
        .set("BillToContactId", Some("@{contact.id}"))
        .set("ShipToContactId", Some("@{contact.id}"))
        .set("CurrencyIsoCode", order.currency.clone())
        .set("s_c__Store_Id__c", Some(order.store_id.clone()))
        .set("s_c__Checkout_Email__c", customer.email.clone())
        .set("s_c__Checkout_Phone__c", customer.phone.clone());
    let billing = order.billing_address.as_ref().or(order.shipping_address.as_ref());
    address(&mut record, "Billing", billing);
    address(&mut record, "Shipping", order.shipping_address.as_ref());
    record.add(&order.fields)?;
    Ok(record)
}

fn item<'a>(order: &Placed, line: &Line, index: usize, shape: &'a Writable) -> Result<Record<'a>, Problem> {
    let mut record = Record::new(shape);
    if let Ok(field) = key_field(shape, &item_key(order, index)) {
        record.require(field, item_key(order, index));
    }
    record
        .require("OrderId", format!("@{{{ORDER_REFERENCE}.id}}"))
        .require("PricebookEntryId", line.pricebook_entry_id.clone())
        .require("Quantity", line.quantity.to_json_number())
        .require("UnitPrice", line.unit_price.to_json_number());
    record.add(&line.fields)?;
    Ok(record)
}

/// Items are numbered from 1, as people do.
fn item_key(order: &Placed, index: usize) -> String {
    format!("{}-{}", order.external_id, index + 1)
}

fn account_name(order: &Placed) -> String {
    let customer = &order.customer;
    match (&customer.first_name, &customer.last_name) {
        (Some(first), Some(last)) => format!("{first} {last}"),
        _ => customer.last_name.clone().unwrap_or_else(|| last_name(order)),
    }
}

/// The org wants a name of everyone: what else the customer is known by.
fn last_name(order: &Placed) -> String {
    let customer = &order.customer;
    customer
        .first_name
        .clone()
        .or_else(|| customer.email.clone())
        .unwrap_or_else(|| order.customer_key().to_owned())
}

/// Sets the parts of an address. Orgs with state and country lists take codes for them.
fn address(record: &mut Record<'_>, prefix: &str, address: Option<&Address>) {
    let Some(address) = address else { return };
    let is_code =
        |text: &String| (2..=3).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_uppercase());
    record
        .set(&format!("{prefix}Street"), address.street.clone())
        .set(&format!("{prefix}City"), address.city.clone())
        .set(&format!("{prefix}PostalCode"), address.postal_code.clone());
    for (part, value) in [("State", &address.state), ("Country", &address.country)] {
        let code = format!("{prefix}{part}Code");
        let takes_code = value.as_ref().is_some_and(is_code) && record.shape.createable(&code).is_some();
        let field = if takes_code {
            code
        } else {
            format!("{prefix}{part}")
        };
        record.set(&field, value.clone());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::order::{Customer, Decimal};
    use crate::salesforce::describe::{Describe, Field};

    fn describe(object: &str, fields: &[&str]) -> Describe {
        let fields = fields.iter().map(|name| Field {
            name: (*name).to_owned(),
            kind: "string".to_owned(),
            length: 36,
            external_id: *name == "External_ID__c",
            unique: *name == "External_ID__c",
            createable: true,
            updateable: true,
            calculated: false,
            compound: None,
        });
        Describe {
            name: object.to_owned(),
            label: object.to_owned(),
            key_prefix: None,
            queryable: true,
            createable: true,
            updateable: true,
            record_types: Vec::new(),
            fields: fields.collect(),
        }
    }

    fn shape() -> Shape {
        let order = [
            "External_ID__c",
            "BillToContactId",
            "ShippingStreet",
            "ShippingCountryCode",
            "ShippingCountry",
            "Note__c",
        ];
        Shape::of(
            &describe("Order", &order),
            &describe("Account", &["External_ID__c", "Name", "BillingCity"]),
            &describe("Contact", &["External_ID__c", "Email", "FirstName"]),
            &describe("OrderItem", &["Gift__c"]),
            None,
        )
        .unwrap()
    }

    fn placed(lines: usize) -> Placed {
        let line = Line {
            pricebook_entry_id: "01uA".to_owned(),
            quantity: Decimal::parse("2").unwrap(),
            unit_price: Decimal::parse("19.90").unwrap(),
            fields: [("Gift__c".to_owned(), json!(true))].into(),
        };
        Placed {
            external_id: "WEB-1".to_owned(),
            store_id: "a00".to_owned(),
            pricebook_id: "01s".to_owned(),
            currency: Some("AUD".to_owned()),
            effective_date: "2026-11-22".to_owned(),
            customer: Customer {
                external_id: Some("C-7".to_owned()),
                email: Some("ana@example.com".to_owned()),
                first_name: Some("Ana".to_owned()),
                last_name: Some("Lee".to_owned()),
                phone: None,
            },
            shipping_address: Some(Address {
                street: Some("1 High St".to_owned()),
                city: Some("Hobart".to_owned()),
                country: Some("AU".to_owned()),
                ..Address::default()
            }),
            billing_address: None,
            lines: vec![line; lines],
            fields: [("note__c".to_owned(), json!("gift"))].into(),
        }
    }

    #[test]
    fn makes_one_request_of_an_order() {
        let Ok(Request::Composite(body)) = compose(&placed(1), &shape(), "/services/data/v67.0") else {
            panic!("a small order is a composite");
        };
        let expected = json!({
            "allOrNone": true, "collateSubrequests": false,
            "compositeRequest": [
                {"method": "PATCH", "url": "/services/data/v67.0/sobjects/Account/External_ID__c/C-7",
                 "referenceId": "account", "body": {"Name": "Ana Lee", "BillingCity": "Hobart"}},
                {"method": "PATCH", "url": "/services/data/v67.0/sobjects/Contact/External_ID__c/C-7",
                 "referenceId": "contact", "body": {"AccountId": "@{account.id}", "LastName": "Lee",
                    "FirstName": "Ana", "Email": "ana@example.com"}},
                {"method": "POST", "url": "/services/data/v67.0/sobjects/Order", "referenceId": "order",
                 "body": {"External_ID__c": "WEB-1", "AccountId": "@{account.id}", "EffectiveDate": "2026-11-22",
                    "Status": "Draft", "Pricebook2Id": "01s", "BillToContactId": "@{contact.id}",
                    "ShippingStreet": "1 High St", "ShippingCountryCode": "AU", "Note__c": "gift"}},
                {"method": "POST", "url": "/services/data/v67.0/sobjects/OrderItem", "referenceId": "item0",
                 "body": {"OrderId": "@{order.id}", "PricebookEntryId": "01uA", "Quantity": 2, "UnitPrice": 19.9,
                    "Gift__c": true}},
            ]
        });
        assert_eq!(body, expected);
    }

    #[test]
    fn many_parts_travel_as_a_graph() {
        let parts = |lines| match compose(&placed(lines), &shape(), "/v") {
            Ok(Request::Composite(body)) => ("composite", body["compositeRequest"].as_array().unwrap().len()),
            Ok(Request::Graph(parts)) => ("graph", parts.len()),
            Err(_) => ("refused", 0),
        };
        assert_eq!(parts(22), ("composite", 25));
        assert_eq!(parts(23), ("graph", 26));
        assert_eq!(parts(497), ("graph", 500));
        assert_eq!(parts(498), ("refused", 0));
    }

    #[test]
    fn a_guest_has_an_account_of_its_own() {
        let mut order = placed(1);
        order.customer = Customer {
            email: Some("ana@example.com".to_owned()),
            ..Customer::default()
        };
        let Ok(Request::Composite(body)) = compose(&order, &shape(), "/v") else {
            panic!()
        };
        let account = &body["compositeRequest"][0];
        assert_eq!(account["url"], "/v/sobjects/Account/External_ID__c/WEB-1");
        assert_eq!(account["body"]["Name"], "ana@example.com");
        assert_eq!(body["compositeRequest"][1]["body"]["LastName"], "ana@example.com");
    }

    #[test]
    fn nothing_is_dropped_in_silence() {
        let code = |change: &dyn Fn(&mut Placed)| {
            let mut order = placed(1);
            change(&mut order);
            compose(&order, &shape(), "/v").unwrap_err().code
        };
        assert_eq!(
            code(&|order| drop(order.fields.insert("Nope__c".to_owned(), json!(1)))),
            "FIELD_NOT_WRITABLE"
        );
        assert_eq!(
            code(&|order| drop(order.fields.insert("external_id__c".to_owned(), json!(1)))),
            "FIELD_RESERVED"
        );
        assert_eq!(code(&|order| order.external_id = "K".repeat(37)), "KEY_TOO_LONG");
    }
}
