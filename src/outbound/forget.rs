//! Keeps of finished writes no more than is to be kept, and nothing of a person that the org has deleted.
//!
//! Promises that a person's deletion is followed whoever made it: the change feed tells of it, and where the feed does
//! not reach back (a start, a cache that was made again), every person that a write is about is looked for in the
//! cache, and asked for where it is not there. What no change tells of is asked for on a schedule (`round`).
//!
//! What erases is the org's word about a record of a person: a change that deletes it, or a look for that very object under
//! an id of it that finds nothing, as the cache too takes a record that the org no longer shows. What is no id, or one of
//! another object, erases nothing. A write that names a contact goes with the contact: that an account is not there, whose
//! id an answer may have told wrongly, erases nothing of a contact who is. A record that went into another is not forgotten
//! by that alone ([`gone`]).
//!
//! It races with push: a write that is still open is erased once it is finished.

pub mod gone;
mod round;

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::config;
use crate::model::clock::{Clock, Millis};
use crate::outbound::forget::gone::{Gone, Keys};
use crate::outbound::forget::round::Round;
use crate::salesforce::Org;
use crate::store::outbox::{Bounds, Outbox, OutboxError, person_object};
use crate::store::reader::Reader;
use crate::store::storefront::{self, ObjectStatus, feed};

/// Objects whose records are persons.
const OBJECTS: [&str; 3] = ["Account", "Contact", "Lead"];
/// Most persons looked for at once; the org answers for so many in one call.
const PAGE_ROWS: u32 = 1_000;
/// Shortest time between two looks at the feed.
const REST: Duration = Duration::from_secs(1);
/// Between two pages, so that others get their turn.
const BREATH: Duration = Duration::from_millis(10);
/// Before everyone is looked for once more, where that did not come to its end.
const AGAIN: Duration = Duration::from_secs(5);
/// Longest time without a look, whether or not anything changed.
const IDLE_MAX: Duration = Duration::from_secs(60);
/// Between two trims.
const TRIM_MILLIS: Millis = 600_000;
const DAY_MILLIS: Millis = 86_400_000;

/// What it works with.
pub struct World {
    pub org: Org,
    pub outbox: Outbox,
    pub reader: Reader,
    /// The cache's newest revision.
    pub revisions: watch::Receiver<i64>,
    pub config: config::Orders,
    pub clock: Clock,
}

/// Trims and erases until it is stopped.
pub async fn run(mut world: World, stop: CancellationToken) -> Result<(), OutboxError> {
    let mut followed: Option<i64> = None;
    let (mut keys, mut round, mut is_asked) = (Keys::default(), Round::default(), true);
    let mut trimmed_at = Millis::MIN;
    // Ends when the one who tells of changes has ended; the slow timer then goes on alone.
    let mut told = true;
    loop {
        let now = world.clock.now();
        if now.saturating_sub(trimmed_at) >= TRIM_MILLIS {
            trim(&world, now).await?;
            trimmed_at = now;
        }
        followed = follow(&world, &mut keys, followed).await?;
        let steady = world.clock.steady();
        if followed.is_some() && round.is_due(steady, world.config.erasure_hours) {
            is_asked = round.run(&world, steady).await?;
        }
        let is_following = followed.is_some() && is_asked;
        let woken = async {
            if !is_following {
                sleep(AGAIN).await;
                return told;
            }
            sleep(REST).await;
            tokio::select! {
                changed = world.revisions.changed(), if told => changed.is_ok(),
                () = sleep(IDLE_MAX) => told,
            }
        };
        told = tokio::select! {
            still = woken => still,
            () = stop.cancelled() => return Ok(()),
        };
    }
}

/// How much of finished writes is kept at a time.
fn bounds(config: &config::Orders, now: Millis) -> Bounds {
    Bounds {
        finished_before: now - Millis::from(config.history_days) * DAY_MILLIS,
        bytes_max: u64::from(config.history_mebibytes) << 20,
    }
}

async fn trim(world: &World, now: Millis) -> Result<(), OutboxError> {
    match world.outbox.trim(bounds(&world.config, now), now).await {
        Ok(0) => Ok(()),
        Ok(emptied) => {
            tracing::info!(
                emptied,
                "{emptied} finished writes were emptied: their keys and outcomes stay"
            );
            Ok(())
        }
        // The writer has told of it; they are found again.
        Err(OutboxError::Write(_)) => Ok(()),
        Err(error) => Err(error),
    }
}

