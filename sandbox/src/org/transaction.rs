//! All-or-nothing writes.
//!
//! Writes go straight into the rows, with the row that stood there kept for undoing; so a transaction reads its
//! own writes, a savepoint is a length, and what is left at the end is the list of events to publish.

use std::sync::Arc;

use serde_json::Map;

use super::super::clock::Millis;
use super::super::faults::Occasion;
use super::super::schema::{self, Catalog, FieldKind, Object, RollUp};
use super::super::value::{RecordId, Value};
use super::draft::{Change, Draft, Parent, refuse};
use super::error::{RecordError, RecordErrors};
use super::manner::{Manner, Stamp};
use super::records::{Record, Records, Shared};
use super::{Org, fields, orders, person};

/// A JSON body of a record.
pub type Body = Map<String, serde_json::Value>;

/// What new records are priced in where nothing says otherwise.
pub const ORG_CURRENCY: &str = "AUD";

/// A point that [`Transaction::rollback_to`] can go back to.
#[derive(Clone, Copy, Debug)]
pub struct Savepoint(usize);

/// A row that was touched, and what stood there before.
pub(super) struct Touched {
    pub object: usize,
    pub id: RecordId,
    pub before: Option<Record>,
}

/// Writes that become visible, and become events, together or not at all.
pub struct Transaction<'a> {
    pub(super) org: &'a Org,
    pub(super) records: &'a mut Records,
    user: Value,
    /// The moment all its rows are stamped with, in whole seconds.
    now: Value,
    rng: fastrand::Rng,
    touched: Vec<Touched>,
    manner: Manner,
    /// Objects told of as a whole, whatever was written.
    announced: Vec<usize>,
    /// Whether duplicate rules that can be overruled are.
    pub(super) duplicates_allowed: bool,
    /// Flows do not start flows of their own record again.
    pub(super) in_flow: bool,
    /// Records with flows that run after the commit.
    pub(super) later: Vec<(usize, RecordId)>,
}

/// What a transaction leaves for its commit.
pub(super) struct Finished {
    pub touched: Vec<Touched>,
    pub rng: fastrand::Rng,
    pub manner: Manner,
    pub announced: Vec<usize>,
    pub later: Vec<(usize, RecordId)>,
}

impl<'a> Transaction<'a> {
    pub(super) fn new(org: &'a Org, records: &'a mut Records, user: RecordId, rng: fastrand::Rng) -> Self {
        let now = Value::DateTime(org.clock().now().div_euclid(1000) * 1000);
        Self {
            org,
            records,
            user: Value::Id(user),
            now,
            rng,
            touched: Vec::new(),
            manner: Manner::default(),
            announced: Vec::new(),
            duplicates_allowed: false,
            in_flow: false,
            later: Vec::new(),
        }
    }

    /// Overrules the duplicate rules that let themselves be, as a request's header may.
    pub fn allow_duplicates(&mut self, allowed: bool) {
        self.duplicates_allowed = allowed;
    }

    /// Says how all of this transaction is made and told.
    pub fn set_manner(&mut self, manner: Manner) {
        self.manner = manner;
    }

    /// Stamps the rows with an earlier time, of which the transaction is.
    pub fn began_ago(&mut self, millis: Millis) {
        if let Value::DateTime(now) = &mut self.now {
            *now -= millis.div_euclid(1000) * 1000;
        }
    }

    /// Has the commit tell of an object as a whole, by an overflow or a wildcard event as its manner says.
    pub fn announce(&mut self, object: usize) {
        self.announced.push(object);
    }

    pub(super) fn stamp(&self) -> Stamp {
        Stamp {
            which: self.manner.stamps,
            now: self.now.clone(),
            user: self.user.clone(),
        }
    }

    /// The rows as this transaction sees them, its own writes included.
    pub fn records(&self) -> &Records {
        self.records
    }

    pub fn savepoint(&self) -> Savepoint {
        Savepoint(self.touched.len())
    }

    /// Undoes every write since the savepoint.
    pub fn rollback_to(&mut self, savepoint: Savepoint) {
        while self.touched.len() > savepoint.0 {
            match self.touched.pop() {
                Some(Touched {
                    object,
                    before: Some(before),
                    ..
                }) => drop(self.records.put(object, before)),
                Some(Touched {
                    object,
                    id,
                    before: None,
                }) => drop(self.records.withdraw(object, id)),
                None => break,
            }
        }
    }

