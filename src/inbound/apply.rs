//! The apply stage: everything that changes a mirrored row comes through here, in the order in which it arrived.
//!
//! What is queued is taken together, up to [`EVENTS_PER_BATCH_MAX`] events: the journal is
//! appended while one transaction of the cache takes rows, change feed, dedupe keys, repairs and cursors; it commits
//! after the journal has. A crash between the two leaves the position where it was, so the events come again and
//! the journal knows them.
//!
//! An error of a disk ends the stage with nothing half done: the transaction is rolled back, nothing was
//! acknowledged, and the next start goes on from the last commit.
//!
//! [`run`] blocks and wants a thread of its own. It ends when every [`Queue`] is gone, after what was queued is
//! written; so the daemon keeps none itself.

pub(crate) mod cells;
mod delay;
mod dependants;
mod events;
mod key;
mod ledger;
mod page;
pub(in crate::inbound) mod prove;
pub mod queue;
pub(crate) mod record;
mod rows;
mod schemas;
mod tally;
mod writer;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use rusqlite::Connection;
use tokio::sync::{mpsc, oneshot, watch};

use crate::config::ObjectRules;
use crate::inbound::apply::prove::Proofs;
use crate::inbound::apply::record::Record;
use crate::inbound::apply::schemas::Schemas;
use crate::inbound::apply::writer::JournalWriter;
use crate::inbound::command::{Command, Page, Rows, Schema, Source};
use crate::inbound::mapping::stamp_field;
use crate::inbound::prepare::Planned;
use crate::model::clock::{Clock, Millis, Moment};
use crate::model::trouble::Failing;
use crate::store::cache::cursors::{self, Cursor};
use crate::store::cache::loads::{self, Load};
use crate::store::cache::mirrored::{self, Reading};
use crate::store::cache::rows::Mirror;
use crate::store::cache::{Batch, Cache, State, objects};
use crate::store::journal::Journal;
use crate::store::priority;
use crate::telemetry::metrics;
use crate::telemetry::pulse::Pulse;
use crate::telemetry::traces::Span;

pub use queue::{Outcome, Queue, Request, queue};

/// Events in one transaction.
pub const EVENTS_PER_BATCH_MAX: usize = 1_000;

/// Longest time for a batch: a page of a load, on a disk that is slow and busy.
const BATCH_MAX: Duration = Duration::from_secs(120);

/// What is rung when there is something to look at. A bell that rings while nobody waits is not lost: who waits
/// next finds that the number has changed.
#[derive(Clone, Debug)]
pub struct Bells {
    /// The newest revision: rung after each commit.
    pub rev: watch::Sender<i64>,
    /// The ledger has a new entry, or an object that entries waited for is live.
    pub ledger: watch::Sender<u64>,
    /// An event named a schema that was not known: the org may show other fields than before.
    pub schemas: watch::Sender<u64>,
    /// The objects that could not be polled when that was tried last.
    pub failing: watch::Sender<BTreeMap<String, Failing>>,
    /// Those of which records could not be read again.
    pub unrepaired: watch::Sender<BTreeMap<String, Failing>>,
}

impl Bells {
    pub fn new(rev: i64) -> Self {
        Self {
            rev: watch::Sender::new(rev),
            ledger: watch::Sender::new(0),
            schemas: watch::Sender::new(0),
            failing: watch::Sender::default(),
            unrepaired: watch::Sender::default(),
        }
    }
}

/// A mirrored object.
struct Mirrored {
    mirror: Mirror,
    phase: Phase,
    /// Not all rows are mirrored: an event only says which record to read.
    filtered: bool,
    /// Columns that the org computes.
    formulas: Vec<usize>,
    /// Columns that records of other objects show.
    shown: Vec<usize>,
    /// Which fields the configuration wants.
    rules: ObjectRules,
    /// A load of it is not complete before it was polled once.
    polled: bool,
    /// The org's time before the newest read of the whole object began.
    read_at: Option<Millis>,
    /// Rows that differed so far, while what changed during a lost position is read again.
    catching_up: Option<u64>,
}

