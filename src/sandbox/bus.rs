//! The event log of an org.

use crate::model::clock::Clock;

/// Events of the last 72 hours.
#[derive(Debug)]
pub struct Bus {
    clock: Clock,
    seed: u64,
}

impl Bus {
    pub fn new(clock: Clock, seed: u64) -> Self {
        Self { clock, seed }
    }

    #[allow(dead_code)]
    fn placeholder(&self) -> (i64, u64) {
        (self.clock.now(), self.seed)
    }
}
