//! What may be asked of apply. Everything that waits for an answer gets it after the commit.

use std::borrow::Cow;
use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use tokio::sync::{mpsc, oneshot};

use crate::inbound::apply::EVENTS_PER_BATCH_MAX;
use crate::inbound::apply::log::Packed;
use crate::inbound::prepare::Planned;
use crate::model::brake::Answer;
use crate::model::change::{RawEvent, ReplayId};
use crate::model::clock::{Millis, Moment};
use crate::store::cache::absence::Decision;
use crate::store::cache::fields::Evolved;
use crate::store::cache::loads::{Load, Place};

/// One thing to write.
#[derive(Debug)]
pub enum Work {
    Events(Events),
    /// The stream's position is of no use any more: what changed in these objects since the newest event that
    /// was applied is read again, and they are compared with the org.
    Lost {
        topic: Arc<str>,
        objects: Vec<String>,
        done: oneshot::Sender<()>,
    },
    /// A load of an object begins. `watermark` is the org's time before its first read.
    BeginLoad {
        object: String,
        watermark: Millis,
        /// Before its first request.
        asked: Option<Moment>,
        done: oneshot::Sender<Load>,
    },
    /// A page of a load, as CSV with a header. `place` is where the load goes on after it.
    Page {
        object: String,
        run: u64,
        csv: Bytes,
        /// As the journal keeps it.
        packed: Option<Packed>,
        place: Option<Place>,
        done: oneshot::Sender<Written>,
    },
    /// Rows of a load or a poll, as REST gives them.
    Rows {
        object: String,
        source: Source,
        rows: Vec<Map<String, Value>>,
        done: oneshot::Sender<Written>,
    },
    /// The load has sent all it found: so many rows, as far as the org announced that. `answer` is what the org said
    /// about the rows that the load did not find.
    FinishLoad {
        object: String,
        run: u64,
        rows: Option<u64>,
        answer: Option<Answer>,
        done: oneshot::Sender<Finished>,
    },
    /// What a person decided about a removal that waits, or that its rows are in the org again.
    Removal {
        object: String,
        decision: Decision,
        done: oneshot::Sender<()>,
    },
    /// Records read again, `None` where the org has none, by a read that began when the feed stood at `read_rev`.
    Repaired {
        object: String,
        read_rev: i64,
        rows: Vec<RepairedRow>,
        done: oneshot::Sender<()>,
    },
    /// A catch-up has sent all it found.
    CaughtUp {
        object: String,
        number: i64,
        rows: u64,
        /// Before its first request.
        asked: Option<Moment>,
        done: oneshot::Sender<()>,
    },
    /// An object was compared with the org: these records differ, and why. `number` is that of the entry that
    /// asked for it, where one did.
    Compared {
        object: String,
        number: Option<i64>,
        rows: u64,
        /// Records that differ and were handed over before.
        before: u64,
        differing: Vec<(String, &'static str)>,
        done: oneshot::Sender<()>,
    },
    /// Attempts at these entries of the ledger failed.
    Failed {
        numbers: Vec<i64>,
        error: String,
    },
    /// These records are read again: what brought them here could not bring them whole.
    ReadAgain {
        object: String,
        ids: Vec<String>,
        reason: Cow<'static, str>,
        done: oneshot::Sender<()>,
    },
    /// The object is read again as a whole.
    Reload {
        object: String,
        reason: &'static str,
    },
    /// The org shows other fields of the object, or it is kept current another way, than was known; or the org did
    /// not show it at all.
    Changed {
        planned: Planned,
        done: oneshot::Sender<Evolved>,
    },
    /// The org answers from this address, which may be another than before.
    Moved {
        instance_url: String,
    },
    /// What stands in the way of an object, or that nothing does any more.
    ObjectProblem {
        object: String,
        problem: Option<String>,
    },
    /// What stands in the way of a channel, or that nothing does any more.
    ChannelProblem {
        topic: Arc<str>,
        problem: Option<String>,
    },
}

/// Rows written, or why the page cannot be: the load tries again.
pub type Written = Result<u64, String>;

/// How a load ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finished {
    /// So many rows were removed.
    Swept(usize),
    /// The object is live, and the rows that the load did not find wait for a person.
    Waits,
    /// The org is to be asked about the rows that the load did not find; the load is not ended.
    Ask,
    /// The load was incomplete and begins anew.
    Incomplete,
}

/// Number of the repair, record id, and the record: with `IsDeleted` where the org said that it is gone, `None` where it
/// knows no such record.
pub type RepairedRow = (i64, String, Option<Map<String, Value>>);

/// Where whole rows come from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    Load {
        run: u64,
    },
    /// By a read that began when the feed stood at `read_rev`. `watermark` is stored with the rows.
    Poll {
        read_rev: i64,
        watermark: Option<Millis>,
        /// What the poll proves, where this ends it. Not written down: it is about this process alone.
        #[serde(skip)]
        proved: Option<Moment>,
    },
    /// As a poll, of an object whose events come at the same time: a row that was touched meanwhile is read
    /// once more.
    CatchUp {
        read_rev: i64,
    },
}

/// One response of a subscription.
#[derive(Debug, Default)]
pub struct Events {
    pub topic: Arc<str>,
    /// Shared with the journal, which writes them down at the same time.
    pub events: Arc<[RawEvent]>,
    /// Schemas that the events name and apply was not given yet.
    pub schemas: Vec<(String, String)>,
    /// The first response of a subscription.
    pub resumed: bool,
    /// The stored position is of no use any more and gives way to this response's, see [`Work::Lost`].
    pub restart: bool,
    /// The position told by a response without events.
    pub latest: Option<ReplayId>,
    /// When nothing had arrived that is not in this response or one before it, where that is known.
    pub heard: Option<Moment>,
    /// How far the org's clock was ahead of ours then, as far as its answers told.
    pub org_ahead_millis: Millis,
    /// What the channel carries.
    pub objects: Arc<[String]>,
    /// Answered when everything up to here is stored.
    pub done: Option<oneshot::Sender<()>>,
}

impl Work {
    pub(super) fn events(&self) -> Option<&Events> {
        match self {
            Self::Events(events) => Some(events),
            _ => None,
        }
    }

    /// How much of a batch this is, in events.
    pub(super) fn weight(&self) -> usize {
        match self {
            Self::Events(events) => events.events.len().max(1),
            Self::Page { .. } | Self::Rows { .. } | Self::FinishLoad { .. } => EVENTS_PER_BATCH_MAX,
            _ => 100,
        }
    }
}

/// Apply has ended: its own error says why.
#[derive(Debug, thiserror::Error)]
#[error("apply has ended")]
pub struct Ended;

/// Sends work and waits until it is written.
pub async fn ask<T>(
    work: &mpsc::Sender<Work>,
    make: impl FnOnce(oneshot::Sender<T>) -> Work,
) -> Result<T, Ended> {
    let (done, answer) = oneshot::channel();
    work.send(make(done)).await.map_err(|_| Ended)?;
    answer.await.map_err(|_| Ended)
}
