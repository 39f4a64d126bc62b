//! Closes a write when it comes back as a change of the org's.
//!
//! What is `sent` and whose id is in the cache has gone all the way round, whoever wrote it; of a record with a key of
//! its own the key must be the write's. Nothing depends on it being seen at once: the rows stay what they are, so a look
//! that comes late finds the same. What the org has not told of for long, because its object is not mirrored, an event was
//! lost or the id is another record's, is asked for by id, and where that does not find it by its key: where the key is,
//! there the record is. An order that is gone is a person's matter; anything else that was deleted since is finished, and
//! erased.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Map, Value};
use tokio::sync::watch;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::config;
use crate::model::clock::{Clock, Millis};
use crate::model::order::Problem;
use crate::model::write::{Kind, kinds};
use crate::outbound::forget::gone::{Gone, Keys};
use crate::outbound::gate::Known;
use crate::outbound::record::derived_key;
use crate::salesforce::{Error, Org};
use crate::store::outbox::{Outbox, OutboxError, PERSONS, Sent};
use crate::store::reader::Reader;
use crate::store::storefront;
use crate::telemetry::pulse::Pulse;
use crate::telemetry::traces::Span;

/// Most writes looked up at once.
const PAGE_ROWS: u32 = 256;
/// Looks even if no change was told of.
const IDLE_MAX: Duration = Duration::from_secs(30);
/// Shortest time between two looks, so that a flood of changes does not become a flood of looks.
const REST: Duration = Duration::from_millis(100);

/// A time that is so far ahead is one of another clock.
const CLOCKS_APART: Millis = 60_000;

/// Longest time for a look: some questions to the org.
const LOOK_MAX: Duration = Duration::from_secs(600);

/// What confirm works with.
pub struct World {
    pub org: Org,
    pub outbox: Outbox,
    pub reader: Reader,
    /// The cache's newest revision.
    pub revisions: watch::Receiver<i64>,
    /// Tells which field has the key.
    pub known: Known,
    pub config: config::Orders,
    pub clock: Clock,
}

/// Confirms writes until it is stopped.
pub async fn run(mut world: World, stop: CancellationToken) -> Result<(), OutboxError> {
    // Ends when the one who tells of changes has ended; the slow timer then goes on alone.
    let mut told = true;
    let echo = Duration::from_secs(u64::from(world.config.echo_seconds)).max(REST);
    let pulse = Pulse::new("confirm");
    loop {
        pulse.quiet_for(LOOK_MAX);
        crate::failpoint::stand("confirm").await;
        look(&world).await?;
        pulse.rests_for(REST + IDLE_MAX);
        let woken = async {
            sleep(REST).await;
            tokio::select! {
                changed = world.revisions.changed(), if told => changed.is_ok(),
                () = sleep(IDLE_MAX.min(echo)) => told,
            }
        };
        told = tokio::select! {
            still = woken => still,
            () = stop.cancelled() => return Ok(()),
        };
    }
}

/// Goes through all writes that wait for it.
async fn look(world: &World) -> Result<(), OutboxError> {
    let mut after = 0;
    loop {
        let sent = world.outbox.sent_after(after, PAGE_ROWS)?;
        let Some(last) = sent.last() else { return Ok(()) };
        after = match last {
            Ok(write) => write.sequence,
            Err(sequence) => *sequence,
        };
        let (mut arrived, mut silent, mut unreadable) = (Vec::new(), Vec::new(), Vec::new());
        let now = world.clock.now();
        let overdue = now - Millis::from(world.config.echo_seconds) * 1_000;
        for write in sent {
            let write = match write {
                Ok(write) => write,
                Err(sequence) => {
                    unreadable.push(sequence);
                    continue;
                }
            };
            match is_mirrored(world, &write) {
                Ok(true) => arrived.push(write),
                // What was sent by a clock that was ahead is asked for too, rather than waited for.
                Ok(false) if write.sent_at < overdue || write.sent_at > now + CLOCKS_APART => {
                    silent.push(write)
                }
                Ok(false) => {}
                Err(error) => {
                    tracing::warn!(%error, "what was sent cannot be confirmed: the cache cannot be read");
                    return Ok(());
                }
            }
        }
        if !close(world, arrived).await?
            || !ask(world, silent).await?
            || !set_aside(world, unreadable).await?
        {
            return Ok(());
        }
    }
}

