//! Rows that somebody else holds for a while.
//!
//! A write needs the row itself and, because the platform locks what a lookup points at, the rows behind the lookups
//! that it sets. The platform would wait some seconds before it refuses; here the refusal comes at once.

use std::sync::{Mutex, MutexGuard, PoisonError};

use super::super::value::{RecordId, Value};
use super::draft::Draft;
use super::error::{RecordError, RecordErrors};
use crate::clock::Millis;

/// A row that is held.
#[derive(Clone, Copy, Debug)]
pub struct Lock {
    pub id: RecordId,
    /// By the org's clock.
    pub until: Millis,
    /// The HTTP status of refusals: the platform is seen to use 400 and 500.
    pub status: u16,
}

/// All that is held.
#[derive(Default)]
pub struct Locks(Mutex<Vec<Lock>>);

impl Locks {
    fn held(&self) -> MutexGuard<'_, Vec<Lock>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Holds a row; the last word on a row counts.
    pub fn hold(&self, lock: Lock) {
        let mut held = self.held();
        held.retain(|other| other.id != lock.id);
        held.push(lock);
    }

    pub fn release_all(&self) {
        self.held().clear();
    }

    pub(super) fn check(
        &self,
        now: Millis,
        row: Option<RecordId>,
        draft: &Draft<'_>,
    ) -> Result<(), RecordErrors> {
        let mut held = self.held();
        held.retain(|lock| lock.until > now);
        let needs = |lock: &&Lock| {
            let id = Value::Id(lock.id);
            // A row that goes takes the rows with it that it hangs on.
            let all = draft.changes.is_empty() && draft.before.is_some();
            row == Some(lock.id)
                || draft.changes.iter().any(|(_, value)| value.as_ref() == Some(&id))
                || all
                    && draft
                        .object
                        .visible()
                        .any(|(at, _)| at > 0 && draft.at(at) == Some(&id))
        };
        let Some(lock) = held.iter().find(needs) else {
            return Ok(());
        };
        let text = format!(
            "unable to obtain exclusive access to this record or 1 records: {}",
            lock.id
        );
        let mut error = RecordError::new("UNABLE_TO_LOCK_ROW", text);
        error.http = lock.status;
        Err(vec![error])
    }
}