impl Mirrored {
    fn new(mirror: Mirror, planned: &Planned) -> Self {
        let position = |field: &String| planned.table.position(field);
        Self {
            mirror,
            phase: Phase::Unloaded,
            filtered: planned.filter.is_some(),
            formulas: planned.formulas.iter().filter_map(position).collect(),
            shown: Vec::new(),
            rules: ObjectRules {
                fields: planned.listed.clone(),
                leave_out: planned.left_out.clone(),
                ..ObjectRules::default()
            },
            polled: !planned.streamed && stamp_field(&planned.table).is_some(),
            read_at: None,
            catching_up: None,
        }
    }

    /// As far as the file says that it is.
    fn stored(connection: &Connection, mirror: Mirror, planned: &Planned) -> rusqlite::Result<Self> {
        let object = &planned.table.object;
        let state = objects::object(connection, object)?.map(|object| object.state);
        let under_way = loads::load(connection, object)?;
        let phase = match (state, under_way) {
            (Some(State::Loading | State::Reload), Some(progress)) => Phase::Loading {
                load: progress.load,
                again: progress.again,
            },
            (Some(State::Live | State::Reload), _) => Phase::Settled,
            (Some(State::Waiting | State::Loading) | None, _) => Phase::Unloaded,
        };
        let Reading { read_at, catching_up } = mirrored::reading(connection, object)?;
        Ok(Self {
            phase,
            read_at,
            catching_up,
            ..Self::new(mirror, planned)
        })
    }

    /// Whether pages that were read some time ago may still arrive.
    fn is_being_read(&self) -> bool {
        matches!(self.phase, Phase::Loading { .. }) || self.catching_up.is_some()
    }
}

/// What the rows of an object can be relied on for.
enum Phase {
    /// No load has begun: whatever happens now, the load will read it.
    Unloaded,
    /// A load is under way. `again` where another has to follow it.
    Loading {
        load: Load,
        again: bool,
    },
    Settled,
}

/// What apply knows besides the files.
pub(crate) struct World {
    objects: Vec<Mirrored>,
    by_name: HashMap<String, usize>,
    schemas: Schemas,
    cursors: HashMap<String, Cursor>,
    now: Millis,
    /// The same moment by both clocks; in a replay, none.
    moment: Moment,
    proofs: Proofs,
    ledger_rings: bool,
    tally: tally::Tally,
}

/// A batch as the journal holds it, to be applied again.
pub(crate) struct Recorded {
    pub number: i64,
    pub at: Millis,
    /// The newest revision before it.
    pub rev: i64,
    /// Nothing is left out: every number is what it was.
    pub is_exact: bool,
    pub commands: Vec<Command>,
}

/// What to do when a file cannot be written.
const JOURNAL: &str = "the journal cannot be written: check the space left on the disk of [state] dir and start again; nothing is lost";
const CACHE: &str = "the cache cannot be written: check the space left on the disk of [state] dir and start again; nothing is lost";

/// Applies what arrives until every [`Queue`] is gone. Takes both writers for good: a second one would break the promise.
pub fn run(
    mut cache: Cache,
    journal: Journal,
    requests: mpsc::Receiver<Request>,
    clock: &Clock,
    bells: &Bells,
) -> anyhow::Result<()> {
    // The journal's thread is begun after this and yields as well.
    priority::yield_to_readers();
    let world = World::new(&mut cache)?;
    let keeps_rows = journal.keeps_rows();
    std::thread::scope(|scope| {
        let journal = JournalWriter::start(scope, journal)
            .context("the thread that writes the journal cannot start")?;
        apply_all(world, cache, (&journal, keeps_rows), requests, clock, bells)
    })
}

