//! Merging: one record takes in another of its object, with all that points at it.

use super::super::value::{RecordId, Value};
use super::Transaction;
use super::draft::refuse;
use super::error::RecordErrors;
use super::transaction::existing;

/// The objects whose records may be merged.
const OBJECTS: [&str; 3] = ["Account", "Contact", "Lead"];
/// On a record that was merged away: the one that lives on.
const MASTER: &str = "MasterRecordId";

impl Transaction<'_> {
    /// Has `master` take in `loser`: what points at the loser points at the master, and the loser goes to the recycle bin,
    /// where it keeps its own values, external ids among them.
    pub fn merge(&mut self, object: usize, master: RecordId, loser: RecordId) -> Result<(), RecordErrors> {
        let org = self.org;
        let object = existing(org.catalog(), object)?;
        let into = object
            .field(MASTER)
            .filter(|_| OBJECTS.contains(&object.name.as_str()));
        let Some(into) = into else {
            return refuse(
                "INVALID_TYPE",
                format!("{} records cannot be merged", object.name),
            );
        };
        if master == loser {
            return refuse(
                "INVALID_ID_FIELD",
                "the master record cannot be merged into itself",
            );
        }
        self.present(object, master)?;
        self.present(object, loser)?;
        for child in org.catalog().objects() {
            let lookups = child.fields.iter().enumerate();
            let lookups = lookups
                .filter(|(_, field)| field.name != MASTER && field.reference_to.contains(&object.name));
            for (at, _) in lookups {
                for row in self.records.children(child.index, at, loser) {
                    let before = self.present(child, row)?.clone();
                    let moved = before.changed(child, &[(at, Some(Value::Id(master)))], &self.stamp());
                    self.write(child.index, moved);
                    self.after(child, row, Some(&before))?;
                }
            }
        }
        let before = self.present(object, loser)?.clone();
        let mut gone = before.changed(object, &[(into, Some(Value::Id(master)))], &self.stamp());
        gone.deleted = true;
        self.write(object.index, gone);
        self.after(object, loser, Some(&before))
    }
}
