//! The rules that decide whether a product can be bought, and what becomes of an order that breaks one.
//!
//! What a storefront is shown and what an order is refused for are decided by the same rules, and have the same words.

/// Why a product cannot be bought as it is asked for. The first that holds is the one that is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rule {
    /// The store does not show it to this visitor.
    Hidden,
    /// The store is switched off: nothing of it can be bought.
    StoreDisabled,
    /// The price book in effect has no price for it. No order can have it: the org takes no item without one.
    NoPrice,
    /// It is for approved accounts alone.
    Restricted,
    NotYetAvailable,
    Discontinued,
    /// Its price is told on request.
    PriceOnApplication,
    /// It is sold as a part of others alone.
    BundleOnly,
    /// It stands for its variants, which are what is sold.
    Master,
    /// There is none left, or less than is asked for.
    OutOfStock,
    /// An order may have less of it.
    Quantity,
    /// The order states another price than the one that is shown.
    Price,
}

impl Rule {
    /// All of them, in the order in which they are told.
    pub const ALL: [Self; 12] = [
        Self::Hidden,
        Self::StoreDisabled,
        Self::NoPrice,
        Self::Restricted,
        Self::NotYetAvailable,
        Self::Discontinued,
        Self::PriceOnApplication,
        Self::BundleOnly,
        Self::Master,
        Self::OutOfStock,
        Self::Quantity,
        Self::Price,
    ];

    /// As answers and the configuration name it.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Hidden => "hidden",
            Self::StoreDisabled => "store_disabled",
            Self::NoPrice => "no_price",
            Self::Restricted => "restricted",
            Self::NotYetAvailable => "not_yet_available",
            Self::Discontinued => "discontinued",
            Self::PriceOnApplication => "price_on_application",
            Self::BundleOnly => "bundle_only",
            Self::Master => "master",
            Self::OutOfStock => "out_of_stock",
            Self::Quantity => "quantity",
            Self::Price => "price",
        }
    }
}

/// What becomes of an order that breaks a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Policy {
    #[default]
    Refuse,
    Take,
    /// It is taken, and says so to who reads it in the org.
    TakeAndMark,
}

/// A policy for each rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Rules {
    policies: [Policy; Rule::ALL.len()],
}

impl Rules {
    #[must_use]
    pub fn with(mut self, rule: Rule, policy: Policy) -> Self {
        self.policies[rule as usize] = policy;
        self
    }

    /// What has no price is refused whatever the configuration says.
    pub fn policy(&self, rule: Rule) -> Policy {
        match rule {
            Rule::NoPrice => Policy::Refuse,
            rule => self.policies[rule as usize],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_rule_has_a_policy_and_a_word_of_its_own() {
        for (place, rule) in Rule::ALL.into_iter().enumerate() {
            assert_eq!(rule as usize, place);
            assert!(
                Rule::ALL
                    .iter()
                    .filter(|other| other.word() == rule.word())
                    .count()
                    == 1
            );
            let taken = Rules::default().with(rule, Policy::Take);
            let expected = match rule {
                Rule::NoPrice => Policy::Refuse,
                _ => Policy::Take,
            };
            assert_eq!(taken.policy(rule), expected, "{rule:?}");
            assert_eq!(Rules::default().policy(rule), Policy::Refuse);
        }
    }
}
