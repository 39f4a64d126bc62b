//! Filling a journal from an export of another one: everything keeps its number.

use rusqlite::{Transaction, TransactionBehavior, params};

use crate::store::journal::log::insert_command;
use crate::store::journal::read::{Kept, KeptBatch, KeptPage, bound};
use crate::store::journal::{Journal, joined};

/// An import under way; dropped, it leaves nothing.
#[derive(Debug)]
pub struct Import<'j> {
    transaction: Transaction<'j>,
}

impl Journal {
    pub fn import(&mut self) -> rusqlite::Result<Import<'_>> {
        let transaction = self
            .connection
            .transaction_with_behavior(TransactionBehavior::Immediate)?;
        Ok(Import { transaction })
    }
}

impl Import<'_> {
    pub fn schema(&mut self, id: &str, json: &str) -> rusqlite::Result<()> {
        self.transaction
            .prepare_cached("insert into schema (schema_id, json) values (?1, ?2)")?
            .execute(params![id, json])?;
        Ok(())
    }

    pub fn event(&mut self, kept: &Kept) -> rusqlite::Result<()> {
        self.transaction
            .prepare_cached("insert or ignore into topic (name) values (?1)")?
            .execute([&kept.topic])?;
        self.transaction
            .prepare_cached(
                "insert into event (number, topic, replay_id, ordinal, event_id, schema_id, received_at, payload, \
                 redacted) values (?1, (select number from topic where name = ?2), ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
            )?
            .execute(params![
                kept.number,
                kept.topic,
                kept.replay_id,
                kept.ordinal,
                kept.event_id,
                kept.schema_id,
                kept.received_at,
                kept.payload,
                joined(&kept.redacted)
            ])?;
        Ok(())
    }

    pub fn batch(&mut self, batch: &KeptBatch) -> rusqlite::Result<()> {
        self.transaction
            .prepare_cached("insert into batch (number, at, rev, last_event) values (?1, ?2, ?3, ?4)")?
            .execute(params![batch.number, batch.at, batch.rev, batch.last_event])?;
        for (place, command) in batch.commands.iter().enumerate() {
            insert_command(&self.transaction, batch.number, place, command)?;
        }
        Ok(())
    }

    pub fn page(&mut self, page: &KeptPage) -> rusqlite::Result<()> {
        self.transaction
            .prepare_cached(
                "insert into page (number, batch, command, object, kind, taken_at, first_id, last_id, bytes) \
                 values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
            )?
            .execute(params![
                page.number,
                page.batch,
                bound(page.command),
                page.object,
                page.kind,
                page.taken_at,
                page.first_id,
                page.last_id,
                bound(page.body.len())
            ])?;
        self.transaction
            .prepare_cached("insert into body (page, packed) values (?1, ?2)")?
            .execute(params![page.number, page.body])?;
        Ok(())
    }

    pub fn commit(self) -> rusqlite::Result<()> {
        self.transaction.commit()
    }
}
