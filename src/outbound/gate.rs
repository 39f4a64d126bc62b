//! What the org would refuse is refused at the door, while whoever sends it is still there to mend it.
//!
//! A write is composed as it would be sent, and what was sent of each field is held against the org's describe as push
//! last saw it. That is kept across restarts; before it is known, everything is taken as it comes. What depends on the
//! records of the org is not judged here: a name that stands in for a missing one counts only where the person is surely
//! new, and what an administrator has to mend is left to the outbox, which keeps the write meanwhile.

mod books;
mod digits;
mod edits;
mod known;
mod lost;
mod names;
mod own;
mod statuses;
mod totals;

use std::path::Path;
use std::sync::Arc;

use serde_json::Value;

use crate::config::{Customers, Guests, Orders, Profile};
use crate::model::id;
use crate::model::order::parse::Invalid;
use crate::model::order::{Customer, Fields};
use crate::model::write::kinds::{self, Person};
use crate::model::write::{Kind, Write};
use crate::outbound::compose::{Composer, RECORD, relationship};
use crate::outbound::mapping::Mapping;
use crate::outbound::party::Party;
use crate::outbound::places::Places;
use crate::outbound::record::{Part, Place, Record, Source, fits, own_account_key};
use crate::outbound::shape::{Shape, Writable};
pub use known::Known;
pub use names::Names;

/// Holds writes against what the org takes; cheap to clone.
#[derive(Clone)]
pub struct Gate {
    known: Known,
    /// `None` where the configuration cannot be meant: push says so.
    mapping: Option<Arc<Mapping>>,
    policy: Arc<Orders>,
}

/// Stands for a record of the org that a write is about.
const SOME_ID: &str = "000000000000000AAA";

impl Gate {
    /// `profile` is that of `[sync]`.
    pub fn new(known: Known, policy: Arc<Orders>, profile: Profile) -> Self {
        let profile = policy.profile.unwrap_or(profile);
        Self {
            known,
            mapping: Mapping::new(profile, &policy.map).ok().map(Arc::new),
            policy,
        }
    }

    /// Where the org has a place for what.
    pub fn places(&self) -> Option<Places> {
        let mapping = self.mapping.as_ref()?;
        Some(Places::new(Arc::clone(mapping), self.known.clone()))
    }

    /// The key of a person's own account where it is not the person's, as far as the org is known.
    pub fn own_account_key(&self, person: &str) -> Option<String> {
        let shape = self.known.shape()?;
        Some(own_account_key(&shape.account, person))
    }

    /// By what a daemon of this state directory last saw.
    pub fn of(dir: &Path, policy: &Orders, profile: Profile) -> Self {
        Self::new(
            Known::open(dir, policy, profile),
            Arc::new(policy.clone()),
            profile,
        )
    }

    /// Says what of a write the org would refuse. `stores` are the names of the store, for the fields that it may set. What
    /// is sent of a person is not written, and so not judged, where the org has the person and `keeps_person`.
    pub fn check(
        &self,
        write: &Write,
        (names, keeps_person): (Names, bool),
        stores: &[Option<&str>],
    ) -> Result<(), Invalid> {
        let (Some(shape), Some(mapping)) = (self.known.shape(), &self.mapping) else {
            return digits::check(write, &names);
        };
        let checked = Checked {
            gate: self,
            shape: &shape,
            mapping,
            write,
            names,
            keeps_person,
            stores,
        };
        checked.person_id()?;
        checked.keys()?;
        statuses::check(&checked)?;
        let party = party(write, keeps_person);
        // What else cannot be composed is an administrator's to mend.
        let judged = match checked.parts_of(write, &party) {
            Ok(parts) => {
                let judged = parts.iter().try_for_each(|part| checked.part(part));
                let judged = judged.and_then(|()| lost::check(&checked, &parts));
                judged.and_then(|()| totals::check(&checked))
            }
            Err(_) => own::check(&checked, &[party.clone(), somebody(keeps_person)]),
        };
        if judged.is_err() {
            self.known.doubt();
        }
        judged
    }

