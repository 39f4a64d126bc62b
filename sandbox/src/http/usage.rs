//! The API calls of a day: counted, told, and refused when they run out.

use std::sync::{Mutex, MutexGuard, PoisonError};

use super::answer::Refusal;
use crate::clock::Millis;

/// The daily allowance of a full sandbox.
const DAILY_REQUESTS_MAX: u64 = 5_000_000;
const DAY_MILLIS: Millis = 86_400_000;

/// What of the allowance is used.
pub struct Usage(Mutex<Day>);

struct Day {
    began: Millis,
    used: u64,
    max: u64,
}

impl Default for Usage {
    fn default() -> Self {
        Self(Mutex::new(Day {
            began: Millis::MIN,
            used: 0,
            max: DAILY_REQUESTS_MAX,
        }))
    }
}

impl Usage {
    fn day(&self, now: Millis) -> MutexGuard<'_, Day> {
        let mut day = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if now.saturating_sub(day.began) >= DAY_MILLIS {
            (day.began, day.used) = (now, 0);
        }
        day
    }

    /// Counts a call, or refuses it.
    pub fn count(&self, now: Millis) -> Result<(), Refusal> {
        let mut day = self.day(now);
        if day.used >= day.max {
            return Err(Refusal::new(
                403,
                "REQUEST_LIMIT_EXCEEDED",
                "TotalRequests Limit exceeded.",
            ));
        }
        day.used += 1;
        Ok(())
    }

    /// Calls made, and the most there may be.
    pub fn now(&self, now: Millis) -> (u64, u64) {
        let day = self.day(now);
        (day.used, day.max)
    }

    pub fn set_max(&self, max: u64) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).max = max;
    }
}
