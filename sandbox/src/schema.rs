//! What objects the org has, which fields they have, and all that describe tells of them.
//!
//! The catalogue is data (`objects.json`), parsed once; [`change`] makes the next one of it. A field's position is
//! its own for good: records store values by field position, and the first seven are the same in every object.

pub mod change;
mod source;

use std::collections::HashMap;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use super::value::{RecordId, Value};

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
        matches!(
            self,
            Text | LongText | Email | Phone | Url | Picklist | MultiPicklist
        )
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
    /// A formula or roll-up: its value is the org's.
    pub calculated: bool,
    /// A roll-up is part of an event like any stored field; a formula's change sets no bit there.
    pub roll_up: bool,
    pub auto_number: bool,
    /// The org fills it in at creation where the caller did not.
    pub defaulted: bool,
    /// The picklist value it is filled with, where that is a fixed one.
    pub default_value: Option<String>,
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
    /// False for a field that was removed, or that the user of this catalogue may not see. It keeps its position,
    /// and cannot be found by name.
    pub visible: bool,
    /// Where change events have it: standard fields, the audit fields, custom ones, and the place among those.
    pub event_place: (u8, u32),
    /// What a formula shows, or a roll-up adds up, by names: `Product2Id.Name`, `OrderItem.OrderId.TotalPrice`.
    pub source: Option<String>,
    /// A formula's way: the positions of lookups, each in the object the one before points at, then of the field.
    pub path: Vec<usize>,
}

/// A field that adds up a field of children.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RollUp {
    pub parent: usize,
    pub field: usize,
    pub child: usize,
    pub lookup: usize,
    pub amount: usize,
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
    /// What a field without a stored value holds: checkboxes are never null.
    pub unset: Arc<[(u16, Value)]>,
}

impl Object {
    /// The position of a field, whatever the case of its name.
    pub fn field(&self, name: &str) -> Option<usize> {
        self.by_name.get(&name.to_ascii_lowercase()).copied()
    }

    /// The lookup field behind a relationship name (`Account`, `s_c__Store_Id__r`).
    pub fn relationship(&self, name: &str) -> Option<usize> {
        let named = self.visible().find(|(_, field)| {
            field
                .relationship_name
                .as_deref()
                .is_some_and(|relationship| relationship.eq_ignore_ascii_case(name))
        });
        named.map(|(position, _)| position)
    }

    /// The fields that are there to be seen, with their positions.
    pub fn visible(&self) -> impl Iterator<Item = (usize, &Field)> {
        self.fields.iter().enumerate().filter(|(_, field)| field.visible)
    }

    /// The members of a compound field, in the order events give them.
    pub fn members(&self, compound: &str) -> impl Iterator<Item = (usize, &Field)> {
        self.visible()
            .filter(move |(_, field)| field.compound.as_deref() == Some(compound))
    }
}

/// All objects of the org.
#[derive(Clone, Debug, Default)]
pub struct Catalog {
    objects: Vec<Object>,
    by_name: HashMap<String, usize>,
    by_prefix: HashMap<[u8; 3], usize>,
    roll_ups: Vec<RollUp>,
}

impl Catalog {
    /// Reads the built-in catalogue.
    pub fn load() -> Result<Self> {
        Self::read(include_str!("objects.json"))
    }

    /// Reads a catalogue in the form of `objects.json`.
    pub fn read(text: &str) -> Result<Self> {
        let listed: Vec<Listed> = serde_json::from_str(text).context("read a built-in catalogue")?;
        let mut catalog = Self::default();
        for (index, listed) in listed.into_iter().enumerate() {
            let name = listed.name.clone();
            let object =
                object(index, listed).with_context(|| format!("read {name} of a built-in catalogue"))?;
            catalog.by_name.insert(name.to_ascii_lowercase(), index);
            catalog.by_prefix.insert(object.key_prefix, index);
            catalog.objects.push(object);
        }
        catalog.resolve()?;
        Ok(catalog)
    }

    pub fn roll_ups(&self) -> &[RollUp] {
        &self.roll_ups
    }

    pub fn object(&self, name: &str) -> Option<&Object> {
        self.by_name
            .get(&name.to_ascii_lowercase())
            .map(|index| &self.objects[*index])
    }

    pub fn objects(&self) -> &[Object] {
        &self.objects
    }

    pub fn by_prefix(&self, prefix: [u8; 3]) -> Option<&Object> {
        self.by_prefix.get(&prefix).map(|index| &self.objects[*index])
    }

    /// The object and lookup field behind the name of a list of children (`OrderItems`), whatever its case.
    pub fn child(&self, parent: &Object, name: &str) -> Option<(&Object, usize)> {
        let points_here = |field: &Field| {
            let list = field.child_relationship.as_deref();
            field.visible
                && list.is_some_and(|list| list.eq_ignore_ascii_case(name))
                && field.reference_to.contains(&parent.name)
        };
        self.objects.iter().find_map(|object| {
            let position = object.fields.iter().position(points_here)?;
            Some((object, position))
        })
    }

