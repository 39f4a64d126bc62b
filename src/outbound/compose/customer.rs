//! The records of the person who sends something: an account and its contact, or a person account.
//!
//! A record that the org has is changed by its id, in the members that were sent and in no others. Names that the org
//! wants of everybody are made up for new records alone. A contact stays in its account. What comes with an order or a case
//! changes the person and nothing else that the org has: its addresses are the order's, and the account is changed by
//! changes of the customer.

use super::Composer;
use crate::config::Customers;
use crate::model::order::{Address, Customer, Problem};
use crate::model::write::Entry;
use crate::outbound::record::{Part, Place, Record, Source, hidden_key, key_field};
use crate::outbound::shape::{Persons, Writable};

const RECORD_TYPE: &str = "RecordTypeId";

/// An address and where it stands in the write.
type Placed<'a> = Option<(&'a Address, Place)>;

/// The addresses of a write. In a new record, one that is not sent is as the other.
#[derive(Clone, Copy, Default)]
pub(super) struct Addresses<'a> {
    pub billing: Placed<'a>,
    pub shipping: Placed<'a>,
}

impl<'a> Addresses<'a> {
    pub fn of(billing: Option<&'a Address>, shipping: Option<&'a Address>) -> Self {
        Self {
            billing: billing.map(|address| (address, Place::Billing)),
            shipping: shipping.map(|address| (address, Place::Shipping)),
        }
    }

    fn put(record: &mut Record<'_>, prefix: &str, address: Placed<'_>) {
        if let Some((address, place)) = address {
            record.address(prefix, Some(address), place);
        }
    }

    /// Sets both, each under its own name.
    pub fn put_both(self, record: &mut Record<'_>, is_new: bool) {
        let instead = self.shipping.filter(|_| is_new);
        Self::put(record, "Billing", self.billing.or(instead));
        Self::put(record, "Shipping", self.shipping);
    }

    /// Sets the one that a person gets mail at.
    fn put_mailing(self, record: &mut Record<'_>, prefix: &str, is_new: bool) {
        let instead = self.billing.filter(|_| is_new);
        Self::put(record, prefix, self.shipping.or(instead));
    }
}

impl<'a> Composer<'a> {
    /// The parts that make a person or change what was sent of one. `own` is the key of a guest; `profile` has further
    /// values.
    pub(super) fn customer(
        &self,
        customer: &Customer,
        own: &str,
        addresses: Addresses<'_>,
        profile: Option<&Entry>,
    ) -> Result<Vec<Part<'a>>, Problem> {
        if self.customers == Customers::Persons && customer.account_external_id.is_none() {
            let person = self.person(customer, own, addresses, profile)?;
            return Ok(person.into_iter().collect());
        }
        // A change of a contact without an account makes none.
        let needs_account =
            profile.is_none() || self.party.person.is_none() || customer.account_external_id.is_some();
        let account = match self.party.account.as_deref() {
            None if needs_account => self.account(customer, own, addresses)?,
            Some(_) if profile.is_some() => self.account(customer, own, addresses)?,
            _ => None,
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
        addresses: Addresses<'_>,
    ) -> Result<Option<Part<'a>>, Problem> {
        let known = self.party.account.as_deref();
        let shared = customer.account_external_id.is_some();
        let mut account = Record::new(&self.shape.account);
        match (&customer.company, known) {
            (None, Some(_)) => {}
            (company, None) => {
                match company {
                    Some(company) => account
                        .require("Name", company.clone())
                        .sent_as(Place::Customer, "company"),
                    None => full_name(&mut account, customer, own),
                };
            }
            // The company of somebody else's account is not renamed by one of its people.
            (Some(_), Some(_)) if !shared && !self.party.is_own_account => {}
            (Some(_), Some(_)) if self.party.keeps_account_name => {}
            (Some(company), Some(_)) => {
                account
                    .require("Name", company.clone())
                    .sent_as(Place::Customer, "company");
            }
        }
        if !shared && (known.is_none() || self.party.is_own_account) {
            phone(&mut account, customer);
            addresses.put_both(&mut account, known.is_none());
        }
        let named = customer.account_external_id.as_ref();
        let key = match named.or(self.party.account_key.as_ref()) {
            Some(key) => key.clone(),
            None => person_key(&self.shape.account, customer, own),
        };
        let keeps = self.keeps(customer) || self.party.is_account_kept;
        self.person_record("account", account, (known, keeps), &key)
    }

    fn contact(
        &self,
        customer: &Customer,
        own: &str,
        addresses: Addresses<'_>,
        profile: Option<&Entry>,
    ) -> Result<Option<Part<'a>>, Problem> {
        let known = self.party.person.as_deref();
        let mut contact = Record::new(&self.shape.contact);
        // Who is in an account stays there.
        let needs_account = profile.is_none() || customer.account_external_id.is_some();
        if known.is_none() || needs_account && !self.party.is_in_account {
            contact.require("AccountId", self.account_id());
        }
        self.give_key(&mut contact, customer, profile);
        last_name(&mut contact, customer, own, known.is_none());
        first_name(&mut contact, customer);
        contact
            .set("Email", customer.email.clone())
            .sent_as(Place::Customer, "email");
        phone(&mut contact, customer);
        if known.is_none() || profile.is_some() {
            addresses.put_mailing(&mut contact, "Mailing", known.is_none());
        }
        self.profile(&mut contact, profile, "")?;
        let key = person_key(&self.shape.contact, customer, own);
        self.person_record("contact", contact, (known, self.keeps(customer)), &key)
    }

    /// One record that is account and contact: the org makes the contact of it.
    fn person(
        &self,
        customer: &Customer,
        own: &str,
        addresses: Addresses<'_>,
        profile: Option<&Entry>,
    ) -> Result<Option<Part<'a>>, Problem> {
        let known = self.party.person.as_deref();
        let mut person = Record::new(&self.shape.account);
        last_name(&mut person, customer, own, known.is_none());
        first_name(&mut person, customer);
        person
            .set("PersonEmail", customer.email.clone())
            .sent_as(Place::Customer, "email");
        phone(&mut person, customer);
        self.give_key(&mut person, customer, profile);
        // A person account has no company of its own.
        person
            .place(None, customer.company.clone())
            .sent_as(Place::Customer, "company");
        if known.is_none() || profile.is_some() {
            addresses.put_both(&mut person, known.is_none());
            addresses.put_mailing(&mut person, "PersonMailing", known.is_none());
        }
        self.profile(&mut person, profile, "Person")?;
        if known.is_none() && !person.values.contains_key(RECORD_TYPE) {
            match &self.shape.persons {
                Persons::Default => {}
                Persons::Type(id) => drop(person.require(RECORD_TYPE, id.clone())),
                Persons::Unavailable(sentence) => {
                    return Err(Problem::new("NO_PERSON_TYPE", sentence.clone()));
                }
            }
        }
        let key = person_key(&self.shape.account, customer, own);
        self.person_record("account", person, (known, self.keeps(customer)), &key)
    }

    /// Gives a person whom the org has without a key the one that was sent with the org's id.
    fn give_key(&self, record: &mut Record<'_>, customer: &Customer, profile: Option<&Entry>) {
        let is_named = profile.is_some_and(|profile| profile.named.is_some());
        let field = record.shape.key_field.as_ref().map(|key| key.field.clone());
        if let (true, false, Some(field), Some(key)) =
            (self.party.lacks_key, is_named, field, &customer.external_id)
        {
            record
                .require(&field, key.clone())
                .sent_as(Place::Customer, "external_id");
        }
    }

    /// Whether a person whom the org has stays as they are.
    fn keeps(&self, customer: &Customer) -> bool {
        self.party.is_kept || customer.is_protected
    }

    /// The part that changes a record by its id, where there is anything to change that may be, or makes one under its
    /// key.
    fn person_record(
        &self,
        reference: &str,
        mut record: Record<'a>,
        (known, keeps): (Option<&str>, bool),
        key: &str,
    ) -> Result<Option<Part<'a>>, Problem> {
        let shape: &Writable = record.shape;
        let url = self.url(shape);
        if let Some(id) = known {
            let url = format!("{url}/{id}");
            let stays = record.values.is_empty() || keeps;
            return Ok((!stays).then(|| self.person_part("PATCH", &url, reference, record)));
        }
        record.require(key_field(shape, key)?, key);
        Ok(Some(self.person_part("POST", &url, reference, record)))
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
            record
                .place(there.or(field), Some(value.clone()))
                .sent_as(Place::Values, name.clone());
        }
        record.add(&profile.fields, Place::Fields)
    }
}

