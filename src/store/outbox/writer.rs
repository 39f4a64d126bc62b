//! The outbox's only writer: takes all that waits, commits it at once, then answers.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rusqlite::{Connection, TransactionBehavior};
use tokio::sync::{mpsc, oneshot};

use crate::store::files::{Files, Opened};

/// Most pieces of work in one transaction.
const BATCH_MAX: usize = 256;

/// A piece of work and the place where its result is awaited.
pub(super) trait Work: Send {
    /// Does its writes. It may be done again after they were undone; the last time counts.
    fn run(&mut self, connection: &Connection) -> rusqlite::Result<()>;

    /// Tells how it went, once it is certain; the error is why nothing was committed.
    fn answer(self: Box<Self>, committed: Result<(), &str>);
}

/// A job that makes a `T`.
pub(super) struct Job<T, J> {
    pub job: J,
    /// What it made the last time, or why it could not.
    pub made: Option<Result<T, String>>,
    pub sender: oneshot::Sender<Result<T, String>>,
}

impl<T: Send, J: Fn(&Connection) -> rusqlite::Result<T> + Send> Work for Job<T, J> {
    fn run(&mut self, connection: &Connection) -> rusqlite::Result<()> {
        let made = (self.job)(connection);
        let (made, result) = match made {
            Ok(value) => (Ok(value), Ok(())),
            Err(error) => (Err(error.to_string()), Err(error)),
        };
        self.made = Some(made);
        result
    }

    fn answer(self: Box<Self>, committed: Result<(), &str>) {
        // Work that was not reached is dropped, which its asker sees as not done.
        let Some(made) = self.made else { return };
        // Whoever asked may have gone away since; its work is done all the same and there is none to tell.
        drop(
            self.sender
                .send(made.and_then(|value| committed.map(|()| value).map_err(str::to_owned))),
        );
    }
}

/// Owns the connection that writes.
pub struct Writer {
    connection: Connection,
    waiting: mpsc::Receiver<Box<dyn Work>>,
    log_to_empty: Arc<AtomicBool>,
    files: Files,
    opened: Opened,
}

impl Writer {
    pub(super) fn new(
        connection: Connection,
        waiting: mpsc::Receiver<Box<dyn Work>>,
        log_to_empty: Arc<AtomicBool>,
        (files, opened): (Files, Opened),
    ) -> Self {
        Self {
            connection,
            waiting,
            log_to_empty,
            files,
            opened,
        }
    }

    /// Works until no handle on the outbox is left. Blocks: it runs on a thread of its own.
    pub fn run(mut self) {
        let mut batch: Vec<Box<dyn Work>> = Vec::with_capacity(BATCH_MAX);
        while self.waiting.blocking_recv_many(&mut batch, BATCH_MAX) > 0 {
            if self.log_to_empty.swap(false, Ordering::AcqRel) {
                self.empty_log();
            }
            self.commit(&mut batch);
        }
        self.keep_what_was_accepted();
    }

    /// Of a log that was removed or replaced, the database takes what nobody could read after this.
    fn keep_what_was_accepted(&self) {
        if self.opened.replaced().is_some() {
            self.empty_log();
        }
    }

    /// A reader that is in its midst keeps the log from being emptied; whoever asked for it asks again.
    fn empty_log(&self) {
        let emptied = self
            .connection
            .query_row("pragma wal_checkpoint(truncate)", [], |row| row.get::<_, bool>(0));
        if !matches!(emptied, Ok(false)) {
            tracing::debug!(?emptied, "the log of the outbox could not be emptied");
        }
    }

    fn commit(&mut self, batch: &mut Vec<Box<dyn Work>>) {
        let committed = together(&mut self.connection, batch).or_else(|error| {
            tracing::warn!(%error, "work on the outbox failed: what it was done with is done again, each by itself");
            apart(&mut self.connection, batch)
        });
        if let Err(error) = &committed {
            self.files.note_failure(&self.opened, error);
        }
        let failure = committed.err().map(|error| error.to_string());
        if let Some(reason) = &failure {
            tracing::error!(%reason, "the outbox cannot be written: check the space left on the disk");
        }
        for work in batch.drain(..) {
            work.answer(failure.as_deref().map_or(Ok(()), Err));
        }
    }
}

/// Does and commits all, or nothing.
fn together(connection: &mut Connection, batch: &mut [Box<dyn Work>]) -> rusqlite::Result<()> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    batch.iter_mut().try_for_each(|work| work.run(&transaction))?;
    transaction.commit()
}

/// Does and commits all that can be done: a savepoint for each undoes it alone where it fails.
fn apart(connection: &mut Connection, batch: &mut [Box<dyn Work>]) -> rusqlite::Result<()> {
    let mut transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    for work in batch {
        let savepoint = transaction.savepoint()?;
        match work.run(&savepoint) {
            Ok(()) => savepoint.commit()?,
            Err(_) => savepoint.finish()?,
        }
    }
    transaction.commit()
}
