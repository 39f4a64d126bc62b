//! When a login may be tried: a pure decision, of what became of those before.
//!
//! Salesforce locks users after some logins that fail, and takes 3,600 of one user in an hour. So a login that failed is
//! tried again after a wait that doubles, and however they end, logins are rationed. The wait begins anew only when the
//! org has accepted the session of a login: a login that succeeds and gives a session of no use is no progress.

use std::time::Duration;

use crate::model::clock::{Millis, Moment};
use crate::salesforce::Error;

/// After the first refused login, and the longest.
const REFUSED: [Duration; 2] = [Duration::from_secs(5), Duration::from_secs(900)];
/// The same where the org was not reached, or could not answer: that locks nobody.
const AWAY: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(30)];
/// Of an org that says it had too many logins.
const TOO_MANY: Duration = Duration::from_secs(900);

/// Logins that may follow each other without a wait, and how long it takes until there is one more.
const BURST: u32 = 30;
const ONE_MORE_MILLIS: Millis = 30_000;

/// What a failed login says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// By the org, which may lock the user.
    Refused,
    /// For the number of logins.
    TooMany,
    /// By nobody who knows the user.
    Away,
}

impl Failure {
    pub(super) fn of(error: &Error) -> Self {
        match error {
            Error::Login { error, description } => match (error.as_str(), description.as_str()) {
                ("rate_limit_exceeded", _) | (_, "login rate exceeded") => Self::TooMany,
                ("server_error" | "temporarily_unavailable" | "unknown_error", _) => Self::Away,
                _ => Self::Refused,
            },
            Error::Refused { status, .. } if *status < 500 => Self::Refused,
            Error::OtherOrg { .. } | Error::Secret(_) => Self::Refused,
            _ => Self::Away,
        }
    }
}

#[derive(Debug, Default)]
pub(super) struct Circuit {
    /// Logins that were refused, and that did not reach the org, since a session was last accepted.
    refused: u32,
    away: u32,
    /// No login for so long after a moment.
    wait: Option<(Moment, Millis)>,
    /// Logins that are not made up for yet, by this moment.
    spent: u32,
    spent_at: Option<Moment>,
}

impl Circuit {
    /// How long no login may be tried.
    pub(super) fn wait_millis(&mut self, now: Moment) -> Option<Millis> {
        self.make_up(now);
        let after_failure = self.wait.map_or(0, |(since, wait)| wait - since.age(now));
        let (full, spent_at) = (self.spent >= BURST, self.spent_at);
        let for_one_more = spent_at.filter(|_| full);
        let rationed = for_one_more.map_or(0, |since| ONE_MORE_MILLIS - since.age(now));
        Some(after_failure.max(rationed)).filter(|wait| *wait > 0)
    }

    /// A login is tried.
    pub(super) fn tried(&mut self, now: Moment) {
        self.make_up(now);
        self.spent += 1;
        self.spent_at.get_or_insert(now);
    }

    /// The login that was tried last failed.
    pub(super) fn failed(&mut self, failure: Failure, now: Moment) {
        let wait = match failure {
            Failure::Refused | Failure::TooMany => {
                self.refused += 1;
                let wait = doubled(REFUSED, self.refused);
                if failure == Failure::TooMany {
                    TOO_MANY
                } else {
                    wait
                }
            }
            Failure::Away => {
                self.away += 1;
                doubled(AWAY, self.away)
            }
        };
        self.wait = Some((now, i64::try_from(wait.as_millis()).unwrap_or(i64::MAX)));
    }

    /// The next login may be tried at once: a person has changed something. Logins stay rationed.
    pub(super) fn release(&mut self) {
        self.wait = None;
    }

    /// The org has accepted the session of the last login.
    pub(super) fn accepted(&mut self) {
        (self.refused, self.away, self.wait) = (0, 0, None);
    }

    fn make_up(&mut self, now: Moment) {
        let Some(since) = self.spent_at else { return };
        let age = since.age(now);
        let made_up = u32::try_from(age / ONE_MORE_MILLIS).unwrap_or(u32::MAX);
        self.spent = self.spent.saturating_sub(made_up);
        self.spent_at = (self.spent > 0).then(|| now.before(age % ONE_MORE_MILLIS));
    }
}

