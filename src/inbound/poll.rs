//! Keeping current what publishes no change events, by asking for what changed.
//!
//! Asked for are rows behind a watermark, which is a stamp that was seen (`watermark` says how it moves and how
//! far a poll looks back); deleted rows are asked for too. Rows that are the same change nothing. What is removed from the recycle bin between two polls is found
//! by [`super::compare`]. An object that is changing is asked more often, all of them less often when the org's
//! API allowance runs out.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use anyhow::Context as _;

use serde_json::{Map, Value};
use tokio::time::{Instant, sleep};

use crate::inbound::Wires;
use crate::inbound::apply::Work;
use crate::inbound::apply::cells;
use crate::inbound::apply::prove::SETTLE_MILLIS;
use crate::inbound::apply::work::{Ended, Source, ask};
use crate::inbound::budget::Limits;
use crate::inbound::mapping::stamp_field;
use crate::inbound::prepare::Planned;
use crate::inbound::rounds::Rounds;
use crate::inbound::watermark::{From, Tail};
use crate::model::clock::{Millis, format_datetime};
use crate::model::trouble::Failing;
use crate::salesforce::Error;
use crate::salesforce::rest::Scope;
use crate::store::cache::repairs::reason;
use crate::store::cache::{State, objects};
use crate::store::polls;
use crate::telemetry::pulse::Pulse;

/// Between two looks at what is due.
const LOOK: Duration = Duration::from_millis(250);

/// Longest time for one object, however many of its rows changed.
const POLL_MAX: Duration = Duration::from_secs(1_800);

/// The org's objects are described again for polls that are refused at most so often.
const RINGS: Duration = Duration::from_secs(600);

/// Ids handed to the ledger at a time.
const IDS_MAX: usize = 2_000;

/// Polls every object that is not streamed, at least as often as the limits say.
pub async fn run(wires: Wires, limits: Limits) -> anyhow::Result<()> {
    let mut stage = Stage {
        wires: &wires,
        polled: HashMap::new(),
        tails: HashMap::new(),
        told: HashSet::new(),
        rounds: Rounds::default(),
        rang: None,
    };
    let pulse = Pulse::new("poll");
    let mut written = None;
    let keep_going = async {
        loop {
            for planned in &*wires.planned() {
                pulse.quiet_for(POLL_MAX);
                crate::failpoint::stand("poll").await;
                match stage.poll_where_due(planned, &limits).await {
                    Ok(Some(())) => failed(&wires, planned, None),
                    Ok(None) => {}
                    Err(error) if error.is::<Ended>() => return Ok(()),
                    Err(error) => {
                        failed(&wires, planned, Some(&error));
                        stage.ring_where_schemas_differ(&error);
                    }
                }
            }
            pulse.quiet_for(POLL_MAX);
            match stage.rounds.run(&wires, &limits).await {
                Err(error) if error.is::<Ended>() => return Ok(()),
                result => result?,
            }
            if let Some(error) = stage.rounds.failed.take() {
                stage.ring_where_schemas_differ(&error);
            }
            let polls = limits.polls();
            if written != Some(polls) {
                polls::write(wires.reader.dir(), &polls)
                    .context("how objects are polled cannot be written: check the space left on the disk")?;
                written = Some(polls);
            }
            pulse.rests_for(LOOK);
            sleep(LOOK).await;
        }
    };
    tokio::select! {
        () = wires.stop.cancelled() => Ok(()),
        result = keep_going => result,
    }
}

/// What became of the last poll of an object: told where it is another than before.
pub(super) fn failed(wires: &Wires, planned: &Planned, error: Option<&anyhow::Error>) {
    let object = &planned.table.object;
    let failing = error.map(|error| Failing {
        cause: format!("{object} could not be polled: {error:#}"),
        is_lasting: error.downcast_ref::<Error>().is_some_and(Error::is_hidden),
    });
    wires.bells.failing.send_if_modified(|all| {
        if all.get(object) == failing.as_ref() {
            return false;
        }
        match failing {
            Some(failing) => {
                tracing::warn!(%object, "{}; it is tried again", failing.cause);
                all.insert(object.clone(), failing);
            }
            None => drop(all.remove(object)),
        }
        true
    });
}

struct Stage<'a> {
    wires: &'a Wires,
    /// When each object was last asked for changes, by the machine's clock, and whether it was changing then. When it is
    /// due again depends on the limits as they are at each look. A machine that was suspended asks at once.
    polled: HashMap<String, (Millis, bool)>,
    /// The stamps that were seen of each.
    tails: HashMap<String, Tail>,
    /// Objects that were said not to be kept current.
    told: HashSet<String>,
    rounds: Rounds,
    /// When the org's objects were last asked to be described again.
    rang: Option<Instant>,
}

