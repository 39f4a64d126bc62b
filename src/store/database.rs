//! Opening a database: permissions, pragmas, identity and migrations.
//!
//! Promises that a file which is not ours, or which a newer version wrote, is left untouched and named in one
//! sentence. Migrations run one per transaction, so a crash between two leaves a version that this program
//! knows. Two daemons on one directory are kept apart by a lock file, not by luck.

use std::fs::{File, OpenOptions, TryLockError};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};
use rustix::fs::OFlags;

use crate::store::{backup, damage, outbox, plain};

/// What one of our database files is.
#[derive(Clone, Copy, Debug)]
pub struct Kind {
    pub file_name: &'static str,
    /// SQLite's `application_id`: tells our files from others, and from each other.
    pub application_id: i32,
    /// Applied in order; the number of those applied is SQLite's `user_version`.
    pub migrations: &'static [&'static str],
    /// Fixed when the file is made.
    pub page_bytes: u32,
    /// `FULL` where a commit must survive a power cut, else `NORMAL`.
    pub synchronous: &'static str,
    pub mode: u32,
    /// A copy is kept of what an older version wrote, before the schema is brought up to date: what cannot be made
    /// again must be there for a way back.
    pub kept_before_upgrade: bool,
}

/// Why a database cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error(
        "{path} was written by a newer storesync (schema {found}, this one knows {known}): install that version again, or move the file away"
    )]
    Newer { path: PathBuf, found: i64, known: usize },
    #[error("{path} is not a storesync database of this kind: move it away or set another [state] dir")]
    Foreign { path: PathBuf },
    #[error("the state directory {dir} is in use by another storesync: stop that one first")]
    InUse { dir: PathBuf },
    #[error("the state directory {dir} cannot be used ({source}): check that it exists and is writable")]
    Directory { dir: PathBuf, source: std::io::Error },
    #[error("{path} cannot be copied before its schema is brought up to date ({reason}): free some space")]
    Unkept { path: PathBuf, reason: String },
    #[error(
        "{path} is missing, and the orders that were accepted are in it: put the file back or restore a backup; to go on without them, remove {note}"
    )]
    Missing { path: PathBuf, note: PathBuf },
    #[error(
        "{path} is not the outbox that the directory had, and the orders that were accepted are in that one: put the file back or restore a backup; to go on without them, remove {note}"
    )]
    Another { path: PathBuf, note: PathBuf },
    #[error(
        "{path} was replaced while it was in use, and {log} belongs to the file before it, so neither is touched: put that file back or restore a backup; to go on with this one and without what was written since, remove {log}"
    )]
    LogOfAnother { path: PathBuf, log: PathBuf },
    #[error("{path} is {found} and no file: put the file back or restore a backup")]
    NoFile { path: PathBuf, found: &'static str },
    #[error("{path} is damaged ({cause}): {}", advice(path))]
    Damaged { path: PathBuf, cause: String },
    #[error("{path} cannot be opened ({source}): check its permissions and the space left on the disk")]
    Database { path: PathBuf, source: rusqlite::Error },
}

impl OpenError {
    /// What SQLite says of a file.
    pub fn of(path: &Path, source: rusqlite::Error) -> Self {
        let path = path.to_owned();
        match damage::is_damage(&source) {
            true => Self::Damaged {
                path,
                cause: source.to_string(),
            },
            false => Self::Database { path, source },
        }
    }
}

/// What to do with a damaged file.
fn advice(path: &Path) -> &'static str {
    if path.ends_with(outbox::KIND.file_name) {
        "it holds the orders that were accepted, so storesync leaves it as it is; check the disk, copy the file, then restore a backup or let sqlite3 recover what it holds (.recover)"
    } else {
        "check the disk and run storesync, which sets it aside and makes it again"
    }
}

/// Held as long as the state directory is ours. The kernel releases it when the process ends, however it ends. The
/// directory itself is locked: a file in it could be removed, and another process would lock its own. The file is locked
/// too, for versions before, which look at that alone.
#[derive(Debug)]
pub struct StateLock {
    _dir: File,
    _file: File,
}

