//! Damaged databases: noticed, noted, and what can be made again is.
//!
//! Who meets a damaged page notes it in a file of its own, so that a start knows of it too, whatever ended the process.
//! The cache can be read from the org again and the journal begun anew: the damaged file is set aside, under a name with
//! the time, and kept. So is one that was put in the place of another while that was open. The outbox is never touched. A
//! disk that is full or fails to read is no damage.

use std::collections::BTreeMap;
use std::path::Path;

use rusqlite::ErrorCode;
use serde::{Deserialize, Serialize};

use crate::model::clock::{Clock, Millis, format_datetime, parse_datetime};
use crate::store::database::{self, Kind, OpenError};
use crate::store::note::Note;
use crate::store::{cache, journal, outbox};

/// By file.
const DAMAGE: Note<BTreeMap<String, Found>> = Note::new("damage.json");

/// What stands between a file's name and the time.
const ASIDE: &str = ".damaged-";

/// Damaged copies of one database that are kept: they are as large as it was.
const KEPT_MAX: usize = 2;

/// What is the matter with a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Found {
    pub at: Millis,
    pub cause: String,
}

/// A database is damaged, and is to be set aside before it is used again.
#[derive(Debug, thiserror::Error)]
#[error("{0} is damaged: it is set aside and made again")]
pub struct Damaged(pub String);

/// A damaged file that is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Aside {
    /// Of the database.
    pub file: &'static str,
    pub name: String,
    pub at: Millis,
}

/// Whether SQLite has found a file's content to be wrong. A file or log that is shorter than it has to be is: its log was
/// removed while another program had its index open.
pub fn is_damage(error: &rusqlite::Error) -> bool {
    let sqlite = error.sqlite_error();
    sqlite.is_some_and(|error| {
        let is_wrong = matches!(error.code, ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase);
        is_wrong || error.extended_code == rusqlite::ffi::SQLITE_IOERR_SHORT_READ
    })
}

/// The same of any error, whatever it was wrapped in.
pub fn is_cause_of(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        let of_open = matches!(cause.downcast_ref(), Some(OpenError::Damaged { .. }));
        of_open || cause.is::<Damaged>() || cause.downcast_ref().is_some_and(is_damage)
    })
}

/// Whether a log ended before its index says: it was cut or replaced while it was open, and the files may be sound.
pub fn is_log_short(error: &anyhow::Error) -> bool {
    let is_short = |error: &rusqlite::Error| {
        let sqlite = error.sqlite_error();
        sqlite.is_some_and(|error| error.extended_code == rusqlite::ffi::SQLITE_IOERR_SHORT_READ)
    };
    let mut causes = error.chain().filter_map(|cause| cause.downcast_ref());
    causes.any(is_short)
}

/// Notes that a file is damaged, once.
pub fn note(dir: &Path, file: &str, cause: &str) {
    let mut found = noted(dir);
    if found.contains_key(file) {
        return;
    }
    tracing::error!(file, "{file} is damaged ({cause}): check the disk");
    let (at, cause) = (Clock::System.now(), cause.to_owned());
    found.insert(file.to_owned(), Found { at, cause });
    if let Err(error) = DAMAGE.write(dir, &found) {
        tracing::warn!("that {file} is damaged cannot be noted for the next start ({error})");
    }
}

/// The file was found to be sound, or is another one by now.
pub fn forget(dir: &Path, file: &str) -> std::io::Result<()> {
    let mut found = noted(dir);
    match found.remove(file) {
        Some(_) => DAMAGE.write(dir, &found),
        None => Ok(()),
    }
}

/// The files that are damaged.
pub fn noted(dir: &Path) -> BTreeMap<String, Found> {
    DAMAGE.read(dir).unwrap_or_default()
}

/// The databases that can be made again.
pub fn is_made_again(file: &str) -> bool {
    [cache::KIND, journal::KIND]
        .iter()
        .any(|kind| kind.file_name == file)
}

/// Looks through a database, a table at a time, so that no log is held for long. Gives what is wrong first. Takes long:
/// for a thread that yields.
pub fn look(dir: &Path, kind: Kind, is_stopped: impl Fn() -> bool) -> Result<Option<String>, OpenError> {
    let looked = || -> Result<Option<String>, OpenError> {
        let connection = database::open_reader(dir, kind)?;
        let failed = |source| OpenError::of(&dir.join(kind.file_name), source);
        let tables: Vec<String> = connection
            .prepare("select name from sqlite_schema where type = 'table' order by name")
            .and_then(|mut names| names.query_map([], |row| row.get(0))?.collect())
            .map_err(failed)?;
        for table in tables {
            if is_stopped() {
                return Ok(None);
            }
            let check = format!("pragma quick_check(\"{}\")", table.replace('"', "\"\""));
            let told: String = connection
                .query_row(&check, [], |row| row.get(0))
                .map_err(failed)?;
            if told != "ok" {
                return Ok(Some(format!("{table}: {told}")));
            }
        }
        Ok(None)
    };
    match looked() {
        Err(OpenError::Damaged { cause, .. }) => Ok(Some(cause)),
        looked => looked,
    }
}