    pub(super) fn finish(self) -> Finished {
        Finished {
            touched: self.touched,
            rng: self.rng,
            manner: self.manner,
            announced: self.announced,
            later: self.later,
        }
    }

    pub fn create(&mut self, object: usize, body: &Body) -> Result<RecordId, RecordErrors> {
        let org = self.org;
        let object = existing(org.catalog(), object)?;
        if !object.createable && !self.manner.internal {
            return refuse(
                "CANNOT_INSERT_UPDATE_ACTIVATE_ENTITY",
                format!("entity type cannot be inserted: {}", object.label),
            );
        }
        unlocked(org, object, None)?;
        let changes = self.read(object, body, true)?;
        let id = self.records.next_id(object.index);
        let mut rng = self.rng.fork();
        let mut draft = self.draft(object, None, changes);
        fill(&mut draft, id, &self.user, &mut rng);
        orders::judge(&mut draft, &self.now, &self.user)?;
        person::judge(&mut draft, &org.settings())?;
        name_from_parts(&mut draft);
        fields::check(&draft)?;
        self.org.locks().check(org.clock().now(), None, &draft)?;
        let values = draft
            .changes
            .into_iter()
            .filter_map(|(field, value)| Some((field as u16, value?)))
            .collect();
        let shared = Shared {
            created: self.now.clone(),
            created_by: self.user.clone(),
            modified: self.now.clone(),
            modified_by: self.user.clone(),
            modstamp: self.now.clone(),
            values: Arc::clone(&object.unset),
            layout: Arc::from([]),
        };
        self.write(object.index, Record::new(id, Arc::new(shared), values));
        self.after(object, id, None)?;
        Ok(id)
    }

    pub fn update(&mut self, object: usize, id: RecordId, body: &Body) -> Result<(), RecordErrors> {
        let org = self.org;
        let object = existing(org.catalog(), object)?;
        let before = self.present(object, id)?.clone();
        unlocked(org, object, Some(id))?;
        if !object.updateable {
            return refuse(
                "CANNOT_INSERT_UPDATE_ACTIVATE_ENTITY",
                format!("entity type cannot be updated: {}", object.label),
            );
        }
        if object.name == "Lead" && self.is_converted(object, &before) {
            return refuse("CANNOT_UPDATE_CONVERTED_LEAD", "cannot reference converted lead");
        }
        let changes = self.read(object, body, false)?;
        let mut draft = self.draft(object, Some(&before), changes);
        orders::judge(&mut draft, &self.now, &self.user)?;
        person::judge(&mut draft, &org.settings())?;
        name_from_parts(&mut draft);
        fields::check(&draft)?;
        self.org.locks().check(org.clock().now(), Some(id), &draft)?;
        let changes = draft.changes;
        let row = before.changed(object, &changes, &self.stamp());
        self.write(object.index, row);
        self.after(object, id, Some(&before))
    }

    /// Reads a body by what the user may see and write.
    fn read(&self, object: &Object, body: &Body, creating: bool) -> Result<Vec<Change>, RecordErrors> {
        let seen = match self.user {
            Value::Id(user) => self.org.catalog_of(user),
            _ => self.org.catalog(),
        };
        let object = existing(seen, object.index)?;
        fields::read(seen, self.records, object, body, creating, self.manner.internal)
    }

    /// Creates or updates by external id; true when created. `field` is the key field's position.
    pub fn upsert(
        &mut self,
        object: usize,
        field: usize,
        value: &Value,
        body: &Body,
    ) -> Result<(RecordId, bool), RecordErrors> {
        let org = self.org;
        let described = existing(org.catalog(), object)?;
        let Some(key) = described.fields.get(field) else {
            return refuse("NOT_FOUND", "The requested resource does not exist");
        };
        let text = value
            .as_str()
            .map_or_else(|| value.to_json().to_string(), str::to_owned);
        let found = match value {
            Value::Id(id) if key.kind == FieldKind::Id => {
                self.present(described, *id)?;
                vec![*id]
            }
            _ => self.records.by_external_id(object, field, &text),
        };
        match found[..] {
            [] => {
                let mut body = body.clone();
                body.insert(key.name.clone(), value.to_json());
                Ok((self.create(object, &body)?, true))
            }
            [id] => self.update(object, id, body).map(|()| (id, false)),
            _ => {
                let message = format!(
                    "{}: more than one record found for external id field: {found:?}",
                    key.name
                );
                refuse("DUPLICATE_EXTERNAL_ID", message)
            }
        }
    }

