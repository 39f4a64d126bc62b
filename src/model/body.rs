//! Reads the JSON that a storefront or a person sends: the one door for all of it. Pure.
//!
//! A member that stands twice is refused: of the two values one would be dropped without a word. A number with more digits
//! than a double keeps is refused too: it would become another one. In one pass; nothing of a value is repeated in what is
//! said of it. What cannot be read is told as what it is.

use std::cell::RefCell;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

use crate::model::order::card;
use crate::model::order::digits::{self, Digits};
use crate::model::order::parse::Invalid;

/// Longest name of a member that is repeated in an answer.
const NAME_CHARACTERS_MAX: usize = 200;

/// Most levels of a body: a write has five.
const DEPTH_MAX: usize = 64;

/// Why a text is not taken.
#[derive(Debug, PartialEq, Eq)]
pub enum Refusal {
    /// It is JSON, and a member of it cannot be taken.
    Member(Invalid),
    /// It cannot be read at all. What follows the name of it: `is not JSON`.
    Whole(String),
}

impl Refusal {
    /// One sentence about the text, which is called `name`.
    pub fn sentence(&self, name: &str) -> String {
        match self {
            Self::Member(Invalid { field, message, .. }) if !field.is_empty() => format!("{field} {message}"),
            Self::Member(Invalid { message, .. }) | Self::Whole(message) => format!("{name} {message}"),
        }
    }
}

/// What is wrong with a text that is JSON.
enum Fault {
    /// The path of a member.
    Twice(String),
    /// The path of a number.
    Inexact(String),
    Deep,
}

/// Longest text of a number that a double keeps for certain, unless it has an exponent.
const EXACT_BYTES_MAX: usize = 15;

/// The numbers of a text as they are written, in their order. What is no JSON has any.
#[derive(Debug)]
struct Numbers<'b> {
    rest: &'b [u8],
}

impl<'b> Numbers<'b> {
    fn next(&mut self) -> Option<&'b [u8]> {
        let mut in_text = false;
        let mut at = 0;
        while let Some(byte) = self.rest.get(at) {
            match (in_text, byte) {
                (true, b'\\') => at += 1,
                (_, b'"') => in_text = !in_text,
                (false, b'-' | b'0'..=b'9') => {
                    let from = &self.rest[at..];
                    let is_part = |byte: &u8| matches!(byte, b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'E');
                    let length = from.iter().take_while(|byte| is_part(byte)).count();
                    let (number, rest) = from.split_at(length);
                    self.rest = rest;
                    return Some(number);
                }
                _ => {}
            }
            at += 1;
        }
        self.rest = &[];
        None
    }

    /// Whether the next one is written with the digits of the double that it was read as.
    fn next_is(&mut self, read: f64) -> bool {
        let text = self.next().and_then(|text| std::str::from_utf8(text).ok());
        let Some(text) = text else { return false };
        let is_short = text.len() <= EXACT_BYTES_MAX && !text.contains(['e', 'E']);
        is_short || Digits::of(text).is_some_and(|digits| digits.are_of(read))
    }
}

/// The text as JSON.
pub fn read(body: &[u8]) -> Result<Value, Refusal> {
    let (fault, numbers) = (RefCell::new(None), RefCell::new(Numbers { rest: body }));
    let place = At {
        place: Place::Top,
        depth: 0,
        fault: &fault,
        numbers: &numbers,
    };
    let mut json = serde_json::Deserializer::from_slice(body);
    let value = place.deserialize(&mut json).and_then(|value| {
        json.end()?;
        Ok(value)
    });
    let member = |path, message| Err(Refusal::Member(Invalid::new(path, message)));
    match (value, fault.into_inner()) {
        (_, Some(Fault::Twice(path))) => member(path, "stands twice in the body: send it once"),
        (_, Some(Fault::Inexact(path))) => member(path, digits::TOO_MANY),
        (_, Some(Fault::Deep)) => Err(Refusal::Whole(format!(
            "is nested more than {DEPTH_MAX} deep, as no write is: send it flat"
        ))),
        (Ok(value), None) => Ok(value),
        (Err(error), None) => Err(Refusal::Whole(unreadable(body, &error))),
    }
}

