//! The journey of an order: from a storefront's request to a record in the org, once.
//!
//! 1. [`outbox`] takes it: durable before the storefront is told so.
//! 2. [`push`] claims it, one order of a customer at a time, and looks up first what may already be there.
//! 3. [`compose`] makes one all-or-none request of it, in the [`shape`] that the org has.
//! 4. [`outcome`] tells from the answer what to do next; [`read_back`] settles what no answer tells.
//! 5. [`confirm`] closes it when the order comes back as a change of the org's own.
//!
//! An order may be sent twice and is never made twice: its key goes into the same transaction as its items,
//! so a second delivery fails as a whole and is resolved by comparing what the org has.

pub mod compose;
pub mod confirm;
pub mod outbox;
pub mod outcome;
pub mod push;
pub mod read_back;
pub mod shape;
