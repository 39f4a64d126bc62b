//! Reads JSON bodies, and refuses those in which a member stands twice: of the two values one would be dropped without a
//! word. In one pass; nothing of a value is repeated in what is said of it. What cannot be read is told as what it is.

use std::cell::RefCell;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

use crate::model::order::card;
use crate::model::order::parse::Invalid;
use crate::serve::problem::Problem;

/// Longest name of a member that is repeated in an answer.
const NAME_CHARACTERS_MAX: usize = 200;

/// Most levels of a body: a write has five.
const DEPTH_MAX: usize = 64;

/// What is wrong with a body that is JSON.
enum Fault {
    /// The path of a member.
    Twice(String),
    Deep,
}

/// The body as JSON.
pub fn read(body: &[u8]) -> Result<Value, Problem> {
    let fault = RefCell::new(None);
    let place = At {
        place: Place::Top,
        depth: 0,
        fault: &fault,
    };
    let mut json = serde_json::Deserializer::from_slice(body);
    let value = place.deserialize(&mut json).and_then(|value| {
        json.end()?;
        Ok(value)
    });
    match (value, fault.into_inner()) {
        (_, Some(Fault::Twice(path))) => {
            Err(Invalid::new(path, "stands twice in the body: send it once").into())
        }
        (_, Some(Fault::Deep)) => Err(Problem::bad_request(format!(
            "the body is nested more than {DEPTH_MAX} deep, as no write is: send it flat"
        ))),
        (Ok(value), None) => Ok(value),
        (Err(error), None) => Err(Problem::bad_request(unreadable(body, &error))),
    }
}

/// Why a body cannot be read.
fn unreadable(body: &[u8], error: &serde_json::Error) -> String {
    let (line, column) = (error.line(), error.column());
    if body.trim_ascii().is_empty() {
        return "the body is empty: send JSON".to_owned();
    }
    if error.is_eof() {
        return format!("the body is not JSON: it ends before it is complete (line {line})");
    }
    // The library has no other sign of it.
    if error.to_string().starts_with("number out of range") {
        return format!("the body has a number that is too large (line {line}, column {column})");
    }
    format!("the body is not JSON (line {line}, column {column})")
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
struct At<'p> {
    place: Place<'p>,
    depth: usize,
    fault: &'p RefCell<Option<Fault>>,
}

impl<'p> At<'p> {
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
        })
    }
}

impl<'de> DeserializeSeed<'de> for At<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for At<'_> {
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

    fn visit_i64<E>(self, number: i64) -> Result<Value, E> {
        Ok(number.into())
    }

    fn visit_u64<E>(self, number: u64) -> Result<Value, E> {
        Ok(number.into())
    }

    fn visit_f64<E>(self, number: f64) -> Result<Value, E> {
        Ok(Number::from_f64(number).map_or(Value::Null, Value::Number))
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
            r#"{"b":[1,-2,1.5,"x",true,null,{"a":{}}],"a":1e300,"c":18446744073709551615}"#,
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
            let told = format!("{:?}", read(text.as_bytes()).unwrap_err());
            assert!(told.contains(expected), "{text}: {told}");
        }
        // One name in two objects is two members.
        assert!(read(br#"[{"a":1},{"a":1},{"b":{"a":1}}]"#).is_ok());
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
            let told = format!("{:?}", read(text.as_bytes()).unwrap_err());
            assert!(told.contains(expected), "{told}");
        }
        assert!(read(nested(64).as_bytes()).is_ok());
    }
}
