//! Fields that show another record's: they change with that record, without an event and without a stamp.
//!
//! Where the other record is known to have changed, the records that show it are read again. A record that a
//! page of a load brings at the same moment may have been read just before: it is put right by the next change,
//! or the next read of the whole object. Describe does not tell of these fields; formulas, of which it does, are
//! read again with their own record and by schedule.

use crate::inbound::apply::{Phase, World};
use crate::model::row::{Table, Value};
use crate::model::shown::{IS_PERSON, Link, SHOWN};
use crate::store::cache::Batch;
use crate::store::cache::repairs::Entry;
use crate::store::cache::rows::Mirror;

/// Records that are read again for one change: more are left to the next read of the whole object.
const DEPENDANTS_MAX: usize = 2_000;

/// The columns of a table that records of the other tables show.
fn shown_columns(table: &Table, others: &[&Table]) -> Vec<usize> {
    let of_table = || SHOWN.iter().filter(|shown| shown.object == table.object);
    let is_shown = |field: &str| {
        of_table().any(|shown| {
            let mut by = others.iter().filter(|other| other.object == shown.by);
            by.any(|by| shown.shows(field, |name| by.position(name).is_some()))
        })
    };
    let columns = table.columns.iter().enumerate();
    columns
        .filter(|(_, column)| is_shown(&column.field))
        .map(|(index, _)| index)
        .collect()
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
    /// Finds out again which columns are shown by others: the tables may have changed.
    pub(super) fn link(&mut self) {
        let tables = self.objects.iter().map(|object| &object.mirror.table);
        let tables: Vec<&Table> = tables.collect();
        let shown = tables.iter().map(|table| shown_columns(table, &tables));
        let shown: Vec<Vec<usize>> = shown.collect();
        for (object, shown) in self.objects.iter_mut().zip(shown) {
            object.shown = shown;
        }
    }

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
            let (parent, child) = (&self.objects[object].mirror, &self.objects[by]);
            if parent.table.object != shown.object || matches!(child.phase, Phase::Unloaded) {
                continue;
            }
            let dependants = match shown.link {
                Link::Theirs(reference) => match child.mirror.table.position(reference) {
                    Some(reference) => batch.pointing_at(&child.mirror, reference, id, DEPENDANTS_MAX)?,
                    None => Vec::new(),
                },
                Link::OwnPerson(reference) => person_of(batch, parent, reference, id, &child.mirror)?,
            };
            if dependants.is_empty() {
                continue;
            }
            // What they show may be as old as the last proof before the change.
            let since = batch.proved_wall(shown.object)?;
            for dependant in &dependants {
                let entry = Entry {
                    since,
                    ..Entry::record(
                        shown.by,
                        dependant,
                        "a field that it shows of another record changed",
                    )
                };
                batch.open_repair(&entry, self.now)?;
            }
            self.ledger_rings = true;
        }
        Ok(())
    }
}

/// The person account that a record points at; none where it is a company.
fn person_of(
    batch: &Batch<'_>,
    mirror: &Mirror,
    reference: &str,
    id: &str,
    accounts: &Mirror,
) -> rusqlite::Result<Vec<String>> {
    let reference = mirror.table.position(reference);
    let (Some(reference), Some(is_person)) = (reference, accounts.table.position(IS_PERSON)) else {
        return Ok(Vec::new());
    };
    let Some(account) = batch.text(mirror, id, reference)? else {
        return Ok(Vec::new());
    };
    let is_person = batch.is_set(accounts, &account, is_person)?;
    Ok(is_person.then_some(account).into_iter().collect())
}
