//! How many API calls this program made, and what for.
//!
//! The org counts what everyone calls, over a day that moves. Counted here is our own share, by hours, so that a budget
//! holds over restarts: a day is the hour under way and the 23 before it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::model::clock::Millis;

const HOUR_MILLIS: Millis = 3_600_000;
const HOURS: i64 = 24;

/// What a call was for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Purpose {
    /// Asking what changed, as it is planned.
    Polls,
    /// What else keeps the cache current: loads, repairs, comparisons, descriptions.
    #[default]
    Reads,
    /// What storefronts sent, and what is erased.
    Orders,
}

impl Purpose {
    pub const ALL: [Self; 3] = [Self::Polls, Self::Reads, Self::Orders];

    pub fn name(self) -> &'static str {
        match self {
            Self::Polls => "polls",
            Self::Reads => "reads",
            Self::Orders => "orders",
        }
    }
}

/// Calls of about a day.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Calls {
    /// By the hour since 1970, as many as there are purposes. At most twice a day's hours, however the clock is set.
    hours: BTreeMap<i64, [u64; 3]>,
}

impl Calls {
    pub fn count(&mut self, purpose: Purpose, now: Millis) {
        let hour = now.div_euclid(HOUR_MILLIS);
        self.hours.entry(hour).or_default()[purpose as usize] += 1;
        if self.hours.len() > 1 {
            self.hours.retain(|of, _| (hour - of).abs() < HOURS);
        }
    }

    /// One of those that were counted at that time was never made.
    pub fn take_back(&mut self, purpose: Purpose, counted_at: Millis) {
        if let Some(hour) = self.hours.get_mut(&counted_at.div_euclid(HOUR_MILLIS)) {
            hour[purpose as usize] = hour[purpose as usize].saturating_sub(1);
        }
    }

    /// Within a day. What a clock counted that was ahead is within it as well.
    pub fn of_a_day(&self, purpose: Purpose, now: Millis) -> u64 {
        let hour = now.div_euclid(HOUR_MILLIS);
        let within = self.hours.iter().filter(|(of, _)| (hour - *of).abs() < HOURS);
        within.map(|(_, calls)| calls[purpose as usize]).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_is_this_hour_and_the_23_before() {
        let at = |hour: i64| hour * HOUR_MILLIS + 1;
        let mut calls = Calls::default();
        for hour in [100, 100, 101, 123] {
            calls.count(Purpose::Polls, at(hour));
        }
        calls.count(Purpose::Orders, at(123));
        for (hour, polls, orders) in [
            (100, 4, 1),
            (123, 4, 1),
            (124, 2, 1),
            (125, 1, 1),
            (146, 1, 1),
            (147, 0, 0),
            // The clock is set back by two days: what it counted is not of this day.
            (70, 0, 0),
        ] {
            let told = [Purpose::Polls, Purpose::Orders].map(|of| calls.of_a_day(of, at(hour)));
            assert_eq!(told, [polls, orders], "{hour}");
        }
        calls.take_back(Purpose::Polls, at(123));
        assert_eq!(calls.of_a_day(Purpose::Polls, at(123)), 3);
        // What is older than a day is not kept.
        calls.count(Purpose::Reads, at(200));
        assert_eq!(calls.hours.len(), 1);
    }
}
