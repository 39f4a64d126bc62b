//! Keeping current what publishes no change events by the org's own lists of what changed: once a minute at most, many
//! objects in one call (`salesforce::changed`).
//!
//! An object is taken up after a poll has brought what was new: from then on each list begins where the one before it was
//! complete, so a transaction that takes long is waited for by the org itself, and nothing has to be looked back at.
//! Objects that have change events are asked as well: a list without records proves that the stream has missed nothing,
//! and one with records that the cache does not have tells a stream that is open and silent. What a call has room for is
//! filled with objects that are due later.
//!
//! Promises that an object is proved only as far as its lists are complete and their records are in the cache. An org
//! that refuses the lists, and an object of which it has none, are polled by stamps.

mod read;

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use tokio::time::Instant;

use crate::inbound::Wires;
use crate::inbound::apply::Work;
use crate::inbound::apply::work::{Ended, ask};
use crate::inbound::budget::Limits;
use crate::inbound::poll::failed;
use crate::inbound::prepare::Planned;
use crate::model::clock::{Millis, Moment};
use crate::model::schedule::{Counts, Intervals, PARTS_PER_CALL};
use crate::salesforce::changed::{Lists, Span, whole_minute};
use crate::salesforce::{ApiError, Error};
use crate::store::cache::{State, objects};
use crate::store::storefront::feed;

/// The org's lists are of whole minutes; asked for more often, objects are polled by stamps.
const INTERVAL_MIN: Duration = Duration::from_secs(60);

/// Up to so long ago lists are believed: rows may be visible later than their stamps say.
const SETTLE_MILLIS: Millis = 10_000;

/// Lists are asked for to the end of the minute that is under way, and of the next one where the org's clock is ahead. A
/// record has one stamp: of one that changed again since an earlier end, a list up to there would say nothing.
const AHEAD_MILLIS: Millis = 120_000;

/// The first list of an object begins so long before the poll that it follows: no transaction lasts longer.
const TRANSACTION_MILLIS: Millis = 20 * 60_000;

/// How far what is known of the org's clock may be off: its answers take their time.
const CLOCK_OFF_MILLIS: Millis = 5_000;

/// The org's clock went back by more than this: its lists would not be about what was asked.
const CLOCK_BACK_MILLIS: Millis = 90_000;

/// After a round that failed.
const RETRY: Duration = Duration::from_secs(15);

/// After the org refused the lists as such.
const REFUSED_FOR: Duration = Duration::from_secs(3_600);

/// Records handed to the ledger at a time.
const IDS_MAX: usize = 2_000;

/// Records of an object with change events are compared at most so often: its events prove it meanwhile.
const COMPARED_MILLIS: Millis = 300_000;

/// Why a record is read again that a list names and no event brought.
const NOT_TOLD: &str = "the org lists a change that no event told";

/// What is known of the lists of each object.
#[derive(Default)]
pub(super) struct Rounds {
    kept: HashMap<String, Kept>,
    /// Objects of which the org has no lists.
    without: HashSet<String>,
    /// The minute of the last round.
    asked_in: Option<Millis>,
    not_before: Option<Instant>,
    /// Why the last round failed, as it was told.
    told: Option<String>,
    /// Why the records of an object could not be read.
    pub(super) failed: Option<anyhow::Error>,
}

struct Kept {
    /// All that was committed before is in the cache, by the org's clock.
    covered: Millis,
    /// The minute in which it was last asked.
    asked_in: Millis,
    streamed: bool,
    /// By the machine's clock: when its records were last compared, where it has change events.
    compared: Option<Millis>,
}

/// An object that may be asked.
#[derive(Clone, Copy, Debug)]
struct Candidate {
    /// The minute in which it was last asked.
    asked_in: Millis,
    interval: Millis,
}

impl Rounds {
    /// Whether an object's changes come by lists.
    pub(super) fn keeps(&self, object: &str, limits: &Limits) -> bool {
        self.are_on(limits) && self.kept.get(object).is_some_and(|kept| !kept.streamed)
    }

    fn are_on(&self, limits: &Limits) -> bool {
        limits.poll() >= INTERVAL_MIN && self.not_before.is_none_or(|at| Instant::now() + RETRY >= at)
    }

    /// An object was polled by stamps, which was asked for at that time of the org.
    pub(super) fn take_up(&mut self, object: &str, org_time: Millis) {
        if !self.without.contains(object) {
            let kept = Kept {
                covered: whole_minute(org_time - TRANSACTION_MILLIS),
                asked_in: whole_minute(org_time - TRANSACTION_MILLIS),
                streamed: false,
                compared: None,
            };
            self.kept.insert(object.to_owned(), kept);
        }
    }

