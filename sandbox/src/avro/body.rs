//! What an event says of a record: its bitmaps, and the bytes that follow its header.
//!
//! A body is made before its header, because records of one transaction whose bodies are the same share an event.

use std::collections::{BTreeMap, HashMap};

use super::super::org::person::is_contacts;
use super::super::org::{Record, Records};
use super::super::schema::{self, Catalog, FieldKind, Object};
use super::super::value::Value;
use super::{EventSchema, Header, Slot, bitmap, diff};

/// Texts of at least so many characters may be told by their difference.
pub const DIFF_FROM: usize = 1_000;

/// The rows of an object among all others: a formula may show a field of another one.
pub struct Seen<'a> {
    pub catalog: &'a Catalog,
    pub records: &'a Records,
    pub object: &'a Object,
    /// Whether changes leave out what of an account is really its contact's, as they do where contacts are not
    /// selected.
    pub without_contacts: bool,
}

impl<'a> Seen<'a> {
    fn value(&self, record: &'a Record, field: usize) -> Option<&'a Value> {
        self.catalog.value(self.records, self.object, record, field)
    }
}

/// The bitmaps of a change and the values after the header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Body {
    nulled: Vec<String>,
    diffed: Vec<String>,
    changed: Vec<String>,
    values: Vec<u8>,
}

impl EventSchema {
    /// A creation: every value the record has.
    pub fn created(&self, seen: &Seen<'_>, record: &Record) -> Body {
        let object = seen.object;
        // The platform leaves the audit fields out when a price book entry is created.
        let left_out = |position| {
            object.name == "PricebookEntry"
                && (schema::CREATED_DATE..=schema::LAST_MODIFIED_BY_ID).contains(&position)
        };
        self.without_bitmaps(|position| seen.value(record, position).filter(|_| !left_out(position)))
    }

    /// A deletion, or an event that tells no values.
    pub fn empty(&self) -> Body {
        self.without_bitmaps(|_| None)
    }

    fn without_bitmaps<'r>(&self, value: impl Fn(usize) -> Option<&'r Value>) -> Body {
        Body {
            nulled: Vec::new(),
            diffed: Vec::new(),
            changed: Vec::new(),
            values: self.values(value),
        }
    }

    /// A change: the changed values, and those of formulas, which set no bit. `stamped` is false where the change
    /// left LastModifiedDate alone.
    pub fn updated(&self, seen: &Seen<'_>, before: &Record, after: &Record, stamped: bool) -> Body {
        let object = seen.object;
        let stamp = schema::LAST_MODIFIED_DATE;
        let formula = |position: usize| {
            let field = &object.fields[position];
            field.calculated && !field.roll_up
        };
        let told = (schema::CREATED_DATE..object.fields.len()).filter(|at| *at != schema::SYSTEM_MODSTAMP);
        let mut changed: Vec<usize> = told
            .filter(|at| match *at {
                at if at == stamp => stamped,
                at if seen.without_contacts && is_contacts(&object.fields[at].name) => false,
                at => before.get(at) != after.get(at) && !formula(at),
            })
            .collect();
        self.complete_locations(&mut changed);
        let is_changed = |position: &usize| changed.binary_search(position).is_ok();
        let diffs: HashMap<usize, Value> = changed
            .iter()
            .filter(|at| object.fields[**at].kind == FieldKind::LongText)
            .filter_map(|at| Some((*at, difference(before.get(*at)?, after.get(*at)?)?)))
            .collect();
        let person = self.is_person(after);
        Body {
            nulled: self.bitmaps(person, |at| is_changed(at) && after.get(*at).is_none()),
            diffed: self.bitmaps(person, |at| diffs.contains_key(at)),
            changed: self.bitmaps(person, is_changed),
            values: self.values(|at| match diffs.get(&at) {
                Some(diff) => Some(diff),
                None if formula(at) => seen.value(after, at),
                None => after.get(at).filter(|_| is_changed(&at)),
            }),
        }
    }

    /// Whether the record's name is that of a person, where the object has both kinds.
    fn is_person(&self, record: &Record) -> bool {
        self.slots.iter().any(|slot| match slot {
            Slot::Switchable { members, .. } => members.iter().any(|member| record.get(*member).is_some()),
            _ => false,
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
    fn bitmaps(&self, person: bool, holds: impl Fn(&usize) -> bool) -> Vec<String> {
        let mut top = Vec::new();
        let mut nested = BTreeMap::new();
        for (at, slot) in self.slots.iter().enumerate() {
            let members = match slot {
                Slot::Switchable { members, .. } if person => members,
                Slot::Compound { members, .. } => members,
                Slot::Plain(position) | Slot::Switchable { name: position, .. } => {
                    if holds(position) {
                        top.push(at + 1);
                    }
                    continue;
                }
            };
            let bits = members.iter().enumerate().filter(|(_, member)| holds(member));
            let bits: Vec<usize> = bits.map(|(bit, _)| bit).collect();
            if !bits.is_empty() {
                nested.insert(at + 1, bits);
            }
        }
        let top = (!top.is_empty()).then(|| bitmap(&top));
        let nested = nested
            .into_iter()
            .map(|(parent, bits)| format!("{parent}-{}", bitmap(&bits)));
        top.into_iter().chain(nested).collect()
    }

    fn values<'r>(&self, value: impl Fn(usize) -> Option<&'r Value>) -> Vec<u8> {
        let mut out = Vec::with_capacity(256);
        for slot in &self.slots {
            let (members, branch) = match slot {
                Slot::Plain(position) => {
                    write_nullable(&mut out, value(*position));
                    continue;
                }
                Slot::Switchable { members, .. } => (members, 2),
                Slot::Compound { members, .. } => (members, 1),
            };
            if members.iter().any(|member| value(*member).is_some()) {
                write_long(&mut out, branch);
                members
                    .iter()
                    .for_each(|member| write_nullable(&mut out, value(*member)));
                continue;
            }
            match slot {
                Slot::Switchable { name, .. } => write_nullable(&mut out, value(*name)),
                _ => write_long(&mut out, 0),
            }
        }
        out
    }

    /// An event's whole payload.
    pub fn payload(&self, header: &Header<'_>, body: &Body) -> Vec<u8> {
        let mut out = Vec::with_capacity(256 + body.values.len());
        write_string(&mut out, &self.entity_name);
        write_strings(&mut out, &header.record_ids);
        write_long(&mut out, header.change_type as i64);
        write_string(&mut out, header.change_origin);
        write_string(&mut out, header.transaction_key);
        write_long(&mut out, header.sequence_number);
        write_long(&mut out, header.commit_timestamp);
        write_long(&mut out, header.commit_number);
        write_string(&mut out, header.commit_user);
        write_strings(&mut out, &body.nulled);
        write_strings(&mut out, &body.diffed);
        write_strings(&mut out, &body.changed);
        out.extend(&body.values);
        out
    }
}

/// The difference of two long texts, where the platform would send it.
fn difference(before: &Value, after: &Value) -> Option<Value> {
    let (before, after) = (before.as_str()?, after.as_str()?);
    if before.chars().nth(DIFF_FROM - 1).is_none() || after.chars().nth(DIFF_FROM - 1).is_none() {
        return None;
    }
    diff::unified(before, after).map(Value::text)
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
