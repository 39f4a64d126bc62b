//! Applying the events of a response.
//!
//! An event of an object that is not mirrored costs a look-up. One that can not be decoded is parked: its bytes
//! are in the journal, an entry says why, and where its object is known the object is read again, since the
//! record is not known. An event applied before changes nothing.

use std::sync::Arc;

use crate::inbound::apply::key::key;
use crate::inbound::apply::schemas::{Known, Mapped};
use crate::inbound::apply::{Phase, World};
use crate::inbound::command::Events;
use crate::inbound::decode::{Change, patch};
use crate::inbound::plan::{Action, action};
use crate::inbound::redact::withheld;
use crate::model::change::{RawEvent, ReplayId};
use crate::model::row::Value;
use crate::store::cache::Batch;
use crate::store::cache::absence::Leave;
use crate::store::cache::cursors::Cursor;
use crate::store::cache::repairs::{Entry, Kind, reason};
use crate::store::cache::rows::{Mirror, Outcome};
use crate::telemetry::metrics;

/// Commit times are whole seconds, and so is what is known of the org's clock.
const CLOCK_MILLIS: i64 = 2_000;

impl World {
    /// Applies a response's events and moves the topic's cursor.
    pub(super) fn events(&mut self, batch: &mut Batch<'_>, response: &Events) -> rusqlite::Result<()> {
        for schema in &response.schemas {
            batch.keep_schema(&schema.id, &schema.json)?;
        }
        let mut change = Change::default();
        let mut sets = Vec::new();
        let mut committed_at = None;
        for event in response.events.iter() {
            let committed = self.event(batch, &response.topic, event, &mut change, &mut sets)?;
            committed_at = committed_at.max(committed);
        }
        self.advance(batch, response, committed_at)?;
        self.heard(batch, response, committed_at)
    }

    fn event<'e>(
        &mut self,
        batch: &mut Batch<'_>,
        topic: &str,
        event: &'e RawEvent,
        change: &mut Change<'e>,
        sets: &mut Vec<(usize, Value<'e>)>,
    ) -> rusqlite::Result<Option<i64>> {
        let mapped = match self.schemas.by_id.get(&event.schema_id) {
            Some(Known::Unmapped(..)) => return Ok(None),
            Some(Known::Mapped(mapped)) => Arc::clone(mapped),
            Some(Known::Unusable { reason, entity, .. }) => {
                let (reason, entity) = (Arc::clone(reason), entity.clone());
                self.park(batch, topic, event, entity.as_deref(), &reason)?;
                return Ok(None);
            }
            None => {
                self.park(batch, topic, event, None, "its schema is not known")?;
                return Ok(None);
            }
        };
        if let Err(error) = mapped.schema.decode(&event.payload, change) {
            let reason = withheld(&event.redacted, &event.payload).unwrap_or_else(|| error.to_string());
            self.park(batch, topic, event, Some(mapped.schema.entity()), &reason)?;
            return Ok(None);
        }
        if batch.first_time(key(event, mapped.schema.entity(), change)) {
            self.change(batch, &mapped, change, sets)?;
            let header = &change.header;
            self.tally
                .event(mapped.object, header.kind, header.commit_timestamp);
        }
        Ok(Some(change.header.commit_timestamp))
    }

    fn change<'e>(
        &mut self,
        batch: &mut Batch<'_>,
        mapped: &Mapped,
        change: &Change<'e>,
        sets: &mut Vec<(usize, Value<'e>)>,
    ) -> rusqlite::Result<()> {
        let header = &change.header;
        let mut filled = false;
        for id in header.record_ids.iter().map(|id| id.as_str()) {
            let action = match action(header.kind, id) {
                Action::Write | Action::Update if self.objects[mapped.object].filtered => {
                    Action::Repair(reason::IN_PART)
                }
                action => action,
            };
            if !filled && matches!(action, Action::Write | Action::Update) {
                mapped.columns_of(change, self.objects[mapped.object].mirror.stamp(), sets);
                filled = true;
            }
            match action {
                Action::Write => {
                    self.write(batch, mapped, id, sets, change)?;
                    self.formulas(batch, mapped, id, change)?;
                }
                Action::Update => {
                    self.update(batch, mapped, id, sets, change)?;
                    self.formulas(batch, mapped, id, change)?;
                    if self.is_shown(mapped.object, sets) {
                        self.read_dependants(batch, mapped.object, id)?;
                    }
                }
                Action::Delete => self.delete(batch, mapped.object, id, header.commit_timestamp)?,
                Action::Repair(reason) => self.repair(batch, mapped.object, id, reason)?,
                Action::Reload(reason) => self.reload(batch, mapped.schema.entity(), reason)?,
            }
        }
        Ok(())
    }

