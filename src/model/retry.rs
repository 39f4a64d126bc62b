//! How long to wait before trying again.
//!
//! The only file that names the `backoff` crate, and it uses its arithmetic alone: sleeping, stopping and
//! deciding whether to retry are the caller's. The crate's default gives up after fifteen minutes; ours never
//! does, since a daemon that stops trying is a silent stall.

use std::time::Duration;

use backoff::ExponentialBackoffBuilder;
use backoff::backoff::Backoff;

/// An exponential schedule: `first`, then twice as long each time up to `longest`, each spread at random by
/// half of itself either way so that clients of one org do not return together.
#[derive(Clone, Copy, Debug)]
pub struct Policy {
    pub first: Duration,
    pub longest: Duration,
}

impl Policy {
    /// The wait before attempt `attempt + 1`, for `attempt` failures so far (1 is the first).
    pub fn delay(&self, attempt: u32) -> Duration {
        self.spread(attempt, 0.5)
    }

    fn spread(&self, attempt: u32, spread: f64) -> Duration {
        let doublings = attempt.saturating_sub(1).min(30);
        let base = self.first.saturating_mul(1 << doublings).min(self.longest);
        let mut schedule = ExponentialBackoffBuilder::new()
            .with_initial_interval(base)
            .with_max_interval(self.longest)
            .with_randomization_factor(spread)
            .with_max_elapsed_time(None)
            .build();
        schedule.next_backoff().unwrap_or(self.longest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubles_up_to_the_longest() {
        let policy = Policy {
            first: Duration::from_millis(500),
            longest: Duration::from_secs(60),
        };
        let waits: Vec<u64> = [1, 2, 3, 7, 8, 40]
            .iter()
            .map(|&n| policy.spread(n, 0.0).as_millis() as u64)
            .collect();
        assert_eq!(waits, [500, 1_000, 2_000, 32_000, 60_000, 60_000]);
    }

    #[test]
    fn spreads_by_half_either_way() {
        let policy = Policy {
            first: Duration::from_secs(1),
            longest: Duration::from_secs(60),
        };
        let waits: Vec<u128> = (0..200).map(|_| policy.delay(1).as_millis()).collect();
        assert!(waits.iter().all(|wait| (500..=1_500).contains(wait)), "{waits:?}");
        // By chance one run in 10^24 has none of one sort.
        assert!(waits.iter().any(|wait| *wait < 750), "none is early: {waits:?}");
        assert!(waits.iter().any(|wait| *wait > 1_250), "none is late: {waits:?}");
    }
}
