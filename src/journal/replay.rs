//! Applying again, from the journal alone.
//!
//! All that the cache becomes is decided by the commands in their order, a start with what the org said among them, and
//! by the times of their batches; all of that is in the journal ([`crate::inbound::command`]). So the whole journal over
//! an empty cache gives the cache that the daemon has, value for value, revisions and ledger included.
//!
//! A part of it, some objects or one record or a span of time, is applied in the same way with two differences:
//! records read again are written without their entries in the ledger, which a part need not have, and revisions
//! are raised to what they were, so that a read counts as older or newer as it did.

mod live;
mod part;

use std::collections::HashMap;

use anyhow::Context as _;

use crate::inbound::apply::{Recorded, World};
use crate::inbound::command::{Command, Page, Rows, START, Schema, Start};
use crate::inbound::prepare::establish;
use crate::model::change::{RawEvent, ReplayId};
use crate::model::clock::{Millis, format_datetime, parse_datetime};
use crate::store::cache::Cache;
use crate::store::journal::forget::Reach;
use crate::store::journal::read::KeptBatch;
use crate::store::journal::{JournalReader, Kept};

pub use live::live;
pub use part::Only;

/// Batches read at a time.
const BATCHES_READ: usize = 200;

/// A place in the journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Point {
    /// Of an event, as `storesync events list` shows it.
    Number(i64),
    ReplayId(ReplayId),
    /// When it was received.
    At(Millis),
}

/// Neither a number, nor a time, nor a replay id.
#[derive(Debug, thiserror::Error)]
#[error(
    "{0} is no place in the journal: give an event's number, its replay id in hex, or a time like 2026-11-22T09:30:00Z"
)]
pub struct NoPoint(String);

impl std::str::FromStr for Point {
    type Err = NoPoint;

    fn from_str(text: &str) -> Result<Self, NoPoint> {
        let hex = text.strip_prefix("0x");
        if let Some(at) = parse_datetime(text) {
            return Ok(Self::At(at));
        }
        // A replay id has at least 8 bytes.
        if hex.is_none() && text.len() < 16 {
            return text
                .parse()
                .map(Self::Number)
                .map_err(|_| NoPoint(text.to_owned()));
        }
        ReplayId::from_hex(hex.unwrap_or(text))
            .map(Self::ReplayId)
            .ok_or_else(|| NoPoint(text.to_owned()))
    }
}

/// What of the journal.
#[derive(Clone, Debug, Default)]
pub struct Span {
    /// The first event or batch; without it, from the start with an empty cache.
    pub from: Option<Point>,
    /// The last.
    pub to: Option<Point>,
    pub only: Only,
    /// No batch after this one: what the cache held when it was looked at.
    pub last_batch: Option<i64>,
    /// Each command is a transaction of its own, and the memory of the apply stage ends where this says so.
    pub steps: Option<Memory>,
}

/// What becomes of the apply stage's memory after a command. All that it decides by is in the cache, so that it makes no
/// difference.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Memory {
    Kept,
    /// The stage is made anew from the file.
    Forgotten,
}

impl Span {
    /// The whole journal gives the cache itself.
    pub fn is_whole(&self) -> bool {
        self.from.is_none() && self.to.is_none() && self.only.is_everything()
    }
}

/// What was applied.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Replayed {
    pub batches: u64,
    pub events: u64,
    /// Answers of the org with rows.
    pub pages: u64,
}

/// Why there is nothing to replay.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    #[error(
        "the journal does not reach back to an empty cache, so that it cannot be made anew from it: give a point to begin at with --from"
    )]
    NoBeginning,
    #[error("the journal holds nothing at that point: storesync events list shows what it holds")]
    NoSuchPoint,
    #[error(
        "the journal no longer holds that point: it reaches back to event {event} and {at}; [state] journal_days and journal_bytes say how long it keeps what"
    )]
    Forgotten { event: i64, at: String },
}

/// Where a span begins and ends.
#[derive(Clone, Copy, Debug)]
struct Edges {
    first_batch: i64,
    first_event: i64,
    last_batch: i64,
    last_event: i64,
}

/// Applies a span of the journal to a cache, which is empty or one that goes on from there.
pub fn replay(journal: &JournalReader, cache: &mut Cache, span: &Span) -> anyhow::Result<Replayed> {
    let edges = edges(journal, span)?;
    let mut replay = Replay {
        journal,
        span,
        edges,
        world: None,
        part: part::Filter::new(journal, &span.only),
        done: Replayed::default(),
    };
    if span.from.is_some() {
        replay.begin_before(cache)?;
    }
    let mut next = edges.first_batch;
    loop {
        let batches = journal.batches(next, BATCHES_READ)?;
        let Some(newest) = batches.last().map(|batch| batch.number) else {
            return Ok(replay.done);
        };
        for batch in batches {
            if batch.number > edges.last_batch {
                return Ok(replay.done);
            }
            replay.batch(cache, &batch)?;
        }
        next = newest + 1;
    }
}

