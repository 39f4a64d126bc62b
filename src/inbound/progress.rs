//! The first load as people at a terminal see it: one line that says how far it is.
//!
//! Written only where standard error is a terminal; the log, the status and the metrics tell others. The line ends
//! with a return, so that a line of the log takes its place.

use std::io::{IsTerminal as _, Write as _};
use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::inbound::Wires;
use crate::store::cache::State;
use crate::store::cache::loads::{self, Progress};
use crate::store::cache::objects::{self, ObjectState};

/// Between two looks.
const INTERVAL: Duration = Duration::from_millis(500);

/// Characters of the bar.
const BAR: usize = 24;

/// Shows the first load for as long as it takes, and nothing afterwards.
pub async fn run(wires: Wires) -> anyhow::Result<()> {
    let begun = Instant::now();
    let mut first_rows = None;
    while std::io::stderr().is_terminal() && !wires.stop.is_cancelled() {
        let standing = wires
            .reader
            .with(|connection| Ok((objects::objects(connection)?, loads::loads(connection)?)))?;
        let load = Load::of(&standing.0, &standing.1);
        if load.objects_done == load.objects {
            show("");
            break;
        }
        let before = *first_rows.get_or_insert(load.rows);
        show(&load.line(before, begun.elapsed()));
        sleep(INTERVAL).await;
    }
    wires.stop.cancelled().await;
    Ok(())
}

/// In place of what the line held. A terminal that is gone is no reason to stop.
fn show(line: &str) {
    drop(write!(std::io::stderr(), "\r\x1b[2K{line}\r"));
}

/// How far all objects are together.
#[derive(Debug, PartialEq, Eq)]
struct Load {
    objects: usize,
    objects_done: usize,
    rows: u64,
    /// Rows of the objects whose number is known by now.
    rows_known: u64,
}

impl Load {
    fn of(objects: &[ObjectState], loads: &[Progress]) -> Self {
        let done = |object: &&ObjectState| matches!(object.state, State::Live | State::Reload);
        let here: u64 = objects
            .iter()
            .filter(done)
            .map(|object| object.rows.unsigned_abs())
            .sum();
        let loading = loads.iter().filter(|load| {
            objects
                .iter()
                .any(|object| object.object == load.object && !done(&object))
        });
        let (mut rows, mut rows_known) = (here, here);
        for load in loading {
            rows += load.rows;
            rows_known += load
                .place
                .as_ref()
                .map_or(load.rows, |place| place.total.max(load.rows));
        }
        Self {
            objects: objects.len(),
            objects_done: objects.iter().filter(done).count(),
            rows,
            rows_known,
        }
    }

    /// `before` is the number of rows that were here at the beginning, `elapsed` ago.
    fn line(&self, before: u64, elapsed: Duration) -> String {
        let rate = (self.rows - before.min(self.rows)) / elapsed.as_secs().max(1);
        let filled = match self.rows_known {
            0 => 0,
            known => BAR * usize::try_from(self.rows * 100 / known).unwrap_or(100) / 100,
        };
        let bar: String = (0..BAR).map(|at| if at < filled { '#' } else { '.' }).collect();
        let left = match rate {
            0 => "-".to_owned(),
            rate => ((self.rows_known - self.rows) / rate).to_string(),
        };
        format!(
            "[{bar}] {} of {} rows known so far, {} of {} objects, {rate} rows/s, {left} s left",
            self.rows, self.rows_known, self.objects_done, self.objects
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_tells_rows_rate_and_time_left() {
        let load = |rows, rows_known| Load {
            objects: 12,
            objects_done: 3,
            rows,
            rows_known,
        };
        let seconds = Duration::from_secs;
        for (load, before, elapsed, expected) in [
            (
                load(0, 0),
                0,
                seconds(0),
                "[........................] 0 of 0 rows known so far, 3 of 12 objects, 0 rows/s, - s left",
            ),
            (
                load(5_000, 10_000),
                1_000,
                seconds(4),
                "[############............] 5000 of 10000 rows known so far, 3 of 12 objects, 1000 rows/s, 5 s left",
            ),
            (
                load(10_000, 10_000),
                0,
                seconds(2),
                "[########################] 10000 of 10000 rows known so far, 3 of 12 objects, 5000 rows/s, 0 s left",
            ),
        ] {
            assert_eq!(load.line(before, elapsed), expected);
        }
    }
}
