//! What of a person a request leaves out, because of what the org has of the person. Pure.

use super::Composer;
use crate::model::order::{Address, Customer};
use crate::model::write::{Entry, Kind, Write};
use crate::outbound::record::{Part, Place};
use crate::store::outbox::NotWritten;

/// What is said of a member of the account that is not written, because the account is not the customer's alone.
pub const ACCOUNT_SHARED: &str = "the account of the customer is shared or another's, and is changed by no one person: name the customer's account by account_external_id to rename it, or change it in the org";

/// The same of a name where another store has sold to the account.
pub const COMPANY_SHARED: &str =
    "another store has sold to the account, so that it keeps its name: change the name in the org";

/// The same of a company that comes with an order or a case.
pub const COMPANY_OF_ORDER: &str =
    "the org has the account, and an order changes none: send it as a change of the customer";

/// What is said of the members of a person who stays as they are.
pub const PERSON_KEPT: &str = "the org has the customer, and the token may not change customers";

/// The same of one who was found by an address alone.
const GUEST_KEPT: &str = "the org has a customer with the address, whom nobody changes who gives the address alone: name the customer by key";

/// The same of one who was merged.
const MERGED_KEPT: &str =
    "the customer was merged into another in the org, who stays as the merge made them: name that one";

/// The same of what is an account's.
const NO_ACCOUNT: &str = "the customer is in no account: put the contact into one in the org";

impl Composer<'_> {
    /// The members of a write's person that its request leaves out, and why.
    pub fn left_out(&self, write: &Write) -> Vec<NotWritten> {
        let Some(customer) = write.customer() else {
            return Vec::new();
        };
        let parts = match write {
            Write::Order(order) => self.head(order, &order.external_id),
            Write::Entry(kind, entry) => self.entry_parts(*kind, entry),
        };
        // What cannot be composed is refused, and not left out.
        let Ok(parts) = parts else { return Vec::new() };
        let change = match write {
            Write::Entry(Kind::Customer, entry) => Some(entry),
            _ => None,
        };
        let is_guest =
            customer.external_id.is_none() && customer.salesforce_id.is_none() && write.named().is_none();
        let mut members = vec![
            ("first_name", customer.first_name.is_some()),
            ("last_name", customer.last_name.is_some()),
            ("phone", customer.phone.is_some()),
            ("company", customer.company.is_some()),
        ];
        // A guest is found by the address, which is the same then.
        members.insert(0, ("email", customer.email.is_some() && !is_guest));
        let why = |member: &str| self.why(customer, (change.is_some(), is_guest), member);
        let prefix = if change.is_some() { "" } else { "customer." };
        let mut left_out: Vec<NotWritten> = members
            .into_iter()
            .filter(|(member, is_sent)| *is_sent && !is_written(&parts, Place::Customer, Some(member)))
            .map(|(member, _)| NotWritten::new(format!("{prefix}{member}"), why(member)))
            .collect();
        if let Some(entry) = change {
            left_out.extend(rest(&parts, entry).map(|member| NotWritten::new(member.clone(), why(&member))));
        }
        left_out
    }

    fn why(&self, customer: &Customer, (is_change, is_guest): (bool, bool), member: &str) -> &'static str {
        let party = self.party;
        let keeps_name = match customer.account_external_id {
            Some(_) => party.is_account_kept,
            None => party.keeps_account_name,
        };
        match member {
            _ if customer.is_protected => PERSON_KEPT,
            _ if party.is_kept && is_guest => GUEST_KEPT,
            _ if party.is_kept => MERGED_KEPT,
            "company" if !is_change => COMPANY_OF_ORDER,
            "company" | "billing_address" if party.account.is_none() => NO_ACCOUNT,
            "company" if keeps_name => COMPANY_SHARED,
            _ => ACCOUNT_SHARED,
        }
    }
}

/// What a change of a customer says besides the person's own members, and no record has.
fn rest<'a>(parts: &'a [Part<'_>], entry: &'a Entry) -> impl Iterator<Item = String> + 'a {
    let values = entry.values.keys();
    let values = values.filter(|name| !is_written(parts, Place::Values, Some(name)));
    let addresses = [
        ("shipping_address", &entry.shipping_address, Place::Shipping),
        ("billing_address", &entry.billing_address, Place::Billing),
    ];
    let addresses = addresses.into_iter().filter(|(_, address, place)| {
        let is_sent = address
            .as_ref()
            .is_some_and(|address| *address != Address::default());
        is_sent && !is_written(parts, *place, None)
    });
    let fields = entry.fields.keys();
    let fields = fields.filter(|name| !is_written(parts, Place::Fields, Some(name)));
    values
        .cloned()
        .chain(addresses.map(|(name, _, _)| name.to_owned()))
        .chain(fields.map(|name| format!("fields.{name}")))
}

/// Whether a record of the person has a member, or any of a place.
fn is_written(parts: &[Part<'_>], place: Place, member: Option<&str>) -> bool {
    let records = parts.iter().filter_map(|part| part.record.as_ref());
    let mut records = records.filter(|record| ["Account", "Contact"].contains(&record.shape.object.as_str()));
    records.any(|record| {
        let mut sources = record.sources.iter().map(|(_, source)| source);
        sources.any(|source| {
            source.place == place
                && member.is_none_or(|member| source.member == member || source.and == Some(member))
        })
    })
}
