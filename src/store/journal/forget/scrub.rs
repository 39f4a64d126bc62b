//! Overwriting what the pages of the journal and the cache hold beside their rows, once something was erased.

use rusqlite::{Connection, TransactionBehavior};

use crate::store::journal::forget::{Forgetting, UNSCRUBBED};
use crate::store::scrub;

impl Forgetting {
    /// Whether something was erased since the last time; kept over a start.
    pub fn is_unscrubbed(&self) -> rusqlite::Result<bool> {
        Ok(self.mark(UNSCRUBBED)? > 0)
    }

    /// Goes through both files, a few pages at a time; `false` where it was stopped before its end.
    pub fn scrub(&mut self, is_stopped: impl Fn() -> bool) -> rusqlite::Result<bool> {
        // What is erased meanwhile is for the next time.
        self.set_marks(&[(UNSCRUBBED, 0)])?;
        let is_done =
            scrub_file(&mut self.cache, &is_stopped)? && scrub_file(&mut self.connection, &is_stopped)?;
        if !is_done {
            self.set_marks(&[(UNSCRUBBED, 1)])?;
        }
        Ok(is_done)
    }
}

/// The writer waits for no more than a few pages, and only where there is something to overwrite.
fn scrub_file(connection: &mut Connection, is_stopped: &impl Fn() -> bool) -> rusqlite::Result<bool> {
    for first in (1..=scrub::pages(connection)?).step_by(scrub::PAGES_PER_STEP as usize) {
        if is_stopped() {
            return Ok(false);
        }
        let read = connection.transaction()?;
        let unclean = scrub::unclean(&read, first)?;
        read.commit()?;
        if !unclean.is_empty() {
            let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            scrub::clean(&transaction, &unclean)?;
            transaction.commit()?;
        }
    }
    Ok(true)
}
