//! The time by the org's clock: what the last login said of it, and what has passed since.
//!
//! What answers say in their `Date` is no proof of anything: proxies write it too. It decides only where this machine's
//! two clocks differ on how much time has passed, and never goes beyond what they say. Without a login's time it may
//! make an age longer and not shorter.

use crate::model::clock::{Millis, Moment};

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OrgClock {
    /// The time that a login was issued at, and when its answer came.
    issued: Option<(Millis, Moment)>,
    /// The last `Date` of an answer less this machine's wall clock.
    date_ahead: Option<Millis>,
}

impl OrgClock {
    /// A login said when it was issued.
    pub fn issued(&mut self, org: Millis, now: Moment) {
        self.issued = Some((org, now));
    }

    /// An answer says that it is so late.
    pub fn dated(&mut self, date: Millis, now: Moment) {
        self.date_ahead = Some(date - now.wall);
    }

    pub fn date_ahead_millis(&self) -> Option<Millis> {
        self.date_ahead
    }

    /// Now, for ages: rather too late than too early.
    pub fn time(&self, now: Moment) -> Millis {
        let ahead = self.date_ahead.unwrap_or(0);
        let Some((org, at)) = self.issued else {
            return now.wall + ahead.max(0);
        };
        let (passed, most) = (now.boot - at.boot, at.age(now).max(now.boot - at.boot));
        match self.date_ahead {
            Some(ahead) => (now.wall + ahead).clamp(org + passed, org + most),
            None => org + most,
        }
    }

    /// Now, for where to read from: rather too early than too late.
    pub fn time_at_least(&self, now: Moment) -> Millis {
        let ahead = self.date_ahead.unwrap_or(0);
        match self.issued {
            Some((org, at)) => org + (now.boot - at.boot),
            None => now.wall + ahead.min(0),
        }
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
}
