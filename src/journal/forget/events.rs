//! Events, with stand-ins for the values of records that are gone.

use std::collections::{HashMap, HashSet};

use anyhow::Context as _;
use aws_lc_rs::rand;
use tokio_util::sync::CancellationToken;

use crate::inbound::decode::{Change, EventSchema, Other, WHOLE};
use crate::inbound::redact::is_withheld;
use crate::journal::forget::Forget;
use crate::journal::forget::stand_in::{NO_DIFFERENCE, StandIns};
use crate::journal::history::record::FieldChange;
use crate::model::change::ALL;
use crate::model::clock::Millis;
use crate::model::row::Value;
use crate::store::cache::meta;
use crate::store::journal::Kept;
use crate::store::journal::forget::{Asked, Erasing, Rewrite};
use crate::store::storefront;

/// Events rewritten in one transaction.
const EVENTS_PER_STEP: usize = 500;

/// Events looked through in one, of which most are of other objects.
const EVENTS_LOOKED_AT: i64 = 2_000;

/// What the texts of an event that came as differences were as a whole, by field.
type Wholes = HashMap<String, String>;

impl Forget {
    /// Records that events name and the cache does not hold: it never did, or the event came late.
    pub(super) fn ask_for_absent(&mut self, now: Millis) -> anyhow::Result<()> {
        let (held, mirrored) = self.reader.with(|cache| {
            let transaction = cache.unchecked_transaction()?;
            let mirrored = storefront::object_states(&transaction)?;
            Ok((meta::<i64>(&transaction, "journal")?, mirrored))
        })?;
        let Some(last) = self.history.journal.last_event_of(held.unwrap_or(0))? else {
            return Ok(());
        };
        let schemas = self.personal_schemas()?;
        loop {
            let after = self.journal.mark("erased_event")?;
            if after >= last {
                return Ok(());
            }
            let to = last.min(after + EVENTS_LOOKED_AT);
            let mut asked = Vec::new();
            let mut rewritten = Vec::new();
            for kept in self.history.journal.events_written_by(&schemas, after + 1, to)? {
                let Some(schema) = self.history.schema(&kept.schema_id)? else {
                    continue;
                };
                let object = schema.entity();
                if mirrored.iter().any(|mirrored| mirrored.object == object) {
                    self.ask_for_absent_of(&schema, &kept, &mut asked)?;
                } else if let Some(payload) = emptied(&schema, &kept.payload)? {
                    rewritten.push(rewrite(kept.number, payload));
                }
            }
            self.empties_logs |= !rewritten.is_empty();
            let erased = Asked {
                records: &asked,
                events: &rewritten,
            };
            self.journal.ask(&erased, ("erased_event", to), now)?;
        }
    }

    /// Ids of the schemas of objects that may be about persons.
    fn personal_schemas(&mut self) -> anyhow::Result<Vec<String>> {
        let mut personal = Vec::new();
        for id in self.history.journal.schema_ids()? {
            let schema = self.history.schema(&id)?;
            if schema.is_some_and(|schema| self.is_personal(schema.entity())) {
                personal.push(id);
            }
        }
        Ok(personal)
    }

    fn ask_for_absent_of(
        &self,
        schema: &EventSchema,
        kept: &Kept,
        asked: &mut Vec<(String, String)>,
    ) -> anyhow::Result<()> {
        let mut change = Change::default();
        if schema.decode(&kept.payload, &mut change).is_err() || change.values().is_empty() {
            return Ok(());
        }
        let object = schema.entity();
        for id in &change.header.record_ids {
            let id = id.as_str();
            let present = self
                .reader
                .with(|cache| storefront::is_present(cache, object, id))?;
            if !present {
                asked.push((object.to_owned(), id.to_owned()));
            }
        }
        Ok(())
    }

    /// Rewrites the events that name any of the records, and nobody else who is still here.
    pub(super) fn erase_events(
        &mut self,
        erasing: &Erasing,
        ids: &HashSet<&str>,
        made: &StandIns,
        stop: &CancellationToken,
    ) -> anyhow::Result<()> {
        let mut numbers = self.history.events_of_any(ids.iter().copied())?;
        numbers.retain(|number| *number <= erasing.last_event);
        if erasing.next_event == 0 {
            let mut rewritten = Vec::new();
            for number in &numbers {
                rewritten.extend(self.rewrite(erasing, ids, made, *number, true)?);
            }
            self.journal.rewrite_events(&rewritten, 1)?;
        }
        let left: Vec<i64> = numbers.range(erasing.next_event.max(1)..).copied().collect();
        for step in left.chunks(EVENTS_PER_STEP) {
            if stop.is_cancelled() {
                return Ok(());
            }
            let mut rewritten = Vec::with_capacity(step.len());
            for number in step {
                rewritten.extend(self.rewrite(erasing, ids, made, *number, false)?);
            }
            let next = step.last().map_or(0, |number| number + 1);
            self.journal.rewrite_events(&rewritten, next)?;
        }
        Ok(())
    }

