//! What the objects that are written look like in the org: the key fields, and which fields may be set.
//!
//! Orgs differ in features and permissions, so nothing is sent that describe does not show as createable.
//! Without a unique external id on orders, accounts and contacts nothing is sent at all: a retry could double
//! an order, and no other field can prevent that.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::model::id;
use crate::model::order::Problem;
use crate::outbound::limits::Limits;
use crate::salesforce::describe::{Describe, Field};
use crate::salesforce::setup::{self, PersonType};
use crate::salesforce::{Error, Org};

/// Tried in this order where the configuration names none.
const KEY_FIELDS: [&str; 2] = ["External_ID__c", "s_c__sC_Id__c"];

/// The objects that an order is written to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Shape {
    pub order: Writable,
    pub account: Writable,
    pub contact: Writable,
    pub item: Writable,
    /// The status of a new order.
    pub draft_status: String,
    pub persons: Persons,
    /// The objects of other writes, as far as the org has them, by name in lower case.
    others: BTreeMap<String, Writable>,
    /// The objects of the org, by the first three characters of their ids.
    #[serde(default)]
    key_prefixes: BTreeMap<String, String>,
}

/// Which record type makes an account a person's.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Persons {
    /// The one that the org gives by itself.
    #[default]
    Default,
    /// The one with this id.
    Type(String),
    /// None that the user may use: a sentence says what to do.
    Unavailable(String),
}

/// One object: its key and what it takes in each field.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Writable {
    pub object: String,
    /// Always there but for items.
    pub key_field: Option<Key>,
    /// Whether a record that was merged away tells into which.
    pub tells_of_merges: bool,
    /// By the name in lower case.
    fields: BTreeMap<String, Limits>,
}

/// A unique external id.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Key {
    pub field: String,
    pub length: u32,
    /// Whether it may be changed later: what marks how far a long order has come, where its items have no keys.
    pub updateable: bool,
}

const NO_DRAFT: &str = "orders cannot be sent: the org shows the user no order status of the category Draft; give Order.Status such a value in the org's setup, or give the user access to it";

fn persons(found: PersonType) -> Persons {
    match found {
        PersonType::Default { .. } => Persons::Default,
        PersonType::Named { id, .. } => Persons::Type(id),
        PersonType::Unavailable { names } => Persons::Unavailable(setup::no_person_type(&names)),
    }
}

/// Why there is no shape.
#[derive(Debug, thiserror::Error)]
pub enum ShapeError {
    #[error("the org's order objects cannot be described")]
    Org(#[from] Error),
    /// The org is not set up for orders; says what to change.
    #[error("{0}")]
    Misfit(String),
}

impl Writable {
    /// The name of a field that may be set, as the org writes it.
    pub fn createable(&self, field: &str) -> Option<&str> {
        let limits = self.limits(field).filter(|limits| limits.createable);
        limits.map(|limits| limits.name.as_str())
    }

    /// What the org takes in a field that the user may see.
    pub fn limits(&self, field: &str) -> Option<&Limits> {
        self.fields.get(&field.to_ascii_lowercase())
    }

    /// What the org takes in all fields.
    pub fn all(&self) -> impl Iterator<Item = &Limits> {
        self.fields.values()
    }

    pub fn of(describe: &Describe, configured: Option<&str>) -> Self {
        let key = candidates(configured)
            .filter_map(|name| describe.field(name))
            .find(|field| is_key(field));
        Self {
            object: describe.name.clone(),
            key_field: key.map(|field| Key {
                field: field.name.clone(),
                length: field.length,
                updateable: field.updateable,
            }),
            tells_of_merges: describe.field("MasterRecordId").is_some(),
            fields: describe
                .fields
                .iter()
                .map(|field| {
                    (
                        field.name.to_ascii_lowercase(),
                        Limits::in_object(field, &describe.name),
                    )
                })
                .collect(),
        }
    }

    fn with_key(describe: &Describe, configured: Option<&str>) -> Result<Self, ShapeError> {
        let writable = Self::of(describe, configured);
        match writable.key_field {
            Some(_) => Ok(writable),
            None => Err(ShapeError::Misfit(misfit(describe, configured))),
        }
    }
}

/// The configured field alone, else those that are usual.
fn candidates(configured: Option<&str>) -> impl Iterator<Item = &str> {
    let usual = KEY_FIELDS.into_iter().filter(move |_| configured.is_none());
    configured.into_iter().chain(usual)
}

fn is_key(field: &Field) -> bool {
    field.external_id && field.unique && field.createable
}

/// Says which property the key field lacks.
fn misfit(describe: &Describe, configured: Option<&str>) -> String {
    let object = &describe.name;
    let Some((name, field)) =
        candidates(configured).find_map(|name| describe.field(name).map(|field| (name, field)))
    else {
        let wanted = configured.map_or(KEY_FIELDS.join(" or "), str::to_owned);
        return format!(
            "orders cannot be sent: {object} has no field {wanted} that the user may see; make it a unique external id there, or set orders.external_id_field"
        );
    };
    let lacks: Vec<&str> = [
        (!field.external_id, "an external id"),
        (!field.unique, "unique"),
        (!field.createable, "writable by the user"),
    ]
    .into_iter()
    .filter_map(|(lacking, what)| lacking.then_some(what))
    .collect();
    format!(
        "orders cannot be sent: {object}.{name} is not {}; change the field in the org, or set orders.external_id_field",
        lacks.join(" and not ")
    )
}

impl Shape {
    /// Asks the org. `key_field` is that of the configuration; `others` are objects that it need not have.
    pub async fn load(org: &Org, key_field: Option<&str>, others: &[&str]) -> Result<Self, ShapeError> {
        let describe = async |object: &str| {
            org.describe(object).await?.ok_or_else(|| {
                ShapeError::Misfit(format!(
                    "orders cannot be sent: the org has no object {object} that the user may see; enable orders in the org's setup and give the user access"
                ))
            })
        };
        let (order, account, contact, item) = tokio::try_join!(
            describe("Order"),
            describe("Account"),
            describe("Contact"),
            describe("OrderItem"),
        )?;
        let mut shape = Self::of(&order, &account, &contact, &item, key_field)?;
        let statuses = org.order_statuses().await?;
        let label = setup::draft_label(statuses.as_deref(), order.field("Status"));
        shape.draft_status = label.ok_or_else(|| ShapeError::Misfit(NO_DRAFT.to_owned()))?;
        shape.persons = org.person_type(&account).await?.map_or(Persons::Default, persons);
        let found = others.iter().map(|object| org.describe(object));
        for describe in futures_util::future::try_join_all(found)
            .await?
            .into_iter()
            .flatten()
        {
            shape.add(&describe, key_field);
        }
        shape.key_prefixes = org.key_prefixes().await?;
        Ok(shape)
    }