fn apply_all(
    mut world: World,
    mut cache: Cache,
    (journal, keeps_rows): (&JournalWriter, bool),
    mut requests: mpsc::Receiver<Request>,
    clock: &Clock,
    bells: &Bells,
) -> anyhow::Result<()> {
    let pulse = Pulse::awaited("apply");
    pulse.idle();
    while let Some(first) = requests.blocking_recv() {
        pulse.quiet_for(BATCH_MAX);
        crate::failpoint::reach("apply");
        let (mut commands, replies) = drain(first, &mut requests);
        let started = Instant::now();
        world.moment = clock.moment();
        world.now = world.moment.wall;
        world.learn(schemas_in(&commands));
        world.redact(&mut commands);
        let commands: Arc<[Command]> = commands.into();
        journal.write(Record {
            at: world.now,
            after: cache.journalled(),
            rev: cache.rev(),
            keeps_rows,
            commands: Arc::clone(&commands),
        });
        let (mut written, outcomes) = world.apply(&mut cache, &commands).context(CACHE)?;
        written.is_batch(journal.number().context(JOURNAL)?);
        let rev = written.commit().context(CACHE)?;
        cache.bound_log().context(CACHE)?;
        metrics::APPLY_BATCHES.count([]);
        metrics::APPLY_DURATION.observe([], started.elapsed());
        Span::tell(|| Span::batch(rev, world.now, clock.now()).with("events", &world.tally.events()));
        world.tally.tell(clock.now(), name_of(&world.objects));
        world.tell(rev, bells, replies.into_iter().zip(outcomes));
        pulse.idle();
    }
    Ok(())
}

fn name_of(objects: &[Mirrored]) -> impl Fn(usize) -> String {
    |index| objects[index].mirror.table.object.clone()
}

fn schemas_in(commands: &[Command]) -> impl Iterator<Item = &Schema> {
    let events = commands.iter().filter_map(Command::events);
    events.flat_map(|events| &events.schemas)
}

/// Who waits for the outcome of a command.
type Reply = Option<oneshot::Sender<Outcome>>;

/// Takes what is queued. A page of a load is as much as a batch of events.
fn drain(first: Request, requests: &mut mpsc::Receiver<Request>) -> (Vec<Command>, Vec<Reply>) {
    let (mut commands, mut replies) = (Vec::new(), Vec::new());
    let mut events = 0;
    let mut next = Some(first);
    while let Some(request) = next {
        events += request.command.weight();
        commands.push(request.command);
        replies.push(request.reply);
        next = match events < EVENTS_PER_BATCH_MAX {
            true => requests.try_recv().ok(),
            false => None,
        };
    }
    (commands, replies)
}

impl World {
    /// As the file has it: what another one decided by, this one decides by.
    pub(crate) fn new(cache: &mut Cache) -> anyhow::Result<Self> {
        let mut world = Self {
            objects: Vec::new(),
            by_name: HashMap::new(),
            schemas: Schemas::default(),
            cursors: HashMap::new(),
            now: 0,
            moment: Moment::default(),
            proofs: Proofs::default(),
            ledger_rings: false,
            tally: tally::Tally::default(),
        };
        for json in mirrored::planned(cache.connection())? {
            let planned: Planned =
                serde_json::from_str(&json).context("what the cache says of an object cannot be read")?;
            let mirror = cache.mirror(planned.table.clone());
            world.take_up(Mirrored::stored(cache.connection(), mirror, &planned)?);
        }
        world.link();
        for cursor in cursors::cursors(cache.connection())? {
            world.cursors.insert(cursor.topic.clone(), cursor);
        }
        let schemas: Vec<Schema> = mirrored::schemas(cache.connection())?
            .into_iter()
            .map(Schema::from)
            .collect();
        world.learn(&schemas);
        Ok(world)
    }

    pub(crate) fn mirrors_anything(&self) -> bool {
        !self.objects.is_empty()
    }

    /// Mirrors one object more. Its number.
    fn take_up(&mut self, mirrored: Mirrored) -> usize {
        let index = self.objects.len();
        self.by_name.insert(mirrored.mirror.table.object.clone(), index);
        self.objects.push(mirrored);
        index
    }

