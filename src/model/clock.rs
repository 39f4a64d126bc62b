//! Where times come from, and how they are written.
//!
//! Inside, an instant is milliseconds since 1970 in UTC. A stage is handed a [`Clock`] and never reads the
//! system's, so that a test can move time.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use jiff::Timestamp;
use jiff::civil::{Date, DateTime};

/// Milliseconds since 1970-01-01T00:00:00Z.
pub type Millis = i64;

/// A source of the current time.
#[derive(Clone, Debug, Default)]
pub enum Clock {
    #[default]
    System,
    /// Moved by hand, shared by all clones.
    Manual(Arc<AtomicI64>),
}

impl Clock {
    pub fn now(&self) -> Millis {
        match self {
            Self::System => system(),
            Self::Manual(now) => now.load(Ordering::SeqCst),
        }
    }
}

fn system() -> Millis {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// `2026-11-22T09:30:00.000Z`, the form of every stored datetime. Out-of-range instants are clamped.
pub fn format_datetime(millis: Millis) -> String {
    let timestamp = Timestamp::from_millisecond(millis).unwrap_or(Timestamp::MAX);
    format!("{timestamp:.3}")
}

/// `2026-11-22`, from milliseconds at midnight UTC.
pub fn format_date(millis: Millis) -> String {
    format_datetime(millis)[..10].to_owned()
}

/// `09:30:00.000Z`, from milliseconds since midnight.
pub fn format_time(millis: Millis) -> String {
    format_datetime(millis.rem_euclid(86_400_000))[11..].to_owned()
}

/// Reads `2026-11-22T09:30:00.000Z` and Salesforce's REST form `2026-11-22T09:30:00.000+0000`.
pub fn parse_datetime(text: &str) -> Option<Millis> {
    if let Ok(timestamp) = text.parse::<Timestamp>() {
        return Some(timestamp.as_millisecond());
    }
    let local = text.strip_suffix("+0000")?;
    let civil: DateTime = local.parse().ok()?;
    Some(
        civil
            .to_zoned(jiff::tz::TimeZone::UTC)
            .ok()?
            .timestamp()
            .as_millisecond(),
    )
}

/// Reads `2026-11-22` as its midnight UTC.
pub fn parse_date(text: &str) -> Option<Millis> {
    let date: Date = text.parse().ok()?;
    Some(
        date.to_zoned(jiff::tz::TimeZone::UTC)
            .ok()?
            .timestamp()
            .as_millisecond(),
    )
}

/// A moment as a place's clocks and calendars show it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Local {
    /// `2026-11-22`
    pub date: String,
    /// `09:30:00`
    pub time: String,
    /// 0 is Sunday.
    pub weekday: u8,
}

/// A moment in a time zone by its IANA name; in UTC where there is none, or none that this machine knows.
pub fn local(millis: Millis, zone: Option<&str>) -> Local {
    let zone = zone.and_then(|name| jiff::tz::TimeZone::get(name).ok());
    let timestamp = Timestamp::from_millisecond(millis).unwrap_or(Timestamp::MAX);
    let zoned = timestamp.to_zoned(zone.unwrap_or(jiff::tz::TimeZone::UTC));
    Local {
        date: zoned.date().to_string(),
        time: format!("{:02}:{:02}:{:02}", zoned.hour(), zoned.minute(), zoned.second()),
        weekday: u8::try_from(zoned.weekday().to_sunday_zero_offset()).unwrap_or(0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_and_reads_the_stored_forms() {
        let instant = 1_795_339_800_000;
        assert_eq!(format_datetime(instant), "2026-11-22T09:30:00.000Z");
        assert_eq!(format_date(instant), "2026-11-22");
        assert_eq!(format_time(34_200_000), "09:30:00.000Z");
        assert_eq!(parse_datetime("2026-11-22T09:30:00.000Z"), Some(instant));
        assert_eq!(parse_datetime("2026-11-22T09:30:00.000+0000"), Some(instant));
        assert_eq!(parse_date("1970-01-02"), Some(86_400_000));
        assert_eq!(parse_datetime("yesterday"), None);
    }

    #[test]
    fn a_day_begins_where_the_store_is() {
        let sunday_evening = parse_datetime("2026-11-22T20:15:00.000Z").unwrap();
        let utc = local(sunday_evening, None);
        assert_eq!(
            (utc.date.as_str(), utc.time.as_str(), utc.weekday),
            ("2026-11-22", "20:15:00", 0)
        );
        let sydney = local(sunday_evening, Some("Australia/Sydney"));
        assert_eq!((sydney.date.as_str(), sydney.weekday), ("2026-11-23", 1));
        assert_eq!(local(sunday_evening, Some("Nowhere/At_All")), utc);
    }
}
