//! How often the org is asked for changes, by what its API allowance lets storesync spend.
//!
//! Objects that pages are made of are asked most often, then those of a checkout, then all others. The first rung of the
//! ladder that the budget pays for is taken. One call is a composite request of 25 parts. An object takes two of them by
//! the org's lists (what was written, what was deleted), and a fifth of them by a query, of which a request takes five.

use serde::{Deserialize, Serialize};

use crate::model::clock::Millis;

const MINUTES_DAILY: u64 = 1_440;
const PARTS_PER_CALL: u64 = 25;

/// Describes, limits and counts of a day, however often changes are asked for.
const FIXED_CALLS_DAILY: u64 = 200;

/// One in so many calls of the budget is kept for reading what has changed.
const RESERVE_ONE_IN: u64 = 20;

/// How an object is asked for changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Way {
    /// The org's own lists of what changed.
    Lists,
    /// A query for what has a newer stamp.
    Queries,
}

impl Way {
    pub fn name(self) -> &'static str {
        match self {
            Self::Lists => "lists",
            Self::Queries => "queries",
        }
    }

    fn parts_per_object(self) -> u64 {
        match self {
            Self::Lists => 2,
            Self::Queries => 5,
        }
    }

    /// Minutes between two questions for each [`Urgency`].
    fn ladder(self) -> &'static [[u64; 3]] {
        match self {
            Self::Lists => &BY_LISTS,
            Self::Queries => &BY_QUERIES,
        }
    }
}

const BY_LISTS: [[u64; 3]; 12] = [
    [1, 1, 5],
    [1, 2, 10],
    [1, 3, 15],
    [1, 5, 15],
    [2, 2, 10],
    [2, 5, 15],
    [3, 5, 15],
    [3, 10, 30],
    [5, 10, 30],
    [10, 30, 60],
    [30, 60, 60],
    [60, 60, 60],
];

/// Queries cost more: what pages show is kept current at the expense of the others.
const BY_QUERIES: [[u64; 3]; 10] = [
    [1, 1, 5],
    [1, 5, 15],
    [1, 15, 60],
    [2, 5, 15],
    [2, 15, 60],
    [3, 15, 60],
    [5, 25, 60],
    [10, 30, 60],
    [30, 60, 60],
    [60, 60, 60],
];

/// How much a storefront's visitor sees of an object.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Urgency {
    /// Lists, products and their prices.
    Page,
    /// What an order costs besides.
    Checkout,
    #[default]
    Other,
}

/// The longest time between two questions, by [`Urgency`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Intervals([Millis; 3]);

impl Intervals {
    /// The same for all.
    pub fn even(millis: Millis) -> Self {
        Self([millis; 3])
    }

    pub fn new(millis: [Millis; 3]) -> Self {
        Self(millis)
    }

    pub fn of(&self, urgency: Urgency) -> Millis {
        self.0[urgency as usize]
    }

    pub fn seconds(&self) -> [i64; 3] {
        self.0.map(|millis| millis / 1_000)
    }
}

/// How many objects are asked for changes in each way, by [`Urgency`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub by_lists: [usize; 3],
    pub by_queries: [usize; 3],
}

impl Counts {
    pub fn add(&mut self, way: Way, urgency: Urgency) {
        let counts = match way {
            Way::Lists => &mut self.by_lists,
            Way::Queries => &mut self.by_queries,
        };
        counts[urgency as usize] += 1;
    }

    fn way(&self) -> Way {
        match self.by_lists {
            [0, 0, 0] => Way::Queries,
            _ => Way::Lists,
        }
    }

    /// The parts that each urgency takes when all of it is asked.
    fn parts(&self) -> [u64; 3] {
        let parts = |count: usize, way: Way| count as u64 * way.parts_per_object();
        [0, 1, 2].map(|urgency| {
            parts(self.by_lists[urgency], Way::Lists) + parts(self.by_queries[urgency], Way::Queries)
        })
    }
}

/// What is asked, and what it is expected to cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// How most objects are asked.
    pub way: Way,
    /// What ages are judged by.
    pub intervals: Intervals,
    /// What is asked at the moment: less often where other reads have taken of the budget.
    pub asked: Intervals,
    /// Calls within 24 hours where nothing changes.
    pub calls_daily: u64,
    /// Calls within 24 hours that storesync may make.
    pub budget_daily: u64,
}

