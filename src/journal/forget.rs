//! What the journal forgets, beside the door: persons that are gone, what may not be kept any more, and what is too old
//! or too much.
//!
//! The journal holds what it was told of a person only while the cache holds the person. A record of an object that may
//! be about persons ([`config::ObjectRules::personal`]) that was deleted, opted out, or found to be gone loses its values: in
//! events, and in pages of rows. Each gives way to a stand-in ([`stand_in`]), so that a replay still gives the cache,
//! revision by revision: what it makes of the record in between is nobody's any more. Of an object that is not mirrored
//! no event keeps a value.
//!
//! 1. Deletions are read from the change feed, and events that name a record which is not here from the journal; both
//!    are noted as asked for, with how far was looked.
//! 2. Some records of one object are taken up, unless they are back or are still to be read again; the newest batch
//!    that the cache holds bounds what is touched.
//! 3. Their events are rewritten, those with a difference of a text first, since the whole text is needed for them; then
//!    their pages, one a transaction. How far that is, is stored with each: a process that was killed goes on.
//! 4. The key of the stand-ins is deleted, what SQLite left of rows that moved is overwritten
//!    ([`scrub`](crate::store::scrub)), and the logs are emptied, which hold pages as they were.
//!
//! An event that could not be decoded keeps its bytes until its age takes it: nobody can say what is in them. One that
//! names several records, having changed them all alike, is rewritten when the last of them is gone.

mod events;
mod page;
mod redacted;
pub mod stand_in;

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use aws_lc_rs::rand;
use tokio_util::sync::CancellationToken;

use crate::config;
use crate::journal::history::History;
use crate::model::clock::{Clock, Millis};
use crate::store::cache::{State, meta, objects, repairs};
use crate::store::journal::forget::{Asked, Erasing, Forgetting, Keep, Rewritten};
use crate::store::journal::log::pack;
use crate::store::reader::Reader;
use crate::store::storefront;
use crate::telemetry::pulse::Pulse;

use self::stand_in::StandIns;

/// Between two looks.
const INTERVAL: Duration = Duration::from_secs(1);

/// Longest time for a look: a load's pages of a large object.
const LOOK_MAX: Duration = Duration::from_secs(600);

/// Records erased together. All rows of a page are unpacked for one of them.
const RECORDS_MAX: usize = 500;

/// How many times as long as it took nothing is scrubbed after it was.
const SCRUB_REST: u32 = 20;

/// Records that are looked through for some that can be taken up.
const ASKED_MAX: usize = 5_000;

/// Steps of pruning in one look; each removes some batches.
const PRUNE_STEPS_MAX: usize = 64;

/// What it works on.
#[derive(Debug)]
pub struct World {
    pub dir: PathBuf,
    pub sync: config::Sync,
    pub keep: Keep,
    pub clock: Clock,
}

/// How long things are kept, as the configuration says.
pub fn keep(state: &config::State) -> Keep {
    const DAY_MILLIS: Millis = 86_400_000;
    Keep {
        millis: (state.journal_days > 0).then(|| Millis::from(state.journal_days) * DAY_MILLIS),
        bytes: i64::try_from(state.journal_bytes).unwrap_or(i64::MAX),
    }
}

/// Forgets until told to stop. Blocks: give it a thread of its own.
pub fn run(world: World, stop: &CancellationToken) -> anyhow::Result<()> {
    let pulse = Pulse::new("forget");
    let mut forget = Forget::open(world)?;
    while !stop.is_cancelled() {
        pulse.quiet_for(LOOK_MAX);
        forget.look(stop).context(
            "the journal cannot be rewritten: check the space left on the disk of [state] dir and start again; nothing is lost",
        )?;
        pulse.quiet_for(INTERVAL);
        wait(stop);
    }
    Ok(())
}

/// [`INTERVAL`], ended by the stop.
fn wait(stop: &CancellationToken) {
    const STEP: Duration = Duration::from_millis(100);
    let mut waited = Duration::ZERO;
    while waited < INTERVAL && !stop.is_cancelled() {
        std::thread::sleep(STEP);
        waited += STEP;
    }
}

struct Forget {
    world: World,
    reader: Reader,
    journal: Forgetting,
    history: History,
    /// Whether an object may be about persons, by name.
    personal: HashMap<String, bool>,
    /// Something was erased whose traces may be in the logs; also at a start, after which nobody knows.
    empties_logs: bool,
    /// Not before: the last time took so long.
    scrubs_after: Option<Instant>,
}

impl Forget {
    fn open(world: World) -> anyhow::Result<Self> {
        Ok(Self {
            reader: Reader::new(&world.dir),
            journal: Forgetting::open(&world.dir)?,
            history: History::open(&world.dir)?,
            world,
            personal: HashMap::new(),
            empties_logs: true,
            scrubs_after: None,
        })
    }

    fn look(&mut self, stop: &CancellationToken) -> anyhow::Result<()> {
        let now = self.world.clock.now();
        for _ in 0..PRUNE_STEPS_MAX {
            if stop.is_cancelled() || !self.journal.prune(self.world.keep, now)? {
                break;
            }
        }
        self.redact(stop)?;
        self.ask_for_deleted(now)?;
        self.ask_for_absent(now)?;
        while !stop.is_cancelled() {
            let Some(erasing) = self.next()? else { break };
            self.erase(&erasing, stop)?;
            self.empties_logs = true;
        }
        self.scrub(stop)?;
        if self.empties_logs && !stop.is_cancelled() {
            self.empties_logs = !self.journal.empty_logs()?;
        }
        Ok(())
    }

