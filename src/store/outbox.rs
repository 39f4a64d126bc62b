//! The outbox: writes that were accepted, until the org has confirmed them.
//!
//! Promises that a write is on the disk before anyone is told that it was accepted, and that it is claimed
//! by one attempt at a time. One thread owns the writer ([`Writer::run`]); all others submit work to it and
//! wait. Whatever waits when it looks is done in one transaction with one fsync, so a hundred storefronts
//! that order at once share its cost; where a piece of work fails, all are done again with a savepoint for
//! each, so that it takes none with it. Answers are given after the commit, never before. What people do to
//! single writes ([`desk`]) may come from another process: each deed is a transaction of its own, which the
//! daemon's next look finds.
//!
//! Queries of the queue name their index: without statistics SQLite would take the one by state, and walk through
//! all that waits for each claim.

pub mod audit;
mod damage;
pub mod desk;
mod due;
mod held;
mod kept;
pub mod missing;
mod open_orders;
mod org_key;
mod queue;
mod read;
mod standing;
mod survivors;
mod transitions;
mod versions;
mod writer;

use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};

use rusqlite::Connection;
use tokio::sync::{Notify, mpsc, oneshot};

use crate::model::clock::Millis;
use crate::store::damage::is_damage;
use crate::store::database::{self, OpenError};
use crate::store::files::{Files, Opened};
use crate::store::reader::Reader;
pub use held::{Held, Limit};
pub use kept::{Bounds, PERSONS, person_object};
pub use open_orders::PendingOrder;
pub use queue::{Accepted, Claimed, Exchange, NewWrite, StoreKey};
pub use read::{Attempt, NotWritten, Sent, View};
pub use standing::{InState, standing_in};
pub use survivors::Merged;
pub use transitions::ANSWER_AWAITED;
pub use writer::Writer;

/// `outbox.db`
pub const KIND: database::Kind = database::Kind {
    file_name: "outbox.db",
    application_id: 0x5353_4F58,
    migrations: &[
        include_str!("migrations/outbox_0001.sql"),
        include_str!("migrations/outbox_0002.sql"),
        include_str!("migrations/outbox_0003.sql"),
        include_str!("migrations/outbox_0004.sql"),
        include_str!("migrations/outbox_0005.sql"),
        include_str!("migrations/outbox_0006.sql"),
        include_str!("migrations/outbox_0007.sql"),
        include_str!("migrations/outbox_0008.sql"),
        include_str!("migrations/outbox_0009.sql"),
        include_str!("migrations/outbox_0010.sql"),
        include_str!("migrations/outbox_0011.sql"),
        include_str!("migrations/outbox_0012.sql"),
        include_str!("migrations/outbox_0013.sql"),
        include_str!("migrations/outbox_0014.sql"),
        include_str!("migrations/outbox_0015.sql"),
    ],
    page_bytes: 4096,
    synchronous: "full",
    mode: 0o600,
    kept_before_upgrade: true,
};

/// Pages of the log, 64 MiB of them, that the writer moves itself: the daemon's checkpoints are elsewhere and sooner.
const LOG_PAGES_MAX: i64 = 16_384;

/// Most work that waits for the writer; more waits at the door.
const WAITING_MAX: usize = 1_024;

