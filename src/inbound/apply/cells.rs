//! Values from the text of a CSV page and from REST's JSON, by the kind of their column.
//!
//! What does not look like its kind is kept as the text it is: SQLite holds it, and nothing is lost. Bulk CSV
//! writes null as an empty field, and large or fractional numbers may be in scientific notation.

use std::borrow::Cow;

use serde_json::{Map, Value as Json};

use crate::model::clock::{Millis, parse_date, parse_datetime};
use crate::model::row::{ColumnKind, Table, Value};

/// A field of a CSV row.
pub(crate) fn from_text(kind: ColumnKind, text: &str) -> Value<'_> {
    if text.is_empty() {
        return Value::Null;
    }
    match kind {
        ColumnKind::Text | ColumnKind::Time => Value::Text(text.into()),
        ColumnKind::Boolean => match text {
            "true" | "1" => Value::Integer(1),
            "false" | "0" => Value::Integer(0),
            _ => Value::Text(text.into()),
        },
        ColumnKind::Integer => integer(text).map_or(Value::Text(text.into()), Value::Integer),
        ColumnKind::Real => text.parse().map_or(Value::Text(text.into()), Value::Real),
        ColumnKind::Date => date(text),
        ColumnKind::DateTime => datetime(text),
    }
}

/// A value of a REST row. Numbers in text columns need `written`, see [`written`].
pub(super) fn from_json<'v>(
    kind: ColumnKind,
    value: &'v Json,
    written: Option<&'v Cow<'v, str>>,
) -> Value<'v> {
    match value {
        Json::Null => Value::Null,
        Json::Bool(flag) if kind != ColumnKind::Text => Value::Integer(i64::from(*flag)),
        Json::Number(number) if kind == ColumnKind::Integer => match number.as_i64() {
            Some(number) => Value::Integer(number),
            None => number.as_f64().map_or(Value::Null, Value::Real),
        },
        Json::Number(number) if kind == ColumnKind::Real => number.as_f64().map_or(Value::Null, Value::Real),
        Json::String(text) => from_text(kind, text),
        Json::Bool(_) | Json::Number(_) | Json::Array(_) | Json::Object(_) => {
            written.map_or(Value::Null, |text| Value::Text((&**text).into()))
        }
    }
}

/// The text of a value that is not text itself, for a column that holds text.
pub(super) fn written(kind: ColumnKind, value: &Json) -> Option<Cow<'_, str>> {
    let plain = matches!(kind, ColumnKind::Integer | ColumnKind::Real | ColumnKind::Boolean);
    match value {
        Json::Null | Json::String(_) => None,
        Json::Bool(_) | Json::Number(_) if plain => None,
        other => Some(Cow::Owned(other.to_string())),
    }
}

/// What [`values_of`] borrows from: see [`written`].
pub(crate) fn written_of<'r>(table: &Table, row: &'r Map<String, Json>) -> Vec<Option<Cow<'r, str>>> {
    let columns = table.columns.iter();
    columns
        .map(|column| {
            row.get(&column.field)
                .and_then(|value| written(column.kind, value))
        })
        .collect()
}

/// A REST row's values, one for each column.
pub(crate) fn values_of<'v>(
    table: &Table,
    row: &'v Map<String, Json>,
    written: &'v [Option<Cow<'v, str>>],
) -> Vec<Value<'v>> {
    let columns = table.columns.iter().zip(written);
    columns
        .map(|(column, written)| {
            let value = row.get(&column.field).unwrap_or(&Json::Null);
            from_json(column.kind, value, written.as_ref())
        })
        .collect()
}

/// The instant of a datetime column's text.
pub(crate) fn stamp(text: &str) -> Option<Millis> {
    fixed_datetime(text.as_bytes()).or_else(|| parse_datetime(text))
}

#[allow(clippy::cast_possible_truncation, clippy::cast_precision_loss)]
fn integer(text: &str) -> Option<i64> {
    if let Ok(number) = text.parse() {
        return Some(number);
    }
    let number: f64 = text.parse().ok()?;
    let whole = number as i64;
    (whole as f64 == number).then_some(whole)
}

fn date(text: &str) -> Value<'_> {
    match text.len() {
        10 => Value::Text(text.into()),
        _ => parse_datetime(text)
            .or_else(|| parse_date(text))
            .map_or(Value::Text(text.into()), Value::Date),
    }
}

