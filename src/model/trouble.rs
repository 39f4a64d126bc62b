//! What keeps the daemon from the org, of all that only the running daemon knows.
//!
//! It is the one account that answers, `/readyz`, `/status`, `storesync status`, the console and the metrics are made
//! from, beside what the cache knows.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::model::clock::{Millis, Moment, format_datetime};

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

/// What may be the matter with a file of the state directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FileKind {
    /// What is at its path is not what storesync has open.
    Replaced,
    DiskFull,
    /// Its write-ahead log is read all the time and cannot begin anew.
    LogBlocked,
    Damaged,
    /// It was damaged or replaced, is kept under another name and was begun anew.
    SetAside,
}

impl FileKind {
    pub const ALL: [Self; 5] = [
        Self::Replaced,
        Self::DiskFull,
        Self::LogBlocked,
        Self::Damaged,
        Self::SetAside,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Self::Replaced => "file_replaced",
            Self::DiskFull => "disk_full",
            Self::LogBlocked => "log_blocked",
            Self::Damaged => "file_damaged",
            Self::SetAside => "file_set_aside",
        }
    }
}

/// What is the matter with a file, until it has passed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileTrouble {
    pub kind: FileKind,
    pub file: String,
    pub since: Millis,
    /// It is the file of accepted orders, which readers do not need.
    pub is_outbox: bool,
    /// One sentence: what happened, and what to do.
    pub cause: String,
}

impl FileTrouble {
    /// Whether rows are not brought up to date for it, or other programs do not see them.
    fn keeps_rows(&self) -> bool {
        match self.kind {
            FileKind::DiskFull => true,
            FileKind::SetAside => false,
            FileKind::Replaced | FileKind::LogBlocked | FileKind::Damaged => !self.is_outbox,
        }
    }

    /// Whether it makes stale whatever the age: it does not heal by itself, and what is written is lost with the next
    /// start.
    fn makes_stale(&self) -> bool {
        matches!(self.kind, FileKind::Replaced | FileKind::Damaged) && !self.is_outbox
    }

    /// Whether orders are not taken, or not sent.
    fn keeps_orders(&self) -> bool {
        self.kind == FileKind::DiskFull || self.refuses_orders()
    }

    /// Whether no order can be accepted.
    fn refuses_orders(&self) -> bool {
        matches!(self.kind, FileKind::Replaced | FileKind::DiskFull) && self.is_outbox
    }
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
    /// What is the matter with the files of the state directory.
    pub files: Vec<FileTrouble>,
}

impl Hindrances {
    /// Why no orders are taken or sent, as one sentence.
    pub fn of_orders(&self) -> Option<String> {
        let refuses = self.files.iter().find(|trouble| trouble.refuses_orders());
        if let Some(trouble) = refuses {
            return Some(trouble.cause.clone());
        }
        let of_org = self.of_all().map(|cause| format!("orders wait: {cause}"));
        let of_files = || self.files.iter().find(|trouble| trouble.keeps_orders());
        of_org
            .or_else(|| self.orders.clone())
            .or_else(|| of_files().map(|trouble| trouble.cause.clone()))
    }

    /// What is the matter with the files, for machines.
    pub fn files_as_json(&self) -> Value {
        let files = self.files.iter();
        let told = files.map(|trouble| {
            json!({
                "file": trouble.file, "kind": trouble.kind.name(), "cause": trouble.cause,
                "since": format_datetime(trouble.since),
            })
        });
        told.collect()
    }

    /// Whether no order is taken.
    pub fn refuses_orders(&self) -> bool {
        self.files.iter().any(FileTrouble::refuses_orders)
    }

    /// Why rows are not brought up to date, for what is the matter with the files.
    pub fn of_files(&self) -> Option<&str> {
        let keeps = self.files.iter().find(|trouble| trouble.keeps_rows());
        keeps.map(|trouble| trouble.cause.as_str())
    }

    /// What of it makes stale at once.
    pub fn stale_for(&self) -> Option<&str> {
        let stale = self.files.iter().find(|trouble| trouble.makes_stale());
        stale.map(|trouble| trouble.cause.as_str())
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

    #[test]
    fn no_order_is_taken_while_its_file_is_full_or_not_in_its_place() {
        let orders = [FileKind::Replaced, FileKind::DiskFull];
        for kind in FileKind::ALL {
            for is_outbox in [true, false] {
                let trouble = FileTrouble {
                    kind,
                    file: String::new(),
                    since: 0,
                    is_outbox,
                    cause: String::new(),
                };
                let hindrances = Hindrances {
                    files: vec![trouble],
                    ..Hindrances::default()
                };
                let expected = is_outbox && orders.contains(&kind);
                assert_eq!(hindrances.refuses_orders(), expected, "{kind:?} {is_outbox}");
            }
        }
    }

    #[test]
    fn what_keeps_orders_from_being_taken_is_told_before_what_they_wait_for() {
        let of_file = |kind, is_outbox| FileTrouble {
            kind,
            file: String::new(),
            since: 0,
            is_outbox,
            cause: format!("{kind:?}"),
        };
        let away = Trouble {
            kind: Kind::OrgUnreachable,
            since: at(0),
            cause: "away".to_owned(),
        };
        let (full, lost) = (FileKind::DiskFull, FileKind::Replaced);
        let cases = [
            (None, None, vec![], None),
            (None, None, vec![of_file(full, false)], Some("DiskFull")),
            (None, None, vec![of_file(lost, false)], None),
            (None, Some("own"), vec![of_file(full, false)], Some("own")),
            (None, Some("own"), vec![of_file(lost, true)], Some("Replaced")),
            (Some(&away), None, vec![], Some("orders wait: away")),
            (Some(&away), Some("own"), vec![], Some("orders wait: away")),
            (
                Some(&away),
                None,
                vec![of_file(full, false)],
                Some("orders wait: away"),
            ),
            (Some(&away), None, vec![of_file(full, true)], Some("DiskFull")),
            (
                Some(&away),
                Some("own"),
                vec![of_file(lost, true)],
                Some("Replaced"),
            ),
        ];
        for (trouble, orders, files, told) in cases {
            let hindrances = Hindrances {
                trouble: trouble.cloned(),
                orders: orders.map(str::to_owned),
                files,
                ..Hindrances::default()
            };
            assert_eq!(hindrances.of_orders().as_deref(), told, "{hindrances:?}");
        }
    }
}
