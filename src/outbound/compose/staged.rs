//! An order that is too long for one request: a draft header, its items in pieces, then its status.
//!
//! Each piece is all or nothing, and a piece that arrives twice must write nothing the second time:
//!
//! - Where items have keys, the second delivery of a piece fails as a duplicate.
//! - Where they have none, the order's own key tells how far it is. The header is made under a key of its own, and
//!   each piece first asks for the order under the key that the piece before left, and then gives it the next; the
//!   last gives it the key it is to have. A second delivery does not find the order under the old key, and with
//!   it the whole piece is undone.
//!
//! So what is in the org always tells which piece is next, whoever delivered the ones before.

use super::{Composer, RECORD, Request};
use crate::model::order::{Placed, Problem};
use crate::outbound::record::{Part, Record, guid, key_field};

/// Items of one piece: what the platform's triggers are given at once.
const PIECE_ITEMS: usize = 200;

/// The part that asks for the order under the key before.
pub const GUARD: &str = "guard";

/// How an order is told from one that is not complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    ItemKeys,
    OrderKey,
}

/// The pieces of an order of so many items.
pub fn pieces(items: usize) -> usize {
    items.div_ceil(PIECE_ITEMS)
}

/// The key of an order whose first `done` pieces are there. No more than 36 characters, as GUIDs are.
pub fn key_after(order: &Placed, done: usize) -> String {
    if done >= pieces(order.lines.len()) {
        return order.external_id.clone();
    }
    guid(&format!("Order/{}/piece/{done}", order.external_id))
}

impl Composer<'_> {
    /// How the progress of a long order is kept in this org.
    pub fn progress(&self) -> Result<Progress, Problem> {
        if self.shape.items_have_keys() {
            return Ok(Progress::ItemKeys);
        }
        let updateable = self
            .shape
            .order
            .key_field
            .as_ref()
            .is_some_and(|key| key.updateable);
        // What StoreConnect stamps on a record is never changed.
        let stamped = self
            .shape
            .order
            .key_field
            .as_ref()
            .is_some_and(|key| key.field.eq_ignore_ascii_case("s_c__sC_Id__c"));
        if updateable && !stamped {
            return Ok(Progress::OrderKey);
        }
        Err(Problem::new(
            "TOO_MANY_ITEMS",
            "the order is too long for one request, and neither its items nor the order have a key that can tell how far it is: give OrderItem a unique external id, or split the order",
        ))
    }

    /// The order without its items.
    pub fn staged_header(&self, order: &Placed) -> Result<Request, Problem> {
        let key = match self.progress()? {
            Progress::ItemKeys => order.external_id.clone(),
            Progress::OrderKey => key_after(order, 0),
        };
        Request::of(self.head(order, &key)?)
    }

    /// The first of the missing items, as many as one piece takes; for orders whose items have keys.
    pub fn staged_items(
        &self,
        order: &Placed,
        order_id: &str,
        missing: &[usize],
    ) -> Result<(Request, usize), Problem> {
        let count = missing.len().min(PIECE_ITEMS);
        let parts: Result<Vec<Part<'_>>, Problem> = missing[..count]
            .iter()
            .map(|index| self.item(order, *index, order_id))
            .collect();
        Ok((Request::of(parts?)?, count))
    }

    /// The piece after the first `done`; for orders whose items have no keys.
    pub fn staged_piece(&self, order: &Placed, order_id: &str, done: usize) -> Result<Request, Problem> {
        let shape = &self.shape.order;
        let field = key_field(shape, &order.external_id)?;
        let before = key_after(order, done);
        let guard = format!("{}/{field}/{before}?fields=Id", self.url(shape));
        let mut parts = vec![Part::get(&guard, GUARD)];
        let mut next = Record::new(shape);
        next.require(field, key_after(order, done + 1));
        let own = format!("{}/@{{{GUARD}.Id}}", self.url(shape));
        parts.push(Part::of("PATCH", &own, "next", next));
        let from = done * PIECE_ITEMS;
        let to = (from + PIECE_ITEMS).min(order.lines.len());
        for index in from..to {
            parts.push(self.item(order, index, order_id)?);
        }
        Request::of(parts)
    }

    /// Gives a complete order its status.
    pub fn staged_status(&self, order_id: &str, status: &str) -> Result<Request, Problem> {
        Request::of(vec![Part {
            reference: RECORD.to_owned(),
            ..self.activation(order_id, status)
        }])
    }
}

/// Names of fields and their values, as a condition on an order's key.
pub fn keys_of(order: &Placed) -> Vec<String> {
    let pieces = pieces(order.lines.len());
    (0..=pieces).map(|done| key_after(order, done)).collect()
}
