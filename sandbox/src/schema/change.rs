//! How one catalogue becomes the next: custom fields that come, go and change their type, and what a user may see.
//!
//! A field never leaves its position, and a position never gets another field: what is removed stays, out of sight,
//! and a field that changes its type goes out of sight and comes back at a new position, at its old place among the
//! fields of events. So rows, queries and events of before stay readable.

use serde::{Deserialize, Serialize};

use super::{Catalog, Field, FieldKind, Object, field};
use crate::value::Value;

/// Room between two fields of events for fields that are put there later.
pub(super) const PLACES_BETWEEN: u32 = 1 << 16;
/// Fields of one object, those out of sight too.
const FIELDS_MAX: usize = 900;

/// A change to one custom field. Types and words are those of `objects.json`: `Text 80`, `Currency 16,2`,
/// `Reference Account`; `required`, `unique`, `external`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum FieldChange {
    Add {
        object: String,
        name: String,
        #[serde(default)]
        label: Option<String>,
        #[serde(rename = "type")]
        kind: String,
        #[serde(default)]
        words: String,
        #[serde(default)]
        picklist: Vec<String>,
        /// Events have the new field before this one; behind all others where none is named.
        #[serde(default)]
        before: Option<String>,
    },
    Remove {
        object: String,
        name: String,
    },
    Retype {
        object: String,
        name: String,
        #[serde(rename = "type")]
        kind: String,
        #[serde(default)]
        words: String,
        #[serde(default)]
        picklist: Vec<String>,
    },
    /// Accounts may be persons from now on: the fields for it come to Account and Contact.
    PersonAccounts {},
    /// An order may have these statuses and no others from now on.
    OrderStatuses {
        statuses: Vec<OrderStatus>,
    },
}

/// A value of Order.Status, and its class: what StatusCode says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OrderStatus {
    pub label: String,
    pub class: String,
}

/// The fields that person accounts bring, as `objects.json` would give them.
const PERSON_FIELDS: [(&str, [&str; 4]); 19] = [
    ("Account", ["Salutation", "Salutation", "Picklist 40", "in=Name"]),
    ("Account", ["FirstName", "First Name", "Text 40", "in=Name"]),
    ("Account", ["LastName", "Last Name", "Text 80", "in=Name"]),
    (
        "Account",
        ["IsPersonAccount", "Is Person Account", "Boolean", "readonly"],
    ),
    (
        "Account",
        [
            "PersonContactId",
            "Contact ID",
            "Reference Contact",
            "readonly relation=PersonContact",
        ],
    ),
    ("Account", ["PersonEmail", "Email", "Email 80", "idlookup"]),
    ("Account", ["PersonMobilePhone", "Mobile", "Phone 40", ""]),
    ("Account", ["PersonBirthdate", "Birthdate", "Date", ""]),
    ("Account", ["PersonTitle", "Title", "Text 128", ""]),
    (
        "Account",
        [
            "PersonMailingStreet",
            "Mailing Street",
            "Text 255",
            "in=PersonMailingAddress",
        ],
    ),
    (
        "Account",
        [
            "PersonMailingCity",
            "Mailing City",
            "Text 40",
            "in=PersonMailingAddress",
        ],
    ),
    (
        "Account",
        [
            "PersonMailingState",
            "Mailing State",
            "Text 80",
            "in=PersonMailingAddress",
        ],
    ),
    (
        "Account",
        [
            "PersonMailingPostalCode",
            "Mailing Postal Code",
            "Text 20",
            "in=PersonMailingAddress",
        ],
    ),
    (
        "Account",
        [
            "PersonMailingCountry",
            "Mailing Country",
            "Text 80",
            "in=PersonMailingAddress",
        ],
    ),
    (
        "Account",
        [
            "PersonMailingLatitude",
            "Mailing Latitude",
            "Double 18,15",
            "in=PersonMailingAddress",
        ],
    ),
    (
        "Account",
        [
            "PersonMailingLongitude",
            "Mailing Longitude",
            "Double 18,15",
            "in=PersonMailingAddress",
        ],
    ),
    (
        "Account",
        [
            "PersonMailingGeocodeAccuracy",
            "Mailing Geocode Accuracy",
            "Picklist 40",
            "in=PersonMailingAddress",
        ],
    ),
    (
        "Account",
        ["PersonMailingAddress", "Mailing Address", "Address", "readonly"],
    ),
    (
        "Contact",
        ["IsPersonAccount", "Is Person Account", "Boolean", "readonly"],
    ),
];

/// What a change did, by positions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Changed {
    pub object: usize,
    pub gone: Option<usize>,
    pub new: Option<usize>,
}

/// What of an object a user may not do.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Permissions {
    pub hidden: Vec<String>,
    pub read_only: Vec<String>,
}

