//! The door of the outbox: what the HTTP side may use of it.
//!
//! Promises that [`Intake::accept`] returns only once the order is on the disk, and that the same order under
//! the same key is one order, however often and however quickly it is posted.

use aws_lc_rs::digest::{SHA256, digest};

use crate::model::clock::Clock;
use crate::model::order::{Order, Placed};
pub use crate::store::outbox::{Accepted, OrderView};
use crate::store::outbox::{NewOrder, Outbox, OutboxError, PendingOrder};

/// Orders on their way that one customer is told of.
const PENDING_MAX: u32 = 100;

/// Takes orders; cheap to clone.
#[derive(Clone)]
pub struct Intake {
    outbox: Outbox,
    clock: Clock,
}

/// An order on its way in: as posted, which is what a replay is recognised by, and as it will be sent.
#[derive(Clone, Debug)]
pub struct Incoming {
    pub posted: Order,
    pub placed: Placed,
    pub idempotency_key: Option<String>,
}

impl Intake {
    pub fn new(outbox: Outbox, clock: Clock) -> Self {
        Self { outbox, clock }
    }

    /// The answer to an order whose key was used before, even if it could not be placed any more.
    pub fn earlier(
        &self,
        posted: &Order,
        store_id: &str,
        idempotency_key: Option<&str>,
    ) -> Result<Option<Accepted>, OutboxError> {
        self.outbox.earlier(
            &posted.external_id,
            idempotency_key,
            &fingerprint(posted, store_id),
        )
    }

    /// Puts the order on the disk, unless it is there.
    pub async fn accept(&self, incoming: Incoming) -> Result<Accepted, OutboxError> {
        let Incoming {
            posted,
            placed,
            idempotency_key,
        } = incoming;
        let body_hash = fingerprint(&posted, &placed.store_id);
        self.outbox
            .accept(
                NewOrder {
                    placed,
                    body_hash,
                    idempotency_key,
                },
                self.clock.now(),
            )
            .await
    }

    /// What became of an order.
    pub fn status(&self, external_id: &str) -> Result<Option<OrderView>, OutboxError> {
        self.outbox.order(external_id)
    }

    /// A customer's orders that the org has not confirmed.
    pub fn pending_of(&self, key: &str, email: &str) -> Result<Vec<PendingOrder>, OutboxError> {
        self.outbox.pending_of(key, email, PENDING_MAX)
    }

    /// How many orders are in each state.
    pub fn counts(&self) -> Result<Vec<(String, i64)>, OutboxError> {
        self.outbox.counts()
    }
}

/// Of the order as understood, so that blanks and the order of members make no difference, and without the
/// prices that were looked up, which may have changed when it is posted again.
fn fingerprint(posted: &Order, store_id: &str) -> [u8; 32] {
    let text = serde_json::json!([store_id, posted]).to_string();
    let mut hash = [0; 32];
    hash.copy_from_slice(digest(&SHA256, text.as_bytes()).as_ref());
    hash
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
        let text = r#"{"external_id":"A","customer":{"email":"a@b"},"items":[{"product_id":"p","quantity":1,"unit_price":"19.90"}],"fields":{"B__c":1,"A__c":2}}"#;
        let same = r#"{"fields":{"A__c":2,"B__c":1}, "items":[{"quantity":"1.0","product_id":"p","unit_price":"19.9"}],
            "customer":{"email":" a@b "},"external_id":"A"}"#;
        let other = text.replace("19.90", "19.91");
        assert_eq!(fingerprint(&posted(text), "s"), fingerprint(&posted(same), "s"));
        assert_ne!(fingerprint(&posted(text), "s"), fingerprint(&posted(&other), "s"));
        assert_ne!(fingerprint(&posted(text), "s"), fingerprint(&posted(text), "t"));
    }
}
