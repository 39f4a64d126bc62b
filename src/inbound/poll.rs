//! Keeping current what publishes no change events, by asking for what changed.
//!
//! Asked for are rows behind a watermark, which is a stamp that was seen (`watermark` says how it moves and how
//! far a poll looks back); deleted rows are asked for too. Rows that are the same change nothing. What is removed from
//! the recycle bin between two polls is found by [`super::compare`].
//!
//! Five objects are asked by one call ([`crate::salesforce::pages`]), as often as the org's API allowance lets. Where the
//! configuration wants more than once a minute, each is asked by itself, and one that is changing more often still. What
//! the org lists the changes of is asked by `rounds` from its first poll on.

mod named;

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use anyhow::Context as _;

use serde_json::{Map, Value};
use tokio::time::{Instant, sleep};

use crate::inbound::Wires;
use crate::inbound::apply::cells;
use crate::inbound::apply::prove::SETTLE_MILLIS;
use crate::inbound::apply::queue::Ended;
use crate::inbound::budget::Limits;
use crate::inbound::command::{Command, Source};
use crate::inbound::mapping::stamp_field;
use crate::inbound::poll::named::Named;
use crate::inbound::prepare::Planned;
use crate::inbound::rounds::Rounds;
use crate::inbound::watermark::{From, Tail};
use crate::model::calls::Purpose;
use crate::model::clock::{Millis, Moment, format_datetime};
use crate::model::schedule::{Candidate, Way, picked};
use crate::model::trouble::Failing;
use crate::salesforce::pages::{Pages, QUERIES_PER_CALL};
use crate::salesforce::rest::Scope;
use crate::salesforce::{Error, Org};
use crate::store::cache::repairs::reason;
use crate::store::cache::{State, objects};
use crate::store::note::POLLS;
use crate::store::storefront::feed;
use crate::telemetry::pulse::Pulse;

/// Between two looks at what is due.
const LOOK: Duration = Duration::from_millis(250);

/// Longest time for one call, however many rows changed.
const POLL_MAX: Duration = Duration::from_secs(1_800);

/// The org's objects are described again for polls that are refused at most so often.
const RINGS: Duration = Duration::from_secs(600);

/// After the org refused several queries in one call.
const ALONE_MILLIS: Millis = 3_600_000;

/// Ids handed to the ledger at a time.
const IDS_MAX: usize = 2_000;

/// Keeps every object current that is not streamed, and asks the org's lists of those that are.
pub async fn run(wires: Wires, limits: Limits) -> anyhow::Result<()> {
    let org = wires.org.for_purpose(Purpose::Polls);
    let mut stage = Stage {
        wires: &wires,
        org: &org,
        limits: &limits,
        polled: HashMap::new(),
        tails: HashMap::new(),
        named: HashMap::new(),
        told: HashSet::new(),
        rounds: Rounds::default(),
        rang: None,
        alone_until: 0,
    };
    tokio::select! {
        () = wires.stop.cancelled() => Ok(()),
        result = stage.keep_going() => match result {
            Err(error) if error.is::<Ended>() => Ok(()),
            result => result,
        },
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
    org: &'a Org,
    limits: &'a Limits,
    /// When each object was last asked for changes, by the machine's clock, and whether it was changing then. When it is
    /// due again depends on the limits as they are at each look. A machine that was suspended asks at once.
    polled: HashMap<String, (Millis, bool)>,
    /// The stamps that were seen of each.
    tails: HashMap<String, Tail>,
    /// Of objects that are mirrored in part: what the last poll of each named.
    named: HashMap<String, Named>,
    /// Objects that were said not to be kept current.
    told: HashSet<String>,
    rounds: Rounds,
    /// When the org's objects were last asked to be described again.
    rang: Option<Instant>,
    /// The org refuses several queries in one call; they are tried again then, by the machine's clock.
    alone_until: Millis,
}

/// What an object is asked.
struct Question<'p> {
    planned: &'p Planned,
    stamp: &'static str,
    watermark: Millis,
    from: From,
    soql: String,
}

