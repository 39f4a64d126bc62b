//! What stands in the place of a value that is erased.
//!
//! A replay of the journal must take the same turns without the values as it did with them: whether a read changed
//! something, whether a row was there, whether a formula had a value. That depends on which values are null and which
//! are equal, and on nothing else they say. So a value gives way to one of its own sort that is made from it with a key;
//! equal values have equal stand-ins, and once the key is gone nothing leads back. Texts are replaced word by word, so
//! that a name put together from stand-ins is the stand-in of the name put together.
//!
//! Ids of records, true and false, and the stamps that order changes stay: they say nothing of a person by themselves.

use aws_lc_rs::hmac;
use serde_json::{Map, Value as Json};

use crate::inbound::decode::{Other, WHOLE};
use crate::journal::history::full_id;
use crate::model::clock::{Millis, format_date, format_datetime, format_time, parse_date, parse_datetime};
use crate::model::row::{ColumnKind, Table, Value};

/// Fields that stay: what the order of changes depends on.
const KEPT: [&str; 5] = [
    "Id",
    "SystemModstamp",
    "LastModifiedDate",
    "CreatedDate",
    "IsDeleted",
];

/// In the place of a difference that fitted nothing.
pub const NO_DIFFERENCE: &str = "erased";

/// Numbers that stand in, and days after 1970: exact in every type that an event may have.
const NUMBERS: u64 = 1 << 24;
const DAYS: u64 = 20_000;
const DAY_MILLIS: i64 = 86_400_000;

/// Makes stand-ins.
pub struct StandIns {
    key: hmac::Key,
}

impl StandIns {
    pub fn new(key: &[u8]) -> Self {
        Self {
            key: hmac::Key::new(hmac::HMAC_SHA256, key),
        }
    }

    fn hash(&self, of: &[u8]) -> u64 {
        let tag = hmac::sign(&self.key, of);
        let first = tag.as_ref().first_chunk::<8>().copied();
        u64::from_le_bytes(first.unwrap_or_default())
    }

    fn below(&self, of: &[u8], limit: u64) -> i64 {
        i64::try_from(self.hash(of) % limit).unwrap_or(0)
    }

    /// Words for words; the space between them stays.
    pub fn text(&self, text: &str) -> String {
        if is_record_id(text) {
            return text.to_owned();
        }
        let mut out = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(begin) = rest.find(|letter: char| !letter.is_whitespace()) {
            out.push_str(&rest[..begin]);
            let word = &rest[begin..];
            let end = word.find(char::is_whitespace).unwrap_or(word.len());
            let stand_in = self.hash(&word.as_bytes()[..end]) >> 32;
            out.push_str(&format!("~{stand_in:08x}"));
            rest = &word[end..];
        }
        out + rest
    }

    fn number(&self, number: f64) -> i64 {
        // -0 is 0.
        self.below(&(number + 0.0).to_bits().to_le_bytes(), NUMBERS)
    }

    fn date(&self, millis: Millis) -> Millis {
        self.below(format_date(millis).as_bytes(), DAYS) * DAY_MILLIS
    }

    fn datetime(&self, millis: Millis) -> Millis {
        self.below(format_datetime(millis).as_bytes(), DAYS * 86_400) * 1_000
    }

    fn time(&self, written: &str) -> i64 {
        self.below(written.as_bytes(), 86_400) * 1_000
    }

    /// Of a value of an event; `None` where it stays.
    #[allow(clippy::cast_precision_loss)]
    pub fn of_event(&self, field: &str, boolean: bool, value: Value<'_>) -> Option<Other> {
        if boolean || is_kept(field) {
            return None;
        }
        Some(match value {
            Value::Null => return None,
            Value::Integer(number) => Other::Integer(self.number(number as f64)),
            Value::Real(number) => Other::Real(self.number(number) as f64),
            Value::Text(text) => Other::Text(self.text(text.as_str())),
            Value::DateTime(millis) => Other::Integer(self.datetime(millis)),
            Value::Date(millis) => Other::Integer(self.date(millis)),
            Value::Time(millis) => Other::Integer(self.time(&format_time(millis))),
        })
    }

    /// Of a field of a page of CSV.
    pub fn of_text(&self, field: &str, kind: ColumnKind, text: &str) -> String {
        if text.is_empty() || is_kept(field) {
            return text.to_owned();
        }
        let known = match kind {
            ColumnKind::Boolean => Some(text.to_owned()),
            ColumnKind::Text => None,
            ColumnKind::Integer | ColumnKind::Real => {
                let number = text.parse::<f64>();
                number.ok().map(|number| self.number(number).to_string())
            }
            ColumnKind::Date => parse_date(text)
                .or_else(|| parse_datetime(text))
                .map(|millis| format_date(self.date(millis))),
            ColumnKind::DateTime => parse_datetime(text).map(|millis| format_datetime(self.datetime(millis))),
            ColumnKind::Time => Some(format_time(self.time(text))),
        };
        known.unwrap_or_else(|| self.text(text))
    }

    /// Of a row that REST gave, in place. Fields that are no columns are texts.
    pub fn of_row(&self, table: Option<&Table>, row: &mut Map<String, Json>) {
        for (field, value) in row.iter_mut() {
            let column =
                table.and_then(|table| table.position(field).map(|position| &table.columns[position]));
            let kind = column.map_or(ColumnKind::Text, |column| column.kind);
            self.of_json(field, kind, value);
        }
    }

