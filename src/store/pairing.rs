//! A database file and the write-ahead log beside it belong together, or nothing of the two can be believed.
//!
//! A file that is replaced while it is open leaves its log behind, and SQLite would read that log into the other file:
//! pages of two times in one table. So each start notes which files it has opened. A start that finds another database
//! beside the log of the one before does not open the two, whatever ended the daemon, and whether or not it had seen the
//! replacement. What was moved or copied together with its log, or has no log, is taken as it is.

use std::collections::BTreeMap;
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::UNIX_EPOCH;

use serde::{Deserialize, Serialize};

use crate::store::database::Kind;
use crate::store::note::Note;

/// By file name.
const NOTE: Note<BTreeMap<String, Identity>> = Note::new("files.json");

/// Tells a file from all others of its directory, of before too: the number of an inode is used again, but not with the
/// time at which it was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Identity {
    inode: u64,
    /// Some file systems do not know it.
    made_at_nanos: Option<u64>,
}

impl Identity {
    fn of(file: &Metadata) -> Self {
        let made_at = file.created().ok();
        let since = made_at.and_then(|made_at| made_at.duration_since(UNIX_EPOCH).ok());
        Self {
            inode: file.ino(),
            made_at_nanos: since.and_then(|since| u64::try_from(since.as_nanos()).ok()),
        }
    }
}

fn log_of(kind: Kind) -> String {
    format!("{}-wal", kind.file_name)
}

/// Notes which files were opened just now. On a full disk the note of before is left, which tells no log for another's
/// unless it is.
pub fn note(dir: &Path, kinds: &[Kind]) {
    let names = kinds
        .iter()
        .flat_map(|kind| [kind.file_name.to_owned(), log_of(*kind)]);
    let opened = names.filter_map(|name| {
        let file = std::fs::metadata(dir.join(&name)).ok()?;
        Some((name, Identity::of(&file)))
    });
    let opened: BTreeMap<String, Identity> = opened.collect();
    if NOTE.read(dir).as_ref() == Some(&opened) {
        return;
    }
    if let Err(error) = NOTE.write(dir, &opened) {
        tracing::warn!("which files are in use cannot be noted for the next start ({error})");
    }
}

/// Whether the log beside a database is that of the file which was there before.
pub fn has_log_of_another(dir: &Path, kind: Kind) -> bool {
    let Some(noted) = NOTE.read(dir) else {
        return false;
    };
    let is_noted = |name: &str, file: &Metadata| noted.get(name) == Some(&Identity::of(file));
    let log = log_of(kind);
    let files = (
        std::fs::metadata(dir.join(kind.file_name)),
        std::fs::metadata(dir.join(&log)),
    );
    match files {
        // SQLite itself removes the log of a file that is not there.
        (Ok(database), Ok(written)) if written.len() > 0 => {
            !is_noted(kind.file_name, &database) && is_noted(&log, &written)
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::cache::{Cache, KIND};

    /// Puts a copy of the file in its place.
    fn copy(dir: &Path, name: &str) {
        let (path, aside) = (dir.join(name), dir.join("aside"));
        std::fs::copy(&path, &aside).unwrap();
        std::fs::rename(&aside, &path).unwrap();
    }

    #[test]
    fn a_file_in_the_place_of_another_is_told_by_the_log_that_was_left() {
        type Happens = fn(&Path);
        let cases: [(&str, bool, Happens); 6] = [
            ("nothing", false, |_| {}),
            ("the database is replaced", true, |dir| copy(dir, "cache.db")),
            ("both are replaced", false, |dir| {
                copy(dir, "cache.db");
                copy(dir, "cache.db-wal");
            }),
            ("the log is gone", false, |dir| {
                copy(dir, "cache.db");
                std::fs::remove_file(dir.join("cache.db-wal")).unwrap();
            }),
            ("the database is gone", false, |dir| {
                std::fs::remove_file(dir.join("cache.db")).unwrap();
            }),
            ("it is back", false, |dir| {
                std::fs::rename(dir.join("cache.db"), dir.join("aside")).unwrap();
                std::fs::write(dir.join("cache.db"), "another").unwrap();
                std::fs::rename(dir.join("aside"), dir.join("cache.db")).unwrap();
            }),
        ];
        for (what, expected, happens) in cases {
            let dir = tempfile::tempdir().unwrap();
            let open = Cache::open(dir.path()).unwrap();
            open.claim_org("00D").unwrap();
            assert!(!has_log_of_another(dir.path(), KIND), "nothing is noted");
            note(dir.path(), &[KIND]);
            happens(dir.path());
            assert_eq!(has_log_of_another(dir.path(), KIND), expected, "{what}");
        }
    }
}
