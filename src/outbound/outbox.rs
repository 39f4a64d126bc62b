//! The door of the outbox: what the HTTP side may use of it.
//!
//! Promises that [`Intake::accept`] returns only once the write is on the disk, and that the same write under
//! the same key is one write, however often and however quickly it is posted.

use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, digest};
use serde::Serialize;

use crate::config::{Customers, Guests, Orders, Policy, Prices, Profile, Rules as Configured};
use crate::model::clock::{Clock, Millis};
use crate::model::order::parse::Invalid;
use crate::model::order::rules::{self, Rule, Rules};
use crate::model::order::{Customer, Order};
use crate::model::state::WriteState;
use crate::model::write::{Entry, Kind, Write};
pub use crate::outbound::compose::left_out::{ACCOUNT_SHARED, COMPANY_OF_ORDER, COMPANY_SHARED, PERSON_KEPT};
use crate::outbound::gate::Gate;
pub use crate::outbound::gate::{Known, Names};
use crate::outbound::places::Places;
use crate::store::outbox::desk::{Action, Deed, Done};
pub use crate::store::outbox::{Accepted, Limit, StoreKey, View, desk};
use crate::store::outbox::{Held, InState, NewWrite, Outbox, OutboxError, PendingOrder};
use crate::store::storefront::customers::By;
use crate::telemetry::traces::Span;

/// Orders on their way that one customer is told of.
const PENDING_MAX: u32 = 100;

/// Takes writes; cheap to clone.
#[derive(Clone)]
pub struct Intake {
    outbox: Outbox,
    policy: Arc<Orders>,
    rules: Rules,
    gate: Gate,
    /// Where the org has a place for what; `None` where the configuration cannot be meant.
    places: Option<Places>,
    clock: Clock,
}

/// What a replay is recognised by.
#[derive(Clone, Copy, Debug)]
pub struct Fingerprint([u8; 32]);

impl Fingerprint {
    /// Of an order as it was posted to a store: what is made of it depends on prices, which change.
    pub fn of_order(posted: &Order, store_id: &str) -> Result<Self, OutboxError> {
        fingerprint(posted, store_id).map(Self)
    }
}

/// An order on its way in, as it will be sent.
#[derive(Clone, Debug)]
pub struct Incoming {
    pub write: Write,
    /// How much orders may hold of what it wants.
    pub limits: Vec<Limit>,
    pub fingerprint: Fingerprint,
    pub idempotency_key: Option<String>,
}

impl Intake {
    pub fn new(outbox: Outbox, policy: Orders, known: Known, profile: Profile, clock: Clock) -> Self {
        let policy = Arc::new(policy);
        let gate = Gate::new(known, Arc::clone(&policy), profile);
        Self {
            outbox,
            rules: rules_of(&policy.rules),
            places: gate.places(),
            gate,
            policy,
            clock,
        }
    }

    /// Refuses what the org has no place for.
    pub fn check_places(&self, order: &Order) -> Result<(), Invalid> {
        match &self.places {
            Some(places) => places.check(order),
            None => Ok(()),
        }
    }

    /// The same for any other write.
    pub fn check_places_of(&self, entry: &Entry) -> Result<(), Invalid> {
        match &self.places {
            Some(places) => places.check_entry(entry),
            None => Ok(()),
        }
    }

    /// What the org takes.
    pub fn gate(&self) -> &Gate {
        &self.gate
    }

    /// What a person does with a write, once the org would take what an edit makes of it.
    pub async fn deed(&self, deed: Deed, now: Millis) -> Result<Done, OutboxError> {
        if let Action::Edit { reference, patch } = &deed.action
            && let Some(detail) = self.outbox.detail(reference)?.found()
            && let Some(refused) = self.gate.refused_edit(&detail, patch, now)
        {
            return Ok(refused);
        }
        self.outbox.deed(deed, now).await
    }

    /// The outbox, for what operators do with it.
    pub fn outbox(&self) -> &Outbox {
        &self.outbox
    }