impl<'a> Stage<'a> {
    async fn keep_going(&mut self) -> anyhow::Result<()> {
        let pulse = Pulse::new("poll");
        let mut written = None;
        loop {
            let planned = self.wires.planned();
            self.rounds.plan(self.wires, self.limits, &planned);
            let due = self.due(&planned);
            for planned in due.chunks(QUERIES_PER_CALL) {
                pulse.quiet_for(POLL_MAX);
                crate::failpoint::stand("poll").await;
                self.poll(planned).await?;
            }
            pulse.quiet_for(POLL_MAX);
            self.rounds.run(self.wires, self.limits).await?;
            if let Some(error) = self.rounds.failed.take() {
                self.ring_where_schemas_differ(&error);
            }
            let polls = self.limits.polls();
            if written != Some(polls) {
                POLLS
                    .write(self.wires.reader.dir(), &polls)
                    .context("how objects are polled cannot be written: check the space left on the disk")?;
                written = Some(polls);
            }
            pulse.rests_for(LOOK);
            sleep(LOOK).await;
        }
    }

    /// A field or an object that the org does not know any more: it has to be described again.
    fn ring_where_schemas_differ(&mut self, error: &anyhow::Error) {
        let code = error.downcast_ref::<Error>().and_then(Error::api_code);
        let differs = matches!(code, Some("INVALID_FIELD" | "INVALID_TYPE"));
        if differs && self.rang.is_none_or(|at| at.elapsed() >= RINGS) {
            self.rang = Some(Instant::now());
            self.wires.bells.schemas.send_modify(|rung| *rung += 1);
        }
    }