/// Makes the directory if need be and takes it for this process.
pub fn lock(dir: &Path) -> Result<StateLock, OpenError> {
    let directory = |source| OpenError::Directory {
        dir: dir.to_owned(),
        source,
    };
    std::fs::create_dir_all(dir).map_err(directory)?;
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        // Of a pipe in its place the open would not end.
        .custom_flags(OFlags::NONBLOCK.bits().cast_signed())
        .open(dir.join("lock"))
        .map_err(directory)?;
    let locked = File::open(dir).map_err(directory)?;
    for lock in [&locked, &file] {
        lock.try_lock().map_err(|error| match error {
            TryLockError::WouldBlock => OpenError::InUse { dir: dir.to_owned() },
            TryLockError::Error(source) => directory(source),
        })?;
    }
    Ok(StateLock {
        _dir: locked,
        _file: file,
    })
}

/// Whether a daemon holds the directory. The answer may be out of date when it is given.
pub fn is_held(dir: &Path) -> bool {
    let is_locked = |opened: std::io::Result<File>| match opened {
        Ok(file) => matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock)),
        Err(_) => false,
    };
    is_locked(File::open(dir)) || is_locked(plain::open(&dir.join("lock")))
}

/// How long to wait for another writer: the daemon's yields to readers on a busy machine.
pub(super) const WRITER_MAX: Duration = Duration::from_secs(60);

/// Opens the one writer of a database, making and migrating the file as needed.
pub fn open_writer(dir: &Path, kind: Kind) -> Result<Connection, OpenError> {
    let path = dir.join(kind.file_name);
    create_with_mode(&path, kind.mode).map_err(|source| OpenError::Directory {
        dir: dir.to_owned(),
        source,
    })?;
    let database = |source| OpenError::of(&path, source);
    let mut connection = Connection::open(&path).map_err(database)?;
    connection.busy_timeout(WRITER_MAX).map_err(database)?;
    let version = identify(&connection, kind, &path)?;
    if kind.kept_before_upgrade && (1..kind.migrations.len()).contains(&version) {
        keep(&connection, kind, &path, version)?;
    }
    (|| {
        connection.pragma_update(None, "page_size", kind.page_bytes)?;
        connection.pragma_update(None, "journal_mode", "wal")?;
        connection.pragma_update(None, "synchronous", kind.synchronous)?;
        // What is deleted is overwritten: it may be about a person.
        connection.pragma_update(None, "secure_delete", true)?;
        hold_statements(&connection)?;
        migrate(&mut connection, kind, version)
    })()
    .map_err(database)?;
    Ok(connection)
}

/// The schema of a file that is there, from beside the daemon; an error where [`open_writer`] would refuse it.
pub fn version(dir: &Path, kind: Kind) -> Result<usize, OpenError> {
    let connection = open_reader(dir, kind)?;
    identify(&connection, kind, &dir.join(kind.file_name))
}

/// Copies the file to `NAME.schema-N`, which the version before can go on with.
fn keep(connection: &Connection, kind: Kind, path: &Path, version: usize) -> Result<(), OpenError> {
    let to = path.with_file_name(format!("{}.schema-{version}", kind.file_name));
    if to.exists() {
        return Ok(());
    }
    tracing::info!(
        "{} is brought up to date; as it was it is kept in {}",
        kind.file_name,
        to.display()
    );
    backup::copy(connection, kind, &to).map_err(|error| OpenError::Unkept {
        path: path.to_owned(),
        reason: error.to_string(),
    })
}

/// Writes a copy to a file that is new or empty. As in the files themselves, nothing stands in it that is not a row's: SQLite
/// leaves rows in unused parts of the pages that it fills, unless it is told to overwrite what it takes away.
pub fn copy(connection: &Connection, to: &Path) -> rusqlite::Result<()> {
    connection.pragma_update(None, "secure_delete", true)?;
    connection
        .execute("vacuum into ?1", [to.to_string_lossy()])
        .map(drop)
}

