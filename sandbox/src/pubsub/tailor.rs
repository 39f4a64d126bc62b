//! Events that differ by who reads them.
//!
//! An event in the log holds what changed. For an enriched channel it is split by record, each part keeping the
//! event's replay id, and every chosen field that has no value in it gets the one the record has now. For a user who
//! may not see a field, its value is left out; the schema lists it all the same. The payload is taken apart by its
//! own writer schema only so far as to find where each field begins and ends.

use bytes::Bytes;
use serde_json::Value as Json;

use super::hub::Hub;
use crate::bus::Event;
use crate::value::{RecordId, Value};

/// Kinds of change whose events are enriched: UPDATE and DELETE, by their places in the schema's enum.
const ENRICHED_KINDS: [i64; 2] = [1, 2];

/// What is sent of an event; none where it is sent as it is. `enriched` are field positions, `hidden` names.
pub(super) fn payloads(hub: &Hub, event: &Event, enriched: &[usize], hidden: &[&str]) -> Option<Vec<Bytes>> {
    let schema: Json = serde_json::from_str(&hub.schema_json(&event.schema_id)?).ok()?;
    let layout = Layout::of(&schema, &event.payload)?;
    if enriched.is_empty() || !ENRICHED_KINDS.contains(&layout.kind) {
        let whole = layout.part(&event.payload, &layout.record_ids, &[], hidden);
        return Some(vec![Bytes::from(whole)]);
    }
    let object = &hub.org.catalog().objects()[event.object];
    let part = |id: &String| {
        let record = RecordId::parse(id);
        let value = |field: usize| {
            hub.org
                .read(|records| records.get(event.object, record?)?.get(field).cloned())
        };
        let values: Vec<(&str, Value)> = enriched
            .iter()
            .filter_map(|field| Some((object.fields[*field].name.as_str(), value(*field)?)))
            .filter(|(name, _)| !hidden.contains(name))
            .collect();
        Bytes::from(layout.part(&event.payload, std::slice::from_ref(id), &values, hidden))
    };
    Some(layout.record_ids.iter().map(part).collect())
}

/// Where the parts of a payload lie.
struct Layout {
    /// The bytes of recordIds.
    ids_at: (usize, usize),
    record_ids: Vec<String>,
    kind: i64,
    /// Name, start and end of each field after the header.
    fields: Vec<(String, usize, usize)>,
}

impl Layout {
    fn of(schema: &Json, payload: &[u8]) -> Option<Self> {
        let mut walk = Walk {
            bytes: payload,
            at: 0,
            named: Vec::new(),
        };
        walk.learn(schema);
        let (header, fields) = schema["fields"].as_array()?.split_first()?;
        let mut layout = Self {
            ids_at: (0, 0),
            record_ids: Vec::new(),
            kind: 0,
            fields: Vec::new(),
        };
        for field in header["type"]["fields"].as_array()? {
            let start = walk.at;
            walk.skip(&field["type"])?;
            let mut again = Walk {
                at: start,
                ..walk.clone()
            };
            match field["name"].as_str()? {
                "recordIds" => {
                    layout.record_ids = again.texts()?;
                    layout.ids_at = (start, walk.at);
                }
                "changeType" => layout.kind = again.long()?,
                _ => {}
            }
        }
        for field in fields {
            let start = walk.at;
            walk.skip(&field["type"])?;
            let name = field["name"].as_str()?.to_owned();
            layout.fields.push((name, start, walk.at));
        }
        (walk.at == payload.len()).then_some(layout)
    }

    /// The payload for some of its records, with values in place of nulls and nulls in place of what is hidden.
    fn part(&self, payload: &[u8], ids: &[String], values: &[(&str, Value)], hidden: &[&str]) -> Vec<u8> {
        let mut out = payload[..self.ids_at.0].to_vec();
        if !ids.is_empty() {
            write_long(&mut out, ids.len() as i64);
            ids.iter().for_each(|id| write_text(&mut out, id));
        }
        write_long(&mut out, 0);
        let body = self.fields.first().map_or(payload.len(), |(_, start, _)| *start);
        out.extend(&payload[self.ids_at.1..body]);
        for (name, start, end) in &self.fields {
            let is_null = payload[*start..*end] == [0];
            match values.iter().find(|(wanted, _)| is_null && wanted == name) {
                Some((_, value)) => write_value(&mut out, value),
                None if hidden.contains(&name.as_str()) => write_long(&mut out, 0),
                None => out.extend(&payload[*start..*end]),
            }
        }
        out
    }
}

