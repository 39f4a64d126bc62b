//! The time by the org's clock: what the last login said of it, and what has passed since; never less than the newest
//! stamp that was read from its rows, and what has passed since that.
//!
//! A login's time may be behind: the lists of what changed would end there, and what comes after would be taken for
//! nothing. A stamp may be ahead of all clocks, so one counts only where it was not ahead of the last login's time when
//! it was read, and a row cannot set the clock. A clock that went back in earnest says the same at a later login, which is
//! believed.
//!
//! What answers say in their `Date` is no proof of anything: proxies write it too. It decides only where this machine's
//! two clocks differ on how much time has passed, and never goes beyond what they say. Without a login's time it may
//! make an age longer and not shorter.
//!
//! A stamp or a date that is ahead of all this is a doubt: this machine may have stood still without its clocks knowing.
//! Another login settles it, and what it says of the difference holds: a proxy whose date is wrong is asked about once.

use crate::model::clock::{Millis, Moment};

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OrgClock {
    /// The time that a login was issued at, and when its answer came.
    issued: Option<(Millis, Moment)>,
    /// The last `Date` of an answer less this machine's wall clock.
    date_ahead: Option<Millis>,
    /// The newest stamp that counts, and when it was read.
    stamped: Option<(Millis, Moment)>,
    /// The time of a login that was behind that stamp, and when its answer came.
    behind: Option<(Millis, Moment)>,
    /// The latest time that was told and is not believed, and when.
    doubt: Option<(Millis, Moment)>,
    /// By how much what was told was ahead of the login that settled it.
    refuted: Option<Millis>,
    /// When a login was last asked for to settle a doubt.
    asked_at: Option<Moment>,
}

/// A stamp may be ahead of the login's time by so much: answers take their time.
const AHEAD_MAX_MILLIS: Millis = 60_000;

/// Two logins that are so long apart and behind alike say that the clock went back.
const BEHIND_MILLIS: Millis = 600_000;

/// How long a doubt waits for the next login, where the last failed.
const ASKED_AGAIN_MILLIS: Millis = 60_000;

impl OrgClock {
    /// A login said when it was issued.
    pub fn issued(&mut self, org: Millis, now: Moment) {
        self.issued = Some((org, now));
        if let Some((told, at)) = self.doubt.take() {
            let ahead = told + (now.boot - at.boot) - org;
            self.refuted = (ahead > AHEAD_MAX_MILLIS).then_some(ahead);
        }
        let is_behind = self.by_stamp(now).is_some_and(|stamp| org < stamp);
        let is_said_again = |&(before, at): &(Millis, Moment)| {
            let passed = now.boot - at.boot;
            passed >= BEHIND_MILLIS && (before + passed - org).abs() <= AHEAD_MAX_MILLIS
        };
        if !is_behind {
            self.behind = None;
        } else if self.behind.as_ref().is_some_and(is_said_again) {
            (self.stamped, self.behind) = (None, None);
        } else {
            self.behind = self.behind.or(Some((org, now)));
        }
    }

    /// A row was read that the org stamped then.
    pub fn stamped(&mut self, stamp: Millis, now: Moment) {
        let Some(issued) = self.issued else { return };
        let is_ahead = stamp > by_login(issued, self.date_ahead, now) + AHEAD_MAX_MILLIS;
        self.doubt(stamp, now);
        if !is_ahead && self.by_stamp(now).is_none_or(|known| known < stamp) {
            self.stamped = Some((stamp, now));
        }
    }

    /// What the newest stamp makes it at least.
    fn by_stamp(&self, now: Moment) -> Option<Millis> {
        let (stamp, at) = self.stamped?;
        Some(stamp + (now.boot - at.boot))
    }

    /// An answer says that it is so late.
    pub fn dated(&mut self, date: Millis, now: Moment) {
        self.date_ahead = Some(date - now.wall);
        self.doubt(date, now);
    }