/// Refuses what cannot be opened and left as it is: a pipe, whose open would not end, and an empty file beside a log, which
/// SQLite would remove as no log of it. Nothing is opened: to close a database's file would give up its locks.
pub fn look_before(path: &Path) -> Result<(), OpenError> {
    let with = |end: &str| {
        let mut name = path.as_os_str().to_owned();
        name.push(end);
        PathBuf::from(name)
    };
    for path in ["", "-wal", "-shm"].map(with) {
        // What is not there, and what cannot be looked at, SQLite tells better.
        if let Some(found) = std::fs::metadata(&path).ok().and_then(|meta| plain::sort(&meta)) {
            return Err(OpenError::NoFile { path, found });
        }
    }
    let bytes = |path: &Path| std::fs::metadata(path).map(|meta| meta.len());
    let log = with("-wal");
    if matches!(bytes(path), Ok(0)) && matches!(bytes(&log), Ok(1..)) {
        return Err(OpenError::Damaged {
            path: path.to_owned(),
            cause: format!("it is empty, and {} is not", log.display()),
        });
    }
    Ok(())
}

/// Opens a read-only connection to a database that a writer has made.
pub fn open_reader(dir: &Path, kind: Kind) -> Result<Connection, OpenError> {
    let path = dir.join(kind.file_name);
    look_before(&path)?;
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let open = || {
        let connection = Connection::open_with_flags(&path, flags)?;
        connection.pragma_update(None, "busy_timeout", 10_000)?;
        hold_statements(&connection)?;
        Ok(connection)
    };
    open().map_err(|source| OpenError::of(&path, source))
}

/// Keeps statements prepared. By itself SQLite would prepare one anew whenever it is given other values, where they
/// might decide which partial index serves; ours never do, and that was two fifths of an order's time.
fn hold_statements(connection: &Connection) -> rusqlite::Result<()> {
    connection.set_prepared_statement_cache_capacity(256);
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    Ok(())
}

/// Makes the file with its permissions before SQLite would make it with the umask's. One that is there is not opened: to
/// close it would give up all locks that this process has on it (POSIX), and the next program to close the database would
/// take itself for the last and remove its write-ahead log.
pub(super) fn create_with_mode(path: &Path, mode: u32) -> std::io::Result<()> {
    let made = OpenOptions::new()
        .create_new(true)
        .write(true)
        .mode(mode)
        .open(path);
    match made {
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
        made => made.map(drop),
    }
}

/// The file's version, once it is known to be ours and not newer than this program.
fn identify(connection: &Connection, kind: Kind, path: &Path) -> Result<usize, OpenError> {
    let read = |pragma: &str| connection.pragma_query_value(None, pragma, |row| row.get::<_, i64>(0));
    let foreign = || OpenError::Foreign {
        path: path.to_owned(),
    };
    let inspect = |error| OpenError::of(path, error);
    let application_id = read("application_id").map_err(inspect)?;
    let version = read("user_version").map_err(inspect)?;
    let pages = read("page_count").map_err(inspect)?;
    let fresh = application_id == 0 && version == 0 && pages <= 1;
    if !fresh && application_id != i64::from(kind.application_id) {
        return Err(foreign());
    }
    match usize::try_from(version) {
        Ok(version) if version <= kind.migrations.len() => Ok(version),
        _ => Err(OpenError::Newer {
            path: path.to_owned(),
            found: version,
            known: kind.migrations.len(),
        }),
    }
}

/// Applies what is missing, each migration in a transaction of its own. References between tables are looked at when one
/// is done: a table that others refer to can be made anew in no other way (SQLite's own).
fn migrate(connection: &mut Connection, kind: Kind, version: usize) -> rusqlite::Result<()> {
    if version == kind.migrations.len() {
        return Ok(());
    }
    connection.pragma_update(None, "foreign_keys", false)?;
    for (number, sql) in (1_i64..).zip(kind.migrations).skip(version) {
        let transaction = connection.transaction()?;
        transaction.pragma_update(None, "application_id", kind.application_id)?;
        transaction.execute_batch(sql)?;
        transaction.pragma_update(None, "user_version", number)?;
        check_references(&transaction)?;
        transaction.commit()?;
    }
    connection.pragma_update(None, "foreign_keys", true)
}

fn check_references(connection: &Connection) -> rusqlite::Result<()> {
    if !connection.prepare("pragma foreign_key_check")?.exists([])? {
        return Ok(());
    }
    Err(rusqlite::Error::SqliteFailure(
        rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_CONSTRAINT_FOREIGNKEY),
        Some("rows refer to others that are not there".to_owned()),
    ))
}

