//! An order: as a storefront posts it, as it is kept, and the states it goes through.
//!
//! [`Order`] is what was posted, checked by [`parse::order`]; [`Placed`] is the same order tied to a store,
//! with every item resolved to a price book entry and a price, which is what the outbox keeps and the org is
//! sent. What may become of it is [`OrderState::after`], a pure function.

pub mod card;
pub mod day;
pub mod decimal;
pub mod digits;
pub mod members;
pub mod parse;
pub mod rules;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::model::clock::Millis;
pub use crate::model::order::decimal::Decimal;
use crate::model::state::WriteState;

/// Most items of one order. What one request of the org cannot take is sent in several.
pub const ITEMS_MAX: usize = 2_000;

/// Values for fields of the org, by the org's field names; text, numbers, booleans or null.
pub type Fields = BTreeMap<String, serde_json::Value>;

/// Members that a change sent as null: what the org has there is emptied.
pub type Emptied = BTreeSet<String>;

/// An order as posted and found valid in itself; whether its items exist is not known yet.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Order {
    pub external_id: String,
    /// The store's today where none is given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub order_date: Option<String>,
    /// That of the store where none is given.
    pub currency: Option<String>,
    pub customer: Customer,
    /// A membership by id, whose prices a guest is shown.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub membership: Option<String>,
    pub shipping_address: Option<Address>,
    pub billing_address: Option<Address>,
    pub items: Vec<Item>,
    /// Of the whole order.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tax: Option<Decimal>,
    // Left out of the fingerprint where they are not given, so that orders from before there were any keep theirs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shipping: Option<Charge>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub discounts: Vec<Charge>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub payments: Vec<Payment>,
    pub fields: Fields,
}

/// Who orders. A guest has no `external_id`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Customer {
    pub external_id: Option<String>,
    /// The org's own id of the contact or person account: somebody whom the org has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub salesforce_id: Option<String>,
    pub email: Option<String>,
    pub first_name: Option<String>,
    pub last_name: Option<String>,
    pub phone: Option<String>,
    /// The name of the account, where that is a company's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub company: Option<String>,
    /// The key of the account, where several people order for one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account_external_id: Option<String>,
    /// Somebody whom the org has stays as they are: whoever sent it may not change customers.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_protected: bool,
    #[serde(default, skip_serializing_if = "Emptied::is_empty")]
    pub emptied: Emptied,
}

impl Customer {
    /// What writes share that may touch one person's records. Guests with one address may be one person.
    pub fn lane(&self, own: &str) -> String {
        let named = [
            &self.account_external_id,
            &self.external_id,
            &self.salesforce_id,
            &self.email,
        ];
        lane(named.into_iter().flatten().next().map_or(own, String::as_str))
    }
}

/// The lane of a name. The org compares keys without regard to case. A lane is kept when the rest of a write is
/// forgotten, so that it has a hash (FNV-1a) in the place of an address.
pub fn lane(name: &str) -> String {
    let name = name.to_lowercase();
    if !name.contains('@') {
        return name;
    }
    let hash = name.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    format!("@{hash:016x}")
}

/// What an order costs or saves besides its items: an item of a product that stands for it, or a record or field of the
/// org's own.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Charge {
    /// That of the configuration where none is given.
    pub product: Option<ProductReference>,
    /// Above zero, for discounts too.
    pub amount: Decimal,
    pub label: Option<String>,
    /// Where a discount comes from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub promotion_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub coupon: Option<String>,
    /// Where a shipment begins.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stock_location_id: Option<String>,
}

/// How an order was paid, or is to be: what the payment provider calls it, never a card.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Payment {
    pub reference: String,
    pub amount: Option<Decimal>,
    pub method: Option<String>,
    pub status: Option<String>,
    /// ISO 8601 with a zone.
    pub paid_at: Option<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Address {
    pub street: Option<String>,
    pub city: Option<String>,
    pub state: Option<String>,
    pub postal_code: Option<String>,
    pub country: Option<String>,
    #[serde(default, skip_serializing_if = "Emptied::is_empty")]
    pub emptied: Emptied,
}

/// One line of an order as posted.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Item {
    pub product: ProductReference,
    pub quantity: Decimal,
    /// That of the price book in effect where none is given.
    pub unit_price: Option<Decimal>,
    /// Of the whole line.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tax: Option<Decimal>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub discount: Option<Decimal>,
    pub fields: Fields,
}

