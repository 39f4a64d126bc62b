//! The values an org stores, and their forms in the REST API.
//!
//! An absent value is null: no variant stands for it. Record ids are fixed arrays, so that millions of lookups
//! cost no allocation; short texts lie in the row, long ones are shared.

mod text;

use std::cmp::Ordering;
use std::fmt;

use serde_json::Value as Json;

pub use self::text::Text;
use super::schema::FieldKind;
use crate::clock;

const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
const CHECK: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ012345";
/// The two characters after the prefix: which instance the org lives on.
const INSTANCE: [u8; 2] = *b"Sb";

/// An 18-character record id: key prefix, instance, base-62 counter, case checksum.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RecordId([u8; 18]);

impl RecordId {
    pub fn new(prefix: [u8; 3], counter: u64) -> Self {
        let mut bytes = [b'0'; 18];
        bytes[..3].copy_from_slice(&prefix);
        bytes[3..5].copy_from_slice(&INSTANCE);
        let mut rest = counter;
        for slot in bytes[5..15].iter_mut().rev() {
            *slot = DIGITS[(rest % 62) as usize];
            rest /= 62;
        }
        Self(with_checksum(bytes))
    }

    /// Reads 15 or 18 characters. The checksum of an 18-character id may be in any case, and must be right.
    pub fn parse(text: &str) -> Option<Self> {
        let bytes = text.as_bytes();
        if !matches!(bytes.len(), 15 | 18) || !bytes.iter().all(u8::is_ascii_alphanumeric) {
            return None;
        }
        let mut whole = [b'0'; 18];
        whole[..15].copy_from_slice(&bytes[..15]);
        let whole = with_checksum(whole);
        (bytes.len() == 15 || whole[15..].eq_ignore_ascii_case(&bytes[15..])).then_some(Self(whole))
    }

    pub fn as_str(&self) -> &str {
        // Only ASCII is ever put in.
        std::str::from_utf8(&self.0).unwrap_or_default()
    }

    pub fn prefix(&self) -> [u8; 3] {
        [self.0[0], self.0[1], self.0[2]]
    }

    /// The counter this org gave the record, if the id is one of its own.
    pub fn counter(&self) -> Option<u64> {
        if self.0[3..5] != INSTANCE {
            return None;
        }
        self.0[5..15].iter().try_fold(0u64, |sum, byte| {
            let digit = match byte {
                b'0'..=b'9' => byte - b'0',
                b'A'..=b'Z' => byte - b'A' + 10,
                _ => byte - b'a' + 36,
            };
            sum.checked_mul(62)?.checked_add(u64::from(digit))
        })
    }
}

impl fmt::Display for RecordId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for RecordId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

fn with_checksum(mut bytes: [u8; 18]) -> [u8; 18] {
    for group in 0..3 {
        let bits = (0..5)
            .filter(|at| bytes[group * 5 + at].is_ascii_uppercase())
            .map(|at| 1usize << at)
            .sum::<usize>();
        bytes[15 + group] = CHECK[bits];
    }
    bytes
}

/// A stored value; null is absence.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    Boolean(bool),
    Integer(i64),
    Double(f64),
    Text(Text),
    Id(RecordId),
    /// Milliseconds at midnight UTC.
    Date(i64),
    /// Milliseconds.
    DateTime(i64),
    /// Milliseconds since midnight.
    Time(i64),
}

