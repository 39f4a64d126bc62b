//! What keeps the daemon from the org, of all that only the running daemon knows.
//!
//! It is the one account that answers, `/readyz`, `/status`, `storesync status`, the console and the metrics are made
//! from, beside what the cache knows.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::model::clock::{Millis, Moment};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    LoginRefused,
    OrgUnreachable,
}

impl Kind {
    pub const ALL: [Self; 2] = [Self::LoginRefused, Self::OrgUnreachable];

    pub fn name(self) -> &'static str {
        match self {
            Self::LoginRefused => "login_refused",
            Self::OrgUnreachable => "org_unreachable",
        }
    }

    /// How long it lasts until all objects are called stale for it, whatever their age. A refused login does not heal by
    /// itself; an org that is away for a moment is nothing that a reader has to know.
    fn stale_after_millis(self) -> Option<Millis> {
        match self {
            Self::LoginRefused => Some(60_000),
            Self::OrgUnreachable => None,
        }
    }
}

/// What keeps everything from the org. It lasts until the org accepts a request again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trouble {
    pub kind: Kind,
    pub since: Moment,
    /// One sentence: what happened, and what to do.
    pub cause: String,
}

impl Trouble {
    /// Whether what is cached is stale for it.
    pub fn makes_stale(&self, now: Moment) -> bool {
        let after = self.kind.stale_after_millis();
        after.is_some_and(|after| self.since.age(now) >= after)
    }
}

/// Why an object was not brought up to date when that was tried last.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failing {
    pub cause: String,
    /// The org refuses, and will until something is changed.
    pub is_lasting: bool,
}

/// All of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Hindrances {
    pub trouble: Option<Trouble>,
    /// Why what there is to mirror is not known yet.
    pub start: Option<String>,
    /// By object.
    pub failing: BTreeMap<String, Failing>,
    /// Why no orders are sent, where the org as a whole is not the reason. They are taken all the same.
    pub orders: Option<String>,
}

impl Hindrances {
    /// Why no orders are sent, as one sentence.
    pub fn of_orders(&self) -> Option<String> {
        let of_org = self.of_all().map(|cause| format!("orders wait: {cause}"));
        of_org.or_else(|| self.orders.clone())
    }

    /// What stands in the way of every object.
    pub fn of_all(&self) -> Option<&str> {
        let trouble = self.trouble.as_ref().map(|trouble| trouble.cause.as_str());
        trouble.or(self.start.as_deref())
    }
}

/// Whether requests reach the org: one that fails may be an accident, several in a row for some seconds are none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reach {
    failed: Option<Failed>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Failed {
    since: Moment,
    count: u32,
    last: Moment,
    cause: String,
}

/// Between the first and the last of the requests that failed.
const AWAY_MILLIS: Millis = 2_000;

impl Reach {
    /// A request did not reach the org, or what answered was not the org.
    pub fn failed(&mut self, cause: impl FnOnce() -> String, now: Moment) {
        match &mut self.failed {
            Some(failed) => (failed.count, failed.last) = (failed.count + 1, now),
            None => {
                self.failed = Some(Failed {
                    since: now,
                    count: 1,
                    last: now,
                    cause: cause(),
                });
            }
        }
    }

    pub fn answered(&mut self) {
        self.failed = None;
    }

    pub fn trouble(&self) -> Option<Trouble> {
        let failed = self.failed.as_ref()?;
        let is_away = failed.count > 1 && failed.since.age(failed.last) >= AWAY_MILLIS;
        is_away.then(|| Trouble {
            kind: Kind::OrgUnreachable,
            since: failed.since,
            cause: failed.cause.clone(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Moment {
        Moment {
            wall: 1_000_000 + seconds * 1_000,
            boot: seconds * 1_000,
        }
    }

    #[test]
    fn an_org_is_away_when_requests_fail_for_some_seconds_with_none_answered() {
        for (failures, answered_after, since) in [
            (&[0][..], None, None),
            (&[0, 1], None, None),
            (&[0, 1, 2], None, Some(0)),
            (&[5, 60], None, Some(5)),
            (&[0, 1, 2], Some(2), None),
            (&[0, 1, 2, 3, 9], Some(2), Some(3)),
        ] {
            let mut reach = Reach::default();
            for second in failures {
                reach.failed(|| second.to_string(), at(*second));
                if answered_after == Some(*second) {
                    reach.answered();
                }
            }
            let told = reach.trouble().map(|trouble| (trouble.since, trouble.cause));
            assert_eq!(
                told,
                since.map(|since| (at(since), since.to_string())),
                "{failures:?}"
            );
        }
    }

    #[test]
    fn a_refused_login_makes_stale_after_a_minute_and_an_org_that_is_away_by_age_alone() {
        for (kind, seconds, expected) in [
            (Kind::LoginRefused, 59, false),
            (Kind::LoginRefused, 60, true),
            (Kind::OrgUnreachable, 86_400, false),
        ] {
            let trouble = Trouble {
                kind,
                since: at(0),
                cause: String::new(),
            };
            assert_eq!(trouble.makes_stale(at(seconds)), expected, "{kind:?} {seconds}");
        }
    }
}
