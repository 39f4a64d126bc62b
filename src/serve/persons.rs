//! Whom a request means: the one way in which reads, visitors and orders find a customer.
//!
//! A customer is found by id, by key, and by an address that exactly one contact has. Who was merged into another is
//! that other: push sends what the old key or id orders to the record that lives on, so that record is shown too.

use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::response::Response;
use rusqlite::Connection;

use crate::model::clock::Millis;
use crate::model::order;
use crate::outbound::outbox::{ACCOUNT_SHARED, COMPANY_OF_ORDER, COMPANY_SHARED, PERSON_KEPT};
use crate::serve::World;
use crate::serve::orders::NotWritten;
use crate::serve::problem::Problem;
use crate::store::storefront::customers::{self, By, Customer, Looked, Place};
use crate::store::storefront::is_id;

const CUSTOMER: HeaderName = HeaderName::from_static("storesync-customer");

/// The customer that the first way finds that finds anybody.
pub fn find(world: &World, cache: &Connection, ways: &[By<'_>]) -> Result<Looked, Problem> {
    for by in ways {
        for place in Place::ALL {
            match customers::find(cache, place, *by)? {
                Looked::Nobody => {}
                found => return Ok(found),
            }
            let Some(survivor) = survivor(world, place, *by)? else {
                continue;
            };
            match customers::find(cache, place, By::Id(&survivor))? {
                Looked::Nobody => {}
                found => return Ok(found),
            }
        }
    }
    Ok(Looked::Nobody)
}

/// The id of the record that took in the one that is looked for.
fn survivor(world: &World, place: Place, by: By<'_>) -> Result<Option<String>, Problem> {
    // What is no id is looked for as a key in its turn: whoever has the key now comes before who had it once.
    let name = match by {
        By::Id(name) if !is_id(name) => return Ok(None),
        By::Id(name) | By::Key(name) => name,
        By::Email(_) => return Ok(None),
    };
    world
        .intake
        .outbox()
        .survivor(place.object(), name)
        .map_err(|error| {
            tracing::error!(%error, "which customers were merged cannot be read");
            Problem::unavailable("customers cannot be looked up just now: try again")
        })
}

/// The customer of a name: an id, a key or an address.
pub fn named(world: &World, cache: &Connection, name: &str) -> Result<Option<Customer>, Problem> {
    let whole = customers::whole_id(name);
    match find(world, cache, &customers::ways(whole.as_deref().unwrap_or(name)))? {
        Looked::One(customer) => Ok(Some(customer)),
        Looked::Nobody => Ok(None),
        Looked::Several => {
            let detail = "several customers have this address: name the customer by id or external id";
            Err(Problem::new(StatusCode::CONFLICT, "customer-not-unique", detail))
        }
    }
}

/// What a write sends that is about the account.
#[derive(Clone, Copy, Debug)]
pub struct OfAccount<'a> {
    pub store_id: &'a str,
    /// The name of a customer who is changed.
    pub named: Option<&'a str>,
    /// It is a change of the customer, and not an order or a case.
    pub is_change: bool,
    pub has_billing: bool,
}

/// Why push will leave out the company and the billing address of a write, as far as the cache knows.
fn kept_of_account(
    world: &World,
    cache: &Connection,
    sent: &order::Customer,
    about: OfAccount<'_>,
) -> Result<(Vec<NotWritten>, Option<Millis>), Problem> {
    let nothing = (Vec::new(), None);
    if sent.company.is_none() && !about.has_billing || world.intake.has_person_accounts() {
        return Ok(nothing);
    }
    let looked = match about.named {
        Some(name) => {
            let whole = customers::whole_id(name);
            find(world, cache, &customers::ways(whole.as_deref().unwrap_or(name)))?
        }
        None => find(world, cache, &world.intake.ways_to(sent))?,
    };
    let found = match looked {
        Looked::One(found) if found.contact_id.is_some() => Some(found),
        _ => None,
    };
    let named = match &sent.account_external_id {
        Some(key) => customers::account_of_key(cache, key)?,
        None => None,
    };
    let account = named.clone().or_else(|| found.as_ref()?.account_id.clone());
    let Some(account) = account else {
        return Ok(nothing);
    };
    let of = found.unwrap_or_default();
    let is_shared = sent.account_external_id.is_some() || !is_own(world, cache, &account, &of)?;
    // An account that has a person's key is that person's own.
    let is_somebody_s = match &sent.account_external_id {
        Some(key) => {
            let person = of.contact_id.as_deref().unwrap_or_default();
            customers::has_other_of_key(cache, &account, key, person)?
        }
        None => is_shared,
    };
    let mut kept = Vec::new();
    let company = if !about.is_change {
        Some(COMPANY_OF_ORDER)
    } else if customers::is_sold_to_by_another(cache, &account, about.store_id)? {
        Some(COMPANY_SHARED)
    } else if is_somebody_s {
        Some(ACCOUNT_SHARED)
    } else {
        None
    };
    kept.extend(
        company
            .filter(|_| sent.company.is_some())
            .map(|why| ("company".to_owned(), why)),
    );
    if about.has_billing && is_shared {
        kept.push(("billing_address".to_owned(), ACCOUNT_SHARED));
    }
    // A change makes nobody: whom it names was there before.
    let since = match of.contact_id.as_deref() {
        _ if about.named.is_some() => None,
        Some(contact) => customers::created_at(cache, Place::Contact, contact)?,
        None => customers::created_at(cache, Place::Account, &account)?,
    };
    Ok((kept, since))
}