/// A walk over a datum by its schema.
#[derive(Clone)]
struct Walk<'a> {
    bytes: &'a [u8],
    at: usize,
    /// The schema's record types, for fields that refer to them by name.
    named: Vec<(&'a str, &'a Json)>,
}

impl<'a> Walk<'a> {
    fn learn(&mut self, kind: &'a Json) {
        match kind {
            Json::Array(branches) => branches.iter().for_each(|branch| self.learn(branch)),
            Json::Object(_) if kind["type"] == "record" => {
                if let Some(name) = kind["name"].as_str() {
                    self.named.push((name, kind));
                }
                let fields = kind["fields"].as_array().into_iter().flatten();
                fields.for_each(|field| self.learn(&field["type"]));
            }
            _ => {}
        }
    }

    fn long(&mut self) -> Option<i64> {
        let mut number = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = *self.bytes.get(self.at)?;
            self.at += 1;
            number |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Some((number >> 1) as i64 ^ -((number & 1) as i64));
            }
        }
        None
    }

    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let bytes = self.bytes.get(self.at..self.at.checked_add(length)?)?;
        self.at += length;
        Some(bytes)
    }

    fn text(&mut self) -> Option<&'a [u8]> {
        let length = usize::try_from(self.long()?).ok()?;
        self.take(length)
    }

    fn texts(&mut self) -> Option<Vec<String>> {
        let mut texts = Vec::new();
        loop {
            let count = self.long()?;
            if count <= 0 {
                return (count == 0).then_some(texts);
            }
            for _ in 0..count {
                texts.push(String::from_utf8_lossy(self.text()?).into_owned());
            }
        }
    }

    fn skip(&mut self, kind: &'a Json) -> Option<()> {
        match kind {
            Json::String(name) => self.skip_named(name),
            Json::Array(branches) => {
                let branch = usize::try_from(self.long()?).ok()?;
                self.skip(branches.get(branch)?)
            }
            Json::Object(_) => match kind["type"].as_str()? {
                "record" => {
                    let mut fields = kind["fields"].as_array()?.iter();
                    fields.try_for_each(|field| self.skip(&field["type"]))
                }
                "array" => self.texts().map(drop),
                "enum" => self.long().map(drop),
                name => self.skip_named(name),
            },
            _ => None,
        }
    }

    fn skip_named(&mut self, name: &str) -> Option<()> {
        match name {
            "null" => Some(()),
            "boolean" => self.take(1).map(drop),
            "int" | "long" => self.long().map(drop),
            "double" => self.take(8).map(drop),
            "string" => self.text().map(drop),
            _ => {
                let (_, kind) = *self.named.iter().find(|(known, _)| *known == name)?;
                self.skip(kind)
            }
        }
    }
}

/// A value as the second branch of a union with null.
fn write_value(out: &mut Vec<u8>, value: &Value) {
    write_long(out, 1);
    match value {
        Value::Boolean(flag) => out.push(u8::from(*flag)),
        Value::Integer(number) => write_long(out, *number),
        Value::Double(number) => out.extend(number.to_le_bytes()),
        Value::Text(text) => write_text(out, text),
        Value::Id(id) => write_text(out, id.as_str()),
        Value::Date(millis) | Value::DateTime(millis) | Value::Time(millis) => write_long(out, *millis),
    }
}

fn write_text(out: &mut Vec<u8>, text: &str) {
    write_long(out, text.len() as i64);
    out.extend(text.as_bytes());
}

fn write_long(out: &mut Vec<u8>, number: i64) {
    let mut rest = ((number << 1) ^ (number >> 63)) as u64;
    while rest >= 0x80 {
        out.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}
