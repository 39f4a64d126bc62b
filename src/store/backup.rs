//! Copies of the databases, made while they are written, and put back.
//!
//! A copy is one commit of its file, whole and compact. The three are not of the same instant, and need not be: the
//! cache is copied first, so that the journal holds whatever the cache has seen; an order in the outbox that has been
//! sent since is refused by the org under its key and recognised.
//!
//! A backup is a directory with the files and `manifest.json`, which is written last: without it the backup is not
//! complete, and is not restored.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use aws_lc_rs::digest::{Context, SHA256};
use rusqlite::Connection;
use serde::{Deserialize, Serialize};

use crate::store::database::{self, Kind, OpenError};
use crate::store::{cache, journal, outbox};

/// In the order they are copied.
const KINDS: [Kind; 3] = [cache::KIND, journal::KIND, outbox::KIND];

const MANIFEST: &str = "manifest.json";

/// What a backup holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// Of the storesync that made it.
    pub version: String,
    /// ISO 8601.
    pub made_at: String,
    pub files: Vec<Copied>,
    /// The last entry of the audit in it; `None` of an outbox of a version before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub audit_head: Option<String>,
}

/// One file of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Copied {
    pub name: String,
    pub schema: usize,
    pub bytes: u64,
    pub sha256: String,
}

/// Why there is no backup, or none to restore.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    #[error(
        "{path} cannot be used ({source}): check that it is there and may be written, and the space left"
    )]
    File { path: PathBuf, source: std::io::Error },
    #[error("{0} is not empty: name a directory that is new or empty")]
    NotEmpty(PathBuf),
    #[error("{path} is damaged ({reason}): make the backup again, or restore another")]
    Damaged { path: PathBuf, reason: String },
    #[error("{0} is no complete backup: it has no readable manifest.json")]
    Incomplete(PathBuf),
    #[error("{0} is there already: move it away, or say --replace to have that done")]
    Present(PathBuf),
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error("{path} cannot be copied ({source}): check the space left")]
    Copy { path: PathBuf, source: rusqlite::Error },
}

/// Copies all three from `dir` into the directory `to`, and checks each copy.
pub fn make(dir: &Path, to: &Path, made_at: String) -> Result<Manifest, BackupError> {
    let file = |source| BackupError::File {
        path: to.to_owned(),
        source,
    };
    std::fs::create_dir_all(to).map_err(file)?;
    if std::fs::read_dir(to).map_err(file)?.next().is_some() {
        return Err(BackupError::NotEmpty(to.to_owned()));
    }
    let mut files = Vec::new();
    for kind in KINDS.into_iter().filter(|kind| dir.join(kind.file_name).exists()) {
        let connection = database::open_reader(dir, kind)?;
        copy(&connection, kind, &to.join(kind.file_name))?;
        files.push(examine(to, kind)?);
    }
    let manifest = Manifest {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        made_at,
        audit_head: audit_head(to),
        files,
    };
    let text = serde_json::to_vec_pretty(&manifest).map_err(|error| file(error.into()))?;
    let path = to.join(MANIFEST);
    std::fs::write(&path, text).map_err(file)?;
    sync(&path)?;
    sync(to)?;
    Ok(manifest)
}

fn audit_head(copy: &Path) -> Option<String> {
    let connection = database::open_reader(copy, outbox::KIND).ok()?;
    let head = outbox::audit::head(&connection).ok()?;
    Some(head.to_string())
}

/// Copies one database as it is now; beside a writer too.
pub(super) fn copy(connection: &Connection, kind: Kind, to: &Path) -> Result<(), BackupError> {
    database::create_with_mode(to, 0o600).map_err(|source| BackupError::File {
        path: to.to_owned(),
        source,
    })?;
    database::copy(connection, to).map_err(|source| BackupError::Copy {
        path: PathBuf::from(kind.file_name),
        source,
    })?;
    if kind.file_name == cache::KIND.file_name {
        // What the daemon tells after the copy was made is told under numbers that the copy gives again.
        let ended = Connection::open(to).and_then(|copied| cache::end_life(&copied));
        ended.map_err(|source| BackupError::Copy {
            path: PathBuf::from(kind.file_name),
            source,
        })?;
    }
    sync(to)
}

