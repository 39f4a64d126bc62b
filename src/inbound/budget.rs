//! What may still be read when the org's API allowance runs out.
//!
//! The allowance is shared by everything that calls the org, storefront orders among it. Reading for the cache
//! holds back before it is spent: comparing waits first, polling then slows down; records that are known to
//! differ are read as long as the org answers at all.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::config;
use crate::model::clock::Millis;
use crate::model::freshness;
use crate::model::schedule::{self, Counts, Intervals, Plan, Urgency};
use crate::salesforce::rest::ApiUsage;
use crate::store::polls::Polls;

/// How much slower polls are beyond the share.
const SLOWER: u32 = 8;

/// What of `[sync]` may be changed while the daemon runs; clones share it.
#[derive(Clone, Debug)]
pub struct Limits {
    inner: Arc<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    configured: [AtomicU32; 5],
    /// None where each object is asked as often as is configured.
    plan: Mutex<Option<Plan>>,
}

impl Limits {
    pub fn new(config: &config::Sync) -> Self {
        let limits = Self {
            inner: Arc::default(),
        };
        limits.set(config);
        limits
    }

    /// All of it takes effect with the next look of who uses it.
    pub fn set(&self, config: &config::Sync) {
        let values = [
            config.api_share_percent,
            config.poll_seconds,
            config.verify_hours,
            config.stale_after_seconds.unwrap_or(0),
            config.api_calls_daily.unwrap_or(0),
        ];
        for (cell, value) in self.inner.configured.iter().zip(values) {
            cell.store(value, Ordering::Relaxed);
        }
    }

    fn configured(&self, index: usize) -> u32 {
        self.inner.configured[index].load(Ordering::Relaxed)
    }

    /// What may be asked how often, where the org allows so many calls within 24 hours.
    /// `reads` of those were made within a day to keep the cache current in other ways.
    pub fn plan(&self, allowed_daily: u64, counts: Counts, reads: u64) -> Plan {
        let budget = match self.configured(4) {
            0 => schedule::budget_of(allowed_daily),
            calls => u64::from(calls),
        };
        schedule::plan(budget, counts, u64::from(self.configured(1)), reads)
    }

    /// From now on changes are asked for as planned; by `None`, each object as often as is configured.
    pub fn follow(&self, plan: Option<Plan>) {
        *self.inner.plan.lock().unwrap_or_else(PoisonError::into_inner) = plan;
    }

    /// How changes are asked for, and how often at least.
    pub fn polls(&self) -> Polls {
        let plan = *self.inner.plan.lock().unwrap_or_else(PoisonError::into_inner);
        let configured = Millis::from(self.configured(1).max(1)) * 1_000;
        Polls {
            plan,
            intervals: plan.map_or(Intervals::even(configured), |plan| plan.intervals),
        }
    }

    /// The time between two queries for an object's changes, as planned. Without a plan an object that is changing is asked
    /// more often.
    pub fn interval(&self, usage: Option<ApiUsage>, urgency: Urgency, changing: bool) -> Millis {
        match self.polls().plan {
            Some(plan) => plan.asked.of(urgency) * self.budget().slower(usage),
            None => {
                let interval = self.budget().poll_interval(usage, self.poll(), changing);
                Millis::try_from(interval.as_millis()).unwrap_or(Millis::MAX)
            }
        }
    }

    pub fn budget(&self) -> Budget {
        Budget {
            share_percent: self.configured(0),
        }
    }

    /// The longest time between two polls of an object.
    pub fn poll(&self) -> Duration {
        Duration::from_secs(u64::from(self.configured(1).max(1)))
    }

    /// How old each object may become before it is called stale.
    pub fn freshness(&self) -> freshness::Limits {
        let wanted = Millis::from(self.configured(3)) * 1_000;
        freshness::Limits {
            polls: self.polls().intervals,
            stale_after_millis: Some(wanted).filter(|wanted| *wanted > 0),
        }
    }

    /// How often every object is compared; 0 for never.
    pub fn verify_hours(&self) -> u32 {
        self.configured(2)
    }
}

/// How much of the allowance may be used before reading holds back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    pub share_percent: u32,
}

impl Budget {
    /// Whether comparing, and reading whole objects again by schedule, may begin.
    pub fn allows_comparing(self, usage: Option<ApiUsage>) -> bool {
        !self.is_spent(usage)
    }

    /// The time between two polls of an object.
    ///
    /// `changed` where the last poll found something: it is then asked four times as often.
    pub fn poll_interval(self, usage: Option<ApiUsage>, longest: Duration, changed: bool) -> Duration {
        match (self.is_spent(usage), changed) {
            (true, _) => longest * SLOWER,
            (false, true) => longest / 4,
            (false, false) => longest,
        }
    }

    /// By how much planned questions are slowed down.
    pub fn slower(self, usage: Option<ApiUsage>) -> Millis {
        if self.is_spent(usage) {
            Millis::from(SLOWER)
        } else {
            1
        }
    }

    fn is_spent(self, usage: Option<ApiUsage>) -> bool {
        usage.is_some_and(|usage| usage.used * 100 >= usage.limit * u64::from(self.share_percent))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reading_holds_back_before_the_allowance_is_spent() {
        let budget = Budget { share_percent: 80 };
        let minute = Duration::from_secs(60);
        let cases = [
            (None, false, true, 60),
            (Some(79), false, true, 60),
            (Some(79), true, true, 15),
            (Some(80), true, false, 480),
            (Some(100), false, false, 480),
        ];
        for (used, changed, compares, seconds) in cases {
            let usage = used.map(|used| ApiUsage { used, limit: 100 });
            assert_eq!(budget.allows_comparing(usage), compares, "{used:?}");
            let interval = budget.poll_interval(usage, minute, changed);
            assert_eq!(interval.as_secs(), seconds, "{used:?} {changed}");
        }
    }

    #[test]
    fn what_is_planned_is_asked_for_less_often_too_beyond_the_share() {
        let limits = Limits::new(&config::Sync::default());
        let mut counts = Counts::default();
        counts.add(schedule::Way::Lists, Urgency::Page);
        let plan = limits.plan(100_000, counts, 0);
        limits.follow(Some(plan));
        for urgency in [Urgency::Page, Urgency::Checkout, Urgency::Other] {
            for (used, times) in [(None, 1), (Some(79), 1), (Some(80), 8), (Some(100), 8)] {
                let usage = used.map(|used| ApiUsage { used, limit: 100 });
                let interval = limits.interval(usage, urgency, false);
                assert_eq!(interval, plan.asked.of(urgency) * times, "{urgency:?} {used:?}");
            }
        }
    }
}