/// Sets aside what cannot be read; `false` where the outbox cannot be written just now.
async fn set_aside(world: &World, unreadable: Vec<i64>) -> Result<bool, OutboxError> {
    if unreadable.is_empty() {
        return Ok(true);
    }
    match world.outbox.set_aside(unreadable, world.clock.now()).await {
        Ok(()) => Ok(true),
        Err(OutboxError::Write(_)) => Ok(false),
        Err(error) => Err(error),
    }
}

/// The object of a write's record. Ids of the platform's own objects begin alike in every org.
fn object(kind: Kind, id: &str) -> &'static str {
    match kind {
        Kind::Order => "Order",
        Kind::OrderUpdate if id.starts_with("801") => "Order",
        Kind::OrderUpdate => "s_c__Payment__c",
        Kind::Customer if id.starts_with("001") => "Account",
        Kind::Customer => "Contact",
        Kind::Case => "Case",
        Kind::Lead => "Lead",
        Kind::CampaignMember => "CampaignMember",
        Kind::Asset => "Asset",
        Kind::FormSubmission => kinds::FORM_SUBMISSION_OBJECT,
    }
}

/// The key of a write's record and its field; of records that may have been there before the write, and of those whose
/// object has no key, there is none.
fn own_key(world: &World, write: &Sent) -> Option<(String, String)> {
    let may_be_older = matches!(
        write.kind,
        Kind::OrderUpdate | Kind::Customer | Kind::CampaignMember
    );
    let shape = world.known.shape().filter(|_| !may_be_older)?;
    let writable = shape.object(object(write.kind, &write.salesforce_id)).ok()?;
    derived_key(writable, write.org_key.as_ref().unwrap_or(&write.external_id), "")
}

/// Whether a record has another key than its write; one without a key contradicts nothing.
fn is_another(own: Option<&(String, String)>, there: Option<&str>) -> bool {
    let folded = |key: &str| key.trim().to_uppercase().to_lowercase();
    match (own, there) {
        (Some((_, own)), Some(there)) => folded(own) != folded(there),
        _ => false,
    }
}

fn is_mirrored(world: &World, write: &Sent) -> anyhow::Result<bool> {
    let id = write.salesforce_id.as_str();
    let object = object(write.kind, id);
    let own = own_key(world, write);
    world.reader.with(|connection| {
        if !storefront::is_present(connection, object, id)? {
            return Ok(false);
        }
        let there = match &own {
            Some((field, _)) => storefront::text_of(connection, object, id, field)?,
            None => None,
        };
        Ok(!is_another(own.as_ref(), there.as_deref()))
    })
}

/// Notes whom the records of writes name, so that they are erased with those persons.
async fn note_persons(world: &World, writes: &[Sent]) -> Result<(), OutboxError> {
    let persons = |write: &Sent| {
        let id = write.salesforce_id.as_str();
        let named = world
            .reader
            .with(|connection| storefront::persons_of(connection, object(write.kind, id), id));
        // What the cache cannot tell, the answers to requests have told of most writes.
        (write.sequence, named.unwrap_or_default())
    };
    world
        .outbox
        .note_persons(writes.iter().map(persons).collect())
        .await
}

