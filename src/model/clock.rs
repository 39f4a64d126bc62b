//! Where times come from, and how they are written.
//!
//! Inside, an instant is milliseconds since 1970 in UTC. A stage is handed a [`Clock`] and never reads the
//! system's, so that a test can move time.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use jiff::Timestamp;
use jiff::civil::{Date, DateTime};
use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};

/// Milliseconds since 1970-01-01T00:00:00Z.
pub type Millis = i64;

/// An instant by two clocks: the wall clock, which is set, and the machine's since it was started, which is not and
/// counts the time that the machine was suspended. A paused virtual machine moves the first alone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Moment {
    pub wall: Millis,
    /// Milliseconds since the machine was started.
    pub boot: Millis,
}

impl Moment {
    /// So many milliseconds before.
    #[must_use]
    pub fn before(self, millis: Millis) -> Self {
        Self {
            wall: self.wall - millis,
            boot: self.boot - millis,
        }
    }

    /// By each clock the earlier of two.
    #[must_use]
    pub fn earlier(self, other: Self) -> Self {
        Self {
            wall: self.wall.min(other.wall),
            boot: self.boot.min(other.boot),
        }
    }

    /// Milliseconds until `now`, by the clock that says more. A wall clock that was set back counts for nothing.
    pub fn age(self, now: Self) -> Millis {
        (now.wall - self.wall).max(now.boot - self.boot).max(0)
    }
}

/// Which start of this machine [`Moment::boot`] counts from; empty where the system does not tell.
pub fn boot_id() -> &'static str {
    static ID: OnceLock<String> = OnceLock::new();
    ID.get_or_init(|| {
        let read = std::fs::read_to_string("/proc/sys/kernel/random/boot_id");
        read.unwrap_or_default().trim().to_owned()
    })
}

/// A source of the current time.
#[derive(Clone, Debug, Default)]
pub enum Clock {
    #[default]
    System,
    /// Moved by hand, shared by all clones.
    Manual(Arc<AtomicI64>),
    /// The system's, and so many milliseconds: that of a machine whose clock is set while it runs.
    Moved(Arc<AtomicI64>),
    /// The system's, and so many milliseconds that the machine was suspended for.
    Slept(Arc<AtomicI64>),
    /// The system's, and so many milliseconds by each of the two clocks of a [`Moment`], which are moved apart.
    Apart(Arc<[AtomicI64; 2]>),
}

impl Clock {
    pub fn now(&self) -> Millis {
        match self {
            Self::System => system(),
            Self::Manual(now) => now.load(Ordering::SeqCst),
            Self::Moved(by) | Self::Slept(by) => system() + by.load(Ordering::SeqCst),
            Self::Apart(by) => system() + by[0].load(Ordering::SeqCst),
        }
    }

    /// Now, by both clocks.
    pub fn moment(&self) -> Moment {
        let boot = match self {
            Self::System | Self::Moved(_) => since_boot(),
            Self::Slept(by) => since_boot() + by.load(Ordering::SeqCst),
            Self::Apart(by) => since_boot() + by[1].load(Ordering::SeqCst),
            Self::Manual(now) => now.load(Ordering::SeqCst),
        };
        Moment {
            wall: self.now(),
            boot,
        }
    }

    /// Milliseconds that go on evenly while the process runs, however the clock is set. What is only waited for is
    /// measured in them.
    pub fn steady(&self) -> Millis {
        match self {
            Self::System | Self::Moved(_) | Self::Slept(_) | Self::Apart(_) => steady(),
            Self::Manual(now) => now.load(Ordering::SeqCst),
        }
    }
}

/// Tells when the clock is set, by the time that goes on evenly.
#[derive(Debug)]
pub struct Steps {
    ahead: Millis,
}

/// A clock that is off by less is not set, it is held in step; what adds up is seen in time.
const STEP_MIN: Millis = 1_000;

impl Steps {
    pub fn new(now: Millis, steady: Millis) -> Self {
        Self { ahead: now - steady }
    }

    /// How far the clock was set since [`Steps::took`], where it was: below zero where it was set back.
    pub fn look(&self, now: Millis, steady: Millis) -> Option<Millis> {
        let step = now - steady - self.ahead;
        (step.abs() >= STEP_MIN).then_some(step)
    }

    /// What depends on the clock has been judged anew.
    pub fn took(&mut self, step: Millis) {
        self.ahead += step;
    }
}

fn since_boot() -> Millis {
    let time = clock_gettime(ClockId::Boottime);
    time.tv_sec * 1_000 + time.tv_nsec / 1_000_000
}

fn steady() -> Millis {
    static BEGUN: OnceLock<Instant> = OnceLock::new();
    i64::try_from(BEGUN.get_or_init(Instant::now).elapsed().as_millis()).unwrap_or(i64::MAX)
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

/// Whether this machine knows a time zone by its IANA name.
pub fn is_known_zone(name: &str) -> bool {
    jiff::tz::TimeZone::get(name).is_ok()
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
    fn a_clock_that_is_set_is_seen_and_one_that_is_held_in_step_is_not() {
        const DAYS: Millis = 172_800_000;
        let mut steps = Steps::new(1_000_000, 0);
        for (now, steady, expected) in [
            (1_002_000, 2_000, None),
            (1_003_900, 3_000, None),
            (1_004_000 + DAYS, 4_000, Some(DAYS)),
            (1_005_000 + DAYS, 5_000, None),
            (1_006_000, 6_000, Some(-DAYS)),
            (1_007_000, 7_000, None),
            // What adds up to a step is one.
            (1_007_400, 8_000, None),
            (1_007_900, 9_000, Some(-1_100)),
        ] {
            let step = steps.look(now, steady);
            assert_eq!(step, expected, "{now} {steady}");
            steps.took(step.unwrap_or(0));
        }
    }

    #[test]
    fn an_age_is_by_the_clock_that_says_more() {
        let then = Moment {
            wall: 100_000,
            boot: 5_000,
        };
        for (wall, boot, age) in [
            (103_000, 8_000, 3_000),
            // Set forward, or a virtual machine that was paused.
            (160_000, 8_000, 60_000),
            // Set back.
            (40_000, 8_000, 3_000),
            // Suspended.
            (101_000, 95_000, 90_000),
            (90_000, 5_000, 0),
        ] {
            assert_eq!(then.age(Moment { wall, boot }), age, "{wall} {boot}");
        }
        let clock = Clock::Moved(Arc::new(AtomicI64::new(0)));
        let (before, Clock::Moved(by)) = (clock.moment(), &clock) else {
            unreachable!("it was made above")
        };
        by.store(3_600_000, Ordering::SeqCst);
        assert!(before.age(clock.moment()) >= 3_600_000);
        assert!(
            clock.moment().boot - before.boot < 60_000,
            "no more than the test took"
        );
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
