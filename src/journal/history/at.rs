//! How a record was at a time, by the org's clock.
//!
//! Unlike the timeline this goes by commit times and not by the order of arrival: the row is the newest that was read
//! with a stamp of that time or before, and on top of it the events that were committed after the stamp, up to that
//! time. What no event tells and no read found, such as a formula between two reads, is as the last read had it.

use crate::journal::history::History;
use crate::journal::history::record::State;
use crate::journal::history::touches::{Cause, Row, Touch, What};
use crate::model::clock::Millis;
use crate::model::row::Table;

/// A record at a time.
#[derive(Clone, Debug, PartialEq)]
pub enum Then {
    /// It was there. `whole` where every field is known.
    Row {
        row: Row,
        whole: bool,
    },
    Absent,
    /// The journal does not reach back so far: the record is first met at this time.
    Unknown {
        first_met: Option<Millis>,
    },
}

impl History {
    /// A record as it was at an instant.
    pub fn at(&mut self, object: &str, id: &str, instant: Millis) -> anyhow::Result<Then> {
        let table = self.table(object)?;
        let touches = self.touches(object, id, table.as_ref())?;
        let swept = swept(table.as_ref(), &touches);
        let mut state = State::new(table.as_ref());
        let base = newest_read(&touches, instant);
        let mut since = None;
        if let Some((place, touch)) = base
            && let What::Whole(row) = &touch.what
        {
            state.set_whole(row, touch);
            since = Some((touch.at, place));
        }
        for (place, touch) in touches.iter().enumerate() {
            let after = since.is_none_or(|(at, read)| touch.at > at || (touch.at == at && place > read));
            if touch.at > instant || !after {
                continue;
            }
            match &touch.what {
                What::Part { said, makes } => drop(state.set_part(said, *makes, touch)),
                What::Gone => drop(state.apply(touch)),
                What::LoadEnded if swept.contains(&place) => state.set_gone(touch),
                _ => {}
            }
        }
        let met = touches
            .iter()
            .filter(|touch| !matches!(touch.what, What::LoadBegun | What::LoadEnded));
        let first = met.min_by_key(|touch| touch.at);
        Ok(match (state.present(), state.row) {
            (Some(true), Some(row)) => Then::Row {
                row,
                whole: state.whole,
            },
            (Some(_), _) => Then::Absent,
            // Before its first event, which made it, it was not there.
            (None, _) if first.is_some_and(|touch| matches!(touch.what, What::Part { makes: true, .. })) => {
                Then::Absent
            }
            (None, _) => Then::Unknown {
                first_met: first.map(|touch| touch.at),
            },
        })
    }
}

/// The ends of loads that did not see the record, which was here.
fn swept(table: Option<&Table>, touches: &[Touch]) -> Vec<usize> {
    let mut state = State::new(table);
    let mut swept = Vec::new();
    for (place, touch) in touches.iter().enumerate() {
        let was_here = state.row.is_some();
        state.apply(touch);
        if was_here && state.row.is_none() && matches!(touch.what, What::LoadEnded) {
            swept.push(place);
        }
    }
    swept
}

/// The read with the newest stamp up to an instant; of several with one stamp the last that was taken by then, else the
/// first after it.
fn newest_read(touches: &[Touch], instant: Millis) -> Option<(usize, &Touch)> {
    let reads = touches.iter().enumerate().filter(|(_, touch)| {
        matches!(touch.cause, Cause::Read(_)) && matches!(touch.what, What::Whole(_)) && touch.at <= instant
    });
    reads.max_by_key(|(place, touch)| {
        let by_then = touch.seen_at <= instant;
        let order = i64::try_from(*place).unwrap_or(i64::MAX);
        (touch.at, by_then, if by_then { order } else { -order })
    })
}
