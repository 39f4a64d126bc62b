//! The records of the person who sends something: an account and its contact, or a person account.

use serde_json::Value;

use super::Composer;
use crate::config::Customers;
use crate::model::order::{Address, Customer, Problem};
use crate::model::write::Entry;
use crate::outbound::record::{Record, by_key};

impl Composer<'_> {
    /// The parts that upsert a person by key. `own` is the key of a guest; `profile` has further values.
    pub(super) fn customer(
        &self,
        customer: &Customer,
        own: &str,
        (billing, shipping): (Option<&Address>, Option<&Address>),
        profile: Option<&Entry>,
    ) -> Result<Vec<Value>, Problem> {
        if self.customers == Customers::Persons && customer.account_external_id.is_none() {
            let person = self.person(customer, own, (billing, shipping), profile)?;
            return Ok(vec![person]);
        }
        let mut account = Record::new(&self.shape.account);
        let name = customer
            .company
            .clone()
            .unwrap_or_else(|| full_name(customer, own));
        let shared = customer.account_external_id.is_some();
        // One of several people does not rename the account they share, nor move it.
        if !shared || customer.company.is_some() {
            account.require("Name", name);
        }
        if !shared {
            account
                .set("Phone", customer.phone.clone())
                .address("Billing", billing)
                .address("Shipping", shipping);
        }
        let account_url = by_key(&self.shape.account, customer.account_key(own), self.data_path)?;
        let mut contact = Record::new(&self.shape.contact);
        contact
            .require("AccountId", "@{account.id}")
            .require("LastName", last_name(customer, own))
            .set("FirstName", customer.first_name.clone())
            .set("Email", customer.email.clone())
            .set("Phone", customer.phone.clone())
            .address("Mailing", shipping.or(billing));
        self.profile(&mut contact, profile, "")?;
        let contact_url = by_key(&self.shape.contact, customer.contact_key(own), self.data_path)?;
        Ok(vec![
            self.person_part("PATCH", &account_url, "account", &account),
            self.person_part("PATCH", &contact_url, "contact", &contact),
        ])
    }

    /// One record that is account and contact: the org makes the contact of it.
    fn person(
        &self,
        customer: &Customer,
        own: &str,
        (billing, shipping): (Option<&Address>, Option<&Address>),
        profile: Option<&Entry>,
    ) -> Result<Value, Problem> {
        let mut person = Record::new(&self.shape.account);
        person
            .require("LastName", last_name(customer, own))
            .set("FirstName", customer.first_name.clone())
            .set("PersonEmail", customer.email.clone())
            .set("Phone", customer.phone.clone())
            .address("Billing", billing)
            .address("Shipping", shipping)
            .address("PersonMailing", shipping.or(billing));
        self.profile(&mut person, profile, "Person")?;
        let url = by_key(&self.shape.account, customer.contact_key(own), self.data_path)?;
        Ok(self.person_part("PATCH", &url, "account", &person))
    }

    /// What a profile says besides name and address. On person accounts the contact's fields have a prefix.
    fn profile(&self, record: &mut Record<'_>, profile: Option<&Entry>, prefix: &str) -> Result<(), Problem> {
        let Some(profile) = profile else { return Ok(()) };
        for (name, value) in &profile.values {
            let field = self.mapping.field(&format!("customer.{name}"));
            let prefixed = field.map(|field| format!("{prefix}{field}"));
            let there = prefixed
                .as_deref()
                .filter(|field| record.shape.createable(field).is_some());
            record.place(there.or(field), Some(value.clone()));
        }
        record.add(&profile.fields)
    }
}

fn full_name(customer: &Customer, own: &str) -> String {
    match (&customer.first_name, &customer.last_name) {
        (Some(first), Some(last)) => format!("{first} {last}"),
        _ => last_name(customer, own),
    }
}

/// The org wants a name of everyone: what else the person is known by.
fn last_name(customer: &Customer, own: &str) -> String {
    let known = [&customer.last_name, &customer.first_name, &customer.email];
    let known = known.into_iter().flatten().next().cloned();
    known.unwrap_or_else(|| customer.contact_key(own).to_owned())
}
