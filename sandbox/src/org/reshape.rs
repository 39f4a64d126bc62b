//! Changes to the schema, and to what users may see of it, while the org runs.
//!
//! The rows' write lock is held from the first look to the new generation, so no transaction sees half a change.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, PoisonError};

use super::super::persist::Note;
use super::super::schema::change::{Changed, FieldChange, Permissions};
use super::super::schema::{Catalog, Object};
use super::super::value::{RecordId, Value};
use super::generation::GENERATIONS_MAX;
use super::manner::{Manner, Stamps, Told};
use super::records::{Record, Records, Shared};
use super::{Org, Origin, RecordErrors, Settings};

impl Org {
    /// Adds, removes or retypes a custom field. Values that the new type cannot hold are lost, and then, where the
    /// object is selected, an event with a wildcard tells of it; nothing else does. The error is a sentence.
    pub fn change_schema(&self, change: &FieldChange) -> Result<(), String> {
        let (changed, lost) = self.reshape_alone(change)?;
        if lost {
            let origin = Origin {
                client: String::new(),
                user: self.user_id(),
            };
            let told: Result<(), RecordErrors> = self.transact(&origin, |transaction| {
                transaction.set_manner(Manner {
                    told: Told::Wildcard,
                    stamps: Stamps::None,
                    internal: true,
                });
                changed.iter().for_each(|one| transaction.announce(one.object));
                Ok(())
            });
            // Nothing is written, so nothing can be refused.
            drop(told);
        }
        Ok(())
    }

    /// The change without its event; true where values were lost.
    pub(super) fn reshape_alone(&self, change: &FieldChange) -> Result<(Vec<Changed>, bool), String> {
        let mut records = self
            .inside
            .records
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        let mut catalog = self.catalog().clone();
        let changed = catalog.change(change)?;
        let views = views(&catalog, &self.settings())?;
        self.check_room()?;
        let mut lost = false;
        for one in &changed {
            lost |= records.reshape(&catalog.objects()[one.object], *one);
        }
        self.inside.first.follow(catalog, views);
        self.note(&Note::Schema(change.clone()));
        Ok((changed, lost))
    }

    /// Sets what a user may see and write of an object, in place of what was set before. The error is a sentence.
    pub fn permit(&self, user: RecordId, object: &str, permissions: Permissions) -> Result<(), String> {
        let records = self
            .inside
            .records
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        let catalog = self.catalog().clone();
        let mut settings = Settings::clone(&self.settings());
        settings
            .permissions
            .entry(user.to_string())
            .or_default()
            .insert(object.to_owned(), permissions);
        let views = views(&catalog, &settings)?;
        self.check_room()?;
        self.set(|held| *held = settings);
        self.inside.first.follow(catalog, views);
        drop(records);
        Ok(())
    }

    /// Takes over settings that were kept, and what users may see by them.
    pub(super) fn adopt(&self, settings: Settings) -> Result<(), String> {
        let catalog = self.catalog().clone();
        let changed = settings.permissions != self.settings().permissions;
        let views = views(&catalog, &settings)?;
        self.set(|held| *held = settings);
        if changed {
            self.inside.first.follow(catalog, views);
        }
        Ok(())
    }

    fn check_room(&self) -> Result<(), String> {
        if self.inside.first.is_full() {
            return Err(format!(
                "the org's schema and permissions changed {GENERATIONS_MAX} times, which is the most: start a new one"
            ));
        }
        Ok(())
    }
}

/// The catalogue as each user sees it who may not see all of it.
fn views(catalog: &Catalog, settings: &Settings) -> Result<BTreeMap<RecordId, Catalog>, String> {
    let mut views = BTreeMap::new();
    for (user, objects) in &settings.permissions {
        let Some(user) = RecordId::parse(user) else {
            continue;
        };
        let mut view = catalog.clone();
        for (object, permissions) in objects {
            // A field that was removed since is nobody's any more.
            let there = |names: &[String]| -> Vec<String> {
                let known = |name: &&String| {
                    view.object(object)
                        .is_some_and(|object| object.field(name).is_some())
                };
                names.iter().filter(known).cloned().collect()
            };
            let permissions = Permissions {
                hidden: there(&permissions.hidden),
                read_only: there(&permissions.read_only),
            };
            view.restrict(object, &permissions)?;
        }
        views.insert(user, view);
    }
    Ok(views)
}

impl Records {
    /// Fits an object's rows to a changed field: true where a value was lost that the new type cannot hold.
    fn reshape(&mut self, object: &Object, changed: Changed) -> bool {
        let Some(new) = changed.new else { return false };
        self.prepare(object, new);
        let kind = object.fields[new].kind;
        let mut lost = false;
        // Rows that shared values share them again.
        let mut unset: HashMap<usize, (Arc<Shared>, Arc<Shared>)> = HashMap::new();
        let ids: Vec<RecordId> = self.all(object.index).map(Record::id).collect();
        for id in ids {
            let Some(record) = self.get(object.index, id) else {
                continue;
            };
            let held = changed.gone.and_then(|gone| record.get(gone));
            let value = held.and_then(|held| converted(held, kind));
            lost |= held.is_some() && value.is_none();
            let mut record = record.refitted(&object.unset, &mut unset);
            if let Some(value) = value {
                record = record.with(new, value);
            }
            self.put(object.index, record);
        }
        lost
    }
}

fn converted(value: &Value, kind: super::super::schema::FieldKind) -> Option<Value> {
    let json = value.to_json();
    let text = json.as_str().map_or_else(|| json.to_string(), str::to_owned);
    Value::from_text(kind, &text).ok()
}
