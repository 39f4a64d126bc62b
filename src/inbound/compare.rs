//! Comparing the cache with the org, and so finding what no event tells: hard deletes, silent changes, and any
//! mistake of ours.
//!
//! An object is divided into windows of its rows' stamps, of about [`WINDOW_ROWS`] rows each by the cache's own
//! count. The org counts each window's rows and names its newest stamp, one call a window. A window that differs
//! is halved until it is a page of ids and stamps, which are compared row by row; one that is no longer than that is
//! listed at once, for the same one call. A row that differs is read and compared field by field. What a change makes
//! differ that has not arrived yet is looked at again for a while: a row counts as differing only if it does so while
//! the org's own row stands still.
//!
//! Two rows whose mistakes cancel out in count and newest stamp of a counted window are not seen this way, nor is a
//! value that changed without a stamp: a thorough comparison reads every row and every field instead.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::time::Duration;

use anyhow::Context as _;
use serde_json::{Map, Value as Json};
use tokio::time::{sleep, timeout};

use crate::failpoint;
use crate::inbound::apply::cells::{self, values_of, written_of};
use crate::inbound::apply::prove::SETTLE_MILLIS;
use crate::inbound::mapping::stamp_field;
use crate::inbound::prepare::Planned;
use crate::inbound::records::read_records;
use crate::model::clock::{Millis, format_datetime};
use crate::salesforce::Org;
use crate::salesforce::pages::unreadable;
use crate::salesforce::rest::Scope;
use crate::store::cache::compare::{self, Difference, Tally, Window};
use crate::store::cache::{proofs, repairs};
use crate::store::reader::Reader;

/// Rows of a window that is counted as one.
pub const WINDOW_ROWS: u64 = 10_000;

/// A window of no more rows is listed: one page.
const LISTED_ROWS: u64 = 2_000;

/// Rows read by id at a time.
const RECORDS_MAX: usize = 200;

/// Rows that are looked at in one piece: what differs is handed on with each, however much it is.
const PIECE_ROWS: u64 = 10_000;

/// Between the looks at what differs: changes under way arrive meanwhile.
const LOOKS: [Duration; 4] = [
    Duration::from_millis(500),
    Duration::from_secs(1),
    Duration::from_secs(3),
    Duration::from_secs(6),
];

/// What is the matter with a row.
#[derive(Clone, Debug, PartialEq)]
pub enum Drift {
    /// The org has it, the cache does not.
    Missing,
    /// The cache has it, the org does not.
    Extra,
    Stale(Vec<Difference>),
    /// Equal but for its stamp.
    Restamped,
}

impl Drift {
    /// As the ledger words it.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Missing => "compared: missing here",
            Self::Extra => "compared: not in the org",
            Self::Stale(_) => "compared: differs",
            Self::Restamped => RESTAMPED,
        }
    }
}

/// As the ledger words a row whose stamp alone differs.
pub const RESTAMPED: &str = "compared: another stamp";

/// What a comparison found.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Report {
    /// Rows of the cache that were compared.
    pub rows: u64,
    /// Calls of the org that it took.
    pub calls: u64,
    pub drift: BTreeMap<String, Drift>,
    /// Rows whose stamp alone differs: no event carries it. They are equal; read again, they are not suspected the
    /// next time.
    pub restamped: BTreeSet<String>,
}

/// The stamp that no event carries.
const STAMP: &str = "SystemModstamp";

/// How closely to look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Depth {
    /// Counts and newest stamps by window.
    Windows,
    /// Every field of every row.
    Fields,
}

/// The calls that comparing an object takes where nothing differs.
pub fn calls_expected(rows: u64, depth: Depth) -> u64 {
    match depth {
        Depth::Windows => rows.div_ceil(WINDOW_ROWS).max(1),
        Depth::Fields => rows.div_ceil(LISTED_ROWS).max(1),
    }
}

/// How long to wait for what may yet put right what differs.
#[derive(Clone, Copy, Debug, Default)]
pub struct Patience {
    /// For a poll, where the object is not streamed.
    pub poll: Duration,
    /// For what the ledger is working on: rows that it will bring are no drift.
    pub repairs: Duration,
}