/// How an item names its product.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ProductReference {
    ProductId(String),
    ProductCode(String),
    PricebookEntryId(String),
}

/// Which prices an order may have, what becomes of one that breaks a rule, and which products stand for what it costs
/// besides its items.
#[derive(Clone, Copy, Debug, Default)]
pub struct Pricing<'a> {
    /// Only those of the price book in effect.
    pub book_only: bool,
    pub rules: rules::Rules,
    /// Product codes.
    pub shipping_product: Option<&'a str>,
    pub discount_product: Option<&'a str>,
    pub places: Places,
}

/// Where the org has a place of its own for what no product stands for.
#[derive(Clone, Copy, Debug, Default)]
pub struct Places {
    /// A record for each shipment, and for each use of a promotion.
    pub shipping_record: bool,
    pub discount_record: bool,
    /// A field of the shipment for where it begins.
    pub shipping_location: bool,
    /// Fields of the order.
    pub shipping_field: bool,
    pub discount_field: bool,
    pub coupon_field: bool,
}

/// An order ready to be sent: what the outbox keeps.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Placed {
    pub external_id: String,
    pub store_id: String,
    pub pricebook_id: String,
    pub currency: Option<String>,
    /// `2026-11-22`
    pub effective_date: String,
    pub customer: Customer,
    pub shipping_address: Option<Address>,
    pub billing_address: Option<Address>,
    pub lines: Vec<Line>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tax: Option<Decimal>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shipment: Option<Shipment>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub savings: Vec<Saving>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub payments: Vec<Payment>,
    /// What people read at the order in the org: which rules it breaks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mark: Option<String>,
    #[serde(default)]
    pub fields: Fields,
}

/// One line of a [`Placed`] order.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Line {
    pub pricebook_entry_id: String,
    pub quantity: Decimal,
    pub unit_price: Decimal,
    /// Of the whole line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tax: Option<Decimal>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub discount: Option<Decimal>,
    /// What people read at the line: of shipping and discounts, what they are called.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// The product whose stock it holds, where that counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub holds: Option<String>,
    /// The approval that it holds so many of, where its account may buy no more than so many.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approval: Option<String>,
    #[serde(default)]
    pub fields: Fields,
}

/// What is charged for sending an order, where no line stands for it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Shipment {
    pub amount: Decimal,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stock_location_id: Option<String>,
}

/// What a discount takes off an order, and where it comes from.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Saving {
    pub amount: Decimal,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub promotion_id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub coupon: Option<String>,
    /// A line stands for the amount too.
    #[serde(default)]
    pub is_line: bool,
}

impl Placed {
    /// Writes of one lane are sent one at a time. The org compares keys without regard to case.
    pub fn lane(&self) -> String {
        self.customer.lane(&self.external_id)
    }
}

/// Why an order is not where it should be, for a person: a code and one sentence that says what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    pub code: String,
    pub message: String,
}

impl Problem {
    pub fn new(code: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            code: code.into(),
            message: message.into(),
        }
    }
}

/// Where an order is. Every variant is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OrderState {
    /// Set by intake, with the row itself, before the storefront has its answer.
    Queued,
    /// Set by the outbox when push claims the order, before the request leaves; found at a start, it means
    /// that the outcome is unknown.
    Sending {
        /// Counts every claim.
        attempt: u32,
        /// Counts the claims that ended in trouble of this order's own.
        failures: u32,
    },
    /// Set by push after an outcome that may be better next time, and at a start for what was being sent.
    Waiting {
        failures: u32,
        due_at: Millis,
        /// The org may have the order: it is looked up before it is sent again.
        read_back: bool,
        problem: Problem,
    },
    /// Set by push when the org has the order and its items.
    Sent { salesforce_id: String },
    /// Set by confirm when the order has come back as a change of the org's.
    Confirmed { salesforce_id: String },
    /// Set by push when trying again cannot help; a person decides.
    NeedsAttention { problem: Problem },
    /// Set by an operator who gives a write up, and by push for a change that a later one has overtaken.
    Discarded { problem: Problem },
}

