//! The sandbox's event writer held against two readers: apache-avro, and the daemon's.
//!
//! Objects are made up by a seed, with every type of field, compound fields, formulas and more than 64 fields; so
//! are rows. What the event must say is worked out from the rows alone, and both readers must find it. The objects
//! of the sandbox itself go through the same.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use apache_avro::types::Value as Avro;
use fastrand::Rng;
use serde_json::{Value as Json, json};
use storesync::inbound::decode::{Bits, Change, EventSchema as Reader};
use storesync::model::row;
use storesync_sandbox::avro::{Body, ChangeType, EventSchema, Header, Seen};
use storesync_sandbox::org::records::Shared;
use storesync_sandbox::org::{Record, Records};
use storesync_sandbox::schema::{self, Catalog, Field, FieldKind, Object};
use storesync_sandbox::value::{RecordId, Value};

/// Paths and values, written alike for all sources.
type Values = BTreeMap<String, String>;
type Paths = BTreeSet<String>;

const TYPES: [&str; 17] = [
    "Text 80",
    "LongText 500",
    "Boolean",
    "Integer",
    "Double 18,2",
    "Currency 16,2",
    "Percent 5,2",
    "Date",
    "DateTime",
    "Time",
    "Email",
    "Phone",
    "Url 255",
    "Picklist 40",
    "MultiPicklist 200",
    "Reference Thing__c",
    "Double 18,0",
];

/// An object in the words of the sandbox's catalogue.
fn random_object(rng: &mut Rng) -> Catalog {
    let custom = rng.bool();
    let mut fields = Vec::new();
    let plain = |rng: &mut Rng, fields: &mut Vec<Json>| {
        let number = fields.len();
        let kind = TYPES[rng.usize(..TYPES.len())];
        let suffix = if rng.bool() { "__c" } else { "" };
        let stem = if kind.starts_with("Reference") && suffix.is_empty() {
            "Id"
        } else {
            ""
        };
        let words = if rng.u8(..8) == 0 { "formula" } else { "" };
        fields.push(json!([format!("F{number}{stem}{suffix}"), "label", kind, words]));
    };
    let parts: Vec<(&str, &str)> = [
        ("Street", "Text 255"),
        ("City", "Text 40"),
        ("Latitude", "Double 18,15"),
    ]
    .into_iter()
    .chain([("GeocodeAccuracy", "Picklist 40"), ("CountryCode", "Text 10")])
    .filter(|_| rng.u8(..3) > 0)
    .chain([("PostalCode", "Text 20")])
    .collect();
    for compound in 0..rng.usize(..4) {
        (0..rng.usize(..8)).for_each(|_| plain(rng, &mut fields));
        fields.push(json!([
            format!("P{compound}Address"),
            "label",
            "Address",
            "readonly"
        ]));
        for (part, kind) in &parts {
            fields.push(json!([
                format!("P{compound}{part}"),
                "label",
                kind,
                format!("in=P{compound}Address")
            ]));
        }
    }
    for compound in 0..rng.usize(..3) {
        let name = format!("S{compound}__c");
        fields.push(json!([name, "label", "Location", "readonly"]));
        for part in ["Latitude", "Longitude"] {
            let member = format!("S{compound}__{part}__s");
            fields.push(json!([member, "label", "Double 18,15", format!("in={name}")]));
        }
        (0..rng.usize(..8)).for_each(|_| plain(rng, &mut fields));
    }
    if rng.bool() {
        fields.push(json!(["Name", "label", "PersonName", "readonly name"]));
        for part in ["Salutation", "FirstName", "LastName"] {
            fields.push(json!([part, "label", "Text 40", "in=Name"]));
        }
    }
    (0..rng.usize(..90)).for_each(|_| plain(rng, &mut fields));
    let name = if custom { "Thing__c" } else { "Thing" };
    let target = if custom { "Thing" } else { "Thing__c" };
    let object = |name: &str, prefix: &str, fields: &[Json]| json!({"name": name, "label": "Thing", "plural": "Things", "prefix": prefix, "fields": fields});
    let listed = json!([object(name, "a0X", &fields), object(target, "a0Y", &[])]);
    Catalog::read(&listed.to_string()).unwrap()
}

