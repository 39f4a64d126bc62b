//! `[orders]`: how orders, and what else storefronts send, are written to the org, and what is kept of them.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::config::{Profile, Rules};

/// `[orders]`: how orders, and what else storefronts send, are written to the org.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Orders {
    /// The external id that makes an order unique. Where none is given: `External_ID__c`, else
    /// `s_c__sC_Id__c`, whichever the org has as a unique external id.
    pub external_id_field: Option<String>,
    /// Whose fields are written; that of `[sync]` where none is given.
    pub profile: Option<Profile>,
    /// Fields in the place of the profile's, by `kind.member`; an empty name leaves the member out.
    pub map: BTreeMap<String, String>,
    /// Fields of the org that storefronts may set, as `Object.Field`, by store (id, code or domain; `*` for all).
    pub fields: BTreeMap<String, Vec<String>>,
    /// Whether an order may have other prices than those that its customer is shown.
    pub prices: Prices,
    /// What becomes of an order for what cannot be bought.
    pub rules: Rules,
    /// What customers are in the org.
    pub customers: Customers,
    /// Whether a guest may be somebody whom the org has.
    pub match_guests: Guests,
    /// The code of the product that stands for shipping, and of the one that stands for discounts.
    pub shipping_product: Option<String>,
    pub discount_product: Option<String>,
    /// The status an order is given once it is complete; orders stay drafts where none is given.
    pub status: Option<String>,
    /// The status of a cancelled order.
    pub cancelled_status: String,
    /// The number field by which a validation rule of the org refuses a change that is older than the one before it; used
    /// on the objects that have it.
    pub version_field: Option<String>,
    /// How much of the org's daily API allowance is kept for orders: other writes wait once only that is left.
    pub api_reserve_percent: u32,
    /// How long the org may take to tell of what was sent before it is asked.
    pub echo_seconds: u32,
    /// Whether a customer is saved whom a duplicate rule of the org warns of.
    pub duplicates: Duplicates,
    /// How often the org is asked whether the records of writes are there still that no change tells of; 0 for never.
    pub erasure_hours: u32,
    /// How long it is kept what finished writes held, and how large the outbox may be that holds it.
    pub history_days: u32,
    pub history_mebibytes: u32,
}

/// What becomes of a customer whom a duplicate rule of the org takes for another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Duplicates {
    /// Saved all the same where the rule lets its users do so; a rule that blocks leaves it to a person.
    Save,
    /// Left to a person, whatever the rule says.
    Refuse,
}

/// Which prices an order may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Prices {
    /// Those that the storefront says: it may have applied a promotion.
    Storefront,
    /// Those of the price book in effect for the customer alone; others are refused.
    Book,
}

/// What a customer is in the org.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Customers {
    /// A contact of an account.
    Contacts,
    /// A person account.
    Persons,
}

/// Who a customer is that gives neither a key nor an id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Guests {
    /// Whoever has the address, where exactly one has it; otherwise somebody new.
    Email,
    /// Somebody new each time.
    Never,
}

impl Default for Orders {
    fn default() -> Self {
        Self {
            external_id_field: None,
            profile: None,
            map: BTreeMap::new(),
            fields: BTreeMap::new(),
            prices: Prices::Storefront,
            rules: Rules::default(),
            customers: Customers::Contacts,
            match_guests: Guests::Email,
            shipping_product: None,
            discount_product: None,
            status: None,
            cancelled_status: "Cancelled".to_owned(),
            version_field: None,
            api_reserve_percent: 5,
            echo_seconds: 600,
            duplicates: Duplicates::Save,
            erasure_hours: 24,
            history_days: 90,
            history_mebibytes: 1_024,
        }
    }
}
