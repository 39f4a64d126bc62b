//! The one door: everything that changes a mirrored row comes through here, in the order it arrived.
//!
//! What is queued is taken together, up to [`EVENTS_PER_BATCH_MAX`] events: the journal is
//! appended while one transaction of the cache takes rows, change feed, dedupe keys, repairs and cursors; it commits
//! after the journal has. A crash between the two leaves the position where it was, so the events come again and
//! the journal knows them.
//!
//! An error of a disk ends the stage with nothing half done: the transaction is rolled back, nothing was
//! acknowledged, and the next start goes on from the last commit.
//!
//! [`run`] blocks and wants a thread of its own. It ends when every sender of work is gone, after what was
//! queued is written; so the daemon keeps no sender itself.

pub(in crate::inbound) mod again;
pub(in crate::inbound) mod cells;
mod delay;
mod dependants;
mod events;
mod key;
mod ledger;
pub mod log;
mod page;
mod pen;
pub(in crate::inbound) mod prove;
mod rows;
mod schemas;
mod tally;
pub mod work;

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use tokio::sync::{mpsc, watch};

use crate::config::ObjectRules;
use crate::inbound::apply::log::Notes;
use crate::inbound::apply::pen::Pen;
use crate::inbound::apply::prove::Proofs;
use crate::inbound::apply::schemas::Schemas;
use crate::inbound::mapping::stamp_field;
use crate::inbound::prepare::Planned;
use crate::model::clock::{Clock, Millis, Moment};
use crate::model::trouble::Failing;
use crate::store::cache::cursors::{self, Cursor};
use crate::store::cache::loads::{self, Load};
use crate::store::cache::repairs::{self, Kind};
use crate::store::cache::rows::Mirror;
use crate::store::cache::{Batch, Cache, State, objects};
use crate::store::journal::Journal;
use crate::store::priority;
use crate::telemetry::metrics;
use crate::telemetry::pulse::Pulse;
use crate::telemetry::traces::Span;

pub use work::Work;

/// Events in one transaction.
pub const EVENTS_PER_BATCH_MAX: usize = 1_000;

/// Work that may wait in the queue. A response holds at most 100 events and 3 MB.
pub const QUEUE_MAX: usize = 16;

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
pub(in crate::inbound) struct World {
    objects: Vec<Mirrored>,
    by_name: HashMap<String, usize>,
    schemas: Schemas,
    cursors: HashMap<String, Cursor>,
    now: Millis,
    /// The same moment by both clocks; in a replay, none.
    moment: Moment,
    proofs: Proofs,
    runs: u64,
    replies: Vec<Box<dyn FnOnce()>>,
    ledger_rings: bool,
    tally: tally::Tally,
}

/// What to do when a file cannot be written.
const JOURNAL: &str = "the journal cannot be written: check the space left on the disk of [state] dir and start again; nothing is lost";
const CACHE: &str = "the cache cannot be written: check the space left on the disk of [state] dir and start again; nothing is lost";

/// Writes what arrives until every sender is gone. Takes both writers for good: a second door would break the promise.
pub fn run(
    mut cache: Cache,
    journal: Journal,
    planned: &[Planned],
    work: mpsc::Receiver<Work>,
    clock: &Clock,
    bells: &Bells,
) -> anyhow::Result<()> {
    // The journal's thread is begun after this and yields as well.
    priority::yield_to_readers();
    let world = World::new(&mut cache, &journal.schemas()?, planned)?;
    let keeps_rows = journal.keeps_rows();
    std::thread::scope(|scope| {
        let journal =
            Pen::start(scope, journal).context("the thread that writes the journal cannot start")?;
        work_off(world, cache, &journal, keeps_rows, work, clock, bells)
    })
}

fn work_off(
    mut world: World,
    mut cache: Cache,
    journal: &Pen,
    keeps_rows: bool,
    mut work: mpsc::Receiver<Work>,
    clock: &Clock,
    bells: &Bells,
) -> anyhow::Result<()> {
    let mut batch = Vec::new();
    let pulse = Pulse::awaited("apply");
    pulse.idle();
    while let Some(first) = work.blocking_recv() {
        pulse.quiet_for(BATCH_MAX);
        crate::failpoint::reach("apply");
        drain(first, &mut work, &mut batch);
        let started = Instant::now();
        world.moment = clock.moment();
        world.now = world.moment.wall;
        world.learn(&batch);
        world.redact(&mut batch);
        journal.write(Notes::of(&batch, &cache, world.now, keeps_rows)?);
        let mut written = world.handle_all(&mut cache, &mut batch).context(CACHE)?;
        written.is_batch(journal.number().context(JOURNAL)?);
        let rev = written.commit().context(CACHE)?;
        cache.bound_log().context(CACHE)?;
        metrics::APPLY_BATCHES.count([]);
        metrics::APPLY_DURATION.observe([], started.elapsed());
        Span::tell(|| Span::batch(rev, world.now, clock.now()).with("events", &world.tally.events()));
        world.tally.tell(clock.now(), name_of(&world.objects));
        world.tell(rev, bells);
        pulse.idle();
    }
    Ok(())
}

fn name_of(objects: &[Mirrored]) -> impl Fn(usize) -> String {
    |index| objects[index].mirror.table.object.clone()
}