    pub fn delete(&mut self, object: usize, id: RecordId) -> Result<(), RecordErrors> {
        let org = self.org;
        let object = existing(org.catalog(), object)?;
        let before = self.present(object, id)?.clone();
        unlocked(org, object, Some(id))?;
        let draft = self.draft(object, Some(&before), Vec::new());
        org.locks().check(org.clock().now(), Some(id), &draft)?;
        let order = draft.parent("OrderId");
        orders::judge_delete(
            Parent {
                object,
                record: &before,
            },
            order,
        )?;
        if object.name == "Account" && self.has_children("Order", "AccountId", id) {
            return refuse(
                "DELETE_FAILED",
                "this account can't be deleted, because it is associated with orders",
            );
        }
        if !object.deletable && !self.manner.internal {
            return refuse(
                "INSUFFICIENT_ACCESS_OR_READONLY",
                "insufficient access rights on object id",
            );
        }
        let mut gone = before.changed(object, &[], &self.stamp());
        gone.deleted = true;
        let savepoint = self.savepoint();
        self.write(object.index, gone);
        let children = self
            .delete_children(object, id)
            .and_then(|()| self.after(object, id, Some(&before)));
        // A child that must stay keeps its parent.
        if children.is_err() {
            self.rollback_to(savepoint);
        }
        children
    }

    fn delete_children(&mut self, parent: &Object, id: RecordId) -> Result<(), RecordErrors> {
        for child in self.org.catalog().objects() {
            for (position, field) in child
                .fields
                .iter()
                .enumerate()
                .filter(|(_, field)| field.cascade_delete)
            {
                if field.reference_to.first() != Some(&parent.name) {
                    continue;
                }
                for row in self.records.children(child.index, position, id) {
                    self.delete(child.index, row)?;
                }
            }
        }
        Ok(())
    }

    fn has_children(&self, object: &str, field: &str, id: RecordId) -> bool {
        let Some(object) = self.org.catalog().object(object) else {
            return false;
        };
        object
            .field(field)
            .is_some_and(|field| !self.records.children(object.index, field, id).is_empty())
    }

    pub(super) fn draft<'d>(
        &'d self,
        object: &'d Object,
        before: Option<&'d Record>,
        changes: Vec<Change>,
    ) -> Draft<'d> {
        Draft {
            catalog: self.org.catalog(),
            object,
            records: self.records,
            before,
            changes,
        }
    }

    pub(super) fn present(&self, object: &Object, id: RecordId) -> Result<&Record, RecordErrors> {
        match self.records.get(object.index, id) {
            Some(record) if record.deleted => refuse("ENTITY_IS_DELETED", "entity is deleted"),
            Some(record) => Ok(record),
            None => refuse("NOT_FOUND", "The requested resource does not exist"),
        }
    }

    pub(super) fn write(&mut self, object: usize, record: Record) {
        let id = record.id();
        let before = self.records.put(object, record);
        self.touched.push(Touched { object, id, before });
    }

    /// Takes a row away for good.
    pub(super) fn take_away(&mut self, object: usize, id: RecordId) {
        if let Some(before) = self.records.withdraw(object, id) {
            let before = Some(before);
            self.touched.push(Touched { object, id, before });
        }
    }

    /// Carries a written row into the roll-ups of its parents.
    pub(super) fn after(
        &mut self,
        object: &Object,
        id: RecordId,
        before: Option<&Record>,
    ) -> Result<(), RecordErrors> {
        let org = self.org;
        for roll_up in org
            .catalog()
            .roll_ups()
            .iter()
            .filter(|sum| sum.child == object.index)
        {
            let part = |record: Option<&Record>| -> Option<(RecordId, f64)> {
                let live = record.filter(|record| !record.deleted)?;
                let amount = live.get(roll_up.amount).and_then(Value::as_f64).unwrap_or(0.0);
                Some((live.get(roll_up.lookup)?.as_id()?, amount))
            };
            let (was, is) = (part(before), part(self.records.get(object.index, id)));
            let taken = was.map(|(parent, amount)| (parent, -amount));
            for (parent, amount) in [taken, is].into_iter().flatten() {
                self.add_up(*roll_up, parent, amount);
            }
        }
        if object.name == "Account" {
            self.mirror_person(object, id)?;
        }
        self.apply_rules(object, id, before)
    }

    fn add_up(&mut self, roll_up: RollUp, parent: RecordId, amount: f64) {
        let org = self.org;
        let Some(row) = self
            .records
            .live(roll_up.parent, parent)
            .filter(|_| amount.abs() > 0.001)
        else {
            return;
        };
        let sum = row.get(roll_up.field).and_then(Value::as_f64).unwrap_or(0.0) + amount;
        let change = [(roll_up.field, Some(Value::Double(orders::cents(sum))))];
        let row = row.changed(&org.catalog().objects()[roll_up.parent], &change, &self.stamp());
        self.write(roll_up.parent, row);
    }
}