fn random_value(rng: &mut Rng, kind: FieldKind) -> Value {
    const TEXTS: [&str; 5] = ["", "Tea", "Größe 42", "naïve \u{1f375} pot\r\nline", "a;b"];
    match kind {
        FieldKind::Boolean => Value::Boolean(rng.bool()),
        FieldKind::Integer => Value::Integer(rng.i32(..).into()),
        FieldKind::Double | FieldKind::Currency | FieldKind::Percent => Value::Double(rng.f64() * 1e9 - 5e8),
        FieldKind::Date => Value::Date(rng.i64(-40_000..40_000) * 86_400_000),
        FieldKind::DateTime => Value::DateTime(rng.i64(..) >> rng.u32(8..64)),
        FieldKind::Time => Value::Time(rng.i64(..86_400_000)),
        FieldKind::Reference | FieldKind::Id => Value::Id(RecordId::new(*b"a0Y", rng.u64(..1 << 40))),
        _ => Value::text(TEXTS[rng.usize(..TEXTS.len())]),
    }
}

/// The field that a field is part of, and whether that may be a plain text instead.
fn parent<'a>(object: &'a Object, field: &Field) -> Option<(&'a Field, bool)> {
    let parent = &object.fields[object.field(field.compound.as_deref()?)?];
    Some((parent, !parent.kind.is_compound()))
}

fn random_row(rng: &mut Rng, object: &Object, id: RecordId, person: bool) -> Record {
    let stamp = |rng: &mut Rng| Value::DateTime(rng.i64(1..1 << 41));
    let user = |rng: &mut Rng| Value::Id(RecordId::new(*b"005", rng.u64(..1_000)));
    let shared = Shared {
        created: stamp(rng),
        created_by: user(rng),
        modified: stamp(rng),
        modified_by: user(rng),
        modstamp: stamp(rng),
        values: Arc::from([]),
        layout: Arc::from([]),
    };
    let mut values = Vec::new();
    for (position, field) in object.fields.iter().enumerate().skip(schema::FIRST_OWN) {
        let of_person = parent(object, field).is_some_and(|(_, switchable)| switchable);
        // What shows another object's field holds nothing itself.
        let shows_another = !field.path.is_empty();
        if field.kind.is_compound() || shows_another || (of_person && !person) || rng.u8(..3) == 0 {
            continue;
        }
        values.push((position as u16, random_value(rng, field.kind)));
    }
    Record::new(id, Arc::new(shared), values)
}

/// Some values of a row changed, some nulled, some set; of a few rows only one part of one compound.
fn changed_row(rng: &mut Rng, object: &Object, before: &Record, after: &Record) -> Record {
    let parts = (schema::FIRST_OWN..object.fields.len()).filter(|at| object.fields[*at].compound.is_some());
    let parts: Vec<usize> = parts.collect();
    let only = rng.bool() && !parts.is_empty();
    let pick = if only { parts[rng.usize(..parts.len())] } else { 0 };
    let mut values = Vec::new();
    for position in schema::FIRST_OWN..object.fields.len() {
        let takes_new = if only { position == pick } else { rng.u8(..3) == 0 };
        let from = if takes_new { after } else { before };
        values.extend(from.get(position).map(|value| (position as u16, value.clone())));
    }
    let of = |at: usize| before.get(at).unwrap().clone();
    let shared = Shared {
        created: of(schema::CREATED_DATE),
        created_by: of(schema::CREATED_BY_ID),
        modified: after.get(schema::LAST_MODIFIED_DATE).unwrap().clone(),
        modified_by: of(schema::LAST_MODIFIED_BY_ID),
        modstamp: after.get(schema::SYSTEM_MODSTAMP).unwrap().clone(),
        values: Arc::from([]),
        layout: Arc::from([]),
    };
    Record::new(before.id(), Arc::new(shared), values)
}

/// `BillingAddress.Street`, `Spot__c.Latitude`, `Name.LastName`, or the field's own name.
fn path(object: &Object, field: &Field) -> String {
    let Some((parent, _)) = parent(object, field) else {
        return field.name.clone();
    };
    let member = match parent.kind {
        FieldKind::Location if field.name.contains("Latitude") => "Latitude",
        FieldKind::Location => "Longitude",
        FieldKind::Address => {
            let stem = parent.name.strip_suffix("Address").unwrap();
            field.name.strip_prefix(stem).unwrap()
        }
        _ => &field.name,
    };
    format!("{}.{member}", parent.name)
}

