//! From which stamp on a polled object is asked for changes.
//!
//! A watermark is a stamp that the org gave, of a row that was read, and never a clock's time: a clock that is wrong,
//! ours or that of a proxy on the way, would make it pass over changes. It moves to a stamp once a poll that was asked
//! half a minute after the stamp was first seen has brought everything behind it. What a long transaction commits with
//! an older stamp is found by looking back, as long as a transaction may last after the newest stamp was seen: then
//! nothing can come before it any more, and an object that is quiet costs nothing.
//!
//! Looking back reads the same rows once more. Where they are many it is done less often than the object is polled.

use std::collections::VecDeque;

use crate::model::clock::Millis;

/// Of rows with the same stamp some may be visible sooner than others.
const SETTLE_MILLIS: Millis = 30_000;

/// No transaction lasts longer: 10 minutes by REST, of a Bulk batch 10 as well, and what clocks differ.
const TRANSACTION_MILLIS: Millis = 20 * 60_000;

/// Rows of a page: looking back at no more costs no more calls than not looking.
const PAGE_ROWS: u64 = 2_000;

/// How often more rows than that are looked back at.
const LOOK_BACK_MILLIS: Millis = 300_000;

/// What the next poll asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum From {
    /// Rows with a later stamp.
    After(Millis),
    /// Rows with this stamp or a later one, most of which are known.
    Back(Millis),
}

/// What a process has seen of an object's stamps.
#[derive(Debug, Default)]
pub struct Tail {
    /// Stamps that were the newest, and by the machine's clock when the poll was asked that brought them first.
    seen: VecDeque<(Millis, Millis)>,
    looked_back: Option<(Millis, u64)>,
}

impl Tail {
    /// Begins with the stored watermark, which may not be later than any row that is here.
    pub fn new(settled: Millis, asked: Millis) -> Self {
        Self {
            seen: VecDeque::from([(settled, asked)]),
            looked_back: None,
        }
    }

    fn newest(&self) -> Option<(Millis, Millis)> {
        self.seen.back().copied()
    }

    /// Where a poll at `now` begins, by the machine's clock.
    pub fn from(&self, settled: Millis, now: Millis) -> From {
        let Some((newest, since)) = self.newest() else {
            return From::After(settled);
        };
        let may_be_late = now - since < TRANSACTION_MILLIS;
        let is_due = self
            .looked_back
            .is_none_or(|(at, rows)| rows <= PAGE_ROWS || now - at >= LOOK_BACK_MILLIS);
        if may_be_late && is_due {
            From::Back(newest - TRANSACTION_MILLIS)
        } else {
            From::After(settled)
        }
    }

    /// A poll has ended that was asked then and brought so many rows. Gives the watermark, and whether something is newer
    /// than all before.
    pub fn brought(
        &mut self,
        from: From,
        settled: Millis,
        newest: Option<Millis>,
        rows: u64,
        asked: Millis,
    ) -> (Millis, bool) {
        if let From::Back(_) = from {
            self.looked_back = Some((asked, rows));
        }
        let is_newer = newest > self.newest().map(|(stamp, _)| stamp);
        if let Some(newest) = newest.filter(|_| is_newer) {
            self.seen.push_back((newest, asked));
        }
        while self.seen.len() > 1 && asked - self.seen[1].1 >= SETTLE_MILLIS {
            self.seen.pop_front();
        }
        let first = self.seen.front().filter(|(_, at)| asked - at >= SETTLE_MILLIS);
        (first.map_or(settled, |(stamp, _)| *stamp), is_newer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: Millis = 1_000_000_000;

    #[test]
    fn a_watermark_is_a_stamp_that_has_settled() {
        let mut tail = Tail::new(S, 0);
        let mut settled = S;
        // asked at, newest stamp that came -> watermark after it, seconds after S
        for (at, newest, expected) in [
            (0, None, 0),
            (1, Some(10), 0),
            (2, Some(10), 0),
            (20, Some(15), 0),
            (31, Some(15), 10),
            (40, Some(40), 10),
            (50, Some(40), 15),
            (69, Some(60), 15),
            (70, Some(60), 40),
            // Nothing came any more: what was seen settles, and nothing moves it further.
            (99, None, 60),
            (100_000, None, 60),
        ] {
            let asked = at * 1_000;
            let from = tail.from(settled, asked);
            let newest = newest.map(|seconds| S + seconds * 1_000);
            (settled, _) = tail.brought(from, settled, newest, 1, asked);
            assert_eq!(settled, S + expected * 1_000, "{at}");
        }
    }

    #[test]
    fn a_poll_looks_back_for_as_long_as_a_transaction_may_last() {
        let back = From::Back(S - 1_200_000);
        let mut tail = Tail::new(S, 0);
        // asked at, rows that came of it, expected
        for (at, rows, expected) in [
            (0, 1, back),
            (60_000, 2_000, back),
            (120_000, 2_001, back),
            (180_000, 0, From::After(S)),
            (419_999, 0, From::After(S)),
            (420_000, 2_001, back),
            (719_999, 0, From::After(S)),
            (720_000, 3, back),
            (780_000, 3, back),
            (1_200_000, 0, From::After(S)),
        ] {
            let from = tail.from(S, at);
            assert_eq!(from, expected, "{at}");
            tail.brought(from, S, None, rows, at);
        }
        // Something newer begins it anew.
        tail.brought(From::After(S), S, Some(S + 5_000), 1, 1_300_000);
        assert_eq!(tail.from(S, 1_360_000), From::Back(S + 5_000 - 1_200_000));
    }
}