/// Takes what is queued. A page of a load is as much as a batch of events.
fn drain(first: Work, work: &mut mpsc::Receiver<Work>, batch: &mut Vec<Work>) {
    batch.clear();
    let mut events = first.weight();
    batch.push(first);
    while events < EVENTS_PER_BATCH_MAX {
        let Ok(next) = work.try_recv() else { return };
        events += next.weight();
        batch.push(next);
    }
}

impl World {
    pub(in crate::inbound) fn new(
        cache: &mut Cache,
        schemas: &[(String, String)],
        planned: &[Planned],
    ) -> anyhow::Result<Self> {
        let mut world = Self {
            objects: Vec::with_capacity(planned.len()),
            by_name: HashMap::with_capacity(planned.len()),
            schemas: Schemas::default(),
            cursors: HashMap::new(),
            now: 0,
            moment: Moment::default(),
            proofs: Proofs::default(),
            runs: 0,
            replies: Vec::new(),
            ledger_rings: false,
            tally: tally::Tally::default(),
        };
        for planned in planned {
            let object = &planned.table.object;
            let mirror = cache.mirror(planned.table.clone());
            let mut mirrored = Mirrored::new(mirror, planned);
            let stored = objects::object(cache.connection(), object)?;
            mirrored.read_at = stored.as_ref().and_then(|object| object.watermark);
            let state = stored.map(|object| object.state);
            let under_way = loads::load(cache.connection(), object)?;
            mirrored.phase = match (state, under_way) {
                (Some(State::Loading | State::Reload), Some(progress)) => Phase::Loading {
                    load: progress.load,
                    again: false,
                },
                (Some(State::Live | State::Reload), _) => Phase::Settled,
                (Some(State::Waiting | State::Loading) | None, _) => Phase::Unloaded,
            };
            world.by_name.insert(object.clone(), world.objects.len());
            world.objects.push(mirrored);
        }
        world.link();
        world.take_up(cache)?;
        for (id, json) in schemas {
            world.schemas.learn(id, json, &world.objects, &world.by_name);
        }
        Ok(world)
    }

    /// What was under way when the last process ended.
    fn take_up(&mut self, cache: &Cache) -> anyhow::Result<()> {
        let connection = cache.connection();
        for cursor in cursors::cursors(connection)? {
            self.cursors.insert(cursor.topic.clone(), cursor);
        }
        for progress in loads::loads(connection)? {
            self.runs = self.runs.max(progress.load.run);
        }
        for entry in repairs::open(connection, Kind::CatchUp, usize::MAX)? {
            if let Some(index) = self.by_name.get(&entry.object) {
                self.objects[*index].catching_up = Some(0);
            }
        }
        Ok(())
    }

    fn learn(&mut self, batch: &[Work]) {
        for (id, json) in batch
            .iter()
            .filter_map(Work::events)
            .flat_map(|events| &events.schemas)
        {
            self.schemas.learn(id, json, &self.objects, &self.by_name);
        }
    }

    /// All but the commit.
    fn handle_all<'c>(&mut self, cache: &'c mut Cache, works: &mut Vec<Work>) -> anyhow::Result<Batch<'c>> {
        let mut batch = cache.batch()?;
        for work in works.drain(..) {
            self.handle(&mut batch, work)?;
        }
        self.tally.store(&mut batch, name_of(&self.objects))?;
        Ok(batch)
    }

    fn handle(&mut self, batch: &mut Batch<'_>, work: Work) -> anyhow::Result<()> {
        match work {
            Work::Events(mut events) => {
                self.events(batch, &events)?;
                if let Some(done) = events.done.take() {
                    self.reply(done, ());
                }
            }
            Work::BeginLoad {
                object,
                watermark,
                asked,
                done,
            } => {
                let load = self.begin_load(batch, &object, watermark)?;
                if let Some(asked) = asked {
                    batch.load_asked(&object, asked)?;
                }
                self.reply(done, load);
            }
            Work::Page {
                object,
                run,
                csv,
                place,
                done,
                ..
            } => {
                let written = self.page(batch, &object, run, &csv, place.as_ref())?;
                self.reply(done, written);
            }
            Work::Rows {
                object,
                source,
                rows,
                done,
            } => {
                let written = self.rows(batch, &object, &source, &rows)?;
                self.reply(done, written);
            }
            Work::FinishLoad {
                object,
                run,
                rows,
                answer,
                done,
            } => {
                let finished = self.finish_load(batch, &object, run, rows, answer)?;
                self.reply(done, finished);
            }
            Work::Repaired {
                object,
                read_rev,
                rows,
                done,
            } => {
                self.repaired(batch, &object, read_rev, &rows)?;
                self.reply(done, ());
            }
            other => self.handle_ledger(batch, other)?,
        }
        Ok(())
    }

    /// Answers after the commit. Who asked may be gone by then, as when the daemon stops.
    fn reply<T: 'static>(&mut self, done: tokio::sync::oneshot::Sender<T>, answer: T) {
        self.replies.push(Box::new(move || drop(done.send(answer))));
    }

    fn tell(&mut self, rev: i64, bells: &Bells) {
        // The revision first: who has its answer may begin a read that counts from it.
        bells
            .rev
            .send_if_modified(|known| std::mem::replace(known, rev) != rev);
        self.replies.drain(..).for_each(|reply| reply());
        if std::mem::take(&mut self.ledger_rings) {
            bells.ledger.send_modify(|rung| *rung += 1);
        }
    }
}

#[cfg(test)]
mod tests;