    /// Notes a time that is later than it can be.
    fn doubt(&mut self, told: Millis, now: Moment) {
        let Some(issued) = self.issued else { return };
        let ahead = told - by_login(issued, None, now);
        let is_known = self
            .refuted
            .is_some_and(|refuted| ahead <= refuted + AHEAD_MAX_MILLIS);
        if ahead > AHEAD_MAX_MILLIS && !is_known {
            self.doubt = Some((told, now));
        }
    }

    /// Whether what is known of the org's time is in doubt.
    pub fn is_doubted(&self) -> bool {
        self.doubt.is_some()
    }

    /// Whether a login is to settle a doubt now; says so once a minute.
    pub fn asks_for_login(&mut self, now: Moment) -> bool {
        let was_asked = |at: &Moment| now.boot - at.boot < ASKED_AGAIN_MILLIS;
        let asks = self.doubt.is_some() && !self.asked_at.as_ref().is_some_and(was_asked);
        if asks {
            self.asked_at = Some(now);
        }
        asks
    }

    pub fn date_ahead_millis(&self) -> Option<Millis> {
        self.date_ahead
    }

    /// Now, for ages: rather too late than too early.
    pub fn time(&self, now: Moment) -> Millis {
        let Some(issued) = self.issued else {
            return now.wall + self.date_ahead.unwrap_or(0).max(0);
        };
        let by_login = by_login(issued, self.date_ahead, now);
        self.by_stamp(now).map_or(by_login, |stamp| by_login.max(stamp))
    }

    /// Now, for where to read from: rather too early than too late.
    pub fn time_at_least(&self, now: Moment) -> Millis {
        let ahead = self.date_ahead.unwrap_or(0);
        let Some((org, at)) = self.issued else {
            return now.wall + ahead.min(0);
        };
        let by_login = org + (now.boot - at.boot);
        self.by_stamp(now).map_or(by_login, |stamp| by_login.max(stamp))
    }
}

