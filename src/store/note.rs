//! Small files beside the databases: what the daemon tells programs beside it, and what it knows again after a start.
//!
//! Each is replaced as a whole, so that nobody reads half of one, and makes nobody wait for a database. One that is not
//! there, or cannot be read, tells nothing. On a disk that is full the room of the file that is there is written over, which
//! every file keeps some of: it is then that there is something to tell.

use std::fs::OpenOptions;
use std::io::{ErrorKind, Read as _, Write as _};
use std::marker::PhantomData;
use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::model::calls::Calls;
use crate::model::trouble::Hindrances;
use crate::store::allowance::Allowance;
use crate::store::plain;
use crate::store::polls::Polls;

/// What the org last told of its limits.
pub const ALLOWANCE: Note<Allowance> = Note::new("allowance.json");

/// The API calls that the daemon made, which a budget is held against.
pub const CALLS: Note<Calls> = Note::new("calls.json");

/// What stands in the way, of all that only the running daemon knows.
pub const HINDRANCES: Note<Hindrances> = Note::new("hindrances.json");

/// How often objects are asked for changes. Who reads the cache without a daemon judges its age by it.
pub const POLLS: Note<Polls> = Note::new("polls.json");

/// The room of a file: what is longer takes more.
const ROOM_BYTES: usize = 4_096;

/// A file that holds a `T`.
#[derive(Debug)]
pub struct Note<T> {
    file_name: &'static str,
    holds: PhantomData<fn() -> T>,
}

impl<T> Note<T> {
    pub const fn new(file_name: &'static str) -> Self {
        Self {
            file_name,
            holds: PhantomData,
        }
    }

    pub fn file_name(&self) -> &'static str {
        self.file_name
    }
}

impl<T: Serialize + DeserializeOwned> Note<T> {
    /// Replaces what was told before.
    pub fn write(&self, dir: &Path, told: &T) -> std::io::Result<()> {
        let mut text = serde_json::to_vec(told)?;
        // JSON may end in spaces.
        text.resize(text.len().max(ROOM_BYTES), b' ');
        match self.replace(dir, &text) {
            Err(error) if matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded) => {
                let mut file = OpenOptions::new().write(true).open(dir.join(self.file_name))?;
                file.write_all(&text)?;
                file.set_len(text.len() as u64)
            }
            replaced => replaced,
        }
    }

    fn replace(&self, dir: &Path, text: &[u8]) -> std::io::Result<()> {
        let prefix = format!(".{}", self.file_name);
        let mut file = tempfile::Builder::new().prefix(&prefix).tempfile_in(dir)?;
        file.write_all(text)?;
        let kept = file.persist(dir.join(self.file_name));
        kept.map(drop).map_err(|error| error.error)
    }

    /// What was told last.
    pub fn read(&self, dir: &Path) -> Option<T> {
        let mut text = Vec::new();
        let mut file = plain::open(&dir.join(self.file_name)).ok()?;
        file.read_to_end(&mut text).ok()?;
        serde_json::from_slice(&text).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::calls::Purpose;
    use crate::model::clock::Moment;
    use crate::model::schedule::{Counts, Intervals, plan};
    use crate::model::trouble::{Failing, Kind, Trouble};
    use crate::store::allowance::Share;

    fn is_read_as_it_was_written<T>(note: &Note<T>, all: impl IntoIterator<Item = T>)
    where
        T: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug,
    {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(note.read(dir.path()), None);
        for told in all {
            note.write(dir.path(), &told).unwrap();
            assert_eq!(note.read(dir.path()), Some(told));
            let file = std::fs::metadata(dir.path().join(note.file_name)).unwrap();
            assert_eq!(file.len(), 4_096, "it has room for what is told on a full disk");
        }
        let files = std::fs::read_dir(dir.path()).unwrap();
        assert_eq!(files.count(), 1, "nothing else is left");
        let path = dir.path().join(note.file_name);
        std::fs::write(&path, "{").unwrap();
        assert_eq!(note.read(dir.path()), None);
        // A pipe that nobody writes to.
        std::fs::remove_file(&path).unwrap();
        let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
        rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, mode, 0).unwrap();
        assert_eq!(note.read(dir.path()), None);
    }

    #[test]
    fn what_is_told_is_read_as_it_was_written() {
        let allowance = |deliveries| Allowance {
            at: 7,
            api: Share { used: 1, limit: 4 },
            deliveries,
        };
        let some = Some(Share { used: 5, limit: 10 });
        is_read_as_it_was_written(&ALLOWANCE, [None, some].map(allowance));

        let mut calls = Calls::default();
        calls.count(Purpose::Reads, 7);
        calls.count(Purpose::Orders, 7_200_000);
        is_read_as_it_was_written(&CALLS, [calls]);

        let counts = Counts {
            by_lists: [28, 16, 31],
            ..Counts::default()
        };
        let planned = plan(5_000, counts, 60, 0);
        let polls = |plan, intervals| Polls { plan, intervals };
        let all = [
            polls(Some(planned), planned.intervals),
            polls(None, Intervals::even(7_000)),
        ];
        is_read_as_it_was_written(&POLLS, all);

        let failing = Failing {
            cause: "refused".to_owned(),
            is_lasting: true,
        };
        let told = Hindrances {
            trouble: Some(Trouble {
                kind: Kind::LoginRefused,
                since: Moment { wall: 7, boot: 5 },
                cause: "the login was refused".to_owned(),
            }),
            start: Some("not yet".to_owned()),
            failing: [("Contact".to_owned(), failing)].into(),
            ..Hindrances::default()
        };
        is_read_as_it_was_written(&HINDRANCES, [Hindrances::default(), told]);
    }
}