    /// Which items an order may have, and at which prices.
    pub fn pricing(&self) -> crate::model::order::Pricing<'_> {
        crate::model::order::Pricing {
            book_only: self.policy.prices == Prices::Book,
            rules: self.rules,
            shipping_product: self.policy.shipping_product.as_deref(),
            discount_product: self.policy.discount_product.as_deref(),
            places: self.places.as_ref().map(Places::of_charges).unwrap_or_default(),
        }
    }

    /// What accepted orders hold of the stock.
    pub fn held(&self) -> &Held {
        self.outbox.held()
    }

    /// The ways in which push looks for an order's customer, so that the prices are those of whom it will find.
    pub fn ways_to<'a>(&self, customer: &'a Customer) -> Vec<By<'a>> {
        let key = customer.external_id.as_deref().map(By::Key);
        let id = customer.salesforce_id.as_deref().map(By::Id);
        if key.is_some() || id.is_some() {
            return key.into_iter().chain(id).collect();
        }
        let email = customer.email.as_deref().map(By::Email);
        email
            .filter(|_| self.policy.match_guests == Guests::Email)
            .into_iter()
            .collect()
    }

    /// Whether the key of an account says that it is the account of the person with a key, and of nobody else.
    pub fn is_own_account(&self, account_key: &str, person_key: &str) -> bool {
        let hidden = self.gate.own_account_key(person_key);
        account_key.eq_ignore_ascii_case(person_key)
            || hidden.is_some_and(|hidden| account_key.eq_ignore_ascii_case(&hidden))
    }

    /// Whether customers are person accounts.
    pub fn has_person_accounts(&self) -> bool {
        self.policy.customers == Customers::Persons
    }

    /// The answer to an order whose key was used before, even if it could not be placed any more.
    pub fn earlier(
        &self,
        order: StoreKey<'_>,
        fingerprint: Fingerprint,
        idempotency_key: Option<&str>,
    ) -> Result<Option<Accepted>, OutboxError> {
        self.outbox.earlier(order, idempotency_key, &fingerprint.0)
    }

    /// The same for any other write.
    pub fn earlier_entry(
        &self,
        kind: Kind,
        entry: &Entry,
        idempotency_key: Option<&str>,
    ) -> Result<Option<Accepted>, OutboxError> {
        let body_hash = fingerprint(entry, kind.name())?;
        let own = StoreKey {
            kind,
            store_id: &entry.store_id,
            external_id: &entry.external_id,
        };
        self.outbox.earlier(own, idempotency_key, &body_hash)
    }

    /// Puts the order on the disk, unless it is there.
    pub async fn accept(&self, incoming: Incoming) -> Result<Accepted, OutboxError> {
        let Fingerprint(body_hash) = incoming.fingerprint;
        let new = NewWrite {
            write: incoming.write,
            body_hash,
            idempotency_key: incoming.idempotency_key,
            limits: incoming.limits,
        };
        self.keep(new).await
    }

    /// Puts any other write on the disk, unless it is there. Without `may_change_customers` somebody whom the org has stays
    /// as they are.
    pub async fn accept_entry(
        &self,
        kind: Kind,
        mut entry: Entry,
        may_change_customers: bool,
        idempotency_key: Option<String>,
    ) -> Result<Accepted, OutboxError> {
        // Who sent it is no part of what was sent.
        let body_hash = fingerprint(&entry, kind.name())?;
        if let Some(customer) = &mut entry.customer {
            customer.is_protected = !may_change_customers;
        }
        let new = NewWrite {
            write: Write::Entry(kind, entry),
            body_hash,
            idempotency_key,
            limits: Vec::new(),
        };
        self.keep(new).await
    }

    async fn keep(&self, new: NewWrite) -> Result<Accepted, OutboxError> {
        let external_id = new.write.external_id().to_owned();
        let begun_at = self.clock.now();
        let accepted = self.outbox.accept(new, begun_at).await;
        crate::failpoint::reach("accept_after_commit");
        Span::tell(|| Span::of_order(&external_id, "accept", 0, begun_at, self.clock.now()));
        accepted
    }

    /// What became of a store's write.
    pub fn status(&self, key: StoreKey<'_>) -> Result<Option<View>, OutboxError> {
        self.outbox.write(key)
    }

    /// How much of the outbox is where, and since when.
    pub fn standing(&self) -> Result<Vec<InState>, OutboxError> {
        self.outbox.standing()
    }

    /// A customer's orders that the org has not confirmed.
    pub fn pending_of(&self, key: &str, email: &str) -> Result<Vec<PendingOrder>, OutboxError> {
        self.outbox.pending_of(key, email, PENDING_MAX)
    }

    /// The org's ids of orders that were placed here for a contact: the next few after one.
    pub fn orders_of(&self, contact_id: &str, after: &str, most: usize) -> Result<Vec<String>, OutboxError> {
        self.outbox.orders_of(contact_id, after, most)
    }

    /// How many orders are in each state.
    pub fn counts(&self) -> Result<Vec<(WriteState, i64)>, OutboxError> {
        self.outbox.counts()
    }
}

