//! The catalogue as it was from one schema change to the next.
//!
//! Generations form a chain that only grows, so a catalogue can be borrowed for as long as the org lives: a query
//! in flight, or a cursor, keeps the one it was bound to. Field positions are never given twice, so rows and
//! queries of an older generation stay readable. Event schemas of every generation can be had by their id.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use super::super::avro::EventSchema;
use super::super::schema::Catalog;
use super::super::value::RecordId;

/// The most schema and permission changes of one org.
pub(super) const GENERATIONS_MAX: usize = 100;

/// One catalogue with all that follows from it.
pub(super) struct Generation {
    number: usize,
    pub catalog: Catalog,
    /// By object position.
    pub schemas: Vec<Arc<EventSchema>>,
    /// The catalogue as users see it whose permissions are not full.
    pub views: BTreeMap<RecordId, Catalog>,
    next: OnceLock<Box<Generation>>,
}

impl Generation {
    pub fn first(catalog: Catalog) -> Self {
        Self {
            number: 0,
            schemas: catalog
                .objects()
                .iter()
                .map(|object| Arc::new(EventSchema::new(object)))
                .collect(),
            catalog,
            views: BTreeMap::new(),
            next: OnceLock::new(),
        }
    }

    pub fn newest(&self) -> &Self {
        let mut newest = self;
        while let Some(next) = newest.next.get() {
            newest = next;
        }
        newest
    }

    /// Whether the chain may grow.
    pub fn is_full(&self) -> bool {
        self.newest().number >= GENERATIONS_MAX
    }

    /// Puts a catalogue at the end of the chain. Schemas of objects that did not change are shared. The caller
    /// holds the lock under which schemas change; without it the later of two changes is lost.
    pub fn follow(&self, catalog: Catalog, views: BTreeMap<RecordId, Catalog>) {
        let last = self.newest();
        let schemas = catalog.objects().iter().zip(&last.schemas).map(|(object, old)| {
            let new = EventSchema::new(object);
            if new.id == old.id {
                Arc::clone(old)
            } else {
                Arc::new(new)
            }
        });
        let next = Self {
            number: last.number + 1,
            schemas: schemas.collect(),
            catalog,
            views,
            next: OnceLock::new(),
        };
        drop(last.next.set(Box::new(next)));
    }

    /// The event schema of an id, of whichever generation.
    pub fn schema(&self, id: &str) -> Option<&EventSchema> {
        let mut generation = Some(self);
        while let Some(here) = generation {
            if let Some(schema) = here.schemas.iter().find(|schema| schema.id == id) {
                return Some(schema);
            }
            generation = here.next.get().map(Box::as_ref);
        }
        None
    }
}
