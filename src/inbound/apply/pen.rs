//! The journal's writer, on a thread of its own: a batch is written down while the door writes it to the cache.
//!
//! The door commits to the cache when the journal's commit is told of, and not before: what is in the cache is in
//! the journal, and only the time of the two is no longer added up. A process that ends in between leaves a batch
//! that the cache does not hold, which the next start forgets.

use std::io;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{Builder, Scope};

use anyhow::Context as _;

use crate::inbound::apply::log::Notes;
use crate::store::journal::Journal;

/// Held by the door. Its thread ends with it.
pub(super) struct Pen {
    batches: SyncSender<Notes>,
    written: Receiver<anyhow::Result<i64>>,
}

impl Pen {
    pub fn start<'s>(scope: &'s Scope<'s, '_>, journal: Journal) -> io::Result<Self> {
        let (batches, given) = sync_channel(1);
        let (tell, written) = sync_channel(1);
        Builder::new()
            .name("journal".to_owned())
            .spawn_scoped(scope, move || write(journal, &given, &tell))?;
        Ok(Self { batches, written })
    }

    /// Begins to write. Where the thread has ended, [`Pen::number`] says why.
    pub fn write(&self, notes: Notes) {
        let _ended = self.batches.send(notes);
    }

    /// Waits until what was begun is committed: the number of the batch.
    pub fn number(&self) -> anyhow::Result<i64> {
        self.written.recv().context("its thread has ended")?
    }
}

fn write(mut journal: Journal, given: &Receiver<Notes>, tell: &SyncSender<anyhow::Result<i64>>) {
    for notes in given {
        let number = notes.write(&mut journal);
        let failed = number.is_err();
        if tell.send(number).is_err() || failed {
            return;
        }
        // While the door commits. What goes wrong here is told with the next batch.
        if let Err(error) = journal.bound_log() {
            let _door_has_ended = tell.send(Err(error.into()));
            return;
        }
    }
}
