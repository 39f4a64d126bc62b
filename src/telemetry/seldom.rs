//! Lines of the log that strangers can cause: one a minute, with how often it was.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

const EVERY: Duration = Duration::from_secs(60);

/// What happens as often as somebody else likes, and is told seldom. A static, as a metric is.
#[derive(Debug)]
pub struct Seldom(Mutex<Told>);

#[derive(Debug)]
struct Told {
    at: Option<Instant>,
    untold: u64,
}

impl Seldom {
    /// Of which nothing was told yet.
    pub const fn untold() -> Self {
        Self(Mutex::new(Told { at: None, untold: 0 }))
    }

    /// It happened. How often it did since the last line, where it is time for one.
    pub fn happened(&self) -> Option<u64> {
        self.happened_at(Instant::now())
    }

    fn happened_at(&self, now: Instant) -> Option<u64> {
        let mut told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        told.untold += 1;
        if told.at.is_some_and(|at| now.duration_since(at) < EVERY) {
            return None;
        }
        told.at = Some(now);
        Some(std::mem::take(&mut told.untold))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_told_at_first_and_once_a_minute() {
        let (seldom, began) = (Seldom::untold(), Instant::now());
        let told = |millis| seldom.happened_at(began + Duration::from_millis(millis));
        assert_eq!(told(0), Some(1));
        assert_eq!([1, 30_000, 59_999].map(told), [None; 3]);
        assert_eq!(told(60_000), Some(4));
        assert_eq!([60_001, 119_999].map(told), [None; 2]);
    }
}