fn edges(journal: &JournalReader, span: &Span) -> anyhow::Result<Edges> {
    let reach = journal.reaches_back()?;
    if let Some(reach) = reach {
        for point in span.from.iter().chain(&span.to) {
            let is_gone = match point {
                Point::Number(number) => *number <= reach.event,
                Point::At(at) => *at <= reach.at,
                Point::ReplayId(id) => journal.numbers_at(&id.0)?.is_empty(),
            };
            if is_gone {
                return Err(forgotten(reach).into());
            }
        }
    }
    let mut edges = Edges {
        first_batch: 1,
        first_event: 1,
        last_batch: span.last_batch.unwrap_or(i64::MAX),
        last_event: i64::MAX,
    };
    match &span.from {
        None => {
            let fresh = fresh_start(journal)?;
            edges.first_batch = fresh.ok_or(ReplayError::NoBeginning)?;
        }
        Some(Point::At(at)) => {
            edges.first_batch = journal.batch_since(*at)?.ok_or(ReplayError::NoSuchPoint)?;
        }
        Some(point) => {
            edges.first_event = *numbers(journal, point)?.first().ok_or(ReplayError::NoSuchPoint)?;
            let batch = journal.batch_of(edges.first_event)?;
            edges.first_batch = batch.ok_or(ReplayError::NoSuchPoint)?;
        }
    }
    match &span.to {
        None => {}
        Some(Point::At(at)) => {
            let after = journal.batch_since(at + 1)?;
            edges.last_batch = edges.last_batch.min(after.map_or(i64::MAX, |after| after - 1));
        }
        Some(point) => {
            edges.last_event = *numbers(journal, point)?.last().ok_or(ReplayError::NoSuchPoint)?;
            let batch = journal.batch_of(edges.last_event)?.unwrap_or(i64::MAX);
            edges.last_batch = edges.last_batch.min(batch);
        }
    }
    Ok(edges)
}

/// The newest batch that is a start with an empty cache.
fn fresh_start(journal: &JournalReader) -> anyhow::Result<Option<i64>> {
    let mut before = i64::MAX;
    while let Some(batch) = journal.batch_before(before, START)? {
        if first_start(&batch)?.is_some_and(|start| start.fresh) {
            return Ok(Some(batch.number));
        }
        before = batch.number;
    }
    Ok(None)
}

/// The start that a batch is, where it is one.
fn first_start(batch: &KeptBatch) -> anyhow::Result<Option<Start>> {
    if let Some(Command::Start(start)) = commands(batch)?.into_iter().next() {
        return Ok(Some(start));
    }
    Ok(None)
}

/// What is said of a point before the journal begins.
pub fn forgotten(reach: Reach) -> ReplayError {
    ReplayError::Forgotten {
        event: reach.event + 1,
        at: format_datetime(reach.at),
    }
}

fn numbers(journal: &JournalReader, point: &Point) -> anyhow::Result<Vec<i64>> {
    Ok(match point {
        Point::Number(number) => journal
            .event(*number)?
            .map(|kept| kept.number)
            .into_iter()
            .collect(),
        Point::ReplayId(id) => journal.numbers_at(&id.0)?,
        Point::At(at) => journal.first_since(*at)?.into_iter().collect(),
    })
}

struct Replay<'r> {
    journal: &'r JournalReader,
    span: &'r Span,
    edges: Edges,
    world: Option<World>,
    part: part::Filter<'r>,
    done: Replayed,
}

