//! Random events, read by us and by apache-avro; and the same events with bytes changed.

use std::collections::{BTreeMap, BTreeSet};

use apache_avro::Schema;
use apache_avro::reader::datum::GenericDatumReader;
use apache_avro::types::Value as Avro;
use apache_avro::writer::datum::GenericDatumWriter;
use fastrand::Rng;

use super::*;

const TEXTS: [&str; 6] = [
    "",
    "Tea",
    "Größe 42",
    "naïve \u{1f375} pot",
    "line\nbreak",
    "0123456789012345678901234567",
];

struct Generator {
    rng: Rng,
    schema: Schema,
    /// By name, for fields that refer to a type defined before.
    named: BTreeMap<String, Schema>,
}

impl Generator {
    fn new(text: &str, seed: u64) -> Self {
        let schema = Schema::parse_str(text).unwrap();
        let mut generator = Self {
            rng: Rng::with_seed(seed),
            schema: schema.clone(),
            named: BTreeMap::new(),
        };
        generator.learn(&schema);
        generator
    }

    fn learn(&mut self, schema: &Schema) {
        match schema {
            Schema::Record(record) => {
                self.named.insert(record.name.name().to_owned(), schema.clone());
                record.fields.iter().for_each(|field| self.learn(&field.schema));
            }
            Schema::Union(union) => union.variants().iter().for_each(|variant| self.learn(variant)),
            _ => {}
        }
    }

    fn value(&mut self, schema: &Schema) -> Avro {
        match schema {
            Schema::Null => Avro::Null,
            Schema::Boolean => Avro::Boolean(self.rng.bool()),
            Schema::Int => Avro::Int(self.rng.i32(..)),
            Schema::Long => Avro::Long(self.rng.i64(..) >> self.rng.u32(..64)),
            Schema::Double => Avro::Double(self.rng.f64() * 1e6),
            Schema::String => Avro::String(TEXTS[self.rng.usize(..TEXTS.len())].to_owned()),
            Schema::Enum(symbols) => {
                let index = self.rng.usize(..symbols.symbols.len());
                Avro::Enum(u32::try_from(index).unwrap(), symbols.symbols[index].clone())
            }
            Schema::Array(_) => Avro::Array(
                (0..self.rng.usize(..3))
                    .map(|_| Avro::String("001000000000001AAA".to_owned()))
                    .collect(),
            ),
            Schema::Union(union) => {
                let branch = self.rng.usize(..union.variants().len());
                let value = self.value(&union.variants()[branch].clone());
                Avro::Union(u32::try_from(branch).unwrap(), Box::new(value))
            }
            Schema::Record(record) => {
                let fields = record.fields.iter().map(|field| {
                    let value = if field.name.ends_with("Fields") {
                        Avro::Array(Vec::new())
                    } else {
                        self.value(&field.schema)
                    };
                    (field.name.clone(), value)
                });
                Avro::Record(fields.collect())
            }
            Schema::Ref { name } => {
                let named = self.named[name.name()].clone();
                self.value(&named)
            }
            other => panic!("no values of {other:?}"),
        }
    }

    /// An event and the paths that its bitmap names.
    fn event(&mut self) -> (Vec<u8>, BTreeSet<String>) {
        let mut event = self.value(&self.schema.clone());
        let (bitmaps, paths) = self.bitmaps(&event);
        let bitmaps = Avro::Array(bitmaps.into_iter().map(Avro::String).collect());
        let Avro::Record(fields) = &mut event else {
            panic!("not a record")
        };
        let Avro::Record(header) = &mut fields[0].1 else {
            panic!("no header")
        };
        header
            .iter_mut()
            .filter(|(name, _)| name == "changedFields")
            .for_each(|(_, value)| *value = bitmaps.clone());
        let writer = GenericDatumWriter::builder(&self.schema).build().unwrap();
        (writer.write_value_to_vec(event).unwrap(), paths)
    }

