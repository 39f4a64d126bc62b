//! Comparing the cache with the org by schedule, and where the ledger asks for it.
//!
//! How it is done, and what it can and can not see, is in [`super::compare`]. Nothing is written here: what
//! differs is handed to the ledger, and read again through the door.
//!
//! While a removal waits for a person, the rows of its object are counted in the org now and then. Once it counts as many
//! as are here, the object is compared; where all rows are found, the removal is withdrawn.

use std::collections::HashMap;
use std::time::Duration;

use tokio::time::timeout;

use crate::failpoint;
use crate::inbound::Wires;
use crate::inbound::apply::queue::Ended;
use crate::inbound::budget::Limits;
use crate::inbound::command::Command;
use crate::inbound::compare::{Comparison, Depth, Drift, Patience, RESTAMPED};
use crate::inbound::prepare::Planned;
use crate::inbound::records::count;
use crate::model::clock::Millis;
use crate::store::cache::absence::{self, Decision, Waiting};
use crate::store::cache::repairs::{self, Kind, Repair};
use crate::store::cache::{State, objects};
use crate::telemetry::pulse::Pulse;

/// How long to wait for the next poll of an object whose changes come by polling. What is being repaired is left out
/// beforehand.
const PATIENCE: Patience = Patience {
    poll: Duration::from_secs(300),
    repairs: Duration::ZERO,
};

/// Longest time to compare one object, with every row read.
const OBJECT_MAX: Duration = Duration::from_secs(3_600);

/// How often to look whether anything is to be compared.
const INTERVAL: Duration = Duration::from_secs(10);

/// How often rows are counted that a removal waits for: a tenth of how long it has waited, within these bounds.
const RECOUNT_MILLIS: [Millis; 2] = [30_000, 900_000];

/// When the rows of each removal that waits were last counted, by the machine's clock.
type Recounted = HashMap<String, Millis>;

/// Compares what is due: what the ledger asks for, and every object as often as the limits say.
pub async fn run(wires: Wires, limits: Limits) -> anyhow::Result<()> {
    let keep_going = async {
        let mut bell = wires.bells.ledger.subscribe();
        let pulse = Pulse::new("verify");
        let mut recounted = Recounted::new();
        loop {
            bell.borrow_and_update();
            match round(&wires, &limits, &pulse, &mut recounted).await {
                Ok(()) => {}
                Err(error) if error.is::<Ended>() => return Ok(()),
                Err(error) => return Err(error),
            }
            pulse.rests_for(INTERVAL);
            // Whichever comes first: the bell, or the time to look anyway.
            drop(timeout(INTERVAL, bell.changed()).await);
        }
    };
    tokio::select! {
        () = wires.stop.cancelled() => Ok(()),
        result = keep_going => result,
    }
}

async fn round(
    wires: &Wires,
    limits: &Limits,
    pulse: &Pulse,
    recounted: &mut Recounted,
) -> anyhow::Result<()> {
    if !limits.budget().allows_comparing(wires.org.api_usage()) {
        return Ok(());
    }
    let asked = wires
        .reader
        .with(|connection| repairs::open(connection, Kind::Verify, 1_000))?;
    let catching_up = wires
        .reader
        .with(|connection| repairs::open(connection, Kind::CatchUp, 1_000))?;
    let back = may_be_back(wires, recounted).await?;
    for planned in &*wires.planned() {
        pulse.quiet_for(OBJECT_MAX);
        failpoint::stand("verify").await;
        let object = &planned.table.object;
        let entry = asked.iter().find(|entry| entry.object == *object);
        // What is being read again would only be found to differ.
        if catching_up.iter().any(|entry| entry.object == *object) {
            continue;
        }
        if !is_due(wires, planned, entry, limits.verify_hours())? && !back.contains(object) {
            continue;
        }
        if let Err(error) = compare_and_hand_over(wires, planned, entry).await {
            if error.is::<Ended>() {
                return Err(error);
            }
            tracing::warn!(%object, "{object} could not be compared, will be tried again: {error:#}");
            if let Some(entry) = entry {
                let (numbers, error) = (vec![entry.number], format!("{error:#}"));
                wires.apply.send(Command::Failed { numbers, error }).await?;
            }
        }
    }
    Ok(())
}