/// What became of one attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    Sent {
        salesforce_id: String,
    },
    /// Try again after `wait`, at most `attempts_max` times in all where there is such a bound.
    Retry {
        problem: Problem,
        wait: Duration,
        attempts_max: Option<u32>,
        read_back: bool,
    },
    /// Trouble that is not known to be this order's: try again after `wait`, as if this attempt had not been.
    Paused {
        problem: Problem,
        wait: Duration,
        read_back: bool,
        /// It is that of all orders: none is sent for as long as `wait`, and this one is due as soon as one may be.
        everyone: bool,
    },
    Refused {
        problem: Problem,
    },
    /// The org has a later change: this one is not to be written any more.
    Overtaken {
        problem: Problem,
    },
}

impl OrderState {
    /// As the database and the interface name it.
    pub fn state(&self) -> WriteState {
        match self {
            Self::Queued => WriteState::Queued,
            Self::Sending { .. } => WriteState::Sending,
            Self::Waiting { .. } => WriteState::Waiting,
            Self::Sent { .. } => WriteState::Sent,
            Self::Confirmed { .. } => WriteState::Confirmed,
            Self::NeedsAttention { .. } => WriteState::NeedsAttention,
            Self::Discarded { .. } => WriteState::Discarded,
        }
    }

    /// The state after an attempt's outcome. Only an order that is being sent has one; any other state stays
    /// what it is.
    pub fn after(self, outcome: Outcome, now: Millis) -> Self {
        let Self::Sending { failures, .. } = self else {
            return self;
        };
        let due_at = |wait: Duration| now.saturating_add(i64::try_from(wait.as_millis()).unwrap_or(i64::MAX));
        match outcome {
            Outcome::Sent { salesforce_id } => Self::Sent { salesforce_id },
            Outcome::Refused { problem } => Self::NeedsAttention { problem },
            Outcome::Overtaken { problem } => Self::Discarded { problem },
            Outcome::Retry {
                problem,
                attempts_max: Some(most),
                ..
            } if failures + 1 >= most => Self::NeedsAttention { problem },
            Outcome::Retry {
                problem,
                wait,
                read_back,
                ..
            } => Self::Waiting {
                failures: failures + 1,
                due_at: due_at(wait),
                read_back,
                problem,
            },
            Outcome::Paused {
                problem,
                wait,
                read_back,
                everyone,
            } => Self::Waiting {
                failures,
                due_at: if everyone { now } else { due_at(wait) },
                read_back,
                problem,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem() -> Problem {
        Problem::new("CODE", "a sentence")
    }

    fn retry(attempts_max: Option<u32>) -> Outcome {
        Outcome::Retry {
            problem: problem(),
            wait: Duration::from_secs(2),
            attempts_max,
            read_back: true,
        }
    }

    #[test]
    fn an_attempt_leads_on() {
        let sending = |failures| OrderState::Sending { attempt: 7, failures };
        let waiting = |failures| OrderState::Waiting {
            failures,
            due_at: 12_000,
            read_back: true,
            problem: problem(),
        };
        let paused = Outcome::Paused {
            problem: problem(),
            wait: Duration::from_secs(2),
            read_back: true,
            everyone: false,
        };
        let sent = Outcome::Sent {
            salesforce_id: "801".to_owned(),
        };
        for (failures, outcome, expected) in [
            (
                0,
                sent,
                OrderState::Sent {
                    salesforce_id: "801".to_owned(),
                },
            ),
            (0, retry(None), waiting(1)),
            (1, retry(Some(3)), waiting(2)),
            (
                2,
                retry(Some(3)),
                OrderState::NeedsAttention { problem: problem() },
            ),
            (2, paused, waiting(2)),
            (
                0,
                Outcome::Refused { problem: problem() },
                OrderState::NeedsAttention { problem: problem() },
            ),
            (
                0,
                Outcome::Overtaken { problem: problem() },
                OrderState::Discarded { problem: problem() },
            ),
        ] {
            assert_eq!(sending(failures).after(outcome, 10_000), expected);
        }
    }

    #[test]
    fn only_what_is_being_sent_has_an_outcome() {
        let confirmed = OrderState::Confirmed {
            salesforce_id: "801".to_owned(),
        };
        assert_eq!(confirmed.clone().after(retry(None), 0), confirmed);
        assert_eq!(OrderState::Queued.after(retry(None), 0), OrderState::Queued);
    }
}