    /// Objects to ask by queries now: those that are due, and those that ride with them.
    fn due<'p>(&mut self, planned: &'p [Planned]) -> Vec<(&'p Planned, &'static str)> {
        let (now, usage) = (self.wires.clock.moment().boot, self.wires.org.api_usage());
        let is_planned = self.limits.polls().plan.is_some();
        let (mut polled, mut candidates) = (Vec::new(), Vec::new());
        for planned in planned {
            let object = &planned.table.object;
            if self.rounds.keeps(object) {
                // Due at once where the org's lists end.
                self.polled.remove(object);
                continue;
            }
            if planned.streamed {
                continue;
            }
            let Some(stamp) = stamp_field(&planned.table) else {
                if self.told.insert(object.clone()) {
                    tracing::warn!(%object, "{object} is not kept current: it has no change events and no stamp");
                }
                continue;
            };
            let last = self.polled.get(object);
            let is_changing = last.is_some_and(|(_, changing)| *changing);
            let candidate = Candidate {
                waited: last.map(|(at, _)| now - at),
                interval: self.limits.interval(usage, feed::urgency(object), is_changing),
            };
            if is_planned || candidate.is_due() {
                candidates.push(candidate);
                polled.push((planned, stamp));
            }
        }
        let picked = picked(Way::Queries, &candidates).into_iter();
        picked.map(|index| polled[index]).collect()
    }

    /// Asks a few objects for their changes, by one call.
    async fn poll(&mut self, objects: &[(&Planned, &'static str)]) -> anyhow::Result<()> {
        let (wires, limits) = (self.wires, self.limits);
        let (asked, org_time) = (wires.clock.moment(), wires.org.org_time_at_least());
        // What is applied from now on is newer than the first pages.
        let read_rev = *wires.bells.rev.borrow();
        let mut questions = Vec::with_capacity(objects.len());
        for (planned, stamp) in objects {
            // A failed poll is due again after as long as a quiet one.
            let object = planned.table.object.clone();
            self.polled.insert(object, (asked.boot, false));
            match self.question(planned, stamp, asked.boot) {
                Ok(Some(question)) => questions.push(question),
                // Due as soon as it is loaded: only then is it complete.
                Ok(None) => drop(self.polled.remove(&planned.table.object)),
                Err(error) => self.tell(planned, Err(error))?,
            }
        }
        let (begun, failed) = self.begin_all(questions, asked.boot).await;
        let mut is_away = false;
        for (question, pages) in begun {
            let taken = match (pages, &failed) {
                // Nor does the org answer a query alone.
                (_, Some(error)) if is_away => Err(anyhow::anyhow!("{error}")),
                (Ok(pages), _) => self.take(&question, pages, asked, read_rev).await,
                (Err(error), _) => Err(error.into()),
            };
            is_away |= taken.is_err();
            if taken.is_ok() {
                let object = &question.planned.table.object;
                self.rounds.take_up(object, wires, limits, org_time);
            }
            self.tell(question.planned, taken)?;
        }
        Ok(())
    }

    /// Begins the query of each: by one call where there are several, by a call each where that fails. Why it failed, where
    /// a query alone may fail for the same.
    async fn begin_all<'p>(
        &mut self,
        questions: Vec<Question<'p>>,
        now: Millis,
    ) -> (Vec<(Question<'p>, Result<Pages<'a>, Error>)>, Option<Error>) {
        let (org, mut failed) = (self.org, None);
        // Where objects are asked as often as is configured, one answer does not wait for four others.
        let is_planned = self.limits.polls().plan.is_some();
        if questions.len() > 1 && is_planned && now >= self.alone_until {
            let soqls: Vec<String> = questions.iter().map(|question| question.soql.clone()).collect();
            match org.pages_of_each(&soqls, Scope::WithDeleted).await {
                Ok(begun) => return (questions.into_iter().zip(begun).collect(), None),
                Err(error) if error.is_hidden() => {
                    tracing::warn!(
                        "the org refuses several queries in one call ({error}): each object costs a call; it is tried again in an hour"
                    );
                    self.alone_until = now + ALONE_MILLIS;
                }
                Err(Error::Unreadable { .. }) => {}
                Err(error) => failed = Some(error),
            }
        }
        let alone = questions.into_iter().map(|question| {
            let pages = org.pages(question.soql.clone(), Scope::WithDeleted);
            (question, Ok(pages))
        });
        (alone.collect(), failed)
    }

    /// What became of a poll.
    fn tell(&mut self, planned: &Planned, result: anyhow::Result<()>) -> anyhow::Result<()> {
        match result {
            Err(error) if error.is::<Ended>() => return Err(error),
            Err(error) => {
                failed(self.wires, planned, Some(&error));
                self.ring_where_schemas_differ(&error);
            }
            Ok(()) => failed(self.wires, planned, None),
        }
        Ok(())
    }

    /// What to ask an object; `None` where it is to be read as a whole first.
    fn question<'p>(
        &mut self,
        planned: &'p Planned,
        stamp: &'static str,
        now: Millis,
    ) -> anyhow::Result<Option<Question<'p>>> {
        let object = &planned.table.object;
        let state = self
            .wires
            .reader
            .with(|connection| objects::object(connection, object))?;
        let Some(stored) = state
            .filter(|state| state.state == State::Live)
            .and_then(|state| state.watermark)
        else {
            self.tails.remove(object);
            return Ok(None);
        };
        let watermark = match self.tails.contains_key(object) {
            true => stored,
            false => self.begin(planned, stamp, stored, now)?,
        };
        let tail = self.tails.entry(object.clone()).or_default();
        let from = tail.from(watermark, now);
        let condition = match from {
            From::After(settled) => format!("{stamp} > {}", format_datetime(settled)),
            From::Back(since) => format!("{stamp} >= {}", format_datetime(since)),
        };
        Ok(Some(Question {
            planned,
            stamp,
            watermark,
            from,
            soql: changes(planned, stamp, &condition),
        }))
    }

    /// Brings what a query answers into the cache, and what that proves.
    async fn take(
        &mut self,
        question: &Question<'_>,
        pages: Pages<'_>,
        asked: Moment,
        read_rev: i64,
    ) -> anyhow::Result<()> {
        let (wires, planned) = (self.wires, question.planned);
        let object = &planned.table.object;
        let asked_at = (question.stamp, asked.boot, read_rev);
        let named = self.named.entry(object.clone()).or_default();
        let brought = bring(wires, planned, asked_at, (pages, named), |read_rev| {
            Source::Poll {
                read_rev,
                watermark: None,
                proved: None,
            }
        })
        .await?;
        let tail = self.tails.entry(object.clone()).or_default();
        let (watermark, is_changing) = tail.brought(
            question.from,
            question.watermark,
            brought.newest,
            brought.rows,
            asked.boot,
        );
        let source = Source::Poll {
            read_rev: *wires.bells.rev.borrow(),
            watermark: Some(watermark),
            proved: Some(asked.before(SETTLE_MILLIS)),
        };
        wires
            .apply
            .write(Command::rows(object.clone(), source, Vec::new()))
            .await?
            .map_err(anyhow::Error::msg)?;
        self.polled.insert(object.clone(), (asked.boot, is_changing));
        Ok(())
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

/// Brings the rows that meet a condition on their stamps into the cache, deleted ones among them.
pub(super) async fn changed_since(
    wires: &Wires,
    planned: &Planned,
    stamp: &'static str,
    condition: &str,
    source: impl Fn(i64) -> Source,
) -> anyhow::Result<Brought> {
    let pages = wires
        .org
        .pages(changes(planned, stamp, condition), Scope::WithDeleted);
    let (asked, read_rev) = (wires.clock.moment().boot, *wires.bells.rev.borrow());
    let named = &mut Named::default();
    bring(wires, planned, (stamp, asked, read_rev), (pages, named), source).await
}

/// The query for rows that meet a condition on their stamps. Of an object that is mirrored in part, it names those that
/// may have left its part too.
fn changes(planned: &Planned, stamp: &str, condition: &str) -> String {
    let whole = Planned {
        filter: None,
        ..planned.clone()
    };
    let what = match planned.filter {
        Some(_) => format!("Id, {stamp}"),
        None => planned.fields().join(", "),
    };
    format!("{} ORDER BY {stamp}, Id", whole.query(&what, &[condition]))
}

/// Sends the rows of [`changes`] through the door; the first page was asked for at that time and revision. Of an object
/// that is mirrored in part, the ledger is told which records to read.
async fn bring(
    wires: &Wires,
    planned: &Planned,
    (stamp, asked, mut read_rev): (&'static str, Millis, i64),
    (mut pages, named): (Pages<'_>, &mut Named),
    source: impl Fn(i64) -> Source,
) -> anyhow::Result<Brought> {
    named.begin();
    let object = &planned.table.object;
    let mut brought = Brought::default();
    while let Some(page) = pages.next().await? {
        let rows = page.into_rows();
        brought.rows += rows.len() as u64;
        brought.newest = brought
            .newest
            .max(rows.iter().filter_map(|row| at(row, stamp)).max());
        let stamps = rows.iter().filter_map(|row| at(row, stamp));
        stamps.for_each(|stamp| wires.org.saw_stamp(stamp));
        if planned.filter.is_some() {
            let now = wires.clock.moment().boot;
            let text = |row: &Map<String, Value>, field: &str| Some(row.get(field)?.as_str()?.to_owned());
            let ids = rows.iter().filter_map(|row| {
                let (id, at) = (text(row, "Id")?, text(row, stamp).unwrap_or_default());
                named.name(&id, &at, asked, now).then_some(id)
            });
            read_again(wires, object, &ids.collect::<Vec<_>>()).await?;
        } else if !rows.is_empty() {
            wires
                .apply
                .write(Command::rows(object.clone(), source(read_rev), rows))
                .await?
                .map_err(anyhow::Error::msg)?;
        }
        read_rev = *wires.bells.rev.borrow();
    }
    Ok(brought)
}

async fn read_again(wires: &Wires, object: &str, ids: &[String]) -> anyhow::Result<()> {
    for ids in ids.chunks(IDS_MAX) {
        wires
            .apply
            .apply(Command::ReadAgain {
                object: object.to_owned(),
                ids: ids.to_vec(),
                reason: reason::IN_PART.into(),
            })
            .await?;
    }
    Ok(())
}

fn at(row: &Map<String, Value>, stamp: &str) -> Option<Millis> {
    row.get(stamp).and_then(Value::as_str).and_then(cells::stamp)
}
