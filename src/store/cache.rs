//! `cache.db`: the mirrored rows and everything that commits together with them.
//!
//! [`Cache`] is the one writer. Its changes are made in a [`Batch`], which is one transaction: rows, change
//! feed, dedupe keys, repairs and cursors become visible together or not at all. A batch that is dropped
//! rolls back; the counters kept in memory are then ahead of the file, so a `Cache` is not used again after
//! an error.
//!
//! The journal is another file and is appended before. A crash between the two is harmless: the event is
//! delivered again and the journal knows it already.

pub mod absence;
pub mod applied;
mod bind;
pub mod compare;
pub mod contrast;
pub mod cursors;
pub mod fields;
pub mod loads;
pub mod mirrored;
pub mod objects;
pub mod proofs;
pub mod repairs;
pub mod rows;
mod rules;

use std::path::{Path, PathBuf};

use rusqlite::{Connection, OptionalExtension, Transaction, TransactionBehavior, params};

use crate::model::row::Table;
use crate::store::cache::applied::Applied;
use crate::store::cache::rows::Mirror;
use crate::store::checkpoint;
use crate::store::database::{self, Kind, OpenError};
use crate::store::storefront::shown;

pub use crate::store::cache::objects::{ObjectState, State};

/// The file. Pages of 2 KiB: an update dirties one page per row, and that page is written twice.
pub const KIND: Kind = Kind {
    file_name: "cache.db",
    application_id: 0x5353_4331,
    migrations: &[
        include_str!("migrations/cache_1.sql"),
        include_str!("migrations/cache_2.sql"),
        include_str!("migrations/cache_3.sql"),
        include_str!("migrations/cache_4.sql"),
        include_str!("migrations/cache_5.sql"),
        include_str!("migrations/cache_6.sql"),
        include_str!("migrations/cache_7.sql"),
        include_str!("migrations/cache_8.sql"),
    ],
    page_bytes: 2048,
    synchronous: "normal",
    mode: 0o640,
    kept_before_upgrade: false,
};

/// Feed entries kept; a reader that is further behind has to read its objects again.
const FEED_ENTRIES_MAX: i64 = 1_000_000;

/// Prepared statements kept. Partial updates are cached by their set of columns.
const STATEMENTS_MAX: usize = 1_024;

/// The writer looks at the length of the write-ahead log once in so many commits.
const COMMITS_PER_LOG_CHECK: u32 = 8;

/// A cache that belongs to another org.
#[derive(Debug, thiserror::Error)]
#[error(
    "{path} mirrors the org {stored}, but the login is for {found}: set another [state] dir, or move the file away to start again"
)]
pub struct OtherOrg {
    path: PathBuf,
    stored: String,
    found: String,
}

/// The writer of `cache.db`.
#[derive(Debug)]
pub struct Cache {
    connection: Connection,
    dir: PathBuf,
    memory: Memory,
    commits: u32,
}

/// What the writer knows without asking the file.
#[derive(Debug)]
struct Memory {
    rev: i64,
    /// The newest batch of the journal that is in here.
    journalled: i64,
    applied: Applied,
    /// Names of mirrored objects by [`Mirror::index`], and rows added since the last commit.
    counts: Vec<(String, i64)>,
}

/// One transaction.
#[derive(Debug)]
pub struct Batch<'c> {
    transaction: Transaction<'c>,
    memory: &'c mut Memory,
    dir: &'c Path,
}

/// What the change feed says happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    Created,
    Updated,
    Deleted,
}

impl Change {
    fn as_str(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Updated => "updated",
            Self::Deleted => "deleted",
        }
    }
}

