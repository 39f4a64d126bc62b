//! What the journal tells of events and records, for people: engineers at the command line and in the console.
//!
//! [`events`] reads single events and filters them. [`record`] puts together all that touched one record, event or
//! answer of the org, and what it changed; [`at`] says from it how the record was at a time. Nothing here writes
//! anything but the index of which event names which record ([`index`]).

pub mod at;
pub mod events;
pub mod index;
pub mod record;
pub mod touches;

use std::path::{Path, PathBuf};

use crate::store::journal::JournalReader;

use self::events::Schemas;

/// A journal that is looked into.
#[derive(Debug)]
pub struct History {
    dir: PathBuf,
    pub journal: JournalReader,
    schemas: Schemas,
}

/// There is nothing to look at.
#[derive(Debug, thiserror::Error)]
#[error("there is no journal in {0} yet: start the daemon first, or check [state] dir")]
pub struct NoJournal(PathBuf);

impl History {
    pub fn open(dir: &Path) -> anyhow::Result<Self> {
        if !dir.join(crate::store::journal::KIND.file_name).exists() {
            return Err(NoJournal(dir.to_owned()).into());
        }
        Ok(Self {
            dir: dir.to_owned(),
            journal: JournalReader::open(dir)?,
            schemas: Schemas::default(),
        })
    }
}

/// An id of 18 characters from one of 15 or 18: the last three say which letters are capitals.
pub fn full_id(id: &str) -> String {
    if id.len() != 15 || !id.is_ascii() {
        return id.to_owned();
    }
    let suffix = id.as_bytes().chunks(5).map(|chunk| {
        let bits = chunk.iter().enumerate();
        let value = bits.fold(0_usize, |value, (bit, letter)| {
            value | usize::from(letter.is_ascii_uppercase()) << bit
        });
        char::from(b"ABCDEFGHIJKLMNOPQRSTUVWXYZ012345"[value])
    });
    id.chars().chain(suffix).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_gets_its_last_three_characters() {
        assert_eq!(full_id("001D000000IqhSL"), "001D000000IqhSLIAZ");
        assert_eq!(full_id("001D000000IqhSLIAZ"), "001D000000IqhSLIAZ");
    }
}
