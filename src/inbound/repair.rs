//! Reading single records again: those whose change could not be taken from an event.
//!
//! Works only on objects that are live; while one is being loaded its records wait, since a page read before
//! the event may still arrive. A record that changes while it is read stays open and is read once more. One
//! object that can not be read does not hold up the others.

use std::time::Duration;

use serde_json::{Map, Value};
use tokio::time::{sleep, timeout};

use crate::inbound::apply::queue::Ended;
use crate::inbound::command::Command;
use crate::inbound::prepare::Planned;
use crate::inbound::records::read_records;
use crate::inbound::{Wires, absent};
use crate::model::retry::Policy;
use crate::model::trouble::Failing;
use crate::salesforce::Error;
use crate::salesforce::pages::unreadable;
use crate::store::cache::absence::Decision;
use crate::store::cache::repairs::{self, Repair};
use crate::telemetry::pulse::Pulse;

/// Records read at a time, of one object.
const RECORDS_MAX: usize = 200;

/// Records that were asked for, taken up in one round.
const ASKED_MAX: usize = 1_000;

/// How often to look where no bell rang.
const INTERVAL: Duration = Duration::from_secs(5);

/// Between two rounds: a record that is changing all the time is not read all the time.
const PAUSE: Duration = Duration::from_millis(200);

/// Longest time for a round: a call for some records of each object.
const ROUND_MAX: Duration = Duration::from_secs(1_800);

const RETRY: Policy = Policy {
    first: Duration::from_millis(500),
    longest: Duration::from_secs(60),
};

/// What a round came to.
#[derive(Default)]
struct Round {
    records: usize,
    failed: bool,
}

/// Works on open repairs for as long as the daemon runs.
pub async fn run(wires: Wires) -> anyhow::Result<()> {
    let keep_going = async {
        let mut bell = wires.bells.ledger.subscribe();
        let mut failures = 0;
        let pulse = Pulse::new("repair");
        loop {
            bell.borrow_and_update();
            pulse.quiet_for(ROUND_MAX);
            crate::failpoint::stand("repair").await;
            let round = round(&wires).await;
            pulse.rests_for(INTERVAL.max(RETRY.longest));
            match round {
                Ok(Round { failed: true, .. }) => {
                    failures += 1;
                    sleep(RETRY.delay(failures)).await;
                }
                Ok(Round { records: 0, .. }) => {
                    failures = 0;
                    // Whichever comes first: the bell, or the time to look anyway.
                    drop(timeout(INTERVAL, bell.changed()).await);
                }
                Ok(_) => {
                    failures = 0;
                    sleep(PAUSE).await;
                }
                Err(error) if error.is::<Ended>() => return Ok(()),
                Err(error) => return Err(error),
            }
        }
    };
    tokio::select! {
        () = wires.stop.cancelled() => Ok(()),
        result = keep_going => result,
    }
}

/// Reads records of each object that has some to be read again.
async fn round(wires: &Wires) -> anyhow::Result<Round> {
    let mut round = Round::default();
    take_asked(wires).await?;
    let objects = wires.reader.with(repairs::due_objects)?;
    // What else than reading it again may have closed an entry.
    let failing = wires.bells.unrepaired.borrow().clone();
    for object in failing.keys().filter(|object| !objects.contains(object)) {
        tell(wires, object, None);
    }
    for object in objects {
        let due = wires
            .reader
            .with(|connection| repairs::due(connection, &object, RECORDS_MAX))?;
        match work_off(wires, &object, &due).await {
            Ok(Worked { records, unreadable }) => {
                tell(wires, &object, None);
                round.records += records;
                round.failed |= unreadable;
            }
            Err(error) if error.is::<Ended>() => return Err(error),
            Err(error) => {
                round.failed = true;
                tell(wires, &object, Some(&error));
                let numbers = due.iter().map(|repair| repair.number).collect();
                let error = format!("{error:#}");
                wires.apply.send(Command::Failed { numbers, error }).await?;
            }
        }
    }
    Ok(round)
}