/// Whether a copy is whole, and what it is.
fn examine(dir: &Path, kind: Kind) -> Result<Copied, BackupError> {
    let path = dir.join(kind.file_name);
    let damaged = |reason: String| BackupError::Damaged {
        path: path.clone(),
        reason,
    };
    let schema = database::version(dir, kind)?;
    let check = || {
        let connection = Connection::open_with_flags(&path, rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY)?;
        connection.query_row("pragma integrity_check(1)", [], |row| row.get::<_, String>(0))
    };
    match check() {
        Ok(answer) if answer == "ok" => {}
        Ok(answer) => return Err(damaged(answer)),
        Err(error) => return Err(damaged(error.to_string())),
    }
    let (bytes, sha256) = fingerprint(&path)?;
    Ok(Copied {
        name: kind.file_name.to_owned(),
        schema,
        bytes,
        sha256,
    })
}

fn fingerprint(path: &Path) -> Result<(u64, String), BackupError> {
    let failed = |source| BackupError::File {
        path: path.to_owned(),
        source,
    };
    let mut file = File::open(path).map_err(failed)?;
    let mut hash = Context::new(&SHA256);
    let mut buffer = vec![0; 1 << 20];
    let mut bytes = 0;
    loop {
        let length = file.read(&mut buffer).map_err(failed)?;
        if length == 0 {
            break;
        }
        hash.update(&buffer[..length]);
        bytes += length as u64;
    }
    let digits = hash
        .finish()
        .as_ref()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    Ok((bytes, digits))
}

fn sync(path: &Path) -> Result<(), BackupError> {
    let synced = File::open(path).and_then(|file| file.sync_all());
    synced.map_err(|source| BackupError::File {
        path: path.to_owned(),
        source,
    })
}

/// What a backup says that it holds.
pub fn manifest(from: &Path) -> Result<Manifest, BackupError> {
    let incomplete = || BackupError::Incomplete(from.to_owned());
    let text = std::fs::read(from.join(MANIFEST)).map_err(|_| incomplete())?;
    serde_json::from_slice(&text).map_err(|_| incomplete())
}

/// Checks a backup against its manifest.
pub fn verify(from: &Path) -> Result<Manifest, BackupError> {
    let incomplete = || BackupError::Incomplete(from.to_owned());
    let manifest = manifest(from)?;
    for told in &manifest.files {
        let kind = KINDS.into_iter().find(|kind| kind.file_name == told.name);
        let found = examine(from, kind.ok_or_else(incomplete)?)?;
        if found != *told {
            return Err(BackupError::Damaged {
                path: from.join(&told.name),
                reason: "it is not what the manifest says".to_owned(),
            });
        }
    }
    Ok(manifest)
}

