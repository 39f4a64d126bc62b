//! Writes JSON from SQLite's values, without a tree in between.
//!
//! Rows of mirrored objects are written as they are; rows of the storefront's views by the meaning that the names of
//! their columns have: see `views.sql`.

use std::io::Write;

use rusqlite::Row;
use rusqlite::types::ValueRef;

use crate::model::order::Decimal;

/// The column that is the cache's own business.
const HIDDEN: &str = "_base";

/// Writes a row as an object with its columns as members; gives the row's revision, which is passed on the way.
pub fn row(out: &mut Vec<u8>, row: &Row<'_>) -> rusqlite::Result<i64> {
    let statement = row.as_ref();
    let (mut open, mut revision) = (b'{', 0);
    for index in 0..statement.column_count() {
        let name = statement.column_name(index)?;
        if name == HIDDEN {
            continue;
        }
        out.push(open);
        open = b',';
        string(out, name);
        out.push(b':');
        let stored = row.get_ref(index)?;
        if let (ValueRef::Integer(found), "_rev") = (stored, name) {
            revision = found;
        }
        value(out, stored);
    }
    if open == b'{' {
        out.push(open);
    }
    out.push(b'}');
    Ok(revision)
}

/// Writes a row of a view as an object: flags as true and false, money with its currency, lists as arrays. Columns
/// whose names begin with an underscore are left out, and so is the store's own id where it comes first: the asker named it.
pub fn view_row(out: &mut Vec<u8>, row: &Row<'_>) -> rusqlite::Result<()> {
    let statement = row.as_ref();
    let currency = match statement.column_index("currency") {
        Ok(index) => row.get::<_, Option<String>>(index)?,
        Err(_) => None,
    };
    let mut open = b'{';
    for index in 0..statement.column_count() {
        let name = statement.column_name(index)?;
        if name.starts_with('_') || name == "store_id" && index == 0 {
            continue;
        }
        out.push(open);
        open = b',';
        let stored = row.get_ref(index)?;
        if let Some(bare) = name.strip_suffix("_amount") {
            string(out, bare);
            out.push(b':');
            let amount = match stored {
                ValueRef::Real(real) => Decimal::from_real(real),
                ValueRef::Integer(integer) => Decimal::parse(&integer.to_string()),
                _ => None,
            };
            money(out, amount, currency.as_deref());
        } else if let Some(bare) = name.strip_suffix("_list") {
            string(out, bare);
            out.push(b':');
            list_of(out, stored);
        } else if let Some(bare) = name.strip_suffix("_json") {
            string(out, bare);
            out.push(b':');
            match stored {
                ValueRef::Text(json) => out.extend_from_slice(json),
                _ => out.extend_from_slice(b"[]"),
            }
        } else if is_flag(name) {
            string(out, name.strip_prefix("is_").unwrap_or(name));
            out.push(b':');
            flag(out, matches!(stored, ValueRef::Integer(1)));
        } else {
            string(out, name);
            out.push(b':');
            value(out, stored);
        }
    }
    if open == b'{' {
        out.push(open);
    }
    out.push(b'}');
    Ok(())
}

fn is_flag(name: &str) -> bool {
    ["is_", "can_", "has_", "needs_"]
        .iter()
        .any(|start| name.starts_with(start))
}

pub fn flag(out: &mut Vec<u8>, flag: bool) {
    out.extend_from_slice(if flag { b"true" } else { b"false" });
}

/// Values separated by semicolons, as an array of text.
fn list_of(out: &mut Vec<u8>, stored: ValueRef<'_>) {
    let text = match stored {
        ValueRef::Text(bytes) => String::from_utf8_lossy(bytes),
        _ => return out.extend_from_slice(b"[]"),
    };
    let mut open = b'[';
    for item in text.split(';').map(str::trim).filter(|item| !item.is_empty()) {
        out.push(open);
        open = b',';
        string(out, item);
    }
    if open == b'[' {
        out.push(open);
    }
    out.push(b']');
}

/// Writes `{"amount": "19.90", "currency": "AUD"}`, or null.
pub fn money(out: &mut Vec<u8>, amount: Option<Decimal>, currency: Option<&str>) {
    let Some(amount) = amount else {
        return out.extend_from_slice(b"null");
    };
    let written = amount.as_amount(currency.unwrap_or_default());
    member(out, b'{', "amount", Some(&written));
    member(out, b',', "currency", currency);
    out.push(b'}');
}