/// Why a text cannot be read.
fn unreadable(body: &[u8], error: &serde_json::Error) -> String {
    let (line, column) = (error.line(), error.column());
    if body.trim_ascii().is_empty() {
        return "is empty: send JSON".to_owned();
    }
    if error.is_eof() {
        return format!("is not JSON: it ends before it is complete (line {line})");
    }
    // The library has no other sign of it.
    if error.to_string().starts_with("number out of range") {
        return format!("has a number that is too large (line {line}, column {column})");
    }
    format!("is not JSON (line {line}, column {column})")
}

/// Where a value stands, up to the whole.
#[derive(Clone, Copy)]
enum Place<'p> {
    Top,
    Member(&'p Place<'p>, &'p str),
    Index(&'p Place<'p>, usize),
}

impl Place<'_> {
    /// `items[2].quantity`, unless it cannot be repeated.
    fn path(&self) -> String {
        let mut path = String::new();
        self.write(&mut path);
        match card::contains(&path) || path.chars().count() > NAME_CHARACTERS_MAX {
            true => "a member".to_owned(),
            false => path,
        }
    }

    fn write(&self, path: &mut String) {
        match self {
            Self::Top => {}
            Self::Member(whole, name) => {
                whole.write(path);
                if !path.is_empty() {
                    path.push('.');
                }
                path.push_str(name);
            }
            Self::Index(whole, index) => {
                whole.write(path);
                path.push_str(&format!("[{index}]"));
            }
        }
    }
}

/// A value to be read. `fault` takes what is wrong with it.
#[derive(Clone, Copy)]
struct At<'p, 'b> {
    place: Place<'p>,
    depth: usize,
    fault: &'p RefCell<Option<Fault>>,
    numbers: &'p RefCell<Numbers<'b>>,
}

impl<'p> At<'p, '_> {
    /// A value inside of this one.
    fn inside<E: serde::de::Error>(&self, place: Place<'p>) -> Result<Self, E> {
        if self.depth == DEPTH_MAX {
            *self.fault.borrow_mut() = Some(Fault::Deep);
            return Err(E::custom("it is nested too deep"));
        }
        Ok(Self {
            place,
            depth: self.depth + 1,
            fault: self.fault,
            numbers: self.numbers,
        })
    }

    /// A number, unless it was written as another one.
    fn number<E: serde::de::Error>(&self, number: impl Into<Number>) -> Result<Value, E> {
        let number = number.into();
        let is_exact = number
            .as_f64()
            .is_some_and(|read| self.numbers.borrow_mut().next_is(read));
        if !is_exact {
            *self.fault.borrow_mut() = Some(Fault::Inexact(self.place.path()));
            return Err(E::custom("a number has too many digits"));
        }
        Ok(Value::Number(number))
    }
}

