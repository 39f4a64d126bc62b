//! Writes an event again with other values: the header as it was, each value as whoever copies it wants it.
//!
//! What no column can hold (bytes, arrays, maps, deep records) is emptied: it is not known what it says. The copy
//! follows the same schema, so everything that reads events reads it.

use super::fields::{Scalar, Step};
use super::payload::{Cursor, Fault};
use super::schema::{Node, Nodes};
use super::{DecodeError, EventSchema};
use crate::inbound::decode::Header;
use crate::model::row::Value;

/// Deepest value that is emptied; real events have two levels.
const DEPTH_MAX: u32 = 64;

/// A value in the place of another, of the same sort: dates and times in their milliseconds.
#[derive(Clone, Debug, PartialEq)]
pub enum Other {
    /// Null; the least value of its type where the schema has no null in its place.
    Nothing,
    Integer(i64),
    Real(f64),
    Text(String),
}

/// The first branch of a field that may be null, as bytes.
const NULL_BRANCH: u8 = 0;

/// Whether anything is left of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kept {
    Something,
    Nothing,
}

/// Asked for each value by the number of its leaf; `None` where it stays.
type Replace<'r> = &'r mut dyn FnMut(usize, Value<'_>) -> Option<Other>;

struct Copier<'c> {
    nodes: &'c Nodes,
    payload: &'c [u8],
    out: Vec<u8>,
}

impl EventSchema {
    /// The event's bytes with other values.
    pub fn copy(&self, payload: &[u8], replace: Replace<'_>) -> Result<Vec<u8>, DecodeError> {
        let mut cursor = Cursor::new(payload);
        let mut copier = Copier {
            nodes: &self.nodes,
            payload,
            out: Vec::with_capacity(payload.len()),
        };
        let copied = (|| {
            let mut header = Header::default();
            if let Err(symbol) = self.header.read(&self.nodes, &mut cursor, &mut header)? {
                return Ok(Err(DecodeError::UnknownChangeType(symbol)));
            }
            copier.out.extend_from_slice(&payload[..cursor.position()]);
            for step in &self.body.steps {
                copier.step(step, &mut cursor, replace)?;
            }
            cursor.end().map(Ok)
        })();
        copied.map_err(|fault: Fault| DecodeError::Malformed {
            position: cursor.position(),
            problem: fault.problem(),
        })??;
        Ok(copier.out)
    }
}

impl Copier<'_> {
    fn step(&mut self, step: &Step, cursor: &mut Cursor<'_>, replace: Replace<'_>) -> Result<(), Fault> {
        match step {
            Step::Nullable(leaf, scalar) => {
                let (before, began) = (cursor.position(), self.out.len());
                let is_some = cursor.is_some()?;
                self.same(before, cursor);
                if is_some && self.scalar(*leaf, *scalar, cursor, replace)? == Kept::Nothing {
                    self.out.truncate(began);
                    self.out.push(NULL_BRANCH);
                }
            }
            Step::Scalar(leaf, scalar) => {
                self.scalar(*leaf, *scalar, cursor, replace)?;
            }
            Step::Null => {}
            Step::Union(branches) => {
                let before = cursor.position();
                let branch = cursor.index(branches.len())?;
                self.same(before, cursor);
                self.step(&branches[branch], cursor, replace)?;
            }
            Step::Record(members) => {
                for member in members {
                    self.step(member, cursor, replace)?;
                }
            }
            Step::Skip(node) => {
                cursor.skip(self.nodes, *node)?;
                self.empty(*node, 0)?;
            }
        }
        Ok(())
    }

    /// The bytes that the cursor has passed since.
    fn same(&mut self, since: usize, cursor: &Cursor<'_>) {
        self.out
            .extend_from_slice(&self.payload[since..cursor.position()]);
    }

    fn scalar(
        &mut self,
        leaf: usize,
        scalar: Scalar,
        cursor: &mut Cursor<'_>,
        replace: Replace<'_>,
    ) -> Result<Kept, Fault> {
        let before = cursor.position();
        let value = scalar.read(cursor)?;
        match (scalar, replace(leaf, value)) {
            (_, Some(Other::Nothing)) => {
                let zeros = match scalar {
                    Scalar::Float => 4,
                    Scalar::Double => 8,
                    _ => 1,
                };
                self.out.resize(self.out.len() + zeros, 0);
                return Ok(Kept::Nothing);
            }
            (Scalar::Text, Some(Other::Text(text))) => {
                self.long(i64::try_from(text.len()).map_err(|_| Fault::CountOutOfRange)?);
                self.out.extend_from_slice(text.as_bytes());
            }
            (
                Scalar::Int | Scalar::Long | Scalar::DateTime | Scalar::Date | Scalar::Time,
                Some(Other::Integer(number)),
            ) => self.long(number),
            #[allow(clippy::cast_possible_truncation)]
            (Scalar::Float, Some(Other::Real(number))) => {
                self.out.extend_from_slice(&(number as f32).to_le_bytes());
            }
            (Scalar::Double, Some(Other::Real(number))) => {
                self.out.extend_from_slice(&number.to_le_bytes());
            }
            // No value, or none of its sort, is to stand in its place.
            _ => self.same(before, cursor),
        }
        Ok(Kept::Something)
    }

    /// The least value of a type.
    fn empty(&mut self, node: usize, depth: u32) -> Result<(), Fault> {
        if depth > DEPTH_MAX {
            return Err(Fault::TooDeep);
        }
        match self.nodes.get(node) {
            Node::Null => {}
            Node::Float => self.out.extend_from_slice(&[0; 4]),
            Node::Double => self.out.extend_from_slice(&[0; 8]),
            Node::Fixed(size) => self.out.resize(self.out.len() + size, 0),
            Node::Union(branches) => {
                let is_null = |branch: &usize| matches!(self.nodes.get(*branch), Node::Null);
                let branch = branches.iter().position(is_null).unwrap_or(0);
                self.long(i64::try_from(branch).map_err(|_| Fault::NoSuchIndex)?);
                let chosen = branches.get(branch).ok_or(Fault::NoSuchIndex)?;
                self.empty(*chosen, depth + 1)?;
            }
            Node::Record { fields, .. } => {
                for field in fields {
                    self.empty(field.node, depth + 1)?;
                }
            }
            // Zero, no bytes, no items, the first symbol.
            Node::Boolean
            | Node::Int
            | Node::Long
            | Node::Bytes
            | Node::Text
            | Node::Enum(_)
            | Node::Array(_)
            | Node::Map(_) => self.out.push(0),
        }
        Ok(())
    }

    /// A zigzag varint.
    fn long(&mut self, number: i64) {
        let mut rest = ((number << 1) ^ (number >> 63)).cast_unsigned();
        while rest >= 0x80 {
            self.out.push(0x80 | u8::try_from(rest & 0x7f).unwrap_or(0));
            rest >>= 7;
        }
        self.out.push(u8::try_from(rest).unwrap_or(0));
    }
}
