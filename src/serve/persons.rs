//! Whom a request means: the one way in which reads, visitors and orders find a customer.
//!
//! A customer is found by id, by key, and by an address that exactly one contact has. Who was merged into another is
//! that other: push sends what the old key or id orders to the record that lives on, so that record is shown too.

use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::response::Response;
use rusqlite::Connection;

use crate::model::clock::Millis;
use crate::model::order;
use crate::serve::World;
use crate::serve::orders::NotWritten;
use crate::serve::problem::Problem;
use crate::store::storefront::customers::{self, By, Customer, Looked, Place};

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
    let name = match by {
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

/// What is said of a company that is not written.
pub const COMPANY_KEPT: &str = "the account of the customer is shared or another's and keeps its name: name the customer's account by account_external_id";

/// The same where another store has sold to the account.
pub const COMPANY_SHARED: &str =
    "another store has sold to the account, so that it keeps its name: change the name in the org";

/// Why push will leave out the company of a write, as far as the cache knows: the customer's account is not the customer's
/// alone, or another store has sold to it.
pub fn keeps_company(
    world: &World,
    cache: &Connection,
    store_id: &str,
    sent: &order::Customer,
    named: Option<&str>,
) -> Result<Option<&'static str>, Problem> {
    if sent.company.is_none() {
        return Ok(None);
    }
    if let Some(key) = &sent.account_external_id {
        let account = customers::account_of_key(cache, key)?;
        let is_shared = match account {
            Some(account) => customers::is_sold_to_by_another(cache, &account, store_id)?,
            None => false,
        };
        return Ok(is_shared.then_some(COMPANY_SHARED));
    }
    if world.intake.has_person_accounts() {
        return Ok(None);
    }
    let looked = match named {
        Some(name) => {
            let whole = customers::whole_id(name);
            find(world, cache, &customers::ways(whole.as_deref().unwrap_or(name)))?
        }
        None => find(world, cache, &world.intake.ways_to(sent))?,
    };
    let Looked::One(found) = looked else {
        return Ok(None);
    };
    let (Some(_), Some(account)) = (&found.contact_id, &found.account_id) else {
        return Ok(None);
    };
    let key = customers::account_key(cache, account)?;
    let is_own = key
        .zip(found.external_id)
        .is_some_and(|(one, other)| one.eq_ignore_ascii_case(&other));
    Ok((!is_own).then_some(COMPANY_KEPT))
}

/// What is said of the members of a person who stays as they are.
pub const PERSON_KEPT: &str = "the org has the customer, and the token may not change customers";

/// The org's stamps are whole seconds, and its clock may differ a little from this machine's.
const STAMP_MILLIS: Millis = 2_000;

/// The members of a write that are not written, as far as the cache knows.
#[derive(Debug, Default)]
pub struct LeftOut {
    members: Vec<NotWritten>,
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
        match self.kept {
            Some((kept, since)) if since.is_none_or(|since| since < accepted_at - STAMP_MILLIS) => kept,
            _ => self.members,
        }
    }
}

/// What of a person push will leave out, by the names that the members have after `prefix`.
pub fn left_out(
    world: &World,
    cache: &Connection,
    store_id: &str,
    (sent, named): (&order::Customer, Option<&str>),
    prefix: &str,
) -> Result<LeftOut, Problem> {
    let company = keeps_company(world, cache, store_id, sent, named)?;
    let mut left_out = LeftOut {
        members: company
            .map(|why| (format!("{prefix}company"), why))
            .into_iter()
            .collect(),
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