/// Why the outbox could not do what it was asked. Nothing of it was done.
#[derive(Debug, thiserror::Error)]
pub enum OutboxError {
    #[error("the outbox cannot be written ({0}): check the space left on the disk of [state] dir")]
    Write(String),
    #[error("the outbox cannot be read: check the disk of [state] dir")]
    Read(#[from] rusqlite::Error),
    #[error("{0}")]
    Replaced(String),
    #[error("the outbox has been closed: storesync is stopping")]
    Closed,
}

/// A handle on the outbox; cheap to clone. The writer ends when the last one is dropped.
#[derive(Clone)]
pub struct Outbox {
    work: mpsc::Sender<Box<dyn writer::Work>>,
    reader: Arc<Mutex<Connection>>,
    held: Held,
    bell: Arc<Notify>,
    files: Files,
    opened: Opened,
    /// The writer empties the write-ahead log after its next commit.
    log_to_empty: Arc<AtomicBool>,
}

/// Opens the outbox. What was being sent when the last process ended becomes due at once, to be looked up in
/// the org before it is sent again. Fails where the directory has had an outbox that is gone, or another. The caller runs
/// the [`Writer`] on a thread of its own.
pub fn open(dir: &Path, now: Millis) -> Result<(Outbox, Writer), OpenError> {
    missing::refuse(dir)?;
    let mut connection = open_writer(dir)?;
    missing::note(dir, &connection, now)?;
    let failed = |source| OpenError::of(&dir.join(KIND.file_name), source);
    audit::key::look(&mut connection, now).map_err(failed)?;
    connection
        .pragma_update(None, "wal_autocheckpoint", LOG_PAGES_MAX)
        .map_err(failed)?;
    transitions::recover(&connection, now).map_err(failed)?;
    due::recover(&connection, now).map_err(failed)?;
    damage::look(&connection, now).map_err(failed)?;
    let reader = database::open_reader(dir, KIND)?;
    let opened = Opened::of(dir, KIND).map_err(|source| OpenError::Directory {
        dir: dir.to_owned(),
        source,
    })?;
    let (work, waiting) = mpsc::channel(WAITING_MAX);
    let files = Files::default();
    let outbox = Outbox {
        files: files.clone(),
        opened: opened.clone(),
        work,
        reader: Arc::new(Mutex::new(reader)),
        held: Held::of_outbox(Reader::of(dir, KIND)),
        bell: Arc::new(Notify::new()),
        log_to_empty: Arc::new(AtomicBool::new(false)),
    };
    let log_to_empty = Arc::clone(&outbox.log_to_empty);
    Ok((
        outbox,
        Writer::new(connection, waiting, log_to_empty, (files, opened)),
    ))
}

fn open_writer(dir: &Path) -> Result<Connection, OpenError> {
    let mut connection = database::open_writer(dir, KIND)?;
    let taken_over = audit::of_writes::take_over(&mut connection);
    let renamed = taken_over.and_then(|()| audit::names::rename(&mut connection));
    match renamed {
        // What is damaged is told of by whoever reads it; orders are taken all the same.
        Err(error) if is_damage(&error) => {
            tracing::error!("the audit cannot be read, and stays as it is: {error}");
        }
        renamed => renamed.map_err(|source| OpenError::of(&dir.join(KIND.file_name), source))?,
    }
    Ok(connection)
}

/// Writes down in a copy, which nobody has opened, what is done with it.
pub(super) fn write_down_in(dir: &Path, line: &audit::Line, now: Millis) -> Result<(), OpenError> {
    let mut connection = open_writer(dir)?;
    let write = move || {
        let transaction = connection.transaction()?;
        audit::append(&transaction, line, now)?;
        transaction.commit()?;
        connection.close().map_err(|(_, error)| error)
    };
    write().map_err(|source| OpenError::of(&dir.join(KIND.file_name), source))
}

impl Outbox {
    /// Rings when a write was accepted or released. One listener.
    pub fn bell(&self) -> Arc<Notify> {
        self.bell.clone()
    }

    /// What is the matter with the files of the state directory.
    pub fn files(&self) -> &Files {
        &self.files
    }

    /// The files, as they were opened.
    pub fn opened(&self) -> &Opened {
        &self.opened
    }

    /// Fails where what is written would be lost with the next start.
    fn is_in_place(&self) -> Result<(), OutboxError> {
        self.opened
            .replaced()
            .map_or(Ok(()), |told| Err(OutboxError::Replaced(told)))
    }

    /// What accepted orders hold of the stock.
    pub fn held(&self) -> &Held {
        &self.held
    }

    /// Does `job` in the writer's next transaction and answers once that is on the disk.
    async fn submit<T: Send + 'static>(
        &self,
        job: impl Fn(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, OutboxError> {
        let (sender, answer) = oneshot::channel();
        self.work
            .send(Box::new(writer::Job {
                job,
                made: None,
                sender,
            }))
            .await
            .map_err(|_| OutboxError::Closed)?;
        match answer.await {
            Ok(done) => done.map_err(OutboxError::Write),
            Err(_) if self.work.is_closed() => Err(OutboxError::Closed),
            // Its transaction failed before its turn came.
            Err(_) => Err(OutboxError::Write("the transaction failed".to_owned())),
        }
    }

    fn read<T>(&self, job: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> Result<T, OutboxError> {
        // A poisoned lock means that a reader panicked; the connection itself is not harmed by that.
        let reader = self
            .reader
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        job(&reader).map_err(|error| {
            self.files.note_failure(&self.opened, &error);
            OutboxError::Read(error)
        })
    }
}

#[cfg(test)]
mod tests;