    /// The object a lookup field points at; every lookup here has one target.
    pub fn target(&self, field: &Field) -> Option<&Object> {
        self.object(field.reference_to.first()?)
    }
}

/// An object as `objects.json` writes it. A field is `[name, label, type, words, picklist]`, the last two
/// optional; the words are the ones of [`apply_word`].
#[derive(Deserialize)]
struct Listed {
    name: String,
    label: String,
    plural: String,
    prefix: String,
    fields: Vec<Vec<String>>,
}

fn object(index: usize, listed: Listed) -> Result<Object> {
    let mut fields = common_fields();
    for (position, cells) in listed.fields.iter().enumerate() {
        let field = field(cells, index, position).with_context(|| format!("field {cells:?}"))?;
        fields.push(field);
    }
    let key_prefix: [u8; 3] = listed
        .prefix
        .as_bytes()
        .try_into()
        .context("a key prefix has three characters")?;
    let by_name = fields
        .iter()
        .enumerate()
        .map(|(at, field)| (field.name.to_ascii_lowercase(), at))
        .collect();
    let unset = fields
        .iter()
        .enumerate()
        .filter(|(at, field)| *at >= FIRST_OWN && field.kind == FieldKind::Boolean);
    let unset = unset.map(|(at, _)| (at as u16, Value::Boolean(false))).collect();
    let fixed = ["User", "Organization", "RecordType", "OrderStatus"].contains(&listed.name.as_str());
    Ok(Object {
        index,
        custom: listed.name.ends_with("__c"),
        name: listed.name,
        label: listed.label,
        label_plural: listed.plural,
        key_prefix,
        createable: !fixed,
        updateable: !fixed,
        deletable: !fixed,
        fields,
        by_name,
        unset,
    })
}

/// The fields of every object, at the positions this module's constants name.
fn common_fields() -> Vec<Field> {
    let rows: [(&str, &str, &str, &str); FIRST_OWN] = [
        ("Id", "Record ID", "Id 18", "readonly default"),
        ("IsDeleted", "Deleted", "Boolean", "readonly default"),
        ("CreatedDate", "Created Date", "DateTime", "readonly default"),
        (
            "CreatedById",
            "Created By ID",
            "Reference User",
            "readonly default relation=CreatedBy",
        ),
        (
            "LastModifiedDate",
            "Last Modified Date",
            "DateTime",
            "readonly default",
        ),
        (
            "LastModifiedById",
            "Last Modified By ID",
            "Reference User",
            "readonly default relation=LastModifiedBy",
        ),
        (
            "SystemModstamp",
            "System Modstamp",
            "DateTime",
            "readonly default",
        ),
    ];
    let rows = rows.map(|(name, label, kind, words)| [name, label, kind, words].map(str::to_owned));
    rows.iter()
        .enumerate()
        .filter_map(|(at, cells)| field(cells, 0, at).ok())
        .map(|field| Field {
            nillable: false,
            event_place: (1, field.event_place.1),
            ..field
        })
        .collect()
}

fn field(cells: &[String], object: usize, position: usize) -> Result<Field> {
    let [name, label, kind_words, rest @ ..] = cells else {
        bail!("a field needs a name, a label and a type")
    };
    let (kind_name, argument) = kind_words.split_once(' ').unwrap_or((kind_words, ""));
    let kind = kind(kind_name)?;
    let custom = name.ends_with("__c") || name.ends_with("__s");
    let mut field = Field {
        name: name.clone(),
        label: label.clone(),
        kind,
        length: 0,
        precision: 0,
        scale: 0,
        nillable: kind != FieldKind::Boolean,
        unique: false,
        external_id: false,
        id_lookup: kind == FieldKind::Id,
        createable: true,
        updateable: true,
        calculated: false,
        roll_up: false,
        auto_number: false,
        defaulted: kind == FieldKind::Boolean,
        default_value: None,
        custom,
        name_field: false,
        html: false,
        restricted_picklist: false,
        picklist: rest
            .get(1)
            .map(|values| values.split(';').map(str::to_owned).collect())
            .unwrap_or_default(),
        reference_to: Vec::new(),
        relationship_name: None,
        child_relationship: None,
        cascade_delete: false,
        compound: None,
        field_id: custom.then(|| {
            RecordId::new(*b"00N", object as u64 * 1000 + position as u64).as_str()[..15].to_owned()
        }),
        visible: true,
        event_place: (
            if custom { 2 } else { 0 },
            position as u32 * change::PLACES_BETWEEN,
        ),
        source: None,
        path: Vec::new(),
    };
    apply_argument(&mut field, argument)?;
    let words = rest.first().map(|words| words.split(' ')).into_iter().flatten();
    for word in words.filter(|word| !word.is_empty()) {
        apply_word(&mut field, word)?;
    }
    Ok(field)
}

