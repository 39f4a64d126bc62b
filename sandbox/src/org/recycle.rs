//! The recycle bin: what comes back from it, and what leaves it for good.

use super::super::schema::Object;
use super::super::value::{RecordId, Value};
use super::Transaction;
use super::draft::refuse;
use super::error::RecordErrors;
use super::transaction::existing;

impl Transaction<'_> {
    /// Brings a deleted row back, with the children that were deleted with it.
    pub fn undelete(&mut self, object: usize, id: RecordId) -> Result<(), RecordErrors> {
        let org = self.org;
        let object = existing(org.catalog(), object)?;
        // The platform offers no undelete of order products: they come back with their order.
        if object.name == "OrderItem" {
            return refuse(
                "CANNOT_INSERT_UPDATE_ACTIVATE_ENTITY",
                "entity type is not undeletable: Order Product",
            );
        }
        self.bring_back(object, id)
    }

    fn bring_back(&mut self, object: &Object, id: RecordId) -> Result<(), RecordErrors> {
        let gone = match self.records.get(object.index, id) {
            Some(record) if record.deleted => record.clone(),
            Some(_) => return refuse("UNDELETE_FAILED", "Entity is not in the recycle bin"),
            None => return refuse("NOT_FOUND", "The requested resource does not exist"),
        };
        for (at, field) in object.fields.iter().enumerate().filter(|(_, field)| field.unique) {
            let taken = gone
                .get(at)
                .and_then(Value::as_str)
                .map(|text| self.records.by_external_id(object.index, at, text));
            if taken.is_some_and(|taken| !taken.is_empty()) {
                let message = format!("duplicate value found: {} is in use again", field.name);
                return refuse("DUPLICATE_VALUE", message);
            }
        }
        let mut back = gone.changed(object, &[], &self.stamp());
        back.deleted = false;
        self.write(object.index, back);
        for child in self.org.catalog().objects() {
            let details = child.fields.iter().enumerate();
            let details = details.filter(|(_, field)| {
                field.cascade_delete && field.reference_to.first() == Some(&object.name)
            });
            for (at, _) in details {
                let parent = Value::Id(id);
                let with_it = self.records.all(child.index).filter(|row| {
                    row.deleted && row.get(at) == Some(&parent) && row.modstamp() == gone.modstamp()
                });
                let with_it: Vec<RecordId> = with_it.map(super::Record::id).collect();
                for row in with_it {
                    self.bring_back(child, row)?;
                }
            }
        }
        Ok(())
    }

    /// Takes a row away for good, in the recycle bin or not, with what hangs on it.
    pub fn hard_delete(&mut self, object: usize, id: RecordId) -> Result<(), RecordErrors> {
        let org = self.org;
        let object = existing(org.catalog(), object)?;
        if self.records.get(object.index, id).is_none() {
            return refuse("NOT_FOUND", "The requested resource does not exist");
        }
        let deleted = self
            .records
            .get(object.index, id)
            .is_some_and(|record| record.deleted);
        if !deleted {
            self.delete(object.index, id)?;
        }
        for child in org.catalog().objects() {
            let details = child.fields.iter().enumerate();
            let details = details.filter(|(_, field)| {
                field.cascade_delete && field.reference_to.first() == Some(&object.name)
            });
            for (at, _) in details {
                let parent = Value::Id(id);
                let hanging = self.records.all(child.index);
                let hanging = hanging.filter(|row| row.deleted && row.get(at) == Some(&parent));
                let hanging: Vec<RecordId> = hanging.map(super::Record::id).collect();
                hanging
                    .into_iter()
                    .for_each(|row| self.take_away(child.index, row));
            }
        }
        self.take_away(object.index, id);
        Ok(())
    }
}
