//! Change events in the platform's Avro form: the schema of an object's events, and their payloads.
//!
//! The shape follows the captured schemas: the header first and not nullable, then every field as a union with
//! null, compound fields as named records that are defined where they first occur. Nothing here is shared with
//! the code that reads events, so that one cannot hide a mistake of the other. `body` writes what a record
//! became, `diff` how a long text changed.

mod body;
mod diff;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value as Json, json};

pub use self::body::{Body, Seen};
use super::schema::{self, Field, FieldKind, Object};

/// The kinds of change, in the order of the schema's enum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChangeType {
    Create = 0,
    Update = 1,
    Delete = 2,
    Undelete = 3,
    GapCreate = 4,
    GapUpdate = 5,
    GapDelete = 6,
    GapUndelete = 7,
    GapOverflow = 8,
}

impl ChangeType {
    /// The kind of an event that says that something happened, and not what.
    pub fn gap(self) -> Self {
        match self {
            Self::Create => Self::GapCreate,
            Self::Update => Self::GapUpdate,
            Self::Delete => Self::GapDelete,
            Self::Undelete => Self::GapUndelete,
            gap => gap,
        }
    }
}

const CHANGE_TYPES: [&str; 10] = [
    "CREATE",
    "UPDATE",
    "DELETE",
    "UNDELETE",
    "GAP_CREATE",
    "GAP_UPDATE",
    "GAP_DELETE",
    "GAP_UNDELETE",
    "GAP_OVERFLOW",
    "SNAPSHOT",
];

/// What a ChangeEventHeader says beside the bitmaps.
#[derive(Clone, Debug)]
pub struct Header<'a> {
    pub record_ids: Vec<&'a str>,
    pub change_type: ChangeType,
    pub change_origin: &'a str,
    pub transaction_key: &'a str,
    pub sequence_number: i64,
    pub commit_timestamp: i64,
    pub commit_number: i64,
    pub commit_user: &'a str,
}

/// A field of an event, at its Avro position less one.
#[derive(Clone, Debug)]
enum Slot {
    Plain(usize),
    /// `Account.Name`: a text, or the name of a person by its members.
    Switchable {
        name: usize,
        members: Vec<usize>,
    },
    /// A compound field, by its members in record order.
    Compound {
        kind: FieldKind,
        members: Vec<usize>,
    },
}

/// The schema of an object's change events, and how to write them.
#[derive(Clone, Debug)]
pub struct EventSchema {
    /// The token GetSchema is asked with: a hash of the JSON.
    pub id: String,
    pub json: String,
    /// `AccountChangeEvent`, `s_c__Store__ChangeEvent`.
    pub event_name: String,
    entity_name: String,
    slots: Vec<Slot>,
}

/// `AccountChangeEvent`; a custom object's event drops the `c` of its suffix.
pub fn event_name(object: &str) -> String {
    match object.strip_suffix("__c") {
        Some(stem) => format!("{stem}__ChangeEvent"),
        None => format!("{object}ChangeEvent"),
    }
}

impl EventSchema {
    pub fn new(object: &Object) -> Self {
        let event_name = event_name(&object.name);
        let mut fields = vec![header_field()];
        let mut defined = Vec::new();
        let mut slots = Vec::new();
        for position in event_order(object) {
            let field = &object.fields[position];
            let members: Vec<usize> = object.members(&field.name).map(|(at, _)| at).collect();
            fields.push(event_field(object, field, &members, &mut defined));
            slots.push(match field.kind {
                kind if kind.is_compound() => Slot::Compound { kind, members },
                _ if members.is_empty() => Slot::Plain(position),
                _ => Slot::Switchable {
                    name: position,
                    members,
                },
            });
        }
        let record = json!({"type": "record", "name": event_name, "namespace": "com.sforce.eventbus", "fields": fields});
        let json = record.to_string();
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, json.as_bytes());
        let id = URL_SAFE_NO_PAD.encode(&digest.as_ref()[..16]);
        Self {
            id,
            json,
            event_name,
            entity_name: object.name.clone(),
            slots,
        }
    }
}

