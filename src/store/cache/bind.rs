//! Values on their way into a statement, and compared with what a row holds.
//!
//! Dates and times are written into a buffer on the stack: a row can hold a dozen of them, and an allocation
//! for each would be a visible part of applying an event.

use rusqlite::Statement;
use rusqlite::types::{ToSqlOutput, ValueRef};

use crate::model::clock::Millis;
use crate::model::row::Value;

const DAY_MILLIS: i64 = 86_400_000;

/// `2026-11-22T09:30:00.000Z` on the stack.
pub(super) struct Written([u8; 24]);

impl Written {
    /// Instants outside the years 0 to 9999 are clamped.
    pub(super) fn new(millis: Millis) -> Self {
        let millis = millis.clamp(-62_167_219_200_000, 253_402_300_799_999);
        let (year, month, day) = civil(millis.div_euclid(DAY_MILLIS));
        let mut text = *b"0000-00-00T00:00:00.000Z";
        digits(&mut text[0..4], year);
        digits(&mut text[5..7], month);
        digits(&mut text[8..10], day);
        let within = millis.rem_euclid(DAY_MILLIS);
        digits(&mut text[11..13], within / 3_600_000);
        digits(&mut text[14..16], within / 60_000 % 60);
        digits(&mut text[17..19], within / 1_000 % 60);
        digits(&mut text[20..23], within % 1_000);
        Self(text)
    }

    pub(super) fn datetime(&self) -> SqlText<'_> {
        SqlText(&self.0)
    }

    fn date(&self) -> SqlText<'_> {
        SqlText(&self.0[..10])
    }

    fn time(&self) -> SqlText<'_> {
        SqlText(&self.0[11..])
    }
}

/// UTF-8 as SQLite takes it.
#[derive(Debug, PartialEq)]
pub(super) struct SqlText<'t>(pub(super) &'t [u8]);

impl rusqlite::ToSql for SqlText<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(ValueRef::Text(self.0)))
    }
}

fn digits(into: &mut [u8], mut number: i64) {
    for digit in into.iter_mut().rev() {
        *digit = b'0' + u8::try_from(number % 10).unwrap_or(0);
        number /= 10;
    }
}

/// Year, month and day of a number of days since 1970: Howard Hinnant's civil_from_days.
fn civil(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_shifted + 2) / 5 + 1;
    let month = if month_shifted < 10 {
        month_shifted + 3
    } else {
        month_shifted - 9
    };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

pub(super) fn bind(statement: &mut Statement<'_>, index: usize, value: Value<'_>) -> rusqlite::Result<()> {
    match value {
        Value::Null => statement.raw_bind_parameter(index, rusqlite::types::Null),
        Value::Integer(number) => statement.raw_bind_parameter(index, number),
        Value::Real(number) => statement.raw_bind_parameter(index, number),
        Value::Text(text) => statement.raw_bind_parameter(index, SqlText(text.as_bytes())),
        Value::DateTime(millis) => statement.raw_bind_parameter(index, Written::new(millis).datetime()),
        Value::Date(millis) => statement.raw_bind_parameter(index, Written::new(millis).date()),
        Value::Time(millis) => {
            statement.raw_bind_parameter(index, Written::new(millis.rem_euclid(DAY_MILLIS)).time())
        }
    }
}

/// Whether binding the value to this column would leave it as it is.
#[allow(clippy::cast_precision_loss, clippy::float_cmp)]
pub(super) fn same(stored: ValueRef<'_>, value: Value<'_>) -> bool {
    let text = |text: SqlText<'_>| stored == ValueRef::Text(text.0);
    match value {
        Value::Null => stored == ValueRef::Null,
        Value::Integer(number) => match stored {
            ValueRef::Integer(stored) => stored == number,
            ValueRef::Real(stored) => stored == number as f64,
            _ => false,
        },
        Value::Real(number) => match stored {
            ValueRef::Integer(stored) => stored as f64 == number,
            ValueRef::Real(stored) => stored == number,
            _ => false,
        },
        Value::Text(value) => text(SqlText(value.as_bytes())),
        Value::DateTime(millis) => text(Written::new(millis).datetime()),
        Value::Date(millis) => text(Written::new(millis).date()),
        Value::Time(millis) => text(Written::new(millis.rem_euclid(DAY_MILLIS)).time()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::clock::{format_date, format_datetime, format_time};

    #[test]
    fn writes_times_as_the_model_does() {
        let mut random = fastrand::Rng::with_seed(1);
        let fixed = [0, 951_782_400_000, -1, 253_402_207_200_000, -62_135_596_800_000];
        for millis in fixed
            .into_iter()
            .chain((0..10_000).map(|_| random.i64(-30_000_000_000_000..100_000_000_000_000)))
        {
            let written = Written::new(millis);
            assert_eq!(written.datetime(), SqlText(format_datetime(millis).as_bytes()));
            assert_eq!(written.date(), SqlText(format_date(millis).as_bytes()));
        }
        assert_eq!(
            Written::new(34_200_000).time(),
            SqlText(format_time(34_200_000).as_bytes())
        );
    }
}
