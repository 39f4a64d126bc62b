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

/// How the notes of starts begin: of any, of one with an empty cache, and of one that is none any more.
#[derive(Clone, Copy, Debug)]
pub struct Starts {
    pub begin: &'static str,
    pub fresh: &'static str,
    pub not_fresh: &'static str,
}

impl Forgetting {
    /// Removes the oldest batches, with their pages and events, where they are too old or all is too much; whether
    /// there may be more. The newest start of what is removed stays, since what comes after is read by it; that it was
    /// the first is taken from it, for what followed is gone.
    pub fn prune(&mut self, keep: Keep, starts: &Starts, now: Millis) -> rusqlite::Result<bool> {
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
        transaction.execute(
            "delete from batch where number <= ?1 and number <> coalesce((select max(number) from batch \
             where number <= ?1 and substr(works, 1, length(?2)) = ?2), 0)",
            params![batch, starts.begin],
        )?;
        transaction.execute(
            "update batch set works = replace(works, ?2, ?3) where number <= ?1",
            params![batch, starts.fresh, starts.not_fresh],
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
