//! Turns an event's bytes into column values, by the schema that the event was written with.
//!
//! A schema is compiled once into a list of steps; an event is then read in one pass, straight into a reused
//! list of values that borrow from its bytes: no tree of values in between, no allocation per field. Positions
//! in a schema move whenever an admin adds or deletes a field, so nothing of one schema is used for another.
//!
//! Promises: any schema text and any bytes give a result or an error, in bounded memory. Bytes that are left
//! over are an error: they are the best sign of a wrong schema, though not a certain one.

mod bitmap;
mod bits;
mod copy;
mod diff;
mod fields;
mod header;
mod payload;
mod schema;

pub use bits::Bits;
pub use copy::Other;
pub use diff::{WHOLE, patch};
pub use fields::Leaf;
pub use header::{Bitmaps, Header};
pub use schema::SchemaError;

use self::bitmap::Entry;
use self::fields::{Body, Scalar, Step, Target};
use self::header::HeaderSteps;
use self::payload::{Cursor, Fault};
use self::schema::{Node, Nodes};
use crate::model::change::ChangeKind;
use crate::model::row::Value;
use crate::model::text::Text;

/// Why an event can not be read. It is parked with its bytes.
///
/// Of an event with an unknown kind or bitmap the header was read: [`Change::header`] names the records.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    #[error("the event does not follow its schema at byte {position}: {problem}")]
    Malformed { position: usize, problem: &'static str },
    #[error("change type {0} is not known to this version")]
    UnknownChangeType(String),
    #[error("the bitmap {0} does not fit the event's schema")]
    Bitmap(String),
}

/// A writer schema, ready to read events.
#[derive(Debug)]
pub struct EventSchema {
    entity: String,
    nodes: Nodes,
    header: HeaderSteps,
    body: Body,
}

/// What one event says. Made once and reused: its lists keep their room.
#[derive(Debug, Default)]
pub struct Change<'a> {
    pub header: Header<'a>,
    values: Vec<(usize, Value<'a>)>,
    changed: Bits,
    nulled: Bits,
    diffed: Bits,
    said: Bits,
    name_parts_changed: bool,
}

impl EventSchema {
    pub fn compile(schema_json: &str) -> Result<Self, SchemaError> {
        let (nodes, root) = Nodes::parse(schema_json)?;
        let Node::Record { name, fields } = nodes.get(root) else {
            return Err(SchemaError::NotChangeEvent("it is not a record".to_owned()));
        };
        let entity = entity(name)?;
        let header = HeaderSteps::compile(&nodes, fields.first())?;
        let body = Body::compile(&nodes, &fields[1..])?;
        Ok(Self {
            entity,
            header,
            body,
            nodes,
        })
    }

    /// The object whose changes these are: `Account`, `s_c__Store__c`.
    pub fn entity(&self) -> &str {
        &self.entity
    }

    /// What an event may carry a value of, under describe's names. A value's number is its place here.
    pub fn fields(&self) -> &[Leaf] {
        &self.body.leaves
    }

    pub fn decode<'a>(&self, payload: &'a [u8], into: &mut Change<'a>) -> Result<(), DecodeError> {
        into.reset(self.body.leaves.len());
        let mut cursor = Cursor::new(payload);
        self.read(&mut cursor, into)
            .map_err(|fault| DecodeError::Malformed {
                position: cursor.position(),
                problem: fault.problem(),
            })??;
        self.read_bitmaps(into)?;
        self.conclude(into);
        Ok(())
    }

    fn read<'a>(
        &self,
        cursor: &mut Cursor<'a>,
        into: &mut Change<'a>,
    ) -> Result<Result<(), DecodeError>, Fault> {
        if let Err(symbol) = self.header.read(&self.nodes, cursor, &mut into.header)? {
            return Ok(Err(DecodeError::UnknownChangeType(symbol)));
        }
        // A copy that no call but inlined ones takes by reference stays in registers.
        let mut here = *cursor;
        for step in &self.body.steps {
            let read = match step {
                Step::Nullable(leaf, scalar) => read_nullable(*leaf, *scalar, &mut here, &mut into.values),
                _ => {
                    let mut there = here;
                    let read = read_value(&self.nodes, step, &mut there, &mut into.values);
                    here = there;
                    read
                }
            };
            if read.is_err() {
                *cursor = here;
                return read.map(Ok);
            }
        }
        *cursor = here;
        cursor.end()?;
        Ok(Ok(()))
    }

    fn read_bitmaps(&self, into: &mut Change<'_>) -> Result<(), DecodeError> {
        let header = &into.header;
        let lists = [
            (&header.changed, &mut into.changed),
            (&header.nulled, &mut into.nulled),
            (&header.diffed, &mut into.diffed),
        ];
        for (entries, bits) in lists {
            for entry in entries {
                self.read_bitmap(*entry, &into.values, bits)
                    .ok_or_else(|| DecodeError::Bitmap(entry.as_str().to_owned()))?;
            }
        }
        Ok(())
    }

    /// `None` where the entry is malformed or names a position that the schema does not have.
    fn read_bitmap(&self, entry: Text<'_>, values: &[(usize, Value<'_>)], bits: &mut Bits) -> Option<()> {
        let entry = Entry::parse(entry.as_bytes())?;
        let Some(parent) = entry.parent else {
            for position in entry.positions() {
                match self.body.targets.get(position)? {
                    Target::Nothing => {}
                    Target::Leaf(leaf) => bits.insert(*leaf),
                    // A compound that holds plain text now says nothing of its members.
                    Target::Compound { text: Some(leaf), .. } if holds(values, *leaf) => bits.insert(*leaf),
                    Target::Compound { text, members } => {
                        text.iter()
                            .chain(members.iter().flatten())
                            .for_each(|leaf| bits.insert(*leaf));
                    }
                }
            }
            return Some(());
        };
        let Target::Compound { members, .. } = self.body.targets.get(parent)? else {
            return None;
        };
        for position in entry.positions() {
            if let Some(leaf) = members.get(position)? {
                bits.insert(*leaf);
            }
        }
        Some(())
    }

    fn conclude(&self, into: &mut Change<'_>) {
        match into.header.kind {
            ChangeKind::Create | ChangeKind::Undelete => into.said.insert_below(self.body.leaves.len()),
            ChangeKind::Update => {
                into.said.unite(&into.changed);
                into.said.unite(&into.nulled);
                into.values.iter().for_each(|(leaf, _)| into.said.insert(*leaf));
                into.said.subtract(&into.diffed);
            }
            ChangeKind::Delete | ChangeKind::Gap(_) | ChangeKind::Overflow | ChangeKind::Snapshot => return,
        }
        let is_text = self.body.text_name.is_some_and(|leaf| holds(&into.values, leaf));
        into.name_parts_changed =
            !is_text && self.body.name_parts.iter().any(|leaf| into.said.contains(*leaf));
    }
}

