//! The rows of an org.
//!
//! A table is a vector by the id's counter, so a lookup by id is an index and id order is vector order. Rows are
//! sparse: a field without a value takes no room, and what many rows written together have in common (stamps,
//! and values such as the price book of its entries) is held once. Keys and parents are indexed for live rows.

use std::collections::{BTreeSet, HashMap};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use super::super::schema::{self, Catalog, FIRST_OWN, FieldKind, Object};
use super::super::value::{RecordId, Value};
use super::manner::{Stamp, Stamps};

/// Lookups whose children are found without a scan, beside every master-detail.
const INDEXED_LOOKUPS: [(&str, &str); 3] = [
    ("Contact", "AccountId"),
    ("Order", "AccountId"),
    ("s_c__Products_Product_Categories__c", "s_c__Product_Id__c"),
];

/// A field position with its value.
pub type Slot = (u16, Value);

/// What rows written together have in common.
#[derive(Clone, Debug)]
pub struct Shared {
    pub created: Value,
    pub created_by: Value,
    pub modified: Value,
    pub modified_by: Value,
    /// SystemModstamp: later than `modified` where the platform itself changed the row.
    pub modstamp: Value,
    /// Values of fields that a row does not hold itself, in field order; at least the object's unset ones.
    pub values: Arc<[Slot]>,
    /// The fields that a row holds itself, in field order.
    pub layout: Arc<[u16]>,
}

/// One row.
#[derive(Clone, Debug)]
pub struct Record {
    id: Value,
    pub deleted: bool,
    shared: Arc<Shared>,
    /// By the layout.
    values: Box<[Value]>,
}

impl Record {
    /// A row with these values of its own. `shared` is taken as it is where its layout is that of the values.
    pub fn new(id: RecordId, shared: Arc<Shared>, mut values: Vec<Slot>) -> Self {
        values.sort_by_key(|(field, _)| *field);
        let fits = shared.layout.iter().eq(values.iter().map(|(field, _)| field));
        let shared = if fits {
            shared
        } else {
            let mut shared = Arc::unwrap_or_clone(shared);
            shared.layout = values.iter().map(|(field, _)| *field).collect();
            Arc::new(shared)
        };
        Self {
            id: Value::Id(id),
            deleted: false,
            shared,
            values: values.into_iter().map(|(_, value)| value).collect(),
        }
    }

    fn own(&self, field: usize) -> Option<&Value> {
        let layout = &self.shared.layout;
        let at = layout
            .binary_search_by_key(&field, |own| usize::from(*own))
            .ok()?;
        self.values.get(at)
    }

    fn own_slots(&self) -> impl Iterator<Item = (u16, &Value)> {
        self.shared.layout.iter().copied().zip(&self.values)
    }

    /// Its stamps and what else it shares, for rows that may share it too.
    pub fn share(&self) -> Arc<Shared> {
        Arc::clone(&self.shared)
    }

    pub fn id(&self) -> RecordId {
        self.id.as_id().unwrap_or_else(|| RecordId::new(*b"000", 0))
    }

    pub fn shared(&self) -> &Shared {
        &self.shared
    }

    /// All its values, those it shares too.
    pub fn slots(&self) -> impl Iterator<Item = (u16, &Value)> {
        let shared = self.shared.values.iter();
        let shared = shared.filter(|(field, _)| self.own(usize::from(*field)).is_none());
        self.own_slots()
            .chain(shared.map(|(field, value)| (*field, value)))
    }

    /// The value at a field position; none is null.
    pub fn get(&self, field: usize) -> Option<&Value> {
        match field {
            schema::ID => Some(&self.id),
            schema::IS_DELETED => Some(if self.deleted {
                &Value::Boolean(true)
            } else {
                &Value::Boolean(false)
            }),
            schema::CREATED_DATE => Some(&self.shared.created),
            schema::CREATED_BY_ID => Some(&self.shared.created_by),
            schema::LAST_MODIFIED_DATE => Some(&self.shared.modified),
            schema::SYSTEM_MODSTAMP => Some(&self.shared.modstamp),
            schema::LAST_MODIFIED_BY_ID => Some(&self.shared.modified_by),
            FIRST_OWN.. => self.own(field).or_else(|| find(&self.shared.values, field)),
        }
    }