    /// Names some fields, and some members of compounds.
    fn bitmaps(&mut self, event: &Avro) -> (Vec<String>, BTreeSet<String>) {
        let Avro::Record(fields) = event else {
            panic!("not a record")
        };
        let (mut top, mut nested, mut paths) = (BTreeSet::new(), Vec::new(), BTreeSet::new());
        for (position, (name, value)) in fields.iter().enumerate().skip(1) {
            if self.rng.u8(..5) > 0 {
                continue;
            }
            match inner(value) {
                Avro::Record(members) => {
                    let bits: BTreeSet<usize> = (0..members.len()).filter(|_| self.rng.bool()).collect();
                    paths.extend(bits.iter().map(|bit| format!("{name}.{}", members[*bit].0)));
                    if !bits.is_empty() {
                        nested.push(format!("{position}-{}", bitmap(&bits)));
                    }
                }
                // A null compound may mean any of its members: not in this test.
                Avro::Null
                    if name.ends_with("Address") || matches!(&**name, "Name" | "Place__c" | "Depot__c") => {}
                _ => {
                    top.insert(position);
                    paths.insert(name.clone());
                }
            }
        }
        let top = (!top.is_empty()).then(|| bitmap(&top));
        (top.into_iter().chain(nested).collect(), paths)
    }
}

fn bitmap(bits: &BTreeSet<usize>) -> String {
    let mut bytes = vec![0u8; bits.last().unwrap() / 8 + 1];
    bits.iter().for_each(|bit| bytes[bit / 8] |= 1 << (bit % 8));
    let hex: String = bytes.iter().rev().map(|byte| format!("{byte:02X}")).collect();
    format!("0x{hex}")
}

fn inner(value: &Avro) -> &Avro {
    match value {
        Avro::Union(_, value) => value,
        value => value,
    }
}

/// Every value of an event by its path, as apache-avro read it.
fn flatten(value: &Avro, path: &str, into: &mut Vec<(String, String)>) {
    match inner(value) {
        Avro::Null => {}
        Avro::Record(fields) => {
            for (name, value) in fields.iter().filter(|(name, _)| name != "ChangeEventHeader") {
                let path = if path.is_empty() {
                    name.clone()
                } else {
                    format!("{path}.{name}")
                };
                flatten(value, &path, into);
            }
        }
        Avro::Boolean(value) => into.push((path.to_owned(), i64::from(*value).to_string())),
        Avro::Int(value) => into.push((path.to_owned(), value.to_string())),
        Avro::Long(value) => into.push((path.to_owned(), value.to_string())),
        Avro::Double(value) => into.push((path.to_owned(), format!("{value:?}"))),
        Avro::String(value) => into.push((path.to_owned(), value.clone())),
        other => panic!("unexpected {other:?}"),
    }
}

fn written(value: Value<'_>) -> String {
    match value {
        Value::Null => panic!("null is not a value of an event"),
        Value::Integer(number) | Value::DateTime(number) | Value::Date(number) | Value::Time(number) => {
            number.to_string()
        }
        Value::Real(number) => format!("{number:?}"),
        Value::Text(text) => text.as_str().to_owned(),
    }
}

#[test]
fn events_are_read_as_the_oracle_reads_them() {
    for (text, seed) in [(PRODUCT, 1), (ACCOUNT, 2), (CONTACT, 3)] {
        let schema = EventSchema::compile(text).unwrap();
        let mut generator = Generator::new(text, seed);
        let oracle = generator.schema.clone();
        let oracle = GenericDatumReader::builder(&oracle).build().unwrap();
        for round in 0..2_000 {
            let (payload, changed) = generator.event();
            let event = oracle.read_value(&mut payload.as_slice()).unwrap();
            let mut expected = Vec::new();
            flatten(&event, "", &mut expected);
            let mut change = Change::default();
            schema.decode(&payload, &mut change).unwrap();
            let values = change.values().iter();
            let values: Vec<_> = values
                .map(|(leaf, value)| (schema.fields()[*leaf].path.clone(), written(*value)))
                .collect();
            assert_eq!(values, expected, "seed {seed}, event {round}");
            let named: BTreeSet<String> = paths(&schema, change.changed()).into_iter().collect();
            assert_eq!(named, changed, "seed {seed}, event {round}");
        }
    }
}