pub(super) fn existing(catalog: &Catalog, object: usize) -> Result<&Object, RecordErrors> {
    catalog.objects().get(object).ok_or_else(|| {
        vec![RecordError::new(
            "NOT_FOUND",
            "The requested resource does not exist",
        )]
    })
}

/// Refuses a write that a staged lock stands in the way of.
fn unlocked(org: &Org, object: &Object, id: Option<RecordId>) -> Result<(), RecordErrors> {
    let write = Occasion::Write { object: &object.name };
    if org.faults().meet(&write, org.clock().now()).is_none() {
        return Ok(());
    }
    let id = id.map_or_else(String::new, |id| id.to_string());
    let text = format!("unable to obtain exclusive access to this record or 1 records: {id}");
    refuse("UNABLE_TO_LOCK_ROW", text)
}

/// Gives a new row what the org fills in by itself.
fn fill(draft: &mut Draft<'_>, id: RecordId, user: &Value, rng: &mut fastrand::Rng) {
    let object = draft.object;
    for (position, field) in object.fields.iter().enumerate().skip(schema::FIRST_OWN) {
        if draft.at(position).is_some() {
            continue;
        }
        let value = match field.name.as_str() {
            "OwnerId" => Some(user.clone()),
            "CurrencyIsoCode" => Some(Value::text(ORG_CURRENCY)),
            "s_c__sC_Id__c" => Some(Value::text(super::uuid(rng))),
            _ if field.auto_number => Some(Value::text(auto_number(object, id))),
            // A custom object's record without a name is named by its id.
            "Name" if field.name_field && object.custom => Some(Value::text(id.as_str())),
            _ => field.default_value.as_deref().map(Value::text),
        };
        if value.is_some() {
            draft.set_at(position, value);
        }
    }
}

/// The number that an auto-number field of a row shows.
pub(in super::super) fn auto_number(object: &Object, id: RecordId) -> String {
    let number = id.counter().unwrap_or_default();
    match object.name.as_str() {
        "OrderItem" => format!("{number:010}"),
        name if object.custom => {
            let initials: String = name
                .trim_start_matches("s_c__")
                .chars()
                .filter(char::is_ascii_uppercase)
                .collect();
            format!("{initials}-{number:06}")
        }
        _ => format!("{number:08}"),
    }
}

/// `Contact.Name` from its parts.
fn name_from_parts(draft: &mut Draft<'_>) {
    let object = draft.object;
    let built = object
        .field("Name")
        .is_some_and(|at| object.fields[at].kind == FieldKind::PersonName);
    if !built && !person::is_person(draft) {
        return;
    }
    let parts = [draft.text("FirstName"), draft.text("LastName")];
    let name = parts.into_iter().flatten().collect::<Vec<_>>().join(" ");
    if draft.text("Name") != Some(name.as_str()) {
        draft.set("Name", Value::text(name));
    }
}