    fn of_json(&self, field: &str, kind: ColumnKind, value: &mut Json) {
        if is_kept(field) {
            return;
        }
        match value {
            Json::Null | Json::Bool(_) => {}
            // In a column of text it is a text.
            Json::Number(number) if kind == ColumnKind::Text => {
                *value = Json::from(self.text(&number.to_string()))
            }
            Json::Number(number) => {
                let stand_in = number.as_f64().map_or(0, |number| self.number(number));
                *value = Json::from(stand_in);
            }
            Json::String(text) => *value = Json::from(self.of_text(field, kind, text)),
            Json::Array(items) => {
                for item in items {
                    self.of_json("", kind, item);
                }
            }
            Json::Object(members) => {
                for (name, member) in members.iter_mut() {
                    self.of_json(name, ColumnKind::Text, member);
                }
            }
        }
    }
}

/// Whether a value of a field that was told of a record says nothing of a person: it stands in for what was erased, or is of a
/// sort that stays. Of a number or a date nobody can tell.
pub fn is_erased(field: &str, value: &Json) -> bool {
    match value {
        Json::Null | Json::Bool(_) | Json::Number(_) => true,
        Json::String(text) => is_kept(field) || is_text_erased(text),
        Json::Array(items) => items.iter().all(|item| is_erased(field, item)),
        Json::Object(members) => members.iter().all(|(name, member)| is_erased(name, member)),
    }
}

fn is_text_erased(text: &str) -> bool {
    let is_stand_in = |word: &str| {
        let digits = word.strip_prefix('~').unwrap_or_default();
        digits.len() == 8 && digits.bytes().all(|digit| digit.is_ascii_hexdigit())
    };
    let is_moment =
        |text: &str| parse_date(text).is_some() || parse_datetime(text).is_some() || is_time(text);
    let whole = text.strip_prefix(WHOLE).unwrap_or(text);
    is_record_id(text)
        || ["true", "false", NO_DIFFERENCE].contains(&text)
        || text.parse::<f64>().is_ok()
        || is_moment(text)
        || whole.split_whitespace().all(is_stand_in)
}

/// `09:30:00.000Z`, as times are written.
fn is_time(text: &str) -> bool {
    let is_part = |byte: u8| byte.is_ascii_digit() || matches!(byte, b':' | b'.' | b'Z');
    text.len() >= 8 && text.as_bytes()[2] == b':' && text.bytes().all(is_part)
}

fn is_kept(field: &str) -> bool {
    KEPT.iter().any(|kept| kept.eq_ignore_ascii_case(field))
}

/// Of 18 characters, the last three of which fit the others.
fn is_record_id(text: &str) -> bool {
    text.len() == 18 && text.bytes().all(|byte| byte.is_ascii_alphanumeric()) && full_id(&text[..15]) == text
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn equal_values_have_equal_stand_ins_however_they_came() {
        let made = StandIns::new(b"a key");
        let other = StandIns::new(b"another");
        let name = made.text("Ana Maria  Lee");
        assert_eq!(
            name,
            format!(
                "{} {}  {}",
                made.text("Ana"),
                made.text("Maria"),
                made.text("Lee")
            )
        );
        assert!(!name.contains("Ana") && name != other.text("Ana Maria  Lee"));
        assert_eq!(made.text(" "), " ");
        let born = parse_date("1980-02-03").unwrap();
        let told = made.of_event("Birthdate", false, Value::Date(born));
        let read = made.of_text("Birthdate", ColumnKind::Date, "1980-02-03");
        assert_eq!(told, parse_date(&read).map(Other::Integer));
        let (number, real) = (Value::Integer(7), Value::Real(7.0));
        let Some(Other::Integer(integer)) = made.of_event("Points__c", false, number) else {
            panic!("no integer")
        };
        assert_eq!(
            made.of_event("Points__c", false, real),
            Some(Other::Real(integer as f64))
        );
        assert_eq!(
            made.of_text("Points__c", ColumnKind::Real, "7.0"),
            integer.to_string()
        );
        let seen = "2026-11-22T09:30:00.000Z";
        assert_eq!(
            made.of_text("Seen__c", ColumnKind::DateTime, seen),
            made.of_text("Seen__c", ColumnKind::DateTime, "2026-11-22T09:30:00.000+0000")
        );
        let opens = made.of_event("Opens__c", false, Value::Time(34_200_000));
        let read = made.of_text("Opens__c", ColumnKind::Time, "09:30:00.000Z");
        assert_eq!(
            opens.map(|opens| matches!(opens, Other::Integer(millis) if format_time(millis) == read)),
            Some(true)
        );
    }

    #[test]
    fn ids_stamps_and_flags_stay() {
        let made = StandIns::new(b"a key");
        let mut row = json!({"Id": "003000000000001AAA", "AccountId": "001D000000IqhSLIAZ", "Email": "ana@example.com",
            "IsDeleted": false, "SystemModstamp": "2026-11-22T09:30:00.000+0000", "Phone": null, "Size__c": 3,
            "Place": {"city": "Hobart"}});
        let before = row.clone();
        made.of_row(None, row.as_object_mut().unwrap());
        for kept in ["Id", "AccountId", "IsDeleted", "SystemModstamp", "Phone"] {
            assert_eq!(row[kept], before[kept], "{kept}");
        }
        for (field, value) in &before.as_object().unwrap().clone() {
            let says_something = ["Email", "Place"].contains(&field.as_str());
            assert_eq!(is_erased(field, value), !says_something, "{field}");
        }
        assert!(is_erased("", &row) && !is_erased("", &before), "{row}");
        for gone in ["Email", "Size__c", "Place"] {
            assert_ne!(row[gone], before[gone], "{gone}");
        }
        assert!(!row.to_string().contains("Hobart"));
        assert_eq!(made.of_event("CreatedDate", false, Value::DateTime(5)), None);
        assert_eq!(made.of_event("Active__c", true, Value::Integer(1)), None);
    }
}