/// The oracle reads a copy as the event with those values and no others gone, or of the least of their type.
#[test]
fn a_copy_without_some_values_has_all_others() {
    let mut rng = Rng::with_seed(7);
    for (text, seed) in [(PRODUCT, 8), (ACCOUNT, 9), (CONTACT, 10)] {
        let schema = EventSchema::compile(text).unwrap();
        let mut generator = Generator::new(text, seed);
        let oracle = generator.schema.clone();
        let oracle = GenericDatumReader::builder(&oracle).build().unwrap();
        let read = |payload: &[u8]| {
            let mut values = Vec::new();
            let event = oracle.read_value(&mut { payload }).unwrap();
            flatten(&event, "", &mut values);
            values
        };
        for round in 0..500 {
            let (payload, _) = generator.event();
            let gone: BTreeSet<String> = schema
                .fields()
                .iter()
                .filter(|_| rng.u8(..3) == 0)
                .map(|leaf| leaf.path.clone())
                .collect();
            let copied = schema
                .copy(&payload, &mut |leaf, _| {
                    gone.contains(&schema.fields()[leaf].path)
                        .then_some(Other::Nothing)
                })
                .unwrap();
            let is_gone = |(path, _): &(String, String)| gone.contains(path);
            let (before, after) = (read(&payload), read(&copied));
            let kept: Vec<_> = before.iter().filter(|value| !is_gone(value)).collect();
            let there: Vec<_> = after.iter().filter(|value| !is_gone(value)).collect();
            assert_eq!(kept, there, "seed {seed}, event {round}");
            let left = after.iter().filter(|value| is_gone(value));
            assert!(
                left.clone()
                    .all(|(_, value)| ["", "0", "0.0"].contains(&&value[..])),
                "seed {seed}, event {round}: {:?}",
                left.collect::<Vec<_>>()
            );
            assert_eq!(schema.copy(&payload, &mut |_, _| None).unwrap(), payload);
        }
    }
}

#[test]
fn corrupted_events_give_a_result_or_an_error() {
    let mut rng = Rng::with_seed(4);
    for (text, seed) in [(PRODUCT, 5), (ACCOUNT, 6)] {
        let schema = EventSchema::compile(text).unwrap();
        let mut generator = Generator::new(text, seed);
        let events: Vec<Vec<u8>> = (0..200).map(|_| generator.event().0).collect();
        for _ in 0..100_000 {
            let mut payload = events[rng.usize(..events.len())].clone();
            for _ in 0..=rng.usize(..3) {
                let place = rng.usize(..payload.len().max(1));
                match rng.u8(..4) {
                    0 => payload.truncate(place),
                    1 => payload.insert(place.min(payload.len()), rng.u8(..)),
                    _ => payload
                        .iter_mut()
                        .skip(place)
                        .take(1)
                        .for_each(|byte| *byte = rng.u8(..)),
                }
            }
            let mut change = Change::default();
            if schema.decode(&payload, &mut change).is_ok() {
                assert!(change.says().count() <= schema.fields().len());
            }
            assert!(change.header.record_ids.len() <= payload.len());
        }
    }
}

#[test]
fn corrupted_schemas_give_a_result_or_an_error() {
    let mut rng = Rng::with_seed(7);
    let payload = Generator::new(ACCOUNT, 8).event().0;
    for _ in 0..2_000 {
        let mut text = ACCOUNT.as_bytes().to_vec();
        for _ in 0..=rng.usize(..2) {
            let (from, to) = (rng.usize(..text.len()), rng.usize(..text.len()));
            let length = rng.usize(..24).min(text.len() - from.max(to));
            text.copy_within(from..from + length, to);
        }
        if let Ok(schema) = EventSchema::compile(&String::from_utf8_lossy(&text)) {
            let _ = schema.decode(&payload, &mut Change::default());
        }
    }
}