fn written(value: &Value) -> String {
    match value {
        Value::Boolean(flag) => i64::from(*flag).to_string(),
        Value::Integer(number) => number.to_string(),
        Value::Double(number) => format!("{number:?}"),
        Value::Text(text) => text.to_string(),
        Value::Id(id) => id.to_string(),
        Value::Date(millis) | Value::DateTime(millis) | Value::Time(millis) => millis.to_string(),
    }
}

/// What an event must say.
#[derive(Debug, Default, PartialEq)]
struct Said {
    values: Values,
    changed: Paths,
    nulled: Paths,
}

/// Fields that events carry, with their paths.
fn told(object: &Object, person: bool) -> impl Iterator<Item = (usize, String)> {
    let audit = schema::CREATED_DATE..=schema::LAST_MODIFIED_BY_ID;
    let own = schema::FIRST_OWN..object.fields.len();
    audit.chain(own).filter_map(move |position| {
        let field = &object.fields[position];
        let has_parts = object.members(&field.name).next().is_some();
        // A name is told by its parts where it is a person's, and whole where it is not.
        // Whom a record was merged into stands in no event.
        let of_merge = field.name == "MasterRecordId";
        let hidden = field.kind.is_compound() || (has_parts && person) || of_merge;
        (!hidden).then(|| (position, path(object, field)))
    })
}

/// A field's value; that of a formula may be another field of the row, or one behind a lookup, which leads nowhere here.
fn value_of<'r>(object: &Object, row: &'r Record, position: usize) -> Option<&'r Value> {
    match object.fields[position].path[..] {
        [] => row.get(position),
        [shown] => row.get(shown),
        _ => None,
    }
}

fn creation(object: &Object, row: &Record, person: bool) -> Said {
    let mut said = Said::default();
    for (position, path) in told(object, person) {
        let left_out = object.name == "PricebookEntry" && position < schema::FIRST_OWN;
        if let Some(value) = value_of(object, row, position).filter(|_| !left_out) {
            said.values.insert(path, written(value));
        }
    }
    said
}

fn update(object: &Object, before: &Record, after: &Record, stamped: bool, person: bool) -> Said {
    let mut said = Said::default();
    let differs = |position: usize| before.get(position) != after.get(position);
    for (position, path) in told(object, person) {
        let field = &object.fields[position];
        let formula = field.calculated && !field.roll_up;
        let with_sibling = parent(object, field).is_some_and(|(parent, _)| {
            parent.kind == FieldKind::Location && object.members(&parent.name).any(|(at, _)| differs(at))
        });
        let listed = match position {
            schema::LAST_MODIFIED_DATE => stamped,
            _ => !formula && (differs(position) || with_sibling),
        };
        match value_of(object, after, position) {
            Some(value) if listed || formula => drop(said.values.insert(path.clone(), written(value))),
            None if listed => drop(said.nulled.insert(path.clone())),
            _ => {}
        }
        if listed {
            said.changed.insert(path);
        }
    }
    said
}

/// What apache-avro reads, the bitmaps taken apart here by the rules of the guide.
fn read_by_avro(json: &Json, parsed: &apache_avro::Schema, payload: &[u8], commit_number: i64) -> Said {
    let reader = apache_avro::reader::datum::GenericDatumReader::builder(parsed)
        .build()
        .unwrap();
    let mut bytes = payload;
    let value = reader.read_value(&mut bytes).unwrap();
    assert!(bytes.is_empty(), "{} bytes are left over", bytes.len());
    let Avro::Record(fields) = value else {
        panic!("not a record")
    };
    let mut said = Said::default();
    for (name, value) in &fields[1..] {
        match inner(value) {
            Avro::Record(members) => {
                for (member, value) in members {
                    insert(&mut said.values, format!("{name}.{member}"), inner(value));
                }
            }
            value => insert(&mut said.values, name.clone(), value),
        }
    }
    let Avro::Record(header) = &fields[0].1 else {
        panic!("no header")
    };
    let member = |name: &str| &header.iter().find(|(member, _)| member == name).unwrap().1;
    assert_eq!(member("commitNumber"), &Avro::Long(commit_number));
    said.changed = bitmap_paths(json, member("changedFields"));
    said.nulled = bitmap_paths(json, member("nulledFields"));
    assert_eq!(member("diffFields"), &Avro::Array(Vec::new()));
    said
}

