//! `[orders.rules]`: what becomes of an order for what the storefront is not shown as purchasable.

use serde::Deserialize;

/// What becomes of an order that breaks a rule.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Policy {
    /// 422, with the rule's name.
    #[default]
    Refuse,
    Take,
    /// Taken, with a sentence in the org's order.
    TakeAndMark,
}

/// `[orders.rules]`: a policy for each rule, by the word that answers give as `unavailable_reason`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Rules {
    /// The store does not show the product to the order's customer.
    pub hidden: Policy,
    /// The store is switched off.
    pub store_disabled: Policy,
    /// The customer's account is not approved for it.
    pub restricted: Policy,
    pub not_yet_available: Policy,
    pub discontinued: Policy,
    pub price_on_application: Policy,
    pub bundle_only: Policy,
    /// The product stands for its variants.
    pub master: Policy,
    /// Less is left than is ordered.
    pub out_of_stock: Policy,
    /// More is ordered than an order may have.
    pub quantity: Policy,
    /// Another price is stated than the one that is shown, where `prices` is `book`.
    pub price: Policy,
}
