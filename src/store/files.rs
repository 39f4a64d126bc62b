//! What is the matter with the files of the state directory, and whether they are still those that were opened.
//!
//! A file that is removed, renamed or replaced while it is open takes what is written from then on with it, and nothing
//! fails. So who answers for what is on the disk compares the path with the file that was opened, the write-ahead log
//! and its index among them. Nothing is opened for that: to close a database's file would give up its locks.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use crate::model::clock::{Clock, Millis};
use crate::model::trouble::{FileKind, FileTrouble};
use crate::store::database::Kind;
use crate::store::{damage, journal, outbox};

/// What those who work with the files have found; cheap to clone. It is told in the log here, when it begins and when
/// it is over.
#[derive(Clone, Debug, Default)]
pub struct Files(Arc<Mutex<BTreeMap<(FileKind, String), FileTrouble>>>);

impl Files {
    /// Tells of a trouble that was not there before.
    pub fn tell(&self, kind: FileKind, file: &str, now: Millis, cause: impl FnOnce() -> String) {
        let mut found = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        found.entry((kind, file.to_owned())).or_insert_with(|| {
            let cause = cause();
            if kind == FileKind::LogBlocked {
                tracing::warn!(file, "{cause}");
            } else {
                tracing::error!(file, "{cause}");
            }
            FileTrouble {
                kind,
                file: file.to_owned(),
                since: now,
                is_outbox: file == outbox::KIND.file_name,
                cause,
            }
        });
    }

    /// It is over, where there was any.
    pub fn passed(&self, kind: FileKind, file: &str) {
        let mut found = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if found.remove(&(kind, file.to_owned())).is_some() {
            tracing::info!(file, kind = kind.name(), "{}", over(kind, file));
        }
    }

    /// Tells why a database could not be used, where it was for want of space, and notes damage.
    pub fn note_failure(&self, opened: &Opened, error: &rusqlite::Error) {
        if is_full(error) {
            self.tell_full(opened.database);
        } else if damage::is_damage(error) {
            damage::note(opened.dir(), opened.database, &error.to_string());
        }
    }

    pub fn tell_full(&self, file: &str) {
        self.tell(FileKind::DiskFull, file, Clock::System.now(), || {
            format!("the disk is full: {file} cannot be written; free some space on the disk of [state] dir")
        });
    }

    /// Looks whether there is room again where there was none; after it was too little so many times in a row, for more.
    pub fn look_for_room(&self, dir: &Path, full_count: u32) {
        let is_full = |trouble: &FileTrouble| trouble.kind == FileKind::DiskFull;
        let full: Vec<FileTrouble> = self.all().into_iter().filter(is_full).collect();
        if !full.is_empty() && has_room(dir, ROOM_BYTES << full_count.min(ROOM_DOUBLINGS_MAX)) {
            for trouble in full {
                self.passed(FileKind::DiskFull, &trouble.file);
            }
        }
    }

    pub fn is_full(&self) -> bool {
        self.all()
            .iter()
            .any(|trouble| trouble.kind == FileKind::DiskFull)
    }

    pub fn is_outbox_full(&self) -> bool {
        self.all()
            .iter()
            .any(|trouble| trouble.kind == FileKind::DiskFull && trouble.is_outbox)
    }

    pub fn all(&self) -> Vec<FileTrouble> {
        let found = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        found.values().cloned().collect()
    }
}

/// What is so again, as a sentence.
fn over(kind: FileKind, file: &str) -> String {
    match kind {
        FileKind::Replaced => format!("{file} is in its place again"),
        FileKind::DiskFull => format!("there is room for {file} again"),
        FileKind::LogBlocked => format!("no other program keeps the log of {file} long any more"),
        FileKind::Damaged if file == outbox::KIND.file_name => {
            format!("no damage of {file} is known any more")
        }
        FileKind::Damaged => format!("{file} has been read again from the org"),
        FileKind::SetAside => format!("{file}, a copy that was set aside, was removed"),
    }
}

/// What there has to be room for until a disk that was full no longer is.
const ROOM_BYTES: u64 = 512 * 1024;
const ROOM_DOUBLINGS_MAX: u32 = 5;
/// What is written to see that a quota allows it.
const TRIED_BYTES: usize = 256 * 1024;

/// Whether a write failed for want of space.
pub fn is_full(error: &rusqlite::Error) -> bool {
    error.sqlite_error_code() == Some(rusqlite::ErrorCode::DiskFull)
}

/// The same of any error, whatever it was wrapped in.
pub fn is_full_for(error: &anyhow::Error) -> bool {
    use std::io::ErrorKind::{QuotaExceeded, StorageFull};
    error.chain().any(|cause| {
        let of_io = cause
            .downcast_ref()
            .is_some_and(|error: &std::io::Error| matches!(error.kind(), StorageFull | QuotaExceeded));
        of_io || cause.downcast_ref().is_some_and(is_full)
    })
}

