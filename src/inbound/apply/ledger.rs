//! What the apply stage does besides writing rows: the ledger's entries, and what is known of objects and channels.

use crate::inbound::apply::{Mirrored, Phase, World};
use crate::inbound::prepare::{Planned, tell_left_out};
use crate::model::clock::{Millis, Moment, format_datetime};
use crate::store::cache::absence::Decision;
use crate::store::cache::fields::Evolved;
use crate::store::cache::repairs::{DECISION_ID, Entry, Kind, reason};
use crate::store::cache::{Batch, State, objects};

/// Ends the wait of a removal whose rows are no longer missing, and says so.
pub(super) fn withdraw(
    batch: &mut Batch<'_>,
    object: &str,
    looked_at: Millis,
    why: &str,
) -> rusqlite::Result<()> {
    if let Some(rows) = batch.withdraw(object, looked_at)? {
        tracing::warn!(
            object,
            rows,
            "the removal of {rows} rows of {object} is withdrawn and no longer waits for a person: {why}"
        );
    }
    Ok(())
}

impl World {
    pub(super) fn read_again(
        &mut self,
        batch: &mut Batch<'_>,
        object: &str,
        ids: &[String],
        reason: &str,
    ) -> anyhow::Result<()> {
        let index = self.index(object)?;
        for id in ids {
            self.repair(batch, index, id, reason)?;
            batch.take_asked(object, id)?;
        }
        Ok(())
    }

    /// What was decided about a removal. What is released leaves with the next read of the whole object, which begins at
    /// once.
    pub(super) fn removal(
        &mut self,
        batch: &mut Batch<'_>,
        object: &str,
        decision: Decision,
    ) -> rusqlite::Result<()> {
        if !matches!(decision, Decision::Back { .. }) {
            batch.take_asked(object, DECISION_ID)?;
        }
        match decision {
            Decision::Back { looked_at } => withdraw(
                batch,
                object,
                looked_at,
                "a comparison found all its rows in the org",
            ),
            Decision::Release(rows) => {
                batch.end_wait(object, rows)?;
                tracing::warn!(
                    object,
                    rows,
                    "a person released the removal of {rows} rows of {object}"
                );
                self.reload(batch, object, "a person released a removal")
            }
            Decision::Refuse => {
                batch.end_wait(object, 0)?;
                tracing::warn!(object, "a person refused a removal: the rows of {object} stay");
                Ok(())
            }
        }
    }

    /// Marks an object to be read again, now or after the load that is under way.
    pub(super) fn reload(
        &mut self,
        batch: &mut Batch<'_>,
        object: &str,
        reason: &str,
    ) -> rusqlite::Result<()> {
        let Some(&index) = self.by_name.get(object) else {
            return Ok(());
        };
        let entry = Entry::object(Kind::Reload, object, reason);
        match &mut self.objects[index].phase {
            // Whatever happened, the first load will read it.
            Phase::Unloaded => {}
            Phase::Loading { again, .. } => {
                *again = true;
                batch.load_again(object)?;
                batch.reopen_repair(&entry, self.now)?;
            }
            Phase::Settled => {
                batch.open_repair(&entry, self.now)?;
                if batch.mark_reload(object)? {
                    tracing::warn!(object, reason, "{object} will be read again as a whole: {reason}");
                    self.ledger_rings = true;
                }
            }
        }
        Ok(())
    }

    pub(super) fn compare_all(&mut self, batch: &mut Batch<'_>, reason: &str) -> rusqlite::Result<()> {
        for mirrored in &self.objects {
            let entry = Entry::object(Kind::Verify, &mirrored.mirror.table.object, reason);
            batch.open_repair(&entry, self.now)?;
        }
        self.ledger_rings = true;
        Ok(())
    }

    /// The position of an object's channel is lost, or there was none yet: what is known to be here reaches to the newest
    /// event that was applied, or to the beginning of the last load, whichever is later. A load that is under way is waited
    /// for.
    pub(super) fn lost(
        &mut self,
        batch: &mut Batch<'_>,
        topic: &str,
        objects: &[String],
    ) -> rusqlite::Result<()> {
        for object in objects {
            self.lost_of(batch, topic, object)?;
        }
        Ok(())
    }

    fn lost_of(&mut self, batch: &mut Batch<'_>, topic: &str, object: &str) -> rusqlite::Result<()> {
        let Some(&index) = self.by_name.get(object) else {
            return Ok(());
        };
        let Some(state) = objects::object(batch.connection(), object)? else {
            return Ok(());
        };
        let is_being_loaded = matches!(self.objects[index].phase, Phase::Loading { .. });
        // A load that has not begun yet reads after the tip anyway.
        if state.state != State::Live && !is_being_loaded {
            return Ok(());
        }
        let committed = self.cursors.get(topic).and_then(|cursor| cursor.committed_at);
        let Some(since) = committed.max(state.watermark) else {
            return self.reload(batch, object, "position lost");
        };
        let reason = match self.cursors.contains_key(topic) {
            true => format!("the org no longer knows the position on {topic}"),
            false => format!("there was no position on {topic} yet"),
        };
        let entry = Entry {
            since: Some(since),
            ..Entry::object(Kind::CatchUp, object, &reason)
        };
        batch.reopen_repair(&entry, self.now)?;
        batch.reopen_repair(&Entry::object(Kind::Verify, object, &reason), self.now)?;
        self.objects[index].catching_up = Some(0);
        batch.set_catching_up(object, Some(0))?;
        self.ledger_rings = true;
        let since = format_datetime(since);
        tracing::info!(object, %since, "what changed in {object} since {since} will be read again: {reason}");
        Ok(())
    }