/// The bits as big-endian upper-case hex without leading zero bytes.
pub fn bitmap(bits: &[usize]) -> String {
    let length = bits.iter().max().map_or(0, |highest| highest / 8 + 1);
    let mut bytes = vec![0u8; length];
    for bit in bits {
        bytes[length - 1 - bit / 8] |= 1 << (bit % 8);
    }
    let digits = bytes.iter().map(|byte| format!("{byte:02X}")).collect::<String>();
    format!("0x{digits}")
}

/// Field positions in the order events have them: standard ones, the audit fields, custom ones. Members of a
/// compound field stand inside it; Id, IsDeleted, SystemModstamp and MasterRecordId are no event fields.
fn event_order(object: &Object) -> Vec<usize> {
    let left_out = [schema::ID, schema::IS_DELETED, schema::SYSTEM_MODSTAMP];
    let told = object.visible().filter(|(at, field)| {
        field.compound.is_none() && !left_out.contains(at) && field.name != "MasterRecordId"
    });
    let mut order: Vec<usize> = told.map(|(at, _)| at).collect();
    order.sort_by_key(|at| object.fields[*at].event_place);
    order
}

fn header_field() -> Json {
    let strings = json!({"type": "array", "items": "string"});
    let mut fields = vec![
        json!({"name": "entityName", "type": "string"}),
        json!({"name": "recordIds", "type": strings}),
        json!({"name": "changeType", "type": {"type": "enum", "name": "ChangeType", "symbols": CHANGE_TYPES}}),
    ];
    let plain = [
        ("changeOrigin", "string"),
        ("transactionKey", "string"),
        ("sequenceNumber", "int"),
        ("commitTimestamp", "long"),
        ("commitNumber", "long"),
        ("commitUser", "string"),
    ];
    fields.extend(plain.map(|(name, kind)| json!({"name": name, "type": kind})));
    fields.extend(
        ["nulledFields", "diffFields", "changedFields"].map(|name| json!({"name": name, "type": strings})),
    );
    let record = json!({"type": "record", "name": "ChangeEventHeader", "fields": fields});
    json!({"name": "ChangeEventHeader", "type": record, "doc": "Data:ComplexValueType"})
}

fn event_field(object: &Object, field: &Field, members: &[usize], defined: &mut Vec<&'static str>) -> Json {
    let (avro, meaning) = match field.kind {
        FieldKind::Address => (named("Address", object, members, defined), "Data:Address"),
        FieldKind::Location => (named("Location", object, members, defined), "Data:Location"),
        FieldKind::PersonName => (named("PersonName", object, members, defined), "Data:PersonName"),
        _ if object.name == "Account" && field.name == "Name" => {
            let parts = ["Salutation", "FirstName", "LastName"].map(|name| nullable(name, "string"));
            let person = json!({"type": "record", "name": "Switchable_PersonName", "fields": parts});
            let kinds = json!(["null", "string", person]);
            return json!({"name": "Name", "type": kinds, "doc": "Data:Switchable_PersonName", "default": null});
        }
        _ => (Json::from(avro_type(field.kind)), meaning(field)),
    };
    let doc = match &field.field_id {
        Some(id) => format!("{meaning}:{id}"),
        None => meaning.to_owned(),
    };
    json!({"name": field.name, "type": ["null", avro], "doc": doc, "default": null})
}

/// A record type: defined at its first use, named afterwards.
fn named(name: &'static str, object: &Object, members: &[usize], defined: &mut Vec<&'static str>) -> Json {
    if defined.contains(&name) {
        return Json::from(name);
    }
    defined.push(name);
    let fields = members.iter().map(|at| &object.fields[*at]);
    let fields: Vec<Json> = fields
        .map(|field| nullable(member_name(field), avro_type(field.kind)))
        .collect();
    json!({"type": "record", "name": name, "fields": fields})
}