fn inner(value: &Avro) -> &Avro {
    match value {
        Avro::Union(_, value) => value,
        value => value,
    }
}

fn insert(into: &mut Values, path: String, value: &Avro) {
    let written = match value {
        Avro::Null => return,
        Avro::Boolean(flag) => i64::from(*flag).to_string(),
        Avro::Int(number) => number.to_string(),
        Avro::Long(number) => number.to_string(),
        Avro::Double(number) => format!("{number:?}"),
        Avro::String(text) => text.clone(),
        other => panic!("unexpected {other:?}"),
    };
    into.insert(path, written);
}

fn bitmap_paths(schema: &Json, bitmaps: &Avro) -> Paths {
    let Avro::Array(bitmaps) = bitmaps else {
        panic!("not a list")
    };
    let mut paths = Paths::new();
    for bitmap in bitmaps {
        let Avro::String(bitmap) = bitmap else {
            panic!("not a text")
        };
        let (parent, hex) = match bitmap.split_once('-') {
            Some((parent, hex)) => (Some(parent.parse::<usize>().unwrap()), hex),
            None => (None, bitmap.as_str()),
        };
        let hex = hex.strip_prefix("0x").unwrap();
        assert_eq!((hex.len() % 2, hex), (0, hex.to_ascii_uppercase().as_str()));
        let positions = (0..hex.len() * 4).filter(|bit| {
            let digit = &hex[hex.len() - 1 - bit / 4..hex.len() - bit / 4];
            u8::from_str_radix(digit, 16).unwrap() >> (bit % 4) & 1 == 1
        });
        for position in positions {
            let name = |field: &Json| field["name"].as_str().unwrap().to_owned();
            let Some(parent) = parent else {
                paths.insert(name(&schema["fields"][position]));
                continue;
            };
            let compound = &schema["fields"][parent];
            let members = members(schema, compound);
            paths.insert(format!("{}.{}", name(compound), name(&members[position])));
        }
    }
    paths
}

/// The members of a compound field, whose type may be named here and defined elsewhere.
fn members<'a>(schema: &'a Json, compound: &'a Json) -> &'a Vec<Json> {
    let branches = |field: &'a Json| field["type"].as_array().into_iter().flatten();
    let wanted = branches(compound).last().unwrap();
    if let Some(fields) = wanted["fields"].as_array() {
        return fields;
    }
    let mut all = schema["fields"].as_array().unwrap().iter().flat_map(branches);
    let defined = all.find(|branch| branch["name"] == *wanted).unwrap();
    defined["fields"].as_array().unwrap()
}

/// What the daemon reads.
fn read_by_daemon(schema: &Reader, payload: &[u8], commit_number: i64) -> Said {
    let mut change = Change::default();
    schema.decode(payload, &mut change).unwrap();
    assert_eq!(change.header.commit_number, commit_number);
    assert!(!change.has_diff());
    let leaves = schema.fields();
    let values = change.values().iter().map(|(leaf, value)| {
        let written = match *value {
            row::Value::Null => panic!("null is no value"),
            row::Value::Integer(number)
            | row::Value::DateTime(number)
            | row::Value::Date(number)
            | row::Value::Time(number) => number.to_string(),
            row::Value::Real(number) => format!("{number:?}"),
            row::Value::Text(text) => text.as_str().to_owned(),
        };
        (leaves[*leaf].path.clone(), written)
    });
    let paths = |bits: &Bits| bits.iter().map(|leaf| leaves[leaf].path.clone()).collect();
    Said {
        values: values.collect(),
        changed: paths(change.changed()),
        nulled: paths(change.nulled()),
    }
}

/// How many events had a bitmap of more than 64 bits, and how many one of compounds alone.
#[derive(Default)]
struct Met {
    long_bitmaps: usize,
    compounds_alone: usize,
}

/// Whether a row has any part of a person's name.
fn is_person(object: &Object, row: &Record) -> bool {
    let mut fields = object.fields.iter().enumerate();
    fields.any(|(at, field)| {
        parent(object, field).is_some_and(|(_, switchable)| switchable) && row.get(at).is_some()
    })
}

/// One object's writer, and what both readers need.
struct Subject<'a> {
    seen: Seen<'a>,
    schema: EventSchema,
    json: Json,
    parsed: apache_avro::Schema,
    reader: Reader,
}

