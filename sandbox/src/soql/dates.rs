//! Date literals by name: the span of time that each stands for, in UTC.

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};

use crate::clock::Millis;

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
        _ => {
            let (unit, from, to) = steps(word, count)?;
            match unit {
                Unit::Week => weeks(week, from, to),
                Unit::Months(months) => of_months(date, months, from, to),
            }
        }
    }
}

/// A span of the calendar: weeks, or so many months.
#[derive(Clone, Copy)]
enum Unit {
    Week,
    Months(i64),
}

/// From (inclusive) and to (exclusive) of a name of weeks, months, quarters or years, in those, counted from the
/// current one. The last n end before it, the next n begin after it. Fiscal years are the calendar's.
fn steps(word: &str, count: Option<i64>) -> Option<(Unit, i64, i64)> {
    let (start, unit) = match word.strip_suffix("_AGO") {
        Some(rest) => ("AGO", rest.strip_prefix("N_")?),
        None => word.split_once('_')?,
    };
    let (start, unit) = match (unit.strip_prefix("N_"), start) {
        (Some(unit), "LAST") => ("LAST_N", unit),
        (Some(unit), "NEXT") => ("NEXT_N", unit),
        (Some(_), _) => return None,
        (None, start) => (start, unit),
    };
    let unit = unit.strip_prefix("FISCAL_").unwrap_or(unit);
    let unit = match (
        unit.strip_suffix('S').unwrap_or(unit),
        unit.ends_with('S') == count.is_some(),
    ) {
        ("WEEK", true) => Unit::Week,
        ("MONTH", true) => Unit::Months(1),
        ("QUARTER", true) => Unit::Months(3),
        ("YEAR", true) => Unit::Months(12),
        _ => return None,
    };
    let (from, to) = match (start, count) {
        ("THIS", None) => (0, 1),
        ("LAST", None) => (-1, 0),
        ("NEXT", None) => (1, 2),
        ("LAST_N", Some(n)) => (-n, 0),
        ("NEXT_N", Some(n)) => (1, n + 1),
        ("AGO", Some(n)) => (-n, -n + 1),
        _ => return None,
    };
    Some((unit, from, to))
}

fn weeks(start: Date, from: i64, to: i64) -> Option<(Millis, Millis)> {
    let start = midnight(start)?;
    Some((start + from * 7 * DAY, start + to * 7 * DAY))
}

/// Spans of `months`, of which the year begins with one.
fn of_months(date: Date, months: i64, from: i64, to: i64) -> Option<(Millis, Millis)> {
    let since_january = i64::from(date.month()) - 1;
    let start = date
        .first_of_year()
        .checked_add((since_january / months * months).months())
        .ok()?;
    let shifted = |by: i64| midnight(start.checked_add((by * months).months()).ok()?);
    Some((shifted(from)?, shifted(to)?))
}

fn midnight(date: Date) -> Option<Millis> {
    Some(date.to_zoned(TimeZone::UTC).ok()?.timestamp().as_millisecond())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::parse_date;

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
            ("LAST_N_WEEKS:2", "2026-11-08", "2026-11-22"),
            ("N_WEEKS_AGO:2", "2026-11-08", "2026-11-15"),
            ("LAST_N_MONTHS:2", "2026-09-01", "2026-11-01"),
            ("NEXT_N_MONTHS:2", "2026-12-01", "2027-02-01"),
            ("N_MONTHS_AGO:1", "2026-10-01", "2026-11-01"),
            ("THIS_QUARTER", "2026-10-01", "2027-01-01"),
            ("LAST_N_QUARTERS:2", "2026-04-01", "2026-10-01"),
            ("NEXT_N_YEARS:1", "2027-01-01", "2028-01-01"),
            ("N_YEARS_AGO:2", "2024-01-01", "2025-01-01"),
            ("THIS_FISCAL_QUARTER", "2026-10-01", "2027-01-01"),
            ("LAST_N_FISCAL_YEARS:1", "2025-01-01", "2026-01-01"),
            ("N_FISCAL_QUARTERS_AGO:1", "2026-07-01", "2026-10-01"),
        ] {
            assert_eq!(
                range(name, now),
                Some((parse_date(from).unwrap(), parse_date(to).unwrap())),
                "{name}"
            );
        }
        for name in [
            "LAST_N_DAYS",
            "SOMEDAY",
            "THIS_YEARS",
            "LAST_N_MONTH:2",
            "THIS_N_WEEKS:2",
            "LAST_WEEK:2",
        ] {
            assert_eq!(range(name, now), None, "{name}");
        }
    }
}
