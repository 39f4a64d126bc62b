//! Reading the cache, or another database of ours: connections that never block the writer and are never blocked by it.
//!
//! Each thread that reads keeps a connection of its own, so a handler reads where it runs, with its
//! statements prepared. A reader sees the last commit, never a batch half written.
//!
//! A reader for whoever asks from outside has a limit of time: a read that takes longer is broken off.

use std::cell::{Cell, RefCell};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rusqlite::{Connection, ErrorCode};

use crate::store::database::{self, Kind};
use crate::store::{cache, damage};

/// Connections kept by one thread; more than one only where several caches are read, as in tests.
const CONNECTIONS_MAX: usize = 4;

/// Memory that each connection may use for pages, in KiB.
const CACHE_KIBIBYTES: i64 = 4_096;

/// Steps of SQLite's machine between two looks at the time: some 20 microseconds.
const STEPS_PER_LOOK: i32 = 1_000;

thread_local! {
    /// When the read of this thread is to be broken off.
    static DEADLINE: Cell<Option<Instant>> = const { Cell::new(None) };
    static CONNECTIONS: RefCell<Vec<(Arc<Path>, &'static str, Connection)>> = const { RefCell::new(Vec::new()) };
}

/// Reads one file; cheap to clone.
#[derive(Clone, Debug)]
pub struct Reader {
    dir: Arc<Path>,
    kind: Kind,
    /// Longest time for one read.
    limit: Option<Duration>,
}

/// Whether a read was broken off for the time that it took.
pub fn is_broken_off(error: &anyhow::Error) -> bool {
    error
        .downcast_ref::<rusqlite::Error>()
        .and_then(rusqlite::Error::sqlite_error_code)
        == Some(ErrorCode::OperationInterrupted)
}

/// Ends the time of a read when it is dropped.
struct Limited(Option<Instant>);

impl Limited {
    /// A read inside a read ends with it.
    fn begin(limit: Option<Duration>) -> Self {
        let before = DEADLINE.get();
        if before.is_none() {
            DEADLINE.set(limit.map(|limit| Instant::now() + limit));
        }
        Self(before)
    }
}

impl Drop for Limited {
    fn drop(&mut self) {
        DEADLINE.set(self.0);
    }
}

impl Reader {
    /// A reader of the cache in this directory, which the writer has made.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self::of(dir, cache::KIND)
    }

    /// A reader of a database of this kind.
    pub fn of(dir: impl Into<PathBuf>, kind: Kind) -> Self {
        Self {
            dir: dir.into().into(),
            kind,
            limit: None,
        }
    }

    /// The same, whose reads are broken off after so long each.
    pub fn within(&self, limit: Duration) -> Self {
        Self {
            limit: Some(limit),
            ..self.clone()
        }
    }

    /// The state folder.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Reads with this thread's connection. Several reads that have to agree use [`Reader::snapshot`].
    pub fn with<T>(&self, read: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> anyhow::Result<T> {
        // Taken out while in use, so that a read inside a read opens another and cannot panic.
        let connection = match self.take() {
            Some(connection) => connection,
            None => self.open()?,
        };
        let limited = Limited::begin(self.limit);
        let result = read(&connection);
        drop(limited);
        if let Err(error) = &result
            && damage::is_damage(error)
        {
            damage::note(&self.dir, self.kind.file_name, &error.to_string());
        }
        if connection.is_autocommit() {
            self.keep(connection);
        }
        Ok(result?)
    }

    /// Several reads that see the same commit. They cost less than each by itself, too: readers of one process wait for
    /// each other where a read begins and where it ends.
    pub fn snapshot<T, E: From<anyhow::Error>>(
        &self,
        read: impl FnOnce(&Connection) -> Result<T, E>,
    ) -> Result<T, E> {
        self.with(|connection| {
            // A read lasts until the last of its statements is done: one that is held in its midst ties the others
            // together, and costs less than two that begin and commit.
            let mut held = connection.prepare_cached("select 1 from sqlite_schema")?;
            let mut rows = held.query([])?;
            rows.next()?;
            Ok(read(connection))
        })?
    }

    /// A read that can be held, so that those of others cost less.
    pub fn hold(&self) -> anyhow::Result<Hold> {
        self.open().map(Hold)
    }

    /// A connection of one's own, for a look that takes long.
    pub fn connection(&self) -> anyhow::Result<Connection> {
        self.open()
    }

    fn open(&self) -> anyhow::Result<Connection> {
        let mut connection = database::open_reader(&self.dir, self.kind)?;
        connection.pragma_update(None, "cache_size", -CACHE_KIBIBYTES)?;
        let is_over = || DEADLINE.get().is_some_and(|deadline| Instant::now() >= deadline);
        connection.progress_handler(STEPS_PER_LOOK, Some(is_over))?;
        Ok(connection)
    }

    fn take(&self) -> Option<Connection> {
        CONNECTIONS.with_borrow_mut(|connections| {
            // Not by the path: a reader that was made since may be of another file.
            let is_ours =
                |dir: &Arc<Path>, file: &str| Arc::ptr_eq(dir, &self.dir) && file == self.kind.file_name;
            let position = connections.iter().position(|(dir, file, _)| is_ours(dir, file))?;
            Some(connections.swap_remove(position).2)
        })
    }

    fn keep(&self, connection: Connection) {
        CONNECTIONS.with_borrow_mut(|connections| {
            if connections.len() >= CONNECTIONS_MAX {
                connections.remove(0);
            }
            connections.push((Arc::clone(&self.dir), self.kind.file_name, connection));
        });
    }
}

/// A read that is held on the newest commit for a while.
///
/// The first reader of a commit asks the system for its lock, and the last gives it back; readers of the same process
/// in between are only counted. So while one is held, all others are spared two system calls, in which they would
/// wait for each other. What is held keeps the log from being begun anew: it is renewed often.
pub struct Hold(Connection);

impl Hold {
    /// Holds the newest commit, and no longer the one before.
    pub fn renew(&self) -> rusqlite::Result<()> {
        self.release()?;
        self.0.execute_batch("begin")?;
        self.0
            .query_row("select count(*) from sqlite_schema", [], |_| Ok(()))
    }

    /// Holds nothing.
    pub fn release(&self) -> rusqlite::Result<()> {
        if self.0.is_autocommit() {
            return Ok(());
        }
        self.0.execute_batch("commit")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::cache::{Cache, meta};
    use crate::store::checkpoint;

    #[test]
    fn reads_beside_a_writer_and_inside_a_read() {
        let dir = tempfile::tempdir().unwrap();
        let mut cache = Cache::open(dir.path()).unwrap();
        cache.claim_org("00D").unwrap();
        let batch = cache.batch().unwrap();
        let reader = Reader::new(dir.path());
        let org = reader.with(|outer| {
            meta::<String>(outer, "org_id")
                .map(|org| (org, reader.with(|inner| meta::<String>(inner, "org_id"))))
        });
        let (outer, inner) = org.unwrap();
        assert_eq!(
            (outer.as_deref(), inner.unwrap().as_deref()),
            (Some("00D"), Some("00D"))
        );
        batch.commit().unwrap();
        assert!(
            reader
                .with(|connection| connection.execute("delete from _meta", []))
                .is_err()
        );
    }

    fn note(cache: &Cache, value: i64) {
        let sql = "insert into _meta values ('noted', ?1) on conflict do update set value = excluded.value";
        cache.connection().execute(sql, [value]).unwrap();
    }

    fn noted(connection: &Connection) -> rusqlite::Result<Option<i64>> {
        meta(connection, "noted")
    }

    #[test]
    fn what_is_held_is_the_newest_commit_when_it_was_renewed() {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::open(dir.path()).unwrap();
        cache.connection().busy_timeout(Duration::ZERO).unwrap();
        let hold = Reader::new(dir.path()).hold().unwrap();
        note(&cache, 1);
        hold.renew().unwrap();
        note(&cache, 2);
        assert_eq!(noted(&hold.0).unwrap(), Some(1));
        assert!(
            !checkpoint::empty(cache.connection()).unwrap(),
            "the log is needed still"
        );
        hold.renew().unwrap();
        assert_eq!(noted(&hold.0).unwrap(), Some(2));
        hold.release().unwrap();
        hold.release().unwrap();
        assert!(checkpoint::empty(cache.connection()).unwrap());
        note(&cache, 3);
        assert_eq!(noted(&hold.0).unwrap(), Some(3));
    }

    #[test]
    fn a_read_that_takes_too_long_is_broken_off_alone() {
        const ENDLESS: &str = "with recursive counted (n) as (select 1 union all select n + 1 from counted) select count(*) from counted";
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::open(dir.path()).unwrap();
        let reader = Reader::new(dir.path());
        let limited = reader.within(Duration::from_millis(20));
        let endless = |cache: &Connection| cache.query_row(ENDLESS, [], |row| row.get::<_, i64>(0));
        let error = limited.with(endless).unwrap_err();
        assert!(is_broken_off(&error), "{error:#}");
        // One inside another has no time of its own.
        let inside = limited.with(|_| Ok(limited.within(Duration::from_secs(3_600)).with(endless)));
        assert!(is_broken_off(&inside.unwrap().unwrap_err()));
        // The connection goes on, and a reader without a limit has none.
        note(&cache, 1);
        assert_eq!(limited.with(noted).unwrap(), Some(1));
        let long = "with recursive counted (n) as (select 1 union all select n + 1 from counted limit 2000000) select count(*) from counted";
        let counted = reader.with(|cache| cache.query_row(long, [], |row| row.get::<_, i64>(0)));
        assert_eq!(counted.unwrap(), 2_000_000);
    }

    #[test]
    fn a_snapshot_is_of_one_commit_however_it_ends() {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::open(dir.path()).unwrap();
        let reader = Reader::new(dir.path());
        let note = |value| note(&cache, value);
        note(1);
        let pair = reader.snapshot(|connection| {
            let first = noted(connection)?;
            note(2);
            anyhow::Ok((first, noted(connection)?))
        });
        assert_eq!(pair.unwrap(), (Some(1), Some(1)));
        let refused: anyhow::Result<()> = reader.snapshot(|_| anyhow::bail!("no"));
        assert!(refused.is_err());
        note(3);
        let now = reader.snapshot(|connection| anyhow::Ok(noted(connection)?));
        assert_eq!(now.unwrap(), Some(3));
    }
}
