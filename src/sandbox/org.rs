//! The org itself: its rows, its rules, and the one door through which rows change.
//!
//! [`Org::transact`] holds the write lock for the whole transaction, so transactions are serial, their events
//! leave in commit order, and two upserts of one new key cannot both create. Readers wait for a commit, never
//! see half of it.

mod commit;
mod draft;
pub mod error;
mod fields;
mod orders;
pub mod records;
pub mod transaction;

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use anyhow::{Result, anyhow};

pub use error::{RecordError, RecordErrors};
pub use records::{Record, Records};
pub use transaction::{Body, Savepoint, Transaction};

use super::avro::EventSchema;
use super::bus::Bus;
use super::schema::Catalog;
use super::seed;
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

/// The first system change number: past 2^53, where a reader that keeps numbers as floats fails.
const FIRST_COMMIT_NUMBER: i64 = 11_520_000_000_000_000;

struct Inside {
    catalog: Catalog,
    /// By object position.
    schemas: Vec<EventSchema>,
    selected: BTreeSet<usize>,
    clock: Clock,
    records: RwLock<Records>,
    bus: Bus,
    rng: Mutex<fastrand::Rng>,
    commit_number: AtomicI64,
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
        let catalog = Catalog::load()?;
        let selected = options.selected_entities.iter().map(|name| {
            let object = catalog
                .object(name)
                .ok_or_else(|| anyhow!("the sandbox has no object {name} to select"))?;
            Ok(object.index)
        });
        let selected = selected.collect::<Result<BTreeSet<usize>>>()?;
        let mut records = Records::new(&catalog);
        let seeded = seed::fill(&catalog, &mut records, &options)?;
        let inside = Inside {
            schemas: catalog.objects().iter().map(EventSchema::new).collect(),
            catalog,
            selected,
            records: RwLock::new(records),
            bus: Bus::new(options.clock.clone(), options.seed),
            rng: Mutex::new(fastrand::Rng::with_seed(options.seed.wrapping_add(1))),
            commit_number: AtomicI64::new(FIRST_COMMIT_NUMBER),
            clock: options.clock,
            id: seeded.organization,
            user: seeded.user,
        };
        Ok(Self {
            inside: Arc::new(inside),
        })
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

    /// Whether change events of an object are published.
    pub fn is_selected(&self, object: usize) -> bool {
        self.inside.selected.contains(&object)
    }

    /// The schema of an object's change events.
    pub fn event_schema(&self, object: usize) -> &EventSchema {
        &self.inside.schemas[object]
    }

    /// The schemas of all objects' change events.
    pub fn event_schemas(&self) -> &[EventSchema] {
        &self.inside.schemas
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
        let rng = self
            .inside
            .rng
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .fork();
        let mut records = self
            .inside
            .records
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        let mut transaction = Transaction::new(self, &mut records, origin.user, rng);
        let start = transaction.savepoint();
        let outcome = work(&mut transaction);
        if outcome.is_err() {
            transaction.rollback_to(start);
            return outcome;
        }
        let (touched, rng) = transaction.into_touched();
        let number = self
            .inside
            .commit_number
            .fetch_add(rng.clone().i64(1..500), Ordering::Relaxed);
        let commit = commit::Commit { origin, number, rng };
        // Still under the write lock, so that events stand in the log in commit order.
        let events = commit::events(self, &records, touched, commit);
        self.inside.bus.append(events);
        outcome
    }
}

/// A random UUID of version 4.
pub(super) fn uuid(rng: &mut fastrand::Rng) -> String {
    let number = (rng.u128(..) & !(0xf << 76) & !(0x3 << 62)) | (0x4 << 76) | (0x2 << 62);
    let digits = format!("{number:032x}");
    format!(
        "{}-{}-{}-{}-{}",
        &digits[..8],
        &digits[8..12],
        &digits[12..16],
        &digits[16..20],
        &digits[20..]
    )
}
