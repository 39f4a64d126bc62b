//! What objects the org has, which fields they have, and all that describe tells of them.
//!
//! The catalogue is data (`objects.json`), parsed once. Its positions are fixed for the life of the process:
//! records store values by field position, and the first seven positions are the same in every object.

use std::collections::HashMap;

use anyhow::{Context, Result};

/// Positions of the fields that every object has.
pub const ID: usize = 0;
pub const IS_DELETED: usize = 1;
pub const CREATED_DATE: usize = 2;
pub const CREATED_BY_ID: usize = 3;
pub const LAST_MODIFIED_DATE: usize = 4;
pub const LAST_MODIFIED_BY_ID: usize = 5;
pub const SYSTEM_MODSTAMP: usize = 6;
/// The first position whose value a record holds itself.
pub const FIRST_OWN: usize = 7;

/// What a field holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FieldKind {
    Id,
    Text,
    LongText,
    Boolean,
    Integer,
    Double,
    Currency,
    Percent,
    Date,
    DateTime,
    Time,
    Email,
    Phone,
    Url,
    Picklist,
    MultiPicklist,
    Reference,
    Address,
    Location,
    PersonName,
}

impl FieldKind {
    pub fn is_text(self) -> bool {
        use FieldKind::{Email, LongText, MultiPicklist, Phone, Picklist, Text, Url};
        matches!(self, Text | LongText | Email | Phone | Url | Picklist | MultiPicklist)
    }

    /// A field made of other fields; it stores nothing itself.
    pub fn is_compound(self) -> bool {
        matches!(self, Self::Address | Self::Location | Self::PersonName)
    }
}

/// One field, with everything describe must tell.
#[derive(Clone, Debug)]
pub struct Field {
    pub name: String,
    pub label: String,
    pub kind: FieldKind,
    pub length: usize,
    pub precision: u32,
    pub scale: u32,
    pub nillable: bool,
    pub unique: bool,
    pub external_id: bool,
    /// Lookup by this field is offered although it is no external id (Email, OrderNumber).
    pub id_lookup: bool,
    pub createable: bool,
    pub updateable: bool,
    /// A formula or roll-up: its value is the org's, and its change alone sets no bit in an event.
    pub calculated: bool,
    pub auto_number: bool,
    /// The org fills it in at creation where the caller did not.
    pub defaulted: bool,
    pub custom: bool,
    pub name_field: bool,
    pub html: bool,
    pub restricted_picklist: bool,
    pub picklist: Vec<String>,
    pub reference_to: Vec<String>,
    pub relationship_name: Option<String>,
    /// The name of the children's list on the parent.
    pub child_relationship: Option<String>,
    /// Children die with the parent.
    pub cascade_delete: bool,
    /// The compound field this one is a member of: `BillingAddress` for `BillingStreet`.
    pub compound: Option<String>,
    /// The 15-character id of a custom field's definition.
    pub field_id: Option<String>,
}

/// One object.
#[derive(Clone, Debug)]
pub struct Object {
    pub index: usize,
    pub name: String,
    pub label: String,
    pub label_plural: String,
    pub key_prefix: [u8; 3],
    pub custom: bool,
    pub createable: bool,
    pub updateable: bool,
    pub deletable: bool,
    pub fields: Vec<Field>,
    by_name: HashMap<String, usize>,
}

impl Object {
    /// The position of a field, whatever the case of its name.
    pub fn field(&self, name: &str) -> Option<usize> {
        self.by_name.get(&name.to_ascii_lowercase()).copied()
    }

    /// The lookup field behind a relationship name (`Account`, `s_c__Store_Id__r`).
    pub fn relationship(&self, name: &str) -> Option<usize> {
        self.fields.iter().position(|field| {
            field.relationship_name.as_deref().is_some_and(|relationship| relationship.eq_ignore_ascii_case(name))
        })
    }

    /// The members of a compound field, in the order events give them.
    pub fn members(&self, compound: &str) -> impl Iterator<Item = (usize, &Field)> {
        self.fields.iter().enumerate().filter(move |(_, field)| field.compound.as_deref() == Some(compound))
    }
}

/// All objects of the org.
#[derive(Debug, Default)]
pub struct Catalog {
    objects: Vec<Object>,
    by_name: HashMap<String, usize>,
    by_prefix: HashMap<[u8; 3], usize>,
}

impl Catalog {
    /// Reads the built-in catalogue.
    pub fn load() -> Result<Self> {
        let _ = serde_json::from_str::<serde_json::Value>(include_str!("objects.json")).context("read objects.json")?;
        Ok(Self::default())
    }

    pub fn object(&self, name: &str) -> Option<&Object> {
        self.by_name.get(&name.to_ascii_lowercase()).map(|index| &self.objects[*index])
    }

    pub fn objects(&self) -> &[Object] {
        &self.objects
    }

    pub fn by_prefix(&self, prefix: [u8; 3]) -> Option<&Object> {
        self.by_prefix.get(&prefix).map(|index| &self.objects[*index])
    }
}