impl Stage<'_> {
    /// A field or an object that the org does not know any more: it has to be described again.
    fn ring_where_schemas_differ(&mut self, error: &anyhow::Error) {
        let code = error.downcast_ref::<Error>().and_then(Error::api_code);
        let differs = matches!(code, Some("INVALID_FIELD" | "INVALID_TYPE"));
        if differs && self.rang.is_none_or(|at| at.elapsed() >= RINGS) {
            self.rang = Some(Instant::now());
            self.wires.bells.schemas.send_modify(|rung| *rung += 1);
        }
    }

    /// `None` where it is not due.
    async fn poll_where_due(&mut self, planned: &Planned, limits: &Limits) -> anyhow::Result<Option<()>> {
        let object = &planned.table.object;
        let now = self.wires.clock.moment().boot;
        let is_early = |(at, changing): &(Millis, bool)| {
            let usage = self.wires.org.api_usage();
            let interval = limits.budget().poll_interval(usage, limits.poll(), *changing);
            u128::from((now - at).unsigned_abs()) < interval.as_millis()
        };
        if self.rounds.keeps(object, limits) {
            // Due at once where the org's lists end.
            self.polled.remove(object);
            return Ok(None);
        }
        if planned.streamed || self.polled.get(object).is_some_and(is_early) {
            return Ok(None);
        }
        let Some(stamp) = stamp_field(&planned.table) else {
            if self.told.insert(object.clone()) {
                tracing::warn!(%object, "{object} is not kept current: it has no change events and no stamp");
            }
            return Ok(None);
        };
        // A failed poll is due again after as long as a quiet one.
        self.polled.insert(object.clone(), (now, false));
        match self.poll(planned, stamp).await? {
            Some(changing) => self.polled.insert(object.clone(), (now, changing)),
            // Due as soon as it is loaded: only then is it complete.
            None => self.polled.remove(object),
        };
        Ok(Some(()))
    }

    /// Whether anything had changed since the last poll; `None` where the object is to be read as a whole first.
    async fn poll(&mut self, planned: &Planned, stamp: &'static str) -> anyhow::Result<Option<bool>> {
        let (wires, object) = (self.wires, &planned.table.object);
        let state = wires
            .reader
            .with(|connection| objects::object(connection, object))?;
        let Some(stored) = state
            .filter(|state| state.state == State::Live)
            .and_then(|state| state.watermark)
        else {
            self.tails.remove(object);
            return Ok(None);
        };
        let (asked, org_time) = (wires.clock.moment(), wires.org.org_time_at_least());
        let watermark = match self.tails.contains_key(object) {
            true => stored,
            false => self.begin(planned, stamp, stored, asked.boot)?,
        };
        let tail = self.tails.entry(object.clone()).or_default();
        let from = tail.from(watermark, asked.boot);
        let condition = match from {
            From::After(settled) => format!("{stamp} > {}", format_datetime(settled)),
            From::Back(since) => format!("{stamp} >= {}", format_datetime(since)),
        };
        let brought = changed_since(wires, planned, stamp, &condition, |read_rev| Source::Poll {
            read_rev,
            watermark: None,
            proved: None,
        })
        .await?;
        let (watermark, is_changing) =
            tail.brought(from, watermark, brought.newest, brought.rows, asked.boot);
        let source = Source::Poll {
            read_rev: *wires.bells.rev.borrow(),
            watermark: Some(watermark),
            proved: Some(asked.before(SETTLE_MILLIS)),
        };
        ask(&wires.work, |done| Work::Rows {
            object: object.clone(),
            source,
            rows: Vec::new(),
            done,
        })
        .await?
        .map_err(anyhow::Error::msg)?;
        self.rounds.take_up(object, org_time);
        Ok(Some(is_changing))
    }

    /// The watermark that a process begins with. One that is later than any row that is here was no stamp.
    fn begin(
        &mut self,
        planned: &Planned,
        stamp: &'static str,
        stored: Millis,
        asked: Millis,
    ) -> anyhow::Result<Millis> {
        let object = &planned.table.object;
        let newest = self
            .wires
            .reader
            .with(|cache| objects::newest_stamp(cache, &planned.table, stamp))?;
        let watermark = stored.min(newest.unwrap_or(0));
        self.tails.insert(object.clone(), Tail::new(watermark, asked));
        Ok(watermark)
    }
}

/// What asking for changes brought.
#[derive(Debug, Default)]
pub(super) struct Brought {
    pub rows: u64,
    pub newest: Option<Millis>,
}

/// Sends the rows that meet a condition on their stamps through the door, deleted ones among them. Of an object that is
/// mirrored in part, the ledger is told which records to read: only that tells what left its part.
pub(super) async fn changed_since(
    wires: &Wires,
    planned: &Planned,
    stamp: &'static str,
    condition: &str,
    source: impl Fn(i64) -> Source,
) -> anyhow::Result<Brought> {
    let whole = Planned {
        filter: None,
        ..planned.clone()
    };
    let what = match planned.filter {
        Some(_) => format!("Id, {stamp}"),
        None => planned.fields().join(", "),
    };
    let soql = format!("{} ORDER BY {stamp}, Id", whole.query(&what, &[condition]));
    let object = &planned.table.object;
    let mut brought = Brought::default();
    let mut read_rev = *wires.bells.rev.borrow();
    let mut pages = wires.org.pages(soql, Scope::WithDeleted);
    while let Some(page) = pages.next().await? {
        let rows = page.into_rows();
        brought.rows += rows.len() as u64;
        brought.newest = brought
            .newest
            .max(rows.iter().filter_map(|row| at(row, stamp)).max());
        if planned.filter.is_some() {
            read_again(wires, object, &rows).await?;
        } else if !rows.is_empty() {
            ask(&wires.work, |done| Work::Rows {
                object: object.clone(),
                source: source(read_rev),
                rows,
                done,
            })
            .await?
            .map_err(anyhow::Error::msg)?;
        }
        read_rev = *wires.bells.rev.borrow();
    }
    Ok(brought)
}

async fn read_again(wires: &Wires, object: &str, rows: &[Map<String, Value>]) -> anyhow::Result<()> {
    let ids = rows.iter().filter_map(|row| row.get("Id")?.as_str());
    let ids: Vec<String> = ids.map(str::to_owned).collect();
    for ids in ids.chunks(IDS_MAX) {
        ask(&wires.work, |done| Work::ReadAgain {
            object: object.to_owned(),
            ids: ids.to_vec(),
            reason: reason::IN_PART.into(),
            done,
        })
        .await?;
    }
    Ok(())
}

fn at(row: &Map<String, Value>, stamp: &str) -> Option<Millis> {
    row.get(stamp).and_then(Value::as_str).and_then(cells::stamp)
}