/// A comparison of an object with the org, a piece at a time.
pub struct Comparison<'a> {
    org: &'a Org,
    reader: &'a Reader,
    planned: &'a Planned,
    patience: Patience,
    stamp: Option<&'static str>,
    /// What is still to be compared: the whole at first.
    windows: Vec<Window>,
    /// Every field is compared.
    by_fields: bool,
    /// Rows that may differ and are not in a piece yet.
    suspects: Vec<String>,
    piece_rows: usize,
    is_done: bool,
    report: Report,
}

impl<'a> Comparison<'a> {
    pub fn new(
        org: &'a Org,
        reader: &'a Reader,
        planned: &'a Planned,
        depth: Depth,
        patience: Patience,
    ) -> Self {
        let stamp = stamp_field(&planned.table);
        let piece_rows = failpoint::bound("PIECE_ROWS", PIECE_ROWS);
        Self {
            org,
            reader,
            planned,
            patience,
            stamp,
            windows: vec![Window::default()],
            by_fields: depth == Depth::Fields || stamp.is_none(),
            suspects: Vec::new(),
            piece_rows: usize::try_from(piece_rows).unwrap_or(usize::MAX),
            is_done: false,
            report: Report::default(),
        }
    }

    pub fn object(&self) -> &str {
        &self.planned.table.object
    }

    /// What the next piece comes to; `None` after the last. Where nothing differs there is one.
    pub async fn next(&mut self) -> anyhow::Result<Option<Report>> {
        if self.is_done {
            return Ok(None);
        }
        match self.stamp.filter(|_| !self.by_fields) {
            Some(stamp) => self.by_windows(stamp).await?,
            None => self.by_fields().await?,
        }
        let rest = self.suspects.split_off(self.suspects.len().min(self.piece_rows));
        let piece = std::mem::replace(&mut self.suspects, rest);
        self.is_done = self.suspects.is_empty() && self.windows.is_empty();
        self.look_until_it_stands(piece.into_iter().collect()).await?;
        Ok(Some(std::mem::take(&mut self.report)))
    }

    /// Reports those of the suspects that differ while the org's own row stands still.
    async fn look_until_it_stands(&mut self, mut suspects: HashSet<String>) -> anyhow::Result<()> {
        if !self.planned.streamed && !suspects.is_empty() {
            wait_for_poll(self.org, self.reader, self.planned, self.patience.poll).await?;
        }
        // The org's stamp of each suspect at the last look.
        let mut stamps: HashMap<String, Option<Millis>> = HashMap::new();
        for (look, pause) in LOOKS.iter().enumerate() {
            if suspects.is_empty() {
                break;
            }
            let last = look + 1 == LOOKS.len();
            sleep(pause_of(*pause)).await;
            if last {
                wait_for_repairs(self.reader, self.planned, self.patience.repairs).await?;
            }
            let found = self.look_at(&suspects).await?;
            suspects.retain(|id| found.contains_key(id));
            for (id, (stamp, drift)) in found {
                let stands_still = stamps.insert(id.clone(), stamp) == Some(stamp);
                match drift {
                    _ if !last || !stands_still => {}
                    Drift::Restamped => {
                        self.report.restamped.insert(id);
                    }
                    drift => {
                        self.report.drift.insert(id, drift);
                    }
                }
            }
        }
        Ok(())
    }
}

/// Shorter in a test that cannot wait for ten seconds.
fn pause_of(usual: Duration) -> Duration {
    let usual = u64::try_from(usual.as_millis()).unwrap_or(u64::MAX);
    Duration::from_millis(failpoint::bound("LOOK_MILLIS", usual))
}

/// Waits until the object was polled from now on.
async fn wait_for_poll(
    org: &Org,
    reader: &Reader,
    planned: &Planned,
    longest: Duration,
) -> anyhow::Result<()> {
    let now = org.moment();
    let polled = async {
        loop {
            let known = reader.with(|cache| proofs::known(cache, &[], now))?;
            let proved = known.get(&planned.table.object).and_then(|known| known.proved);
            if proved.is_some_and(|proved| proved.boot >= now.boot - SETTLE_MILLIS) {
                return Ok(());
            }
            sleep(LOOKS[0]).await;
        }
    };
    // Where none comes, what differs is told as it is.
    timeout(longest, polled).await.unwrap_or(Ok(()))
}