fn datetime(text: &str) -> Value<'_> {
    let bytes = text.as_bytes();
    let stored_form = bytes.len() == 24 && bytes[23] == b'Z' && bytes[10] == b'T' && bytes[19] == b'.';
    if stored_form {
        Value::Text(text.into())
    } else {
        parse_datetime(text).map_or(Value::Text(text.into()), Value::DateTime)
    }
}

/// Reads `2026-11-22T09:30:00.000Z` and `2026-11-22T09:30:00.000+0000` without the generality of a parser.
fn fixed_datetime(text: &[u8]) -> Option<Millis> {
    let (fixed, zone) = text.split_at_checked(23)?;
    if !matches!(zone, b"Z" | b"+0000") {
        return None;
    }
    let number = |range: std::ops::Range<usize>| {
        fixed[range].iter().try_fold(0_i64, |number, byte| {
            byte.is_ascii_digit()
                .then(|| number * 10 + i64::from(byte - b'0'))
        })
    };
    let (year, month, day) = (number(0..4)?, number(5..7)?, number(8..10)?);
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    // Howard Hinnant's days_from_civil.
    let shifted = if month <= 2 { year - 1 } else { year };
    let (era, year_of_era) = (shifted.div_euclid(400), shifted.rem_euclid(400));
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    let days = era * 146_097 + day_of_era - 719_468;
    let seconds = number(11..13)? * 3_600 + number(14..16)? * 60 + number(17..19)?;
    Some((days * 86_400 + seconds) * 1_000 + number(20..23)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::clock::format_datetime;

    #[test]
    fn reads_csv_by_kind() {
        let instant = 1_545_166_299_000;
        let cases = [
            (ColumnKind::Text, "", Value::Null),
            (ColumnKind::Text, "a", Value::Text("a".into())),
            (ColumnKind::Boolean, "true", Value::Integer(1)),
            (ColumnKind::Boolean, "false", Value::Integer(0)),
            (ColumnKind::Real, "9.12260031E8", Value::Real(912_260_031.0)),
            (ColumnKind::Integer, "1.2E3", Value::Integer(1_200)),
            (ColumnKind::Integer, "12", Value::Integer(12)),
            (ColumnKind::Integer, "1.5", Value::Text("1.5".into())),
            (
                ColumnKind::DateTime,
                "2018-12-18T20:51:39.000Z",
                Value::Text("2018-12-18T20:51:39.000Z".into()),
            ),
            (
                ColumnKind::DateTime,
                "2018-12-18T20:51:39Z",
                Value::DateTime(instant),
            ),
            (
                ColumnKind::DateTime,
                "2018-12-18T20:51:39.000+0000",
                Value::DateTime(instant),
            ),
            (ColumnKind::Date, "2018-12-18", Value::Text("2018-12-18".into())),
            (ColumnKind::Real, "?", Value::Text("?".into())),
        ];
        for (kind, text, expected) in cases {
            assert_eq!(from_text(kind, text), expected, "{kind:?} {text}");
        }
    }

    #[test]
    fn reads_json_by_kind() {
        let cases = [
            (ColumnKind::Boolean, serde_json::json!(true), Value::Integer(1)),
            (ColumnKind::Integer, serde_json::json!(7.0), Value::Real(7.0)),
            (ColumnKind::Real, serde_json::json!(400), Value::Real(400.0)),
            (ColumnKind::Text, serde_json::json!(5), Value::Text("5".into())),
            (ColumnKind::Text, serde_json::json!(null), Value::Null),
        ];
        for (kind, json, expected) in &cases {
            let text = written(*kind, json);
            assert_eq!(
                from_json(*kind, json, text.as_ref()),
                *expected,
                "{kind:?} {json}"
            );
        }
    }

    #[test]
    fn reads_stamps_as_the_model_does() {
        let mut random = fastrand::Rng::with_seed(3);
        for _ in 0..5_000 {
            let instant = random.i64(-10_000_000_000_000..10_000_000_000_000);
            assert_eq!(stamp(&format_datetime(instant)), Some(instant));
        }
        assert_eq!(stamp("2018-12-18T20:51:39.000+0000"), Some(1_545_166_299_000));
        assert_eq!(stamp("2018-12-18T22:51:39.000+02:00"), Some(1_545_166_299_000));
        assert_eq!(stamp("2018-13-18T20:51:39.000Z"), None);
    }
}
