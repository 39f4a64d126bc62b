//! A row on its way in: the caller's values, then what defaults and rules make of them.

use super::super::schema::{Catalog, Object};
use super::super::value::{RecordId, Value};
use super::error::{RecordError, RecordErrors};
use super::records::{Record, Records};

/// A change to a field: its new value, none being null.
pub type Change = (usize, Option<Value>);

/// A create or an update that is being judged.
pub struct Draft<'a> {
    pub catalog: &'a Catalog,
    pub object: &'a Object,
    pub records: &'a Records,
    /// The row as it stands; none for a create.
    pub before: Option<&'a Record>,
    pub changes: Vec<Change>,
}

impl<'a> Draft<'a> {
    fn position(&self, name: &str) -> Option<usize> {
        self.object.field(name)
    }

    /// The value a field would have.
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.at(self.position(name)?)
    }

    pub fn at(&self, field: usize) -> Option<&Value> {
        match self.changes.iter().rfind(|(changed, _)| *changed == field) {
            Some((_, value)) => value.as_ref(),
            None => self
                .before
                .and_then(|record| record.get(field))
                .or_else(|| self.unset(field)),
        }
    }

    fn unset(&self, field: usize) -> Option<&'a Value> {
        self.object
            .unset
            .iter()
            .find(|(position, _)| usize::from(*position) == field)
            .map(|(_, value)| value)
    }

    /// The value the field has now.
    pub fn held(&self, name: &str) -> Option<&'a Value> {
        self.before?.get(self.position(name)?)
    }

    pub fn set(&mut self, name: &str, value: impl Into<Option<Value>>) {
        if let Some(field) = self.position(name) {
            self.set_at(field, value.into());
        }
    }

    pub fn set_at(&mut self, field: usize, value: Option<Value>) {
        match self.changes.iter_mut().find(|(changed, _)| *changed == field) {
            Some(change) => change.1 = value,
            None => self.changes.push((field, value)),
        }
    }

    /// Whether the caller gave the field a value that differs from the one it has.
    pub fn changes(&self, name: &str) -> bool {
        let Some(field) = self.position(name) else {
            return false;
        };
        let held = self.before.and_then(|record| record.get(field));
        self.changes
            .iter()
            .any(|(changed, value)| *changed == field && value.as_ref() != held)
    }

    pub fn text(&self, name: &str) -> Option<&str> {
        self.get(name)?.as_str()
    }

    pub fn number(&self, name: &str) -> Option<f64> {
        self.get(name)?.as_f64()
    }

    pub fn id(&self, name: &str) -> Option<RecordId> {
        self.get(name)?.as_id()
    }

    /// The live row a lookup points at.
    pub fn parent(&self, name: &str) -> Option<Parent<'a>> {
        let id = self.id(name)?;
        let object = self.catalog.by_prefix(id.prefix())?;
        Some(Parent {
            object,
            record: self.records.live(object.index, id)?,
        })
    }
}

/// A row together with its object, so that fields are read by name.
#[derive(Clone, Copy)]
pub struct Parent<'a> {
    pub object: &'a Object,
    pub record: &'a Record,
}

impl<'a> Parent<'a> {
    pub fn get(&self, name: &str) -> Option<&'a Value> {
        self.record.get(self.object.field(name)?)
    }

    pub fn text(&self, name: &str) -> Option<&'a str> {
        self.get(name)?.as_str()
    }
}

/// One refusal.
pub fn refuse<T>(status_code: &'static str, message: impl Into<String>) -> Result<T, RecordErrors> {
    Err(vec![RecordError::new(status_code, message)])
}