/// Waits until the ledger has nothing under way that concerns the object as a whole.
async fn wait_for_repairs(reader: &Reader, planned: &Planned, longest: Duration) -> anyhow::Result<()> {
    let closed = async {
        while reader.with(|connection| repairs::under_way(connection, &planned.table.object))? {
            sleep(LOOKS[0]).await;
        }
        Ok(())
    };
    timeout(longest, closed).await.unwrap_or(Ok(()))
}

type Looked = HashMap<String, (Option<Millis>, Drift)>;

impl Comparison<'_> {
    /// Finds rows that may differ, until they are a piece or nothing is left to compare.
    async fn by_windows(&mut self, stamp: &'static str) -> anyhow::Result<()> {
        while self.suspects.len() < self.piece_rows {
            let Some(window) = self.windows.pop() else { break };
            let here = self.tally(stamp, &window)?;
            let whole = window == Window::default();
            if whole {
                self.report.rows = here.rows;
            }
            // A window of the first division is not counted before it is small enough to be.
            if here.rows > WINDOW_ROWS
                && let Some(middle) = self.middle(stamp, &window, here.rows)?
            {
                self.windows.extend(halves(window, middle));
                continue;
            }
            if here.rows > LISTED_ROWS {
                if here == self.org_tally(stamp, &window).await? {
                    continue;
                }
                if let Some(middle) = self.middle(stamp, &window, here.rows)? {
                    self.windows.extend(halves(window, middle));
                    continue;
                }
            }
            self.list(stamp, &window).await?;
        }
        Ok(())
    }

    fn tally(&self, stamp: &str, window: &Window) -> anyhow::Result<Tally> {
        self.reader
            .with(|connection| compare::tally(connection, &self.planned.table, stamp, window))
    }

    fn middle(&self, stamp: &str, window: &Window, rows: u64) -> anyhow::Result<Option<Millis>> {
        self.reader
            .with(|connection| compare::middle(connection, &self.planned.table, stamp, window, rows))
    }

    async fn org_tally(&mut self, stamp: &str, window: &Window) -> anyhow::Result<Tally> {
        let what = format!("COUNT(Id) n, MAX({stamp}) newest");
        let conditions = conditions(stamp, window);
        let conditions: Vec<&str> = conditions.iter().map(String::as_str).collect();
        let soql = self.planned.query(&what, &conditions);
        self.report.calls += 1;
        let page = self.org.query(&soql, Scope::Live).await?;
        let row = page.records.first();
        let rows = row.and_then(|row| row.get("n")).and_then(Json::as_u64);
        let newest = row.and_then(|row| row.get("newest")).and_then(Json::as_str);
        Ok(Tally {
            rows: rows.context("the org counted rows and did not say how many")?,
            newest: newest.and_then(cells::stamp),
        })
    }

    /// Adds the ids of a window's rows that one side lacks, or that have another stamp.
    async fn list(&mut self, stamp: &str, window: &Window) -> anyhow::Result<()> {
        let here = self
            .reader
            .with(|connection| compare::stamps(connection, &self.planned.table, stamp, window))?;
        let mut here: HashMap<String, Option<Millis>> = here.into_iter().collect();
        let conditions = conditions(stamp, window);
        let conditions: Vec<&str> = conditions.iter().map(String::as_str).collect();
        let soql = self.planned.query(&format!("Id, {stamp}"), &conditions);
        let mut suspects = Vec::new();
        self.each_page(&soql, |row| {
            let Some(id) = row.get("Id").and_then(Json::as_str) else {
                return Ok(());
            };
            let stamp = row.get(stamp).and_then(Json::as_str).and_then(cells::stamp);
            if here.remove(id) != Some(stamp) {
                suspects.push(id.to_owned());
            }
            Ok(())
        })
        .await?;
        self.suspects.extend(suspects);
        self.suspects.extend(here.into_keys());
        Ok(())
    }

    async fn each_page(
        &mut self,
        soql: &str,
        mut take: impl FnMut(&Map<String, Json>) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let mut pages = self.org.pages(soql.to_owned(), Scope::Live);
        while let Some(page) = pages.next().await? {
            self.report.calls += 1;
            page.into_rows().iter().try_for_each(&mut take)?;
        }
        Ok(())
    }

    /// Reads everything, once.
    async fn by_fields(&mut self) -> anyhow::Result<()> {
        if self.windows.pop().is_none() {
            return Ok(());
        }
        let (planned, reader) = (self.planned, self.reader);
        let mut here = reader.with(|connection| compare::ids(connection, &planned.table))?;
        self.report.rows = here.len() as u64;
        let mut suspects = Vec::new();
        self.each_page(&planned.select(&[]), |row| {
            let Some(id) = row.get("Id").and_then(Json::as_str) else {
                return Ok(());
            };
            here.remove(id);
            // It waits in the ledger.
            if unreadable(row).is_some() {
                return Ok(());
            }
            if drift(reader, planned, id, Some(row))?.is_some() {
                suspects.push(id.to_owned());
            }
            Ok(())
        })
        .await?;
        self.suspects.extend(suspects);
        self.suspects.extend(here);
        Ok(())
    }

    /// Those of these rows that differ now, with the org's stamps.
    async fn look_at(&mut self, ids: &HashSet<String>) -> anyhow::Result<Looked> {
        let ids: Vec<String> = ids.iter().cloned().collect();
        let mut found = HashMap::new();
        for ids in ids.chunks(RECORDS_MAX) {
            self.report.calls += 1;
            let records = read_records(self.org, self.planned, ids).await?;
            for (id, record) in ids.iter().zip(&records) {
                if record.as_ref().is_some_and(|record| unreadable(record).is_some()) {
                    continue;
                }
                let stamp = self.stamp.and_then(|stamp| record.as_ref()?.get(stamp)?.as_str());
                if let Some(drift) = drift(self.reader, self.planned, id, record.as_ref())? {
                    found.insert(id.clone(), (stamp.and_then(cells::stamp), drift));
                }
            }
        }
        Ok(found)
    }
}

