//! Whether the chain is as it was written.
//!
//! It begins behind the last entry that was removed because of its age, where one was. Whoever may write the file could call
//! removed what is not old yet: an entry of the chain has to name what was removed, so that this cannot be done unseen.

use std::str::FromStr;

use rusqlite::{Connection, Row};
use serde_json::json;

use crate::store::outbox::audit::key::Key;
use crate::store::outbox::audit::removal::{self, Removed, removed};
use crate::store::outbox::audit::{ABOUT, DIGITS, ENTRIES, Entry, Head, Salted, entry, hex};
use crate::store::outbox::damage::shown;

/// Most changes of the key that are told.
const KEYS_MAX: usize = 10;

/// A head as somebody kept it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnownHead {
    seq: i64,
    /// The hash, or its first digits.
    digits: String,
}

impl FromStr for KnownHead {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let known = text.split_once(':').and_then(|(seq, digits)| {
            let seq = seq.parse().ok().filter(|seq| *seq > 0)?;
            let is_hash = (DIGITS..=64).contains(&digits.len())
                && digits.bytes().all(|digit| digit.is_ascii_hexdigit());
            is_hash.then(|| Self {
                seq,
                digits: digits.to_ascii_lowercase(),
            })
        });
        known.ok_or_else(|| {
            "a head is SEQ:HASH, such as 17:0f3a5b7c9d1e, with at least 12 digits of the hash".to_owned()
        })
    }
}

impl KnownHead {
    /// Whether an entry is not another than the one that is named.
    fn may_be(&self, entry: &Head) -> bool {
        self.seq != entry.seq || hex(&entry.hash).starts_with(&self.digits)
    }

    /// Why it cannot be compared, or is another, where the entry that it names was removed.
    fn contradicts_removed(&self, removed: Option<&Removed>) -> Option<&'static str> {
        let removed = &removed?.head;
        if self.seq < removed.seq {
            return Some("it was removed because of its age, so that the head cannot be compared with it");
        }
        let why = "it is another than the head names: it was removed, and others put before it";
        (!self.may_be(removed)).then_some(why)
    }
}

/// What a look through the chain comes to.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict {
    Whole(Whole),
    /// The first entry that is not as it was written, and why.
    Broken {
        seq: i64,
        why: &'static str,
    },
}

/// A chain whose entries are as they were written.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Whole {
    pub head: Head,
    /// The last that was removed because of its age.
    pub removed: Option<Removed>,
    /// How many have details that were erased, and how many a name.
    pub erased: u64,
    pub erased_names: u64,
    /// The first few entries from which on persons are hashed with another key than before.
    pub other_keys: Vec<i64>,
    /// The file's key is another than that of the last entry about a person, or is gone.
    pub is_key_replaced: bool,
}

/// Goes along the chain, from entry to entry.
pub(super) struct Walk {
    pub head: Head,
}

impl Walk {
    /// From where the chain begins.
    pub fn begin(removed: Option<&Removed>) -> Self {
        let head = removed.map(|removed| removed.head.clone()).unwrap_or_default();
        Self { head }
    }

    /// The next entry, a row of [`ENTRIES`], or why it is not as it was written.
    pub fn step(&mut self, row: &Row<'_>) -> rusqlite::Result<Result<Entry, &'static str>> {
        let entry = entry(row)?;
        let seq = self.head.seq + 1;
        if entry.seq != seq {
            return Ok(Err("it is missing"));
        }
        let hash = entry.chained(&self.head.hash);
        // A text that is read as it was, and says more.
        let canonical = json!(entry.about).to_string();
        let is_plain = shown(row, ABOUT)?.is_some_and(|text| text == canonical);
        if entry.hash != hash || !is_plain {
            return Ok(Err("it is not what was written there"));
        }
        if is_other(&entry.detail_hash, &entry.detail) {
            return Ok(Err("its detail is not what was written"));
        }
        if is_other(&entry.on_behalf_of, &entry.named) {
            return Ok(Err("whom it names is not what was written"));
        }
        self.head = Head { seq, hash };
        Ok(Ok(entry))
    }
}

/// Whether there is something else than what has this hash. Nothing may be there: it was erased.
fn is_other(hash: &Option<Vec<u8>>, kept: &Option<Salted>) -> bool {
    kept.as_ref()
        .is_some_and(|kept| hash.as_deref() != Some(&kept.hash()[..]))
}

impl Whole {
    /// Takes an entry in that is as it was written; `key` is that of the last before that has one.
    fn add(&mut self, entry: &Entry, key: &mut Option<Vec<u8>>) {
        let is_erased = |hash: &Option<Vec<u8>>, kept: &Option<Salted>| hash.is_some() && kept.is_none();
        self.erased += u64::from(is_erased(&entry.detail_hash, &entry.detail));
        self.erased_names += u64::from(is_erased(&entry.on_behalf_of, &entry.named));
        if entry.person_key.is_some() {
            if key.is_some() && *key != entry.person_key && self.other_keys.len() < KEYS_MAX {
                self.other_keys.push(entry.seq);
            }
            key.clone_from(&entry.person_key);
        }
    }
}

pub(super) fn verify(connection: &Connection, known: Option<&KnownHead>) -> rusqlite::Result<Verdict> {
    let mut statement = match connection.prepare(&format!("{ENTRIES} order by seq")) {
        Err(error) if error.to_string().contains("no such table") => {
            return Ok(Verdict::Broken {
                seq: 1,
                why: "the tables of the audit are gone",
            });
        }
        prepared => prepared?,
    };
    let removed = removed(connection)?;
    let mut walk = Walk::begin(removed.as_ref());
    if let Some(why) = known.and_then(|known| known.contradicts_removed(removed.as_ref())) {
        let seq = known.map_or(0, |known| known.seq);
        return Ok(Verdict::Broken { seq, why });
    }
    let (mut whole, mut key, mut is_removal_told) = (Whole::default(), None, removed.is_none());
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let seq = walk.head.seq + 1;
        let entry = match walk.step(row)? {
            Ok(entry) => entry,
            Err(why) => return Ok(Verdict::Broken { seq, why }),
        };
        if known.is_some_and(|known| !known.may_be(&walk.head)) {
            let why = "it is another than the head names: the entries up to it were made anew";
            return Ok(Verdict::Broken { seq, why });
        }
        is_removal_told |= removed
            .as_ref()
            .is_some_and(|removed| removal::tells_of(&entry, removed));
        whole.add(&entry, &mut key);
    }
    if let Some(removed) = removed.as_ref().filter(|_| !is_removal_told) {
        return Ok(Verdict::Broken {
            seq: removed.head.seq,
            why: "it is said to have been removed because of its age, and no entry tells of that",
        });
    }
    if known.is_some_and(|known| known.seq > walk.head.seq) {
        return Ok(Verdict::Broken {
            seq: walk.head.seq + 1,
            why: "it is missing: the head names a later one",
        });
    }
    let current = Key::of(connection)?.map(|key| key.id());
    Ok(Verdict::Whole(Whole {
        head: walk.head,
        removed,
        is_key_replaced: key.is_some() && key != current,
        ..whole
    }))
}