    /// The row with another set of unset values; what was shared is shared again, by way of `fitted`.
    pub(super) fn refitted(
        &self,
        unset: &Arc<[Slot]>,
        fitted: &mut HashMap<usize, (Arc<Shared>, Arc<Shared>)>,
    ) -> Self {
        // The old one is held as long as its address is a key.
        let address = Arc::as_ptr(&self.shared) as usize;
        let (_, shared) = fitted.entry(address).or_insert_with(|| {
            let mut values = self.shared.values.to_vec();
            let missing = unset
                .iter()
                .filter(|(at, _)| find(&values, usize::from(*at)).is_none());
            let missing: Vec<Slot> = missing.cloned().collect();
            values.extend(missing);
            values.sort_by_key(|(at, _)| *at);
            let shared = Shared {
                values: values.into(),
                ..Shared::clone(&self.shared)
            };
            (Arc::clone(&self.shared), Arc::new(shared))
        });
        Self {
            shared: Arc::clone(shared),
            ..self.clone()
        }
    }

    /// The row with one value more.
    pub fn with(self, field: usize, value: Value) -> Self {
        let kept = self.own_slots().filter(|(at, _)| usize::from(*at) != field);
        let mut values: Vec<Slot> = kept.map(|(at, value)| (at, value.clone())).collect();
        values.push((field as u16, value));
        Self {
            deleted: self.deleted,
            ..Self::new(self.id(), self.shared, values)
        }
    }

    /// Milliseconds of SystemModstamp.
    pub fn modstamp(&self) -> i64 {
        match self.shared.modstamp {
            Value::DateTime(millis) => millis,
            _ => 0,
        }
    }

    /// The row after a change: each change sets a field or, with none, nulls it.
    pub fn changed(&self, object: &Object, changes: &[(usize, Option<Value>)], stamp: &Stamp) -> Self {
        // What was shared becomes the row's own.
        let mut values: Vec<Slot> = self
            .slots()
            .map(|(field, value)| (field, value.clone()))
            .collect();
        for (field, value) in changes {
            values.retain(|(at, _)| usize::from(*at) != *field);
            values.extend(value.clone().map(|value| (*field as u16, value)));
        }
        // A checkbox that is off is the object's unset value again.
        values.retain(|(field, value)| find(&object.unset, usize::from(*field)) != Some(value));
        let held = &self.shared;
        let (modified, modified_by) = match stamp.which {
            Stamps::All => (&stamp.now, &stamp.user),
            Stamps::System | Stamps::None => (&held.modified, &held.modified_by),
        };
        let shared = Shared {
            created: held.created.clone(),
            created_by: held.created_by.clone(),
            modified: modified.clone(),
            modified_by: modified_by.clone(),
            modstamp: match stamp.which {
                Stamps::All | Stamps::System => stamp.now.clone(),
                Stamps::None => held.modstamp.clone(),
            },
            values: Arc::clone(&object.unset),
            layout: Arc::clone(&held.layout),
        };
        Self {
            deleted: self.deleted,
            ..Self::new(self.id(), Arc::new(shared), values)
        }
    }
}

fn find(slots: &[Slot], field: usize) -> Option<&Value> {
    let at = slots
        .binary_search_by_key(&field, |(position, _)| usize::from(*position))
        .ok()?;
    Some(&slots[at].1)
}

/// The rows of one object.
#[derive(Debug, Default)]
struct Table {
    prefix: [u8; 3],
    rows: Vec<Option<Record>>,
    /// By key field: hash of the lower-case value, row; deleted rows too.
    keys: HashMap<usize, BTreeSet<(u64, u32)>>,
    /// By lookup field: counter of the parent, live row.
    children: HashMap<usize, BTreeSet<(u32, u32)>>,
    live: usize,
}

