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

/// Fields of an object that records of another show.
struct Shown {
    object: &'static str,
    by: &'static str,
    link: Link,
    fields: Fields,
}

/// Which records show a record.
enum Link {
    /// Those whose reference points at it.
    Theirs(&'static str),
    /// The person account that its own reference points at.
    OwnPerson(&'static str),
}

enum Fields {
    /// Here, and as the other object names them.
    Named(&'static [(&'static str, &'static str)]),
    /// A person account shows its contact's fields as `PersonTitle` or `Size__pc`, those of the name as they are.
    OfPerson,
}

const SHOWN: [Shown; 6] = [
    Shown {
        object: "Product2",
        by: "PricebookEntry",
        link: Link::Theirs("Product2Id"),
        fields: Fields::Named(&[("Name", "Name"), ("ProductCode", "ProductCode")]),
    },
    Shown {
        object: "Product2",
        by: "Asset",
        link: Link::Theirs("Product2Id"),
        fields: Fields::Named(&[
            ("ProductCode", "ProductCode"),
            ("Family", "ProductFamily"),
            ("Description", "ProductDescription"),
        ]),
    },
    Shown {
        object: "Contact",
        by: "Account",
        link: Link::OwnPerson("AccountId"),
        fields: Fields::OfPerson,
    },
    Shown {
        object: "Contact",
        by: "Case",
        link: Link::Theirs("ContactId"),
        fields: Fields::Named(&[
            ("Email", "ContactEmail"),
            ("Phone", "ContactPhone"),
            ("MobilePhone", "ContactMobile"),
            ("Fax", "ContactFax"),
        ]),
    },
    Shown {
        object: "Contact",
        by: "CampaignMember",
        link: Link::Theirs("ContactId"),
        fields: Fields::Named(&OF_MEMBERS),
    },
    Shown {
        object: "Lead",
        by: "CampaignMember",
        link: Link::Theirs("LeadId"),
        fields: Fields::Named(&OF_MEMBERS),
    },
];

/// What a member of a campaign shows of its contact or lead.
const OF_MEMBERS: [(&str, &str); 8] = [
    ("Name", "Name"),
    ("Salutation", "Salutation"),
    ("FirstName", "FirstName"),
    ("LastName", "LastName"),
    ("Title", "Title"),
    ("Email", "Email"),
    ("Phone", "Phone"),
    ("MobilePhone", "MobilePhone"),
];

/// Parts of a name, which both records have by the same name.
const OF_NAMES: [&str; 7] = [
    "Name",
    "Salutation",
    "FirstName",
    "MiddleName",
    "LastName",
    "Suffix",
    "Phone",
];

/// Only an org with person accounts has it.
const IS_PERSON: &str = "IsPersonAccount";

impl Shown {
    /// Whether the other object has a field that shows this one.
    fn shows(&self, field: &str, by: &Table) -> bool {
        let has = |name: &str| by.position(name).is_some();
        match self.fields {
            Fields::Named(pairs) => pairs.iter().any(|(here, there)| *here == field && has(there)),
            Fields::OfPerson if OF_NAMES.contains(&field) => has(IS_PERSON) && has(field),
            Fields::OfPerson => match field.strip_suffix("__c") {
                Some(custom) => has(&format!("{custom}__pc")),
                None => has(&format!("Person{field}")),
            },
        }
    }
}

/// Records that are read again for one change: more are left to the next read of the whole object.
const DEPENDANTS_MAX: usize = 2_000;

/// The columns of a table that records of the other tables show.
fn shown_columns(table: &Table, others: &[&Table]) -> Vec<usize> {
    let of_table = || SHOWN.iter().filter(|shown| shown.object == table.object);
    let is_shown = |field: &str| {
        of_table().any(|shown| {
            let mut by = others.iter().filter(|other| other.object == shown.by);
            by.any(|by| shown.shows(field, by))
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
            for dependant in dependants {
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