    /// Asks for what is due.
    pub(super) async fn run(&mut self, wires: &Wires, limits: &Limits) -> anyhow::Result<()> {
        if limits.poll() < INTERVAL_MIN {
            self.kept.clear();
            limits.follow(None);
            return Ok(());
        }
        if self.not_before.is_some_and(|at| Instant::now() < at) {
            if self.kept.is_empty() {
                limits.follow(None);
            }
            return Ok(());
        }
        let asked = wires.clock.moment();
        // The earlier estimate for what is asked, the later one for how old that is.
        let (at_least, org_time) = (wires.org.org_time_at_least(), wires.org.org_time());
        let minute = whole_minute(at_least - SETTLE_MILLIS);
        if self.asked_in == Some(minute) {
            return Ok(());
        }
        let planned = wires.planned();
        self.look_around(wires, &planned, org_time)?;
        let names: Vec<&Planned> = planned
            .iter()
            .filter(|planned| self.kept.contains_key(&planned.table.object))
            .collect();
        let intervals = plan(wires, limits, &names);
        let candidates: Vec<Candidate> = names
            .iter()
            .map(|planned| Candidate {
                asked_in: self.kept[&planned.table.object].asked_in,
                interval: intervals.of(feed::urgency(&planned.table.object)),
            })
            .collect();
        self.asked_in = Some(minute);
        let picked = picked(&candidates, minute);
        let spans: Vec<Span> = picked
            .iter()
            .map(|index| Span {
                object: names[*index].table.object.clone(),
                start: self.kept[&names[*index].table.object].covered,
                end: whole_minute(at_least) + AHEAD_MILLIS,
            })
            .collect();
        if !spans.is_empty() {
            let all: Vec<&Planned> = picked.iter().map(|index| names[*index]).collect();
            let until = at_least - SETTLE_MILLIS;
            return self.ask_for(wires, &all, &spans, (asked, org_time, until)).await;
        }
        Ok(())
    }

    /// Takes up what has change events, and lets go of what has to be read as a whole first.
    fn look_around(&mut self, wires: &Wires, planned: &[Planned], org_time: Millis) -> anyhow::Result<()> {
        for planned in planned {
            let object = &planned.table.object;
            let state = wires
                .reader
                .with(|connection| objects::object(connection, object))?;
            let is_live = state.is_some_and(|state| state.state == State::Live);
            let fits = self.kept.get(object).is_some_and(|kept| {
                kept.streamed == planned.streamed && kept.covered <= org_time + CLOCK_BACK_MILLIS
            });
            if !is_live || !fits {
                self.kept.remove(object);
            }
            if is_live && planned.streamed && !fits && !self.without.contains(object) {
                self.take_up(object, org_time);
                if let Some(kept) = self.kept.get_mut(object) {
                    kept.streamed = true;
                }
            }
        }
        self.kept
            .retain(|object, _| planned.iter().any(|planned| planned.table.object == *object));
        Ok(())
    }

    async fn ask_for(
        &mut self,
        wires: &Wires,
        planned: &[&Planned],
        spans: &[Span],
        (asked, org_time, until): (Moment, Millis, Millis),
    ) -> anyhow::Result<()> {
        let listed = match wires.org.changed(spans).await {
            Ok(listed) => listed,
            Err(error) => {
                if let Some(refusal) = refuses_lists(&error) {
                    self.turn_off(&format!("{}: {}", refusal.code, refusal.message));
                } else {
                    self.try_again(&error);
                }
                return Ok(());
            }
        };
        if let [Err(first), others @ ..] = listed.as_slice()
            && others.iter().all(Result::is_err)
            && spans.len() > 1
        {
            self.turn_off(first);
            return Ok(());
        }
        self.told = None;
        for ((planned, span), lists) in planned.iter().zip(spans).zip(listed) {
            let object = &planned.table.object;
            match lists {
                Ok(mut lists) => {
                    lists.covered = lists.covered.min(until);
                    let proved = asked.before(org_time - lists.covered + CLOCK_OFF_MILLIS);
                    if let Err(error) = self.take(wires, planned, span, lists, proved).await {
                        if error.is::<Ended>() {
                            return Err(error);
                        }
                        failed(wires, planned, Some(&error));
                        self.failed.get_or_insert(error);
                    } else {
                        failed(wires, planned, None);
                    }
                }
                Err(error) => {
                    tracing::info!(%object, "{object} is polled by its stamps: {error}");
                    self.kept.remove(object);
                    self.without.insert(object.clone());
                }
            }
        }
        Ok(())
    }

    /// The round comes again soon; why is told where it is another reason than the last time.
    fn try_again(&mut self, error: &Error) {
        self.not_before = Some(Instant::now() + RETRY);
        self.asked_in = None;
        let error = error.to_string();
        if self.told.as_ref() != Some(&error) {
            tracing::warn!("the org could not be asked what changed ({error}): it is tried again");
            self.told = Some(error);
        }
    }

    /// From now on everything is polled by stamps, until it is time to try again.
    fn turn_off(&mut self, why: &str) {
        tracing::warn!(
            "the org does not list what changed ({why}): objects are polled one by one, which costs many more API calls; the lists are tried again in an hour"
        );
        self.kept.clear();
        self.not_before = Some(Instant::now() + REFUSED_FOR);
    }

