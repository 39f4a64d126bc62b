//! Everything that a storefront writes to the org, orders included: its kinds, and what is kept of each.
//!
//! An order has a shape of its own ([`Placed`]). All others are one record with a few values, a person it
//! belongs to and perhaps an order it is about ([`Entry`]); what members each kind takes, and where they go
//! in the org, is one table in [`kinds`].

mod check;
pub mod edit;
pub mod kinds;
pub mod parse;

use std::collections::BTreeMap;

use serde::ser::Error as _;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::model::order::{Address, Customer, Fields, Payment, Placed, lane};

/// Room for the body of most.
const BODY_BYTES: usize = 1_024;

/// What a write makes or changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    Order,
    /// A payment, a cancellation or a corrected address of an order that was sent before.
    OrderUpdate,
    Customer,
    Case,
    Lead,
    CampaignMember,
    Asset,
    FormSubmission,
}

impl Kind {
    pub const ALL: [Self; 8] = [
        Self::Order,
        Self::OrderUpdate,
        Self::Customer,
        Self::Case,
        Self::Lead,
        Self::CampaignMember,
        Self::Asset,
        Self::FormSubmission,
    ];

    /// As the database and the interface name it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Order => "order",
            Self::OrderUpdate => "order_update",
            Self::Customer => "customer",
            Self::Case => "case",
            Self::Lead => "lead",
            Self::CampaignMember => "campaign_member",
            Self::Asset => "asset",
            Self::FormSubmission => "form_submission",
        }
    }

    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }

    /// The lower, the sooner it is sent: orders first, then what belongs to them.
    pub fn priority(self) -> u8 {
        match self {
            Self::Order => 0,
            Self::OrderUpdate => 1,
            _ => 2,
        }
    }
}

/// A write as the outbox keeps it.
#[derive(Clone, Debug, PartialEq)]
pub enum Write {
    Order(Placed),
    Entry(Kind, Entry),
}

/// Any write but an order.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// The key of the write itself. A customer's is also that of the customer.
    pub external_id: String,
    pub store_id: String,
    /// Whose it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub customer: Option<Customer>,
    /// What a change of a customer calls the customer, who has to be there: a key, an id of the org or an address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub named: Option<String>,
    /// The key of the order it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub order: Option<String>,
    /// The values of the kind's members, by their names.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub values: BTreeMap<String, Value>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shipping_address: Option<Address>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub billing_address: Option<Address>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payment: Option<Payment>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub answers: Vec<Answer>,
    #[serde(default)]
    pub fields: Fields,
}

/// One answer of a form.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Answer {
    pub question_id: Option<String>,
    pub question: Option<String>,
    pub answer: String,
}

impl Write {
    pub fn kind(&self) -> Kind {
        match self {
            Self::Order(_) => Kind::Order,
            Self::Entry(kind, _) => *kind,
        }
    }

    pub fn external_id(&self) -> &str {
        match self {
            Self::Order(order) => &order.external_id,
            Self::Entry(_, entry) => &entry.external_id,
        }
    }

    pub fn store_id(&self) -> &str {
        match self {
            Self::Order(order) => &order.store_id,
            Self::Entry(_, entry) => &entry.store_id,
        }
    }

    pub fn customer(&self) -> Option<&Customer> {
        match self {
            Self::Order(order) => Some(&order.customer),
            Self::Entry(_, entry) => entry.customer.as_ref(),
        }
    }

    /// Writes of one lane are sent one at a time, in the order they were accepted: those that touch one account.
    pub fn lane(&self) -> String {
        let entry = match self {
            Self::Order(order) => return order.lane(),
            Self::Entry(_, entry) => entry,
        };
        let own = entry.order.as_deref().unwrap_or(&entry.external_id);
        match (&entry.named, &entry.customer) {
            (Some(name), _) => lane(name),
            (None, Some(customer)) => customer.lane(own),
            (None, None) => lane(own),
        }
    }

    /// The name of a customer who has to be there.
    pub fn named(&self) -> Option<&str> {
        match self {
            Self::Order(_) => None,
            Self::Entry(_, entry) => entry.named.as_deref(),
        }
    }

    /// The order that has to be in the org before it.
    pub fn order(&self) -> Option<&str> {
        match self {
            Self::Order(_) => None,
            Self::Entry(_, entry) => entry.order.as_deref(),
        }
    }

    /// As it goes to the org: with the org's own keys of it and of the order that it is about, where they are others.
    pub fn under(mut self, org_key: Option<&str>, order_org_key: Option<&str>) -> Self {
        let (key, order) = match &mut self {
            Self::Order(order) => (&mut order.external_id, None),
            Self::Entry(_, entry) => (&mut entry.external_id, entry.order.as_mut()),
        };
        if let Some(org_key) = org_key {
            org_key.clone_into(key);
        }
        if let Some((order, org_key)) = order.zip(order_org_key) {
            org_key.clone_into(order);
        }
        self
    }

    /// The body as it is kept; the kind is kept beside it.
    pub fn to_json(&self) -> serde_json::Result<String> {
        let mut json = Vec::with_capacity(BODY_BYTES);
        match self {
            Self::Order(order) => serde_json::to_writer(&mut json, order)?,
            Self::Entry(_, entry) => serde_json::to_writer(&mut json, entry)?,
        }
        String::from_utf8(json).map_err(serde_json::Error::custom)
    }

    pub fn from_json(kind: Kind, body: &str) -> serde_json::Result<Self> {
        match kind {
            Kind::Order => serde_json::from_str(body).map(Self::Order),
            kind => serde_json::from_str(body).map(|entry| Self::Entry(kind, entry)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_a_name_of_its_own() {
        for kind in Kind::ALL {
            assert_eq!(Kind::from_name(kind.name()), Some(kind));
        }
        assert_eq!(Kind::from_name("order "), None);
    }

    #[test]
    fn what_touches_one_account_shares_a_lane() {
        let customer = |key: Option<&str>, account: Option<&str>| Customer {
            external_id: key.map(str::to_owned),
            account_external_id: account.map(str::to_owned),
            ..Customer::default()
        };
        let lane = |customer: Option<Customer>, order: Option<&str>| {
            let entry = Entry {
                external_id: "W-1".to_owned(),
                customer,
                order: order.map(str::to_owned),
                ..Entry::default()
            };
            Write::Entry(Kind::Case, entry).lane()
        };
        assert_eq!(lane(Some(customer(Some("C-7"), None)), Some("O-1")), "c-7");
        assert_eq!(lane(Some(customer(Some("C-7"), Some("ACME"))), None), "acme");
        assert_eq!(lane(Some(customer(None, None)), None), "w-1");
        // Guests with one address may be one person; the address itself is not kept.
        let guest = |email: &str| Customer {
            email: Some(email.to_owned()),
            ..Customer::default()
        };
        let address = lane(Some(guest("Ana@example.com")), None);
        assert_eq!(lane(Some(guest("ana@example.com")), None), address);
        assert_eq!(lane(Some(customer(Some("ana@example.com"), None)), None), address);
        assert!(!address.contains("ana"), "{address}");
        assert_eq!(lane(None, Some("O-1")), "o-1");
    }
}