impl Catalog {
    /// Changes a field. The error is a sentence.
    pub fn change(&mut self, change: &FieldChange) -> Result<Vec<Changed>, String> {
        let changed = match change {
            FieldChange::PersonAccounts {} => self.take_persons()?,
            FieldChange::OrderStatuses { statuses } => {
                let order = self.named("Order")?;
                let status = order.known("Status")?;
                order.fields[status].picklist = statuses.iter().map(|one| one.label.clone()).collect();
                Vec::new()
            }
            change => vec![self.change_alone(change)?],
        };
        self.resolve().map_err(|error| format!("{error:#}"))?;
        Ok(changed)
    }

    fn take_persons(&mut self) -> Result<Vec<Changed>, String> {
        if self.named("Account")?.field("IsPersonAccount").is_some() {
            return Err("the org has person accounts already".to_owned());
        }
        let fields = PERSON_FIELDS.iter().map(|(object, [name, label, kind, words])| {
            let object = self.named(object)?;
            let (_, last) = object.last_place();
            let new = object.put([name, label, kind, words, ""], (0, last))?;
            Ok(Changed {
                object: object.index,
                gone: None,
                new: Some(new),
            })
        });
        fields.collect()
    }

    fn change_alone(&mut self, change: &FieldChange) -> Result<Changed, String> {
        match change {
            FieldChange::Add {
                object,
                name,
                label,
                kind,
                words,
                picklist,
                before,
            } => {
                let label = label.as_deref().unwrap_or(name);
                let object = self.named(object)?;
                if !name.ends_with("__c") {
                    return Err(format!(
                        "{name} is no name of a custom field: it must end with __c"
                    ));
                }
                if object.field(name).is_some() {
                    return Err(format!("{} already has a field {name}", object.name));
                }
                let place = match before {
                    Some(before) => object.place_before(before)?,
                    None => object.last_place(),
                };
                let new = object.put([name, label, kind, words, &picklist.join(";")], place)?;
                Ok(Changed {
                    object: object.index,
                    gone: None,
                    new: Some(new),
                })
            }
            FieldChange::Remove { object, name } => {
                let object = self.named(object)?;
                let gone = object.custom_field(name)?;
                object.hide(gone);
                Ok(Changed {
                    object: object.index,
                    gone: Some(gone),
                    new: None,
                })
            }
            FieldChange::Retype {
                object,
                name,
                kind,
                words,
                picklist,
            } => self
                .named(object)?
                .retype(name, [kind, words, &picklist.join(";")]),
            FieldChange::PersonAccounts {} | FieldChange::OrderStatuses { .. } => {
                Err("that is no change of one field".to_owned())
            }
        }
    }

    fn named(&mut self, name: &str) -> Result<&mut Object, String> {
        let at = self.by_name.get(&name.to_ascii_lowercase()).copied();
        at.map(|at| &mut self.objects[at])
            .ok_or_else(|| format!("there is no object {name}"))
    }

    /// Takes away what a user may not see or write. Fields that are always there cannot be hidden.
    pub fn restrict(&mut self, object: &str, permissions: &Permissions) -> Result<(), String> {
        let object = self.named(object)?;
        for name in &permissions.hidden {
            let at = object.known(name)?;
            let always = at < super::FIRST_OWN || !object.fields[at].nillable && !object.fields[at].defaulted;
            if always {
                return Err(format!(
                    "{}.{name} is required or a system field, which everybody sees",
                    object.name
                ));
            }
            object.hide(at);
        }
        for name in &permissions.read_only {
            let at = object.known(name)?;
            (object.fields[at].createable, object.fields[at].updateable) = (false, false);
        }
        Ok(())
    }
}

impl Object {
    /// The field goes out of sight and comes back with another type, words and picklist.
    fn retype(&mut self, name: &str, [kind, words, picklist]: [&str; 3]) -> Result<Changed, String> {
        let gone = self.custom_field(name)?;
        let Field {
            name,
            label,
            event_place,
            ..
        } = self.fields[gone].clone();
        self.hide(gone);
        let new = self.put([&name, &label, kind, words, picklist], event_place);
        if new.is_err() {
            self.show(gone);
        }
        Ok(Changed {
            object: self.index,
            gone: Some(gone),
            new: Some(new?),
        })
    }

    fn known(&self, name: &str) -> Result<usize, String> {
        self.field(name)
            .ok_or_else(|| format!("{} has no field {name}", self.name))
    }

    fn custom_field(&self, name: &str) -> Result<usize, String> {
        let at = self.known(name)?;
        if self.fields[at].custom {
            Ok(at)
        } else {
            Err(format!(
                "{}.{name} is a standard field, which cannot be changed",
                self.name
            ))
        }
    }