/// Removes the log of a file that is not there any more, so that nobody reads it into the one that is.
pub fn remove_log_of_another(dir: &Path, kind: Kind) -> std::io::Result<()> {
    ["-shm", "-wal"]
        .iter()
        .try_for_each(|ending| remove(&dir.join(format!("{}{ending}", kind.file_name))))
}

/// Sets a damaged database aside with its log, and forgets the oldest of those that are kept. Nobody uses it. Gives the
/// name under which it is kept.
pub fn set_aside(dir: &Path, kind: Kind, now: Millis) -> std::io::Result<String> {
    let stamp: String = format_datetime(now)
        .chars()
        .filter(char::is_ascii_alphanumeric)
        .collect();
    let name = format!("{}{ASIDE}{stamp}", kind.file_name);
    let path = |name: &str, ending: &str| dir.join(format!("{name}{ending}"));
    for ending in ["-wal", ""] {
        match std::fs::rename(path(kind.file_name, ending), path(&name, ending)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    remove(&path(kind.file_name, "-shm"))?;
    forget(dir, kind.file_name)?;
    let kept = aside(dir)?;
    let kept: Vec<&Aside> = kept.iter().filter(|kept| kept.file == kind.file_name).collect();
    for oldest in &kept[..kept.len().saturating_sub(KEPT_MAX)] {
        for ending in ["", "-wal", "-shm"] {
            remove(&path(&oldest.name, ending))?;
        }
    }
    Ok(name)
}

fn remove(path: &Path) -> std::io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// The damaged files that are kept, the oldest first.
pub fn aside(dir: &Path) -> std::io::Result<Vec<Aside>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir)? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        found.extend(named(&name));
    }
    found.sort_by_key(|kept| (kept.file, kept.at));
    Ok(found)
}

/// `cache.db.damaged-20261122T093000000Z`.
fn named(name: &str) -> Option<Aside> {
    let (database, stamp) = name.split_once(ASIDE)?;
    let kinds = [cache::KIND, journal::KIND, outbox::KIND];
    let kind = kinds.iter().find(|kind| kind.file_name == database)?;
    let part = |range| stamp.get(range);
    let time = [part(9..11)?, part(11..13)?, part(13..15)?].join(":");
    let date = [part(0..4)?, part(4..6)?, part(6..8)?].join("-");
    let millis = stamp.get(15..18)?;
    let at = parse_datetime(&format!("{date}T{time}.{millis}Z"))?;
    (stamp.len() == 19).then(|| Aside {
        file: kind.file_name,
        name: name.to_owned(),
        at,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2026-11-22T09:30:00.000Z
    const NOW: Millis = 1_795_339_800_000;

    #[test]
    fn what_is_set_aside_has_its_time_in_its_name_and_the_newest_are_kept() {
        let dir = tempfile::tempdir().unwrap();
        for number in 0..4 {
            std::fs::write(dir.path().join("cache.db"), format!("{number}")).unwrap();
            std::fs::write(dir.path().join("cache.db-wal"), "log").unwrap();
            note(dir.path(), "cache.db", "malformed");
            assert_eq!(noted(dir.path())["cache.db"].cause, "malformed");
            let name = set_aside(dir.path(), cache::KIND, NOW + number * 1_000).unwrap();
            assert!(dir.path().join(format!("{name}-wal")).exists());
            assert!(noted(dir.path()).is_empty());
        }
        let kept = aside(dir.path()).unwrap();
        let names: Vec<&str> = kept.iter().map(|kept| kept.name.as_str()).collect();
        assert_eq!(
            names,
            [
                "cache.db.damaged-20261122T093002000Z",
                "cache.db.damaged-20261122T093003000Z"
            ]
        );
        assert_eq!(kept[0].at, NOW + 2_000);
        assert_eq!(std::fs::read_to_string(dir.path().join(names[1])).unwrap(), "3");
    }

    #[test]
    fn damage_is_told_from_what_may_pass() {
        use rusqlite::ffi;
        for (code, expected) in [
            (ffi::SQLITE_CORRUPT, true),
            (ffi::SQLITE_NOTADB, true),
            (ffi::SQLITE_IOERR, false),
            (ffi::SQLITE_IOERR_READ, false),
            (ffi::SQLITE_IOERR_SHORT_READ, true),
            (ffi::SQLITE_FULL, false),
            (ffi::SQLITE_CANTOPEN, false),
            (ffi::SQLITE_BUSY, false),
        ] {
            let error = || rusqlite::Error::SqliteFailure(ffi::Error::new(code), None);
            assert_eq!(is_damage(&error()), expected, "{code}");
            let wrapped = anyhow::Error::from(error()).context("the stage apply failed");
            assert_eq!(is_cause_of(&wrapped), expected, "{code}");
            let opened = anyhow::Error::from(OpenError::of(Path::new("/state/cache.db"), error()));
            assert_eq!(is_cause_of(&opened), expected, "{code}");
        }
    }
}
