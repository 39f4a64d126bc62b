//! Reading again what changed while the stream's position was lost.
//!
//! The org keeps events for 72 hours, and forgets positions when it moves. By the time the ledger has an entry
//! here, the stream goes on from the tip; what lies between is asked for by stamp, deleted rows too, from some
//! time before the newest event that was applied: a stamp is set when a row is written, which may be minutes
//! before its transaction commits. What left the recycle bin meanwhile is found by the comparison that follows.
//!
//! A first load waits for no position. Once the org has told one, what changed since the load began is read in the same
//! way, as soon as the load has ended.

use std::time::Duration;

use tokio::time::{sleep, timeout};

use crate::inbound::Wires;
use crate::inbound::apply::queue::Ended;
use crate::inbound::command::{Command, Source};
use crate::inbound::mapping::stamp_field;
use crate::inbound::poll::changed_since;
use crate::model::clock::{Millis, Moment, format_datetime};
use crate::model::retry::Policy;
use crate::store::cache::repairs::{self, Kind, Repair};
use crate::store::cache::{State, objects};
use crate::telemetry::pulse::Pulse;

/// No transaction takes longer.
const OVERLAP_MILLIS: Millis = 15 * 60_000;

/// How often to look where no bell rang.
const INTERVAL: Duration = Duration::from_secs(30);

/// Longest time for one object, however much of it changed.
const OBJECT_MAX: Duration = Duration::from_secs(1_800);

const RETRY: Policy = Policy {
    first: Duration::from_millis(500),
    longest: Duration::from_secs(60),
};

/// Works on open catch-ups for as long as the daemon runs.
pub async fn run(wires: Wires) -> anyhow::Result<()> {
    let keep_going = async {
        let mut bell = wires.bells.ledger.subscribe();
        let mut failures = 0;
        let pulse = Pulse::new("catch up");
        loop {
            bell.borrow_and_update();
            pulse.quiet_for(OBJECT_MAX);
            crate::failpoint::stand("catch_up").await;
            let mut failed = false;
            let open = wires
                .reader
                .with(|connection| repairs::open(connection, Kind::CatchUp, 1_000))?;
            for entry in &open {
                if is_being_loaded(&wires, &entry.object)? {
                    continue;
                }
                pulse.quiet_for(OBJECT_MAX);
                match work_off(&wires, entry).await {
                    Ok(()) => {}
                    Err(error) if error.is::<Ended>() => return Ok(()),
                    Err(error) => {
                        failed = true;
                        tell(&wires, entry, &error).await?;
                    }
                }
            }
            pulse.rests_for(INTERVAL.max(RETRY.longest));
            if failed {
                failures += 1;
                sleep(RETRY.delay(failures)).await;
            } else {
                failures = 0;
                // Whichever comes first: the bell, or the time to look anyway.
                drop(timeout(INTERVAL, bell.changed()).await);
            }
        }
    };
    tokio::select! {
        () = wires.stop.cancelled() => Ok(()),
        result = keep_going => result,
    }
}

/// The end of a load rings the bell of the ledger.
fn is_being_loaded(wires: &Wires, object: &str) -> anyhow::Result<bool> {
    let state = wires
        .reader
        .with(|connection| objects::object(connection, object))?;
    Ok(state.is_some_and(|state| state.state != State::Live))
}

async fn tell(wires: &Wires, entry: &Repair, error: &anyhow::Error) -> anyhow::Result<()> {
    let object = &entry.object;
    tracing::warn!(%object, "what changed in {object} could not be read, will be tried again: {error:#}");
    let (numbers, error) = (vec![entry.number], format!("{error:#}"));
    Ok(wires.apply.send(Command::Failed { numbers, error }).await?)
}

async fn work_off(wires: &Wires, entry: &Repair) -> anyhow::Result<()> {
    let object = &entry.object;
    let planned = wires.find(object);
    let stamp = planned.as_ref().and_then(|planned| stamp_field(&planned.table));
    let (Some(planned), Some(stamp), Some(since)) = (planned, stamp, entry.since) else {
        // Not mirrored any more, or without stamps: only a whole read can tell.
        let reason = "position lost".into();
        let reload = Command::Reload {
            object: object.clone(),
            reason,
        };
        wires.apply.send(reload).await?;
        return close(wires, entry, 0, None).await;
    };
    let asked = wires.clock.moment();
    let source = |read_rev| Source::CatchUp { read_rev };
    let condition = format!("{stamp} >= {}", format_datetime(since - OVERLAP_MILLIS));
    let brought = changed_since(wires, &planned, stamp, &condition, source).await?;
    close(wires, entry, brought.rows, Some(asked)).await
}

async fn close(wires: &Wires, entry: &Repair, rows: u64, asked: Option<Moment>) -> anyhow::Result<()> {
    let (object, number) = (entry.object.clone(), entry.number);
    wires
        .apply
        .apply(Command::CaughtUp {
            object,
            number,
            rows,
            asked,
        })
        .await?;
    Ok(())
}
