//! The records of the person who sends something: an account and its contact, or a person account.
//!
//! A record that the org has is changed by its id, in the members that were sent and in no others. Names that the org
//! wants of everybody are made up for new records alone. A contact stays in its account unless the write names another.

use serde_json::Value;

use super::Composer;
use crate::config::Customers;
use crate::model::order::{Address, Customer, Problem};
use crate::model::write::Entry;
use crate::outbound::record::{Record, key_field};
use crate::outbound::shape::Writable;

/// Billing and shipping.
type Addresses<'a> = (Option<&'a Address>, Option<&'a Address>);

impl Composer<'_> {
    /// The parts that make a person or change what was sent of one. `own` is the key of a guest; `profile` has further
    /// values.
    pub(super) fn customer(
        &self,
        customer: &Customer,
        own: &str,
        addresses: Addresses<'_>,
        profile: Option<&Entry>,
    ) -> Result<Vec<Value>, Problem> {
        if self.party.is_kept {
            return Ok(Vec::new());
        }
        if self.customers == Customers::Persons && customer.account_external_id.is_none() {
            let person = self.person(customer, own, addresses, profile)?;
            return Ok(person.into_iter().collect());
        }
        // A change of a contact without an account makes none.
        let needs_account =
            profile.is_none() || self.party.person.is_none() || customer.account_external_id.is_some();
        let account = match self.party.account.is_some() || needs_account {
            true => self.account(customer, own, addresses)?,
            false => None,
        };
        let contact = self.contact(customer, own, addresses, profile)?;
        Ok(account.into_iter().chain(contact).collect())
    }

    /// The id of the account as a part may name it.
    pub(super) fn account_id(&self) -> String {
        self.party
            .account
            .clone()
            .unwrap_or_else(|| "@{account.id}".to_owned())
    }

    /// The id of the contact as a part may name it.
    pub(super) fn contact_id(&self) -> String {
        self.party
            .person
            .clone()
            .unwrap_or_else(|| "@{contact.id}".to_owned())
    }

    /// Of several people who share an account, none writes more of it than its name.
    fn account(
        &self,
        customer: &Customer,
        own: &str,
        (billing, shipping): Addresses<'_>,
    ) -> Result<Option<Value>, Problem> {
        let known = self.party.account.as_deref();
        let shared = customer.account_external_id.is_some();
        let mut account = Record::new(&self.shape.account);
        match (&customer.company, known) {
            (None, Some(_)) => {}
            (company, None) => {
                let name = company.clone().unwrap_or_else(|| full_name(customer, own));
                account.require("Name", name);
            }
            // The company of somebody else's account is not renamed by one of its people.
            (Some(_), Some(_)) if !shared && !self.party.is_own_account => {}
            (Some(company), Some(_)) => {
                account.require("Name", company.clone());
            }
        }
        if !shared && (known.is_none() || self.party.is_own_account) {
            account
                .set("Phone", customer.phone.clone())
                .address("Billing", billing)
                .address("Shipping", shipping);
        }
        self.person_record("account", account, known, customer.account_key(own))
    }

    fn contact(
        &self,
        customer: &Customer,
        own: &str,
        (billing, shipping): Addresses<'_>,
        profile: Option<&Entry>,
    ) -> Result<Option<Value>, Problem> {
        let known = self.party.person.as_deref();
        let mut contact = Record::new(&self.shape.contact);
        if known.is_none() || customer.account_external_id.is_some() {
            contact.require("AccountId", self.account_id());
        }
        last_name(&mut contact, customer, own, known.is_none());
        contact
            .set("FirstName", customer.first_name.clone())
            .set("Email", customer.email.clone())
            .set("Phone", customer.phone.clone())
            .address("Mailing", shipping.or(billing));
        self.profile(&mut contact, profile, "")?;
        self.person_record("contact", contact, known, customer.contact_key(own))
    }

    /// One record that is account and contact: the org makes the contact of it.
    fn person(
        &self,
        customer: &Customer,
        own: &str,
        (billing, shipping): Addresses<'_>,
        profile: Option<&Entry>,
    ) -> Result<Option<Value>, Problem> {
        let known = self.party.person.as_deref();
        let mut person = Record::new(&self.shape.account);
        last_name(&mut person, customer, own, known.is_none());
        person
            .set("FirstName", customer.first_name.clone())
            .set("PersonEmail", customer.email.clone())
            .set("Phone", customer.phone.clone())
            .address("Billing", billing)
            .address("Shipping", shipping)
            .address("PersonMailing", shipping.or(billing));
        self.profile(&mut person, profile, "Person")?;
        self.person_record("account", person, known, customer.contact_key(own))
    }

    /// The part that changes a record by its id, where there is anything to change, or makes one under its key.
    fn person_record(
        &self,
        reference: &str,
        mut record: Record<'_>,
        known: Option<&str>,
        key: &str,
    ) -> Result<Option<Value>, Problem> {
        let shape: &Writable = record.shape;
        let url = self.url(shape);
        if let Some(id) = known {
            let url = format!("{url}/{id}");
            let part = self.person_part("PATCH", &url, reference, &record);
            return Ok((!record.values.is_empty()).then_some(part));
        }
        record.require(key_field(shape, key)?, key);
        Ok(Some(self.person_part("POST", &url, reference, &record)))
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
        _ => known_by(customer, own),
    }
}

/// The last name that was sent. The org wants one of everybody, so that a new record has what else the person is known
/// by.
fn last_name(record: &mut Record<'_>, customer: &Customer, own: &str, is_new: bool) {
    match &customer.last_name {
        Some(name) => record.require("LastName", name.clone()),
        None if is_new => record.require("LastName", known_by(customer, own)),
        None => record,
    };
}

fn known_by(customer: &Customer, own: &str) -> String {
    let known = [&customer.last_name, &customer.first_name, &customer.email];
    let known = known.into_iter().flatten().next().cloned();
    known.unwrap_or_else(|| customer.contact_key(own).to_owned())
}
