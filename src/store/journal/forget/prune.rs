//! Removing what is too old or too much, the oldest first.

use rusqlite::{Connection, OptionalExtension, TransactionBehavior, params};

use crate::model::clock::Millis;
use crate::store::journal::forget::{Forgetting, mark, set_mark};

/// Batches removed in one transaction; each holds at most a thousand events or a few pages.
const BATCHES_PER_STEP: i64 = 16;

/// How long events and answers are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keep {
    /// `None` for ever.
    pub millis: Option<Millis>,
    pub bytes: i64,
}

impl Forgetting {
    /// Removes the oldest batches, with their pages and events, where they are too old or all is too much; whether
    /// there may be more. The newest start of what is removed stays, since what comes after is read by it; that it was
    /// the first is taken from it, for what followed is gone.
    pub fn prune(&mut self, keep: Keep, now: Millis) -> rusqlite::Result<bool> {
        let too_much = used_bytes(&self.connection)? > keep.bytes;
        let Some(oldest) = keep.millis.map(|millis| now - millis).or(too_much.then_some(0)) else {
            return Ok(false);
        };
        let transaction = self
            .connection
            .transaction_with_behavior(TransactionBehavior::Immediate)?;
        // The newest batch stays: it says which is the next.
        let cut = transaction
            .query_row(
                "select number, last_event, at from (select number, last_event, at from batch where number > ?1 \
                 and number < (select max(number) from batch) and (?2 or at < ?3) order by number limit ?4) \
                 order by number desc limit 1",
                params![
                    mark(&transaction, "pruned_batch")?,
                    too_much,
                    oldest,
                    BATCHES_PER_STEP
                ],
                |row| Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?, row.get::<_, Millis>(2)?)),
            )
            .optional()?;
        let Some((batch, event, at)) = cut else {
            return Ok(false);
        };
        transaction.execute(
            "delete from body where page in (select number from page where batch <= ?1)",
            [batch],
        )?;
        transaction.execute("delete from page where batch <= ?1", [batch])?;
        let start = transaction.query_row(
            "select coalesce(max(batch), 0) from command where kind = 'start' and batch <= ?1",
            [batch],
            |row| row.get::<_, i64>(0),
        )?;
        for sql in [
            "delete from command where batch <= ?1 and batch <> ?2",
            "delete from batch where number <= ?1 and number <> ?2",
        ] {
            transaction.execute(sql, [batch, start])?;
        }
        transaction.execute(
            "update command set body = json_set(body, '$.fresh', json('false')) where batch = ?1 and kind = 'start'",
            [start],
        )?;
        transaction.execute("delete from event where number <= ?1", [event])?;
        for (name, value) in [
            ("pruned_batch", batch),
            ("pruned_event", event),
            ("pruned_at", at),
        ] {
            set_mark(&transaction, name, value)?;
        }
        transaction.commit()?;
        Ok(true)
    }
}

/// What the file holds, without the pages that are free to be written anew.
fn used_bytes(connection: &Connection) -> rusqlite::Result<i64> {
    let read = |pragma: &str| connection.pragma_query_value(None, pragma, |row| row.get::<_, i64>(0));
    Ok((read("page_count")? - read("freelist_count")?) * read("page_size")?)
}
