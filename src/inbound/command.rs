//! What the apply stage is given: live, from the journal, and in a replay.
//!
//! There is one type, so that what a replay does cannot differ from what was done. A command is plain data. Whoever
//! waits for its outcome has a channel beside it ([`crate::inbound::apply::Queue`]).
//!
//! The journal keeps each command as a kind, a version and a JSON body. What is large is kept apart from the body:
//! events with their bytes, and the rows that the org answered. Those fields are skipped by serde and filled in by
//! [`crate::journal::replay`].

use std::borrow::Cow;
use std::sync::Arc;

use anyhow::Context as _;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::inbound::prepare::{Found, Planned};
use crate::model::brake::Answer;
use crate::model::change::{RawEvent, ReplayId};
use crate::model::clock::{Millis, Moment};
use crate::store::cache::absence::Decision;
use crate::store::cache::loads::Place;
use crate::store::journal::log::{KeptCommand, Run};

/// The form of the bodies that are written now. A body of another version is refused, not guessed at.
pub const VERSION: i64 = 1;

/// The kind of [`Command::Start`], which the journal looks for.
pub const START: &str = "start";

/// The kind of [`Command::Changed`], which the journal looks for.
pub const CHANGED: &str = "changed";

/// One thing to apply.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Command {
    /// The daemon started, and found this in the org.
    Start(Start),
    /// One response of a subscription.
    Events(Events),
    /// The position of a channel is of no use any more: what changed in these objects since the newest event that was
    /// applied is read again, and they are compared with the org.
    Lost { topic: Arc<str>, objects: Vec<String> },
    /// A load of an object begins.
    BeginLoad {
        object: String,
        /// The org's time before the first read.
        watermark: Millis,
        /// Our time before the first request. Not kept: it is about this process alone.
        #[serde(skip)]
        asked: Option<Moment>,
    },
    /// A page of a load.
    Page(Page),
    /// Rows of a load or a poll, as REST gives them.
    Rows(Rows),
    /// A load has sent all that it found.
    FinishLoad {
        object: String,
        run: u64,
        /// How many rows the org announced, where it did.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        rows: Option<u64>,
        /// What the org said about the rows that the load did not find.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        answer: Option<Answer>,
    },
    /// What a person decided about a removal that waits, or that its rows are in the org again.
    Removal { object: String, decision: Decision },
    /// Records that were read again by a read that began when the change feed stood at `read_rev`.
    Repaired {
        object: String,
        read_rev: i64,
        /// `None` where the journal did not keep them.
        #[serde(skip)]
        rows: Option<Vec<RepairedRow>>,
    },
    /// A catch-up has sent all that it found.
    CaughtUp {
        object: String,
        /// The entry of the ledger that asked for it.
        number: i64,
        rows: u64,
        /// Our time before the first request. Not kept: it is about this process alone.
        #[serde(skip)]
        asked: Option<Moment>,
    },
    /// An object was compared with the org.
    Compared {
        object: String,
        /// The entry of the ledger that asked for it, where one did.
        number: Option<i64>,
        rows: u64,
        /// Records that differ and were handed over before.
        #[serde(default)]
        before: u64,
        /// Records that differ, and why.
        differing: Vec<(String, Cow<'static, str>)>,
    },
    /// Attempts at these entries of the ledger failed.
    Failed { numbers: Vec<i64>, error: String },
    /// These records are to be read again: what brought them could not bring them whole.
    ReadAgain {
        object: String,
        ids: Vec<String>,
        reason: Cow<'static, str>,
    },
    /// The object is to be read again as a whole.
    Reload {
        object: String,
        reason: Cow<'static, str>,
    },
    /// The org shows other fields of the object, or it is kept current another way, or the org did not show it before.
    Changed { planned: Planned },
    /// The org answers from this address, which may be another than before.
    Moved { instance_url: String },
    /// What stands in the way of an object, or that nothing does any more.
    ObjectProblem { object: String, problem: Option<String> },
    /// What stands in the way of a channel, or that nothing does any more.
    ChannelProblem {
        topic: Arc<str>,
        problem: Option<String>,
    },
    /// An operator has events applied once more: which ones were applied before is forgotten.
    ForgetApplied {},
}