pub fn value(out: &mut Vec<u8>, value: ValueRef<'_>) {
    match value {
        ValueRef::Integer(integer) => whole(out, integer),
        ValueRef::Real(real) if real.is_finite() => number(out, real),
        // ASCII is text without a further look.
        ValueRef::Text(bytes) if is_plain(bytes) && bytes.is_ascii() => plain(out, bytes),
        ValueRef::Text(bytes) => string(out, &String::from_utf8_lossy(bytes)),
        ValueRef::Null | ValueRef::Real(_) | ValueRef::Blob(_) => out.extend_from_slice(b"null"),
    }
}

fn whole(out: &mut Vec<u8>, integer: i64) {
    match u8::try_from(integer) {
        // Flags, most of the time.
        Ok(digit @ 0..10) => out.push(b'0' + digit),
        _ => write(out, format_args!("{integer}")),
    }
}

/// Writes a number in the shortest form that reads as the same. Most are amounts of at most two decimals: dividing
/// the hundredths gives the very number back, and there are few enough digits for no other to do so.
fn number(out: &mut Vec<u8>, real: f64) {
    let hundredths = (real * 100.0).round();
    if hundredths.abs() >= 1e15 || hundredths / 100.0 != real || hundredths == 0.0 {
        return write(out, format_args!("{real}"));
    }
    #[allow(clippy::cast_possible_truncation)] // a whole number of 15 digits at most
    let hundredths = hundredths as i64;
    if hundredths < 0 {
        out.push(b'-');
    }
    let (integer, rest) = (hundredths.abs() / 100, hundredths.abs() % 100);
    whole(out, integer);
    match (rest / 10, rest % 10) {
        (0, 0) => {}
        (tenth, 0) => write(out, format_args!(".{tenth}")),
        (tenth, hundredth) => write(out, format_args!(".{tenth}{hundredth}")),
    }
}

/// Writes `"name":` and the text, or null; `separator` goes before it.
pub fn member(out: &mut Vec<u8>, separator: u8, name: &str, text: Option<&str>) {
    out.push(separator);
    string(out, name);
    out.push(b':');
    match text {
        Some(text) => string(out, text),
        None => out.extend_from_slice(b"null"),
    }
}

/// Writes a quoted string. Runs without anything to escape are copied whole.
pub fn string(out: &mut Vec<u8>, text: &str) {
    let bytes = text.as_bytes();
    if is_plain(bytes) {
        return plain(out, bytes);
    }
    out.push(b'"');
    let mut from = 0;
    for (index, &byte) in bytes.iter().enumerate() {
        if byte >= 0x20 && byte != b'"' && byte != b'\\' {
            continue;
        }
        out.extend_from_slice(&bytes[from..index]);
        from = index + 1;
        match byte {
            b'"' => out.extend_from_slice(b"\\\""),
            b'\\' => out.extend_from_slice(b"\\\\"),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            _ => write(out, format_args!("\\u{byte:04x}")),
        }
    }
    out.extend_from_slice(&bytes[from..]);
    out.push(b'"');
}

/// Writes, quoted, what needs no other look.
fn plain(out: &mut Vec<u8>, bytes: &[u8]) {
    out.reserve(bytes.len() + 2);
    out.push(b'"');
    out.extend_from_slice(bytes);
    out.push(b'"');
}

/// Whether nothing has to be escaped, looked at eight bytes at a time.
fn is_plain(bytes: &[u8]) -> bool {
    const ONES: u64 = u64::MAX / 255;
    const HIGH: u64 = ONES * 128;
    // The high bit of a byte that is zero, or of one above such a byte: enough to know that there is one.
    let zero = |word: u64| word.wrapping_sub(ONES) & !word & HIGH;
    let found = |word: u64| {
        let control = word.wrapping_sub(ONES * 0x20) & !word & HIGH;
        control | zero(word ^ (ONES * u64::from(b'"'))) | zero(word ^ (ONES * u64::from(b'\\')))
    };
    let (words, rest) = bytes.as_chunks::<8>();
    words.iter().all(|word| found(u64::from_ne_bytes(*word)) == 0)
        && rest
            .iter()
            .all(|byte| *byte >= 0x20 && *byte != b'"' && *byte != b'\\')
}

fn write(out: &mut Vec<u8>, what: std::fmt::Arguments<'_>) {
    // Writing into memory cannot fail.
    let written = out.write_fmt(what);
    debug_assert!(written.is_ok());
}

