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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::cache::Cache;
    use crate::store::journal::forget::{Asked, Rewrite};
    use crate::store::journal::{Journal, KIND};
    use crate::store::{cache, checkpoint};

    const MARK: &str = "Quetzalcoatlus";

    #[test]
    fn what_is_left_beside_rows_of_both_files_goes_once_something_was_erased() {
        let dir = tempfile::tempdir().unwrap();
        let journal = Journal::open(dir.path()).unwrap();
        let cache = Cache::open(dir.path()).unwrap();
        let files = [KIND, cache::KIND].map(|kind| dir.path().join(kind.file_name));
        for (path, table) in files.iter().zip(["mark", "_meta"]) {
            let other = Connection::open(path).unwrap();
            let leave = format!(
                "pragma secure_delete = off; insert into {table} values ('{MARK}', 1); delete from {table}"
            );
            other.execute_batch(&leave).unwrap();
            checkpoint::empty(&other).unwrap();
        }
        let left = || {
            let has = |path: &std::path::PathBuf| {
                let bytes = std::fs::read(path).unwrap();
                bytes.windows(MARK.len()).any(|part| part == MARK.as_bytes())
            };
            files.iter().filter(|path| has(path)).count()
        };
        assert_eq!(left(), 2);
        let mut forgetting = Forgetting::open(dir.path()).unwrap();
        assert!(!forgetting.is_unscrubbed().unwrap());
        let events = [Rewrite {
            number: 1,
            payload: Vec::new(),
            redacted: None,
        }];
        let asked = Asked {
            records: &[],
            events: &events,
        };
        forgetting.ask(&asked, ("erased_event", 1), 1).unwrap();
        assert!(!forgetting.scrub(|| true).unwrap() && forgetting.is_unscrubbed().unwrap());
        assert!(forgetting.scrub(|| false).unwrap() && !forgetting.is_unscrubbed().unwrap());
        drop((journal, cache));
        assert!(forgetting.empty_logs().unwrap());
        assert_eq!(left(), 0);
    }
}