/// Whether an account is the customer's alone.
fn is_own(world: &World, cache: &Connection, account: &str, customer: &Customer) -> Result<bool, Problem> {
    let key = customers::account_key(cache, account)?;
    let has_key = key
        .zip(customer.external_id.as_deref())
        .is_some_and(|(account, own)| world.intake.is_own_account(&account, own));
    let person = customer.contact_id.as_deref().unwrap_or_default();
    Ok(has_key && !customers::has_others(cache, account, person)?)
}

/// The org's stamps are whole seconds, and its clock may differ a little from this machine's.
const STAMP_MILLIS: Millis = 2_000;

/// The members of a write that are not written, as far as the cache knows.
#[derive(Debug, Default)]
pub struct LeftOut {
    /// The members of the account, and since when the org has the customer.
    of_account: (Vec<NotWritten>, Option<Millis>),
    /// The members of a person whom the org has, and since when it has.
    kept: Option<(Vec<NotWritten>, Option<Millis>)>,
}

impl LeftOut {
    pub fn is_kept(&self) -> bool {
        self.kept.is_some()
    }

    /// Adds members of the person.
    pub fn keep(&mut self, members: impl Iterator<Item = String>) {
        if let Some((kept, _)) = &mut self.kept {
            kept.extend(members.map(|member| (member, PERSON_KEPT)));
        }
    }

    /// The members that were left out of a write that was accepted at a time: whom the write itself made was not there
    /// before.
    pub fn of(self, accepted_at: Millis) -> Vec<NotWritten> {
        let was_there = |since: Option<Millis>| since.is_none_or(|since| since < accepted_at - STAMP_MILLIS);
        let (members, since) = self.of_account;
        match self.kept {
            Some((kept, since)) if was_there(since) => kept,
            _ if was_there(since) => members,
            _ => Vec::new(),
        }
    }
}

/// What of a person push will leave out, by the names that the members have after `prefix`.
pub fn left_out(
    world: &World,
    cache: &Connection,
    sent: &order::Customer,
    about: OfAccount<'_>,
    prefix: &str,
) -> Result<LeftOut, Problem> {
    let (members, since) = kept_of_account(world, cache, sent, about)?;
    let members = members
        .into_iter()
        .map(|(member, why)| (format!("{prefix}{member}"), why));
    let mut left_out = LeftOut {
        of_account: (members.collect(), since),
        kept: None,
    };
    let is_known = sent.external_id.is_some() || sent.salesforce_id.is_some();
    if !sent.is_protected || !is_known {
        return Ok(left_out);
    }
    let Looked::One(found) = find(world, cache, &world.intake.ways_to(sent))? else {
        return Ok(left_out);
    };
    let (object, id) = match (&found.contact_id, &found.account_id) {
        (Some(id), _) => (Place::Contact, id),
        (None, Some(id)) if world.intake.has_person_accounts() => (Place::Account, id),
        (None, _) => return Ok(left_out),
    };
    left_out.kept = Some((Vec::new(), customers::created_at(cache, object, id)?));
    let members = [
        ("email", &sent.email),
        ("first_name", &sent.first_name),
        ("last_name", &sent.last_name),
        ("phone", &sent.phone),
        ("company", &sent.company),
    ];
    let members = members.into_iter().filter(|(_, value)| value.is_some());
    left_out.keep(members.map(|(member, _)| format!("{prefix}{member}")));
    Ok(left_out)
}

/// Says whose the answer is: after a merge that is another record than the one that was named.
pub fn told(mut answer: Response, record_id: &str) -> Response {
    if let Ok(value) = HeaderValue::try_from(record_id) {
        answer.headers_mut().insert(CUSTOMER, value);
    }
    answer
}
