//! The events that the benches share: a product with 45 fields, its life in 25 creations, 70 updates of 3 to 6
//! fields and 5 deletions out of a hundred events, the same from run to run.

use std::collections::HashMap;

use bytes::Bytes;
use fastrand::Rng;
use storesync::model::change::{RawEvent, ReplayId};

pub const SCHEMA: &str = include_str!("../tests/data/avro/product2.avsc");
pub const SCHEMA_ID: &str = "bench-schema";

/// How a field is written.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Text,
    LongText,
    Id,
    Boolean,
    Double,
    DateTime,
    Date,
}

pub struct Fixture {
    pub fields: Vec<(String, Kind)>,
    rng: Rng,
    shapes: Vec<Vec<usize>>,
    sequence: u64,
    /// Records that exist, and the number of the next that is created.
    living: Vec<u64>,
    next: u64,
}

impl Fixture {
    /// In an org that holds `records` of them.
    pub fn new(seed: u64, records: u64) -> Self {
        let schema: serde_json::Value = serde_json::from_str(SCHEMA).expect("the schema is JSON");
        let fields = schema["fields"].as_array().expect("fields").iter().skip(1);
        let fields: Vec<(String, Kind)> = fields
            .map(|field| (field["name"].as_str().expect("a name").to_owned(), kind(field)))
            .collect();
        let mut rng = Rng::with_seed(seed);
        let stamp = position(&fields, "LastModifiedDate");
        let shape = |rng: &mut Rng| {
            let count = 2 + rng.usize(..4);
            let mut shape = rng.choose_multiple(0..fields.len(), count);
            shape.push(stamp);
            shape.sort_unstable();
            shape.dedup();
            shape
        };
        // An org's processes change the same few sets of fields again and again.
        let shapes = (0..12).map(|_| shape(&mut rng)).collect();
        Self {
            fields,
            rng,
            shapes,
            sequence: 0,
            living: (0..records).collect(),
            next: records,
        }
    }

    /// `count` events of the mix.
    pub fn events(&mut self, count: usize) -> Vec<RawEvent> {
        (0..count).map(|_| self.event()).collect()
    }

    fn event(&mut self) -> RawEvent {
        match self.rng.u32(..100) {
            0..25 => {
                let count = 32 + self.rng.usize(..9);
                let set = self.rng.choose_multiple(0..self.fields.len(), count);
                self.living.push(self.next);
                self.next += 1;
                self.write(0, &id(self.next - 1), &set)
            }
            25..95 => self.update(),
            _ => {
                let gone = self.rng.usize(..self.living.len());
                let gone = self.living.swap_remove(gone);
                self.write(2, &id(gone), &[])
            }
        }
    }

    /// `count` updates of existing records.
    pub fn updates(&mut self, count: usize) -> Vec<RawEvent> {
        (0..count).map(|_| self.update()).collect()
    }

    /// An existing record.
    pub fn key(&mut self) -> String {
        id(self.living[self.rng.usize(..self.living.len())])
    }

    fn update(&mut self) -> RawEvent {
        let key = self.key();
        let shape = self.shapes[self.rng.usize(..self.shapes.len())].clone();
        self.write(1, &key, &shape)
    }

    fn write(&mut self, change: i64, key: &str, set: &[usize]) -> RawEvent {
        self.sequence += 1;
        let mut set = set.to_vec();
        set.sort_unstable();
        let mut bytes = Vec::with_capacity(900);
        text(&mut bytes, "Product2");
        list(&mut bytes, &[key]);
        number(&mut bytes, change);
        text(&mut bytes, "com/salesforce/api/rest/64.0;client=devconsole");
        text(
            &mut bytes,
            &format!("000{:05x}-6942-447e-6033-9e8fe741230f", self.sequence),
        );
        number(&mut bytes, 1);
        number(
            &mut bytes,
            1_790_000_000_000 + (self.sequence as i64 / 100) * 1_000,
        );
        number(&mut bytes, 1_700_000_000_000_000_000 + self.sequence as i64);
        text(&mut bytes, "005Dp000000PpjsIAC");
        list(&mut bytes, &[]);
        list(&mut bytes, &[]);
        let bitmap = bitmap(&set);
        let bitmap = bitmap.as_str();
        list(
            &mut bytes,
            if change == 1 {
                std::slice::from_ref(&bitmap)
            } else {
                &[]
            },
        );
        for position in 0..self.fields.len() {
            if set.binary_search(&position).is_err() {
                bytes.push(0);
                continue;
            }
            bytes.push(2);
            self.value(&mut bytes, position);
        }
        RawEvent {
            replay_id: ReplayId(Bytes::copy_from_slice(&self.sequence.to_be_bytes())),
            event_id: format!("{:08x}-f1bc-4650-b321-6d45e77180b5", self.sequence),
            schema_id: SCHEMA_ID.to_owned(),
            payload: Bytes::from(bytes),
            redacted: Vec::new(),
        }
    }