/// 5 % of what the org allows within 24 hours, at least 2,500 and at most 20,000, and never more than a third.
pub fn budget_of(allowed_daily: u64) -> u64 {
    (allowed_daily / 20).clamp(2_500, 20_000).min(allowed_daily / 3)
}

/// The first rung that asks no more often than every `least_seconds` and costs no more than the budget; the last where
/// none does. `reads` are the calls of a day that kept the cache current in other ways: where they were more than is kept
/// for them, objects are asked less often for it.
pub fn plan(budget_daily: u64, counts: Counts, least_seconds: u64, reads: u64) -> Plan {
    let reserve = budget_daily / RESERVE_ONE_IN;
    let usable = budget_daily - reserve;
    let left = usable.saturating_sub(reads.saturating_sub(reserve + FIXED_CALLS_DAILY));
    let ladder = counts.way().ladder();
    let rung_for = |calls: u64| {
        let fits = |rung: &&[u64; 3]| rung[0] * 60 >= least_seconds && calls_daily(rung, counts) <= calls;
        let found = ladder.iter().find(fits);
        found.unwrap_or(&ladder[ladder.len() - 1])
    };
    let rung = rung_for(usable);
    let minutes = |minutes: u64| Millis::try_from(minutes * 60_000).unwrap_or(Millis::MAX);
    Plan {
        way: counts.way(),
        intervals: Intervals(rung.map(minutes)),
        asked: Intervals(rung_for(left).map(minutes)),
        calls_daily: calls_daily(rung, counts),
        budget_daily,
    }
}

/// Calls are filled: what is not due yet takes the parts that a call has left.
fn calls_daily(rung: &[u64; 3], counts: Counts) -> u64 {
    let parts = counts.parts();
    let daily = parts.iter().zip(rung);
    let daily: u64 = daily
        .map(|(parts, minutes)| parts * MINUTES_DAILY / minutes)
        .sum();
    let least = parts[0].div_ceil(PARTS_PER_CALL) * MINUTES_DAILY / rung[0];
    daily.div_ceil(PARTS_PER_CALL).max(least) + FIXED_CALLS_DAILY
}

/// An object that may be asked.
#[derive(Clone, Copy, Debug)]
pub struct Candidate {
    /// Since it was last asked; none where it never was.
    pub waited: Option<Millis>,
    /// Between two questions.
    pub interval: Millis,
}

impl Candidate {
    pub fn is_due(&self) -> bool {
        self.waited.is_none_or(|waited| waited >= self.interval)
    }

    /// What is due before what is not; then by how far each is in its interval.
    fn progress(&self) -> (bool, Millis) {
        let waited = self.waited.unwrap_or(Millis::MAX);
        (self.is_due(), waited.saturating_mul(1_000) / self.interval.max(1))
    }
}

