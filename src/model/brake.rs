//! When rows may leave the cache because a read did not find them.
//!
//! A row that the org says is deleted leaves at once. One that a read merely did not find may be hidden from the user,
//! or the read may have been cut short: few of them leave freely, [`free`] says how many. For more the org is asked
//! about each of them, or about a sample: a count would not do, because it counts what the user may see. What the org
//! still has was read incompletely, and nothing leaves. What it knows as deleted leaves. What it does not know at all
//! waits for a person.

use serde::{Deserialize, Serialize};

/// Rows that may leave any table within an hour.
const ROWS_FREE_MIN: u64 = 20;
/// Rows that may leave the largest table within an hour.
const ROWS_FREE_MAX: u64 = 1_000;
/// One row of so many may leave within an hour.
const SHARE_FREE: u64 = 100;

/// A removal that is wanted.
#[derive(Clone, Copy, Debug, Default)]
pub struct Wanted {
    /// Rows that a read did not find.
    pub absent: u64,
    /// Rows of the table.
    pub rows: u64,
    /// Rows that left within the hour because they were absent.
    pub left: u64,
    /// Rows that a person released.
    pub released: u64,
    /// What the org said when it was asked about them.
    pub answer: Option<Answer>,
}

/// What the org said about rows that a read did not find.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// Rows that it was asked about.
    pub asked: u64,
    /// Of these, rows that it still has.
    pub live: u64,
    /// Of these, rows that are deleted, or that are not mirrored any more by the object's condition.
    pub gone: u64,
}

/// What becomes of a removal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The rows leave. `unproved` of them count against the hour.
    Leave { unproved: u64 },
    /// The org is to be asked about the rows first.
    Ask,
    /// The org still has some of them: the read was incomplete.
    Incomplete,
    /// A person decides.
    Wait,
}

/// Rows that may leave a table of so many within an hour.
pub fn free(rows: u64) -> u64 {
    (rows / SHARE_FREE).clamp(ROWS_FREE_MIN, ROWS_FREE_MAX)
}

/// The one decision about rows that leave because they were absent.
pub fn judge(wanted: &Wanted) -> Verdict {
    let unproved = match wanted.answer {
        Some(answer) if answer.live > 0 => return Verdict::Incomplete,
        Some(answer) => unproved(wanted.absent, answer),
        None => wanted.absent,
    };
    let empties = unproved > 1 && wanted.absent >= wanted.rows;
    let is_free = wanted.left + unproved <= free(wanted.rows) && !empties;
    if unproved == 0 || is_free || unproved <= wanted.released {
        return Verdict::Leave { unproved };
    }
    match wanted.answer {
        None => Verdict::Ask,
        Some(_) => Verdict::Wait,
    }
}

/// Of so many absent rows, those that the org does not know at all, by the share of those it was asked about.
fn unproved(absent: u64, answer: Answer) -> u64 {
    let unknown = answer.asked.saturating_sub(answer.gone);
    match answer.asked {
        0 => absent,
        asked => (absent * unknown).div_ceil(asked),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_leave_freely_up_to_a_share_and_beyond_it_by_evidence_or_a_person() {
        let ask = Verdict::Ask;
        let leave = |unproved| Verdict::Leave { unproved };
        let answer = |asked, live, gone| Some(Answer { asked, live, gone });
        // Absent, rows, left within the hour, released, the org's answer.
        let cases = [
            ((0, 0, 0, 0, None), leave(0)),
            ((20, 50, 0, 0, None), leave(20)),
            ((21, 50, 0, 0, None), ask),
            ((1, 50, 20, 0, None), ask),
            ((100, 10_000, 0, 0, None), leave(100)),
            ((100, 10_000, 1, 0, None), ask),
            ((90, 10_000, 90, 0, None), ask),
            ((1_000, 1_000_000, 0, 0, None), leave(1_000)),
            ((1_001, 1_000_000, 0, 0, None), ask),
            // A table is not emptied freely, but for its only row.
            ((15, 15, 0, 0, None), ask),
            ((1, 1, 0, 0, None), leave(1)),
            ((15, 15, 0, 0, answer(15, 0, 0)), Verdict::Wait),
            ((15, 15, 0, 0, answer(15, 0, 15)), leave(0)),
            // The org knows all of them as deleted, some of them, or none.
            ((1_424, 1_524, 0, 0, answer(1_424, 0, 1_424)), leave(0)),
            ((1_424, 1_524, 0, 0, answer(1_424, 0, 1_404)), leave(20)),
            ((1_424, 1_524, 1, 0, answer(1_424, 0, 1_404)), Verdict::Wait),
            ((1_424, 1_524, 0, 0, answer(1_424, 0, 0)), Verdict::Wait),
            ((1_424, 1_524, 0, 0, answer(1_424, 1, 1_423)), Verdict::Incomplete),
            // Of a sample, what is not known stands for as large a share of all.
            ((50_000, 1_000_000, 0, 0, answer(2_000, 0, 2_000)), leave(0)),
            ((50_000, 1_000_000, 0, 0, answer(2_000, 0, 1_960)), leave(1_000)),
            ((50_000, 1_000_000, 0, 0, answer(2_000, 0, 1_959)), Verdict::Wait),
            // A person releases a number, and not what is more or still there.
            ((1_424, 1_524, 0, 1_424, None), leave(1_424)),
            ((1_425, 1_524, 0, 1_424, None), ask),
            ((1_424, 1_524, 0, 1_424, answer(1_424, 3, 0)), Verdict::Incomplete),
        ];
        for ((absent, rows, left, released, answer), expected) in cases {
            let wanted = Wanted {
                absent,
                rows,
                left,
                released,
                answer,
            };
            assert_eq!(judge(&wanted), expected, "{wanted:?}");
        }
    }

    #[test]
    fn many_small_removals_within_an_hour_are_a_large_one() {
        let (mut rows, mut left) = (10_000, 0);
        for _ in 0..25 {
            let absent = 90;
            let wanted = Wanted {
                absent,
                rows,
                left,
                ..Wanted::default()
            };
            if let Verdict::Leave { unproved } = judge(&wanted) {
                rows -= absent;
                left += unproved;
            }
        }
        assert_eq!(left, 90);
    }
}
