//! Reads JSON bodies, and refuses those in which a member stands twice: of the two values one would be dropped without a
//! word. In one pass; nothing of a value is repeated in what is said of it.

use std::cell::RefCell;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

use crate::model::order::card;
use crate::model::order::parse::Invalid;
use crate::serve::problem::Problem;

/// Longest name of a member that is repeated in an answer.
const NAME_CHARACTERS_MAX: usize = 200;

/// The body as JSON.
pub fn read(body: &[u8]) -> Result<Value, Problem> {
    let twice = RefCell::new(None);
    let place = At {
        place: Place::Top,
        twice: &twice,
    };
    let mut json = serde_json::Deserializer::from_slice(body);
    let value = place.deserialize(&mut json).and_then(|value| {
        json.end()?;
        Ok(value)
    });
    match (value, twice.into_inner()) {
        (_, Some(path)) => Err(Invalid::new(path, "stands twice in the body: send it once").into()),
        (Ok(value), None) => Ok(value),
        (Err(error), None) => {
            let line = error.line();
            Err(Problem::bad_request(format!(
                "the body is not JSON (line {line})"
            )))
        }
    }
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

/// A value to be read. `twice` takes the path of a member that stands twice.
#[derive(Clone, Copy)]
struct At<'p> {
    place: Place<'p>,
    twice: &'p RefCell<Option<String>>,
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
            let at = At {
                place: Place::Index(&self.place, values.len()),
                twice: self.twice,
            };
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
                *self.twice.borrow_mut() = Some(place.path());
                return Err(A::Error::custom("a member stands twice"));
            }
            let value = map.next_value_seed(At {
                place,
                twice: self.twice,
            })?;
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
        let deep = "[".repeat(100_000);
        assert!(read(deep.as_bytes()).is_err(), "the depth is bounded");
    }
}