    fn write(
        &mut self,
        batch: &mut Batch<'_>,
        mapped: &Mapped,
        id: &str,
        sets: &mut Vec<(usize, Value<'_>)>,
        change: &Change<'_>,
    ) -> rusqlite::Result<()> {
        let committed = change.header.commit_timestamp;
        if let Some(position) = mapped.is_deleted {
            sets.push((position, Value::Integer(0)));
        }
        let mirror = &mut self.objects[mapped.object].mirror;
        let present = sets.iter().copied().filter(|(_, value)| *value != Value::Null);
        let inserted = batch.insert(mirror, id, present, committed, 0)?;
        if !inserted {
            batch.update(mirror, id, sets, committed)?;
        }
        if change.name_parts_changed() {
            batch.rebuild_name(mirror, id)?;
        }
        // A read of the whole object that began later has not seen it: it may be gone, and no event may tell.
        let mirrored = &self.objects[mapped.object];
        let read_later = mirrored.read_at.is_some_and(|at| committed + CLOCK_MILLIS < at);
        if inserted && read_later && !matches!(mirrored.phase, Phase::Unloaded) {
            self.repair(
                batch,
                mapped.object,
                id,
                "made before the object was read, and not seen",
            )?;
        }
        Ok(())
    }

    fn update(
        &mut self,
        batch: &mut Batch<'_>,
        mapped: &Mapped,
        id: &str,
        sets: &[(usize, Value<'_>)],
        change: &Change<'_>,
    ) -> rusqlite::Result<()> {
        let mirrored = &mut self.objects[mapped.object];
        let mirror = &mut mirrored.mirror;
        let committed = change.header.commit_timestamp;
        let texts = match change.has_diff() {
            true => mapped.patched(batch, mirror, id, change)?,
            false => Some(Vec::new()),
        };
        let outcome = match texts.as_deref() {
            None | Some([]) => batch.update(mirror, id, sets, committed)?,
            Some(texts) => {
                let mut all = sets.to_vec();
                all.extend(
                    texts
                        .iter()
                        .map(|(column, text)| (*column, Value::Text(text.as_str().into()))),
                );
                batch.update(mirror, id, &all, committed)?
            }
        };
        match outcome {
            Outcome::Changed if change.name_parts_changed() => batch.rebuild_name(&mirrored.mirror, id)?,
            Outcome::Changed | Outcome::AlreadyCurrent => {}
            Outcome::Missing if matches!(mirrored.phase, Phase::Unloaded) => return Ok(()),
            Outcome::Missing => return self.repair(batch, mapped.object, id, "updated, but not here"),
        }
        if texts.is_none() {
            self.repair(batch, mapped.object, id, "a text's difference does not fit")?;
        }
        Ok(())
    }

    /// What the org computes need not be in its event. A formula that the event has no place for, or that has
    /// a value here and none in the event, is read again with its record.
    fn formulas(
        &mut self,
        batch: &mut Batch<'_>,
        mapped: &Mapped,
        id: &str,
        change: &Change<'_>,
    ) -> rusqlite::Result<()> {
        if mapped.formulas.is_empty() || matches!(self.objects[mapped.object].phase, Phase::Unloaded) {
            return Ok(());
        }
        let valued = |leaf: usize| {
            change
                .values()
                .binary_search_by_key(&leaf, |(leaf, _)| *leaf)
                .is_ok()
        };
        let mut untold = false;
        for (column, leaf) in &mapped.formulas {
            untold |= match leaf {
                None => true,
                Some(leaf) if valued(*leaf) || change.is_listed(*leaf) => false,
                Some(_) => batch.has_value(&self.objects[mapped.object].mirror, id, *column)?,
            };
        }
        if untold {
            self.repair(batch, mapped.object, id, "a formula that its event does not tell")?;
        }
        Ok(())
    }

    fn delete(
        &mut self,
        batch: &mut Batch<'_>,
        object: usize,
        id: &str,
        committed: i64,
    ) -> rusqlite::Result<()> {
        let mirrored = &self.objects[object];
        let name = &mirrored.mirror.table.object;
        batch.delete(&mirrored.mirror, id, committed, Leave::told_by_the_org())?;
        let superseded = batch.supersede_repair(name, id, self.now)?;
        // A page that was read before may still bring the row back.
        if !superseded && mirrored.is_being_read() {
            self.repair(batch, object, id, "deleted while the object was read")?;
        }
        Ok(())
    }

    pub(super) fn repair(
        &mut self,
        batch: &mut Batch<'_>,
        object: usize,
        id: &str,
        reason: &str,
    ) -> rusqlite::Result<()> {
        let name = &self.objects[object].mirror.table.object;
        batch.open_repair(&Entry::record(name, id, reason), self.now)?;
        self.ledger_rings = true;
        Ok(())
    }

    fn park(
        &mut self,
        batch: &mut Batch<'_>,
        topic: &str,
        event: &RawEvent,
        object: Option<&str>,
        reason: &str,
    ) -> rusqlite::Result<()> {
        metrics::EVENTS_PARKED.count([]);
        let position = format!("{topic} {} {}", event.replay_id, event.event_id);
        tracing::error!(topic, replay_id = %event.replay_id, "an event on {topic} was parked: {reason}");
        let reason_told = format!("undecodable: {reason}");
        let entry = Entry {
            detail: Some(&position),
            ..Entry::object(Kind::Parked, object.unwrap_or("?"), &reason_told)
        };
        batch.open_repair(&entry, self.now)?;
        match object {
            Some(object) => self.reload(batch, object, "an event could not be decoded"),
            // Whose event it was is not known: comparing tells what it would have changed.
            None => self.compare_all(batch, reason::UNKNOWN_EVENT),
        }
    }

    fn advance(
        &mut self,
        batch: &mut Batch<'_>,
        response: &Events,
        committed_at: Option<i64>,
    ) -> rusqlite::Result<()> {
        let ids = response.events.iter().map(|event| &event.replay_id);
        let Some(first) = ids.clone().next().or(response.latest.as_ref()) else {
            return Ok(());
        };
        let cursor = self
            .cursors
            .entry(response.topic.to_string())
            .or_insert_with(|| Cursor {
                topic: response.topic.to_string(),
                resume_after: first.clone(),
                last_seen: first.clone(),
                committed_at: None,
                heard_at: self.now,
                position_at: self.now,
            });
        if response.restart {
            (cursor.resume_after, cursor.last_seen) = (first.clone(), first.clone());
        }
        for id in ids {
            if cursor.last_seen != *id {
                cursor.resume_after = std::mem::replace(&mut cursor.last_seen, id.clone());
            }
        }
        if let (true, Some(latest)) = (response.events.is_empty(), &response.latest) {
            (cursor.resume_after, cursor.last_seen) = (latest.clone(), ReplayId::clone(latest));
        }
        cursor.committed_at = committed_at.or(cursor.committed_at);
        cursor.heard_at = self.now;
        // Without an event the position is the tip; events may be of long ago.
        cursor.position_at = committed_at
            .filter(|_| !response.events.is_empty())
            .unwrap_or(self.now);
        batch.move_cursor(cursor)
    }
}

impl Mapped {
    /// The mirrored texts that came as a difference to what is stored; `None` where one does not fit.
    fn patched(
        &self,
        batch: &Batch<'_>,
        mirror: &Mirror,
        id: &str,
        change: &Change<'_>,
    ) -> rusqlite::Result<Option<Vec<(usize, String)>>> {
        let mut texts = Vec::new();
        for leaf in change.diffed().iter() {
            let Some(Some(column)) = self.columns.get(leaf) else {
                continue;
            };
            let values = change.values();
            let difference = values.binary_search_by_key(&leaf, |(leaf, _)| *leaf);
            let Some(Value::Text(difference)) = difference.ok().map(|at| values[at].1) else {
                return Ok(None);
            };
            let old = batch.text(mirror, id, *column)?.unwrap_or_default();
            match patch(&old, difference.as_str()) {
                Some(new) => texts.push((*column, new)),
                None => return Ok(None),
            }
        }
        Ok(Some(texts))
    }

    /// What the event says of mirrored columns, and the stamp that events do not carry.
    fn columns_of<'e>(&self, change: &Change<'e>, stamp: Option<usize>, sets: &mut Vec<(usize, Value<'e>)>) {
        sets.clear();
        let mut modified = Value::DateTime(change.header.commit_timestamp);
        for (leaf, value) in change.says() {
            if self.last_modified == Some(leaf) && value != Value::Null {
                modified = value;
            }
            if let Some(Some(column)) = self.columns.get(leaf) {
                sets.push((*column, value));
            }
        }
        if let Some(stamp) = stamp {
            sets.push((stamp, modified));
        }
    }
}