impl Cache {
    /// Opens or makes the file. Checkpoints are left to [`checkpoint`].
    pub fn open(dir: &Path) -> Result<Self, OpenError> {
        let connection = database::open_writer(dir, KIND)?;
        let prepare = || {
            connection.pragma_update(None, "wal_autocheckpoint", 0)?;
            connection.pragma_update(None, "journal_size_limit", checkpoint::LOG_BYTES_MAX)?;
            connection.pragma_update(None, "cache_size", -16_384)?;
            connection.set_prepared_statement_cache_capacity(STATEMENTS_MAX);
            let rev = meta::<i64>(&connection, "rev")?.unwrap_or(0);
            Ok(Memory {
                rev,
                journalled: meta::<i64>(&connection, "journal")?.unwrap_or(0),
                applied: Applied::load(&connection)?,
                counts: Vec::new(),
            })
        };
        let memory = prepare().map_err(|source| OpenError::of(&dir.join(KIND.file_name), source))?;
        Ok(Self {
            connection,
            dir: dir.to_owned(),
            memory,
            commits: 0,
        })
    }

    /// Forgets what it knows without asking the file.
    pub fn reopen(&mut self) -> Result<(), OpenError> {
        *self = Self::open(&self.dir)?;
        Ok(())
    }

    /// Gives a file a life of its own that has none: one that is served. A replay gives the same file each time.
    pub fn begin_life(&self) -> rusqlite::Result<()> {
        self.connection
            .execute(
                "insert or ignore into _meta values ('life', lower(hex(randomblob(6))))",
                [],
            )
            .map(drop)
    }

    /// The newest revision.
    pub fn rev(&self) -> i64 {
        self.memory.rev
    }

    /// The newest batch of the journal that is in here; 0 for none.
    pub fn journalled(&self) -> i64 {
        self.memory.journalled
    }

    /// For reading; changes go through [`Cache::batch`].
    pub fn connection(&self) -> &Connection {
        &self.connection
    }

    /// Binds the file to an org, once.
    pub fn claim_org(&self, org_id: &str) -> anyhow::Result<()> {
        claim_org(&self.connection, &self.dir, org_id)
    }

    /// Prepares for writing rows of a table that [`Cache::ensure_object`] has made.
    pub fn mirror(&mut self, table: Table) -> Mirror {
        let index = self.memory.counts.len();
        self.memory.counts.push((table.object.clone(), 0));
        Mirror::new(table, index)
    }

    /// Begins a transaction.
    pub fn batch(&mut self) -> rusqlite::Result<Batch<'_>> {
        let transaction = self
            .connection
            .transaction_with_behavior(TransactionBehavior::Immediate)?;
        Ok(Batch {
            transaction,
            memory: &mut self.memory,
            dir: &self.dir,
        })
    }

    /// Called after a commit: keeps the write-ahead log from growing without end when the checkpointer, which
    /// never resets it under a busy writer, can not.
    pub fn bound_log(&mut self) -> rusqlite::Result<()> {
        self.commits = self.commits.wrapping_add(1);
        if self.commits.is_multiple_of(COMMITS_PER_LOG_CHECK) {
            checkpoint::reset_if_long(&self.connection, KIND.page_bytes)?;
        }
        Ok(())
    }
}