    /// The first field that a storefront of these names (id, code, domain) may not set.
    pub fn refused_field<'f>(
        &self,
        stores: &[Option<&str>],
        object: &str,
        fields: &'f Fields,
    ) -> Option<&'f str> {
        let mut names = fields.keys().map(String::as_str);
        names.find(|field| !self.may_set(stores, object, field))
    }

    /// Whether there is a store that may set a field.
    fn may_any_set(&self, object: &str, field: &str) -> bool {
        let wanted = format!("{object}.{field}");
        let mut all = self.policy.fields.values().flatten();
        all.any(|one| one.eq_ignore_ascii_case(&wanted))
    }

    fn may_set(&self, stores: &[Option<&str>], object: &str, field: &str) -> bool {
        let of_store = |name: &str| {
            let mut names = stores.iter().flatten();
            name == "*" || names.any(|store| store.eq_ignore_ascii_case(name))
        };
        let wanted = format!("{object}.{field}");
        let lists = self.policy.fields.iter().filter(|(store, _)| of_store(store));
        lists
            .flat_map(|(_, list)| list)
            .any(|one| one.eq_ignore_ascii_case(&wanted))
    }
}

/// Whom a write changes for sure; nobody where the org has to be asked.
fn party(write: &Write, keeps_person: bool) -> Party {
    let has_to_be_there = write.named().is_some()
        || write
            .customer()
            .is_some_and(|customer| customer.salesforce_id.is_some());
    match has_to_be_there || keeps_person {
        true => Party {
            is_own_account: has_to_be_there,
            ..somebody(keeps_person)
        },
        false => Party::default(),
    }
}

/// A person whom the org has.
fn somebody(is_kept: bool) -> Party {
    Party {
        person: Some(SOME_ID.to_owned()),
        account: Some(SOME_ID.to_owned()),
        is_in_account: true,
        is_own_account: true,
        is_account_kept: is_kept,
        is_kept,
        ..Party::default()
    }
}

/// One write while it is checked.
struct Checked<'a> {
    gate: &'a Gate,
    shape: &'a Shape,
    mapping: &'a Mapping,
    write: &'a Write,
    names: Names,
    keeps_person: bool,
    stores: &'a [Option<&'a str>],
}