    /// Adds an object that only some writes need.
    pub fn add(&mut self, describe: &Describe, key_field: Option<&str>) {
        // Objects of a package have that package's key, whatever orders have.
        let own = key_field.filter(|field| describe.field(field).is_some());
        self.others
            .insert(describe.name.to_ascii_lowercase(), Writable::of(describe, own));
    }

    /// An object by name.
    pub fn object(&self, name: &str) -> Result<&Writable, Problem> {
        let main = [&self.order, &self.account, &self.contact, &self.item];
        let found = main
            .into_iter()
            .find(|writable| writable.object.eq_ignore_ascii_case(name))
            .or_else(|| self.others.get(&name.to_ascii_lowercase()));
        found.ok_or_else(|| {
            Problem::new(
                "NO_OBJECT",
                format!("the org has no object {name} that the user may see: give the user access to it, then retry"),
            )
        })
    }

    /// The object that an id is of, as far as that can be told.
    pub fn object_of(&self, id: &str) -> Option<&str> {
        let own = self.key_prefixes.get(id::prefix(id)?).map(String::as_str);
        own.or_else(|| id::standard_object(id))
    }

    /// Whether a text has the form of an id, and is not one of another object, as far as that can be told.
    pub fn is_id_of(&self, text: &str, object: &str) -> bool {
        let is_known = || {
            let mut known = self.key_prefixes.values().map(String::as_str);
            known.any(|known| known.eq_ignore_ascii_case(object)) || id::has_standard_prefix(object)
        };
        id::is_id(text)
            && match self.object_of(text) {
                Some(own) => own.eq_ignore_ascii_case(object),
                None => !is_known(),
            }
    }

    /// Whether each item of an order can have a key of its own.
    pub fn items_have_keys(&self) -> bool {
        self.item.key_field.is_some()
    }

    pub fn of(
        order: &Describe,
        account: &Describe,
        contact: &Describe,
        item: &Describe,
        key_field: Option<&str>,
    ) -> Result<Self, ShapeError> {
        Ok(Self {
            order: Writable::with_key(order, key_field)?,
            account: Writable::with_key(account, key_field)?,
            contact: Writable::with_key(contact, key_field)?,
            // Items need no key: they are made in the same transaction as their order.
            item: Writable::of(item, key_field),
            draft_status: setup::draft_label(None, order.field("Status")).unwrap_or_default(),
            persons: Persons::Default,
            others: BTreeMap::new(),
            key_prefixes: BTreeMap::new(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Name, external id, unique, createable.
    type FieldCase = (&'static str, bool, bool, bool);

    fn describe(object: &str, fields: &[FieldCase]) -> Describe {
        let fields = fields
            .iter()
            .map(|&(name, external_id, unique, createable)| Field {
                name: name.to_owned(),
                kind: "string".to_owned(),
                length: 36,
                external_id,
                unique,
                createable,
                updateable: createable,
                nillable: true,
                ..Field::default()
            });
        Describe {
            name: object.to_owned(),
            label: object.to_owned(),
            key_prefix: None,
            queryable: true,
            createable: true,
            updateable: true,
            record_types: Vec::new(),
            fields: fields.collect(),
        }
    }

    #[test]
    fn takes_the_first_field_that_can_be_a_key() {
        let both = describe(
            "Order",
            &[
                ("External_ID__c", true, false, true),
                ("s_c__sC_Id__c", true, true, true),
            ],
        );
        let writable = Writable::with_key(&both, None).unwrap();
        assert_eq!(
            writable.key_field,
            Some(Key {
                field: "s_c__sC_Id__c".to_owned(),
                length: 36,
                updateable: true,
            })
        );
        assert_eq!(writable.createable("external_id__C"), Some("External_ID__c"));
        assert!(Writable::with_key(&both, Some("External_ID__c")).is_err());
    }

    #[test]
    fn says_what_the_key_lacks() {
        let cases: [(&[FieldCase], Option<&str>, &str); 4] = [
            (&[], None, "Order has no field External_ID__c or s_c__sC_Id__c"),
            (&[], Some("Web_Key__c"), "Order has no field Web_Key__c"),
            (
                &[("External_ID__c", true, false, true)],
                None,
                "Order.External_ID__c is not unique;",
            ),
            (
                &[("Web_Key__c", false, true, false)],
                Some("Web_Key__c"),
                "Order.Web_Key__c is not an external id and not writable by the user;",
            ),
        ];
        for (fields, configured, sentence) in cases {
            let error = Writable::with_key(&describe("Order", fields), configured)
                .unwrap_err()
                .to_string();
            assert!(error.contains(sentence), "{error}");
        }
    }
}