/// Now by what a login said, rather too late than too early.
fn by_login((org, at): (Millis, Moment), date_ahead: Option<Millis>, now: Moment) -> Millis {
    let (passed, most) = (now.boot - at.boot, at.age(now).max(now.boot - at.boot));
    match date_ahead {
        Some(ahead) => (now.wall + ahead).clamp(org + passed, org + most),
        None => org + most,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Millis = 60_000;

    /// Of this machine, an hour after a login, whose wall clock was set by so much since.
    fn an_hour_later(set_by: Millis) -> Moment {
        Moment {
            wall: 1_000 * MINUTE + set_by + 60 * MINUTE,
            boot: 160 * MINUTE,
        }
    }

    #[test]
    fn the_org_s_time_comes_from_its_login_and_a_date_is_not_believed() {
        let at_login = an_hour_later(0).before(60 * MINUTE);
        let issued = Some(2_000 * MINUTE);
        for (case, issued, set_by, dated, time, at_least) in [
            ("nothing said", None, 0, None, 1_060, 1_060),
            ("a date ahead", None, 0, Some(1_180), 1_180, 1_060),
            ("a date behind", None, 0, Some(1_000), 1_060, 1_000),
            ("a login", issued, 0, None, 2_060, 2_060),
            ("a proxy's date ahead", issued, 0, Some(9_000), 2_060, 2_060),
            ("a proxy's date behind", issued, 0, Some(5), 2_060, 2_060),
            ("set ahead", issued, 30, Some(2_060), 2_060, 2_060),
            ("the machine was paused", issued, 30, Some(2_090), 2_090, 2_060),
            ("paused, nobody knows", issued, 30, None, 2_090, 2_060),
            ("paused, a proxy's date", issued, 30, Some(9_000), 2_090, 2_060),
            ("set back", issued, -300, Some(9_000), 2_060, 2_060),
        ] {
            let mut clock = OrgClock::default();
            if let Some(issued) = issued {
                clock.issued(issued, at_login);
            }
            let now = an_hour_later(set_by * MINUTE);
            if let Some(date) = dated {
                clock.dated(date * MINUTE, now);
            }
            let told = (clock.time(now) / MINUTE, clock.time_at_least(now) / MINUTE);
            assert_eq!(told, (time, at_least), "{case}");
        }
    }

    #[test]
    fn a_time_that_is_ahead_is_a_doubt_until_a_login_and_asked_about_once() {
        let mut clock = OrgClock::default();
        clock.dated(9_000 * MINUTE, at(0));
        assert!(!clock.is_doubted(), "there is nothing to doubt before a login");
        clock.issued(2_000 * MINUTE, at(0));
        clock.dated(2_006 * MINUTE, at(5));
        assert!(!clock.is_doubted(), "a minute is none");
        // The machine stood still for an hour.
        clock.dated(2_070 * MINUTE, at(10));
        assert!(clock.is_doubted() && clock.asks_for_login(at(10)));
        assert!(!clock.asks_for_login(at(10)) && clock.asks_for_login(at(11)));
        assert_eq!(clock.time(at(11)), 2_011 * MINUTE, "it is no proof");
        clock.issued(2_071 * MINUTE, at(11));
        clock.dated(2_080 * MINUTE, at(20));
        assert!(!clock.is_doubted());
        // A proxy whose date is two hours ahead, and another that is more.
        clock.dated(2_200 * MINUTE, at(20));
        assert!(clock.is_doubted());
        clock.issued(2_080 * MINUTE, at(20));
        for minute in [21, 80] {
            clock.dated((2_180 + minute) * MINUTE, at(minute));
            assert!(!clock.is_doubted(), "{minute}");
        }
        clock.stamped(2_400 * MINUTE, at(80));
        assert!(clock.is_doubted());
    }

    /// In minutes: when, and what it says.
    enum Said {
        Login(Millis, Millis),
        Stamp(Millis, Millis),
    }
    use Said::{Login, Stamp};

    fn at(minute: Millis) -> Moment {
        Moment {
            wall: (1_000 + minute) * MINUTE,
            boot: (100 + minute) * MINUTE,
        }
    }

    #[test]
    fn the_org_s_time_is_never_less_than_the_newest_stamp_that_was_no_later_than_a_login() {
        // A minute after each, the org's time.
        let cases = [
            ("a stamp", vec![Login(0, 2_000), Stamp(10, 2_005)], 2_011),
            (
                "a login behind",
                vec![Login(0, 2_000), Stamp(10, 2_005), Login(20, 1_900)],
                2_016,
            ),
            ("a stamp ahead", vec![Login(0, 2_000), Stamp(10, 2_500)], 2_011),
            (
                "a stamp ahead, and a login",
                vec![Login(0, 2_000), Stamp(10, 2_500), Login(20, 2_020)],
                2_021,
            ),
            (
                "stamps ahead of one another",
                vec![Login(0, 2_000), Stamp(0, 2_001), Stamp(0, 2_002), Stamp(0, 2_003)],
                2_002,
            ),
            (
                "a stamp before any login",
                vec![Stamp(0, 2_500), Login(0, 2_000)],
                2_001,
            ),
            (
                "behind twice at once",
                vec![
                    Login(0, 2_000),
                    Stamp(10, 2_010),
                    Login(20, 1_920),
                    Login(21, 1_921),
                ],
                2_022,
            ),
            (
                "it went back",
                vec![
                    Login(0, 2_000),
                    Stamp(10, 2_010),
                    Login(20, 1_920),
                    Login(140, 2_040),
                ],
                2_041,
            ),
            (
                "behind otherwise the second time",
                vec![
                    Login(0, 2_000),
                    Stamp(10, 2_010),
                    Login(20, 1_920),
                    Login(140, 1_950),
                ],
                2_141,
            ),
        ];
        for (case, said, expected) in cases {
            let (mut clock, mut now) = (OrgClock::default(), 0);
            for said in said {
                match said {
                    Login(minute, time) => (now, _) = (minute, clock.issued(time * MINUTE, at(minute))),
                    Stamp(minute, stamp) => (now, _) = (minute, clock.stamped(stamp * MINUTE, at(minute))),
                }
            }
            let told = [clock.time(at(now + 1)), clock.time_at_least(at(now + 1))];
            assert_eq!(told, [expected * MINUTE; 2], "{case}");
        }
    }
}