/// What the org said when the daemon started.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Start {
    /// The cache was empty.
    pub fresh: bool,
    /// Ids of the schemas that were known.
    pub schemas: Vec<String>,
    pub found: Box<Found>,
}

/// One response of a subscription.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Events {
    pub topic: Arc<str>,
    /// Where the events are in the journal. Known when they have been written.
    #[serde(default)]
    pub runs: Vec<Run>,
    #[serde(skip)]
    pub events: Arc<[RawEvent]>,
    /// Schemas that the events name and apply was not given before.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub schemas: Vec<Schema>,
    /// The first response of a subscription. The journal looks for events that it holds already.
    #[serde(skip)]
    pub resumed: bool,
    /// The stored position is of no use any more and gives way to this response's. See [`Command::Lost`].
    #[serde(default, skip_serializing_if = "is_false")]
    pub restart: bool,
    /// The position that a response without events tells.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latest: Option<ReplayId>,
    /// Our time when everything before it had arrived, where that is known. Not kept: it is about this process alone.
    #[serde(skip)]
    pub heard: Option<Moment>,
    /// How far the org's clock was ahead of ours then, as far as its answers told.
    #[serde(skip)]
    pub org_ahead_millis: Millis,
    /// What the channel carries.
    #[serde(skip)]
    pub objects: Arc<[String]>,
}

/// A schema of events. The journal keeps its text once, and its id in the commands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub struct Schema {
    pub id: String,
    /// Empty in a command that was read from the journal, until it is looked up.
    pub json: String,
}

/// A page of a load, as CSV with a header.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Page {
    pub object: String,
    pub run: u64,
    /// Where the load goes on after it.
    pub place: Option<Place>,
    /// `None` where the journal did not keep the rows.
    #[serde(skip)]
    pub csv: Option<Bytes>,
    /// As the journal keeps it, where it keeps rows.
    #[serde(skip)]
    pub packed: Option<Packed>,
}

/// Rows of a load or a poll.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Rows {
    pub object: String,
    pub source: Source,
    /// How many rows there are. The journal may not have kept them.
    #[serde(rename = "rows")]
    pub count: usize,
    #[serde(skip)]
    pub rows: Vec<Map<String, Value>>,
}

/// Where whole rows come from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    Load {
        run: u64,
    },
    /// By a read that began when the change feed stood at `read_rev`. `watermark` is stored with the rows.
    Poll {
        read_rev: i64,
        watermark: Option<Millis>,
        /// What the poll proves, where this ends it. Not kept: it is about this process alone.
        #[serde(skip)]
        proved: Option<Moment>,
    },
    /// As a poll, of an object whose events come at the same time: a row that was touched meanwhile is read once more.
    CatchUp {
        read_rev: i64,
    },
}

/// Number of the repair, record id, and the record: with `IsDeleted` where the org said that it is gone, `None` where it
/// knows no such record.
pub type RepairedRow = (i64, String, Option<Map<String, Value>>);

/// A page of CSV as the journal keeps it, with the least and the greatest id in it.
#[derive(Clone, Debug)]
pub struct Packed {
    pub bytes: Bytes,
    pub first_id: String,
    pub last_id: String,
}

impl Command {
    pub fn rows(object: String, source: Source, rows: Vec<Map<String, Value>>) -> Self {
        let count = rows.len();
        Self::Rows(Rows {
            object,
            source,
            count,
            rows,
        })
    }

    pub fn events(&self) -> Option<&Events> {
        if let Self::Events(events) = self {
            return Some(events);
        }
        None
    }

