//! Into the cache that the daemon goes on with.
//!
//! Only events are applied once more, not what the org answered then: it has newer answers now. Each event of the
//! span counts as new, moves the position on its channel as it did when it came, and is written down again as a
//! batch, so that the journal still tells how the cache came about. An event that is older than a row's last read
//! changes nothing, as ever.

use crate::inbound::apply::{Recorded, World, record};
use crate::inbound::command::{Command, Events};
use crate::journal::replay::{Replayed, Span, edges, part, raw};
use crate::model::clock::Millis;
use crate::store::cache::Cache;
use crate::store::journal::{Journal, JournalReader, Kept};

/// Events in one transaction.
const EVENTS_PER_BATCH: usize = 500;

/// Applies the events of a span to the live cache; nobody else may have it open for writing.
pub fn live(
    reader: &JournalReader,
    journal: &mut Journal,
    cache: &mut Cache,
    span: &Span,
    now: Millis,
) -> anyhow::Result<Replayed> {
    // What did not reach the cache is no part of how it came about.
    journal.forget_after(cache.journalled())?;
    let edges = edges(reader, span)?;
    let last = match edges.last_event {
        i64::MAX => reader.bounds()?.map_or(0, |(_, newest)| newest),
        given => given,
    };
    let last = last.min(last_of_batch(reader, edges.last_batch)?);
    let mut world = World::new(cache)?;
    anyhow::ensure!(
        world.mirrors_anything(),
        "the cache does not say what is mirrored: start the daemon once first"
    );
    let mut applied = Replayed::default();
    apply(&mut world, journal, cache, Command::ForgetApplied {}, now)?;
    let mut filter = part::Filter::new(reader, &span.only);
    let mut next = edges.first_event.max(first_of_batch(reader, edges.first_batch)?);
    while next <= last {
        let kept = reader.events(next, EVENTS_PER_BATCH)?;
        let Some(newest) = kept.last().map(|kept| kept.number) else {
            break;
        };
        next = newest + 1;
        let mut chosen = Vec::with_capacity(kept.len());
        for kept in kept.into_iter().filter(|kept| kept.number <= last) {
            if filter.has_event(&kept.schema_id, &kept.payload)? {
                chosen.push(kept);
            }
        }
        for response in by_topic(chosen) {
            applied.batches += 1;
            applied.events += response.len() as u64;
            apply(&mut world, journal, cache, events(response), now)?;
        }
    }
    Ok(applied)
}

fn last_of_batch(reader: &JournalReader, batch: i64) -> anyhow::Result<i64> {
    if batch == i64::MAX {
        return Ok(i64::MAX);
    }
    let batch = reader.batches(batch, 1)?;
    Ok(batch.first().map_or(i64::MAX, |batch| batch.last_event))
}

fn first_of_batch(reader: &JournalReader, batch: i64) -> anyhow::Result<i64> {
    let before = reader.batches(batch - 1, 1)?;
    let before = before.first().filter(|before| before.number < batch);
    Ok(before.map_or(1, |before| before.last_event + 1))
}

/// Neighbours of one topic stay together, so that each is a response.
fn by_topic(kept: Vec<Kept>) -> Vec<Vec<Kept>> {
    let mut runs: Vec<Vec<Kept>> = Vec::new();
    for kept in kept {
        match runs.last_mut() {
            Some(run) if run.last().is_some_and(|last| last.topic == kept.topic) => run.push(kept),
            _ => runs.push(vec![kept]),
        }
    }
    runs
}

fn events(kept: Vec<Kept>) -> Command {
    let topic = kept.first().map(|kept| kept.topic.as_str()).unwrap_or_default();
    Command::Events(Events {
        topic: topic.into(),
        runs: kept.iter().map(|kept| (kept.number, 1)).collect(),
        events: kept.into_iter().map(raw).collect(),
        ..Events::default()
    })
}

/// Writes down, then applies, as the daemon does.
fn apply(
    world: &mut World,
    journal: &mut Journal,
    cache: &mut Cache,
    command: Command,
    now: Millis,
) -> anyhow::Result<()> {
    let recorded = Recorded {
        number: record::single(journal, cache, &command, now)?,
        at: now,
        rev: cache.rev(),
        is_exact: true,
        commands: vec![command],
    };
    world.replay(cache, recorded)
}
