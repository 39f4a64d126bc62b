//! Requests of all writes but orders, by the table of kinds.

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};

use super::{Composer, FOUND, RECORD, Request, relationship};
use crate::config::Customers;
use crate::model::order::{Customer, Problem};
use crate::model::write::kinds::{self, Person, Spec};
use crate::model::write::{Entry, Kind};
use crate::outbound::compose::customer::Addresses;
use crate::outbound::record::{Part, Place, Record, Source, derived_key, key_field};
use crate::salesforce::soql::{is_plain, literal};

/// The part that changes the order beside a record of its own.
const ORDER: &str = "order";

impl<'a> Composer<'a> {
    /// The request of a write that is no order.
    pub fn entry(&self, kind: Kind, entry: &Entry) -> Result<Request, Problem> {
        Request::of(self.entry_parts(kind, entry)?)
    }

    /// All records of a write that is no order.
    pub fn entry_parts(&self, kind: Kind, entry: &Entry) -> Result<Vec<Part<'a>>, Problem> {
        let Some(spec) = kinds::spec(kind) else {
            return self.order_update(entry);
        };
        let (shipping, billing) = (entry.shipping_address.as_ref(), entry.billing_address.as_ref());
        let mut parts = Vec::new();
        if let (Person::Itself, Some(customer)) = (spec.person, &entry.customer) {
            let addresses = Addresses::of(billing, shipping);
            parts = self.customer(customer, &entry.external_id, addresses, Some(entry))?;
            name_record(&mut parts);
            return Ok(parts);
        }
        let shape = self.shape.object(spec.object)?;
        let mut record = Record::new(shape);
        let field = key_field(shape, &entry.external_id)?;
        record
            .require(field, entry.external_id.clone())
            .sent_as(Place::Write, "external_id");
        self.owner(spec, entry, &mut record, &mut parts)?;
        if let (Some(order), false) = (&entry.order, spec.order_field.is_empty()) {
            record.require(&relationship(spec.order_field), self.order_by_key(order)?);
        }
        for (name, value) in &entry.values {
            let field = self.mapping.field(&format!("{}.{name}", kind.name()));
            record
                .place(field, Some(value.clone()))
                .sent_as(Place::Values, name.clone());
        }
        if let Some(prefix) = spec.address {
            record.address(prefix, shipping, Place::Shipping);
        }
        let store = self.mapping.field(&format!("{}.store", kind.name()));
        record.place(store, Some(entry.store_id.clone()));
        if kind == Kind::Lead && !record.values.contains_key("Company") {
            // The org wants a company of every lead; people without one are their own.
            let name = entry.values.get("last_name").cloned().unwrap_or_default();
            record.set("Company", Some(name)).made_of(Source {
                place: Place::Values,
                member: "last_name".into(),
                and: None,
                instead_of: Some("company"),
            });
        }
        record.add(&entry.fields, Place::Fields)?;
        for (field, value) in spec.fixed {
            if !record.values.contains_key(*field) {
                record.set(field, Some(*value));
            }
        }
        let url = self.url(shape);
        parts.push(match kind {
            Kind::Lead => self.person_part("POST", &url, RECORD, record),
            _ => Part::of("POST", &url, RECORD, record),
        });
        parts.extend(self.answers(entry)?);
        Ok(parts)
    }

    /// The object, key field and key of the record that a write makes; `None` where it makes none that a second
    /// delivery could double.
    pub fn entry_key(&self, kind: Kind, entry: &Entry) -> Option<(String, String, String)> {
        let object = match kinds::spec(kind) {
            Some(spec) if spec.person == Person::Itself => return None,
            Some(spec) => spec.object,
            None if entry.payment.is_some() => self.mapping.field("payment.object")?,
            None => return None,
        };
        let shape = self.shape.object(object).ok()?;
        let (field, key) = derived_key(shape, &entry.external_id, "")?;
        Some((shape.object.clone(), field, key))
    }

    /// Ties a record to its person: one that is described is brought along, one that is only named is referred to.
    fn owner(
        &self,
        spec: &Spec,
        entry: &Entry,
        record: &mut Record<'_>,
        parts: &mut Vec<Part<'a>>,
    ) -> Result<(), Problem> {
        let Some(customer) = &entry.customer else {
            return Ok(());
        };
        if spec.kind == Kind::Case {
            let name =
                [&customer.first_name, &customer.last_name].map(|part| part.clone().unwrap_or_default());
            let name = Some(name.join(" ").trim().to_owned()).filter(|name| !name.is_empty());
            let both = customer.first_name.is_some() && customer.last_name.is_some();
            record
                .also(Some("SuppliedEmail"), customer.email.clone())
                .sent_as(Place::Customer, "email")
                .also(Some("SuppliedName"), name)
                .made_of(Source {
                    place: Place::Customer,
                    member: if both || customer.last_name.is_none() {
                        "first_name".into()
                    } else {
                        "last_name".into()
                    },
                    and: both.then_some("last_name"),
                    instead_of: None,
                })
                .also(Some("SuppliedPhone"), customer.phone.clone())
                .sent_as(Place::Customer, "phone");
        }
        let persons = self.customers == Customers::Persons && customer.account_external_id.is_none();
        if is_only_named(customer) && self.party.person.is_some() {
            if !spec.contact_field.is_empty() && !persons {
                record.require(spec.contact_field, self.contact_id());
            }
            let account = self
                .party
                .account
                .clone()
                .filter(|_| !spec.account_field.is_empty());
            record.set(spec.account_field, account);
            return Ok(());
        }
        if let (true, Some(key)) = (is_only_named(customer), &customer.external_id) {
            if !spec.contact_field.is_empty() && !persons {
                let field = key_field(&self.shape.contact, key)?;
                record.require(&relationship(spec.contact_field), json!({ field: key }));
            }
            if !spec.account_field.is_empty() {
                let key = customer.account_external_id.as_ref().unwrap_or(key);
                let field = key_field(&self.shape.account, key)?;
                record.require(&relationship(spec.account_field), json!({ field: key }));
            }
            return Ok(());
        }
        // A guest of a case is another one than the guest of an order under the same key.
        let own = format!("{}/{}", spec.kind.name(), entry.external_id);
        parts.extend(self.customer(customer, &own, Addresses::default(), None)?);
        if !spec.contact_field.is_empty() && !persons {
            record.require(spec.contact_field, self.contact_id());
        }
        if !spec.account_field.is_empty() {
            record.require(spec.account_field, self.account_id());
        }
        Ok(())
    }

    fn order_by_key(&self, order: &str) -> Result<Value, Problem> {
        let field = key_field(&self.shape.order, order)?;
        Ok(json!({ field: order }))
    }

    fn answers(&self, entry: &Entry) -> Result<Vec<Part<'a>>, Problem> {
        let map = |name: &str| self.mapping.field(name);
        let (Some(object), Some(lookup)) = (map("form_answer.object"), map("form_answer.submission")) else {
            return Ok(Vec::new());
        };
        if entry.answers.is_empty() {
            return Ok(Vec::new());
        }
        let shape = self.shape.object(object)?;
        let answers = entry.answers.iter().enumerate().map(|(index, answer)| {
            let mut record = Record::new(shape);
            if let Some((field, key)) = derived_key(shape, &entry.external_id, &(index + 1).to_string()) {
                record.require(&field, key);
            }
            record
                .require(lookup, format!("@{{{RECORD}.id}}"))
                .place(map("form_answer.question_id"), answer.question_id.clone())
                .sent_as(Place::Answer(index), "question_id")
                .place(map("form_answer.question"), answer.question.clone())
                .sent_as(Place::Answer(index), "question")
                .place(map("form_answer.answer"), Some(answer.answer.clone()))
                .sent_as(Place::Answer(index), "answer");
            Part::of("POST", &self.url(shape), &format!("answer{index}"), record)
        });
        Ok(answers.collect())
    }

    /// A change of an order, by its key and only where it is there: it never makes a second one.
    fn order_update(&self, entry: &Entry) -> Result<Vec<Part<'a>>, Problem> {
        let order = entry.order.as_deref().unwrap_or_default();
        let row = match &entry.payment {
            Some(payment) => self.payment(
                (payment, Place::Payment(0)),
                &entry.external_id,
                "",
                self.order_by_key(order)?,
                None,
            )?,
            None => None,
        };
        let is_row = row.is_some();
        let mut parts: Vec<Part<'a>> = row.into_iter().collect();
        let mut record = Record::new(&self.shape.order);
        if let Some(payment) = entry.payment.as_ref().filter(|_| !is_row) {
            let field = self.mapping.field("order.payment_reference");
            record
                .place(field, Some(payment.reference.clone()))
                .sent_as(Place::Payment(0), "reference");
        }
        if entry.values.contains_key("cancelled") {
            record.require("Status", self.cancelled_status);
            let reason = entry.values.get("reason").cloned();
            record
                .place(self.mapping.field("order.reason"), reason)
                .sent_as(Place::Values, "reason");
        }
        record
            .address("Billing", entry.billing_address.as_ref(), Place::Billing)
            .address("Shipping", entry.shipping_address.as_ref(), Place::Shipping);
        record.add(&entry.fields, Place::Fields)?;
        if record.values.is_empty() && !is_row {
            let sentence = "the org has no field for what it changes: name one under orders.map, then retry";
            return Err(Problem::new("NOTHING_TO_WRITE", sentence));
        }
        if !record.values.is_empty() {
            let reference = if is_row { ORDER } else { RECORD };
            parts.extend(self.change_of_order(order, reference, record)?);
        }
        Ok(parts)
    }

    /// The parts that change an order by its key.
    fn change_of_order(
        &self,
        order: &str,
        reference: &str,
        record: Record<'a>,
    ) -> Result<Vec<Part<'a>>, Problem> {
        let field = key_field(&self.shape.order, order)?;
        let orders = self.url(&self.shape.order);
        if is_plain(order) {
            let url = format!("{orders}/{field}/{order}?updateOnly=true");
            return Ok(vec![Part::of("PATCH", &url, reference, record)]);
        }
        // Such a change has an answer without an id; the order's is in what is asked before.
        let soql = format!("SELECT Id FROM Order WHERE {field} = {}", literal(order));
        let query = utf8_percent_encode(&soql, NON_ALPHANUMERIC);
        let url = format!("{}/query?q={query}", self.data_path);
        let found = Part::get(&url, FOUND);
        let url = format!("{orders}/@{{{FOUND}.records[0].Id}}");
        Ok(vec![found, Part::of("PATCH", &url, reference, record)])
    }
}

/// Whether nothing but the keys is said of a person.
fn is_only_named(customer: &Customer) -> bool {
    let keys = Customer {
        external_id: customer.external_id.clone(),
        salesforce_id: customer.salesforce_id.clone(),
        account_external_id: customer.account_external_id.clone(),
        is_protected: customer.is_protected,
        ..Customer::default()
    };
    let is_named = customer.external_id.is_some() || customer.salesforce_id.is_some();
    is_named && *customer == keys
}

/// The part that makes a person is the record that the write is about: the contact, or the person account.
fn name_record(parts: &mut [Part<'_>]) {
    let count = parts.len();
    match parts.iter_mut().find(|part| part.reference == "contact") {
        Some(contact) => RECORD.clone_into(&mut contact.reference),
        None if count == 1 => RECORD.clone_into(&mut parts[0].reference),
        None => {}
    }
}
