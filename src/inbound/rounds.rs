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
//! that refuses the lists, and an object of which it refuses one, are asked by queries ([`super::poll`]); the lists are
//! tried again after an hour.

mod read;

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use crate::inbound::Wires;
use crate::inbound::apply::queue::Ended;
use crate::inbound::budget::Limits;
use crate::inbound::command::Command;
use crate::inbound::poll::failed;
use crate::inbound::prepare::Planned;
use crate::model::calls::Purpose;
use crate::model::clock::{Millis, Moment};
use crate::model::schedule::{Candidate, Counts, Way, picked};
use crate::model::trouble::Failing;
use crate::salesforce::Error;
use crate::salesforce::changed::{Lists, Span, whole_minute};
use crate::store::cache::{State, objects};
use crate::store::storefront::feed;

/// The org's lists are of whole minutes; wanted more often, objects are asked by queries.
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
const RETRY_MILLIS: Millis = 15_000;

/// After the org refused a list, or all of them.
const REFUSED_MILLIS: Millis = 3_600_000;

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
    /// Objects of which the org refused a list.
    without: HashMap<String, Without>,
    /// The minute of the last round.
    asked_in: Option<Millis>,
    /// A round that failed comes again then, by the machine's clock.
    again_at: Millis,
    /// The org refuses all lists; they are tried again then, by the machine's clock.
    refused_until: Millis,
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
    /// What the cache did not have then. As many as the lists named, so at most what the org puts into one list.
    missing: HashSet<String>,
}

impl Kept {
    /// What was read at that time of the org is behind it, but for transactions that were under way.
    fn new(org_time: Millis, streamed: bool) -> Self {
        let begin = whole_minute(org_time - TRANSACTION_MILLIS);
        Self {
            covered: begin,
            asked_in: begin,
            streamed,
            compared: None,
            missing: HashSet::new(),
        }
    }

    /// Of what is missing at this look, what was missing at the one before it.
    fn missing_again(&mut self, missing: HashSet<String>) -> Vec<String> {
        let before = std::mem::replace(&mut self.missing, missing);
        let mut again: Vec<String> = before.intersection(&self.missing).cloned().collect();
        again.sort_unstable();
        again
    }
}

/// The org refused a list of an object.
struct Without {
    /// By the machine's clock.
    until: Millis,
    /// Why, as it was told.
    why: String,
}

impl Rounds {
    /// Whether an object's changes come by lists.
    pub(super) fn keeps(&self, object: &str) -> bool {
        self.kept.get(object).is_some_and(|kept| !kept.streamed)
    }

    /// An object was asked by a query at that time of the org.
    pub(super) fn take_up(&mut self, object: &str, wires: &Wires, limits: &Limits, org_time: Millis) {
        if self.way(object, limits, wires.clock.moment().boot) == Way::Lists {
            self.kept.insert(object.to_owned(), Kept::new(org_time, false));
        }
    }

    fn way(&self, object: &str, limits: &Limits, now: Millis) -> Way {
        let is_refused = |without: &Without| now < without.until;
        let refuses_lists = now < self.refused_until || self.without.get(object).is_some_and(is_refused);
        match limits.poll() < INTERVAL_MIN || refuses_lists {
            true => Way::Queries,
            false => Way::Lists,
        }
    }

    /// Plans how often each kind of object is asked, by what the org allows; as configured before it has told, and where
    /// more often than once a minute is wanted.
    pub(super) fn plan(&self, wires: &Wires, limits: &Limits, planned: &[Planned]) {
        let usage = wires.org.api_usage().filter(|_| limits.poll() >= INTERVAL_MIN);
        let Some(usage) = usage else {
            limits.follow(None);
            return;
        };
        let now = wires.clock.moment().boot;
        let mut counts = Counts::default();
        for planned in planned {
            let object = &planned.table.object;
            match self.way(object, limits, now) {
                // Its events are what keeps it current.
                Way::Queries if planned.streamed => {}
                way => counts.add(way, feed::urgency(object)),
            }
        }
        let reads = wires.org.calls().of_a_day(Purpose::Reads, wires.clock.now());
        limits.follow(Some(limits.plan(usage.limit, counts, reads)));
    }

