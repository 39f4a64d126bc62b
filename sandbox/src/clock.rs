//! The org's time, and how Salesforce writes it.
//!
//! An instant is milliseconds since 1970 in UTC. The org's clock can be moved, by its own controls and by tests. The
//! daemon has a clock and a reader of times of its own: neither hides the other's mistakes.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use jiff::Timestamp;
use jiff::civil::{Date, DateTime};
use jiff::fmt::rfc2822::DateTimePrinter;

/// Milliseconds since 1970-01-01T00:00:00Z.
pub type Millis = i64;

/// A source of the current time.
#[derive(Clone, Debug, Default)]
pub enum Clock {
    #[default]
    System,
    /// Moved by hand, shared by all clones.
    Manual(Arc<AtomicI64>),
    /// The system's time and so many milliseconds, shared by all clones.
    Shifted(Arc<AtomicI64>),
}

/// As HTTP writes a date; empty where it has no form.
pub fn http_date(millis: Millis) -> String {
    let date = Timestamp::from_millisecond(millis);
    let date = date.and_then(|date| DateTimePrinter::new().timestamp_to_rfc9110_string(&date));
    date.unwrap_or_default()
}

impl Clock {
    pub fn now(&self) -> Millis {
        match self {
            Self::System => system(),
            Self::Manual(now) => now.load(Ordering::SeqCst),
            Self::Shifted(by) => system().saturating_add(by.load(Ordering::SeqCst)),
        }
    }

    /// By how much a clock was moved from the system's; a manual one by all that it shows.
    pub fn moved(&self) -> Millis {
        match self {
            Self::System => 0,
            Self::Manual(moved) | Self::Shifted(moved) => moved.load(Ordering::SeqCst),
        }
    }

    /// Moves a clock that can be moved; the system's cannot, and says so with false.
    pub fn advance(&self, millis: Millis) -> bool {
        match self {
            Self::System => false,
            Self::Manual(moved) | Self::Shifted(moved) => {
                moved.fetch_add(millis, Ordering::SeqCst);
                true
            }
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
}