/// `BillingStreet` is the member `Street` of `BillingAddress`.
fn member_name(field: &Field) -> &str {
    if field.name.ends_with("__Latitude__s") {
        return "Latitude";
    }
    if field.name.ends_with("__Longitude__s") {
        return "Longitude";
    }
    let stem = field
        .compound
        .as_deref()
        .and_then(|compound| compound.strip_suffix("Address"));
    stem.and_then(|stem| field.name.strip_prefix(stem))
        .unwrap_or(&field.name)
}

fn nullable(name: &str, kind: &str) -> Json {
    json!({"name": name, "type": ["null", kind], "default": null})
}

fn avro_type(kind: FieldKind) -> &'static str {
    match kind {
        FieldKind::Boolean => "boolean",
        FieldKind::Integer => "int",
        FieldKind::Double | FieldKind::Currency | FieldKind::Percent => "double",
        FieldKind::Date | FieldKind::DateTime | FieldKind::Time => "long",
        _ => "string",
    }
}

fn meaning(field: &Field) -> &'static str {
    match field.kind {
        FieldKind::Boolean => "Data:Boolean",
        FieldKind::Integer => "Data:Integer",
        FieldKind::Double => "Data:Double",
        FieldKind::Currency => "Data:Currency",
        FieldKind::Percent => "Data:Percent",
        FieldKind::Date => "Data:DateOnly",
        FieldKind::DateTime if field.name == "CreatedDate" => "CreatedDate:DateTime",
        FieldKind::DateTime => "Data:DateTime",
        FieldKind::Time => "Data:TimeOnly",
        FieldKind::Email => "Data:Email",
        FieldKind::Phone => "Data:Phone",
        FieldKind::Url => "Data:Url",
        FieldKind::Picklist if field.name == "StatusCode" => "Data:StaticEnum",
        FieldKind::Picklist => "Data:DynamicEnum",
        FieldKind::MultiPicklist => "Data:MultiEnum",
        FieldKind::LongText => "Data:StringPlusClob",
        FieldKind::Reference | FieldKind::Id => "ForeignKey:EntityId",
        _ => "Data:Text",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::Catalog;

    #[test]
    fn bitmaps_are_written_as_the_platform_writes_them() {
        let table: [(&[usize], &str); 5] = [
            (&[11, 22], "0x400800"),
            (&[16, 22], "0x410000"),
            (&[0], "0x01"),
            (&[1, 23], "0x800002"),
            (&[68, 23], "0x100000000000800000"),
        ];
        for (bits, text) in table {
            assert_eq!(bitmap(bits), text);
        }
    }

    #[test]
    fn every_schema_is_read_by_the_reference_reader() {
        let catalog = Catalog::load().unwrap();
        for object in catalog.objects() {
            let schema = EventSchema::new(object);
            assert_eq!(schema.id.len(), 22);
            apache_avro::Schema::parse_str(&schema.json).unwrap_or_else(|e| panic!("{}: {e}", object.name));
        }
    }

    #[test]
    fn names_follow_the_platform() {
        let catalog = Catalog::load().unwrap();
        let schema = EventSchema::new(catalog.object("s_c__Store__c").unwrap());
        assert_eq!(schema.event_name, "s_c__Store__ChangeEvent");
        let json: Json =
            serde_json::from_str(&EventSchema::new(catalog.object("Account").unwrap()).json).unwrap();
        let fields = json["fields"].as_array().unwrap();
        let named = |name: &str| fields.iter().find(|field| field["name"] == name).unwrap();
        assert_eq!(fields[0]["name"], "ChangeEventHeader");
        assert_eq!(named("ShippingAddress")["type"], json!(["null", "Address"]));
        assert_eq!(named("BillingAddress")["type"][1]["fields"][0]["name"], "Street");
        assert_eq!(named("Name")["type"][2]["name"], "Switchable_PersonName");
        assert!(
            named("External_ID__c")["doc"]
                .as_str()
                .unwrap()
                .starts_with("Data:Text:00N")
        );
    }
}