impl Checked<'_> {
    /// A write as it would be sent for somebody.
    fn parts_of<'p>(
        &'p self,
        write: &Write,
        party: &'p Party,
    ) -> Result<Vec<Part<'p>>, crate::model::order::Problem> {
        let policy = &self.gate.policy;
        let composer = Composer {
            shape: self.shape,
            mapping: self.mapping,
            party,
            customers: policy.customers,
            guests: policy.match_guests,
            duplicates: policy.duplicates,
            status: None,
            cancelled_status: &policy.cancelled_status,
            version_field: None,
            data_path: "",
        };
        match write {
            Write::Order(order) => composer.order_parts(order),
            Write::Entry(kind, entry) => composer.entry_parts(*kind, entry),
        }
    }

    /// An id of a customer that is none of a contact, or of an account where customers are person accounts.
    fn person_id(&self) -> Result<(), Invalid> {
        let Some(customer) = self.write.customer() else {
            return Ok(());
        };
        let persons = self.gate.policy.customers == Customers::Persons;
        let expected = match persons && customer.account_external_id.is_none() {
            true => &self.shape.account.object,
            false => &self.shape.contact.object,
        };
        let found = customer
            .salesforce_id
            .as_deref()
            .and_then(|id| self.shape.object_of(id));
        match found {
            Some(found) if found != expected => Err(Invalid::new(
                self.names.path(Place::Customer, "salesforce_id"),
                id::refusal(found, &[expected]),
            )),
            _ => Ok(()),
        }
    }

    /// Keys that the fields of the org cannot hold.
    fn keys(&self) -> Result<(), Invalid> {
        let own = self.write.external_id();
        let kind = self.write.kind();
        let is_written = self.write.named().is_none() && !self.keeps_person;
        if let Some(customer) = self.write.customer().filter(|_| is_written) {
            self.customer_keys(customer)?;
        }
        let object = match kinds::spec(kind) {
            None if kind == Kind::Order => Some(&self.shape.order),
            None => None,
            Some(spec) if spec.person == Person::Itself => None,
            Some(spec) => self.shape.object(spec.object).ok(),
        };
        object.map_or(Ok(()), |object| {
            self.key(object, own, Place::Write, "external_id")
        })
    }

    fn customer_keys(&self, customer: &Customer) -> Result<(), Invalid> {
        if let (None, Some(key)) = (&customer.salesforce_id, &customer.external_id) {
            let persons = self.gate.policy.customers == Customers::Persons;
            let object = match persons && customer.account_external_id.is_none() {
                true => &self.shape.account,
                false => &self.shape.contact,
            };
            self.key(object, key, Place::Customer, "external_id")?;
        }
        match &customer.account_external_id {
            Some(key) => self.key(&self.shape.account, key, Place::Customer, "account_external_id"),
            None => Ok(()),
        }
    }

    fn key(&self, object: &Writable, key: &str, place: Place, member: &'static str) -> Result<(), Invalid> {
        match &object.key_field {
            Some(field) if !fits(field, key) => {
                let message = format!(
                    "has {} characters: the org takes {}",
                    key.chars().count(),
                    field.length
                );
                Err(Invalid::new(self.names.path(place, member), message))
            }
            _ => Ok(()),
        }
    }

    fn part(&self, part: &Part<'_>) -> Result<(), Invalid> {
        let Some(record) = &part.record else { return Ok(()) };
        for (field, source) in &record.sources {
            self.value(record, field, source)?;
        }
        match part.method {
            "POST" => self.wanted(part, record),
            _ => Ok(()),
        }
    }

    /// What was sent of one field.
    fn value(&self, record: &Record<'_>, field: &str, source: &Source) -> Result<(), Invalid> {
        let stands_in = source.instead_of.filter(|_| source.place == Place::Customer);
        if stands_in.is_some() && !self.is_surely_new() {
            return Ok(());
        }
        let is_book_price = match source.place {
            Place::Line(line) => source.member == "unit_price" && self.names.is_book_price(line),
            _ => false,
        };
        if is_book_price {
            return Ok(());
        }
        let limits = record.shape.limits(field);
        let value = record.values.get(field).unwrap_or(&Value::Null);
        let refusal = limits.and_then(|limits| {
            let object = || self.shape.object_of(value.as_str()?.trim());
            limits
                .refusal(value)
                .or_else(|| limits.refusal_of_object(object()?))
        });
        let Some(refusal) = refusal else {
            return Ok(());
        };
        let message = match (source.and, source.instead_of) {
            (Some(other), _) => format!("and {other} together {}", refusal.replacen("has ", "have ", 1)),
            (None, Some(missing)) => format!("stands for {missing}, which is missing, and {refusal}"),
            (None, None) => refusal,
        };
        Err(Invalid::new(
            self.names.path(source.place, &source.member),
            message,
        ))
    }

    /// Whether the org cannot have the person.
    fn is_surely_new(&self) -> bool {
        self.write.customer().is_some_and(|customer| {
            let named = [&customer.external_id, &customer.salesforce_id];
            let found_by_email = self.gate.policy.match_guests == Guests::Email && customer.email.is_some();
            named.into_iter().all(Option::is_none) && !found_by_email
        })
    }

    /// What a new record cannot be without, as far as it is the storefront's to send: a trigger of the org may fill in
    /// anything else.
    fn wanted(&self, part: &Part<'_>, record: &Record<'_>) -> Result<(), Invalid> {
        let kind = self.write.kind();
        let place = match (part.reference.as_str(), part.reference.strip_prefix("item")) {
            (RECORD, _) if kind != Kind::Customer => Place::Fields,
            (_, Some(index)) => match index.parse() {
                Ok(index) if self.names.is_item(index) => Place::LineFields(index),
                _ => return Ok(()),
            },
            _ => return Ok(()),
        };
        let missing = record.shape.all().filter(|limits| {
            let held = |name: &str| record.values.contains_key(name);
            limits.is_wanted() && !held(&limits.name) && !held(&relationship(&limits.name))
        });
        for limits in missing {
            let object = &record.shape.object;
            let member = kinds::spec(kind).and_then(|spec| {
                let mut members = spec.members.iter();
                members.find(|member| {
                    let mapped = self.mapping.field(&format!("{}.{}", kind.name(), member.name));
                    mapped.is_some_and(|field| field.eq_ignore_ascii_case(&limits.name))
                })
            });
            let path = match member {
                Some(member) => self.names.path(Place::Values, member.name),
                None if self.gate.may_set(self.stores, object, &limits.name) => {
                    self.names.path(place, &limits.name)
                }
                None => continue,
            };
            return Err(Invalid::new(
                path,
                format!("is missing: the org makes no {object} without it"),
            ));
        }
        Ok(())
    }
}
