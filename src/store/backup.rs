//! Copies of the databases, made while they are written, and put back.
//!
//! A copy is one commit of its file, whole and compact. The three are not of the same instant, and need not be: the
//! cache is copied first, so that the journal holds whatever the cache has seen; an order in the outbox that has been
//! sent since is refused by the org under its key and recognised.
//!
//! A backup is a directory with the files and `manifest.json`, which is written last: without it the backup is not
//! complete, and is not restored. Files may be [`sealed`]: then the manifest tells their hashes as they lie there, so that
//! whoever cannot open them can check them, and nothing of what is in them. Whatever is not encrypted yet or any more lies
//! in the state directory. Nothing of that is touched before the backup has been found whole.

#[cfg(feature = "age")]
pub mod sealed;
#[cfg(not(feature = "age"))]
#[path = "backup/unsealed.rs"]
pub mod sealed;

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use aws_lc_rs::digest::{Context, SHA256};
use rusqlite::Connection;
use serde::{Deserialize, Serialize};

use crate::model::clock::Millis;
use crate::store::backup::sealed::{Identities, Recipients, Unopened};
use crate::store::database::{self, Kind, OpenError};
use crate::store::outbox::audit::Line;
use crate::store::scratch::Scratch;
use crate::store::{cache, journal, outbox};

/// In the order they are copied.
const KINDS: [Kind; 3] = [cache::KIND, journal::KIND, outbox::KIND];

const MANIFEST: &str = "manifest.json";

/// How names of encrypted files end.
const SEALED: &str = ".age";

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

impl Manifest {
    /// Whether a file of it can be read with an identity alone.
    pub fn is_sealed(&self) -> bool {
        self.files.iter().any(|file| file.name.ends_with(SEALED))
    }
}

/// One file of it, as it lies there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Copied {
    pub name: String,
    pub schema: usize,
    pub bytes: u64,
    pub sha256: String,
}

impl Copied {
    /// Which database it is, where it is one.
    fn kind(&self) -> Option<Kind> {
        let name = self.name.strip_suffix(SEALED).unwrap_or(&self.name);
        KINDS.into_iter().find(|kind| kind.file_name == name)
    }
}

/// Why there is no backup, or none to restore.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    #[error(
        "{path} cannot be used ({source}): check that it is there and may be written, and the space left"
    )]
    File { path: PathBuf, source: io::Error },
    #[error("{0} is not empty: name a directory that is new or empty")]
    NotEmpty(PathBuf),
    #[error("{path} is damaged ({reason}): make the backup again, or restore another")]
    Damaged { path: PathBuf, reason: String },
    #[error("{0} is no complete backup: it has no readable manifest.json")]
    Incomplete(PathBuf),
    #[error("{0} is there already: move it away, or say --replace to have that done")]
    Present(PathBuf),
    #[error("{0} is encrypted: give the file with the identity of one of its recipients as --identity")]
    Sealed(PathBuf),
    #[error("{0} was encrypted to others: give the identity of one of its recipients")]
    OtherRecipients(PathBuf),
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error("{path} cannot be copied ({source}): check the space left")]
    Copy { path: PathBuf, source: rusqlite::Error },
}

/// Copies all three from `dir` into the directory `to`, and checks each copy. With recipients, encrypted to them.
pub fn make(
    dir: &Path,
    to: &Path,
    made_at: String,
    recipients: Option<&Recipients>,
) -> Result<Manifest, BackupError> {
    let file = failed(to);
    std::fs::create_dir_all(to).map_err(&file)?;
    if std::fs::read_dir(to).map_err(&file)?.next().is_some() {
        return Err(BackupError::NotEmpty(to.to_owned()));
    }
    let scratch = recipients.map(|_| Scratch::in_dir(dir)).transpose();
    let scratch = scratch.map_err(failed(dir))?;
    let plain = scratch.as_ref().map_or(to, Scratch::path);
    let (mut files, mut head) = (Vec::new(), None);
    for kind in KINDS.into_iter().filter(|kind| dir.join(kind.file_name).exists()) {
        let connection = database::open_reader(dir, kind)?;
        copy(&connection, kind, &plain.join(kind.file_name))?;
        if kind.file_name == outbox::KIND.file_name {
            head = audit_head(plain);
        }
        files.push(match recipients {
            Some(recipients) => seal(recipients, &plain.join(kind.file_name), to, sound(plain, kind)?)?,
            None => examine(to, kind)?,
        });
    }
    let manifest = Manifest {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        made_at,
        audit_head: head,
        files,
    };
    let text = serde_json::to_vec_pretty(&manifest).map_err(|error| file(error.into()))?;
    let path = to.join(MANIFEST);
    std::fs::write(&path, text).map_err(&file)?;
    sync(&path)?;
    sync(to)?;
    Ok(manifest)
}

