//! The journey of an order, and of whatever else a storefront writes: from its request to a record in the org, once.
//!
//! 1. [`gate`] refuses what the org would refuse, and what it has no place for ([`places`]); [`outbox`] takes the rest:
//!    durable before the storefront is told so.
//! 2. [`push`] claims it, one write of an account at a time, when [`schedule`] lets it.
//! 3. [`deliver`] looks up first what may already be there ([`read_back`], [`meant`]), and sends what is missing.
//! 4. [`compose`] makes the requests, in the [`shape`] that the org has and by the [`mapping`] that is configured.
//! 5. [`answer`] holds what the org says against what was asked, and [`outcome`] tells from it what to do next.
//! 6. [`confirm`] closes it when it comes back as a change of the org's own.
//! 7. [`forget`] drops what it held once that is old, or the person it is about was deleted.
//!
//! A write may be sent twice and is never made twice: its key goes into the same transaction as all that belongs
//! to it, so a second delivery fails as a whole and is resolved by comparing what the org has. One that only sets
//! values has no such key: while it may still arrive, nothing of its lane is sent. Where the org has a field for it, such a
//! write carries a number ([`version`]) by which the org refuses it once a later one is there.

pub mod answer;
pub mod compose;
pub mod confirm;
pub mod deliver;
pub mod forget;
pub mod gate;
pub mod limits;
pub mod mapping;
pub mod meant;
pub mod outbox;
pub mod outcome;
pub mod party;
pub mod places;
pub mod push;
pub mod read_back;
pub mod record;
pub mod schedule;
pub mod shape;
pub mod version;