impl Value {
    pub fn text(text: impl Into<Text>) -> Self {
        Self::Text(text.into())
    }

    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            Self::Id(id) => Some(id.as_str()),
            _ => None,
        }
    }

    pub fn as_id(&self) -> Option<RecordId> {
        match self {
            Self::Id(id) => Some(*id),
            _ => None,
        }
    }

    pub fn as_f64(&self) -> Option<f64> {
        match self {
            Self::Double(number) => Some(*number),
            Self::Integer(number) => Some(*number as f64),
            _ => None,
        }
    }

    /// The form of the REST API.
    pub fn to_json(&self) -> Json {
        match self {
            Self::Boolean(flag) => Json::from(*flag),
            Self::Integer(number) => Json::from(*number),
            Self::Double(number) => Json::from(*number),
            Self::Text(text) => Json::from(&**text),
            Self::Id(id) => Json::from(id.as_str()),
            Self::Date(millis) => Json::from(clock::format_date(*millis)),
            Self::DateTime(millis) => {
                let text = clock::format_datetime(*millis);
                Json::from(format!("{}+0000", text.trim_end_matches('Z')))
            }
            Self::Time(millis) => Json::from(clock::format_time(*millis)),
        }
    }

    /// Reads a value from a request body. An empty string is null, as the platform stores none.
    ///
    /// The error is the message of the platform's answer; [`Misread`] says under which code it is sent.
    pub fn from_json(kind: FieldKind, json: &Json) -> Result<Option<Self>, Misread> {
        let value = match json {
            Json::Null => return Ok(None),
            Json::String(text) if text.is_empty() => return Ok(None),
            Json::Object(_) | Json::Array(_) => return Err(Misread::parser(kind, &json.to_string())),
            Json::String(text) => Self::from_text(kind, text)?,
            Json::Bool(flag) if kind == FieldKind::Boolean => Self::Boolean(*flag),
            Json::Bool(flag) => return Err(Misread::parser(kind, &flag.to_string())),
            Json::Number(number) => Self::from_number(kind, number)?,
        };
        Ok(Some(value))
    }

    fn from_number(kind: FieldKind, number: &serde_json::Number) -> Result<Self, Misread> {
        let misread = || Misread::parser(kind, &number.to_string());
        match kind {
            FieldKind::Integer => {
                let whole = number
                    .as_i64()
                    .or_else(|| number.as_f64().filter(|n| n.fract() == 0.0).map(|n| n as i64));
                whole.map(Self::Integer).ok_or_else(misread)
            }
            FieldKind::Double | FieldKind::Currency | FieldKind::Percent => {
                number.as_f64().map(Self::Double).ok_or_else(misread)
            }
            kind if kind.is_text() => Ok(Self::text(number.to_string())),
            _ => Err(misread()),
        }
    }

    /// Reads a value that arrives as text: a JSON string, a SOQL literal or a CSV cell.
    pub fn from_text(kind: FieldKind, text: &str) -> Result<Self, Misread> {
        let misread = || Misread::parser(kind, text);
        match kind {
            FieldKind::Boolean => match text {
                "true" => Ok(Self::Boolean(true)),
                "false" => Ok(Self::Boolean(false)),
                _ => Err(misread()),
            },
            FieldKind::Integer => text.trim().parse().map(Self::Integer).map_err(|_| misread()),
            FieldKind::Double | FieldKind::Currency | FieldKind::Percent => {
                let number = text
                    .trim()
                    .parse::<f64>()
                    .ok()
                    .filter(|number| number.is_finite());
                number.map(Self::Double).ok_or_else(misread)
            }
            FieldKind::Date => clock::parse_date(text)
                .filter(|_| text.len() == 10)
                .map(Self::Date)
                .ok_or_else(misread),
            FieldKind::DateTime => clock::parse_datetime(text)
                .or_else(|| clock::parse_date(text))
                .map(|millis| Self::DateTime(millis.div_euclid(1000) * 1000))
                .ok_or_else(misread),
            FieldKind::Time => clock::parse_datetime(&format!("1970-01-01T{}Z", text.trim_end_matches('Z')))
                .map(Self::Time)
                .ok_or_else(misread),
            FieldKind::Id | FieldKind::Reference => {
                RecordId::parse(text).map(Self::Id).ok_or_else(|| Misread {
                    malformed_id: true,
                    message: text.to_owned(),
                })
            }
            FieldKind::Address | FieldKind::Location | FieldKind::PersonName => Err(misread()),
            _ => Ok(Self::text(text)),
        }
    }

    /// SOQL's order: nulls are the caller's matter, texts ignore case.
    pub fn compare(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Self::Text(left), Self::Text(right)) => compare_ignoring_case(left, right),
            (Self::Id(left), Self::Id(right)) => left.cmp(right),
            (Self::Boolean(left), Self::Boolean(right)) => left.cmp(right),
            (left, right) => match (left.as_number(), right.as_number()) {
                (Some(left), Some(right)) => left.total_cmp(&right),
                _ => left
                    .as_str()
                    .unwrap_or_default()
                    .cmp(right.as_str().unwrap_or_default()),
            },
        }
    }

    fn as_number(&self) -> Option<f64> {
        match self {
            Self::Integer(number) | Self::Date(number) | Self::DateTime(number) | Self::Time(number) => {
                Some(*number as f64)
            }
            Self::Double(number) => Some(*number),
            _ => None,
        }
    }
}