/// What stands behind the type: a length, the digits of a number, the objects that a lookup points at.
fn apply_argument(field: &mut Field, argument: &str) -> Result<()> {
    match field.kind {
        FieldKind::Reference => {
            field.length = 18;
            field.reference_to = argument.split_whitespace().map(str::to_owned).collect();
            let stems = (field.name.strip_suffix("__c"), field.name.strip_suffix("Id"));
            field.relationship_name = match stems {
                (Some(stem), _) => Some(format!("{stem}__r")),
                (None, stem) => stem.map(str::to_owned),
            };
        }
        FieldKind::Double | FieldKind::Currency | FieldKind::Percent => {
            let (precision, scale) = argument
                .split_once(',')
                .context("a number needs precision,scale")?;
            (field.precision, field.scale) = (precision.parse()?, scale.parse()?);
        }
        _ if argument.is_empty() => {}
        _ => field.length = argument.parse()?,
    }
    Ok(())
}

fn apply_word(field: &mut Field, word: &str) -> Result<()> {
    match word.split_once('=').unwrap_or((word, "")) {
        ("required", _) => field.nillable = false,
        ("name", _) => field.name_field = true,
        ("external", _) => (field.external_id, field.id_lookup) = (true, true),
        ("unique", _) => field.unique = true,
        ("idlookup", _) => field.id_lookup = true,
        ("createonly", _) => field.updateable = false,
        ("readonly", _) => (field.createable, field.updateable) = (false, false),
        ("formula", _) => {
            (field.calculated, field.createable, field.updateable) = (true, false, false);
        }
        ("rollup", source) => {
            (field.calculated, field.createable, field.updateable) = (true, false, false);
            field.roll_up = true;
            field.source = Some(source.to_owned()).filter(|source| !source.is_empty());
        }
        ("path", source) => field.source = Some(source.to_owned()),
        ("auto", _) => {
            (field.auto_number, field.defaulted, field.nillable) = (true, true, false);
            (field.createable, field.updateable) = (false, false);
        }
        ("default", "") => field.defaulted = true,
        ("default", value) => {
            (field.defaulted, field.default_value) = (true, Some(value.replace('_', " ")));
        }
        ("restricted", _) => field.restricted_picklist = true,
        ("cascade", _) => field.cascade_delete = true,
        ("relation", name) => field.relationship_name = Some(name.to_owned()),
        ("children", name) => field.child_relationship = Some(name.to_owned()),
        ("in", name) => field.compound = Some(name.to_owned()),
        _ => bail!("the word {word:?} means nothing"),
    }
    Ok(())
}

fn kind(name: &str) -> Result<FieldKind> {
    Ok(match name {
        "Id" => FieldKind::Id,
        "Text" => FieldKind::Text,
        "LongText" => FieldKind::LongText,
        "Boolean" => FieldKind::Boolean,
        "Integer" => FieldKind::Integer,
        "Double" => FieldKind::Double,
        "Currency" => FieldKind::Currency,
        "Percent" => FieldKind::Percent,
        "Date" => FieldKind::Date,
        "DateTime" => FieldKind::DateTime,
        "Time" => FieldKind::Time,
        "Email" => FieldKind::Email,
        "Phone" => FieldKind::Phone,
        "Url" => FieldKind::Url,
        "Picklist" => FieldKind::Picklist,
        "MultiPicklist" => FieldKind::MultiPicklist,
        "Reference" => FieldKind::Reference,
        "Address" => FieldKind::Address,
        "Location" => FieldKind::Location,
        "PersonName" => FieldKind::PersonName,
        _ => bail!("the type {name:?} does not exist"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_catalogue_reads_and_holds_together() {
        let catalog = Catalog::load().unwrap();
        assert!(catalog.objects().len() > 60);
        for object in catalog.objects() {
            assert_eq!(catalog.by_prefix(object.key_prefix).unwrap().name, object.name);
            assert_eq!(object.fields[SYSTEM_MODSTAMP].name, "SystemModstamp");
            for field in &object.fields {
                if field.kind == FieldKind::Reference {
                    assert!(catalog.target(field).is_some(), "{}.{}", object.name, field.name);
                    assert!(
                        field.relationship_name.is_some(),
                        "{}.{}",
                        object.name,
                        field.name
                    );
                }
                if let Some(compound) = &field.compound {
                    assert!(object.field(compound).is_some(), "{}.{}", object.name, field.name);
                }
            }
        }
    }

    #[test]
    fn fields_and_relationships_are_found_in_any_case() {
        let catalog = Catalog::load().unwrap();
        let order = catalog.object("ORDER").unwrap();
        assert_eq!(order.fields[order.field("accountid").unwrap()].name, "AccountId");
        assert_eq!(
            order.fields[order.relationship("S_C__store_id__R").unwrap()].name,
            "s_c__Store_Id__c"
        );
        let status = &order.fields[order.field("External_ID__c").unwrap()];
        assert!(status.unique && status.external_id && status.createable);
        assert!(
            catalog
                .object("Case")
                .unwrap()
                .fields
                .iter()
                .any(|f| f.default_value.as_deref() == Some("New"))
        );
    }
}
