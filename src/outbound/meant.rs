//! Tells whether the org has what a request without a key of its own was to make of its records. Pure.
//!
//! Such a request only sets values of records: a cancellation, an address, a part of a profile, a status. When its
//! answer never came, the values of the records and their stamps settle it:
//!
//! - All values are there: it is done.
//! - A record has other values, and nobody has written it since the request left: it never arrived, and is sent again.
//! - Storesync's own user wrote the record last, after the request left: the request arrived, and its values were
//!   changed since, by automation of the org or by whoever else works as that user. It is done.
//! - Another user wrote the record last, or the records of one request tell different things: nobody can know, and a
//!   person decides. The request is not sent again.

use std::collections::HashMap;

use serde_json::{Map, Value};

use crate::model::clock::{Millis, parse_datetime};
use crate::outbound::compose::FOUND;

/// Stamps are whole seconds, and the org's time is known to one.
const STAMP_MILLIS: Millis = 2_000;

/// What is read besides the values.
pub const STAMPS: [&str; 3] = ["Id", "LastModifiedDate", "LastModifiedById"];

/// One record that a request sets values of.
#[derive(Debug, PartialEq)]
pub struct Target<'a> {
    pub reference: &'a str,
    pub object: &'a str,
    pub field: &'a str,
    /// As it stands in an address.
    pub key: &'a str,
    pub values: &'a Map<String, Value>,
}

/// The record that a part sets values of, by an external id or by its id; `None` where the part does anything else.
pub fn target(part: &Value) -> Option<Target<'_>> {
    if part["method"] != "PATCH" {
        return None;
    }
    let url = part["url"].as_str()?;
    let path = url.split_once('?').map_or(url, |(path, _)| path);
    let mut segments = path.split_once("/sobjects/")?.1.split('/');
    let object = segments.next()?;
    let (field, key) = match (segments.next()?, segments.next()) {
        (field, Some(key)) => (field, key),
        (id, None) => ("Id", id),
    };
    Some(Target {
        reference: part["referenceId"].as_str()?,
        object,
        field,
        key,
        values: part["body"].as_object()?,
    })
}

/// The condition by which a request asks for the record that it then changes, where its key cannot stand in an address.
pub fn asked_before(parts: &Value) -> Option<String> {
    let mut parts = parts.as_array()?.iter();
    let url = parts.find(|part| part["referenceId"] == FOUND)?["url"].as_str()?;
    let soql = percent_encoding::percent_decode_str(url.split_once("?q=")?.1);
    let soql = soql.decode_utf8().ok()?;
    Some(soql.split_once(" WHERE ")?.1.to_owned())
}

/// Whether a record has all values. `ids` are those of the records before it, by their references.
pub fn holds(values: &Map<String, Value>, record: &Map<String, Value>, ids: &HashMap<&str, String>) -> bool {
    values.iter().all(|(field, meant)| {
        let there = record.get(field).unwrap_or(&Value::Null);
        match meant {
            // Another record by its external id: which one it is, the org alone knows.
            Value::Object(_) => true,
            Value::String(text) => match referred(text) {
                Some(reference) => {
                    let id = ids.get(reference).map_or("", String::as_str);
                    is_same_id(id, there.as_str().unwrap_or_default())
                }
                None => is_same(meant, there),
            },
            meant => is_same(meant, there),
        }
    })
}

/// The reference of `@{account.id}`.
fn referred(text: &str) -> Option<&str> {
    text.strip_prefix("@{")?.strip_suffix(".id}")
}

/// Ids have 15 significant characters.
fn is_same_id(one: &str, other: &str) -> bool {
    one.len() >= 15 && other.len() >= 15 && one.as_bytes()[..15] == other.as_bytes()[..15]
}

/// The org trims texts, has no empty ones, and writes times in a form of its own.
fn is_same(meant: &Value, there: &Value) -> bool {
    match (meant, there) {
        (Value::Number(meant), Value::Number(there)) => meant.as_f64() == there.as_f64(),
        (Value::String(meant), Value::String(there)) => {
            let is_time = || parse_datetime(meant).is_some_and(|meant| parse_datetime(there) == Some(meant));
            meant.trim() == there.trim() || is_time()
        }
        (Value::String(meant), Value::Null) => meant.trim().is_empty(),
        (meant, there) => meant == there,
    }
}

/// Who wrote a record last since a request left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Writer {
    Nobody,
    Us,
    Another,
}

/// Who wrote a record last since a time of the org's. What our own user wrote so shortly after it that its stamp may be
/// that of a request before this one does not count.
pub fn writer_since(record: &Map<String, Value>, since: Millis, our_user: &str) -> Writer {
    let text = |field: &str| record.get(field).and_then(Value::as_str).unwrap_or_default();
    let Some(changed_at) = parse_datetime(text("LastModifiedDate")) else {
        return Writer::Nobody;
    };
    match is_same_id(text("LastModifiedById"), our_user) {
        true if changed_at >= since + STAMP_MILLIS => Writer::Us,
        false if changed_at >= since - STAMP_MILLIS => Writer::Another,
        _ => Writer::Nobody,
    }
}

