//! Asks the org on a schedule whether the records are there still that no change tells of: persons who are not in the
//! cache, and what storefronts made that is no person's record.
//!
//! A round takes a call for each 2,000 records and no more than so many calls; the next one goes on where it ended. It
//! leaves to orders what is kept for them of the org's allowance.

use crate::model::clock::Millis;
use crate::model::write::{Kind, kinds};
use crate::outbound::forget::gone::Keys;
use crate::outbound::forget::{World, is_mirrored};
use crate::salesforce::Error;
use crate::salesforce::rest::ApiUsage;
use crate::store::outbox::{Merged, OutboxError, PERSONS, person_object};
use crate::store::storefront::{self, ObjectStatus};
use crate::telemetry::metrics;

/// Records of one call.
const IDS_MAX: u32 = 2_000;
/// Most calls of a round.
const CALLS_MAX: u32 = 100;
const HOUR_MILLIS: Millis = 3_600_000;

/// Kinds whose records are no persons and belong to no order: each is erased with its own record.
const KINDS: [Kind; 4] = [
    Kind::Case,
    Kind::CampaignMember,
    Kind::Asset,
    Kind::FormSubmission,
];

/// The objects of those kinds.
pub fn objects() -> impl Iterator<Item = &'static str> {
    KINDS
        .into_iter()
        .filter_map(|kind| kinds::spec(kind).map(|spec| spec.object))
}

/// When the last round was, and where it ended.
#[derive(Debug, Default)]
pub struct Round {
    /// By the clock that is not set.
    began_at: Option<Millis>,
    persons_after: [String; PERSONS.len()],
    held_after: [i64; KINDS.len()],
    keys: Keys,
}

/// What the org has of some records.
#[derive(Debug, Default)]
struct Standing {
    /// Positions of those that it has no more.
    gone: Vec<usize>,
    converted: Vec<Merged>,
}

impl Round {
    /// Whether a round is due. `hours` of 0 is never.
    pub fn is_due(&self, steady: Millis, hours: u32) -> bool {
        let interval = Millis::from(hours) * HOUR_MILLIS;
        hours > 0 && self.began_at.is_none_or(|began_at| steady - began_at >= interval)
    }

    /// Looks for what is due; `false` where that cannot be done to the end just now.
    pub async fn run(&mut self, world: &World, steady: Millis) -> Result<bool, OutboxError> {
        let Ok(states) = world.reader.with(storefront::object_states) else {
            return Ok(false);
        };
        let mut calls_left = CALLS_MAX;
        for at in 0..PERSONS.len() {
            if !self.persons(world, &states, at, &mut calls_left).await? {
                return Ok(false);
            }
        }
        for at in 0..KINDS.len() {
            if !self.held(world, &states, at, &mut calls_left).await? {
                return Ok(false);
            }
        }
        self.began_at = Some(steady);
        Ok(true)
    }

    /// Persons of an object. Of one that is mirrored those are asked for that are not in the cache: they were deleted before
    /// they came to it.
    async fn persons(
        &mut self,
        world: &World,
        states: &[ObjectStatus],
        at: usize,
        calls_left: &mut u32,
    ) -> Result<bool, OutboxError> {
        let (prefix, object) = PERSONS[at];
        let (is_mirrored, gone) = (is_mirrored(states, object), world.gone());
        while *calls_left > 0 {
            let after = self.persons_after[at].as_str().max(prefix).to_owned();
            let mut ids = world.outbox.persons_after(&after, IDS_MAX)?;
            ids.retain(|id| person_object(id) == Some(object));
            let Some(last) = ids.last().cloned() else {
                self.persons_after[at].clear();
                return Ok(true);
            };
            if is_mirrored {
                ids.retain(|id| !is_cached(world, object, id));
            }
            *calls_left -= u32::from(!ids.is_empty());
            let Some(standing) = standing(world, object, &ids).await else {
                return Ok(false);
            };
            let absent: Vec<String> = standing.gone.into_iter().map(|at| ids[at].clone()).collect();
            if !gone.converted(standing.converted).await?
                || !gone
                    .settle(&mut self.keys, object, &absent, world.clock.now())
                    .await?
            {
                return Ok(false);
            }
            self.persons_after[at] = last;
        }
        Ok(true)
    }

