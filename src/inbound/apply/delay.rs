//! How long events are on their way, as far as it varies.
//!
//! A response proves that all the org committed some time before it is here. How long before is taken from the events
//! that came: the time from commit to receipt, less the least that was seen, so that clocks that differ cancel out. It
//! is not known before some events came, and what comes late because the daemon was away says nothing of the road.

use std::collections::VecDeque;

use crate::model::clock::Millis;

/// Taken where too little is known, or what is known cannot be the road's.
const USUAL_MILLIS: Millis = 60_000;

/// Nothing is taken to arrive sooner than so long after its commit.
const LEAST_MILLIS: Millis = 10_000;

const MOST_MILLIS: Millis = 300_000;

/// Events of which is known what they took.
const SAMPLES_MIN: usize = 20;
const SAMPLES_MAX: usize = 500;

/// Of one channel.
#[derive(Debug, Default)]
pub(super) struct Delay {
    samples: VecDeque<Millis>,
}

impl Delay {
    /// A response arrived whose newest event was committed then.
    pub(super) fn received(&mut self, committed_at: Millis, now: Millis) {
        if self.samples.len() == SAMPLES_MAX {
            self.samples.pop_front();
        }
        self.samples.push_back(now - committed_at);
    }

    /// All that was committed so long before a response came with it or before it: 99 in 100 did.
    pub(super) fn millis(&self) -> Millis {
        let mut sorted: Vec<Millis> = self.samples.iter().copied().collect();
        sorted.sort_unstable();
        let late = sorted.len() * 99 / 100;
        match (
            sorted.first(),
            sorted.get(late.min(sorted.len().saturating_sub(1))),
        ) {
            (Some(least), Some(late)) if sorted.len() >= SAMPLES_MIN && late - least <= MOST_MILLIS => {
                (late - least).max(LEAST_MILLIS)
            }
            _ => USUAL_MILLIS,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_varies_is_taken_and_clocks_that_differ_are_not() {
        let told = |delays: &[(usize, Millis)]| {
            let mut delay = Delay::default();
            for (count, millis) in delays {
                for _ in 0..*count {
                    delay.received(1_000_000, 1_000_000 + millis);
                }
            }
            delay.millis()
        };
        assert_eq!(told(&[]), 60_000);
        assert_eq!(told(&[(19, 200)]), 60_000);
        assert_eq!(told(&[(20, 200)]), 10_000);
        // The org's clock is an hour ahead.
        assert_eq!(told(&[(20, -3_599_800)]), 10_000);
        assert_eq!(told(&[(80, 200), (20, 45_200)]), 45_000);
        // One in a thousand is late.
        assert_eq!(told(&[(499, 200), (1, 45_200)]), 10_000);
        // The daemon was away for an hour.
        assert_eq!(told(&[(30, 200), (30, 3_600_200)]), 60_000);
        // What was long ago is forgotten.
        assert_eq!(told(&[(30, 3_600_200), (500, 200)]), 10_000);
    }
}
