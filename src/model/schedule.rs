//! How often the org is asked for changes, by what its API allowance lets storesync spend.
//!
//! Objects that pages are made of are asked most often, then those of a checkout, then all others. The first rung of the
//! ladder that the budget pays for is taken. An object needs two parts of a composite request (what was written, what
//! was deleted), of which one call has 25.

use serde::{Deserialize, Serialize};

use crate::model::clock::Millis;

const MINUTES_DAILY: u64 = 1_440;
const PARTS_PER_OBJECT: u64 = 2;
pub const PARTS_PER_CALL: u64 = 25;

/// Describes, limits and counts of a day, however often changes are asked for.
const FIXED_CALLS_DAILY: u64 = 200;

/// One in so many calls of the budget is kept for reading what has changed.
const RESERVE_ONE_IN: u64 = 20;

/// Minutes between two questions for each [`Urgency`].
const LADDER: [[u64; 3]; 12] = [
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

/// How many objects are asked for changes, by [`Urgency`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts(pub [usize; 3]);

/// What is asked, and what it is expected to cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    pub intervals: Intervals,
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
/// none does.
pub fn plan(budget_daily: u64, counts: Counts, least_seconds: u64) -> Plan {
    let usable = budget_daily - budget_daily / RESERVE_ONE_IN;
    let last = LADDER.len() - 1;
    let fits = |rung: &[u64; 3]| rung[0] * 60 >= least_seconds && calls_daily(rung, counts) <= usable;
    let rung = LADDER.iter().find(|rung| fits(rung)).unwrap_or(&LADDER[last]);
    let minutes = |minutes: u64| Millis::try_from(minutes * 60_000).unwrap_or(Millis::MAX);
    Plan {
        intervals: Intervals(rung.map(minutes)),
        calls_daily: calls_daily(rung, counts),
        budget_daily,
    }
}

/// Calls are filled: what is not due yet takes the parts that a call has left.
fn calls_daily(rung: &[u64; 3], counts: Counts) -> u64 {
    let looks: u64 = counts
        .0
        .iter()
        .zip(rung)
        .map(|(objects, minutes)| *objects as u64 * MINUTES_DAILY / minutes)
        .sum();
    let pages = counts.0[0] as u64 * PARTS_PER_OBJECT;
    let least = pages.div_ceil(PARTS_PER_CALL) * MINUTES_DAILY / rung[0];
    (looks * PARTS_PER_OBJECT).div_ceil(PARTS_PER_CALL).max(least) + FIXED_CALLS_DAILY
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
        let counts = Counts([28, 16, 31]);
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
            let plan = plan(budget, counts, least);
            assert_eq!(plan.intervals.seconds(), seconds, "{budget} {least}");
            assert!(plan.calls_daily <= budget || seconds == [3_600; 3], "{plan:?}");
        }
    }

    #[test]
    fn a_round_costs_whole_calls() {
        // One object of pages alone needs a call a minute, and the others ride in it.
        assert_eq!(plan(20_000, Counts([1, 0, 0]), 60).calls_daily, 1_440 + 200);
        assert_eq!(plan(20_000, Counts([1, 10, 0]), 60).calls_daily, 1_440 + 200);
        assert_eq!(plan(20_000, Counts([13, 0, 0]), 60).calls_daily, 2_880 + 200);
    }
}
