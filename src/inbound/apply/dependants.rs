//! Fields that show another record's: they change with that record, without an event and without a stamp.
//!
//! Where the other record is known to have changed, the records that show it are read again. A record that a
//! page of a load brings at the same moment may have been read just before: it is put right by the next change,
//! or the next read of the whole object. Describe does not tell of these fields; formulas, of which it does, are
//! read again with their own record and by schedule.

use crate::inbound::apply::{Phase, World};
use crate::model::row::{Table, Value};
use crate::store::cache::Batch;
use crate::store::cache::rows::Mirror;

/// An object's fields, and the records that show them: those whose `reference` points at it.
struct Shown {
    object: &'static str,
    fields: [&'static str; 2],
    by: &'static str,
    reference: &'static str,
}

const SHOWN: [Shown; 1] = [Shown {
    object: "Product2",
    fields: ["Name", "ProductCode"],
    by: "PricebookEntry",
    reference: "Product2Id",
}];

/// Records that are read again for one change: more are left to the next read of the whole object.
const DEPENDANTS_MAX: usize = 2_000;

/// The columns of a table that other records show.
pub(super) fn shown_columns(table: &Table) -> Vec<usize> {
    let shown = SHOWN.iter().filter(|shown| shown.object == table.object);
    let fields = shown.flat_map(|shown| shown.fields);
    fields.filter_map(|field| table.position(field)).collect()
}

/// The values of some text columns of a row.
pub(super) fn texts(
    batch: &Batch<'_>,
    mirror: &Mirror,
    columns: &[usize],
    id: &str,
) -> rusqlite::Result<Vec<Option<String>>> {
    let columns = columns.iter();
    columns.map(|column| batch.text(mirror, id, *column)).collect()
}

impl World {
    /// Whether columns that other records show are among these.
    pub(super) fn is_shown(&self, object: usize, sets: &[(usize, Value<'_>)]) -> bool {
        let shown = &self.objects[object].shown;
        !shown.is_empty() && sets.iter().any(|(column, _)| shown.contains(column))
    }

    /// What other records show of this one, to be compared with what it is later; nothing where none do.
    pub(super) fn shown(
        &self,
        batch: &Batch<'_>,
        object: usize,
        id: &str,
    ) -> rusqlite::Result<Vec<Option<String>>> {
        let mirrored = &self.objects[object];
        texts(batch, &mirrored.mirror, &mirrored.shown, id)
    }

    /// Has the records read again that show a record which is not what it was.
    pub(super) fn compare_shown(
        &mut self,
        batch: &mut Batch<'_>,
        object: usize,
        id: &str,
        before: &[Option<String>],
    ) -> rusqlite::Result<()> {
        match self.shown(batch, object, id)? == before {
            true => Ok(()),
            false => self.read_dependants(batch, object, id),
        }
    }

    /// Has the records read again that show another one.
    pub(super) fn read_dependants(
        &mut self,
        batch: &mut Batch<'_>,
        object: usize,
        id: &str,
    ) -> rusqlite::Result<()> {
        for shown in &SHOWN {
            let Some(&by) = self.by_name.get(shown.by) else {
                continue;
            };
            let (parent, child) = (&self.objects[object].mirror.table, &self.objects[by]);
            let reference = child.mirror.table.position(shown.reference);
            let (true, Some(reference)) = (parent.object == shown.object, reference) else {
                continue;
            };
            if matches!(child.phase, Phase::Unloaded) {
                continue;
            }
            for dependant in batch.pointing_at(&child.mirror, reference, id, DEPENDANTS_MAX)? {
                self.repair(
                    batch,
                    by,
                    &dependant,
                    "a field that it shows of another record changed",
                )?;
            }
        }
        Ok(())
    }
}