/// Puts a backup into a state directory that no daemon uses. What is there is refused, or with `replace` moved
/// beside itself.
pub fn restore(from: &Path, dir: &Path, replace: bool) -> Result<Manifest, BackupError> {
    let manifest = verify(from)?;
    let _lock = database::lock(dir)?;
    let present: Vec<PathBuf> = KINDS
        .iter()
        .flat_map(|kind| ["", "-wal", "-shm"].map(|end| dir.join(format!("{}{end}", kind.file_name))))
        .filter(|path| path.exists())
        .collect();
    if let Some(path) = present.first().filter(|_| !replace) {
        return Err(BackupError::Present(path.clone()));
    }
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| BackupError::File { path, source }
    };
    for path in present {
        let mut beside = path.clone().into_os_string();
        beside.push(".before-restore");
        std::fs::rename(&path, &beside).map_err(failed(&path))?;
    }
    // Which outbox the directory has is noted anew: whoever restores one means it.
    match std::fs::remove_file(dir.join(outbox::missing::NOTE.file_name())) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(failed(dir)(error)),
        _ => {}
    }
    for kind in KINDS
        .into_iter()
        .filter(|kind| manifest.files.iter().any(|file| file.name == kind.file_name))
    {
        let to = dir.join(kind.file_name);
        database::create_with_mode(&to, kind.mode).map_err(failed(&to))?;
        // Written into the file that has its permissions, rather than copied with those of the backup.
        let mut source = File::open(from.join(kind.file_name)).map_err(failed(from))?;
        let mut target = File::options().write(true).open(&to).map_err(failed(&to))?;
        std::io::copy(&mut source, &mut target).map_err(failed(&to))?;
        sync(&to)?;
    }
    sync(dir)?;
    Ok(manifest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_holds_what_the_rows_hold_and_no_byte_more() {
        let dir = tempfile::tempdir().unwrap();
        cache::Cache::open(dir.path()).unwrap();
        let writer = database::open_writer(dir.path(), cache::KIND).unwrap();
        writer
            .execute_batch(
                "create table person (id text primary key, name text) without rowid;
                 with recursive n (i) as (select 1 union all select i + 1 from n where i < 500)
                 insert into person select 'id-' || i, 'somebody ' || i from n;",
            )
            .unwrap();
        let to = dir.path().join("copy.db");
        let reader = database::open_reader(dir.path(), cache::KIND).unwrap();
        copy(&reader, cache::KIND, &to).unwrap();
        let bytes = std::fs::read(&to).unwrap();
        let told = bytes.windows(9).filter(|bytes| *bytes == b"somebody ");
        assert_eq!(told.count(), 500);
    }

    #[test]
    fn what_was_tampered_with_or_is_not_complete_is_not_restored() {
        let (state, backup, target) = (
            tempfile::tempdir().unwrap(),
            tempfile::tempdir().unwrap(),
            tempfile::tempdir().unwrap(),
        );
        let cache = cache::Cache::open(state.path()).unwrap();
        cache.claim_org("00D").unwrap();
        outbox::open(state.path(), 0).unwrap();
        let manifest = make(state.path(), backup.path(), "now".to_owned()).unwrap();
        assert_eq!(manifest.files.len(), 2, "there was no journal");
        let names = std::fs::read_dir(backup.path()).unwrap();
        let mut names: Vec<_> = names.map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        assert_eq!(
            names,
            ["cache.db", "manifest.json", "outbox.db"],
            "nothing else is left in it"
        );
        assert!(matches!(
            make(state.path(), backup.path(), String::new()),
            Err(BackupError::NotEmpty(_))
        ));
        assert!(matches!(
            restore(backup.path(), state.path(), false),
            Err(BackupError::Present(_))
        ));
        restore(backup.path(), target.path(), false).unwrap();
        let restored = cache::Cache::open(target.path()).unwrap();
        assert!(restored.claim_org("00E").is_err(), "it is the same cache");
        drop(restored);
        restore(backup.path(), target.path(), true).unwrap();
        assert!(target.path().join("cache.db.before-restore").exists());

        let copy = backup.path().join(cache::KIND.file_name);
        let connection = Connection::open(&copy).unwrap();
        connection
            .execute("update _meta set value = '00F' where key = 'org_id'", [])
            .unwrap();
        drop(connection);
        assert!(matches!(verify(backup.path()), Err(BackupError::Damaged { .. })));
        std::fs::remove_file(backup.path().join(MANIFEST)).unwrap();
        assert!(matches!(verify(backup.path()), Err(BackupError::Incomplete(_))));
    }
    #[test]
    fn what_a_killed_daemon_left_is_not_read_into_the_restored_file() {
        let [state, backup, killed] = [0; 3].map(|_| tempfile::tempdir().unwrap());
        cache::Cache::open(state.path())
            .unwrap()
            .claim_org("00D")
            .unwrap();
        make(state.path(), backup.path(), "now".to_owned()).unwrap();
        let other = tempfile::tempdir().unwrap();
        let open = cache::Cache::open(other.path()).unwrap();
        open.claim_org("00E").unwrap();
        // As a kill leaves them: what was committed last is in the log alone.
        for file in ["cache.db", "cache.db-wal", "cache.db-shm"] {
            std::fs::copy(other.path().join(file), killed.path().join(file)).unwrap();
        }
        drop(open);
        restore(backup.path(), killed.path(), true).unwrap();
        for file in ["cache.db", "cache.db-wal", "cache.db-shm"] {
            let kept = killed.path().join(format!("{file}.before-restore"));
            assert!(kept.exists(), "{file} is moved aside");
        }
        let restored = cache::Cache::open(killed.path()).unwrap();
        restored.claim_org("00D").unwrap();
    }
}
