//! Writes JSON from SQLite's values, without a tree in between.

use std::io::Write;

use rusqlite::Row;
use rusqlite::types::ValueRef;

/// Columns that are the cache's own business.
const HIDDEN: [&str; 1] = ["_base"];

/// Writes a row as an object with its columns as members.
pub fn row(out: &mut Vec<u8>, row: &Row<'_>) -> rusqlite::Result<()> {
    let statement = row.as_ref();
    let mut open = b'{';
    for index in 0..statement.column_count() {
        let name = statement.column_name(index)?;
        if HIDDEN.contains(&name) {
            continue;
        }
        out.push(open);
        open = b',';
        string(out, name);
        out.push(b':');
        value(out, row.get_ref(index)?);
    }
    if open == b'{' {
        out.push(open);
    }
    out.push(b'}');
    Ok(())
}

pub fn value(out: &mut Vec<u8>, value: ValueRef<'_>) {
    match value {
        ValueRef::Integer(integer) => write(out, format_args!("{integer}")),
        ValueRef::Real(real) if real.is_finite() => write(out, format_args!("{real}")),
        ValueRef::Text(bytes) => match std::str::from_utf8(bytes) {
            Ok(text) => string(out, text),
            Err(_) => string(out, &String::from_utf8_lossy(bytes)),
        },
        ValueRef::Null | ValueRef::Real(_) | ValueRef::Blob(_) => out.extend_from_slice(b"null"),
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
        connection
            .query_row(sql, [], |found| row(&mut out, found))
            .unwrap();
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
    fn writes_lists() {
        assert_eq!(list(&[], None), b"{\"items\":[],\"next\":null}");
        let items = [b"1".to_vec(), b"2".to_vec()];
        assert_eq!(list(&items, Some("x")), b"{\"items\":[1,2],\"next\":\"x\"}");
    }
}
