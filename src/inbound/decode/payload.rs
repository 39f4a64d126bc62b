//! Reads Avro binary from a borrowed payload.
//!
//! Promises: no read goes past the end, no length is believed before it is compared with what is left, and
//! skipping a value of any type is bounded in depth and in steps, so that no payload can make it run away.
//! Nothing is allocated.

use super::schema::{Node, Nodes};
use crate::model::text::Text;

/// What is wrong with the bytes; where, the cursor knows. One byte, so that a result travels in registers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    EndsEarly,
    LeftOver,
    LongTooLong,
    IntTooLong,
    NoBoolean,
    NegativeLength,
    NoUtf8,
    NoSuchIndex,
    CountOutOfRange,
    CountTooHigh,
    TooDeep,
}

impl Fault {
    pub fn problem(self) -> &'static str {
        match self {
            Self::EndsEarly => "the payload ends in the middle of a value",
            Self::LeftOver => "bytes are left over after the last field",
            Self::LongTooLong => "a number is longer than 64 bits",
            Self::IntTooLong => "an int is longer than 32 bits",
            Self::NoBoolean => "a boolean is neither 0 nor 1",
            Self::NegativeLength => "a length is negative",
            Self::NoUtf8 => "a text is not UTF-8",
            Self::NoSuchIndex => "a union branch or enum symbol does not exist in the schema",
            Self::CountOutOfRange => "a block's count is out of range",
            Self::CountTooHigh => "a block counts more items than there are bytes left",
            Self::TooDeep => "a value is nested too deep or has too many parts",
        }
    }
}

/// Deepest nesting that is skipped; real events have two levels.
const SKIP_DEPTH_MAX: u32 = 64;
/// Most values that are skipped in one event. Types of no width could otherwise go on without using bytes.
const SKIP_STEPS_MAX: u32 = 1 << 20;

/// A place in a payload.
#[derive(Clone, Copy)]
pub(super) struct Cursor<'a> {
    rest: &'a [u8],
    length: usize,
    steps: u32,
}

impl<'a> Cursor<'a> {
    pub fn new(payload: &'a [u8]) -> Self {
        Self {
            rest: payload,
            length: payload.len(),
            steps: 0,
        }
    }

    /// Bytes read so far.
    pub fn position(&self) -> usize {
        self.length - self.rest.len()
    }

    pub fn end(&self) -> Result<(), Fault> {
        if self.rest.is_empty() {
            Ok(())
        } else {
            Err(Fault::LeftOver)
        }
    }

    #[inline]
    fn byte(&mut self) -> Result<u8, Fault> {
        let (first, rest) = self.rest.split_first().ok_or(Fault::EndsEarly)?;
        self.rest = rest;
        Ok(*first)
    }