fn failed(path: &Path) -> impl Fn(io::Error) -> BackupError {
    move |source| BackupError::File {
        path: path.to_owned(),
        source,
    }
}

/// Encrypts a copy into the backup, and removes it.
fn seal(recipients: &Recipients, plain: &Path, to: &Path, schema: usize) -> Result<Copied, BackupError> {
    let name = plain.file_name().unwrap_or_default().to_string_lossy();
    let name = format!("{name}{SEALED}");
    let path = to.join(&name);
    database::create_with_mode(&path, 0o600).map_err(failed(&path))?;
    let mut from = File::open(plain).map_err(failed(plain))?;
    let target = File::options().write(true).open(&path).map_err(failed(&path))?;
    recipients
        .seal(&mut from, io::BufWriter::new(target))
        .map_err(failed(&path))?;
    sync(&path)?;
    std::fs::remove_file(plain).map_err(failed(plain))?;
    let (bytes, sha256) = fingerprint(&path)?;
    Ok(Copied {
        name,
        schema,
        bytes,
        sha256,
    })
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
    let schema = sound(dir, kind)?;
    let (bytes, sha256) = fingerprint(&dir.join(kind.file_name))?;
    Ok(Copied {
        name: kind.file_name.to_owned(),
        schema,
        bytes,
        sha256,
    })
}

/// The schema of a copy in which SQLite finds nothing wrong.
fn sound(dir: &Path, kind: Kind) -> Result<usize, BackupError> {
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
        Ok(answer) if answer == "ok" => Ok(schema),
        Ok(answer) => Err(damaged(answer)),
        Err(error) => Err(damaged(error.to_string())),
    }
}

fn fingerprint(path: &Path) -> Result<(u64, String), BackupError> {
    let failed = failed(path);
    let mut file = File::open(path).map_err(&failed)?;
    let mut hash = Context::new(&SHA256);
    let mut buffer = vec![0; 1 << 20];
    let mut bytes = 0;
    loop {
        let length = file.read(&mut buffer).map_err(&failed)?;
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
    synced.map_err(failed(path))
}

/// What a backup says that it holds.
pub fn manifest(from: &Path) -> Result<Manifest, BackupError> {
    let incomplete = || BackupError::Incomplete(from.to_owned());
    let text = std::fs::read(from.join(MANIFEST)).map_err(|_| incomplete())?;
    serde_json::from_slice(&text).map_err(|_| incomplete())
}

/// The hash of the manifest, which has the hashes of all files. Kept elsewhere, it tells this backup from any other.
pub fn manifest_sha256(from: &Path) -> Result<String, BackupError> {
    fingerprint(&from.join(MANIFEST)).map(|(_, sha256)| sha256)
}

/// Checks a backup against its manifest; what is encrypted to its end, where there are identities to open it.
pub fn verify(from: &Path, identities: Option<&Identities>) -> Result<Manifest, BackupError> {
    let incomplete = || BackupError::Incomplete(from.to_owned());
    let manifest = manifest(from)?;
    for told in &manifest.files {
        let path = from.join(&told.name);
        let kind = told.kind().ok_or_else(incomplete)?;
        let is_sealed = told.name.ends_with(SEALED);
        let known = kind.migrations.len();
        if told.schema > known {
            let found = i64::try_from(told.schema).unwrap_or(i64::MAX);
            return Err(OpenError::Newer { path, found, known }.into());
        }
        let is_as_told = match is_sealed {
            true => fingerprint(&path)? == (told.bytes, told.sha256.clone()),
            false => examine(from, kind)? == *told,
        };
        if !is_as_told {
            return Err(BackupError::Damaged {
                path,
                reason: "it is not what the manifest says".to_owned(),
            });
        }
        if let Some(identities) = identities.filter(|_| is_sealed) {
            open(identities, &path, (&path, &mut io::sink()))?;
        }
    }
    Ok(manifest)
}

/// Decrypts a file into another.
fn open(
    identities: &Identities,
    path: &Path,
    (into, to): (&Path, &mut impl io::Write),
) -> Result<(), BackupError> {
    let file = File::open(path).map_err(failed(path))?;
    let opened = identities.open(io::BufReader::new(file), to);
    opened.map_err(|why| match why {
        Unopened::OtherRecipients => BackupError::OtherRecipients(path.to_owned()),
        Unopened::Damaged(reason) => BackupError::Damaged {
            path: path.to_owned(),
            reason: reason.to_owned(),
        },
        Unopened::Unwritten(source) => failed(into)(source),
    })
}

/// How a backup is put back.
pub struct Restoring<'r> {
    pub from: &'r Path,
    /// Move what is there beside itself.
    pub replace: bool,
    pub identities: Option<&'r Identities>,
    /// What the audit has of it, besides which backup it was.
    pub line: Line,
    pub now: Millis,
}