impl Table {
    fn new(object: &Object) -> Self {
        let mut table = Self {
            prefix: object.key_prefix,
            rows: vec![None],
            ..Self::default()
        };
        for at in FIRST_OWN..object.fields.len() {
            table.prepare(object, at);
        }
        table
    }

    /// Makes the empty index of a field that is to have one.
    fn prepare(&mut self, object: &Object, at: usize) {
        let field = &object.fields[at];
        if field.unique || field.id_lookup {
            self.keys.insert(at, BTreeSet::new());
        }
        let listed = INDEXED_LOOKUPS.contains(&(object.name.as_str(), field.name.as_str()));
        if field.kind == FieldKind::Reference && (field.cascade_delete || listed) {
            self.children.insert(at, BTreeSet::new());
        }
    }

    fn index(&mut self, record: &Record, row: u32, present: bool) {
        for (field, keys) in &mut self.keys {
            if let Some(text) = record.get(*field).and_then(Value::as_str) {
                let entry = (key_hash(text), row);
                if present {
                    keys.insert(entry)
                } else {
                    keys.remove(&entry)
                };
            }
        }
        if record.deleted {
            return;
        }
        self.live = if present {
            self.live + 1
        } else {
            self.live.saturating_sub(1)
        };
        for (field, children) in &mut self.children {
            if let Some(parent) = record.get(*field).and_then(Value::as_id).and_then(parent_counter) {
                let entry = (parent, row);
                if present {
                    children.insert(entry)
                } else {
                    children.remove(&entry)
                };
            }
        }
    }
}

fn key_hash(text: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    for character in text.chars().flat_map(char::to_lowercase) {
        character.hash(&mut hasher);
    }
    hasher.finish()
}

fn parent_counter(id: RecordId) -> Option<u32> {
    id.counter().and_then(|counter| u32::try_from(counter).ok())
}

/// All rows, by object position.
#[derive(Debug, Default)]
pub struct Records {
    tables: Vec<Table>,
}

impl Records {
    pub fn new(catalog: &Catalog) -> Self {
        Self {
            tables: catalog.objects().iter().map(Table::new).collect(),
        }
    }

    /// Makes room in the indexes for a field that is new.
    pub(super) fn prepare(&mut self, object: &Object, field: usize) {
        if let Some(table) = self.tables.get_mut(object.index) {
            table.prepare(object, field);
        }
    }

    /// A row by id, in the recycle bin or not.
    pub fn get(&self, object: usize, id: RecordId) -> Option<&Record> {
        let table = self
            .tables
            .get(object)
            .filter(|table| table.prefix == id.prefix())?;
        table.rows.get(usize::try_from(id.counter()?).ok()?)?.as_ref()
    }

    /// A row that is not in the recycle bin.
    pub fn live(&self, object: usize, id: RecordId) -> Option<&Record> {
        self.get(object, id).filter(|record| !record.deleted)
    }

    /// All rows of an object in id order, deleted ones too.
    pub fn all(&self, object: usize) -> impl Iterator<Item = &Record> {
        self.tables
            .get(object)
            .into_iter()
            .flat_map(|table| table.rows.iter().flatten())
    }

    /// Live rows whose unique or external id field has this value, whatever its case.
    pub fn by_external_id(&self, object: usize, field: usize, value: &str) -> Vec<RecordId> {
        self.with_key(object, field, value, false)
    }

    /// Rows whose unique or external id field has this value, whatever its case; those of the recycle bin too where
    /// `deleted_too`.
    pub fn with_key(&self, object: usize, field: usize, value: &str, deleted_too: bool) -> Vec<RecordId> {
        let Some(table) = self.tables.get(object) else {
            return Vec::new();
        };
        let same = |record: &&Record| {
            let held = record.get(field).and_then(Value::as_str);
            (deleted_too || !record.deleted)
                && held.is_some_and(|held| held.to_lowercase() == value.to_lowercase())
        };
        match table.keys.get(&field) {
            Some(keys) => {
                let hash = key_hash(value);
                let rows = keys.range((hash, 0)..=(hash, u32::MAX));
                let records = rows.filter_map(|(_, row)| table.rows.get(*row as usize)?.as_ref());
                records.filter(same).map(Record::id).collect()
            }
            None => self.all(object).filter(same).map(Record::id).collect(),
        }
    }

