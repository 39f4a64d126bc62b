//! How many events to ask for.
//!
//! Salesforce keeps at most 100 events in flight per subscription and lets requests add up. Asking as soon as
//! a response arrives, before its events are worked on, keeps that number near 100, which is what bounds
//! the speed of one subscription; the queue towards apply is the brake. The server's own count travels in each
//! response but does not know of requests still on their way, so ours leads, and the server's corrects it where
//! the two can not both be right.

/// Most events in flight; the server takes more for as many.
pub const EVENTS_IN_FLIGHT_MAX: u32 = 100;

/// What we believe the server still owes us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Credit {
    owed: u32,
}

impl Credit {
    /// After the first request, for [`EVENTS_IN_FLIGHT_MAX`].
    pub fn new() -> Self {
        Self {
            owed: EVENTS_IN_FLIGHT_MAX,
        }
    }

    /// What a response proves that was heard then: nothing where the server was owed no event, and held them back.
    pub fn proof<T>(&self, heard: Option<T>) -> Option<T> {
        heard.filter(|_| self.owed > 0)
    }

    /// A response arrived with this many events, and the server's count after it.
    pub fn received(&mut self, events: usize, pending: u32) {
        let events = u32::try_from(events).unwrap_or(u32::MAX);
        self.owed = self.owed.saturating_sub(events);
        // A keep-alive comes after a silence in which every request has arrived, so its count is the truth.
        // At zero the server waits for us, whatever we believe: it ends the stream after a minute of that.
        if events == 0 || pending == 0 {
            self.owed = pending;
        }
    }

    /// What to ask for now; `None` where the queue is full or nothing is missing. Counts it as asked for.
    pub fn request(&mut self, queue_has_room: bool) -> Option<u32> {
        let missing = EVENTS_IN_FLIGHT_MAX.saturating_sub(self.owed);
        if missing == 0 || !queue_has_room {
            return None;
        }
        self.owed += missing;
        Some(missing)
    }
}

impl Default for Credit {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_heard_proves_nothing_while_no_event_is_asked_for() {
        let mut credit = Credit::new();
        assert_eq!(credit.proof(Some(7)), Some(7));
        assert_eq!(credit.proof(None::<u8>), None);
        // The queue is full: nothing more is asked for.
        credit.received(100, 0);
        assert_eq!(credit.request(false), None);
        assert_eq!(credit.proof(Some(7)), None);
        assert_eq!(credit.request(true), Some(100));
        assert_eq!(credit.proof(Some(7)), Some(7));
    }

    #[test]
    fn keeps_demand_at_the_cap() {
        // events, the server's count, room in the queue -> asked for
        let cases = [
            (10, 90, true, Some(10)),
            // The server sent this before it saw the request above: its 80 is not the whole truth.
            (10, 80, true, Some(10)),
            (30, 70, false, None),
            (0, 70, true, Some(30)),
            (0, 100, true, None),
            (100, 0, true, Some(100)),
            // It counted what it filtered out, and waits.
            (3, 0, true, Some(100)),
        ];
        let mut credit = Credit::new();
        for (number, (events, pending, room, expected)) in cases.into_iter().enumerate() {
            credit.received(events, pending);
            assert_eq!(credit.request(room), expected, "case {number}");
        }
    }
}