    /// Whether it holds rows that the org answered.
    pub fn has_rows(&self) -> bool {
        match self {
            Self::Page(page) => page.csv.is_some(),
            Self::Rows(rows) => !rows.rows.is_empty(),
            Self::Repaired { rows, .. } => rows.is_some(),
            Self::Start(_)
            | Self::Events(_)
            | Self::Lost { .. }
            | Self::BeginLoad { .. }
            | Self::FinishLoad { .. }
            | Self::Removal { .. }
            | Self::CaughtUp { .. }
            | Self::Compared { .. }
            | Self::Failed { .. }
            | Self::ReadAgain { .. }
            | Self::Reload { .. }
            | Self::Changed { .. }
            | Self::Moved { .. }
            | Self::ObjectProblem { .. }
            | Self::ChannelProblem { .. }
            | Self::ForgetApplied {} => false,
        }
    }

    /// The feed's revision when the read of its rows began, where the rows may be older than what is here.
    pub fn read_rev(&self) -> Option<i64> {
        match self {
            Self::Rows(Rows {
                source: Source::Poll { read_rev, .. } | Source::CatchUp { read_rev },
                ..
            })
            | Self::Repaired { read_rev, .. } => Some(*read_rev),
            Self::Start(_)
            | Self::Events(_)
            | Self::Lost { .. }
            | Self::BeginLoad { .. }
            | Self::Page(_)
            | Self::Rows(_)
            | Self::FinishLoad { .. }
            | Self::Removal { .. }
            | Self::CaughtUp { .. }
            | Self::Compared { .. }
            | Self::Failed { .. }
            | Self::ReadAgain { .. }
            | Self::Reload { .. }
            | Self::Changed { .. }
            | Self::Moved { .. }
            | Self::ObjectProblem { .. }
            | Self::ChannelProblem { .. }
            | Self::ForgetApplied {} => None,
        }
    }

    /// What it says is mirrored from now on, where it says that.
    pub fn into_planned(self) -> Vec<Planned> {
        match self {
            Self::Start(start) => start.found.objects,
            Self::Changed { planned } => vec![planned],
            Self::Events(_)
            | Self::Lost { .. }
            | Self::BeginLoad { .. }
            | Self::Page(_)
            | Self::Rows(_)
            | Self::FinishLoad { .. }
            | Self::Removal { .. }
            | Self::Repaired { .. }
            | Self::CaughtUp { .. }
            | Self::Compared { .. }
            | Self::Failed { .. }
            | Self::ReadAgain { .. }
            | Self::Reload { .. }
            | Self::Moved { .. }
            | Self::ObjectProblem { .. }
            | Self::ChannelProblem { .. }
            | Self::ForgetApplied {} => Vec::new(),
        }
    }

    /// As the journal keeps it.
    pub fn to_kept(&self) -> anyhow::Result<KeptCommand> {
        // A variant is an object with its kind as the only key.
        let value = serde_json::to_value(self).context("a command cannot be written as JSON")?;
        let Value::Object(variant) = value else {
            anyhow::bail!("a command is no JSON object");
        };
        let (kind, body) = variant.into_iter().next().context("a command has no kind")?;
        Ok(KeptCommand {
            kind,
            version: VERSION,
            body: body.to_string(),
        })
    }

    /// What the journal kept, without the events and rows that it keeps apart.
    pub fn from_kept(kept: &KeptCommand) -> anyhow::Result<Self> {
        let KeptCommand { kind, version, body } = kept;
        anyhow::ensure!(
            *version == VERSION,
            "a command {kind} has the form {version}, which this version of storesync does not know: use the version that wrote it"
        );
        let body: Value =
            serde_json::from_str(body).with_context(|| format!("a command {kind} is no JSON"))?;
        serde_json::from_value(json!({ kind.as_str(): body }))
            .with_context(|| format!("a command {kind} cannot be read"))
    }
}

impl From<(String, String)> for Schema {
    fn from((id, json): (String, String)) -> Self {
        Self { id, json }
    }
}

impl From<String> for Schema {
    fn from(id: String) -> Self {
        let json = String::new();
        Self { id, json }
    }
}

