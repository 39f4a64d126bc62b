//! The first journey: a change in the org becomes a row that storefronts read.
//!
//! 1. [`mod@prepare`] asks the org which objects and fields it has, makes their tables, and finds out which objects
//!    publish change events.
//! 2. [`subscribe`] takes the events of a channel, as many at a time as the org allows, and goes on after the
//!    stored position, whatever ends the stream. [`credit`] decides how many to ask for.
//! 3. [`decode`] turns an event's bytes into column values by the schema the event was written with.
//! 4. [`apply`] takes every [`command`]: journal first, then rows, change feed, dedupe keys, repairs and position in one
//!    transaction. [`plan`] decides what an event means for a record.
//! 5. [`snapshot`] reads whole objects, first and whenever one has to be read again; [`poll`] keeps current what
//!    publishes no events; [`repair`] reads single records again, and [`catch_up`] what changed while the stream's
//!    position was lost; [`verify`] compares with the org, and [`evolve`] follows its schema. All of them write
//!    by commands, and what is left to do is in the ledger ([`crate::store::cache::repairs`]).
//!
//! People at a terminal see the first load by [`progress`].
//!
//! Load, poll, repair and stream run at the same time. What keeps them from undoing each other is in
//! [`crate::store::cache::rows`]. [`mapping`] says which objects and fields are mirrored, and which never;
//! [`budget`] which of this waits when the org's API allowance runs out.

mod absent;
pub mod allowance;
pub mod apply;
pub mod budget;
pub mod cadence;
pub mod catch_up;
pub mod command;
pub mod compare;
pub mod credit;
pub mod decode;
pub mod evolve;
pub mod mapping;
pub mod plan;
pub mod poll;
pub mod prepare;
pub mod progress;
mod records;
pub mod redact;
pub mod repair;
mod rounds;
pub mod snapshot;
pub mod subscribe;
pub mod verify;
mod watermark;

use std::sync::Arc;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::inbound::apply::{Bells, Queue};
use crate::inbound::prepare::Planned;
use crate::model::clock::Clock;
use crate::salesforce::Org;
use crate::store::reader::Reader;

pub use prepare::{Plan, prepare};

/// What the stages share. Each takes a clone and drops it when it ends; apply ends when the last is gone, so
/// whoever starts the stages keeps none.
#[derive(Clone)]
pub struct Wires {
    pub org: Org,
    pub clock: Clock,
    pub reader: Reader,
    /// What is mirrored; [`evolve`] replaces it when the org's schema changes.
    pub planned: watch::Sender<Arc<[Planned]>>,
    /// Towards the apply stage.
    pub apply: Queue,
    pub bells: Bells,
    /// The journal keeps the rows that the org answers.
    pub keep_rows: bool,
    pub stop: CancellationToken,
}

impl Wires {
    /// What is mirrored now.
    pub fn planned(&self) -> Arc<[Planned]> {
        Arc::clone(&self.planned.borrow())
    }

    /// One mirrored object, its name in any case.
    pub fn find_any(&self, name: &str) -> Option<Planned> {
        let planned = self.planned.borrow();
        let same = |planned: &&Planned| planned.table.object.eq_ignore_ascii_case(name);
        planned.iter().find(same).cloned()
    }

    /// One mirrored object.
    pub fn find(&self, object: &str) -> Option<Planned> {
        let planned = self.planned.borrow();
        planned
            .iter()
            .find(|planned| planned.table.object == object)
            .cloned()
    }
}