    /// Overwrites what was left beside rows. It reads all of both files, so it is done for a small share of the time.
    fn scrub(&mut self, stop: &CancellationToken) -> anyhow::Result<()> {
        let begun_at = Instant::now();
        if self.scrubs_after.is_some_and(|after| begun_at < after) || !self.journal.is_unscrubbed()? {
            return Ok(());
        }
        self.journal.scrub(|| stop.is_cancelled())?;
        self.scrubs_after = Some(Instant::now() + begun_at.elapsed() * SCRUB_REST);
        self.empties_logs = true;
        Ok(())
    }

    fn is_personal(&mut self, object: &str) -> bool {
        if let Some(known) = self.personal.get(object) {
            return *known;
        }
        let of_catalogue = storefront::feed::is_of_catalogue(object);
        let personal = self.world.sync.rules(object).personal.unwrap_or(!of_catalogue);
        self.personal.insert(object.to_owned(), personal);
        personal
    }

    /// Rows that were deleted here, whatever told of it.
    fn ask_for_deleted(&mut self, now: Millis) -> anyhow::Result<()> {
        loop {
            let after = self.journal.mark("erased_rev")?;
            let (deleted, to) = self
                .reader
                .with(|cache| storefront::feed::deleted_since(cache, after))?;
            if to == after {
                return Ok(());
            }
            let mut asked = Vec::new();
            for (object, id) in deleted {
                if self.is_personal(&object) {
                    asked.push((object, id));
                }
            }
            let asked = Asked {
                records: &asked,
                events: &[],
            };
            self.journal.ask(&asked, ("erased_rev", to), now)?;
        }
    }

    /// Records that the next erasure is about: what was begun first.
    fn next(&mut self) -> anyhow::Result<Option<Erasing>> {
        if let Some(under_way) = self.journal.under_way()? {
            return Ok(Some(under_way));
        }
        let asked = self.journal.asked(ASKED_MAX)?;
        let mut by_object: HashMap<String, Vec<String>> = HashMap::new();
        for (object, id) in asked {
            by_object.entry(object).or_default().push(id);
        }
        for (object, ids) in by_object {
            if let Some(erasing) = self.take_up(&object, &ids)? {
                self.journal.begin(&erasing)?;
                return Ok(Some(erasing));
            }
        }
        Ok(None)
    }

    /// Those of some records that are gone for good, as of one commit of the cache.
    fn take_up(&mut self, object: &str, ids: &[String]) -> anyhow::Result<Option<Erasing>> {
        let looked = self.reader.with(|cache| {
            let transaction = cache.unchecked_transaction()?;
            let held = meta::<i64>(&transaction, "journal")?.unwrap_or(0);
            let state = objects::object(&transaction, object)?.map(|object| object.state);
            let (mut back, mut gone) = (Vec::new(), Vec::new());
            for id in ids {
                if storefront::is_present(&transaction, object, id)? {
                    back.push(id.clone());
                } else if gone.len() < RECORDS_MAX
                    && repairs::outstanding(&transaction, &[(object.to_owned(), id.clone())])? == 0
                {
                    gone.push(id.clone());
                }
            }
            // What is not loaded yet is not here, and not gone.
            if matches!(state, Some(State::Waiting | State::Loading)) {
                gone.clear();
            }
            Ok((held, back, gone))
        })?;
        let (held, back, record_ids) = looked;
        if !back.is_empty() {
            self.journal.withdraw(object, &back)?;
        }
        let last_event = self.history.journal.last_event_of(held)?;
        let (false, Some(last_event)) = (record_ids.is_empty(), last_event) else {
            return Ok(None);
        };
        let mut key = vec![0; 32];
        rand::fill(&mut key).context("random bytes")?;
        Ok(Some(Erasing {
            object: object.to_owned(),
            record_ids,
            key,
            last_batch: held,
            last_event,
            next_event: 0,
            next_page: 0,
        }))
    }

    fn erase(&mut self, erasing: &Erasing, stop: &CancellationToken) -> anyhow::Result<()> {
        let made = StandIns::new(&erasing.key);
        let ids: HashSet<&str> = erasing.record_ids.iter().map(String::as_str).collect();
        self.erase_events(erasing, &ids, &made, stop)?;
        let table = self.history.table(&erasing.object)?;
        crate::failpoint::reach("erase_before_pages");
        for number in self.journal.pages_left(erasing)? {
            if stop.is_cancelled() {
                return Ok(());
            }
            let Some(kept) = self.history.journal.page(number)? else {
                continue;
            };
            if let Some(body) = page::erase(table.as_ref(), &ids, &kept.unpack()?, &made)? {
                let packed = pack(&body);
                let packed = &packed[..];
                self.journal.rewrite_page(Rewritten { number, packed })?;
            }
        }
        self.journal.finish(erasing)?;
        let (object, count) = (&erasing.object, erasing.record_ids.len());
        tracing::info!(%object, count, "{count} records of {object} are gone, and what the journal held of them is erased");
        Ok(())
    }
}
