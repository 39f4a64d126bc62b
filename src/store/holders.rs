//! Who holds a write-ahead log: a reader that began some time ago and has not ended.
//!
//! A log cannot begin anew before the last reader of its older part ends; until then it grows. SQLite's readers lock a
//! byte of the file beside it, and the system tells which process does.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::{Value, json};

use crate::store::database::Kind;
use crate::store::{cache, journal, outbox};

/// The bytes that readers of a log lock, each for a part of it; one that needs no log locks another.
const READER_BYTES: std::ops::RangeInclusive<u64> = 124..=127;

/// A write-ahead log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    pub db: &'static str,
    pub bytes: u64,
    pub holders: Vec<Holder>,
}

/// A process that reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    pub pid: u32,
    pub program: String,
}

/// The logs of a state directory.
pub fn logs(dir: &Path) -> Vec<Log> {
    let kinds = [
        ("cache", cache::KIND),
        ("journal", journal::KIND),
        ("outbox", outbox::KIND),
    ];
    let log = |(db, kind): (&'static str, Kind)| Log {
        db,
        bytes: beside(dir, kind, "wal").map_or(0, |log| log.len()),
        holders: holders(dir, kind),
    };
    kinds.map(log).into()
}

impl Log {
    pub fn as_json(&self) -> Value {
        let holders = self.holders.iter();
        let holders = holders.map(|holder| json!({"pid": holder.pid, "program": holder.program}));
        json!({"db": self.db, "bytes": self.bytes, "holders": holders.collect::<Vec<_>>()})
    }
}

/// The processes that hold a database's log just now. Where the system does not tell, none.
pub(super) fn holders(dir: &Path, kind: Kind) -> Vec<Holder> {
    use std::os::unix::fs::MetadataExt as _;
    let Some(index) = beside(dir, kind, "shm") else {
        return Vec::new();
    };
    let locks = std::fs::read_to_string("/proc/locks").unwrap_or_default();
    let name = |pid: u32| {
        let program = std::fs::read_to_string(format!("/proc/{pid}/comm"));
        let program = program.map_or_else(|_| "?".to_owned(), |name| name.trim().to_owned());
        Holder { pid, program }
    };
    readers(&locks, index.ino()).into_iter().map(name).collect()
}

/// The process that has the directory for itself, where one has and the system tells.
pub fn owner(dir: &Path) -> Option<u32> {
    use std::os::unix::fs::MetadataExt as _;
    let inode = std::fs::metadata(dir).ok()?.ino();
    let locks = std::fs::read_to_string("/proc/locks").ok()?;
    locking(&locks, inode)
}

fn locking(locks: &str, inode: u64) -> Option<u32> {
    locks.lines().find_map(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [_, "FLOCK", _, "WRITE", pid, file, ..] = words[..] else {
            return None;
        };
        let of_file = file.rsplit(':').next()? == inode.to_string();
        // Of a process that is in none of our namespaces it is 0 or less.
        pid.parse().ok().filter(|pid| of_file && *pid > 0)
    })
}

fn beside(dir: &Path, kind: Kind, ending: &str) -> Option<std::fs::Metadata> {
    std::fs::metadata(dir.join(format!("{}-{ending}", kind.file_name))).ok()
}

/// The processes with a reader's lock on a file, by the system's list of locks.
fn readers(locks: &str, inode: u64) -> BTreeSet<u32> {
    let reader = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [_, "POSIX", _, "READ", pid, file, first, _] = words[..] else {
            return None;
        };
        let of_file = file.rsplit(':').next()? == inode.to_string();
        let is_reader = READER_BYTES.contains(&first.parse().ok()?);
        (of_file && is_reader).then(|| pid.parse().ok())?
    };
    locks.lines().filter_map(reader).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readers_are_told_from_the_list_of_locks() {
        let locks = "1: POSIX  ADVISORY  READ 4001 08:01:77 124 124\n\
                     2: POSIX  ADVISORY  READ 4002 08:01:77 123 123\n\
                     3: POSIX  ADVISORY  WRITE 4003 08:01:77 125 125\n\
                     4: POSIX  ADVISORY  READ 4004 08:01:78 126 126\n\
                     4: -> POSIX  ADVISORY  READ 4005 08:01:77 126 126\n\
                     5: FLOCK  ADVISORY  WRITE 4006 08:01:77 0 EOF\n\
                     6: POSIX  ADVISORY  READ 4007 08:01:77 127 127\n\
                     7: POSIX  ADVISORY  READ 0 08:01:77\n";
        assert_eq!(readers(locks, 77), BTreeSet::from([4_001, 4_007]));
        assert_eq!(readers("", 77), BTreeSet::new());
        assert_eq!(locking(locks, 77), Some(4_006));
        assert_eq!(locking(locks, 78), None);
        assert_eq!(locking("1: FLOCK ADVISORY WRITE -1 08:01:77 0 EOF\n", 77), None);
    }
}