/// Puts a backup into a state directory that no daemon uses. What is there is refused, or with `replace` moved
/// beside itself.
pub fn restore(dir: &Path, restoring: Restoring<'_>) -> Result<Manifest, BackupError> {
    let Restoring { from, replace, .. } = restoring;
    let known = manifest(from)?;
    if known.is_sealed() && restoring.identities.is_none() {
        return Err(BackupError::Sealed(from.to_owned()));
    }
    let manifest = verify(from, restoring.identities)?;
    let _lock = database::lock(dir)?;
    // Read first, since that may leave a file beside it.
    let replaced = replace.then(|| audit_head(dir)).flatten();
    let present: Vec<PathBuf> = KINDS
        .iter()
        .flat_map(|kind| ["", "-wal", "-shm"].map(|end| dir.join(format!("{}{end}", kind.file_name))))
        .filter(|path| path.exists())
        .collect();
    if let Some(path) = present.first().filter(|_| !replace) {
        return Err(BackupError::Present(path.clone()));
    }
    let scratch = Scratch::in_dir(dir).map_err(failed(dir))?;
    for told in &manifest.files {
        stage(from, told, scratch.path(), restoring.identities)?;
    }
    write_down(scratch.path(), restoring, &manifest, replaced)?;
    for path in present {
        let mut beside = path.clone().into_os_string();
        beside.push(".before-restore");
        std::fs::rename(&path, &beside).map_err(failed(&path))?;
    }
    // Which outbox the directory has is noted anew: whoever restores one means it.
    match std::fs::remove_file(dir.join(outbox::missing::NOTE.file_name())) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(dir)(error)),
        _ => {}
    }
    for entry in std::fs::read_dir(scratch.path()).map_err(failed(dir))? {
        let entry = entry.map_err(failed(dir))?;
        let to = dir.join(entry.file_name());
        // What was kept of an older schema may be there from an upgrade.
        if !to.exists() {
            std::fs::rename(entry.path(), &to).map_err(failed(&to))?;
        }
    }
    sync(dir)?;
    Ok(manifest)
}

/// Writes a file of a backup beside those that it will take the place of, as whole as it is said to be.
fn stage(
    from: &Path,
    told: &Copied,
    scratch: &Path,
    identities: Option<&Identities>,
) -> Result<(), BackupError> {
    let kind = told
        .kind()
        .ok_or_else(|| BackupError::Incomplete(from.to_owned()))?;
    let (path, to) = (from.join(&told.name), scratch.join(kind.file_name));
    database::create_with_mode(&to, kind.mode).map_err(failed(&to))?;
    // Written into the file that has its permissions, rather than copied with those of the backup.
    let mut target = File::options().write(true).open(&to).map_err(failed(&to))?;
    let damaged = |reason: String| BackupError::Damaged {
        path: path.clone(),
        reason,
    };
    let wrong = |error: BackupError| damaged(error.to_string());
    let is_as_told = match identities.filter(|_| told.name.ends_with(SEALED)) {
        Some(identities) => {
            open(identities, &path, (&to, &mut target))?;
            sound(scratch, kind).map_err(wrong)? == told.schema
        }
        None => {
            let mut source = File::open(&path).map_err(failed(&path))?;
            io::copy(&mut source, &mut target).map_err(failed(&to))?;
            examine(scratch, kind).map_err(wrong)? == *told
        }
    };
    match is_as_told {
        true => sync(&to),
        false => Err(damaged("it is not what the manifest says".to_owned())),
    }
}