/// What became of a request whose answer never came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settled {
    Done,
    NeverArrived,
    Unknown,
}

/// `writers` are those of the records that have other values than the request was to set.
pub fn settled(writers: &[Writer]) -> Settled {
    let all = |one: Writer| writers.iter().all(|writer| *writer == one);
    if all(Writer::Us) {
        Settled::Done
    } else if all(Writer::Nobody) {
        Settled::NeverArrived
    } else {
        Settled::Unknown
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn map(value: Value) -> Map<String, Value> {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn a_part_that_sets_values_names_its_record() {
        let url = "/services/data/v67.0/sobjects/Order/External_ID__c/WEB-1?updateOnly=true";
        let part =
            json!({"method": "PATCH", "url": url, "referenceId": "record", "body": {"Status": "Cancelled"}});
        let target = target(&part).unwrap();
        assert_eq!(
            (target.reference, target.object, target.field, target.key),
            ("record", "Order", "External_ID__c", "WEB-1")
        );
        let part = json!({"method": "PATCH", "url": "/services/data/v67.0/sobjects/Contact/003A", "referenceId": "r", "body": {}});
        let by_id = super::target(&part).unwrap();
        assert_eq!((by_id.object, by_id.field, by_id.key), ("Contact", "Id", "003A"));
        let part = json!({"method": "POST", "url": "/services/data/v67.0/sobjects/Order", "referenceId": "r", "body": {}});
        assert_eq!(super::target(&part), None, "{part}");
    }

    #[test]
    fn values_are_compared_as_the_org_keeps_them() {
        for (meant, there, expected) in [
            (json!("Cancelled"), json!("Cancelled"), true),
            (json!("Cancelled"), json!("Draft"), false),
            (json!(" 1 High St "), json!("1 High St"), true),
            (json!(""), Value::Null, true),
            (json!("x"), Value::Null, false),
            (Value::Null, Value::Null, true),
            (Value::Null, json!("x"), false),
            (json!(1), json!(1.0), true),
            (json!(1), json!(1.5), false),
            (json!(true), json!(true), true),
            (json!(true), json!(false), false),
            (
                json!("2026-11-22T09:30:00.000Z"),
                json!("2026-11-22T09:30:00.000+0000"),
                true,
            ),
            (json!({"External_ID__c": "C-7"}), Value::Null, true),
            (json!("@{account.id}"), json!("001000000000001AAA"), true),
            (json!("@{account.id}"), json!("001000000000002AAA"), false),
            (json!("@{unknown.id}"), json!("001000000000001AAA"), false),
        ] {
            let ids = HashMap::from([("account", "001000000000001".to_owned())]);
            let record = map(json!({ "Field": there }));
            assert_eq!(
                holds(&map(json!({ "Field": meant })), &record, &ids),
                expected,
                "{meant} {there}"
            );
        }
    }

    #[test]
    fn the_last_writer_counts_from_when_the_request_left() {
        const OURS: &str = "005000000000001AAA";
        const SENT_AT: &str = "2026-11-22T09:00:10.500Z";
        for (at, by, expected) in [
            (
                "2026-11-22T09:00:11.000+0000",
                "005000000000002AAA",
                Writer::Another,
            ),
            (
                "2026-11-22T09:00:10.000+0000",
                "005000000000002AAA",
                Writer::Another,
            ),
            (
                "2026-11-22T09:00:05.000+0000",
                "005000000000002AAA",
                Writer::Nobody,
            ),
            // It may be what we wrote before.
            ("2026-11-22T09:00:11.000+0000", "005000000000001", Writer::Nobody),
            ("2026-11-22T09:00:13.000+0000", "005000000000001", Writer::Us),
            ("", "005000000000001", Writer::Nobody),
        ] {
            let record = map(json!({"LastModifiedDate": at, "LastModifiedById": by}));
            let since = parse_datetime(SENT_AT).unwrap();
            assert_eq!(writer_since(&record, since, OURS), expected, "{at} {by}");
        }
    }

    #[test]
    fn the_writers_of_all_records_settle_a_request() {
        use Writer::{Another, Nobody, Us};
        for (writers, expected) in [
            (&[][..], Settled::Done),
            (&[Us], Settled::Done),
            (&[Us, Us], Settled::Done),
            (&[Nobody], Settled::NeverArrived),
            (&[Another], Settled::Unknown),
            (&[Us, Another], Settled::Unknown),
            // All of a request is done or nothing.
            (&[Us, Nobody], Settled::Unknown),
        ] {
            assert_eq!(settled(writers), expected, "{writers:?}");
        }
    }
}