/// Those that are due, the oldest first, and what fits into their calls besides.
pub fn picked(way: Way, candidates: &[Candidate]) -> Vec<usize> {
    let due = candidates.iter().filter(|candidate| candidate.is_due()).count() as u64;
    let calls = (due * way.parts_per_object()).div_ceil(PARTS_PER_CALL);
    let room = usize::try_from(calls * PARTS_PER_CALL / way.parts_per_object()).unwrap_or(usize::MAX);
    let mut indexes: Vec<usize> = (0..candidates.len())
        .filter(|index| candidates[*index].waited.is_none_or(|waited| waited > 0))
        .collect();
    indexes.sort_by_key(|index| std::cmp::Reverse(candidates[*index].progress()));
    indexes.truncate(room);
    indexes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_budget_follows_the_allowance() {
        // A trial org, a Developer Edition, an Enterprise Edition, a large one, a full sandbox.
        for (allowed, budget) in [
            (5_000, 1_666),
            (15_000, 2_500),
            (100_000, 5_000),
            (300_000, 15_000),
            (5_000_000, 20_000),
        ] {
            assert_eq!(budget_of(allowed), budget, "of {allowed}");
        }
    }

    #[test]
    fn what_pages_show_is_asked_first() {
        let counts = Counts {
            by_lists: [28, 16, 31],
            ..Counts::default()
        };
        // budget, asked no more often than each so many seconds -> seconds between two questions
        for (budget, least, seconds) in [
            (20_000, 60, [60, 60, 300]),
            // 28 each minute, 16 each second minute, 31 each tenth: 56,304 looks, two parts of 25 each, and 200 calls: 4,705.
            (5_000, 60, [60, 120, 600]),
            (4_900, 60, [60, 180, 900]),
            (2_600, 60, [120, 300, 900]),
            (2_500, 60, [180, 300, 900]),
            (2_500, 300, [300, 600, 1_800]),
            (20_000, 120, [120, 120, 600]),
            (100, 60, [3_600, 3_600, 3_600]),
        ] {
            let plan = plan(budget, counts, least, 0);
            assert_eq!(plan.intervals.seconds(), seconds, "{budget} {least}");
            assert!(plan.calls_daily <= budget || seconds == [3_600; 3], "{plan:?}");
        }
    }

    #[test]
    fn what_other_reads_took_is_not_asked_for_again() {
        let counts = Counts {
            by_lists: [28, 16, 31],
            ..Counts::default()
        };
        // Of 5,000 calls 250 are kept for reads, besides 200 of every day.
        for (reads, asked) in [
            (0, [60, 120, 600]),
            (450, [60, 120, 600]),
            (500, [60, 180, 900]),
            (2_900, [180, 300, 900]),
            (1_000_000, [3_600, 3_600, 3_600]),
        ] {
            let plan = plan(5_000, counts, 60, reads);
            assert_eq!(plan.intervals.seconds(), [60, 120, 600]);
            assert_eq!(plan.asked.seconds(), asked, "{reads}");
        }
    }

    #[test]
    fn a_round_costs_whole_calls() {
        let calls = |by_lists, by_queries| {
            let counts = Counts { by_lists, by_queries };
            plan(20_000, counts, 60, 0).calls_daily
        };
        // One object of pages alone needs a call a minute, and the others ride in it.
        assert_eq!(calls([1, 0, 0], [0; 3]), 1_440 + 200);
        assert_eq!(calls([1, 10, 0], [0; 3]), 1_440 + 200);
        assert_eq!(calls([13, 0, 0], [0; 3]), 2_880 + 200);
        // Ten by lists and one by a query fill a call; with two queries it is two calls.
        assert_eq!(calls([10, 0, 0], [1, 0, 0]), 1_440 + 200);
        assert_eq!(calls([10, 0, 0], [2, 0, 0]), 2_880 + 200);
    }

    #[test]
    fn queries_cost_more_and_are_asked_less_often() {
        let counts = Counts {
            by_queries: [28, 16, 31],
            ..Counts::default()
        };
        // 28 each second minute, 16 four times an hour, 31 hourly: 22,440 looks of which a call has five, and 200 calls.
        for (budget, seconds, calls) in [
            (20_000, [60, 60, 300], 14_658),
            (5_000, [120, 900, 3_600], 4_688),
            (2_500, [300, 1_500, 3_600], 2_146),
        ] {
            let plan = plan(budget, counts, 60, 0);
            assert_eq!(plan.intervals.seconds(), seconds, "{budget}");
            assert_eq!(plan.calls_daily, calls, "{budget}");
        }
    }

    #[test]
    fn calls_are_filled_with_what_is_due_later() {
        const MINUTE: Millis = 60_000;
        let candidate = |minutes: i64, interval: i64| Candidate {
            waited: Some(minutes * MINUTE),
            interval: interval * MINUTE,
        };
        // One is due: others ride with it, those that have waited for the longest part of their time first.
        let mut candidates = vec![candidate(1, 1)];
        candidates.extend((1..=15).map(|minutes| candidate(minutes, 20)));
        for (way, room) in [(Way::Lists, 12), (Way::Queries, 5)] {
            let first = picked(way, &candidates);
            assert_eq!(first.len(), room);
            assert_eq!(first[..3], [0, 15, 14]);
        }
        // Nothing is due: nothing is asked.
        assert!(picked(Way::Lists, &candidates[1..]).is_empty());
        // What was never asked comes before all.
        let never = Candidate {
            waited: None,
            interval: 60 * MINUTE,
        };
        assert_eq!(picked(Way::Queries, &[candidate(9, 1), never])[0], 1);
        // What was asked up to this moment is not asked again, nor what was asked for the time to come.
        assert!(picked(Way::Lists, &[candidate(0, 1), candidate(-3, 1)]).is_empty());
        // 13 objects need two calls, which have room for 25.
        let due = vec![candidate(1, 1); 13];
        assert_eq!(picked(Way::Lists, &due).len(), 13);
        let many = [vec![candidate(1, 1); 13], vec![candidate(1, 20); 40]].concat();
        assert_eq!(picked(Way::Lists, &many).len(), 25);
    }
}