impl<'de> DeserializeSeed<'de> for At<'_, '_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for At<'_, '_> {
    type Value = Value;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, flag: bool) -> Result<Value, E> {
        Ok(flag.into())
    }

    fn visit_i64<E: serde::de::Error>(self, number: i64) -> Result<Value, E> {
        self.number(number)
    }

    fn visit_u64<E: serde::de::Error>(self, number: u64) -> Result<Value, E> {
        self.number(number)
    }

    fn visit_f64<E: serde::de::Error>(self, number: f64) -> Result<Value, E> {
        match Number::from_f64(number) {
            Some(number) => self.number(number),
            None => Err(E::custom("no number")),
        }
    }

    fn visit_str<E>(self, text: &str) -> Result<Value, E> {
        Ok(text.into())
    }

    fn visit_string<E>(self, text: String) -> Result<Value, E> {
        Ok(text.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Value, A::Error> {
        let mut values = Vec::new();
        loop {
            let at = self.inside(Place::Index(&self.place, values.len()))?;
            match list.next_element_seed(at)? {
                Some(value) => values.push(value),
                None => return Ok(values.into()),
            }
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut members = Map::new();
        while let Some(name) = map.next_key::<String>()? {
            let place = Place::Member(&self.place, &name);
            if members.contains_key(&name) {
                *self.fault.borrow_mut() = Some(Fault::Twice(place.path()));
                return Err(A::Error::custom("a member stands twice"));
            }
            let value = map.next_value_seed(self.inside(place)?)?;
            members.insert(name, value);
        }
        Ok(members.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_read_as_it_stands() {
        for text in [
            r#"{"b":[1,-2,1.5,"x",true,null,{"a":{}}],"a":1e300,"c":9007199254740992}"#,
            "[]",
            "null",
            r#""text""#,
        ] {
            let expected: Value = serde_json::from_str(text).unwrap();
            let read = read(text.as_bytes()).unwrap();
            assert_eq!(read.to_string(), expected.to_string(), "members keep their order");
        }
    }

    #[test]
    fn a_member_that_stands_twice_is_named() {
        for (text, expected) in [
            (r#"{"a":1,"a":1}"#, "a stands twice"),
            (
                r#"{"customer":{"email":"a","email":"b"}}"#,
                "customer.email stands twice",
            ),
            (
                r#"{"items":[{},{"x":{"q":1,"q":2}}]}"#,
                "items[1].x.q stands twice",
            ),
            // The same name, written in another way.
            (r#"{"a":1,"\u0061":2}"#, "a stands twice"),
            (
                r#"{"4111111111111111":1,"4111111111111111":2}"#,
                "a member stands twice",
            ),
            ("{\"a\":1", "not JSON"),
            ("{} {}", "not JSON"),
        ] {
            let told = read(text.as_bytes()).unwrap_err().sentence("the body");
            assert!(told.contains(expected), "{text}: {told}");
        }
        // One name in two objects is two members.
        assert!(read(br#"[{"a":1},{"a":1},{"b":{"a":1}}]"#).is_ok());
    }

    #[test]
    fn a_number_that_would_become_another_one_is_named() {
        for (text, expected) in [
            (r#"{"a":1,"b":[2,{"c":0.12345678901234567}]}"#, "b[1].c"),
            (r#"{"a":"1, \\\" 2","b":9007199254740993}"#, "b"),
            (r#"{"a":-12345678901234567890}"#, "a"),
            (r#"{"a":18446744073709551616}"#, "a"),
            (r#"{"a":1.0000000000000000001}"#, "a"),
            (r#"{"a":1e-400}"#, "a"),
            ("[1.5, 19.999999999999999]", "[1]"),
        ] {
            let told = read(text.as_bytes()).unwrap_err().sentence("the body");
            let expected = format!("{expected} {}", digits::TOO_MANY);
            assert!(told.contains(&expected), "{text}: {told}");
        }
        for text in [
            "19.90",
            "1.5e3",
            "100000000000000000000",
            "123456789012.345",
            "0.1",
            "-0.0",
            "1.7976931348623157e308",
            r#"{"0.12345678901234567": "0.12345678901234567"}"#,
        ] {
            assert!(read(text.as_bytes()).is_ok(), "{text}");
        }
    }

    #[test]
    fn what_cannot_be_read_is_told_as_what_it_is() {
        let nested = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
        let deep = "the body is nested more than 64 deep, as no write is: send it flat";
        for (text, expected) in [
            (
                r#"{"a": 1e400}"#.to_owned(),
                "the body has a number that is too large (line 1",
            ),
            (
                r#"{"a": -1e400}"#.to_owned(),
                "the body has a number that is too large (line 1",
            ),
            (nested(200), deep),
            ("{\"a\":".repeat(200), deep),
            ("[".repeat(100_000), deep),
            (String::new(), "the body is empty: send JSON"),
            (
                "{\"a\":1".to_owned(),
                "the body is not JSON: it ends before it is complete (line 1)",
            ),
            ("a=1".to_owned(), "the body is not JSON (line 1"),
        ] {
            let told = read(text.as_bytes()).unwrap_err().sentence("the body");
            assert!(told.contains(expected), "{told}");
        }
        assert!(read(nested(64).as_bytes()).is_ok());
    }
}