/// The configured policies, by the rules that decide.
fn rules_of(configured: &Configured) -> Rules {
    let policies = [
        (Rule::Hidden, configured.hidden),
        (Rule::StoreDisabled, configured.store_disabled),
        (Rule::Restricted, configured.restricted),
        (Rule::NotYetAvailable, configured.not_yet_available),
        (Rule::Discontinued, configured.discontinued),
        (Rule::PriceOnApplication, configured.price_on_application),
        (Rule::BundleOnly, configured.bundle_only),
        (Rule::Master, configured.master),
        (Rule::OutOfStock, configured.out_of_stock),
        (Rule::Quantity, configured.quantity),
        (Rule::Price, configured.price),
    ];
    policies
        .into_iter()
        .fold(Rules::default(), |rules, (rule, policy)| {
            let policy = match policy {
                Policy::Refuse => rules::Policy::Refuse,
                Policy::Take => rules::Policy::Take,
                Policy::TakeAndMark => rules::Policy::TakeAndMark,
            };
            rules.with(rule, policy)
        })
}

/// Of a write as understood, so that blanks and the order of members make no difference, and without the
/// prices that were looked up, which may have changed when it is posted again.
fn fingerprint(posted: &impl Serialize, scope: &str) -> Result<[u8; 32], OutboxError> {
    let text = serde_json::to_vec(&(scope, posted)).map_err(|error| OutboxError::Write(error.to_string()))?;
    let mut hash = [0; 32];
    hash.copy_from_slice(digest(&SHA256, &text).as_ref());
    Ok(hash)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::order::parse;

    fn posted(text: &str) -> Order {
        parse::order(&serde_json::from_str(text).unwrap(), None).unwrap()
    }

    #[test]
    fn equal_orders_have_equal_fingerprints() {
        let text = r#"{"external_id":"A","customer":{"email":"a@b.example"},"items":[{"product_id":"p","quantity":1,"unit_price":"19.90"}],"fields":{"B__c":1,"A__c":2}}"#;
        let same = r#"{"fields":{"A__c":2,"B__c":1}, "items":[{"quantity":"1.0","product_id":"p","unit_price":"19.9"}],
            "customer":{"email":" a@b.example "},"external_id":"A"}"#;
        let other = text.replace("19.90", "19.91");
        let of = |text: &str, store: &str| fingerprint(&posted(text), store).unwrap();
        assert_eq!(of(text, "s"), of(same, "s"));
        assert_ne!(of(text, "s"), of(&other, "s"));
        assert_ne!(of(text, "s"), of(text, "t"));
        // As it was when it was made by way of a tree: what was accepted then is known still.
        let tree = serde_json::json!(["s", posted(text)]).to_string();
        assert_eq!(
            of(text, "s").as_slice(),
            digest(&SHA256, tree.as_bytes()).as_ref()
        );
    }
}
