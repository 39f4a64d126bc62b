//! The org itself: its rows, its rules, and the one door through which rows change.
//!
//! [`Org::transact`] holds the write lock for the whole transaction, so transactions are serial, their events
//! leave in commit order, and two upserts of one new key cannot both create. Readers wait for a commit, never
//! see half of it.

pub mod error;
pub mod records;
pub mod transaction;

use std::sync::{Arc, PoisonError, RwLock};

use anyhow::Result;

pub use error::{RecordError, RecordErrors};
pub use records::{Record, Records};
pub use transaction::{Body, Savepoint, Transaction};

use super::bus::Bus;
use super::schema::Catalog;
use super::value::RecordId;
use crate::model::clock::Clock;

/// How an org is made.
#[derive(Clone, Debug)]
pub struct OrgOptions {
    pub seed: u64,
    pub products: usize,
    pub stores: usize,
    pub clock: Clock,
    /// API names of the objects selected for change data capture.
    pub selected_entities: Vec<String>,
}

/// The entities that an org without an add-on can select.
pub const DEFAULT_ENTITIES: [&str; 5] = ["Account", "Order", "OrderItem", "Product2", "PricebookEntry"];

/// Who makes a change: named in its events.
#[derive(Clone, Debug)]
pub struct Origin {
    /// The connected app's name, as in `client=...` of changeOrigin.
    pub client: String,
    pub user: RecordId,
}

struct Inside {
    catalog: Catalog,
    clock: Clock,
    records: RwLock<Records>,
    bus: Bus,
    id: RecordId,
    user: RecordId,
}

/// A running org; clones share it.
#[derive(Clone)]
pub struct Org {
    inside: Arc<Inside>,
}

impl Org {
    /// A seeded org. The same options give the same records; times come from the clock.
    pub fn new(options: OrgOptions) -> Result<Self> {
        let inside = Inside {
            catalog: Catalog::load()?,
            records: RwLock::default(),
            bus: Bus::new(options.clock.clone(), options.seed),
            clock: options.clock,
            id: RecordId::new(*b"00D", 1),
            user: RecordId::new(*b"005", 1),
        };
        Ok(Self { inside: Arc::new(inside) })
    }

    pub fn catalog(&self) -> &Catalog {
        &self.inside.catalog
    }

    pub fn clock(&self) -> &Clock {
        &self.inside.clock
    }

    pub fn bus(&self) -> &Bus {
        &self.inside.bus
    }

    /// The id of the organization.
    pub fn id(&self) -> RecordId {
        self.inside.id
    }

    /// The id of the integration user that every login is.
    pub fn user_id(&self) -> RecordId {
        self.inside.user
    }

    /// Reads under the read lock. Keep it short.
    pub fn read<T>(&self, look: impl FnOnce(&Records) -> T) -> T {
        look(&self.inside.records.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Runs `work` as one transaction. An `Err` undoes all of it and nothing is published.
    pub fn transact<T, E>(
        &self,
        origin: &Origin,
        work: impl FnOnce(&mut Transaction<'_>) -> Result<T, E>,
    ) -> Result<T, E> {
        let _ = origin;
        let mut records = self.inside.records.write().unwrap_or_else(PoisonError::into_inner);
        let mut transaction = Transaction { org: self, records: &mut records };
        work(&mut transaction)
    }
}