fn doubled([first, longest]: [Duration; 2], failures: u32) -> Duration {
    let doublings = failures.saturating_sub(1).min(20);
    first.saturating_mul(1 << doublings).min(longest)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Millis = 3_600_000;

    fn at(millis: Millis) -> Moment {
        Moment {
            wall: 1_000_000_000 + millis,
            boot: 5_000_000 + millis,
        }
    }

    /// How many logins are tried in some hours by one who asks each 100 ms, of which each ends so.
    fn logins(hours: Millis, circuit: &mut Circuit, end: impl Fn(&mut Circuit, Moment)) -> u32 {
        let mut count = 0;
        for now in (0..hours * HOUR).step_by(100).map(at) {
            if circuit.wait_millis(now).is_none() {
                circuit.tried(now);
                count += 1;
                end(circuit, now);
            }
        }
        count
    }

    #[test]
    fn however_logins_end_their_number_is_bounded() {
        type End = fn(&mut Circuit, Moment);
        let cases: [(&str, End, [u32; 2]); 5] = [
            (
                "refused",
                |circuit, now| circuit.failed(Failure::Refused, now),
                [11, 19],
            ),
            (
                "too many",
                |circuit, now| circuit.failed(Failure::TooMany, now),
                [4, 12],
            ),
            (
                "away",
                |circuit, now| circuit.failed(Failure::Away, now),
                [124, 364],
            ),
            ("of no use", |_, _| {}, [149, 389]),
            ("accepted", |circuit, _| circuit.accepted(), [149, 389]),
        ];
        for (end, by, [in_one_hour, in_three]) in cases {
            let count = |hours| logins(hours, &mut Circuit::default(), by);
            assert_eq!([count(1), count(3)], [in_one_hour, in_three], "{end}");
        }
    }

    #[test]
    fn the_wait_doubles_until_a_session_is_accepted() {
        let mut circuit = Circuit::default();
        let mut waits = Vec::new();
        for number in 0..9 {
            let now = at(number * HOUR);
            circuit.tried(now);
            circuit.failed(Failure::Refused, now);
            waits.push(circuit.wait_millis(now).unwrap() / 1_000);
        }
        assert_eq!(waits, [5, 10, 20, 40, 80, 160, 320, 640, 900]);
        // A changed secret is tried at once, and does not begin anew.
        circuit.release();
        assert_eq!(circuit.wait_millis(at(9 * HOUR)), None);
        circuit.failed(Failure::Refused, at(9 * HOUR));
        assert_eq!(circuit.wait_millis(at(9 * HOUR)), Some(900_000));
        circuit.accepted();
        assert_eq!(circuit.wait_millis(at(9 * HOUR)), None);
        circuit.failed(Failure::Refused, at(9 * HOUR));
        assert_eq!(circuit.wait_millis(at(9 * HOUR)), Some(5_000));
    }

    #[test]
    fn a_failure_is_what_the_org_says_of_it() {
        let login = |error: &str, description: &str| Error::Login {
            error: error.to_owned(),
            description: description.to_owned(),
        };
        let away = Error::Unreachable {
            url: String::new(),
            reason: String::new(),
        };
        let refused = |status| Error::Refused {
            status,
            errors: Vec::new(),
        };
        for (error, expected) in [
            (login("invalid_grant", "authentication failure"), Failure::Refused),
            (
                login("invalid_client", "invalid client credentials"),
                Failure::Refused,
            ),
            (login("a_new_one", ""), Failure::Refused),
            (login("invalid_grant", "login rate exceeded"), Failure::TooMany),
            (login("rate_limit_exceeded", ""), Failure::TooMany),
            (login("server_error", ""), Failure::Away),
            (login("temporarily_unavailable", ""), Failure::Away),
            (login("unknown_error", ""), Failure::Away),
            (Error::Secret(String::new()), Failure::Refused),
            (refused(400), Failure::Refused),
            (refused(503), Failure::Away),
            (away, Failure::Away),
            (Error::not_the_api("https://a", 403, b"<html>"), Failure::Away),
        ] {
            assert_eq!(Failure::of(&error), expected, "{error}");
        }
    }
}