/// By what the disk says, and by a file that is written and taken away again.
fn has_room(dir: &Path, bytes: u64) -> bool {
    let free = rustix::fs::statvfs(dir).map(|disk| disk.f_bavail.saturating_mul(disk.f_frsize));
    if free.is_ok_and(|free| free < bytes) {
        return false;
    }
    let written = tempfile::Builder::new()
        .prefix(".room")
        .tempfile_in(dir)
        .and_then(|mut file| file.write_all(&vec![1; TRIED_BYTES]));
    written.is_ok()
}

/// The files of a database as they were opened; cheap to clone.
#[derive(Clone, Debug)]
pub struct Opened {
    database: &'static str,
    files: Arc<[(PathBuf, Identity)]>,
}

/// Device and inode. An open file keeps its inode, so no other can have it.
type Identity = (u64, u64);

fn identity(path: &Path) -> std::io::Result<Identity> {
    std::fs::metadata(path).map(|file| (file.dev(), file.ino()))
}

impl Opened {
    /// Of a database that was opened just now, and stays open for as long as this is asked.
    pub fn of(dir: &Path, kind: Kind) -> std::io::Result<Self> {
        let paths = ["", "-wal", "-shm"].map(|ending| dir.join(format!("{}{ending}", kind.file_name)));
        let mut files = Vec::new();
        for path in paths {
            match identity(&path) {
                Ok(identity) => files.push((path, identity)),
                Err(error) if error.kind() == std::io::ErrorKind::NotFound && !files.is_empty() => {}
                Err(error) => return Err(error),
            }
        }
        Ok(Self {
            database: kind.file_name,
            files: files.into(),
        })
    }

    fn dir(&self) -> &Path {
        let parent = self.files.first().and_then(|(path, _)| path.parent());
        parent.unwrap_or(Path::new("."))
    }

    pub fn database(&self) -> &'static str {
        self.database
    }

    /// The file that is not at its path any more, as one sentence that says what to do.
    pub fn replaced(&self) -> Option<String> {
        let is_gone = |(path, opened): &&(PathBuf, Identity)| identity(path).ok() != Some(*opened);
        let (path, _) = self.files.iter().find(is_gone)?;
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let (outbox, journal) = (outbox::KIND.file_name, journal::KIND.file_name);
        let is_log = name != self.database;
        let what_to_do = if self.database == outbox && is_log {
            "no order is taken: what was accepted is kept in outbox.db, so end all programs that have it open and start storesync again"
        } else if self.database == outbox {
            "no order is taken: put back the file that was there, or stop storesync and restore a backup"
        } else if is_log {
            "end all programs that have the database open and start storesync again"
        } else if self.database == journal {
            "put back the file that was there, or start storesync again, which sets this one aside and goes on with the events in it"
        } else {
            "put back the file that was there, or start storesync again, which sets this one aside and reads all from the org"
        };
        Some(format!(
            "{name} was removed or replaced while storesync uses it; {what_to_do}"
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::database::open_writer;

    #[test]
    fn a_file_that_is_moved_is_missed_until_it_is_back() {
        let dir = tempfile::tempdir().unwrap();
        let _open = open_writer(dir.path(), outbox::KIND).unwrap();
        let opened = Opened::of(dir.path(), outbox::KIND).unwrap();
        for name in ["outbox.db", "outbox.db-wal", "outbox.db-shm"] {
            let (path, aside) = (dir.path().join(name), dir.path().join("aside"));
            assert_eq!(opened.replaced(), None, "{name}");
            std::fs::rename(&path, &aside).unwrap();
            let told = opened.replaced().unwrap();
            assert!(told.starts_with(&format!("{name} was removed")), "{told}");
            std::fs::copy(&aside, &path).unwrap();
            assert!(opened.replaced().is_some(), "a copy of {name} is another file");
            std::fs::rename(&aside, &path).unwrap();
        }
        assert_eq!(opened.replaced(), None);
    }

    #[test]
    fn a_trouble_is_told_as_it_began_until_it_has_passed() {
        let files = Files::default();
        for (now, cause) in [(1, "first"), (2, "again")] {
            files.tell(FileKind::DiskFull, "cache.db", now, || cause.to_owned());
        }
        let told = files.all();
        assert_eq!(
            (told.len(), told[0].since, told[0].cause.as_str()),
            (1, 1, "first")
        );
        files.passed(FileKind::LogBlocked, "cache.db");
        assert_eq!(files.all().len(), 1);
        files.passed(FileKind::DiskFull, "cache.db");
        assert!(files.all().is_empty());
    }
}
