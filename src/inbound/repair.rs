//! Reading single records again: those whose change could not be taken from an event.
//!
//! Works only on objects that are live; while one is being loaded its repairs wait, since a page read before
//! the event may still arrive. A record that changes while it is read stays open and is read once more.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::{sleep, timeout};

use crate::inbound::Wires;
use crate::inbound::apply::Work;
use crate::inbound::apply::work::{Ended, ask};
use crate::model::retry::Policy;
use crate::store::cache::repairs::{self, Repair};

/// Records read at a time, of one object.
const RECORDS_MAX: usize = 200;

/// How often to look where no bell rang.
const INTERVAL: Duration = Duration::from_secs(10);

/// Between two rounds: a record that is changing all the time is not read all the time.
const PAUSE: Duration = Duration::from_millis(200);

const RETRY: Policy = Policy {
    first: Duration::from_millis(500),
    longest: Duration::from_secs(60),
};

/// Works on open repairs for as long as the daemon runs.
pub async fn run(wires: Wires) -> anyhow::Result<()> {
    let keep_going = async {
        let mut failures = 0;
        loop {
            match round(&wires).await {
                Ok(0) => {
                    failures = 0;
                    // Whichever comes first: the bell, or the time to look anyway.
                    drop(timeout(INTERVAL, wires.bells.repairs.notified()).await);
                }
                Ok(_) => {
                    failures = 0;
                    sleep(PAUSE).await;
                }
                Err(error) if error.is::<Ended>() => return Ok(()),
                Err(error) => {
                    failures += 1;
                    tracing::warn!(
                        failures,
                        "records could not be read again, will be tried again: {error:#}"
                    );
                    sleep(RETRY.delay(failures)).await;
                }
            }
        }
    };
    tokio::select! {
        () = wires.stop.cancelled() => Ok(()),
        result = keep_going => result,
    }
}

/// Reads the records of the oldest open repairs again. How many there were.
async fn round(wires: &Wires) -> anyhow::Result<usize> {
    let due = wires
        .reader
        .with(|connection| repairs::due(connection, RECORDS_MAX))?;
    let count = due.len();
    for (object, repairs) in by_object(due) {
        let Some(planned) = wires
            .planned
            .iter()
            .find(|planned| planned.table.object == object)
        else {
            continue;
        };
        let ids: Vec<String> = repairs
            .iter()
            .filter_map(|repair| repair.record_id.clone())
            .collect();
        let read_rev = *wires.bells.rev.borrow();
        let records = wires.org.retrieve(&object, &ids, &planned.fields()).await?;
        anyhow::ensure!(
            records.len() == ids.len(),
            "the org answered {} records of {object} where {} were asked for",
            records.len(),
            ids.len()
        );
        let numbers = repairs.iter().map(|repair| repair.number);
        let rows = numbers
            .zip(ids)
            .zip(records)
            .map(|((number, id), record)| (number, id, record))
            .collect();
        ask(&wires.work, |done| Work::Repaired {
            object,
            read_rev,
            rows,
            done,
        })
        .await?;
    }
    Ok(count)
}

fn by_object(due: Vec<Repair>) -> BTreeMap<String, Vec<Repair>> {
    let mut objects: BTreeMap<String, Vec<Repair>> = BTreeMap::new();
    for repair in due {
        objects.entry(repair.object.clone()).or_default().push(repair);
    }
    objects
}
