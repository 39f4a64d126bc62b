//! Reading whole objects: the first time, and whenever one has to be read again.
//!
//! A load waits for nothing: the org may take some minutes to tell the stream's position, and what changed until then is
//! read once it is told ([`super::catch_up`]). Several objects are read at a time, since a query job takes seconds in a
//! real org, and of a large one several pages (`pages`); all go through the one door. A load that is cut off goes on
//! where it was, as long as the org keeps the query's results; else it begins anew.

mod pages;
mod whole;

use std::collections::HashSet;
use std::sync::Mutex;
use std::time::Duration;

use anyhow::Context as _;
use futures_util::{StreamExt as _, stream};
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep, timeout};

use crate::inbound::apply::queue::{Ended, Finished};
use crate::inbound::budget::Limits;
use crate::inbound::command::{Command, Source};
use crate::inbound::prepare::Planned;
use crate::inbound::{Wires, absent};
use crate::model::retry::Policy;
use crate::salesforce::Error;
use crate::salesforce::bulk::Job;
use crate::salesforce::rest::Scope;
use crate::store::cache::loads::{self, Place};
use crate::store::cache::repairs::reason;
use crate::store::cache::{State, objects};
use crate::telemetry::pulse::Pulse;

/// Objects read at a time.
const LOADS_MAX: usize = 4;

/// Pages in memory, over all loads.
const PAGES_MAX: usize = 4;

/// How often to look for objects to read again where no bell rang.
const INTERVAL: Duration = Duration::from_secs(30);

/// Longest time until the org has a query's results ready, which waits there behind others'.
const QUERY_MAX: Duration = Duration::from_secs(4 * 3_600);

/// Longest time for a page: it is fetched, waits for those before it, and is written.
const PAGE_MAX: Duration = Duration::from_secs(1_800);

const RETRY: Policy = Policy {
    first: Duration::from_secs(1),
    longest: Duration::from_secs(60),
};

struct Stage<'a> {
    wires: &'a Wires,
    pages: Semaphore,
    limits: Limits,
    /// Objects of which Bulk brought too few rows.
    to_query: Mutex<HashSet<String>>,
}

/// Keeps every object loaded.
pub async fn run(wires: Wires, limits: Limits) -> anyhow::Result<()> {
    let stage = Stage {
        wires: &wires,
        pages: Semaphore::new(PAGES_MAX),
        limits,
        to_query: Mutex::default(),
    };
    tokio::select! {
        () = wires.stop.cancelled() => Ok(()),
        result = stage.keep_loaded() => result,
    }
}