    fn value(&mut self, bytes: &mut Vec<u8>, position: usize) {
        let random = self.rng.u64(..);
        match self.fields[position].1 {
            Kind::Text => text(bytes, &format!("a short text {:x}", random >> 40)),
            Kind::LongText => text(
                bytes,
                &format!("a longer text about the product, as its page tells it, number {random:x}"),
            ),
            Kind::Id => text(bytes, &id(random >> 40)),
            Kind::Boolean => bytes.push(u8::from(random & 1 == 1)),
            Kind::Double => bytes.extend(((random >> 44) as f64 / 100.0).to_le_bytes()),
            Kind::DateTime => number(bytes, 1_790_000_000_000 + (random >> 44) as i64 * 1_000),
            Kind::Date => number(bytes, (20_000 + (random >> 54) as i64) * 86_400_000),
        }
    }

    /// All records as a Bulk API page, in random order.
    pub fn csv(&mut self) -> String {
        let mut keys = self.living.clone();
        self.rng.shuffle(&mut keys);
        self.page(&keys)
    }

    /// These records as a Bulk API page.
    pub fn page(&mut self, keys: &[u64]) -> String {
        let mut out = String::from("\"Id\"");
        self.fields
            .iter()
            .for_each(|(name, _)| out.push_str(&format!(",\"{name}\"")));
        out.push_str(",\"SystemModstamp\"\n");
        for key in keys {
            out.push_str(&format!("\"{}\"", id(*key)));
            for position in 0..self.fields.len() {
                let random = self.rng.u64(..);
                let empty = position > 8 && random & 3 == 3;
                let cell = match self.fields[position].1 {
                    _ if empty => String::new(),
                    Kind::Text => format!("a short text {:x}", random >> 40),
                    Kind::LongText => {
                        format!("a longer text about the product, as its page tells it, number {random:x}")
                    }
                    Kind::Id => id(random >> 40),
                    Kind::Boolean => (random & 4 == 4).to_string(),
                    Kind::Double => format!("{}", (random >> 44) as f64 / 100.0),
                    Kind::DateTime => format!(
                        "2026-09-21T14:{:02}:{:02}.000Z",
                        random >> 8 & 31,
                        random >> 16 & 31
                    ),
                    Kind::Date => format!("2026-09-{:02}", 1 + (random >> 8 & 15)),
                };
                out.push_str(&format!(",\"{cell}\""));
            }
            out.push_str(",\"2026-09-21T14:00:00.000Z\"\n");
        }
        out
    }
}

/// Salesforce's form of a record id.
pub fn id(key: u64) -> String {
    format!("01tDp0{key:09}IAC")
}

fn position(fields: &[(String, Kind)], name: &str) -> usize {
    fields
        .iter()
        .position(|(field, _)| field == name)
        .expect("the field is in the schema")
}

fn kind(field: &serde_json::Value) -> Kind {
    let kinds = HashMap::from([
        ("EntityId", Kind::Id),
        ("StringPlusClob", Kind::LongText),
        ("Boolean", Kind::Boolean),
        ("Double", Kind::Double),
        ("DateTime", Kind::DateTime),
        ("DateOnly", Kind::Date),
    ]);
    let meaning = field["doc"]
        .as_str()
        .and_then(|doc| doc.split(':').nth(1))
        .unwrap_or_default();
    kinds.get(meaning).copied().unwrap_or(Kind::Text)
}

fn number(bytes: &mut Vec<u8>, number: i64) {
    let mut rest = ((number << 1) ^ (number >> 63)) as u64;
    while rest >= 0x80 {
        bytes.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    bytes.push(rest as u8);
}

fn text(bytes: &mut Vec<u8>, text: &str) {
    number(bytes, text.len() as i64);
    bytes.extend(text.as_bytes());
}

fn list(bytes: &mut Vec<u8>, texts: &[&str]) {
    if !texts.is_empty() {
        number(bytes, texts.len() as i64);
        texts.iter().for_each(|item| text(bytes, item));
    }
    bytes.push(0);
}

/// The header is position 0.
fn bitmap(set: &[usize]) -> String {
    let mut bytes = [0u8; 6];
    set.iter()
        .for_each(|position| bytes[(position + 1) / 8] |= 1 << ((position + 1) % 8));
    let used = bytes
        .iter()
        .rposition(|byte| *byte != 0)
        .map_or(1, |last| last + 1);
    let hex: String = bytes[..used]
        .iter()
        .rev()
        .map(|byte| format!("{byte:02X}"))
        .collect();
    format!("0x{hex}")
}
