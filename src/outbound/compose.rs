//! Makes requests of writes. Pure.
//!
//! People whom the org has are changed in what was sent, and in nothing else; others are created. What they send is
//! created, never upserted, with its key among its values: sent a second time, the whole request fails as a duplicate and
//! writes nothing. Up to 25 parts travel as a composite
//! request, more as one graph; an order that is too long for either goes in [`staged`] pieces.

mod customer;
mod entry;
mod extras;
pub mod left_out;
pub mod staged;

#[cfg(test)]
mod tests;

use serde_json::{Value, json};

use crate::config::{Customers, Duplicates, Guests};
use crate::model::order::{Line, Payment, Placed, Problem};
use crate::outbound::compose::customer::Addresses;
use crate::outbound::mapping::Mapping;
use crate::outbound::party::Party;
use crate::outbound::record::{Part, Place, Record, derived_key, key_field, lost};
use crate::outbound::shape::{Shape, Writable};

/// Most parts of a composite request.
pub const COMPOSITE_PARTS_MAX: usize = 25;
/// Most parts of a graph.
pub const GRAPH_PARTS_MAX: usize = 500;

/// The part that makes the record; its id is the write's.
pub const RECORD: &str = "record";
/// The part that asks for an order whose key cannot stand in an address.
pub const FOUND: &str = "found";

/// What to send, and by which of the org's interfaces.
#[derive(Clone, Debug, PartialEq)]
pub enum Request {
    Composite(Value),
    Graph(Vec<Value>),
}

impl Request {
    /// All parts or none, in their order.
    pub fn of(parts: Vec<Part<'_>>) -> Result<Self, Problem> {
        // The door refuses this; the org may have changed since, or was not known then.
        if let Some((record, field, source)) = lost(&parts) {
            let (object, member) = (&record.shape.object, &source.member);
            let field = field.unwrap_or("for it");
            return Err(Problem::new(
                "FIELD_NOT_WRITABLE",
                format!(
                    "{object} has no field {field} that the user may set, and {member} was sent: give the user access to it in the org, or name another under orders.map"
                ),
            ));
        }
        let parts: Vec<Value> = parts.into_iter().map(Part::into_json).collect();
        match parts.len() {
            count if count <= COMPOSITE_PARTS_MAX => Ok(Self::Composite(json!({
                "allOrNone": true,
                // Collated parts may run in another order than they are written in.
                "collateSubrequests": false,
                "compositeRequest": parts,
            }))),
            count if count <= GRAPH_PARTS_MAX => Ok(Self::Graph(parts)),
            count => Err(Problem::new(
                "TOO_MANY_PARTS",
                format!("it makes {count} records and one request takes {GRAPH_PARTS_MAX}: split it"),
            )),
        }
    }

    /// Whether there is nothing to send.
    pub fn is_empty(&self) -> bool {
        self.json().as_array().is_some_and(Vec::is_empty)
    }

    /// As attempts keep it.
    pub fn json(&self) -> Value {
        match self {
            Self::Composite(body) => body["compositeRequest"].clone(),
            Self::Graph(parts) => parts.clone().into(),
        }
    }
}

/// What requests are made with.
#[derive(Clone, Copy)]
pub struct Composer<'a> {
    pub shape: &'a Shape,
    pub mapping: &'a Mapping,
    /// Whom the write is for, as far as the org has them.
    pub party: &'a Party,
    pub customers: Customers,
    pub guests: Guests,
    pub duplicates: Duplicates,
    /// The status a complete order is given.
    pub status: Option<&'a str>,
    pub cancelled_status: &'a str,
    /// The field by which the org tells an older change from a later one.
    pub version_field: Option<&'a str>,
    /// `/services/data/vNN.N`
    pub data_path: &'a str,
}