/// Writes to the audit that comes back what brought it back, and which one it takes the place of.
fn write_down(
    scratch: &Path,
    restoring: Restoring<'_>,
    manifest: &Manifest,
    replaced: Option<String>,
) -> Result<(), BackupError> {
    if !scratch.join(outbox::KIND.file_name).exists() {
        return Ok(());
    }
    let line = restoring
        .line
        .about("backup", Some(restoring.from.to_string_lossy()))
        .about("made_at", Some(manifest.made_at.as_str()))
        .about("manifest_sha256", Some(manifest_sha256(restoring.from)?))
        .about("replaced_head", replaced);
    outbox::write_down_in(scratch, &line, restoring.now)?;
    sync(&scratch.join(outbox::KIND.file_name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put_back(from: &Path, dir: &Path, replace: bool) -> Result<Manifest, BackupError> {
        let restoring = Restoring {
            from,
            replace,
            identities: None,
            line: Line::new("kim", "restore"),
            now: 0,
        };
        restore(dir, restoring)
    }

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
        let manifest = make(state.path(), backup.path(), "now".to_owned(), None).unwrap();
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
            make(state.path(), backup.path(), String::new(), None),
            Err(BackupError::NotEmpty(_))
        ));
        assert!(matches!(
            put_back(backup.path(), state.path(), false),
            Err(BackupError::Present(_))
        ));
        put_back(backup.path(), target.path(), false).unwrap();
        let restored = cache::Cache::open(target.path()).unwrap();
        assert!(restored.claim_org("00E").is_err(), "it is the same cache");
        drop(restored);
        put_back(backup.path(), target.path(), true).unwrap();
        assert!(target.path().join("cache.db.before-restore").exists());

        let copy = backup.path().join(cache::KIND.file_name);
        let connection = Connection::open(&copy).unwrap();
        connection
            .execute("update _meta set value = '00F' where key = 'org_id'", [])
            .unwrap();
        drop(connection);
        assert!(matches!(
            verify(backup.path(), None),
            Err(BackupError::Damaged { .. })
        ));
        std::fs::remove_file(backup.path().join(MANIFEST)).unwrap();
        assert!(matches!(
            verify(backup.path(), None),
            Err(BackupError::Incomplete(_))
        ));
    }
    #[test]
    fn what_a_killed_daemon_left_is_not_read_into_the_restored_file() {
        let [state, backup, killed] = [0; 3].map(|_| tempfile::tempdir().unwrap());
        cache::Cache::open(state.path())
            .unwrap()
            .claim_org("00D")
            .unwrap();
        make(state.path(), backup.path(), "now".to_owned(), None).unwrap();
        let other = tempfile::tempdir().unwrap();
        let open = cache::Cache::open(other.path()).unwrap();
        open.claim_org("00E").unwrap();
        // As a kill leaves them: what was committed last is in the log alone.
        for file in ["cache.db", "cache.db-wal", "cache.db-shm"] {
            std::fs::copy(other.path().join(file), killed.path().join(file)).unwrap();
        }
        drop(open);
        put_back(backup.path(), killed.path(), true).unwrap();
        for file in ["cache.db", "cache.db-wal", "cache.db-shm"] {
            let kept = killed.path().join(format!("{file}.before-restore"));
            assert!(kept.exists(), "{file} is moved aside");
        }
        let restored = cache::Cache::open(killed.path()).unwrap();
        restored.claim_org("00D").unwrap();
    }
}
