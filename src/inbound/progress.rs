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
const BAR: usize = 16;

/// The line is cut there: one that is wrapped by the terminal cannot be taken back.
const COLUMNS_MAX: usize = 79;

/// Shows the first load for as long as it takes, and nothing afterwards.
pub async fn run(wires: Wires) -> anyhow::Result<()> {
    let begun = Instant::now();
    let mut bar: Option<Bar> = None;
    while std::io::stderr().is_terminal() && !wires.stop.is_cancelled() {
        let standing = wires
            .reader
            .with(|connection| Ok((objects::objects(connection)?, loads::loads(connection)?)))?;
        let load = Load::of(&standing.0, &standing.1);
        if load.objects_done == load.objects {
            show("");
            break;
        }
        let bar = bar.get_or_insert_with(|| Bar::from(&load));
        show(&bar.line(&load, begun.elapsed()));
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
#[derive(Debug, PartialEq)]
struct Load {
    objects: usize,
    objects_done: usize,
    rows: u64,
    /// From 0 to 1. Each object counts as much as another: how many rows it has is known only once it is read.
    share: f64,
}

impl Load {
    fn of(objects: &[ObjectState], loads: &[Progress]) -> Self {
        let done = |object: &&ObjectState| matches!(object.state, State::Live | State::Reload);
        let objects_done = objects.iter().filter(done).count();
        let here = objects
            .iter()
            .filter(done)
            .map(|object| object.rows.unsigned_abs());
        let mut rows: u64 = here.sum();
        let mut parts = 0.0;
        for load in loads {
            let own = objects.iter().find(|object| object.object == load.object);
            if own.is_none_or(|object| done(&object)) {
                continue;
            }
            rows += load.rows;
            if let Some(place) = &load.place {
                parts += load.rows as f64 / place.total.max(load.rows).max(1) as f64;
            }
        }
        Self {
            objects: objects.len(),
            objects_done,
            rows,
            share: (objects_done as f64 + parts) / objects.len().max(1) as f64,
        }
    }
}

/// What is shown of a load: it only goes forward, also where an object is begun anew.
#[derive(Debug, PartialEq)]
struct Bar {
    /// How far the load was at first.
    rows_before: u64,
    share_before: f64,
    share: f64,
}

impl Bar {
    fn from(load: &Load) -> Self {
        Self {
            rows_before: load.rows,
            share_before: load.share,
            share: load.share,
        }
    }

    /// Not wider than a terminal usually is. `elapsed` since the first.
    fn line(&mut self, load: &Load, elapsed: Duration) -> String {
        self.share = self.share.max(load.share.min(1.0));
        let rate = load.rows.saturating_sub(self.rows_before) / elapsed.as_secs().max(1);
        let gained = self.share - self.share_before;
        let left = match gained > 0.0 {
            true => format!("{:.0}", elapsed.as_secs_f64() * (1.0 - self.share) / gained),
            false => "-".to_owned(),
        };
        let filled = self.share * BAR as f64;
        let bar: String = (0..BAR)
            .map(|at| if (at as f64) < filled.floor() { '#' } else { '.' })
            .collect();
        let line = format!(
            "[{bar}] {:.0} %, {} of {} objects, {} rows, {rate} rows/s, {left} s left",
            (self.share * 100.0).floor(),
            load.objects_done,
            load.objects,
            load.rows
        );
        line.chars().take(COLUMNS_MAX).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(objects_done: usize, rows: u64, share: f64) -> Load {
        Load {
            objects: 12,
            objects_done,
            rows,
            share,
        }
    }

    #[test]
    fn the_line_tells_rows_rate_and_time_left() {
        let mut bar = Bar::from(&load(0, 1_000, 0.0));
        for (load, seconds, expected) in [
            (
                load(0, 1_000, 0.0),
                0,
                "[................] 0 %, 0 of 12 objects, 1000 rows, 0 rows/s, - s left",
            ),
            (
                load(6, 5_000, 0.5),
                4,
                "[########........] 50 %, 6 of 12 objects, 5000 rows, 1000 rows/s, 4 s left",
            ),
            // Begun anew.
            (
                load(6, 4_000, 0.4),
                6,
                "[########........] 50 %, 6 of 12 objects, 4000 rows, 500 rows/s, 6 s left",
            ),
            (
                load(12, 10_000, 1.0),
                9,
                "[################] 100 %, 12 of 12 objects, 10000 rows, 1000 rows/s, 0 s left",
            ),
        ] {
            assert_eq!(bar.line(&load, Duration::from_secs(seconds)), expected);
        }
        let long = bar.line(&load(12, u64::MAX, 1.0), Duration::from_secs(1));
        assert_eq!(long.chars().count(), COLUMNS_MAX);
    }
}