    /// An event with stand-ins; `None` where it is not to be touched. Those with differences are done by themselves.
    fn rewrite(
        &mut self,
        erasing: &Erasing,
        ids: &HashSet<&str>,
        made: &StandIns,
        number: i64,
        with_differences: bool,
    ) -> anyhow::Result<Option<Rewrite>> {
        let Some(kept) = self.history.journal.event(number)? else {
            return Ok(None);
        };
        let schema = self.history.schema(&kept.schema_id)?;
        let mut change = Change::default();
        let decoded = schema
            .as_ref()
            .map(|schema| schema.decode(&kept.payload, &mut change));
        let schema = match (schema.as_ref(), decoded) {
            (Some(schema), Some(Ok(()))) => schema,
            (_, Some(Err(error))) => return Ok(unreadable(&kept, &error.to_string(), with_differences)),
            _ => return Ok(unreadable(&kept, "", with_differences)),
        };
        if schema.entity() != erasing.object || change.has_diff() != with_differences {
            return Ok(None);
        }
        if self.names_others(&erasing.object, ids, &change)? {
            return Ok(None);
        }
        let wholes = match with_differences {
            true => self.wholes(number, &erasing.object, &change)?,
            false => Wholes::new(),
        };
        let leaves = schema.fields();
        let diffed = change.diffed();
        let payload = schema.copy(&kept.payload, &mut |leaf, value| {
            let field = &leaves[leaf];
            match value {
                Value::Text(_) if diffed.contains(leaf) => {
                    Some(Other::Text(difference(&wholes, &field.name, made)))
                }
                value => made.of_event(&field.name, field.boolean, value),
            }
        })?;
        Ok(Some(rewrite(number, payload)))
    }

    /// Whether an event changed a record that is still here as well.
    fn names_others(&self, object: &str, ids: &HashSet<&str>, change: &Change<'_>) -> anyhow::Result<bool> {
        for id in &change.header.record_ids {
            let id = id.as_str();
            let is_other = !ids.contains(id)
                && self
                    .reader
                    .with(|cache| storefront::is_present(cache, object, id))?;
            if is_other {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The texts that an event's differences led to, as far as they fitted.
    fn wholes(&mut self, number: i64, object: &str, change: &Change<'_>) -> anyhow::Result<Wholes> {
        let mut wholes = Wholes::new();
        for id in &change.header.record_ids {
            let changes = self.history.changes_of(number, object, id.as_str())?;
            wholes.extend(
                changes
                    .into_iter()
                    .filter_map(|FieldChange { field, after, .. }| {
                        Some((field.to_ascii_lowercase(), after.as_str()?.to_owned()))
                    }),
            );
        }
        Ok(wholes)
    }
}

fn rewrite(number: i64, payload: Vec<u8>) -> Rewrite {
    Rewrite {
        number,
        payload,
        redacted: None,
    }
}

/// An event that cannot be read and has the id of a record that is gone: nobody can say what else is in it, so nothing of it
/// stays but why it cannot be read, which a replay tells again. `None` where that was done, or is not to be done yet.
fn unreadable(kept: &Kept, why: &str, with_differences: bool) -> Option<Rewrite> {
    (!with_differences && !is_withheld(&kept.redacted)).then(|| Rewrite {
        number: kept.number,
        payload: why.as_bytes().to_vec(),
        redacted: Some(ALL),
    })
}

/// An event of an object that is not mirrored, without what it says: no row was made of it, and none will be. `None`
/// where it says nothing, or cannot be read.
fn emptied(schema: &EventSchema, payload: &[u8]) -> anyhow::Result<Option<Vec<u8>>> {
    let mut change = Change::default();
    if schema.decode(payload, &mut change).is_err() || change.values().is_empty() {
        return Ok(None);
    }
    let mut key = [0; 32];
    rand::fill(&mut key).context("random bytes")?;
    let made = StandIns::new(&key);
    let leaves = schema.fields();
    let replace =
        &mut |leaf: usize, value: Value<'_>| made.of_event(&leaves[leaf].name, leaves[leaf].boolean, value);
    Ok(Some(schema.copy(payload, replace)?))
}

/// What stands in for a difference: the whole text, or what fits nothing where it did not fit.
fn difference(wholes: &Wholes, field: &str, made: &StandIns) -> String {
    match wholes.get(&field.to_ascii_lowercase()) {
        Some(whole) => format!("{WHOLE}{}", made.text(whole)),
        None => NO_DIFFERENCE.to_owned(),
    }
}
