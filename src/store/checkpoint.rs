//! Moving committed pages from the write-ahead logs into the database files, beside the writers.
//!
//! A checkpoint in the writer would stop it for the time of two fsyncs every thousand pages; done here it
//! costs the writer almost nothing. It is passive: it waits for nobody, and so can not reset the log while the
//! writer is busy. The writer does that itself when the log passes [`LOG_BYTES_MAX`], which bounds the file; the
//! outbox's, which others than the daemon write too, and the daemon before it has reached the org, at less.
//!
//! While the cache is quiet, a read of it is held here: see [`Hold`](crate::store::reader::Hold).

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rusqlite::Connection;
use tokio_util::sync::CancellationToken;

use crate::failpoint;
use crate::model::clock::Clock;
use crate::model::trouble::FileKind;
use crate::store::database::{self, Kind};
use crate::store::files::{Files, Opened};
use crate::store::reader::Reader;
use crate::store::{cache, holders, journal, outbox, priority};

/// A writer resets its log when it is longer than this.
pub const LOG_BYTES_MAX: i64 = 256 << 20;

/// Pages waiting in the log beyond this are moved at once.
const WAITING_BYTES_MAX: i64 = 32 << 20;

/// Of the outbox fewer, which are written over and over: a short log is one that stays in memory.
const OUTBOX_WAITING_BYTES_MAX: i64 = 8 << 20;

/// How often the logs are looked at.
const INTERVAL: Duration = Duration::from_millis(25);

/// Fewer pages are moved when nothing was written for so many looks.
const IDLE_LOOKS: u32 = 120;

/// At every so many looks it is looked whether the files are in their places.
const LOOKS_AT_FILES: u32 = 20;

/// A log's frames, and how many of them are in the database already.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Frames {
    written: i64,
    moved: i64,
}

/// A log that is too long for longer, and is read by another program, is told of.
const BLOCKED_SECONDS: u64 = 60;

struct Watched {
    dir: PathBuf,
    kind: Kind,
    /// Since when the log is longer than it should be.
    long_since: Option<Instant>,
    connection: Connection,
    opened: Opened,
    /// Pages that may wait.
    waiting_max: i64,
    last: Frames,
    idle: u32,
    looks: u32,
}

/// Checkpoints `cache.db`, `journal.db` and `outbox.db` until told to stop, and says so with each turn. Blocks: give it
/// a thread of its own.
pub fn run(dir: &Path, files: &Files, stop: &CancellationToken, turned: impl Fn()) -> anyhow::Result<()> {
    priority::yield_to_readers();
    let mut watched = [
        Watched::open(dir, cache::KIND, WAITING_BYTES_MAX)?,
        Watched::open(dir, journal::KIND, WAITING_BYTES_MAX)?,
        Watched::open(dir, outbox::KIND, OUTBOX_WAITING_BYTES_MAX)?,
    ];
    let held = Reader::new(dir).hold()?;
    while !stop.is_cancelled() {
        turned();
        failpoint::reach("checkpoint");
        held.release()?;
        for log in &mut watched {
            log.look()?;
            log.tell_of_length(files);
        }
        // Between two looks, not to be in the way of what is moved; and while nothing is written: a log that is written
        // fast is begun anew often, which a reader would delay.
        if watched[0].idle > 0 {
            held.renew()?;
        }
        std::thread::sleep(INTERVAL);
    }
    Ok(())
}

impl Watched {
    fn open(dir: &Path, kind: Kind, waiting_bytes_max: i64) -> anyhow::Result<Self> {
        let connection = database::open_writer(dir, kind)?;
        connection.pragma_update(None, "wal_autocheckpoint", 0)?;
        Ok(Self {
            dir: dir.to_owned(),
            kind,
            long_since: None,
            connection,
            opened: Opened::of(dir, kind)?,
            waiting_max: waiting_bytes_max / i64::from(kind.page_bytes),
            last: Frames::default(),
            idle: 0,
            looks: 0,
        })
    }

    /// Of a log that was removed or replaced everything is moved at once: nobody could read it after this process.
    fn look(&mut self) -> rusqlite::Result<()> {
        self.looks = self.looks.wrapping_add(1);
        if self.looks.is_multiple_of(LOOKS_AT_FILES) && self.opened.replaced().is_some() {
            let moved = checkpoint(&self.connection, "passive");
            tracing::debug!(
                file = self.kind.file_name,
                ?moved,
                "a log that is not in its place was moved"
            );
            return Ok(());
        }
        let frames = checkpoint(&self.connection, "noop")?;
        self.idle = if frames == self.last { self.idle + 1 } else { 0 };
        self.last = frames;
        let waiting = frames.written - frames.moved;
        if waiting > self.waiting_max || (waiting > 0 && self.idle >= IDLE_LOOKS) {
            self.last = checkpoint(&self.connection, "passive")?;
            self.idle = 0;
        }
        Ok(())
    }
}