/// Marks what came back; `false` where the outbox cannot be written just now.
async fn close(world: &World, arrived: Vec<Sent>) -> Result<bool, OutboxError> {
    if arrived.is_empty() {
        return Ok(true);
    }
    let sequences = arrived.iter().map(|write| write.sequence).collect();
    let noted = note_persons(world, &arrived).await;
    let confirmed = match noted {
        Ok(()) => world.outbox.confirm(sequences, world.clock.now()).await,
        Err(error) => Err(error),
    };
    match confirmed {
        Ok(confirmed) => {
            for write in arrived {
                Span::tell(|| Span::order(&write.external_id, write.accepted_at, world.clock.now()));
            }
            tracing::debug!(confirmed, "writes came back from the org");
            Ok(true)
        }
        // The writer has told of it; they are found again.
        Err(OutboxError::Write(_)) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Asks the org for what it has not told of, one call for each object; `false` where there is no answer just now.
async fn ask(world: &World, silent: Vec<Sent>) -> Result<bool, OutboxError> {
    let mut by_object: BTreeMap<&str, Vec<Sent>> = BTreeMap::new();
    for write in silent {
        let object = object(write.kind, &write.salesforce_id);
        by_object.entry(object).or_default().push(write);
    }
    for (object, writes) in by_object {
        let Some(answers) = by_id(world, object, &writes).await else {
            return Ok(false);
        };
        let mut settled = Settled::default();
        for (write, answer) in writes.into_iter().zip(answers) {
            let of_order = matches!(write.kind, Kind::Order | Kind::OrderUpdate);
            if answer == Answer::There {
                settled.found.push(write);
                continue;
            }
            let own = match answer {
                Answer::NoObject => Ok(None),
                _ => by_key(world, object, &write).await,
            };
            match own {
                Err(error) => {
                    tracing::warn!(%error, "what the org has not told of cannot be asked for");
                    return Ok(false);
                }
                Ok(Some(id)) => settled.moved.push((write, id)),
                Ok(None) if answer == Answer::Gone && !of_order => settled.deleted.push(write),
                Ok(None) => settled.lost.push(write),
            }
        }
        if !close(world, settled.found).await?
            || !put_right(world, settled.moved).await?
            || !finish(world, object, settled.deleted).await?
            || !give_up(world, settled.lost).await?
        {
            return Ok(false);
        }
    }
    Ok(true)
}

/// What the org has of writes that it has not told of.
#[derive(Default)]
struct Settled {
    found: Vec<Sent>,
    /// Under another id than was noted.
    moved: Vec<(Sent, String)>,
    deleted: Vec<Sent>,
    lost: Vec<Sent>,
}

/// What the org has under the id of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    There,
    /// A record with the key of another.
    Another,
    Gone,
    /// The org does not have the object.
    NoObject,
}

/// Asks for writes of an object by their ids; `None` where there is no answer just now.
async fn by_id(world: &World, object: &str, writes: &[Sent]) -> Option<Vec<Answer>> {
    let ids: Vec<String> = writes.iter().map(|write| write.salesforce_id.clone()).collect();
    let keys: Vec<_> = writes.iter().map(|write| own_key(world, write)).collect();
    let mut fields = vec!["Id".to_owned()];
    fields.extend(keys.iter().flatten().next().map(|(field, _)| field.clone()));
    let rows = match world.org.retrieve(object, &ids, &fields).await {
        Ok(rows) => rows,
        // An object that the org does not have cannot hold it either.
        Err(error) if matches!(error.api_code(), Some("NOT_FOUND" | "INVALID_TYPE")) => {
            return Some(vec![Answer::NoObject; writes.len()]);
        }
        Err(error) => {
            tracing::warn!(%error, "what the org has not told of cannot be asked for");
            return None;
        }
    };
    let answers = rows.iter().zip(&keys);
    Some(
        answers
            .map(|(row, own)| of_row(row.as_ref(), own.as_ref()))
            .collect(),
    )
}

/// What the row under the id of a write tells, of the key that the write has and its field.
fn of_row(row: Option<&Map<String, Value>>, own: Option<&(String, String)>) -> Answer {
    let Some(row) = row else { return Answer::Gone };
    let there = own.and_then(|(field, _)| row.get(field).and_then(Value::as_str));
    match is_another(own, there) {
        true => Answer::Another,
        false => Answer::There,
    }
}

/// The id under which the org has the key of a write.
async fn by_key(world: &World, object: &str, write: &Sent) -> Result<Option<String>, Error> {
    let Some((field, key)) = own_key(world, write) else {
        return Ok(None);
    };
    let found = world
        .org
        .by_external_id(object, &field, &key, &["Id", &field])
        .await?;
    let text = |field: &str| found.as_ref().and_then(|row| row.get(field)?.as_str());
    let is_own = text(&field).is_some() && !is_another(Some(&(field.clone(), key)), text(&field));
    let shape = world.known.shape();
    let is_id = |id: &&str| shape.is_some_and(|shape| shape.is_id_of(id, object));
    Ok(text("Id").filter(|_| is_own).filter(is_id).map(str::to_owned))
}

/// Notes under which id the org has what was noted under another's; the next look finds it there.
async fn put_right(world: &World, moved: Vec<(Sent, String)>) -> Result<bool, OutboxError> {
    for (write, salesforce_id) in moved {
        let (key, store, noted) = (&write.external_id, &write.store_id, &write.salesforce_id);
        tracing::warn!(%key, %store, %noted, %salesforce_id, "{key} was answered with the id of another record: the org has it as {salesforce_id}");
        match world
            .outbox
            .put_right(write.sequence, salesforce_id, world.clock.now())
            .await
        {
            Ok(()) => {}
            Err(OutboxError::Write(_)) => return Ok(false),
            Err(error) => return Err(error),
        }
    }
    Ok(true)
}

/// Finishes what the org has taken and someone has deleted there since, and forgets it as after any deletion; `false`
/// where that cannot be done just now.
async fn finish(world: &World, object: &str, deleted: Vec<Sent>) -> Result<bool, OutboxError> {
    let sequences: Vec<i64> = deleted.iter().map(|write| write.sequence).collect();
    let ids: Vec<String> = deleted.iter().map(|write| write.salesforce_id.clone()).collect();
    if !close(world, deleted).await? {
        return Ok(false);
    }
    let gone = Gone {
        org: &world.org,
        outbox: &world.outbox,
        config: &world.config,
    };
    let now = world.clock.now();
    if PERSONS.iter().any(|(_, person)| *person == object) {
        return gone.settle(&mut Keys::default(), object, &ids, now).await;
    }
    gone.erase_writes(sequences, now).await
}

/// Leaves to a person what the org has no more; `false` where the outbox cannot be written just now.
async fn give_up(world: &World, gone: Vec<Sent>) -> Result<bool, OutboxError> {
    for write in gone {
        let (key, store) = (&write.external_id, &write.store_id);
        let org_key = write.org_key.as_ref().unwrap_or(key);
        tracing::warn!(%key, %store, %org_key, "{key} was sent and is not in the org any more");
        let problem = Problem::new(
            "NOT_IN_ORG",
            format!(
                "the org took it as {} and has it no more: restore it there, or retry to make it again",
                write.salesforce_id
            ),
        );
        match world
            .outbox
            .lost(write.sequence, problem, world.clock.now())
            .await
        {
            Ok(_) => {}
            Err(OutboxError::Write(_)) => return Ok(false),
            Err(error) => return Err(error),
        }
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_tells_its_object_where_a_kind_has_two() {
        for (kind, id, expected) in [
            (Kind::OrderUpdate, "801000000000001AAA", "Order"),
            (Kind::OrderUpdate, "a0B000000000001AAA", "s_c__Payment__c"),
            (Kind::Customer, "003000000000001AAA", "Contact"),
            (Kind::Customer, "001000000000001AAA", "Account"),
        ] {
            assert_eq!(object(kind, id), expected);
        }
    }
}