/// The objects of which a removal waits and the org counts as many rows as are here.
async fn may_be_back(wires: &Wires, recounted: &mut Recounted) -> anyhow::Result<Vec<String>> {
    let waiting = wires.reader.with(absence::waiting)?;
    recounted.retain(|object, _| waiting.iter().any(|waiting| waiting.object == *object));
    let mut back = Vec::new();
    for Waiting { object, since, .. } in waiting {
        let now = wires.clock.moment();
        let [least, most] = RECOUNT_MILLIS;
        let interval = ((now.wall - since) / 10).clamp(least, most);
        let interval = failpoint::bound("RECOUNT_MILLIS", interval.unsigned_abs());
        let is_recent = |at: &Millis| (now.boot - at).unsigned_abs() < interval;
        let state = wires
            .reader
            .with(|connection| objects::object(connection, &object))?;
        let state = state.filter(|state| state.state == State::Live);
        let (Some(planned), Some(state)) = (wires.find(&object), state) else {
            continue;
        };
        if recounted.get(&object).is_some_and(is_recent) {
            continue;
        }
        recounted.insert(object.clone(), now.boot);
        match count(&wires.org, &planned, &[]).await {
            Ok(counted) if counted >= state.rows.unsigned_abs() => back.push(object),
            Ok(_) => {}
            Err(error) => {
                tracing::debug!(%object, "the rows of {object} that a removal waits for cannot be counted: {error}");
            }
        }
    }
    Ok(back)
}

fn is_due(wires: &Wires, planned: &Planned, entry: Option<&Repair>, hours: u32) -> anyhow::Result<bool> {
    let object = &planned.table.object;
    let state = wires
        .reader
        .with(|connection| objects::object(connection, object))?;
    let Some(state) = state.filter(|state| state.state == State::Live) else {
        return Ok(false);
    };
    if entry.is_some_and(|entry| entry.attempts < 5) {
        return Ok(true);
    }
    let last = state.verified_at.max(state.loaded_at).unwrap_or(0);
    let passed = wires.org.org_time() - last;
    Ok(hours > 0 && passed >= i64::from(hours) * 3_600_000)
}

async fn compare_and_hand_over(
    wires: &Wires,
    planned: &Planned,
    entry: Option<&Repair>,
) -> anyhow::Result<()> {
    let mut comparison = Comparison::new(&wires.org, &wires.reader, planned, Depth::Windows, PATIENCE);
    let (mut rows, mut before, mut extra) = (0, 0, 0);
    let looked_at = wires.clock.now();
    while let Some(report) = comparison.next().await? {
        rows += report.rows;
        let object = planned.table.object.clone();
        let restamped: Vec<String> = report.restamped.into_iter().collect();
        if !restamped.is_empty() {
            wires
                .apply
                .apply(Command::ReadAgain {
                    object: object.clone(),
                    ids: restamped,
                    reason: RESTAMPED.into(),
                })
                .await?;
        }
        let is_extra = |drift: &&Drift| **drift == Drift::Extra;
        extra += report.drift.values().filter(is_extra).count();
        let differing = report.drift.iter();
        let differing: Vec<_> = differing
            .map(|(id, drift)| (id.clone(), drift.reason().into()))
            .collect();
        let count = differing.len() as u64;
        wires
            .apply
            .apply(Command::Compared {
                object,
                number: entry.map(|entry| entry.number),
                rows,
                before,
                differing,
            })
            .await?;
        before += count;
    }
    let object = &planned.table.object;
    let waiting = wires.reader.with(absence::waiting)?;
    if extra == 0 && waiting.iter().any(|waiting| waiting.object == *object) {
        wires
            .apply
            .apply(Command::Removal {
                object: object.clone(),
                decision: Decision::Back { looked_at },
            })
            .await?;
    }
    Ok(())
}