/// Erases who was deleted after the revision `followed`; gives the revision up to which that is done. `None` where it
/// is not known yet who is there.
async fn follow(world: &World, keys: &mut Keys, followed: Option<i64>) -> Result<Option<i64>, OutboxError> {
    let deleted = world.reader.with(|cache| {
        let snapshot = cache.unchecked_transaction()?;
        let (oldest, newest) = feed::bounds(&snapshot)?;
        // Whoever stands before the first has missed something; a cache that was made again counts anew.
        let reached = followed.filter(|rev| (oldest - 1..=newest).contains(rev));
        let objects = OBJECTS.into_iter().chain(round::objects());
        let objects: Vec<&str> = objects.collect();
        let deleted = reached.map(|rev| feed::deleted_between(&snapshot, &objects, (rev, newest)));
        Ok((newest, deleted.transpose()?))
    });
    match deleted {
        Ok((newest, Some(deleted))) => Ok(match settle(world, keys, &deleted).await? {
            true => Some(newest),
            false => followed,
        }),
        Ok((newest, None)) => {
            let is_done = look_for_all(world, keys).await? && learn_merges(world, keys).await?;
            Ok(is_done.then_some(newest))
        }
        Err(error) => {
            tracing::warn!(%error, "who was deleted cannot be followed: the cache cannot be read");
            Ok(followed)
        }
    }
}

/// Settles what is about records that are gone; `false` where that cannot be done just now.
async fn settle(world: &World, keys: &mut Keys, record_ids: &[String]) -> Result<bool, OutboxError> {
    for object in OBJECTS {
        let of_object = record_ids.iter().filter(|id| person_object(id) == Some(object));
        let ids: Vec<String> = of_object.cloned().collect();
        if !world.gone().settle(keys, object, &ids, world.clock.now()).await? {
            return Ok(false);
        }
    }
    let others = record_ids.iter().filter(|id| person_object(id).is_none());
    let others = others.cloned().collect();
    world.gone().erase_records(others, world.clock.now()).await
}

impl World {
    fn gone(&self) -> Gone<'_> {
        Gone {
            org: &self.org,
            outbox: &self.outbox,
            config: &self.config,
        }
    }
}

/// Whether changes tell of an object's records.
fn is_mirrored(states: &[ObjectStatus], object: &str) -> bool {
    states.iter().any(|state| state.object == object)
}

/// Notes which customers were merged while nobody followed; `false` where that cannot be asked for just now.
async fn learn_merges(world: &World, keys: &mut Keys) -> Result<bool, OutboxError> {
    let Ok(states) = world.reader.with(storefront::object_states) else {
        return Ok(false);
    };
    for object in ["Account", "Contact"] {
        if is_mirrored(&states, object) && !world.gone().learn_merges(keys, object).await? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Looks for every person that a write is about; `false` where that cannot be done to the end just now.
async fn look_for_all(world: &World, keys: &mut Keys) -> Result<bool, OutboxError> {
    let Ok(states) = world.reader.with(storefront::object_states) else {
        return Ok(false);
    };
    let mut mirrored = Vec::new();
    for object in states
        .iter()
        .filter(|state| OBJECTS.contains(&state.object.as_str()))
    {
        if matches!(object.state.as_str(), "waiting" | "loading") {
            return Ok(false);
        }
        mirrored.push(object.object.as_str());
    }
    let mut last = String::new();
    loop {
        let page = world.outbox.persons_after(&last, PAGE_ROWS)?;
        let Some(id) = page.last() else { return Ok(true) };
        last.clone_from(id);
        for object in &mirrored {
            let of_object = page.iter().filter(|id| person_object(id) == Some(object));
            let mut absent = Vec::new();
            for id in of_object {
                match world
                    .reader
                    .with(|cache| storefront::is_present(cache, object, id))
                {
                    Ok(true) => {}
                    Ok(false) => absent.push(id.clone()),
                    Err(_) => return Ok(false),
                }
            }
            if !erase_unless_there(world, keys, object, absent).await? {
                return Ok(false);
            }
        }
        sleep(BREATH).await;
    }
}

/// Erases those of the records that the org has no more.
async fn erase_unless_there(
    world: &World,
    keys: &mut Keys,
    object: &str,
    absent: Vec<String>,
) -> Result<bool, OutboxError> {
    if absent.is_empty() {
        return Ok(true);
    }
    match world.org.retrieve(object, &absent, &["Id".to_owned()]).await {
        Ok(rows) => {
            let gone = absent.into_iter().zip(rows).filter(|(_, row)| row.is_none());
            let gone: Vec<String> = gone.map(|(id, _)| id).collect();
            settle(world, keys, &gone).await
        }
        Err(error) => {
            tracing::warn!(%error, "persons that are not in the cache cannot be asked for");
            Ok(false)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_so_many_days_and_so_much() {
        let config = config::Orders {
            history_days: 2,
            history_mebibytes: 3,
            ..config::Orders::default()
        };
        let kept = bounds(&config, 3 * DAY_MILLIS);
        assert_eq!(
            (kept.finished_before, kept.bytes_max),
            (DAY_MILLIS, 3 * 1_048_576)
        );
    }
}
