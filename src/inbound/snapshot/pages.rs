//! The results of a query job, on their way to the apply stage.
//!
//! Of a large result the org tells up to five pages at a time. They are fetched side by side, each in pieces, since
//! how long a page gets is the org's choice, and a piece is written while others arrive. The place of the load is such
//! a list, and moves when all of it is stored: a load that was cut off reads some pages again, which changes nothing.
//!
//! Where the org tells no lists, and for results of one page, each page tells where the next begins. Locators are
//! opaque, so those can only be fetched one after another, one ahead of what is written.

use bytes::Bytes;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use tokio::sync::{SemaphorePermit, oneshot};

use crate::inbound::apply::queue::{Ended, Outcome};
use crate::inbound::command::{Command, Packed, Page};
use crate::inbound::prepare::Planned;
use crate::inbound::snapshot::{PAGE_MAX, Stage};
use crate::salesforce::Error;
use crate::salesforce::bulk::{Job, PageList};
use crate::store::cache::loads::Place;
use crate::telemetry::pulse::Pulse;

/// Pages of one result that are fetched at a time: as many as a list names.
const SIDE_BY_SIDE_MAX: usize = 5;

/// A page that tells where the next begins is asked for in rows; this is about how long it may get.
const PAGE_BYTES: usize = 4 << 20;

/// A piece of a page that a list names. Several are fetched at a time, so that a small one keeps them all busy.
const PIECE_BYTES: usize = 1 << 18;

/// Bytes that a row is taken to have in CSV, with `FIELD_BYTES` for each field.
const ROW_BYTES: usize = 100;
const FIELD_BYTES: usize = 20;

/// A place that is a list of pages is its path; else it is the locator of a page.
fn is_list(place: &Place) -> bool {
    place.locator.contains("/resultPages")
}

