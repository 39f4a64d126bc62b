//! Keeping current what publishes no change events, by asking for what changed.
//!
//! Asked for are rows whose `SystemModstamp` is not older than the newest seen, minus an overlap, because a
//! transaction may become visible some time after its stamps; deleted rows are asked for too. Rows of the
//! overlap that are the same change nothing. What is removed from the recycle bin between two polls is not seen.

use std::time::Duration;

use serde_json::{Map, Value};
use tokio::time::{MissedTickBehavior, interval};

use crate::inbound::Wires;
use crate::inbound::apply::Work;
use crate::inbound::apply::work::{Ended, Source, ask};
use crate::inbound::prepare::Planned;
use crate::model::clock::{Millis, format_datetime, parse_datetime};
use crate::salesforce::rest::Scope;
use crate::store::cache::{State, objects};

const OVERLAP_MILLIS: Millis = 60_000;

const STAMP: &str = "SystemModstamp";

/// Polls every object that is not streamed, every `poll_seconds`.
pub async fn run(wires: Wires, poll_seconds: u32) -> anyhow::Result<()> {
    let polled = polled(&wires.planned);
    let keep_going = async {
        let mut ticks = interval(Duration::from_secs(u64::from(poll_seconds.max(1))));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            for planned in &polled {
                match poll(&wires, planned).await {
                    Ok(()) => {}
                    Err(error) if error.is::<Ended>() => return Ok(()),
                    Err(error) => {
                        let object = &planned.table.object;
                        tracing::warn!(%object, "{object} could not be polled, will be tried again: {error:#}");
                    }
                }
            }
        }
    };
    tokio::select! {
        () = wires.stop.cancelled() => Ok(()),
        result = keep_going => result,
    }
}

fn polled(planned: &[Planned]) -> Vec<&Planned> {
    let (polled, fixed): (Vec<_>, Vec<_>) = planned
        .iter()
        .filter(|planned| !planned.streamed)
        .partition(|planned| planned.table.position(STAMP).is_some());
    for planned in fixed {
        let object = &planned.table.object;
        tracing::warn!(%object, "{object} is not kept current: it has no change events and no {STAMP}");
    }
    polled
}

async fn poll(wires: &Wires, planned: &Planned) -> anyhow::Result<()> {
    let object = &planned.table.object;
    let state = wires
        .reader
        .with(|connection| objects::object(connection, object))?;
    let Some(watermark) = state
        .filter(|state| state.state == State::Live)
        .and_then(|state| state.watermark)
    else {
        return Ok(());
    };
    let soql = soql(planned, watermark);
    let mut read_rev = *wires.bells.rev.borrow();
    let mut page = wires.org.query(&soql, Scope::WithDeleted).await?;
    loop {
        // Rows come in the order of their stamps, so all up to the newest of this page are here with it.
        let watermark = page.records.iter().filter_map(stamp).max();
        let source = Source::Poll { read_rev, watermark };
        let rows = page.records;
        if !rows.is_empty() {
            ask(&wires.work, |done| Work::Rows {
                object: object.clone(),
                source,
                rows,
                done,
            })
            .await?
            .map_err(anyhow::Error::msg)?;
        }
        let Some(next) = page.next else { return Ok(()) };
        read_rev = *wires.bells.rev.borrow();
        page = wires.org.next_page(&next).await?;
    }
}

fn soql(planned: &Planned, watermark: Millis) -> String {
    let since = format_datetime(watermark - OVERLAP_MILLIS);
    format!(
        "{} WHERE {STAMP} >= {since} ORDER BY {STAMP}, Id",
        planned.select()
    )
}

fn stamp(row: &Map<String, Value>) -> Option<Millis> {
    row.get(STAMP).and_then(Value::as_str).and_then(parse_datetime)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::row::{Column, ColumnKind, Table};

    #[test]
    fn asks_with_an_overlap() {
        let column = Column {
            field: STAMP.to_owned(),
            name: STAMP.to_ascii_lowercase(),
            kind: ColumnKind::DateTime,
        };
        let table = Table {
            object: "Pricebook2".to_owned(),
            name: "pricebook2".to_owned(),
            columns: vec![column],
        };
        assert_eq!(
            soql(
                &Planned {
                    table,
                    streamed: false
                },
                1_795_339_800_000
            ),
            "SELECT Id, SystemModstamp FROM Pricebook2 WHERE SystemModstamp >= 2026-11-22T09:29:00.000Z \
             ORDER BY SystemModstamp, Id"
        );
    }
}
