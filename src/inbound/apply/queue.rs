//! The way into the apply stage: commands in the order in which they were sent, each with a channel beside it for its
//! outcome where somebody waits. An outcome is told after the commit.

use tokio::sync::{mpsc, oneshot};

use crate::inbound::apply::EVENTS_PER_BATCH_MAX;
use crate::inbound::command::Command;
use crate::store::cache::fields::Evolved;
use crate::store::cache::loads::Load;

/// Commands that may wait. A response holds at most 100 events and 3 MB.
const COMMANDS_MAX: usize = 16;

/// A command, and who waits for its outcome.
#[derive(Debug)]
pub struct Request {
    pub command: Command,
    pub reply: Option<oneshot::Sender<Outcome>>,
}

/// What came of a command.
#[derive(Debug)]
pub enum Outcome {
    Done,
    /// Of a load that begins.
    Load(Load),
    /// Of a page, or rows.
    Written(Written),
    /// Of a load that ends.
    Finished(Finished),
    /// Of an object that changed in the org.
    Evolved(Evolved),
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

/// The apply stage has ended: its own error says why.
#[derive(Debug, thiserror::Error)]
#[error("apply has ended")]
pub struct Ended;

/// Sends commands to the apply stage, which ends when the last of these is gone.
#[derive(Clone, Debug)]
pub struct Queue(mpsc::Sender<Request>);

/// A queue, and what the apply stage takes from it.
pub fn queue() -> (Queue, mpsc::Receiver<Request>) {
    let (sender, requests) = mpsc::channel(COMMANDS_MAX);
    (Queue(sender), requests)
}

impl Queue {
    /// Whether a command would be taken at once.
    pub fn has_room(&self) -> bool {
        self.0.capacity() > 0
    }

    /// Sends a command whose outcome nobody waits for.
    pub async fn send(&self, command: Command) -> Result<(), Ended> {
        let request = Request { command, reply: None };
        self.0.send(request).await.map_err(|_| Ended)
    }

    /// Sends a command; its outcome can be awaited later.
    pub async fn begin(&self, command: Command) -> Result<oneshot::Receiver<Outcome>, Ended> {
        let (reply, outcome) = oneshot::channel();
        let request = Request {
            command,
            reply: Some(reply),
        };
        self.0.send(request).await.map_err(|_| Ended)?;
        Ok(outcome)
    }

    /// As [`Queue::begin`], from a thread that may block.
    pub fn begin_blocking(&self, command: Command) -> Result<oneshot::Receiver<Outcome>, Ended> {
        let (reply, outcome) = oneshot::channel();
        let request = Request {
            command,
            reply: Some(reply),
        };
        self.0.blocking_send(request).map_err(|_| Ended)?;
        Ok(outcome)
    }

    /// Applies a command and waits until it is committed.
    pub async fn apply(&self, command: Command) -> Result<(), Ended> {
        self.outcome(command).await.map(drop)
    }

    /// Applies [`Command::BeginLoad`].
    pub async fn begin_load(&self, command: Command) -> Result<Load, Ended> {
        self.outcome(command).await?.load()
    }

    /// Applies [`Command::Page`] or [`Command::Rows`].
    pub async fn write(&self, command: Command) -> Result<Written, Ended> {
        self.outcome(command).await?.written()
    }

    /// Applies [`Command::FinishLoad`].
    pub async fn finish_load(&self, command: Command) -> Result<Finished, Ended> {
        self.outcome(command).await?.finished()
    }

    /// Applies [`Command::Changed`].
    pub async fn change(&self, command: Command) -> Result<Evolved, Ended> {
        self.outcome(command).await?.evolved()
    }

    async fn outcome(&self, command: Command) -> Result<Outcome, Ended> {
        self.begin(command).await?.await.map_err(|_| Ended)
    }
}

/// The outcome of a command is of the command's kind: another one is as good as none.
impl Outcome {
    pub fn load(self) -> Result<Load, Ended> {
        match self {
            Self::Load(load) => Ok(load),
            _ => Err(Ended),
        }
    }

    pub fn written(self) -> Result<Written, Ended> {
        match self {
            Self::Written(written) => Ok(written),
            _ => Err(Ended),
        }
    }

    pub fn finished(self) -> Result<Finished, Ended> {
        match self {
            Self::Finished(finished) => Ok(finished),
            _ => Err(Ended),
        }
    }

    pub fn evolved(self) -> Result<Evolved, Ended> {
        match self {
            Self::Evolved(evolved) => Ok(evolved),
            _ => Err(Ended),
        }
    }
}

impl Command {
    /// How much of a batch this is, in events. Whole rows are as much as a batch of events.
    pub(super) fn weight(&self) -> usize {
        match self {
            Self::Events(events) => events.events.len().max(1),
            Self::Page(_) | Self::Rows(_) | Self::FinishLoad { .. } => EVENTS_PER_BATCH_MAX,
            Self::Start(_)
            | Self::Lost { .. }
            | Self::BeginLoad { .. }
            | Self::Removal { .. }
            | Self::Repaired { .. }
            | Self::CaughtUp { .. }
            | Self::Compared { .. }
            | Self::Failed { .. }
            | Self::ReadAgain { .. }
            | Self::Reload { .. }
            | Self::Changed { .. }
            | Self::Moved { .. }
            | Self::ObjectProblem { .. }
            | Self::ChannelProblem { .. }
            | Self::ForgetApplied {} => 100,
        }
    }
}