    /// Asks for what is due.
    pub(super) async fn run(&mut self, wires: &Wires, limits: &Limits) -> anyhow::Result<()> {
        let asked = wires.clock.moment();
        if limits.poll() < INTERVAL_MIN || asked.boot < self.refused_until {
            self.kept.clear();
            return Ok(());
        }
        if asked.boot < self.again_at {
            return Ok(());
        }
        wires.org.settle_time().await;
        if wires.org.is_time_doubted() {
            return Ok(());
        }
        // The earlier estimate for what is asked, the later one for how old that is.
        let (at_least, org_time) = (wires.org.org_time_at_least(), wires.org.org_time());
        let minute = whole_minute(at_least - SETTLE_MILLIS);
        if self.asked_in == Some(minute) {
            return Ok(());
        }
        let planned = wires.planned();
        self.look_around(wires, limits, &planned, org_time)?;
        let names: Vec<&Planned> = planned
            .iter()
            .filter(|planned| self.kept.contains_key(&planned.table.object))
            .collect();
        let usage = wires.org.api_usage();
        let candidates: Vec<Candidate> = names
            .iter()
            .map(|planned| Candidate {
                waited: Some(minute - self.kept[&planned.table.object].asked_in),
                interval: limits.interval(usage, feed::urgency(&planned.table.object), false),
            })
            .collect();
        self.asked_in = Some(minute);
        let picked = picked(Way::Lists, &candidates);
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
    fn look_around(
        &mut self,
        wires: &Wires,
        limits: &Limits,
        planned: &[Planned],
        org_time: Millis,
    ) -> anyhow::Result<()> {
        let now = wires.clock.moment().boot;
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
            if is_live && planned.streamed && !fits && self.way(object, limits, now) == Way::Lists {
                self.kept.insert(object.clone(), Kept::new(org_time, true));
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
        let listed = match wires.org.for_purpose(Purpose::Polls).changed(spans).await {
            Ok(listed) => listed,
            Err(error) => {
                match error.is_hidden() {
                    true => self.turn_off(wires, planned, &error.to_string(), asked.boot),
                    false => self.try_again(wires, planned, &error, asked.boot),
                }
                return Ok(());
            }
        };
        // The lists may end before what they are taken to hold: the next round asks for the same again.
        if wires.org.is_time_doubted() {
            return Ok(());
        }
        if let [Err(first), others @ ..] = listed.as_slice()
            && others.iter().all(Result::is_err)
            && spans.len() > 1
        {
            self.turn_off(wires, planned, first, asked.boot);
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
                Err(why) => {
                    // Queries, or events alone, tell from now on what stands in its way.
                    failed(wires, planned, None);
                    self.go_without(object, why, asked.boot);
                }
            }
        }
        Ok(())
    }

    /// An object is asked by queries, until it is time to ask for its lists again.
    fn go_without(&mut self, object: &str, why: String, now: Millis) {
        if self.without.get(object).is_none_or(|without| without.why != why) {
            tracing::info!(%object, "{object} is asked by queries: {why}; its lists are tried again in an hour");
        }
        self.kept.remove(object);
        let until = now + REFUSED_MILLIS;
        self.without.insert(object.to_owned(), Without { until, why });
    }

    /// The round comes again soon; why is told once, and of each object that was asked for as long as it lasts.
    fn try_again(&mut self, wires: &Wires, planned: &[&Planned], error: &Error, now: Millis) {
        self.again_at = now + RETRY_MILLIS;
        self.asked_in = None;
        let error = error.to_string();
        if self.told.as_ref() != Some(&error) {
            tracing::warn!("the org could not be asked what changed ({error}): it is tried again");
        }
        wires.bells.failing.send_modify(|all| {
            for planned in planned {
                let failing = Failing {
                    cause: format!("the org could not be asked what changed: {error}"),
                    is_lasting: false,
                };
                all.insert(planned.table.object.clone(), failing);
            }
        });
        self.told = Some(error);
    }

    /// From now on everything is asked by queries, until it is time to try the lists again.
    fn turn_off(&mut self, wires: &Wires, planned: &[&Planned], why: &str, now: Millis) {
        planned.iter().for_each(|planned| failed(wires, planned, None));
        tracing::warn!(
            "the org does not list what changed ({why}): objects are asked by queries, which costs more API calls; the lists are tried again in an hour"
        );
        self.kept.clear();
        self.refused_until = now + REFUSED_MILLIS;
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

    /// Whether an object with change events has the records that the org lists. Those that it has not at two looks in a
    /// row are read again: what is missing at the first may be told by an event that is under way.
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
        if kept.compared.is_some_and(|at| now - at < COMPARED_MILLIS) {
            return Ok(false);
        }
        let missing = read::missing(wires, planned, span, lists).await?;
        kept.compared = Some(now);
        let is_missing_nothing = missing.is_empty();
        let again = kept.missing_again(missing);
        if again.is_empty() {
            return Ok(is_missing_nothing);
        }
        tracing::warn!(%object, records = again.len(), "{} changes of {object} were told by no event: the records are read again", again.len());
        for ids in again.chunks(IDS_MAX) {
            wires
                .apply
                .apply(Command::ReadAgain {
                    object: object.clone(),
                    ids: ids.to_vec(),
                    reason: NOT_TOLD.into(),
                })
                .await?;
        }
        Ok(false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_missing_at_two_looks_in_a_row_was_told_by_no_event() {
        let mut kept = Kept::new(0, true);
        for (missing, again) in [
            (&["a", "b"][..], &[][..]),
            // The event of a came meanwhile, that of c is under way.
            (&["b", "c"], &["b"]),
            (&[], &[]),
            // An equal look ends what was known of the one before.
            (&["b", "c"], &[]),
            (&["c", "b"], &["b", "c"]),
        ] {
            let missing = missing.iter().map(|id| (*id).to_owned()).collect();
            assert_eq!(kept.missing_again(missing), again);
        }
    }
}