/// Writes `{"items":[...],"next":...}`, the form of every list.
pub fn list(items: &[Vec<u8>], next: Option<&str>) -> Vec<u8> {
    let mut out = Vec::with_capacity(64 + items.iter().map(|item| item.len() + 1).sum::<usize>());
    out.extend_from_slice(b"{\"items\":[");
    for (index, item) in items.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        out.extend_from_slice(item);
    }
    out.push(b']');
    member(&mut out, b',', "next", next);
    out.push(b'}');
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use rusqlite::Connection;
    use serde_json::{Value, json};

    #[test]
    fn writes_rows_as_they_are() {
        let connection = Connection::open_in_memory().unwrap();
        let sql = "select 1 as isactive, 19.9 as price, 20.0 as round, 'a \"b\" \\ \n\t\u{1} é' as name,
            null as empty, 9223372036854775807 as big, 7 as _base, 3 as _rev";
        let mut out = Vec::new();
        let revision = connection
            .query_row(sql, [], |found| row(&mut out, found))
            .unwrap();
        assert_eq!(revision, 3);
        let read: Value = serde_json::from_slice(&out).unwrap();
        let expected = json!({"isactive": 1, "price": 19.9, "round": 20, "name": "a \"b\" \\ \n\t\u{1} é",
            "empty": null, "big": 9_223_372_036_854_775_807_i64, "_rev": 3});
        assert_eq!(read, expected);
        assert!(
            String::from_utf8(out)
                .unwrap()
                .starts_with("{\"isactive\":1,\"price\":19.9,")
        );
    }

    #[test]
    fn numbers_are_as_short_as_they_can_be() {
        let mut rng = fastrand::Rng::with_seed(7);
        let amounts = (0..20_000).map(|_| rng.i64(-9_999_999..9_999_999) as f64 / 100.0);
        let any: Vec<f64> = amounts.collect();
        let others = [
            0.0,
            -0.0,
            0.1,
            0.05,
            -0.05,
            19.9,
            19.95,
            1e15,
            1e14,
            123_456_789_012.34,
            0.1 + 0.2,
            1e-7,
            1e300,
            f64::MIN,
            9_007_199_254_740_993.0,
        ];
        for real in any.into_iter().chain(others) {
            let mut out = Vec::new();
            number(&mut out, real);
            assert_eq!(String::from_utf8(out).unwrap(), real.to_string());
        }
        for integer in [0, 9, 10, 255, 256, -1, i64::MIN, i64::MAX] {
            let mut out = Vec::new();
            whole(&mut out, integer);
            assert_eq!(String::from_utf8(out).unwrap(), integer.to_string());
        }
    }

    #[test]
    fn every_byte_is_escaped_that_has_to_be_wherever_it_stands() {
        for odd in (0..=0x7f_u8).map(char::from).chain(['é', '\u{2028}', '😀']) {
            for before in 0..18 {
                let text = format!("{}{odd}{}", "a".repeat(before), "z".repeat(17 - before));
                let mut out = Vec::new();
                string(&mut out, &text);
                let read = serde_json::from_slice::<String>(&out).unwrap();
                assert_eq!(read, text, "{odd:?} after {before}");
                let mut stored = Vec::new();
                value(&mut stored, ValueRef::Text(text.as_bytes()));
                assert_eq!(stored, out, "{odd:?} after {before}, as it is stored");
            }
        }
    }

    #[test]
    fn what_is_no_text_is_made_text() {
        let mut out = Vec::new();
        value(&mut out, ValueRef::Text(b"a \xff \xc3\xa9"));
        assert_eq!(String::from_utf8(out).unwrap(), "\"a \u{fffd} \u{e9}\"");
    }

    #[test]
    fn writes_views_by_the_names_of_their_columns() {
        let connection = Connection::open_in_memory().unwrap();
        let sql = "select 's' as store_id, 'i' as id, 1 as is_default, 0 as can_pay, 'AUD' as currency, 5.5 as cost_amount,
            null as sale_amount, 'a; b;' as days_list, null as ways_list, '[1]' as things_json, 7 as _rev";
        let mut out = Vec::new();
        connection
            .query_row(sql, [], |found| view_row(&mut out, found))
            .unwrap();
        let read: Value = serde_json::from_slice(&out).unwrap();
        let expected = json!({"id": "i", "default": true, "can_pay": false, "currency": "AUD",
            "cost": {"amount": "5.50", "currency": "AUD"}, "sale": null, "days": ["a", "b"], "ways": [], "things": [1]});
        assert_eq!(read, expected);
    }

    #[test]
    fn writes_lists() {
        assert_eq!(list(&[], None), b"{\"items\":[],\"next\":null}");
        let items = [b"1".to_vec(), b"2".to_vec()];
        assert_eq!(list(&items, Some("x")), b"{\"items\":[1,2],\"next\":\"x\"}");
    }
}