impl<'a> Composer<'a> {
    /// A part that saves a person: what a duplicate rule may only warn of is saved, where that is configured.
    fn person_part(&self, method: &'static str, url: &str, reference: &str, record: Record<'a>) -> Part<'a> {
        Part {
            allows_duplicates: self.duplicates == Duplicates::Save,
            ..Part::of(method, url, reference, record)
        }
    }

    fn url(&self, shape: &Writable) -> String {
        format!("{}/sobjects/{}", self.data_path, shape.object)
    }

    /// The whole order in one request, where one request takes it; with its status only where the parts run in
    /// their order.
    pub fn order(&self, order: &Placed) -> Result<Option<Request>, Problem> {
        let mut parts = self.order_parts(order)?;
        if parts.len() > GRAPH_PARTS_MAX {
            return Ok(None);
        }
        if let Some(status) = self.status.filter(|_| parts.len() < COMPOSITE_PARTS_MAX) {
            parts.push(self.activation(&format!("@{{{RECORD}.id}}"), status));
        }
        Request::of(parts).map(Some)
    }

    /// All records of an order.
    pub fn order_parts(&self, order: &Placed) -> Result<Vec<Part<'a>>, Problem> {
        let mut parts = self.head(order, &order.external_id)?;
        for index in 0..order.lines.len() {
            parts.push(self.item(order, index, &format!("@{{{RECORD}.id}}"))?);
        }
        Ok(parts)
    }

    /// Customer, order, payments and what else belongs to it: all but the items.
    fn head(&self, order: &Placed, key: &str) -> Result<Vec<Part<'a>>, Problem> {
        let shipping = order.shipping_address.as_ref();
        let billing = order.billing_address.as_ref();
        let addresses = Addresses::of(billing, shipping);
        let mut parts = self.customer(&order.customer, &order.external_id, addresses, None)?;
        let header = self.header(order, key)?;
        parts.push(Part::of("POST", &self.url(&self.shape.order), RECORD, header));
        for (index, payment) in order.payments.iter().enumerate() {
            let suffix = format!("pay{}", index + 1);
            parts.extend(self.payment(
                (payment, Place::Payment(index)),
                &order.external_id,
                &suffix,
                json!(format!("@{{{RECORD}.id}}")),
                order.currency.as_deref(),
            )?);
        }
        parts.extend(self.extras(order)?);
        Ok(parts)
    }

    fn header(&self, order: &Placed, key: &str) -> Result<Record<'a>, Problem> {
        let mut record = Record::new(&self.shape.order);
        let field = key_field(&self.shape.order, &order.external_id)?;
        let map = |name: &str| self.mapping.field(name);
        let contact = self.are_contacts().then(|| self.contact_id());
        let reference = order.payments.first().map(|payment| payment.reference.clone());
        record
            .require(field, key)
            .sent_as(Place::Write, "external_id")
            .require("AccountId", self.account_id())
            .require("EffectiveDate", order.effective_date.clone())
            .require("Status", self.shape.draft_status.clone())
            .require("Pricebook2Id", order.pricebook_id.clone())
            .set("BillToContactId", contact.clone())
            .set("ShipToContactId", contact)
            // The currency is the store's in any case, and the person has the address and the number too.
            .also(Some("CurrencyIsoCode"), order.currency.clone())
            .sent_as(Place::Write, "currency")
            .place(map("order.store"), Some(order.store_id.clone()))
            .also(map("order.email"), order.customer.email.clone())
            .sent_as(Place::Customer, "email")
            .also(map("order.phone"), order.customer.phone.clone())
            .sent_as(Place::Customer, "phone")
            .place(map("order.payment_reference"), reference)
            .sent_as(Place::Payment(0), "reference");
        let (billing, shipping) = (order.billing_address.as_ref(), order.shipping_address.as_ref());
        Addresses::of(billing, shipping).put_both(&mut record, true);
        self.totals(order, &mut record)?;
        record.add(&order.fields, Place::Fields)?;
        record.append(map("order.mark"), order.mark.as_deref());
        Ok(record)
    }

    /// Whether customers are contacts of accounts.
    fn are_contacts(&self) -> bool {
        self.customers == Customers::Contacts
    }

    /// The part of one item. Items are numbered from 1, as people do.
    fn item(&self, order: &Placed, index: usize, order_id: &str) -> Result<Part<'a>, Problem> {
        let line: &Line = &order.lines[index];
        let mut record = Record::new(&self.shape.item);
        if let Some((field, key)) = self.item_key(order, index) {
            record.require(&field, key);
        }
        record
            .require("OrderId", order_id)
            .require("PricebookEntryId", line.pricebook_entry_id.clone())
            .require("Quantity", line.quantity.to_json_number())
            .sent_as(Place::Line(index), "quantity")
            .require("UnitPrice", line.unit_price.to_json_number())
            .sent_as(Place::Line(index), "unit_price")
            .place(
                self.mapping.field("order_item.description"),
                line.description.clone(),
            )
            .sent_as(Place::Line(index), "description");
        let map = |name: &str| self.mapping.field(name);
        record
            .amount(map("order_item.tax"), line.tax)?
            .sent_as(Place::Line(index), "tax")
            .amount(map("order_item.discount"), line.discount)?
            .sent_as(Place::Line(index), "discount");
        record.add(&line.fields, Place::LineFields(index))?;
        let url = self.url(&self.shape.item);
        Ok(Part::of("POST", &url, &format!("item{index}"), record))
    }

    /// The key field of items and the key of one, where items have keys.
    pub fn item_key(&self, order: &Placed, index: usize) -> Option<(String, String)> {
        derived_key(&self.shape.item, &order.external_id, &(index + 1).to_string())
    }

    /// The status is the only value that may change with it.
    fn activation(&self, order_id: &str, status: &str) -> Part<'a> {
        let url = format!("{}/{order_id}", self.url(&self.shape.order));
        let mut record = Record::new(&self.shape.order);
        record.require("Status", status);
        Part::of("PATCH", &url, "status", record)
    }

    /// The row of a payment, where the mapping has an object for them. `order` is the value of its lookup.
    fn payment(
        &self,
        (payment, place): (&Payment, Place),
        key: &str,
        suffix: &str,
        order: Value,
        currency: Option<&str>,
    ) -> Result<Option<Part<'a>>, Problem> {
        let map = |name: &str| self.mapping.field(name);
        let (Some(object), Some(lookup)) = (map("payment.object"), map("payment.order")) else {
            return Ok(None);
        };
        let shape = self.shape.object(object)?;
        let mut record = Record::new(shape);
        // Without a key a payment that is sent alone could be doubled.
        let Some((field, own)) = derived_key(shape, key, suffix) else {
            return Err(key_field(shape, key)
                .err()
                .unwrap_or_else(|| Problem::new("NO_KEY_FIELD", object)));
        };
        match order {
            Value::Object(by_key) => record.require(&relationship(lookup), Value::Object(by_key)),
            id => record.require(lookup, id),
        };
        record
            .require(&field, own)
            .set("CurrencyIsoCode", currency)
            .place(map("payment.reference"), Some(payment.reference.clone()))
            .sent_as(place, "reference")
            .place(
                map("payment.amount"),
                payment.amount.map(|amount| amount.to_json_number()),
            )
            .sent_as(place, "amount")
            .place(map("payment.method"), payment.method.clone())
            .sent_as(place, "method")
            .place(map("payment.status"), payment.status.clone())
            .sent_as(place, "status")
            .place(map("payment.paid_at"), payment.paid_at.clone())
            .sent_as(place, "paid_at");
        let reference = if suffix.is_empty() {
            RECORD.to_owned()
        } else {
            suffix.to_owned()
        };
        Ok(Some(Part::of("POST", &self.url(shape), &reference, record)))
    }
}

/// The relationship of a lookup: `Shop__r` of `Shop__c`, `Account` of `AccountId`.
pub fn relationship(lookup: &str) -> String {
    match lookup.strip_suffix("__c") {
        Some(name) => format!("{name}__r"),
        None => lookup.strip_suffix("Id").unwrap_or(lookup).to_owned(),
    }
}
