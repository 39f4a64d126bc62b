//! Change events in the platform's Avro form: the schema of an object's events, and their payloads.
//!
//! The shape follows the captured schemas: the header first and not nullable, then every field as a union with
//! null, compound fields as named records that are defined where they first occur. Nothing here is shared with
//! the code that reads events, so that one cannot hide a mistake of the other.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value as Json, json};

use super::org::Record;
use super::schema::{self, Field, FieldKind, Object};
use super::value::Value;

/// The kinds of change, in the order of the schema's enum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChangeType {
    Create = 0,
    Update = 1,
    Delete = 2,
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
            slots.push(match field.kind.is_compound() {
                true => Slot::Compound {
                    kind: field.kind,
                    members,
                },
                false => Slot::Plain(position),
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

    /// A creation: every value the record has.
    pub fn created(&self, object: &Object, header: &Header<'_>, record: &Record) -> Vec<u8> {
        // The platform leaves the audit fields out when a price book entry is created.
        let left_out = |position| {
            object.name == "PricebookEntry"
                && (schema::CREATED_DATE..=schema::LAST_MODIFIED_BY_ID).contains(&position)
        };
        self.write(header, &[], &[], |position| {
            record.get(position).filter(|_| !left_out(position))
        })
    }

    /// A deletion: no value at all.
    pub fn deleted(&self, header: &Header<'_>) -> Vec<u8> {
        self.write(header, &[], &[], |_| None)
    }

    /// A change: the changed values, and those of formulas, which set no bit.
    pub fn updated(&self, object: &Object, header: &Header<'_>, before: &Record, after: &Record) -> Vec<u8> {
        let stamp = schema::LAST_MODIFIED_DATE;
        let formula = |position: usize| {
            let field = &object.fields[position];
            field.calculated && !field.roll_up
        };
        let mut changed: Vec<usize> = (schema::CREATED_DATE..object.fields.len())
            .filter(|at| *at == stamp || (before.get(*at) != after.get(*at) && !formula(*at)))
            .collect();
        self.complete_locations(&mut changed);
        let is_changed = |position: &usize| changed.binary_search(position).is_ok();
        let changed_fields = self.bitmaps(is_changed);
        let nulled_fields = self.bitmaps(|position| is_changed(position) && after.get(*position).is_none());
        self.write(header, &nulled_fields, &changed_fields, |position| {
            after
                .get(position)
                .filter(|_| is_changed(&position) || formula(position))
        })
    }

    /// A change to one component of a location publishes both.
    fn complete_locations(&self, changed: &mut Vec<usize>) {
        for slot in &self.slots {
            if let Slot::Compound {
                kind: FieldKind::Location,
                members,
            } = slot
                && members.iter().any(|member| changed.contains(member))
            {
                changed.extend(members);
            }
        }
        changed.sort_unstable();
        changed.dedup();
    }

    /// The bitmaps of a set of field positions: top level first, then one per compound field.
    fn bitmaps(&self, holds: impl Fn(&usize) -> bool) -> Vec<String> {
        let mut top = Vec::new();
        let mut nested = BTreeMap::new();
        for (at, slot) in self.slots.iter().enumerate() {
            match slot {
                Slot::Plain(position) if holds(position) => top.push(at + 1),
                Slot::Plain(_) => {}
                Slot::Compound { members, .. } => {
                    let bits: Vec<usize> = members
                        .iter()
                        .enumerate()
                        .filter(|(_, member)| holds(member))
                        .map(|(bit, _)| bit)
                        .collect();
                    if !bits.is_empty() {
                        nested.insert(at + 1, bits);
                    }
                }
            }
        }
        let top = (!top.is_empty()).then(|| bitmap(&top));
        top.into_iter()
            .chain(
                nested
                    .into_iter()
                    .map(|(parent, bits)| format!("{parent}-{}", bitmap(&bits))),
            )
            .collect()
    }

    fn write<'r>(
        &self,
        header: &Header<'_>,
        nulled: &[String],
        changed: &[String],
        value: impl Fn(usize) -> Option<&'r Value>,
    ) -> Vec<u8> {
        let mut out = Vec::with_capacity(256);
        write_header(&mut out, &self.entity_name, header, nulled, changed);
        for slot in &self.slots {
            match slot {
                Slot::Plain(position) => write_nullable(&mut out, value(*position)),
                Slot::Compound { members, .. } if members.iter().all(|member| value(*member).is_none()) => {
                    write_long(&mut out, 0);
                }
                Slot::Compound { members, .. } => {
                    write_long(&mut out, 1);
                    members
                        .iter()
                        .for_each(|member| write_nullable(&mut out, value(*member)));
                }
            }
        }
        out
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
/// compound field stand inside it; Id, IsDeleted and SystemModstamp are no event fields.
fn event_order(object: &Object) -> Vec<usize> {
    let own = (schema::FIRST_OWN..object.fields.len()).filter(|at| object.fields[*at].compound.is_none());
    let (mut order, custom): (Vec<usize>, Vec<usize>) = own.partition(|at| !object.fields[*at].custom);
    order.extend(schema::CREATED_DATE..=schema::LAST_MODIFIED_BY_ID);
    order.extend(custom);
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

fn write_header(out: &mut Vec<u8>, entity: &str, header: &Header<'_>, nulled: &[String], changed: &[String]) {
    write_string(out, entity);
    write_strings(out, &header.record_ids);
    write_long(out, header.change_type as i64);
    write_string(out, header.change_origin);
    write_string(out, header.transaction_key);
    write_long(out, header.sequence_number);
    write_long(out, header.commit_timestamp);
    write_long(out, header.commit_number);
    write_string(out, header.commit_user);
    write_strings(out, nulled);
    write_strings::<&str>(out, &[]);
    write_strings(out, changed);
}

fn write_strings<S: AsRef<str>>(out: &mut Vec<u8>, items: &[S]) {
    if !items.is_empty() {
        write_long(out, items.len() as i64);
        items.iter().for_each(|item| write_string(out, item.as_ref()));
    }
    write_long(out, 0);
}

/// The value branch is always the first after null: of Account.Name that is the string.
fn write_nullable(out: &mut Vec<u8>, value: Option<&Value>) {
    let Some(value) = value else {
        return write_long(out, 0);
    };
    write_long(out, 1);
    match value {
        Value::Boolean(flag) => out.push(u8::from(*flag)),
        Value::Integer(number) => write_long(out, *number),
        Value::Double(number) => out.extend(number.to_le_bytes()),
        Value::Text(text) => write_string(out, text),
        Value::Id(id) => write_string(out, id.as_str()),
        Value::Date(millis) | Value::DateTime(millis) | Value::Time(millis) => write_long(out, *millis),
    }
}

fn write_string(out: &mut Vec<u8>, text: &str) {
    write_long(out, text.len() as i64);
    out.extend(text.as_bytes());
}

/// Zigzag, then seven bits a byte, the lowest first.
fn write_long(out: &mut Vec<u8>, number: i64) {
    let mut rest = ((number << 1) ^ (number >> 63)) as u64;
    while rest >= 0x80 {
        out.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sandbox::schema::Catalog;

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