impl Replay<'_> {
    /// The world as the last start before the span found it.
    fn begin_before(&mut self, cache: &mut Cache) -> anyhow::Result<()> {
        let before = self.journal.batch_before(self.edges.first_batch, START)?;
        let Some(before) = before else { return Ok(()) };
        let Some(mut start) = first_start(&before)? else {
            return Ok(());
        };
        // Also those that came between it and the span.
        start.schemas = self.journal.schema_ids()?;
        self.start(cache, &before, start)
    }

    fn start(&mut self, cache: &mut Cache, batch: &KeptBatch, start: Start) -> anyhow::Result<()> {
        let known = self.schemas(start.schemas.into_iter().map(Schema::from))?;
        establish(cache, &start.found, &known, batch.number, batch.at)?;
        self.world = Some(World::new(cache)?);
        Ok(())
    }

    fn batch(&mut self, cache: &mut Cache, batch: &KeptBatch) -> anyhow::Result<()> {
        if let Some(start) = first_start(batch)? {
            return self.start(cache, batch, start);
        }
        let mut pages: HashMap<usize, Vec<u8>> = HashMap::new();
        for page in self.journal.pages_of(batch.number)? {
            pages.insert(page.command, page.unpack()?);
        }
        let mut chosen = Vec::with_capacity(batch.commands.len());
        for (place, command) in commands(batch)?.into_iter().enumerate() {
            let command = self.fill(command, pages.remove(&place))?;
            let command = match self.span.is_whole() {
                true => Some(command),
                false => self.part.of(command)?,
            };
            chosen.extend(command);
        }
        self.done.batches += 1;
        for command in &chosen {
            self.done.events += command.events().map_or(0, |events| events.events.len() as u64);
            self.done.pages += u64::from(command.has_rows());
        }
        let world = self
            .world
            .as_mut()
            .context("the journal begins without a start")?;
        let recorded = |commands| Recorded {
            number: batch.number,
            at: batch.at,
            rev: batch.rev,
            is_exact: self.span.is_whole(),
            commands,
        };
        let Some(memory) = self.span.steps else {
            return world.replay(cache, recorded(chosen));
        };
        for command in chosen {
            world.replay(cache, recorded(vec![command]))?;
            if memory == Memory::Forgotten {
                cache.reopen()?;
                *world = World::new(cache)?;
            }
        }
        Ok(())
    }

    /// Gives a command what the journal keeps apart.
    fn fill(&mut self, mut command: Command, page: Option<Vec<u8>>) -> anyhow::Result<Command> {
        const READ: &str = "a page of the journal cannot be read";
        match &mut command {
            Command::Events(events) => {
                events.events = self.events(&events.runs)?.into();
                events.schemas = self.schemas(std::mem::take(&mut events.schemas).into_iter())?;
            }
            Command::Page(Page { csv, .. }) => *csv = page.map(Into::into),
            Command::Rows(Rows { rows, .. }) => {
                if let Some(page) = page {
                    *rows = serde_json::from_slice(&page).context(READ)?;
                }
            }
            Command::Repaired { rows, .. } => {
                if let Some(page) = page {
                    *rows = Some(serde_json::from_slice(&page).context(READ)?);
                }
            }
            Command::Start(_)
            | Command::Lost { .. }
            | Command::BeginLoad { .. }
            | Command::FinishLoad { .. }
            | Command::Removal { .. }
            | Command::CaughtUp { .. }
            | Command::Compared { .. }
            | Command::Failed { .. }
            | Command::ReadAgain { .. }
            | Command::Reload { .. }
            | Command::Changed { .. }
            | Command::Moved { .. }
            | Command::ObjectProblem { .. }
            | Command::ChannelProblem { .. }
            | Command::ForgetApplied {} => {}
        }
        Ok(command)
    }

    /// Those of these schemas that the journal holds.
    fn schemas(&mut self, named: impl Iterator<Item = Schema>) -> anyhow::Result<Vec<Schema>> {
        let mut schemas = Vec::new();
        for Schema { id, .. } in named {
            if let Some(json) = self.journal.schema(&id)? {
                schemas.push(Schema { id, json });
            }
        }
        self.part.learn(&schemas);
        Ok(schemas)
    }

    /// The events of some runs that lie within the span.
    fn events(&self, runs: &[(i64, i64)]) -> anyhow::Result<Vec<RawEvent>> {
        let mut events = Vec::new();
        for (first, count) in runs {
            let from = (*first).max(self.edges.first_event);
            let until = (first + count).min(self.edges.last_event.saturating_add(1));
            let Ok(count) = usize::try_from(until - from) else {
                continue;
            };
            let kept = self.journal.events(from, count)?;
            let within = kept.into_iter().filter(|kept| kept.number < until);
            events.extend(within.map(raw));
        }
        Ok(events)
    }
}

/// The commands of a batch, without what the journal keeps apart.
pub(super) fn commands(batch: &KeptBatch) -> anyhow::Result<Vec<Command>> {
    let commands = batch.commands.iter().map(Command::from_kept);
    commands
        .collect::<anyhow::Result<_>>()
        .with_context(|| format!("batch {} of the journal cannot be read", batch.number))
}

fn raw(kept: Kept) -> RawEvent {
    RawEvent {
        replay_id: ReplayId(kept.replay_id.into()),
        event_id: kept.event_id,
        schema_id: kept.schema_id,
        payload: kept.payload.into(),
        redacted: kept.redacted,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_point_is_a_number_a_replay_id_or_a_time() {
        let id = |bytes: &'static [u8]| Point::ReplayId(ReplayId(bytes.into()));
        let cases = [
            ("17", Some(Point::Number(17))),
            ("0x0011", Some(id(b"\x00\x11"))),
            ("0000000000000011", Some(id(b"\0\0\0\0\0\0\0\x11"))),
            ("2026-11-22T09:30:00Z", Some(Point::At(1_795_339_800_000))),
            ("yesterday", None),
            ("0x1", None),
        ];
        for (text, expected) in cases {
            assert_eq!(text.parse::<Point>().ok(), expected, "{text}");
        }
    }
}