impl From<Schema> for String {
    fn from(schema: Schema) -> Self {
        schema.id
    }
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "as serde calls it")]
fn is_false(flag: &bool) -> bool {
    !flag
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::row::Table;

    #[allow(clippy::too_many_lines, reason = "one of each")]
    fn one_of_each() -> Vec<Command> {
        let object = || "Account".to_owned();
        let planned = Planned::from(Table {
            object: object(),
            name: "account".to_owned(),
            columns: Vec::new(),
        });
        let found = Found {
            org_id: "00D000000000001EAA".to_owned(),
            instance_url: "https://a.my.salesforce.com".to_owned(),
            instance_name: None,
            names: vec![object()],
            objects: vec![planned.clone()],
            channels: vec!["/data/ChangeEvents".to_owned()],
        };
        vec![
            Command::Start(Start {
                fresh: true,
                schemas: vec!["s1".to_owned()],
                found: Box::new(found),
            }),
            Command::Events(Events {
                topic: "/data/ChangeEvents".into(),
                runs: vec![(7, 2)],
                schemas: vec![Schema::from("s1".to_owned())],
                restart: true,
                latest: ReplayId::from_hex("00ff"),
                ..Events::default()
            }),
            Command::Lost {
                topic: "/data/ChangeEvents".into(),
                objects: vec![object()],
            },
            Command::BeginLoad {
                object: object(),
                watermark: 5,
                asked: None,
            },
            Command::Page(Page {
                object: object(),
                run: 3,
                place: None,
                csv: None,
                packed: None,
            }),
            Command::rows(object(), Source::CatchUp { read_rev: 9 }, Vec::new()),
            Command::FinishLoad {
                object: object(),
                run: 3,
                rows: Some(4),
                answer: Some(Answer::default()),
            },
            Command::Removal {
                object: object(),
                decision: Decision::Back { looked_at: 8 },
            },
            Command::Repaired {
                object: object(),
                read_rev: 9,
                rows: None,
            },
            Command::CaughtUp {
                object: object(),
                number: 2,
                rows: 1,
                asked: None,
            },
            Command::Compared {
                object: object(),
                number: Some(2),
                rows: 1,
                before: 0,
                differing: vec![("001000000000001AAA".to_owned(), "Name".into())],
            },
            Command::Failed {
                numbers: vec![2],
                error: "the org is away".to_owned(),
            },
            Command::ReadAgain {
                object: object(),
                ids: vec!["001000000000001AAA".to_owned()],
                reason: "asked for".into(),
            },
            Command::Reload {
                object: object(),
                reason: "asked for".into(),
            },
            Command::Changed { planned },
            Command::Moved {
                instance_url: "https://b.my.salesforce.com".to_owned(),
            },
            Command::ObjectProblem {
                object: object(),
                problem: Some("hidden".to_owned()),
            },
            Command::ChannelProblem {
                topic: "/data/ChangeEvents".into(),
                problem: None,
            },
            Command::ForgetApplied {},
        ]
    }

    #[test]
    fn the_journal_gives_every_command_as_it_was() {
        for command in one_of_each() {
            let kept = command.to_kept().unwrap();
            let again = Command::from_kept(&kept).unwrap();
            assert_eq!(format!("{again:?}"), format!("{command:?}"), "{kept:?}");
        }
        let kinds: Vec<String> = one_of_each()
            .iter()
            .map(|command| command.to_kept().unwrap().kind)
            .collect();
        assert_eq!((kinds[0].as_str(), kinds[14].as_str()), (START, CHANGED));
    }

    #[test]
    fn a_form_that_is_not_known_is_refused() {
        let kept = |kind: &str, version, body: &str| KeptCommand {
            kind: kind.to_owned(),
            version,
            body: body.to_owned(),
        };
        let refused = |kept: &KeptCommand| format!("{:#}", Command::from_kept(kept).unwrap_err());
        let newer = refused(&kept("reload", VERSION + 1, "{}"));
        assert!(newer.contains("a command reload has the form 2"), "{newer}");
        let unknown = refused(&kept("explode", VERSION, "{}"));
        assert!(unknown.contains("a command explode cannot be read"), "{unknown}");
        let damaged = refused(&kept("reload", VERSION, "{"));
        assert!(damaged.contains("a command reload is no JSON"), "{damaged}");
    }
}