fn compare_ignoring_case(left: &str, right: &str) -> Ordering {
    let lower = |text: &str| text.chars().flat_map(char::to_lowercase).collect::<String>();
    if left.is_ascii() && right.is_ascii() {
        let left = left.bytes().map(|byte| byte.to_ascii_lowercase());
        return left.cmp(right.bytes().map(|byte| byte.to_ascii_lowercase()));
    }
    lower(left).cmp(&lower(right))
}

/// A value that does not fit its field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Misread {
    /// The text is no record id (MALFORMED_ID); otherwise the parser refused it (JSON_PARSER_ERROR).
    pub malformed_id: bool,
    pub message: String,
}

impl Misread {
    fn parser(kind: FieldKind, text: &str) -> Self {
        let wanted = match kind {
            FieldKind::Boolean => "boolean",
            FieldKind::Integer => "int",
            FieldKind::Double => "double",
            FieldKind::Currency => "currency",
            FieldKind::Percent => "percent",
            FieldKind::Date => "date",
            FieldKind::DateTime => "datetime",
            FieldKind::Time => "time",
            FieldKind::Id | FieldKind::Reference => "id",
            _ => "string",
        };
        let message = format!(
            "Cannot deserialize instance of {wanted} from VALUE_STRING value {text} or request may be missing a required field"
        );
        Self {
            malformed_id: false,
            message,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn ids_carry_their_prefix_counter_and_checksum() {
        // Ids of public record, with the checksum Salesforce gives them.
        for whole in ["001B000001CjFMyIAN", "00530000009M943AAC", "0015000000Gv7qJAAR"] {
            assert_eq!(RecordId::parse(&whole[..15]).unwrap().as_str(), whole);
            assert_eq!(RecordId::parse(whole).unwrap().as_str(), whole);
        }
        let id = RecordId::new(*b"801", 62 * 62 + 61);
        assert_eq!((id.as_str(), id.prefix()), ("801Sb000000010zIAA", *b"801"));
        assert_eq!(id.counter(), Some(62 * 62 + 61));
        assert_eq!(
            RecordId::parse("001B000001CjFMy").unwrap().counter(),
            None,
            "another org's"
        );
        for bad in [
            "",
            "001",
            "001B000001CjFMyIAA",
            "001B000001CjFM-",
            "001B000001CjFMyI",
        ] {
            assert_eq!(RecordId::parse(bad), None, "{bad}");
        }
        assert!(
            RecordId::new(*b"001", 61) < RecordId::new(*b"001", 62),
            "id order is counter order"
        );
    }

    #[test]
    fn values_are_read_and_written_in_the_rest_forms() {
        use FieldKind::{Boolean, Currency, Date, DateTime, Integer, Picklist, Text, Time};
        let table = [
            (Text, json!("a"), json!("a")),
            (Text, json!(12), json!("12")),
            (Picklist, json!(""), json!(null)),
            (Boolean, json!("true"), json!(true)),
            (Integer, json!(3.0), json!(3)),
            (Currency, json!("19.90"), json!(19.9)),
            (Date, json!("2026-11-22"), json!("2026-11-22")),
            (
                DateTime,
                json!("2026-11-22T09:30:00.500Z"),
                json!("2026-11-22T09:30:00.000+0000"),
            ),
            (
                DateTime,
                json!("2026-11-22T09:30:00.000+0000"),
                json!("2026-11-22T09:30:00.000+0000"),
            ),
            (
                DateTime,
                json!("2026-11-22T19:30:00+10:00"),
                json!("2026-11-22T09:30:00.000+0000"),
            ),
            (Time, json!("09:30:00.000Z"), json!("09:30:00.000Z")),
        ];
        for (kind, json, written) in table {
            let value = Value::from_json(kind, &json).unwrap();
            assert_eq!(
                value.as_ref().map_or(json!(null), Value::to_json),
                written,
                "{kind:?} {json}"
            );
        }
        let refused = [
            (Boolean, json!(1)),
            (Integer, json!(1.5)),
            (Date, json!("2026-11-22T00:00:00Z")),
            (Text, json!({})),
        ];
        for (kind, json) in refused {
            assert!(Value::from_json(kind, &json).is_err(), "{kind:?} {json}");
        }
    }

    #[test]
    fn texts_compare_without_case() {
        assert_eq!(
            Value::text("apple").compare(&Value::text("APPLE")),
            Ordering::Equal
        );
        assert_eq!(
            Value::text("Äpfel").compare(&Value::text("äpfel")),
            Ordering::Equal
        );
        assert_eq!(Value::Integer(2).compare(&Value::Double(1.5)), Ordering::Greater);
    }
}