impl<'a> Subject<'a> {
    fn new(catalog: &'a Catalog, records: &'a Records, object: &'a Object) -> Self {
        let schema = EventSchema::new(object);
        Self {
            seen: Seen {
                catalog,
                records,
                object,
                without_contacts: false,
            },
            json: serde_json::from_str(&schema.json).unwrap(),
            parsed: apache_avro::Schema::parse_str(&schema.json).unwrap(),
            reader: Reader::compile(&schema.json).unwrap_or_else(|error| panic!("{}: {error}", object.name)),
            schema,
        }
    }

    /// A created, a changed and a deleted record's event, and what each must say.
    fn cases(&self, rng: &mut Rng, id: RecordId) -> Vec<(ChangeType, Body, Said)> {
        let object = self.seen.object;
        let wanted = rng.bool();
        let before = random_row(rng, object, id, wanted);
        let other = random_row(rng, object, id, wanted);
        let after = changed_row(rng, object, &before, &other);
        let person = is_person(object, &before);
        let mut cases = vec![
            (
                ChangeType::Create,
                self.schema.created(&self.seen, &before),
                creation(object, &before, person),
            ),
            (ChangeType::Delete, self.schema.empty(), Said::default()),
        ];
        // A company that becomes a person is told in a way of its own.
        if is_person(object, &after) == person {
            let stamped = rng.u8(..4) > 0;
            cases.push((
                ChangeType::Update,
                self.schema.updated(&self.seen, &before, &after, stamped),
                update(object, &before, &after, stamped, person),
            ));
        }
        cases
    }

    fn check(&self, rng: &mut Rng, id: RecordId, (change_type, body, expected): &(ChangeType, Body, Said)) {
        let commit_number = rng.i64(1 << 53..);
        let header = Header {
            record_ids: vec![id.as_str(); 1 + rng.usize(..3)],
            change_type: *change_type,
            change_origin: "com/salesforce/api/rest/67.0;client=tests",
            transaction_key: "00000000-0000-0000-0000-000000000000",
            sequence_number: rng.i64(1..1_000),
            commit_timestamp: rng.i64(0..1 << 41),
            commit_number,
            commit_user: "005000000000000AAA",
        };
        let payload = self.schema.payload(&header, body);
        let what = format!("{} {change_type:?} {id}", self.seen.object.name);
        let by_avro = read_by_avro(&self.json, &self.parsed, &payload, commit_number);
        assert_eq!(by_avro, *expected, "avro: {what}");
        let by_daemon = read_by_daemon(&self.reader, &payload, commit_number);
        assert_eq!(by_daemon, *expected, "daemon: {what}");
    }
}

fn hold_against(rng: &mut Rng, catalog: &Catalog, object: &Object, rounds: usize, met: &mut Met) {
    let records = Records::new(catalog);
    let subject = Subject::new(catalog, &records, object);
    let fields = subject.json["fields"].as_array().unwrap();
    let name = |field: &Json| field["name"].as_str().unwrap().to_owned();
    let far: Paths = fields.iter().skip(65).map(name).collect();
    for _ in 0..rounds {
        let id = RecordId::new(object.key_prefix, rng.u64(..1_000_000));
        for case in subject.cases(rng, id) {
            subject.check(rng, id, &case);
            let changed = &case.2.changed;
            let nested = |path: &String| path.contains('.');
            met.compounds_alone += usize::from(!changed.is_empty() && changed.iter().all(nested));
            met.long_bitmaps += usize::from(!far.is_disjoint(changed));
        }
    }
}

#[test]
fn what_is_written_is_read_alike_by_both() {
    let mut met = Met::default();
    for seed in 0..150 {
        let mut rng = Rng::with_seed(seed);
        let catalog = random_object(&mut rng);
        hold_against(&mut rng, &catalog, &catalog.objects()[0], 8, &mut met);
    }
    assert!(met.long_bitmaps > 20, "{}", met.long_bitmaps);
    assert!(met.compounds_alone > 20, "{}", met.compounds_alone);
}

#[test]
fn the_objects_of_the_sandbox_are_read_alike_too() {
    let mut rng = Rng::with_seed(7);
    let catalog = Catalog::load().unwrap();
    let mut met = Met::default();
    for object in catalog.objects() {
        hold_against(&mut rng, &catalog, object, 4, &mut met);
    }
    assert!(met.long_bitmaps > 0);
}