    pub(super) fn caught_up(
        &mut self,
        batch: &mut Batch<'_>,
        object: &str,
        number: i64,
        rows: u64,
        asked: Option<Moment>,
    ) -> anyhow::Result<()> {
        let index = self.index(object)?;
        if batch.is_open(number)? {
            let differed = self.objects[index].catching_up.take().unwrap_or(0);
            let found = format!("{rows} rows read again, {differed} differed");
            batch.set_catching_up(object, None)?;
            batch.close_repair(number, &found, self.now)?;
            tracing::info!(object, rows, differed, "{object} has caught up: {found}");
        }
        self.ledger_rings = true;
        self.read_since(batch, object, asked)?;
        Ok(())
    }

    /// Rows that differ are read again by id: that is how they are put right.
    pub(super) fn compared(
        &mut self,
        batch: &mut Batch<'_>,
        object: &str,
        number: Option<i64>,
        (rows, before): (u64, u64),
        differing: &[(String, impl AsRef<str>)],
    ) -> anyhow::Result<()> {
        let index = self.index(object)?;
        for (id, reason) in differing {
            self.repair(batch, index, id, reason.as_ref())?;
        }
        let drift = before + differing.len() as u64;
        batch.set_verified(object, drift, self.now)?;
        let found = match drift {
            0 => format!("{rows} rows compared, none differs"),
            _ => format!("{rows} rows compared, {drift} differ and are read again"),
        };
        match number {
            Some(number) => batch.close_repair(number, &found, self.now)?,
            // A comparison by schedule leaves a trace where it found something.
            None if drift > 0 => {
                batch.reopen_repair(&Entry::object(Kind::Verify, object, "by schedule"), self.now)?;
                batch.close_verifications(object, &found, self.now)?;
            }
            None => {}
        }
        if drift > 0 {
            tracing::warn!(object, drift, "{object} was compared with the org: {found}");
        }
        Ok(())
    }

    /// The org answers from another address: whether it is what it was, only comparing tells.
    pub(super) fn moved(&mut self, batch: &mut Batch<'_>, instance_url: &str) -> rusqlite::Result<()> {
        if let Some(before) = batch.claim_instance(instance_url, self.now)? {
            tracing::warn!(
                "the org answers from {instance_url} and no longer from {before}: every object will be compared with it"
            );
            self.ledger_rings = true;
        }
        Ok(())
    }

    /// Takes up an object that the org did not show before.
    fn added(&mut self, batch: &mut Batch<'_>, planned: &Planned) -> anyhow::Result<Evolved> {
        tell_left_out(
            &planned.table.object,
            &batch.leave_out(&planned.table, &planned.left_out)?,
        );
        batch.note_condition(&planned.table.object, planned.filter.as_deref())?;
        let (mirror, evolved) = batch.add_object(&planned.table, planned.streamed, self.now)?;
        batch.plan(&planned.table.object, &serde_json::to_string(planned)?)?;
        let mirrored = Mirrored::stored(batch.connection(), mirror, planned)?;
        let index = self.take_up(mirrored);
        self.link();
        self.schemas.map_again(index, &self.objects);
        if !matches!(self.objects[index].phase, Phase::Unloaded) {
            self.reload(batch, &planned.table.object, "the org shows it again")?;
        }
        self.ledger_rings = true;
        Ok(evolved)
    }

    /// Takes over what the org shows of an object now. Where rows lack values that the org has, it is read again.
    pub(super) fn changed(&mut self, batch: &mut Batch<'_>, planned: &Planned) -> anyhow::Result<Evolved> {
        let object = &planned.table.object;
        let Some(index) = self.by_name.get(object).copied() else {
            return self.added(batch, planned);
        };
        tell_left_out(object, &batch.leave_out(&planned.table, &planned.left_out)?);
        let evolved = batch.evolve(&planned.table, self.now)?;
        let has_other_condition = batch.note_condition(object, planned.filter.as_deref())?;
        batch.plan(object, &serde_json::to_string(planned)?)?;
        let before = &mut self.objects[index];
        let mirror = before.mirror.with_table(planned.table.clone());
        let mut after = Mirrored::new(mirror, planned);
        after.phase = std::mem::replace(&mut before.phase, Phase::Unloaded);
        after.catching_up = before.catching_up;
        after.read_at = before.read_at;
        // Of a cache that did not note its conditions, this much is known.
        let has_other_condition = has_other_condition || before.filtered != after.filtered;
        *before = after;
        self.link();
        self.schemas.map_again(index, &self.objects);
        batch.set_object_problem(object, None)?;
        if batch.set_streamed(object, planned.streamed)? {
            self.reload(batch, object, "kept current another way from now on")?;
        } else if has_other_condition {
            self.reload(batch, object, reason::CONDITION_CHANGED)?;
        } else if evolved.wants_values() {
            self.reload(batch, object, reason::FIELDS_CHANGED)?;
        }
        Ok(evolved)
    }
}
