//! All-or-nothing writes.

use serde_json::Map;

use super::super::value::{RecordId, Value};
use super::error::RecordErrors;
use super::records::Records;
use super::Org;

/// A JSON body of a record.
pub type Body = Map<String, serde_json::Value>;

/// A point that [`Transaction::rollback_to`] can go back to.
#[derive(Clone, Copy, Debug)]
pub struct Savepoint(usize);

/// Writes that become visible, and become events, together or not at all.
pub struct Transaction<'a> {
    pub(super) org: &'a Org,
    pub(super) records: &'a mut Records,
}

impl Transaction<'_> {
    /// The rows as this transaction sees them, its own writes included.
    pub fn records(&self) -> &Records {
        self.records
    }

    pub fn savepoint(&self) -> Savepoint {
        let _ = self.org;
        Savepoint(0)
    }

    pub fn rollback_to(&mut self, savepoint: Savepoint) {
        let _ = savepoint.0;
    }

    pub fn create(&mut self, object: usize, body: &Body) -> Result<RecordId, RecordErrors> {
        let _ = (object, body);
        Err(Vec::new())
    }

    pub fn update(&mut self, object: usize, id: RecordId, body: &Body) -> Result<(), RecordErrors> {
        let _ = (object, id, body);
        Ok(())
    }

    /// Creates or updates by external id; true when created. `field` is the key field's position.
    pub fn upsert(
        &mut self,
        object: usize,
        field: usize,
        value: &Value,
        body: &Body,
    ) -> Result<(RecordId, bool), RecordErrors> {
        let _ = (object, field, value, body);
        Err(Vec::new())
    }

    pub fn delete(&mut self, object: usize, id: RecordId) -> Result<(), RecordErrors> {
        let _ = (object, id);
        Ok(())
    }
}