    #[inline]
    fn take(&mut self, length: usize) -> Result<&'a [u8], Fault> {
        let (taken, rest) = self.rest.split_at_checked(length).ok_or(Fault::EndsEarly)?;
        self.rest = rest;
        Ok(taken)
    }

    #[inline]
    fn array<const N: usize>(&mut self) -> Result<[u8; N], Fault> {
        let (taken, rest) = self.rest.split_first_chunk::<N>().ok_or(Fault::EndsEarly)?;
        self.rest = rest;
        Ok(*taken)
    }

    #[inline(always)]
    pub fn long(&mut self) -> Result<i64, Fault> {
        let (first, rest) = self.rest.split_first().ok_or(Fault::EndsEarly)?;
        if *first < 0x80 {
            self.rest = rest;
            return Ok(unzigzag(u64::from(*first)));
        }
        let (value, rest) = long_varint(self.rest)?;
        self.rest = rest;
        Ok(unzigzag(value))
    }

    #[inline(always)]
    pub fn int(&mut self) -> Result<i32, Fault> {
        i32::try_from(self.long()?).map_err(|_| Fault::IntTooLong)
    }

    #[inline]
    pub fn boolean(&mut self) -> Result<bool, Fault> {
        match self.byte()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(Fault::NoBoolean),
        }
    }

    #[inline]
    pub fn double(&mut self) -> Result<f64, Fault> {
        self.array().map(f64::from_le_bytes)
    }

    #[inline]
    pub fn float(&mut self) -> Result<f32, Fault> {
        self.array().map(f32::from_le_bytes)
    }

    #[inline(always)]
    fn blob(&mut self) -> Result<&'a [u8], Fault> {
        let length = self.long()?;
        self.take(usize::try_from(length).map_err(|_| Fault::NegativeLength)?)
    }

    #[inline(always)]
    pub fn text(&mut self) -> Result<Text<'a>, Fault> {
        Text::checked(self.blob()?).ok_or(Fault::NoUtf8)
    }

    /// The index of a union's branch or of an enum's symbol, of which there are `count`.
    #[inline(always)]
    pub fn index(&mut self, count: usize) -> Result<usize, Fault> {
        usize::try_from(self.long()?)
            .ok()
            .filter(|index| *index < count)
            .ok_or(Fault::NoSuchIndex)
    }

    /// Whether a `["null", X]` union holds an X.
    #[inline]
    pub fn is_some(&mut self) -> Result<bool, Fault> {
        match self.rest {
            [0, rest @ ..] => {
                self.rest = rest;
                Ok(false)
            }
            [2, rest @ ..] => {
                self.rest = rest;
                Ok(true)
            }
            _ => self.index(2).map(|branch| branch == 1),
        }
    }

    /// How many items the next block of an array or map has; 0 ends it.
    ///
    /// Every item that an event can hold is at least one byte, so a block of more items than bytes left is
    /// refused before anyone reserves memory for it.
    pub fn block(&mut self) -> Result<usize, Fault> {
        let mut count = self.long()?;
        if count < 0 {
            // A negative count is followed by the block's size in bytes, which is of no use here.
            self.long()?;
            count = count.checked_neg().ok_or(Fault::CountOutOfRange)?;
        }
        let count = usize::try_from(count).map_err(|_| Fault::CountOutOfRange)?;
        if count > self.rest.len() {
            return Err(Fault::CountTooHigh);
        }
        Ok(count)
    }

    /// Reads an array of texts into a list that is reused.
    pub fn texts(&mut self, into: &mut Vec<Text<'a>>) -> Result<(), Fault> {
        loop {
            let count = self.block()?;
            if count == 0 {
                return Ok(());
            }
            for _ in 0..count {
                into.push(self.text()?);
            }
        }
    }

    /// [`Cursor::texts`] by value.
    #[inline(always)]
    pub fn after_texts(self, into: &mut Vec<Text<'a>>) -> Result<Self, Fault> {
        let mut there = self;
        there.texts(into)?;
        Ok(there)
    }

    /// Passes over a value of any type.
    pub fn skip(&mut self, nodes: &Nodes, id: usize) -> Result<(), Fault> {
        self.skip_nested(nodes, id, 0)
    }

    fn skip_nested(&mut self, nodes: &Nodes, id: usize, depth: u32) -> Result<(), Fault> {
        self.steps += 1;
        if depth > SKIP_DEPTH_MAX || self.steps > SKIP_STEPS_MAX {
            return Err(Fault::TooDeep);
        }
        match nodes.get(id) {
            Node::Null => {}
            Node::Boolean => {
                self.boolean()?;
            }
            Node::Int => {
                self.int()?;
            }
            Node::Long => {
                self.long()?;
            }
            Node::Float => {
                self.float()?;
            }
            Node::Double => {
                self.double()?;
            }
            Node::Bytes => {
                self.blob()?;
            }
            Node::Text => {
                self.text()?;
            }
            Node::Fixed(size) => {
                self.take(*size)?;
            }
            Node::Enum(symbols) => {
                self.index(symbols.len())?;
            }
            Node::Union(branches) => {
                let branch = self.index(branches.len())?;
                self.skip_nested(nodes, branches[branch], depth + 1)?;
            }
            Node::Record { fields, .. } => {
                for field in fields {
                    self.skip_nested(nodes, field.node, depth + 1)?;
                }
            }
            Node::Array(item) => self.skip_items(nodes, *item, false, depth)?,
            Node::Map(item) => self.skip_items(nodes, *item, true, depth)?,
        }
        Ok(())
    }

    fn skip_items(&mut self, nodes: &Nodes, item: usize, keyed: bool, depth: u32) -> Result<(), Fault> {
        loop {
            let count = self.block()?;
            if count == 0 {
                return Ok(());
            }
            for _ in 0..count {
                if keyed {
                    self.text()?;
                }
                self.skip_nested(nodes, item, depth + 1)?;
            }
        }
    }
}

/// Takes the bytes by value, so that a cursor can stay in registers around the call.
fn long_varint(bytes: &[u8]) -> Result<(u64, &[u8]), Fault> {
    let mut value = 0;
    for (index, byte) in bytes.iter().enumerate().take(10) {
        if index == 9 && *byte > 1 {
            break;
        }
        value |= u64::from(byte & 0x7f) << (7 * index);
        if *byte < 0x80 {
            return Ok((value, &bytes[index + 1..]));
        }
    }
    Err(if bytes.len() < 10 {
        Fault::EndsEarly
    } else {
        Fault::LongTooLong
    })
}

#[inline]
fn unzigzag(value: u64) -> i64 {
    (value >> 1).cast_signed() ^ -(value & 1).cast_signed()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_zigzag_varints() {
        let cases: [(&[u8], Result<i64, Fault>); 7] = [
            (&[0], Ok(0)),
            (&[1], Ok(-1)),
            (&[0x80, 1], Ok(64)),
            (
                &[0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1],
                Ok(i64::MAX),
            ),
            (
                &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1],
                Ok(i64::MIN),
            ),
            (&[0xff; 10], Err(Fault::LongTooLong)),
            (&[0x80], Err(Fault::EndsEarly)),
        ];
        for (bytes, expected) in cases {
            assert_eq!(Cursor::new(bytes).long(), expected, "{bytes:?}");
        }
    }

    #[test]
    fn arrays_may_come_in_blocks_with_their_size() {
        // Two items in a block with its size, one in a block without.
        let bytes = [3, 8, 2, b'a', 2, b'b', 2, 2, b'c', 0];
        let mut texts = Vec::new();
        let mut cursor = Cursor::new(&bytes);
        assert_eq!(cursor.texts(&mut texts), Ok(()));
        assert_eq!(
            texts.iter().map(|text| text.as_str()).collect::<Vec<_>>(),
            ["a", "b", "c"]
        );
        assert_eq!(cursor.end(), Ok(()));
    }

    #[test]
    fn lengths_are_not_believed() {
        let mut texts = Vec::new();
        let cases: [&[u8]; 4] = [
            &[0xfe, 0xff, 0xff, 0xff, 0x0f, 0],
            &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1, 0],
            &[2, 0xfe, 0xff, 0xff, 0xff, 0x0f],
            &[2, 1],
        ];
        for bytes in cases {
            assert!(Cursor::new(bytes).texts(&mut texts).is_err(), "{bytes:?}");
        }
    }
}
