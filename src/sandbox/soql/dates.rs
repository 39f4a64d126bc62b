//! Date literals by name: the span of time that each stands for, in UTC.

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};

use crate::model::clock::Millis;

const DAY: Millis = 86_400_000;

/// From (inclusive) and to (exclusive) of `TODAY`, `LAST_N_DAYS:7` and their like; `None` for no such name.
pub fn range(name: &str, now: Millis) -> Option<(Millis, Millis)> {
    let (word, count) = match name.split_once(':') {
        Some((word, count)) => (
            word,
            Some(count.parse::<i64>().ok().filter(|count| *count < 100_000)?),
        ),
        None => (name, None),
    };
    let today = now.div_euclid(DAY) * DAY;
    let date = Timestamp::from_millisecond(today)
        .ok()?
        .to_zoned(TimeZone::UTC)
        .date();
    let week = date
        .checked_sub(i64::from(date.weekday().to_sunday_zero_offset()).days())
        .ok()?;
    let month = date.first_of_month();
    let year = date.first_of_year();
    let days = |from: i64, to: i64| Some((today + from * DAY, today + to * DAY));
    match (word, count) {
        ("TODAY", None) => days(0, 1),
        ("YESTERDAY", None) => days(-1, 0),
        ("TOMORROW", None) => days(1, 2),
        // The last n days end with today, the next n begin tomorrow.
        ("LAST_N_DAYS", Some(n)) => days(-n, 1),
        ("NEXT_N_DAYS", Some(n)) => days(1, n + 1),
        ("N_DAYS_AGO", Some(n)) => days(-n, -n + 1),
        ("LAST_90_DAYS", None) => days(-90, 1),
        ("NEXT_90_DAYS", None) => days(1, 91),
        ("THIS_WEEK", None) => weeks(week, 0),
        ("LAST_WEEK", None) => weeks(week, -1),
        ("NEXT_WEEK", None) => weeks(week, 1),
        ("THIS_MONTH", None) => months(month, 0, 1),
        ("LAST_MONTH", None) => months(month, -1, 0),
        ("NEXT_MONTH", None) => months(month, 1, 2),
        ("LAST_N_MONTHS", Some(n)) => months(month, -n, 0),
        ("THIS_YEAR", None) => months(year, 0, 12),
        ("LAST_YEAR", None) => months(year, -12, 0),
        ("NEXT_YEAR", None) => months(year, 12, 24),
        _ => None,
    }
}

fn weeks(start: Date, shift: i64) -> Option<(Millis, Millis)> {
    let from = midnight(start)? + shift * 7 * DAY;
    Some((from, from + 7 * DAY))
}

fn months(start: Date, from: i64, to: i64) -> Option<(Millis, Millis)> {
    let shifted = |by: i64| midnight(start.checked_add(by.months()).ok()?);
    Some((shifted(from)?, shifted(to)?))
}

fn midnight(date: Date) -> Option<Millis> {
    Some(date.to_zoned(TimeZone::UTC).ok()?.timestamp().as_millisecond())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::clock::parse_date;

    #[test]
    fn names_stand_for_spans() {
        // A Sunday.
        let now = parse_date("2026-11-22").unwrap() + 34_200_000;
        for (name, from, to) in [
            ("TODAY", "2026-11-22", "2026-11-23"),
            ("YESTERDAY", "2026-11-21", "2026-11-22"),
            ("LAST_N_DAYS:7", "2026-11-15", "2026-11-23"),
            ("LAST_WEEK", "2026-11-15", "2026-11-22"),
            ("THIS_MONTH", "2026-11-01", "2026-12-01"),
            ("LAST_YEAR", "2025-01-01", "2026-01-01"),
        ] {
            assert_eq!(
                range(name, now),
                Some((parse_date(from).unwrap(), parse_date(to).unwrap())),
                "{name}"
            );
        }
        assert_eq!(range("LAST_N_DAYS", now), None);
        assert_eq!(range("SOMEDAY", now), None);
    }
}