    /// Writes of a kind; those whose records are in the cache are there.
    async fn held(
        &mut self,
        world: &World,
        states: &[ObjectStatus],
        at: usize,
        calls_left: &mut u32,
    ) -> Result<bool, OutboxError> {
        let kind = KINDS[at];
        let Some(object) = kinds::spec(kind).map(|spec| spec.object) else {
            return Ok(true);
        };
        let is_mirrored = is_mirrored(states, object);
        while *calls_left > 0 {
            let mut writes = world.outbox.held_after(kind, self.held_after[at], IDS_MAX)?;
            let Some((last, _)) = writes.last().cloned() else {
                self.held_after[at] = 0;
                return Ok(true);
            };
            if is_mirrored {
                writes.retain(|(_, id)| !is_cached(world, object, id));
            }
            let ids: Vec<String> = writes.iter().map(|(_, id)| id.clone()).collect();
            *calls_left -= u32::from(!ids.is_empty());
            let Some(standing) = standing(world, object, &ids).await else {
                return Ok(false);
            };
            let absent = standing.gone.into_iter().map(|at| writes[at].0).collect();
            if !world.gone().erase_writes(absent, world.clock.now()).await? {
                return Ok(false);
            }
            self.held_after[at] = last;
        }
        Ok(true)
    }
}

/// Whether a record is in the cache; where that cannot be read it may be.
fn is_cached(world: &World, object: &str, id: &str) -> bool {
    let there = world
        .reader
        .with(|cache| storefront::is_present(cache, object, id));
    there.unwrap_or(true)
}

/// Asks for records; nothing where there is no answer just now. Where the org does not tell, none are known to be gone.
async fn standing(world: &World, object: &str, ids: &[String]) -> Option<Standing> {
    if ids.is_empty() {
        return Some(Standing::default());
    }
    if is_short(world.org.api_usage(), world.config.api_reserve_percent) {
        return None;
    }
    metrics::ERASURE_LOOKUPS.count([object]);
    let wanted = match object {
        "Lead" => vec!["Id".to_owned(), "ConvertedContactId".to_owned()],
        _ => vec!["Id".to_owned()],
    };
    let mut rows = world.org.retrieve(object, ids, &wanted).await;
    if wanted.len() > 1 && rows.as_ref().is_err_and(Error::is_hidden) {
        metrics::ERASURE_LOOKUPS.count([object]);
        rows = world.org.retrieve(object, ids, &wanted[..1]).await;
    }
    let rows = match rows {
        Ok(rows) => rows,
        Err(error @ Error::Refused { .. }) => {
            tracing::info!(%error, "whether {object} records are there still is not told by the org");
            return Some(Standing::default());
        }
        Err(error) => {
            tracing::warn!(%error, "whether {object} records are there still cannot be asked for");
            return None;
        }
    };
    let mut standing = Standing::default();
    for (at, (id, row)) in ids.iter().zip(rows).enumerate() {
        let Some(row) = row else {
            standing.gone.push(at);
            continue;
        };
        if let Some(contact) = row.get("ConvertedContactId").and_then(|id| id.as_str()) {
            standing.converted.push(Merged {
                object: object.to_owned(),
                record_id: id.clone(),
                key: None,
                survivor_id: contact.to_owned(),
            });
        }
    }
    Some(standing)
}

/// Whether no more of the org's allowance is left than is kept for orders.
fn is_short(usage: Option<ApiUsage>, reserve_percent: u32) -> bool {
    usage.is_some_and(|usage| {
        let open = u64::from(100_u32.saturating_sub(reserve_percent));
        usage.used.saturating_mul(100) >= usage.limit.saturating_mul(open)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_round_is_due_at_once_and_then_by_its_hours() {
        let hour = HOUR_MILLIS;
        let after = |began_at| Round {
            began_at,
            ..Round::default()
        };
        for (began_at, steady, hours, expected) in [
            (None, 0, 24, true),
            (None, 0, 0, false),
            (Some(5), 5 + 24 * hour - 1, 24, false),
            (Some(5), 5 + 24 * hour, 24, true),
            (Some(5), 5 + 24 * hour, 0, false),
        ] {
            assert_eq!(
                after(began_at).is_due(steady, hours),
                expected,
                "{began_at:?} {steady} {hours}"
            );
        }
        let used = |used| Some(ApiUsage { used, limit: 100 });
        assert!(is_short(used(95), 5) && !is_short(used(94), 5) && !is_short(None, 5));
    }
}