/// The object of an event: `s_c__Store__ChangeEvent` is told of `s_c__Store__c`.
pub fn entity(event: &str) -> Result<String, SchemaError> {
    match (
        event.strip_suffix("__ChangeEvent"),
        event.strip_suffix("ChangeEvent"),
    ) {
        (Some(custom), _) if !custom.is_empty() => Ok(format!("{custom}__c")),
        (_, Some(standard)) if !standard.is_empty() => Ok(standard.to_owned()),
        _ => Err(SchemaError::NotChangeEvent(format!("it is named {event}"))),
    }
}

#[inline(always)]
fn read_nullable<'a>(
    leaf: usize,
    scalar: Scalar,
    cursor: &mut Cursor<'a>,
    values: &mut Vec<(usize, Value<'a>)>,
) -> Result<(), Fault> {
    if cursor.is_some()? {
        values.push((leaf, scalar.read(cursor)?));
    }
    Ok(())
}

fn read_value<'a>(
    nodes: &Nodes,
    step: &Step,
    cursor: &mut Cursor<'a>,
    values: &mut Vec<(usize, Value<'a>)>,
) -> Result<(), Fault> {
    match step {
        Step::Nullable(leaf, scalar) => read_nullable(*leaf, *scalar, cursor, values)?,
        Step::Scalar(leaf, scalar) => values.push((*leaf, scalar.read(cursor)?)),
        Step::Null => {}
        Step::Union(branches) => {
            let branch = cursor.index(branches.len())?;
            read_value(nodes, &branches[branch], cursor, values)?;
        }
        Step::Record(members) => {
            for member in members {
                read_value(nodes, member, cursor, values)?;
            }
        }
        Step::Skip(node) => cursor.skip(nodes, *node)?,
    }
    Ok(())
}

fn holds(values: &[(usize, Value<'_>)], leaf: usize) -> bool {
    values.binary_search_by_key(&leaf, |(leaf, _)| *leaf).is_ok()
}

impl<'a> Change<'a> {
    fn reset(&mut self, leaves: usize) {
        self.header.clear();
        self.values.clear();
        self.values.reserve(leaves);
        self.name_parts_changed = false;
        for bits in [
            &mut self.changed,
            &mut self.nulled,
            &mut self.diffed,
            &mut self.said,
        ] {
            bits.reset(leaves);
        }
    }

    /// What the event says of the record, in the order of the schema's fields.
    ///
    /// Of a created or undeleted record: every field. Of an updated one: the changed fields, with their value or
    /// null, and fields that have a value though they are not listed (formulas, enrichment; see
    /// [`Change::is_listed`]). Of anything else: nothing. A text that came as a difference is not among them.
    pub fn says(&self) -> impl Iterator<Item = (usize, Value<'a>)> {
        let mut values = self.values.iter();
        let mut next = values.next();
        self.said.iter().map(move |leaf| {
            while let Some((other, value)) = next.filter(|(other, _)| *other <= leaf) {
                next = values.next();
                if *other == leaf {
                    return (leaf, *value);
                }
            }
            (leaf, Value::Null)
        })
    }

    /// The values as the event has them: everything that is not null.
    pub fn values(&self) -> &[(usize, Value<'a>)] {
        &self.values
    }

    /// Whether a field of an update is named as changed; others only happen to have a value.
    pub fn is_listed(&self, leaf: usize) -> bool {
        self.changed.contains(leaf) || self.nulled.contains(leaf)
    }

    pub fn changed(&self) -> &Bits {
        &self.changed
    }

    pub fn nulled(&self) -> &Bits {
        &self.nulled
    }

    /// Fields whose value is a difference to the one before, which only the whole text can replace.
    pub fn diffed(&self) -> &Bits {
        &self.diffed
    }

    pub fn has_diff(&self) -> bool {
        !self.diffed.is_empty()
    }

    /// Whether a person's name has to be put together again from the stored parts: events carry the parts that
    /// changed, never the whole.
    pub fn name_parts_changed(&self) -> bool {
        self.name_parts_changed
    }
}

#[cfg(test)]
mod tests;