impl Batch<'_> {
    /// The newest revision, including those of this batch.
    pub fn rev(&self) -> i64 {
        self.memory.rev
    }

    /// As [`Cache::claim_org`], within the transaction.
    pub fn claim_org(&mut self, org_id: &str) -> anyhow::Result<()> {
        claim_org(&self.transaction, self.dir, org_id)
    }

    /// What is written is that batch of the journal.
    pub fn is_batch(&mut self, number: i64) {
        self.memory.journalled = number;
    }

    /// Goes on from at least this revision, for a replay that leaves something out.
    pub fn raise_rev(&mut self, rev: i64) {
        self.memory.rev = self.memory.rev.max(rev);
    }

    /// Whether this event is new; remembered when the batch commits.
    pub fn first_time(&mut self, key: u128) -> bool {
        self.memory.applied.insert(key)
    }

    /// Every event counts as new from now on.
    pub fn forget_applied(&mut self) -> rusqlite::Result<()> {
        self.memory.applied.clear(&self.transaction)
    }

    /// For reading within the transaction.
    pub fn connection(&self) -> &Connection {
        &self.transaction
    }

    /// Makes everything in the batch visible.
    pub fn commit(self) -> rusqlite::Result<i64> {
        self.memory.applied.flush(&self.transaction)?;
        shown::settle(&self.transaction)?;
        let rev = self.memory.rev;
        self.transaction
            .prepare_cached(
                "insert into _meta values ('rev', ?1), ('journal', ?2) on conflict do update set value = excluded.value",
            )?
            .execute([rev, self.memory.journalled])?;
        self.transaction
            .prepare_cached("delete from _change where rev <= ?1")?
            .execute([rev - FEED_ENTRIES_MAX])?;
        self.transaction
            .prepare_cached("delete from _departed where rev <= ?1")?
            .execute([rev - FEED_ENTRIES_MAX])?;
        for (object, rows) in self.memory.counts.iter_mut().filter(|(_, rows)| *rows != 0) {
            self.transaction
                .prepare_cached("update _object set rows = rows + ?2 where object = ?1")?
                .execute(params![&*object, std::mem::take(rows)])?;
        }
        self.transaction.commit()?;
        Ok(rev)
    }

    /// The next revision, with its entry in the feed.
    fn record(&mut self, object: &str, id: &str, change: Change) -> rusqlite::Result<i64> {
        self.memory.rev += 1;
        let mut statement = self
            .transaction
            .prepare_cached("insert into _change values (?1, ?2, ?3, ?4)")?;
        statement.raw_bind_parameter(1, self.memory.rev)?;
        statement.raw_bind_parameter(2, object)?;
        statement.raw_bind_parameter(3, id)?;
        statement.raw_bind_parameter(4, change.as_str())?;
        statement.raw_execute()?;
        Ok(self.memory.rev)
    }
}

fn claim_org(connection: &Connection, dir: &Path, org_id: &str) -> anyhow::Result<()> {
    match meta::<String>(connection, "org_id")? {
        None => {
            connection.execute("insert into _meta values ('org_id', ?1)", params![org_id])?;
            Ok(())
        }
        Some(stored) if stored == org_id => Ok(()),
        Some(stored) => Err(OtherOrg {
            path: dir.join(KIND.file_name),
            stored,
            found: org_id.to_owned(),
        }
        .into()),
    }
}

/// The life of the file: revisions of one life are never given twice. A file that is made anew begins another, and so
/// does a copy that is put in its place, which is behind what the file told before.
pub fn life(connection: &Connection) -> rusqlite::Result<String> {
    Ok(meta(connection, "life")?.unwrap_or_default())
}

/// Ends the life of a copy: whoever opens it for writing begins another.
pub fn end_life(connection: &Connection) -> rusqlite::Result<()> {
    connection
        .execute("delete from _meta where key = 'life'", [])
        .map(drop)
}

/// A fact about the whole file.
pub fn meta<T: rusqlite::types::FromSql>(connection: &Connection, key: &str) -> rusqlite::Result<Option<T>> {
    connection
        .query_row("select value from _meta where key = ?1", [key], |row| row.get(0))
        .optional()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_keeps_its_life_and_a_new_one_has_another() {
        let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let life = |dir: &Path| {
            let cache = Cache::open(dir).unwrap();
            cache.begin_life().unwrap();
            life(cache.connection()).unwrap()
        };
        let first = life(one.path());
        assert_eq!(first.len(), 12);
        assert_eq!(life(one.path()), first);
        assert_ne!(life(other.path()), first);
    }

    #[test]
    fn belongs_to_one_org() {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::open(dir.path()).unwrap();
        cache.claim_org("00D000000000001EAA").unwrap();
        cache.claim_org("00D000000000001EAA").unwrap();
        let error = cache.claim_org("00D000000000002EAA").unwrap_err();
        assert!(error.is::<OtherOrg>(), "{error}");
    }

    #[test]
    fn remembers_revision_and_applied_events() {
        let dir = tempfile::tempdir().unwrap();
        let mut cache = Cache::open(dir.path()).unwrap();
        let mut batch = cache.batch().unwrap();
        assert!(batch.first_time(7));
        assert!(!batch.first_time(7));
        batch.record("Account", "001", Change::Created).unwrap();
        assert_eq!(batch.commit().unwrap(), 1);
        drop(cache);
        let mut cache = Cache::open(dir.path()).unwrap();
        assert_eq!(cache.rev(), 1);
        assert!(!cache.batch().unwrap().first_time(7));
    }
}
