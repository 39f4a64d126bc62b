//! The journal writer, on a thread of its own: a batch is written down while it is applied to the cache.
//!
//! The cache commits when the journal's commit is known, and not before: what is in the cache is in the journal, and
//! only the times of the two are not added up. A process that ends in between leaves a batch that the cache does not
//! hold, which the next start forgets.

use std::io;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{Builder, Scope};

use anyhow::Context as _;

use crate::inbound::apply::record::Record;
use crate::store::journal::Journal;

/// Held by the apply stage. Its thread ends with it.
pub(super) struct JournalWriter {
    batches: SyncSender<Record>,
    written: Receiver<anyhow::Result<i64>>,
}

impl JournalWriter {
    pub fn start<'s>(scope: &'s Scope<'s, '_>, journal: Journal) -> io::Result<Self> {
        let (batches, given) = sync_channel(1);
        let (tell, written) = sync_channel(1);
        Builder::new()
            .name("journal".to_owned())
            .spawn_scoped(scope, move || write(journal, &given, &tell))?;
        Ok(Self { batches, written })
    }

    /// Begins to write. Where the thread has ended, [`JournalWriter::number`] says why.
    pub fn write(&self, record: Record) {
        let _ended = self.batches.send(record);
    }

    /// Waits until what was begun is committed: the number of the batch.
    pub fn number(&self) -> anyhow::Result<i64> {
        self.written.recv().context("its thread has ended")?
    }
}

fn write(mut journal: Journal, given: &Receiver<Record>, tell: &SyncSender<anyhow::Result<i64>>) {
    for record in given {
        let number = record.write(&mut journal);
        let failed = number.is_err();
        // Its commands are done with before the next are waited for.
        drop(record);
        if tell.send(number).is_err() || failed {
            return;
        }
        // While the cache commits. What goes wrong here is told with the next batch.
        if let Err(error) = journal.bound_log() {
            let _stage_has_ended = tell.send(Err(error.into()));
            return;
        }
    }
}