    fn learn<'s>(&mut self, schemas: impl IntoIterator<Item = &'s Schema>) {
        for schema in schemas {
            self.schemas
                .learn(&schema.id, &schema.json, &self.objects, &self.by_name);
        }
    }

    /// All but the commit.
    fn apply<'c>(
        &mut self,
        cache: &'c mut Cache,
        commands: &[Command],
    ) -> anyhow::Result<(Batch<'c>, Vec<Outcome>)> {
        let mut batch = cache.batch()?;
        let mut outcomes = Vec::with_capacity(commands.len());
        for command in commands {
            outcomes.push(self.apply_one(&mut batch, command)?);
        }
        self.tally.store(&mut batch, name_of(&self.objects))?;
        Ok((batch, outcomes))
    }

    /// Applies a batch as [`run`] did. Nobody waits for outcomes.
    pub(crate) fn replay(&mut self, cache: &mut Cache, recorded: Recorded) -> anyhow::Result<()> {
        self.now = recorded.at;
        self.learn(schemas_in(&recorded.commands));
        let mut batch = cache.batch()?;
        batch.is_batch(recorded.number);
        batch.raise_rev(recorded.rev);
        for mut command in recorded.commands {
            if !recorded.is_exact {
                self.renumber(&mut command);
            }
            self.apply_one(&mut batch, &command)?;
        }
        // Stored as it was, and told to nobody: it happened long ago.
        std::mem::take(&mut self.tally).store(&mut batch, name_of(&self.objects))?;
        batch.commit()?;
        cache.bound_log()?;
        Ok(())
    }

    /// Loads are numbered as they begin, and not all of them begin in a part of the journal.
    fn renumber(&self, command: &mut Command) {
        if let Command::Page(Page { object, run, .. })
        | Command::FinishLoad { object, run, .. }
        | Command::Rows(Rows {
            object,
            source: Source::Load { run },
            ..
        }) = command
            && let Some(index) = self.by_name.get(object)
            && let Phase::Loading { load, .. } = &self.objects[*index].phase
        {
            *run = load.run;
        }
    }

    fn apply_one(&mut self, batch: &mut Batch<'_>, command: &Command) -> anyhow::Result<Outcome> {
        match command {
            Command::Events(events) => self.events(batch, events)?,
            Command::BeginLoad {
                object,
                watermark,
                asked,
            } => {
                return self
                    .begin_load(batch, object, *watermark, *asked)
                    .map(Outcome::Load);
            }
            Command::Page(page) => return self.page(batch, page).map(Outcome::Written),
            Command::Rows(rows) => return self.rows(batch, rows).map(Outcome::Written),
            Command::FinishLoad {
                object,
                run,
                rows,
                answer,
            } => {
                let finished = self.finish_load(batch, object, *run, *rows, *answer);
                return finished.map(Outcome::Finished);
            }
            Command::Repaired {
                object,
                read_rev,
                rows,
            } => self.repaired(batch, object, *read_rev, rows.as_deref())?,
            Command::Lost { topic, objects } => self.lost(batch, topic, objects)?,
            Command::CaughtUp {
                object,
                number,
                rows,
                asked,
            } => self.caught_up(batch, object, *number, *rows, *asked)?,
            Command::Compared {
                object,
                number,
                rows,
                before,
                differing,
            } => self.compared(batch, object, *number, (*rows, *before), differing)?,
            Command::Failed { numbers, error } => batch.fail_repairs(numbers, error)?,
            Command::ReadAgain { object, ids, reason } => self.read_again(batch, object, ids, reason)?,
            Command::Reload { object, reason } => self.reload(batch, object, reason)?,
            Command::Removal { object, decision } => self.removal(batch, object, *decision)?,
            Command::Changed { planned } => return self.changed(batch, planned).map(Outcome::Evolved),
            Command::Moved { instance_url } => self.moved(batch, instance_url)?,
            Command::ObjectProblem { object, problem } => {
                batch.set_object_problem(object, problem.as_deref())?;
            }
            Command::ChannelProblem { topic, problem } => {
                batch.set_channel_problem(topic, problem.as_deref(), self.now)?;
            }
            Command::ForgetApplied {} => batch.forget_applied()?,
            // The apply stage is made after a start, and a replay makes it anew.
            Command::Start(_) => {}
        }
        Ok(Outcome::Done)
    }

    /// Tells of what was committed. Who waited for an outcome may be gone by then, as when the daemon stops.
    fn tell(&mut self, rev: i64, bells: &Bells, outcomes: impl Iterator<Item = (Reply, Outcome)>) {
        // The revision first: who has its answer may begin a read that counts from it.
        bells
            .rev
            .send_if_modified(|known| std::mem::replace(known, rev) != rev);
        for (reply, outcome) in outcomes {
            if let Some(reply) = reply {
                let _nobody_waits = reply.send(outcome);
            }
        }
        if std::mem::take(&mut self.ledger_rings) {
            bells.ledger.send_modify(|rung| *rung += 1);
        }
    }
}

#[cfg(test)]
mod tests;