    async fn take(
        &mut self,
        wires: &Wires,
        planned: &Planned,
        span: &Span,
        lists: Lists,
        proved: Moment,
    ) -> anyhow::Result<()> {
        let object = &planned.table.object;
        let covered = lists.covered.max(span.start);
        let is_quiet = lists.updated.is_empty() && lists.deleted.is_empty();
        let newest = if planned.streamed && !is_quiet {
            if !self.is_missing_nothing(wires, planned, span, &lists).await? {
                return Ok(());
            }
            None
        } else {
            read::read(wires, planned, span, lists).await?
        };
        read::prove(wires, planned, newest.filter(|newest| *newest <= covered), proved).await?;
        if let Some(kept) = self.kept.get_mut(object) {
            kept.covered = covered;
            kept.asked_in = whole_minute(covered);
        }
        Ok(())
    }

    /// Whether an object with change events has the records that the org lists. Where it has not at two looks, the records
    /// are read again.
    async fn is_missing_nothing(
        &mut self,
        wires: &Wires,
        planned: &Planned,
        span: &Span,
        lists: &Lists,
    ) -> anyhow::Result<bool> {
        let (object, now) = (&planned.table.object, wires.clock.moment().boot);
        let Some(kept) = self.kept.get_mut(object) else {
            return Ok(false);
        };
        let looks_again = kept.compared.is_some();
        if kept.compared.is_some_and(|at| now - at < COMPARED_MILLIS) {
            return Ok(false);
        }
        kept.compared = Some(now);
        let missing = read::missing(wires, planned, span, lists).await?;
        if missing.is_empty() {
            return Ok(true);
        }
        if looks_again {
            tracing::warn!(%object, records = missing.len(), "{} changes of {object} were told by no event: the records are read again", missing.len());
            for ids in missing.chunks(IDS_MAX) {
                ask(&wires.work, |done| Work::ReadAgain {
                    object: object.clone(),
                    ids: ids.to_vec(),
                    reason: NOT_TOLD.into(),
                    done,
                })
                .await?;
            }
        }
        Ok(false)
    }
}

/// How often each kind of object is asked, by what the org allows; as configured before it has told.
fn plan(wires: &Wires, limits: &Limits, objects: &[&Planned]) -> Intervals {
    let mut counts = Counts::default();
    for planned in objects {
        counts.0[feed::urgency(&planned.table.object) as usize] += 1;
    }
    let usage = wires.org.api_usage();
    if let Some(usage) = usage {
        limits.follow(Some(limits.plan(usage.limit, counts)));
    }
    let slower = limits.budget().slower(usage);
    Intervals::new(
        limits
            .polls()
            .intervals
            .seconds()
            .map(|seconds| seconds * 1_000 * slower),
    )
}

/// Those that are due, the oldest first, and what fits into their calls besides.
fn picked(candidates: &[Candidate], minute: Millis) -> Vec<usize> {
    let is_due = |candidate: &Candidate| minute - candidate.asked_in >= candidate.interval;
    let due = candidates.iter().filter(|candidate| is_due(candidate)).count() as u64;
    let calls = (2 * due).div_ceil(PARTS_PER_CALL);
    let room = usize::try_from(calls * PARTS_PER_CALL / 2).unwrap_or(usize::MAX);
    let mut indexes: Vec<usize> = (0..candidates.len())
        .filter(|index| candidates[*index].asked_in < minute)
        .collect();
    // By how far each is in its interval; what is due is past the end of it.
    let progress = |candidate: &Candidate| {
        let waited = (minute - candidate.asked_in).saturating_mul(1_000);
        (is_due(candidate), waited / candidate.interval.max(1))
    };
    indexes.sort_by_key(|index| std::cmp::Reverse(progress(&candidates[*index])));
    indexes.truncate(room);
    indexes
}

/// The refusal that is about the lists themselves, and not about a session, an allowance or a bad day.
fn refuses_lists(error: &Error) -> Option<&ApiError> {
    match error {
        Error::Refused {
            status: 400 | 404 | 405,
            errors,
        } => errors.first(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Millis = 60_000;

    #[test]
    fn calls_are_filled_with_what_is_due_later() {
        let candidate = |minutes: i64, interval: i64| Candidate {
            asked_in: 100 * MINUTE - minutes * MINUTE,
            interval: interval * MINUTE,
        };
        let end = 100 * MINUTE;
        // One is due: eleven others ride with it, those that have waited for the longest part of their time first.
        let mut candidates = vec![candidate(1, 1)];
        candidates.extend((1..=15).map(|minutes| candidate(minutes, 20)));
        let first = picked(&candidates, end);
        assert_eq!(first.len(), 12);
        assert_eq!(first[..3], [0, 15, 14]);
        // Nothing is due: nothing is asked.
        assert!(picked(&candidates[1..], end).is_empty());
        // What was asked up to this minute is not asked again.
        assert!(picked(&[candidate(0, 1), candidate(-3, 1)], end).is_empty());
        // 13 objects need two calls, which have room for 25.
        let due = vec![candidate(1, 1); 13];
        assert_eq!(picked(&due, end).len(), 13);
        let many = [vec![candidate(1, 1); 13], vec![candidate(1, 20); 40]].concat();
        assert_eq!(picked(&many, end).len(), 25);
    }
}