impl Stage<'_> {
    async fn keep_loaded(&self) -> anyhow::Result<()> {
        let mut bell = self.wires.bells.ledger.subscribe();
        let mut failures = 0;
        let pulse = Pulse::new("snapshot");
        loop {
            bell.borrow_and_update();
            pulse.quiet_for(PAGE_MAX);
            self.by_schedule().await?;
            let due = due(self.wires)?;
            // Each load has a pulse of its own.
            pulse.idle();
            let loads: Vec<_> = due.iter().map(|planned| self.load(planned)).collect();
            let results: Vec<_> = stream::iter(loads).buffer_unordered(LOADS_MAX).collect().await;
            let mut failed = false;
            for result in results {
                match result {
                    Ok(()) => {}
                    Err(error) if error.is::<Ended>() => return Ok(()),
                    Err(error) => {
                        failed = true;
                        tracing::warn!(
                            failures,
                            "an object could not be read, will be tried again: {error:#}"
                        );
                    }
                }
            }
            pulse.rests_for(INTERVAL.max(RETRY.longest));
            if failed {
                failures += 1;
                sleep(RETRY.delay(failures)).await;
            } else {
                failures = 0;
                // Whichever comes first: the bell, or the time to look anyway.
                drop(timeout(INTERVAL, bell.changed()).await);
            }
        }
    }

    /// Marks objects whose time to be read again as a whole has come.
    async fn by_schedule(&self) -> anyhow::Result<()> {
        if !self.limits.budget().allows_comparing(self.wires.org.api_usage()) {
            return Ok(());
        }
        let states = self.wires.reader.with(objects::objects)?;
        for planned in &*self.wires.planned() {
            let Some(hours) = planned.reread_hours.filter(|hours| *hours > 0) else {
                continue;
            };
            let passed = states
                .iter()
                .find(|state| state.object == planned.table.object && state.state == State::Live)
                .and_then(|state| state.loaded_at)
                .is_some_and(|at| self.wires.org.org_time() - at >= i64::from(hours) * 3_600_000);
            if passed {
                let (object, reason) = (planned.table.object.clone(), reason::BY_SCHEDULE.into());
                self.wires.apply.send(Command::Reload { object, reason }).await?;
            }
        }
        Ok(())
    }

    async fn load(&self, planned: &Planned) -> anyhow::Result<()> {
        let object = &planned.table.object;
        let begun = Instant::now();
        let pulse = &Pulse::new(format!("load {object}"));
        let under_way = self
            .wires
            .reader
            .with(|connection| loads::load(connection, object))?;
        let resumable =
            under_way.and_then(|progress| Some((progress.load.run, progress.rows, progress.place?)));
        let resumable = resumable.filter(|_| !self.is_to_query(object));
        let (run, rows, announced) = match resumable {
            Some((run, before, place)) => match self.go_on(planned, run, (&place, before), pulse).await {
                Ok(rows) => (run, before + rows, place.total),
                Err(error) if error.is::<Ended>() => return Err(error),
                Err(error) => {
                    tracing::info!(%object, "the query of {object} cannot go on and begins anew: {error:#}");
                    self.begin(planned, pulse).await?
                }
            },
            None => self.begin(planned, pulse).await?,
        };
        let swept = match self.finish(planned, run, announced).await? {
            Finished::Swept(swept) => swept,
            Finished::Waits => 0,
            Finished::Ask | Finished::Incomplete => {
                anyhow::bail!(
                    "{object} was read incompletely: the org still has rows that were not among those it gave"
                )
            }
        };
        self.was_queried(object);
        tracing::info!(
            %object, rows, swept, seconds = begun.elapsed().as_secs_f64(),
            "{object} is loaded: {rows} rows, {swept} removed"
        );
        Ok(())
    }

    /// Ends a load. Where more rows are to leave than may leave freely, the org is asked about them.
    async fn finish(&self, planned: &Planned, run: u64, announced: u64) -> anyhow::Result<Finished> {
        let object = &planned.table.object;
        let finish = |answer| {
            self.wires.apply.finish_load(Command::FinishLoad {
                object: object.clone(),
                run,
                rows: Some(announced),
                answer,
            })
        };
        let finished = finish(None).await?;
        if finished != Finished::Ask {
            return Ok(finished);
        }
        let unseen = self.wires.reader.with(|connection| {
            let Some(progress) = loads::load(connection, object)? else {
                return Ok(Vec::new());
            };
            loads::unseen(connection, &planned.table.name, &progress.load, absent::ASKED_MAX)
        })?;
        let answer = absent::ask(&self.wires.org, planned, &unseen).await?.answer();
        Ok(finish(Some(answer)).await?)
    }

    /// Goes on where the last process ended.
    async fn go_on(
        &self,
        planned: &Planned,
        run: u64,
        begun: (&Place, u64),
        pulse: &Pulse,
    ) -> anyhow::Result<u64> {
        let (place, _) = begun;
        let object = &planned.table.object;
        tracing::info!(%object, "the load of {object} goes on where it was");
        let job = Job {
            id: place.job.clone(),
            rows: place.total,
        };
        let rows = self.job_pages(planned, run, &job, Some(begun), pulse).await?;
        self.remove(object, &job).await;
        self.hold_against_count(planned).await?;
        Ok(rows)
    }

    /// Reads the object from its beginning: the number of the run, the rows read, and those announced, which are as many.
    async fn begin(&self, planned: &Planned, pulse: &Pulse) -> anyhow::Result<(u64, u64, u64)> {
        let object = &planned.table.object;
        let asked = Some(self.wires.clock.moment());
        let watermark = self.wires.org.org_time_at_least();
        let load = self
            .wires
            .apply
            .begin_load(Command::BeginLoad {
                object: object.clone(),
                watermark,
                asked,
            })
            .await?;
        pulse.quiet_for(QUERY_MAX);
        let read = match self.is_to_query(object) {
            true => self.rest_pages(planned, load.run, pulse).await,
            false => self.by_bulk(planned, load.run, pulse).await,
        };
        let rows = read.with_context(|| format!("{object} could not be read"))?;
        Ok((load.run, rows, rows))
    }

    /// Reads the object by a query job; by REST where Bulk does not read it.
    async fn by_bulk(&self, planned: &Planned, run: u64, pulse: &Pulse) -> anyhow::Result<u64> {
        let object = &planned.table.object;
        let refused = match self.wires.org.bulk_query(&planned.select(&[])).await {
            Ok(Ok(job)) => {
                let rows = self.job_pages(planned, run, &job, None, pulse).await?;
                self.remove(object, &job).await;
                self.hold_against_count(planned).await?;
                return Ok(rows);
            }
            Ok(Err(failed)) => failed.to_string(),
            Err(
                refused @ Error::Refused {
                    status: 400..=499, ..
                },
            ) => refused.to_string(),
            Err(error) => return Err(error.into()),
        };
        tracing::warn!(%object, "{object} is read by REST, because Bulk does not read it: {refused}");
        self.rest_pages(planned, run, pulse).await
    }

    async fn remove(&self, object: &str, job: &Job) {
        if let Err(error) = self.wires.org.bulk_delete(job).await {
            tracing::debug!(%object, "a finished query of {object} could not be removed: {error}");
        }
    }

    /// For objects that the Bulk API cannot read, or did not read as a whole.
    async fn rest_pages(&self, planned: &Planned, run: u64, pulse: &Pulse) -> anyhow::Result<u64> {
        let mut pages = self.wires.org.pages(planned.select(&[]), Scope::Live);
        let mut total = 0;
        while let Some(page) = pages.next().await? {
            pulse.quiet_for(PAGE_MAX);
            let (object, source) = (planned.table.object.clone(), Source::Load { run });
            let written = self
                .wires
                .apply
                .write(Command::rows(object, source, page.into_rows()))
                .await?;
            total += written.map_err(anyhow::Error::msg)?;
        }
        Ok(total)
    }
}

fn due(wires: &Wires) -> anyhow::Result<Vec<Planned>> {
    let states = wires.reader.with(objects::objects)?;
    let live = |object: &str| {
        states
            .iter()
            .any(|state| state.object == object && state.state == State::Live)
    };
    let planned = wires.planned();
    let due = planned.iter().filter(|planned| !live(&planned.table.object));
    Ok(due.cloned().collect())
}