    /// Live rows whose lookup field points at `parent`.
    pub fn children(&self, object: usize, field: usize, parent: RecordId) -> Vec<RecordId> {
        let Some(table) = self.tables.get(object) else {
            return Vec::new();
        };
        let same = |record: &&Record| !record.deleted && record.get(field) == Some(&Value::Id(parent));
        match (table.children.get(&field), parent_counter(parent)) {
            (Some(children), Some(counter)) => {
                let rows = children.range((counter, 0)..=(counter, u32::MAX));
                let records = rows.filter_map(|(_, row)| table.rows.get(*row as usize)?.as_ref());
                records.filter(same).map(Record::id).collect()
            }
            _ => self.all(object).filter(same).map(Record::id).collect(),
        }
    }

    /// One more than the highest counter of an object's ids.
    pub fn slots(&self, object: usize) -> usize {
        self.tables.get(object).map_or(0, |table| table.rows.len())
    }

    /// How many rows all objects have.
    pub fn total(&self) -> usize {
        self.tables
            .iter()
            .map(|table| table.rows.iter().flatten().count())
            .sum()
    }

    /// Keeps the id of a row that is gone from being given again.
    pub(super) fn hold(&mut self, object: usize, id: RecordId) {
        let row = id.counter().and_then(|row| usize::try_from(row).ok());
        if let (Some(row), Some(table)) = (row, self.tables.get_mut(object))
            && table.rows.len() <= row
        {
            table.rows.resize(row + 1, None);
        }
    }

    /// How many live rows an object has.
    pub fn count(&self, object: usize) -> usize {
        self.tables.get(object).map_or(0, |table| table.live)
    }

    /// The id of the next row of an object. Ids of rows that were rolled back are not given again.
    pub fn next_id(&self, object: usize) -> RecordId {
        let (prefix, next) = self
            .tables
            .get(object)
            .map_or((*b"000", 0), |table| (table.prefix, table.rows.len()));
        RecordId::new(prefix, next as u64)
    }

    /// Puts a row in place and gives back the one that stood there.
    pub fn put(&mut self, object: usize, record: Record) -> Option<Record> {
        let row = usize::try_from(record.id().counter()?).ok()?;
        let table = self.tables.get_mut(object)?;
        if table.rows.len() <= row {
            table.rows.resize(row + 1, None);
        }
        let before = table.rows[row].take();
        if let Some(before) = &before {
            table.index(before, row as u32, false);
        }
        table.index(&record, row as u32, true);
        table.rows[row] = Some(record);
        before
    }

    /// Makes a row as if it had never been, and gives it back. Its id is not given again.
    pub fn withdraw(&mut self, object: usize, id: RecordId) -> Option<Record> {
        let row = usize::try_from(id.counter()?).ok()?;
        let table = self.tables.get_mut(object)?;
        let record = table.rows.get_mut(row).and_then(Option::take)?;
        table.index(&record, row as u32, false);
        Some(record)
    }

    /// Packs the indexes, after many rows were put.
    pub fn pack(&mut self) {
        for table in &mut self.tables {
            for keys in table.keys.values_mut() {
                *keys = std::mem::take(keys).into_iter().collect();
            }
            for children in table.children.values_mut() {
                *children = std::mem::take(children).into_iter().collect();
            }
        }
    }

    /// Makes room for rows that are about to be put.
    pub fn reserve(&mut self, object: usize, rows: usize) {
        if let Some(table) = self.tables.get_mut(object) {
            table.rows.reserve_exact(rows);
        }
    }
}
