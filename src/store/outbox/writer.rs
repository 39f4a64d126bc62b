//! The outbox's only writer: takes all that waits, commits it at once, then answers.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rusqlite::{Connection, Transaction, TransactionBehavior};
use tokio::sync::{mpsc, oneshot};

/// Most pieces of work in one transaction.
const BATCH_MAX: usize = 256;

/// What is told to the one who asked, once the outcome is certain.
pub(super) type Answer = Box<dyn FnOnce(Result<(), &str>) + Send>;

/// A piece of work: does its writes, and says how it went and whom to tell.
pub(super) type Work = Box<dyn FnOnce(&Connection) -> (rusqlite::Result<()>, Answer) + Send>;

/// Owns the connection that writes.
pub struct Writer {
    connection: Connection,
    waiting: mpsc::Receiver<Work>,
    log_to_empty: Arc<AtomicBool>,
}

/// Makes a piece of work of a job and of the place where its result is awaited.
pub(super) fn work<T: Send + 'static>(
    job: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    sender: oneshot::Sender<Result<T, String>>,
) -> Work {
    Box::new(move |connection| {
        // Whoever asked may have gone away since; its work is done all the same and there is none to tell.
        let tell = move |result| drop(sender.send(result));
        match job(connection) {
            Ok(value) => {
                let answer: Answer =
                    Box::new(move |committed| tell(committed.map(|()| value).map_err(str::to_owned)));
                (Ok(()), answer)
            }
            Err(error) => {
                let reason = error.to_string();
                (Err(error), Box::new(move |_| tell(Err(reason))))
            }
        }
    })
}

impl Writer {
    pub(super) fn new(
        connection: Connection,
        waiting: mpsc::Receiver<Work>,
        log_to_empty: Arc<AtomicBool>,
    ) -> Self {
        Self {
            connection,
            waiting,
            log_to_empty,
        }
    }

    /// Works until no handle on the outbox is left. Blocks: it runs on a thread of its own.
    pub fn run(mut self) {
        let mut batch: Vec<Work> = Vec::with_capacity(BATCH_MAX);
        while self.waiting.blocking_recv_many(&mut batch, BATCH_MAX) > 0 {
            if self.log_to_empty.swap(false, Ordering::AcqRel) {
                self.empty_log();
            }
            self.commit(&mut batch);
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

    fn commit(&mut self, batch: &mut Vec<Work>) {
        let mut answers: Vec<Answer> = Vec::with_capacity(batch.len());
        let failure = commit_all(&mut self.connection, batch, &mut answers)
            .err()
            .map(|error| error.to_string());
        if let Some(reason) = &failure {
            tracing::error!(%reason, "the outbox cannot be written: check the space left on the disk");
        }
        for answer in answers {
            answer(failure.as_deref().map_or(Ok(()), Err));
        }
        // Work that was not reached is dropped, which its asker sees as not done.
        batch.clear();
    }
}

fn commit_all(
    connection: &mut Connection,
    batch: &mut Vec<Work>,
    answers: &mut Vec<Answer>,
) -> rusqlite::Result<()> {
    let mut transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    for work in batch.drain(..) {
        do_one(&mut transaction, work, answers)?;
    }
    transaction.commit()
}

/// Does one piece of work inside a savepoint, which undoes it alone where it fails.
fn do_one(transaction: &mut Transaction<'_>, work: Work, answers: &mut Vec<Answer>) -> rusqlite::Result<()> {
    let savepoint = transaction.savepoint()?;
    let (result, answer) = work(&savepoint);
    answers.push(answer);
    match result {
        Ok(()) => savepoint.commit(),
        Err(error) => {
            tracing::warn!(%error, "work on the outbox failed and was undone");
            savepoint.finish()
        }
    }
}