#[cfg(test)]
mod tests {
    use rusqlite::StatementStatus;

    use super::*;

    const KIND: Kind = Kind {
        file_name: "test.db",
        application_id: 0x5353_0001,
        migrations: &["create table a (x)", "create table b (y)"],
        page_bytes: 4096,
        synchronous: "normal",
        mode: 0o600,
        kept_before_upgrade: true,
    };

    #[test]
    fn other_values_do_not_prepare_a_statement_anew() {
        let dir = tempfile::tempdir().unwrap();
        let writer = open_writer(dir.path(), KIND).unwrap();
        writer
            .execute_batch("create index some on a (x) where x > 5; insert into a values (1), (7)")
            .unwrap();
        for connection in [writer, open_reader(dir.path(), KIND).unwrap()] {
            let mut statement = connection.prepare("select x from a where x > ?1").unwrap();
            for at in 0..10 {
                statement.exists([at]).unwrap();
            }
            assert_eq!(statement.get_status(StatementStatus::RePrepare), 0);
        }
    }

    #[test]
    fn migrates_a_new_file_and_opens_it_again() {
        let dir = tempfile::tempdir().unwrap();
        open_writer(
            dir.path(),
            Kind {
                migrations: &KIND.migrations[..1],
                ..KIND
            },
        )
        .unwrap();
        let connection = open_writer(dir.path(), KIND).unwrap();
        connection.execute("insert into b values (1)", []).unwrap();
        let mode = std::fs::metadata(dir.path().join("test.db")).unwrap();
        assert_eq!(
            std::os::unix::fs::PermissionsExt::mode(&mode.permissions()) & 0o777,
            0o600
        );
    }

    #[test]
    fn a_table_that_others_refer_to_is_made_anew_and_no_reference_is_lost() {
        const ANEW: &str =
            "create table c (x integer primary key); insert into c select x from a; drop table a;
            alter table c rename to a";
        let of = |second: &'static str| {
            let all = vec![
                "create table a (x integer primary key); create table b (y references a (x))",
                second,
            ];
            Kind {
                migrations: Vec::leak(all),
                ..KIND
            }
        };
        let dir = tempfile::tempdir().unwrap();
        let first = Kind {
            migrations: &of("").migrations[..1],
            ..KIND
        };
        open_writer(dir.path(), first)
            .unwrap()
            .execute_batch("insert into a values (1); insert into b values (1)")
            .unwrap();
        assert!(open_writer(dir.path(), of("delete from a")).is_err());
        let connection = open_writer(dir.path(), of(ANEW)).unwrap();
        let refused = connection.execute("insert into b values (2)", []).unwrap_err();
        assert_eq!(
            refused.sqlite_error_code(),
            Some(rusqlite::ErrorCode::ConstraintViolation)
        );
        connection.execute("insert into b values (1)", []).unwrap();
    }

    #[test]
    fn refuses_a_newer_file_and_a_foreign_one() {
        let dir = tempfile::tempdir().unwrap();
        open_writer(dir.path(), KIND).unwrap();
        let older = Kind {
            migrations: &KIND.migrations[..1],
            ..KIND
        };
        assert!(matches!(
            open_writer(dir.path(), older),
            Err(OpenError::Newer {
                found: 2,
                known: 1,
                ..
            })
        ));
        let other = Kind {
            application_id: 7,
            ..KIND
        };
        assert!(matches!(
            open_writer(dir.path(), other),
            Err(OpenError::Foreign { .. })
        ));
        std::fs::write(
            dir.path().join("test.db"),
            "not a database at all, but long enough to be one",
        )
        .unwrap();
        assert!(matches!(
            open_writer(dir.path(), KIND),
            Err(OpenError::Damaged { .. })
        ));
    }

    #[test]
    fn a_directory_has_one_owner() {
        let dir = tempfile::tempdir().unwrap();
        let held = lock(dir.path()).unwrap();
        assert!(matches!(lock(dir.path()), Err(OpenError::InUse { .. })));
        std::fs::remove_file(dir.path().join("lock")).unwrap();
        assert!(matches!(lock(dir.path()), Err(OpenError::InUse { .. })));
        assert!(is_held(dir.path()));
        drop(held);
        lock(dir.path()).unwrap();
    }
}