impl Watched {
    /// A log that its writer cannot begin anew is told of: how long it is, and who reads.
    fn tell_of_length(&mut self, files: &Files) {
        let (file, bytes) = (
            self.kind.file_name,
            self.last.written * i64::from(self.kind.page_bytes),
        );
        if bytes <= log_bytes_max() {
            self.long_since = None;
            files.passed(FileKind::LogBlocked, file);
            return;
        }
        let since = *self.long_since.get_or_insert_with(Instant::now);
        if since.elapsed() < Duration::from_secs(failpoint::bound("BLOCKED_SECONDS", BLOCKED_SECONDS)) {
            return;
        }
        let holders = holders::holders(&self.dir, self.kind).into_iter();
        let others = holders.filter(|holder| holder.pid != std::process::id());
        let others: Vec<String> = others
            .map(|holder| format!("{} ({})", holder.program, holder.pid))
            .collect();
        if others.is_empty() {
            files.passed(FileKind::LogBlocked, file);
            return;
        }
        files.tell(FileKind::LogBlocked, file, Clock::System.now(), || {
            format!(
                "the write-ahead log of {file} has grown to {} MiB, because it is read all the time: end what reads it: {}",
                bytes >> 20,
                others.join(", ")
            )
        });
    }
}

/// A writer resets its log when it is longer.
fn log_bytes_max() -> i64 {
    let usual = LOG_BYTES_MAX.unsigned_abs();
    failpoint::bound("LOG_BYTES", usual)
        .try_into()
        .unwrap_or(LOG_BYTES_MAX)
}

/// Called by a writer between transactions. Waits for nobody: while a reader holds the log, it grows.
pub(super) fn reset_if_long(connection: &Connection, page_bytes: u32) -> rusqlite::Result<()> {
    let frames = checkpoint(connection, "noop")?;
    if frames.written * i64::from(page_bytes) > log_bytes_max() {
        restart(connection)?;
    }
    Ok(())
}

/// Begins the log anew, unless a reader or another checkpoint is in the way.
fn restart(connection: &Connection) -> rusqlite::Result<()> {
    connection.busy_timeout(Duration::ZERO)?;
    let restarted = checkpoint(connection, "restart");
    connection.busy_timeout(database::WRITER_MAX)?;
    restarted.map(drop)
}

/// Moves everything and cuts the log to nothing, so that it holds no page as it was before; waits for the writer and
/// for readers as long as the connection's time-out allows. Whether it is empty.
pub(super) fn empty(connection: &Connection) -> rusqlite::Result<bool> {
    connection.query_row("pragma wal_checkpoint(truncate)", [], |row| {
        Ok(row.get::<_, i64>(0)? == 0)
    })
}

fn checkpoint(connection: &Connection, mode: &str) -> rusqlite::Result<Frames> {
    connection.query_row(&format!("pragma wal_checkpoint({mode})"), [], |row| {
        Ok(Frames {
            written: row.get(1)?,
            moved: row.get(2)?,
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_writer_does_not_wait_for_a_reader_that_holds_the_log() {
        let dir = tempfile::tempdir().unwrap();
        let cache = cache::Cache::open(dir.path()).unwrap();
        cache.claim_org("00D").unwrap();
        let reader = Connection::open(dir.path().join(cache::KIND.file_name)).unwrap();
        reader.execute_batch("begin; select * from _meta").unwrap();
        let dir = dir.path().to_owned();
        let (done, restarted) = std::sync::mpsc::channel();
        let writer = std::thread::spawn(move || {
            let writer = database::open_writer(&dir, cache::KIND).unwrap();
            writer
                .execute("insert into _meta values ('written', 1)", [])
                .unwrap();
            restart(&writer).unwrap();
            // The log goes on where it was, and so does the writer.
            writer
                .execute("insert into _meta values ('written again', 1)", [])
                .unwrap();
            done.send(checkpoint(&writer, "noop").unwrap().written).unwrap();
        });
        // A limit that only a writer who waits reaches.
        let written = restarted.recv_timeout(Duration::from_secs(20));
        assert!(written.expect("the writer did not wait") > 1);
        drop(reader);
        writer.join().unwrap();
    }

    #[test]
    fn looks_without_moving_and_moves_when_idle() {
        let dir = tempfile::tempdir().unwrap();
        let cache = cache::Cache::open(dir.path()).unwrap();
        cache.claim_org("00D").unwrap();
        let mut watched = Watched::open(dir.path(), cache::KIND, WAITING_BYTES_MAX).unwrap();
        watched.look().unwrap();
        assert!(
            watched.last.written > 0 && watched.last.moved == 0,
            "{:?}",
            watched.last
        );
        for _ in 0..=IDLE_LOOKS {
            watched.look().unwrap();
        }
        assert_eq!(watched.last.written, watched.last.moved);
    }

    #[test]
    fn what_a_removed_log_holds_is_moved_before_nobody_can_read_it() {
        let dir = tempfile::tempdir().unwrap();
        let cache = cache::Cache::open(dir.path()).unwrap();
        cache.claim_org("00D000000000001EAA").unwrap();
        let mut watched = Watched::open(dir.path(), cache::KIND, WAITING_BYTES_MAX).unwrap();
        std::fs::remove_file(dir.path().join("cache.db-wal")).unwrap();
        for _ in 0..LOOKS_AT_FILES {
            watched.look().unwrap();
        }
        let file = std::fs::read(dir.path().join("cache.db")).unwrap();
        assert!(file.windows(18).any(|bytes| bytes == b"00D000000000001EAA"));
    }
}