/// What became of an object's records: told where it is another than before.
fn tell(wires: &Wires, object: &str, error: Option<&anyhow::Error>) {
    let failing = error.map(|error| Failing {
        cause: format!("records of {object} could not be read again: {error:#}"),
        is_lasting: error.downcast_ref::<Error>().is_some_and(Error::is_hidden),
    });
    wires.bells.unrepaired.send_if_modified(|all| {
        if all.get(object) == failing.as_ref() {
            return false;
        }
        match failing {
            Some(failing) => {
                tracing::warn!(%object, "{}; they are tried again", failing.cause);
                all.insert(object.to_owned(), failing);
            }
            None => drop(all.remove(object)),
        }
        true
    });
}

/// What was asked for from beside the daemon gets its entries.
async fn take_asked(wires: &Wires) -> anyhow::Result<()> {
    for asked in wires
        .reader
        .with(|connection| repairs::asked(connection, ASKED_MAX))?
    {
        if asked.record_id == repairs::DECISION_ID {
            let decision = Decision::from_text(&asked.reason).unwrap_or(Decision::Refuse);
            let object = asked.object;
            wires.apply.apply(Command::Removal { object, decision }).await?;
            continue;
        }
        // What is not mirrored now may be again.
        if wires.find(&asked.object).is_some() {
            wires
                .apply
                .apply(Command::ReadAgain {
                    object: asked.object,
                    ids: vec![asked.record_id],
                    reason: asked.reason.into(),
                })
                .await?;
        }
    }
    Ok(())
}

/// What came of an object's records.
#[derive(Default)]
struct Worked {
    records: usize,
    /// Some cannot be read, and are read again later.
    unreadable: bool,
}

async fn work_off(wires: &Wires, object: &str, due: &[Repair]) -> anyhow::Result<Worked> {
    let Some(planned) = wires.find(object) else {
        return Ok(Worked::default());
    };
    let ids: Vec<String> = due.iter().filter_map(|repair| repair.record_id.clone()).collect();
    let read_rev = *wires.bells.rev.borrow();
    let mut records = read_records(&wires.org, &planned, &ids).await?;
    anyhow::ensure!(
        records.len() == ids.len(),
        "the org answered {} records of {object} where {} were asked for",
        records.len(),
        ids.len()
    );
    mark_deleted(wires, &planned, &ids, &mut records).await?;
    let mut worked = Worked {
        records: ids.len(),
        unreadable: false,
    };
    let numbers = due.iter().map(|repair| repair.number);
    let mut rows = Vec::with_capacity(ids.len());
    for ((number, id), record) in numbers.zip(ids).zip(records) {
        let Some(reason) = record.as_ref().and_then(unreadable) else {
            rows.push((number, id, record));
            continue;
        };
        tracing::warn!(%object, %id, "the record {id} of {object} cannot be read, and is read again later: {reason}");
        let error = format!("it cannot be read: {reason}");
        let numbers = vec![number];
        wires.apply.send(Command::Failed { numbers, error }).await?;
        worked.unreadable = true;
    }
    wires
        .apply
        .apply(Command::Repaired {
            object: object.to_owned(),
            read_rev,
            rows: Some(rows),
        })
        .await?;
    Ok(worked)
}

/// Tells records that are deleted from those that the org does not know.
async fn mark_deleted(
    wires: &Wires,
    planned: &Planned,
    ids: &[String],
    records: &mut [Option<Map<String, Value>>],
) -> anyhow::Result<()> {
    let missing = ids.iter().zip(&*records).filter(|(_, record)| record.is_none());
    let missing: Vec<String> = missing.map(|(id, _)| id.clone()).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let said = absent::ask(&wires.org, planned, &missing).await?;
    anyhow::ensure!(
        said.live.is_empty(),
        "the org did not give {} records of {} that it has",
        said.live.len(),
        planned.table.object
    );
    for (id, record) in ids.iter().zip(records) {
        if record.is_none() && said.gone.contains(id) {
            let deleted = [("Id", Value::from(id.as_str())), ("IsDeleted", Value::from(true))];
            *record = Some(
                deleted
                    .map(|(field, value)| (field.to_owned(), value))
                    .into_iter()
                    .collect(),
            );
        }
    }
    Ok(())
}