    fn hide(&mut self, at: usize) {
        self.fields[at].visible = false;
        self.by_name.remove(&self.fields[at].name.to_ascii_lowercase());
    }

    fn show(&mut self, at: usize) {
        self.fields[at].visible = true;
        self.by_name.insert(self.fields[at].name.to_ascii_lowercase(), at);
    }

    /// Half way between a field and the one before it.
    fn place_before(&self, name: &str) -> Result<(u8, u32), String> {
        let (group, place) = self.fields[self.known(name)?].event_place;
        let earlier = self.fields.iter().map(|field| field.event_place);
        let earlier = earlier.filter(|other| other.0 == group && other.1 < place);
        let last = earlier.map(|other| other.1).max();
        let middle = last.map_or(place / 2, |last| last + (place - last) / 2);
        if last == Some(middle) || middle == place {
            return Err(format!("there is no room left before {name}"));
        }
        Ok((group, middle))
    }

    fn last_place(&self) -> (u8, u32) {
        let places = self.fields.iter().map(|field| field.event_place.1);
        (2, places.max().unwrap_or_default() + PLACES_BETWEEN)
    }

    /// Appends a field, given as `objects.json` gives it.
    fn put(&mut self, cells: [&str; 5], event_place: (u8, u32)) -> Result<usize, String> {
        if self.fields.len() >= FIELDS_MAX {
            return Err(format!(
                "{} has reached its limit of {FIELDS_MAX} fields",
                self.name
            ));
        }
        let at = self.fields.len();
        let cells = cells.map(str::to_owned);
        // Without a picklist the cell is left out.
        let given = if cells[4].is_empty() {
            &cells[..4]
        } else {
            &cells[..]
        };
        let new = field(given, self.index, at).map_err(|error| error.to_string())?;
        if new.kind == FieldKind::Boolean {
            let mut unset = self.unset.to_vec();
            unset.push((at as u16, Value::Boolean(false)));
            self.unset = unset.into();
        }
        self.fields.push(Field { event_place, ..new });
        self.show(at);
        Ok(at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn add(name: &str, kind: &str, before: Option<&str>) -> FieldChange {
        FieldChange::Add {
            object: "Account".to_owned(),
            name: name.to_owned(),
            label: None,
            kind: kind.to_owned(),
            words: String::new(),
            picklist: Vec::new(),
            before: before.map(str::to_owned),
        }
    }

    #[test]
    fn fields_come_and_go_and_keep_their_positions() {
        let mut catalog = Catalog::load().unwrap();
        let count = catalog.object("Account").unwrap().fields.len();
        let changed = catalog
            .change(&add("Tier__c", "Text 20", Some("Industry")))
            .unwrap();
        assert_eq!(
            (
                changed[0].new,
                catalog.object("Account").unwrap().field("tier__c")
            ),
            (Some(count), Some(count))
        );
        let remove = FieldChange::Remove {
            object: "Account".to_owned(),
            name: "Tier__c".to_owned(),
        };
        catalog.change(&remove).unwrap();
        assert_eq!(catalog.object("Account").unwrap().field("Tier__c"), None);
        let again = catalog.change(&add("Tier__c", "Boolean", None)).unwrap();
        assert_eq!(
            again[0].new,
            Some(count + 1),
            "a position is never given to another field"
        );
        let account = catalog.object("Account").unwrap();
        assert!(account.unset.iter().any(|(at, _)| usize::from(*at) == count + 1));
    }

    #[test]
    fn what_cannot_be_is_refused_with_a_sentence() {
        let mut catalog = Catalog::load().unwrap();
        let table = [
            (add("Tier", "Text 20", None), "must end with __c"),
            (add("External_ID__c", "Text 20", None), "already has"),
            (add("Tier__c", "Rhyme", None), "does not exist"),
            (add("Tier__c", "Text 20", Some("Nope")), "no field Nope"),
            (
                FieldChange::Remove {
                    object: "Account".to_owned(),
                    name: "Name".to_owned(),
                },
                "standard field",
            ),
            (
                FieldChange::Retype {
                    object: "Account".to_owned(),
                    name: "External_ID__c".to_owned(),
                    kind: "Rhyme".to_owned(),
                    words: String::new(),
                    picklist: Vec::new(),
                },
                "does not exist",
            ),
        ];
        for (change, part) in table {
            let error = catalog.change(&change).unwrap_err();
            assert!(error.contains(part), "{error}");
        }
        assert!(
            catalog
                .object("Account")
                .unwrap()
                .field("External_ID__c")
                .is_some()
        );
        let name = Permissions {
            hidden: vec!["Name".to_owned()],
            read_only: Vec::new(),
        };
        assert!(catalog.restrict("Account", &name).is_err());
    }
}