/// The key of a new person. A guest is given one that is nobody's to sign up or order under, and the same with each attempt.
fn person_key(shape: &Writable, customer: &Customer, own: &str) -> String {
    match &customer.external_id {
        Some(key) => key.clone(),
        None => hidden_key(shape, "guest", &own.to_lowercase()),
    }
}

/// The name of a new account that is no company's.
fn full_name<'r, 'a>(account: &'r mut Record<'a>, customer: &Customer, own: &str) -> &'r mut Record<'a> {
    match (&customer.first_name, &customer.last_name) {
        (Some(first), Some(last)) => account
            .require("Name", format!("{first} {last}"))
            .made_of(Source {
                place: Place::Customer,
                member: "first_name".into(),
                and: Some("last_name"),
                instead_of: Some("company"),
            }),
        _ => known_by(account, "Name", customer, own),
    }
}

fn first_name(record: &mut Record<'_>, customer: &Customer) {
    let sent = ("first_name", &customer.first_name);
    record.text("FirstName", sent, &customer.emptied, Place::Customer);
}

fn phone(record: &mut Record<'_>, customer: &Customer) {
    let sent = ("phone", &customer.phone);
    record.text("Phone", sent, &customer.emptied, Place::Customer);
}

/// The last name that was sent. The org wants one of everybody, so that a new record has what else the person is known
/// by.
fn last_name(record: &mut Record<'_>, customer: &Customer, own: &str, is_new: bool) {
    match &customer.last_name {
        Some(name) => record
            .require("LastName", name.clone())
            .sent_as(Place::Customer, "last_name"),
        None if is_new => known_by(record, "LastName", customer, own),
        None => record,
    };
}

/// Sets a name to what else a person is known by.
fn known_by<'r, 'a>(
    record: &'r mut Record<'a>,
    field: &str,
    customer: &Customer,
    own: &str,
) -> &'r mut Record<'a> {
    let known = [
        ("last_name", &customer.last_name),
        ("first_name", &customer.first_name),
        ("email", &customer.email),
        ("external_id", &customer.external_id),
    ];
    let found = known
        .into_iter()
        .find_map(|(member, value)| value.as_ref().map(|value| (member, value)));
    match found {
        Some((member, value)) => record.require(field, value.clone()).made_of(Source {
            place: Place::Customer,
            member: member.into(),
            and: None,
            instead_of: Some("last_name"),
        }),
        None => record.require(field, own),
    }
}