impl Stage<'_> {
    /// Reads the results of a job, from the place where an earlier process ended with so many rows, or else from the
    /// beginning; gives the number of rows. It is an error where fewer came than the job found.
    pub(super) async fn job_pages(
        &self,
        planned: &Planned,
        run: u64,
        job: &Job,
        begun: Option<(&Place, u64)>,
        pulse: &Pulse,
    ) -> anyhow::Result<u64> {
        let place = begun.map(|(place, _)| place);
        let rows = self.pages_from(planned, run, job, place, pulse).await?;
        // Pages of a list that was cut off were read twice.
        let again = place.is_some_and(is_list);
        let came = begun.map_or(0, |(_, before)| before) + rows;
        anyhow::ensure!(
            came == job.rows || (again && came > job.rows),
            "{came} of the {} rows that the query job announced came",
            job.rows
        );
        Ok(rows)
    }

    async fn pages_from(
        &self,
        planned: &Planned,
        run: u64,
        job: &Job,
        place: Option<&Place>,
        pulse: &Pulse,
    ) -> anyhow::Result<u64> {
        let path = match place {
            Some(place) if is_list(place) => place.locator.clone(),
            Some(place) => {
                let locator = Some(place.locator.clone());
                return self.chained_pages(planned, run, job, locator, pulse).await;
            }
            None if job.rows <= u64::from(rows_per_page(planned.table.columns.len())) => {
                return self.chained_pages(planned, run, job, None, pulse).await;
            }
            None => self.wires.org.bulk_page_list_path(job),
        };
        match self.wires.org.bulk_page_list(&path).await {
            Ok(list) => self.listed_pages(planned, run, job, path, list, pulse).await,
            Err(Error::Refused {
                status: 400 | 404, ..
            }) if place.is_none() => self.chained_pages(planned, run, job, None, pulse).await,
            Err(error) => Err(error.into()),
        }
    }

    async fn listed_pages(
        &self,
        planned: &Planned,
        run: u64,
        job: &Job,
        mut path: String,
        mut list: PageList,
        pulse: &Pulse,
    ) -> anyhow::Result<u64> {
        let mut rows = 0;
        loop {
            let place = Place {
                job: job.id.clone(),
                locator: path,
                total: job.rows,
            };
            rows += self
                .side_by_side(planned, run, &list.pages, &place, pulse)
                .await?;
            let Some(next) = list.next else { return Ok(rows) };
            list = self.wires.org.bulk_page_list(&next).await?;
            path = next;
        }
    }

    async fn side_by_side(
        &self,
        planned: &Planned,
        run: u64,
        pages: &[String],
        place: &Place,
        pulse: &Pulse,
    ) -> anyhow::Result<u64> {
        let pages: Vec<_> = pages
            .iter()
            .map(|page| self.listed_page(planned, run, page, place, pulse))
            .collect();
        let written = stream::iter(pages).buffer_unordered(SIDE_BY_SIDE_MAX);
        written
            .try_fold(0, async |rows, of_page| Ok(rows + of_page))
            .await
    }

    async fn listed_page(
        &self,
        planned: &Planned,
        run: u64,
        page: &str,
        place: &Place,
        pulse: &Pulse,
    ) -> anyhow::Result<u64> {
        pulse.quiet_for(PAGE_MAX);
        crate::failpoint::stand("load").await;
        // Before anything is in memory. What is on its way fills buffers below, so it is held for the whole page.
        let _permit = self.pages.acquire().await?;
        let fields = planned.fields();
        let mut download = self.wires.org.download(page, &fields, PIECE_BYTES).await?;
        let mut rows = 0;
        while let Some(csv) = download.next().await? {
            let writing = self.write(planned, run, csv, Some(place.clone())).await?;
            rows += written(writing).await?;
            pulse.quiet_for(PAGE_MAX);
            crate::failpoint::stand("load").await;
        }
        all_written(rows, download.rows())
    }

    /// Fetches one page while the one before is written.
    async fn chained_pages(
        &self,
        planned: &Planned,
        run: u64,
        job: &Job,
        mut locator: Option<String>,
        pulse: &Pulse,
    ) -> anyhow::Result<u64> {
        let rows_max = rows_per_page(planned.table.columns.len());
        let fields = planned.fields();
        let mut writing = None;
        let mut rows = 0;
        loop {
            pulse.quiet_for(PAGE_MAX);
            crate::failpoint::stand("load").await;
            let permit = match self.pages.try_acquire() {
                Ok(permit) => permit,
                // Others hold the rest: ours is given back first, or all would wait for each other.
                Err(_) => {
                    rows += finish(writing.take()).await?;
                    self.pages.acquire().await?
                }
            };
            let page = self
                .wires
                .org
                .bulk_page(job, &fields, locator.as_deref(), rows_max)
                .await?;
            rows += finish(writing.take()).await?;
            let place = page.next.clone().map(|locator| Place {
                job: job.id.clone(),
                locator,
                total: job.rows,
            });
            writing = Some((
                self.write(planned, run, page.csv, place).await?,
                page.rows,
                permit,
            ));
            locator = page.next;
            if locator.is_none() {
                return Ok(rows + finish(writing.take()).await?);
            }
        }
    }

    /// Hands rows to the apply stage, which tells when they are stored.
    async fn write(
        &self,
        planned: &Planned,
        run: u64,
        csv: Bytes,
        place: Option<Place>,
    ) -> Result<oneshot::Receiver<Outcome>, Ended> {
        let page = Command::Page(Page {
            object: planned.table.object.clone(),
            run,
            packed: self.wires.keep_rows.then(|| Packed::csv(&csv)),
            csv: Some(csv),
            place,
        });
        self.wires.apply.begin(page).await
    }
}

async fn written(answer: oneshot::Receiver<Outcome>) -> anyhow::Result<u64> {
    let outcome = answer.await.map_err(|_| Ended)?;
    outcome.written()?.map_err(anyhow::Error::msg)
}

/// Of the page before, which gives back its permit with that.
async fn finish(
    writing: Option<(oneshot::Receiver<Outcome>, u64, SemaphorePermit<'_>)>,
) -> anyhow::Result<u64> {
    match writing {
        Some((answer, announced, _permit)) => all_written(written(answer).await?, announced),
        None => Ok(0),
    }
}

fn all_written(rows: u64, announced: u64) -> anyhow::Result<u64> {
    anyhow::ensure!(
        rows == announced,
        "{rows} of the {announced} rows of a page could be written"
    );
    Ok(rows)
}

fn rows_per_page(fields: usize) -> u32 {
    let rows = PAGE_BYTES / (ROW_BYTES + FIELD_BYTES * fields);
    u32::try_from(rows.clamp(500, 50_000)).unwrap_or(500)
}
