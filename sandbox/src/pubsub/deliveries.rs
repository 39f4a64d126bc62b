//! What was delivered to whom, and how much more may be.
//!
//! An org's allocation counts every event for every subscriber, replays too, over the last 24 hours. It is
//! unlimited until one is set.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde_json::{Value as Json, json};

use crate::clock::{Clock, Millis};

const DAY_MILLIS: Millis = 24 * 3_600_000;
/// Deliveries are summed up by the minute.
const SLOT_MILLIS: Millis = 60_000;
/// Calls that are remembered.
const CALLS_MAX: usize = 1_000;

struct Call {
    rpc: &'static str,
    topic: String,
    delivered: u64,
    open: bool,
}

#[derive(Default)]
struct Inside {
    daily_max: Option<u64>,
    /// Start of a slot and deliveries in it, the oldest first.
    slots: VecDeque<(Millis, u64)>,
    calls: BTreeMap<u64, Call>,
    last_call: u64,
}

pub struct Deliveries {
    clock: Clock,
    inside: Mutex<Inside>,
}

impl Deliveries {
    pub fn new(clock: Clock) -> Self {
        Self {
            clock,
            inside: Mutex::default(),
        }
    }

    fn inside(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many events may be delivered in any 24 hours; unlimited where none is given.
    pub fn limit(&self, daily_max: Option<u64>) {
        self.inside().daily_max = daily_max;
    }

    /// What [`Deliveries::limit`] was told last.
    pub fn daily_max(&self) -> Option<u64> {
        self.inside().daily_max
    }

    /// How many were delivered in the last 24 hours.
    pub fn delivered(&self) -> u64 {
        let now = self.clock.now();
        self.inside().spent(now)
    }

    /// A subscriber's call begins; gives its number.
    pub fn open(&self, rpc: &'static str, topic: &str) -> u64 {
        let mut inside = self.inside();
        inside.last_call += 1;
        let number = inside.last_call;
        let call = Call {
            rpc,
            topic: topic.to_owned(),
            delivered: 0,
            open: true,
        };
        inside.calls.insert(number, call);
        while inside.calls.len() > CALLS_MAX {
            inside.calls.pop_first();
        }
        number
    }

    pub fn close(&self, call: u64) {
        if let Some(call) = self.inside().calls.get_mut(&call) {
            call.open = false;
        }
    }

    /// Takes so many deliveries from the allocation, or as many as there are left.
    pub fn take(&self, call: u64, wanted: usize) -> usize {
        let now = self.clock.now();
        let mut inside = self.inside();
        let wanted = wanted as u64;
        let granted = match inside.daily_max {
            Some(max) => wanted.min(max.saturating_sub(inside.spent(now))),
            None => wanted,
        };
        if granted > 0 {
            inside.note(now, granted);
        }
        if let Some(call) = inside.calls.get_mut(&call) {
            call.delivered += granted;
        }
        usize::try_from(granted).unwrap_or(usize::MAX)
    }

    pub fn list(&self) -> Json {
        let mut inside = self.inside();
        let spent = inside.spent(self.clock.now());
        let calls: Vec<Json> = inside
            .calls
            .values()
            .map(|call| json!({"rpc": call.rpc, "topic": call.topic, "delivered": call.delivered, "open": call.open}))
            .collect();
        json!({"daily_max": inside.daily_max, "delivered_24h": spent, "subscribers": calls})
    }
}

impl Inside {
    /// Deliveries of the last 24 hours.
    fn spent(&mut self, now: Millis) -> u64 {
        while self
            .slots
            .front()
            .is_some_and(|(start, _)| start + SLOT_MILLIS <= now - DAY_MILLIS)
        {
            self.slots.pop_front();
        }
        self.slots.iter().map(|(_, count)| count).sum()
    }

    fn note(&mut self, now: Millis, count: u64) {
        match self.slots.back_mut() {
            Some((start, sum)) if now < *start + SLOT_MILLIS => *sum += count,
            _ => self.slots.push_back((now, count)),
        }
        // Only a limit asks for the sum; without one, old slots go here.
        if self.slots.len() > (DAY_MILLIS / SLOT_MILLIS) as usize + 1 {
            self.slots.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicI64, Ordering};

    use super::*;

    #[test]
    fn the_allocation_runs_out_and_comes_back_after_a_day() {
        let now = Arc::new(AtomicI64::new(1_000_000_000));
        let deliveries = Deliveries::new(Clock::Manual(Arc::clone(&now)));
        let (one, other) = (
            deliveries.open("Subscribe", "/a"),
            deliveries.open("Subscribe", "/b"),
        );
        assert_eq!(deliveries.take(one, 50), 50, "unlimited at first");
        deliveries.limit(Some(100));
        assert_eq!(deliveries.take(one, 30), 30);
        now.fetch_add(3_600_000, Ordering::SeqCst);
        assert_eq!(deliveries.take(other, 30), 20, "shared by all subscribers");
        assert_eq!(deliveries.take(other, 1), 0);
        deliveries.close(one);
        let listed = deliveries.list();
        assert_eq!(listed["delivered_24h"], 100);
        assert_eq!(
            listed["subscribers"],
            json!([
                {"rpc": "Subscribe", "topic": "/a", "delivered": 80, "open": false},
                {"rpc": "Subscribe", "topic": "/b", "delivered": 20, "open": true},
            ])
        );
        now.fetch_add(DAY_MILLIS - 1_800_000, Ordering::SeqCst);
        assert_eq!(deliveries.take(other, 1_000), 80, "the first ones are a day old");
    }
}