fn halves(window: Window, middle: Millis) -> [Window; 2] {
    let (from, to) = (window.from, window.to);
    let middle = Some(middle);
    [Window { from, to: middle }, Window { from: middle, to }]
}

fn conditions(stamp: &str, window: &Window) -> Vec<String> {
    let from = window
        .from
        .map(|from| format!("{stamp} >= {}", format_datetime(from)));
    let to = window.to.map(|to| format!("{stamp} < {}", format_datetime(to)));
    from.into_iter().chain(to).collect()
}

/// What is the matter with a row, where anything is. `record` is what the org has.
fn drift(
    reader: &Reader,
    planned: &Planned,
    id: &str,
    record: Option<&Map<String, Json>>,
) -> anyhow::Result<Option<Drift>> {
    let table = &planned.table;
    reader.with(|connection| {
        let Some(record) = record else {
            return Ok(compare::has_row(connection, table, id)?.then_some(Drift::Extra));
        };
        let written = written_of(table, record);
        let values = values_of(table, record, &written);
        Ok(match compare::differences(connection, table, id, &values)? {
            None => Some(Drift::Missing),
            Some(differences) => match differences.as_slice() {
                [] => None,
                [only] if only.field == STAMP => Some(Drift::Restamped),
                _ => {
                    let told = differences
                        .into_iter()
                        .filter(|difference| difference.field != STAMP);
                    Some(Drift::Stale(told.collect()))
                }
            },
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_becomes_conditions_and_halves() {
        let window = Window {
            from: Some(1_795_339_800_000),
            to: None,
        };
        assert_eq!(
            conditions("SystemModstamp", &window),
            ["SystemModstamp >= 2026-11-22T09:30:00.000Z"]
        );
        let [before, after] = halves(window, 1_795_339_801_000);
        assert_eq!((before.from, before.to), (window.from, after.from));
        assert_eq!(after.to, None);
        // A row with the stamp between them is in the later one alone.
        assert_eq!(
            conditions("SystemModstamp", &before),
            [
                "SystemModstamp >= 2026-11-22T09:30:00.000Z",
                "SystemModstamp < 2026-11-22T09:30:01.000Z"
            ]
        );
        assert_eq!(
            conditions("SystemModstamp", &after),
            ["SystemModstamp >= 2026-11-22T09:30:01.000Z"]
        );
        assert_eq!(conditions("S", &Window::default()), [""; 0]);
    }

    #[test]
    fn says_beforehand_what_it_will_cost() {
        let cases = [
            (0, Depth::Windows, 1),
            (10_000, Depth::Windows, 1),
            (10_001, Depth::Windows, 2),
            (10_001, Depth::Fields, 6),
        ];
        for (rows, depth, calls) in cases {
            assert_eq!(calls_expected(rows, depth), calls, "{rows} {depth:?}");
        }
    }
}
