//! The audit: what operators did and read, in a chain of entries.
//!
//! The hash of an entry is the SHA-256 of the hash of the entry before (32 zero bytes before the first) and of the entry
//! as JSON in the form of RFC 8785. Promises that an entry which was changed, taken out or moved is found by
//! [`Desk::verify_audit`]. Whoever may write the file can make all entries from one on anew, or cut off the end: that is
//! shown only by a head, the number and hash of the last entry, that was kept elsewhere.
//!
//! An entry holds nothing of the person whom it is about but a keyed hash. What may be of a person, whom the actor names
//! among it, lies beside it with a salt, and can be erased: the entry has its hash alone.
//!
//! The oldest entries are removed by age ([`removal`]). What is left is chained to the last that was.

pub(super) mod key;
pub(super) mod names;
pub(super) mod of_writes;
pub mod removal;
pub mod verify;

use std::collections::BTreeMap;
use std::fmt;

use aws_lc_rs::digest::{Context, SHA256};
use rusqlite::{Connection, OptionalExtension as _, Row, TransactionBehavior, params};
use serde::Serialize;
use serde_json::{Value, json};

use crate::model::clock::{Millis, format_datetime};
use crate::store::outbox::audit::key::Key;
use crate::store::outbox::audit::removal::removed;
use crate::store::outbox::audit::verify::{KnownHead, Verdict, verify};
use crate::store::outbox::damage::shown;
use crate::store::outbox::desk::{Desk, DeskError};
use crate::store::outbox::{Outbox, OutboxError};

/// What an entry is about. Values are texts, whole numbers, or lists of them, so that they have one form.
pub type About = BTreeMap<String, Value>;

/// Digits of a hash that the metric has.
const DIGITS: usize = 12;

/// What is to be written down.
#[derive(Clone, Debug, PartialEq)]
pub struct Line {
    pub actor: String,
    /// Whom the actor says that it is for.
    pub on_behalf_of: Option<String>,
    pub deed: String,
    pub about: About,
    /// Whom it is about, by a key or an id; only a hash of it is kept.
    pub person: Option<String>,
    /// JSON that may hold values of the person.
    pub detail: Option<String>,
}

impl Line {
    pub fn new(actor: impl Into<String>, deed: &str) -> Self {
        Self {
            actor: actor.into(),
            on_behalf_of: None,
            deed: deed.to_owned(),
            about: About::new(),
            person: None,
            detail: None,
        }
    }

    /// Says what it is about, where that is known.
    pub fn about(mut self, name: &str, value: Option<impl Into<Value>>) -> Self {
        if let Some(value) = value {
            self.about.insert(name.to_owned(), value.into());
        }
        self
    }
}

/// The last entry of the chain, or the one that somebody knows to have been the last.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Head {
    /// 0 before the first entry.
    pub seq: i64,
    pub hash: [u8; 32],
}

impl Head {
    /// The first digits of the hash, as a number that a metric can have.
    pub fn number(&self) -> f64 {
        let digits = self.hash[..DIGITS / 2].iter();
        digits.fold(0.0, |number, byte| number * 256.0 + f64::from(*byte))
    }
}

impl fmt::Display for Head {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}:{}", self.seq, hex(&self.hash))
    }
}

/// An entry as it stands in the file.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    pub seq: i64,
    pub at: Millis,
    pub instance: String,
    pub actor: String,
    pub on_behalf_of: Option<Vec<u8>>,
    pub deed: String,
    pub about: About,
    pub person: Option<Vec<u8>>,
    /// Which key the person was hashed with.
    pub person_key: Option<Vec<u8>>,
    pub detail_hash: Option<Vec<u8>>,
    pub hash: Vec<u8>,
    /// `None` where there is none, or none any more.
    pub detail: Option<Salted>,
    /// Whom the actor says that it is for; `None` likewise.
    pub named: Option<Salted>,
}

/// What may be of a person.
#[derive(Clone, Debug, PartialEq)]
pub struct Salted {
    salt: Vec<u8>,
    pub text: String,
}

impl Salted {
    fn new(connection: &Connection, text: &str) -> rusqlite::Result<Self> {
        let salt = connection
            .prepare_cached("select randomblob(16)")?
            .query_row([], |row| row.get(0))?;
        let text = text.to_owned();
        Ok(Self { salt, text })
    }

    fn hash(&self) -> Vec<u8> {
        let mut context = Context::new(&SHA256);
        context.update(&self.salt);
        context.update(self.text.as_bytes());
        context.finish().as_ref().to_vec()
    }
}

/// What is hashed of an entry: members in the order of RFC 8785, and no value but of a form that it leaves alone.
#[derive(Serialize)]
struct Canonical<'e> {
    about: &'e About,
    actor: &'e str,
    deed: &'e str,
    detail_hash: Option<String>,
    instance: &'e str,
    on_behalf_of: Option<String>,
    person: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    person_key: Option<String>,
    seq: i64,
    time: String,
}

impl Canonical<'_> {
    fn chained(&self, before: &[u8; 32]) -> [u8; 32] {
        let mut context = Context::new(&SHA256);
        context.update(before);
        // Nothing in it can fail to be written.
        context.update(&serde_json::to_vec(self).unwrap_or_default());
        let mut hash = [0; 32];
        hash.copy_from_slice(context.finish().as_ref());
        hash
    }
}

impl Entry {
    fn canonical(&self) -> Canonical<'_> {
        Canonical {
            about: &self.about,
            actor: &self.actor,
            deed: &self.deed,
            detail_hash: self.detail_hash.as_deref().map(hex),
            instance: &self.instance,
            on_behalf_of: self.on_behalf_of.as_deref().map(hex),
            person: self.person.as_deref().map(hex),
            person_key: self.person_key.as_deref().map(hex),
            seq: self.seq,
            time: format_datetime(self.at),
        }
    }

    /// The hash that it has behind another.
    fn chained(&self, before: &[u8; 32]) -> [u8; 32] {
        self.canonical().chained(before)
    }

    /// As operators read it: what is hashed, and the hash. Without what may be of a person.
    pub fn json(&self) -> Value {
        let mut told = json!(self.canonical());
        told["hash"] = hex(&self.hash).into();
        told
    }

    /// The same with what may be of a person.
    pub fn json_with_detail(&self) -> Value {
        let mut told = self.json();
        for (name, salt, kept) in [
            ("detail", "salt", &self.detail),
            ("named", "named_salt", &self.named),
        ] {
            let kept = kept.as_ref();
            told[name] = kept.map(|kept| kept.text.as_str()).into();
            told[salt] = kept.map(|kept| hex(&kept.salt)).into();
        }
        told
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Puts an entry at the end of the chain.
pub(super) fn append(connection: &Connection, line: &Line, now: Millis) -> rusqlite::Result<()> {
    let key = match line.person {
        Some(_) => Some(key::current(connection)?),
        None => None,
    };
    append_with(connection, line, key.as_ref(), now)
}

/// The same, with what is said to be the key of persons.
fn append_with(connection: &Connection, line: &Line, key: Option<&Key>, now: Millis) -> rusqlite::Result<()> {
    let head = head(connection)?;
    let instance = connection
        .prepare_cached("select id from identity")?
        .query_row([], |row| row.get(0))?;
    let salted = |text: &Option<String>| {
        let text = text.as_deref();
        text.map(|text| Salted::new(connection, text)).transpose()
    };
    let (detail, named) = (salted(&line.detail)?, salted(&line.on_behalf_of)?);
    let person = line.person.as_deref();
    let entry = Entry {
        seq: head.seq + 1,
        at: now,
        instance,
        actor: line.actor.clone(),
        on_behalf_of: named.as_ref().map(Salted::hash),
        deed: line.deed.clone(),
        about: line.about.clone(),
        person: key.zip(person).map(|(key, person)| key.hash(person)),
        person_key: key.map(Key::id),
        detail_hash: detail.as_ref().map(Salted::hash),
        hash: Vec::new(),
        detail,
        named,
    };
    insert(connection, &entry, &entry.chained(&head.hash))
}

fn insert(connection: &Connection, entry: &Entry, hash: &[u8; 32]) -> rusqlite::Result<()> {
    connection
        .prepare_cached(
            "insert into audit (seq, at, instance, actor, on_behalf_of, deed, about, person, person_key, detail_hash, hash)
             values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)",
        )?
        .execute(params![
            entry.seq,
            entry.at,
            entry.instance,
            entry.actor,
            entry.on_behalf_of,
            entry.deed,
            json!(entry.about).to_string(),
            entry.person,
            entry.person_key,
            entry.detail_hash,
            hash,
        ])?;
    for (kept, sql) in [
        (
            &entry.detail,
            "insert into audit_details (seq, salt, detail) values (?1, ?2, ?3)",
        ),
        (
            &entry.named,
            "insert into audit_names (seq, salt, name) values (?1, ?2, ?3)",
        ),
    ] {
        if let Some(Salted { salt, text }) = kept {
            connection
                .prepare_cached(sql)?
                .execute(params![entry.seq, salt, text])?;
        }
    }
    Ok(())
}

/// The last entry; in a copy of the file too.
pub fn head(connection: &Connection) -> rusqlite::Result<Head> {
    let last = connection
        .prepare_cached("select seq, hash from audit order by seq desc limit 1")?
        .query_row([], |row| {
            let (seq, hash) = (row.get(0)?, row.get(1)?);
            Ok(Head { seq, hash })
        })
        .optional()?;
    match last {
        Some(last) => Ok(last),
        None => Ok(removed(connection)?
            .map(|removed| removed.head)
            .unwrap_or_default()),
    }
}

/// Entries with what may be of a person, where it is kept.
const ENTRIES: &str =
    "select seq, at, instance, actor, on_behalf_of, deed, about, person, detail_hash, hash, person_key,
         audit_details.salt, detail, audit_names.salt, name
     from audit left join audit_details using (seq) left join audit_names using (seq)";
/// The column of what it is about.
const ABOUT: usize = 6;

fn entry(row: &Row<'_>) -> rusqlite::Result<Entry> {
    let text = |index| shown(row, index).map(Option::unwrap_or_default);
    let salted = |index: usize| -> rusqlite::Result<Option<Salted>> {
        let salt: Option<Vec<u8>> = row.get(index)?;
        let Some(salt) = salt else { return Ok(None) };
        let text = text(index + 1)?;
        Ok(Some(Salted { salt, text }))
    };
    Ok(Entry {
        seq: row.get(0)?,
        at: row.get(1)?,
        instance: text(2)?,
        actor: text(3)?,
        on_behalf_of: row.get(4)?,
        deed: text(5)?,
        about: serde_json::from_str(&text(ABOUT)?).unwrap_or_default(),
        person: row.get(7)?,
        detail_hash: row.get(8)?,
        hash: row.get(9)?,
        person_key: row.get(10)?,
        detail: salted(11)?,
        named: salted(13)?,
    })
}

/// The next few entries after one, or those of them that are about a person.
fn list(
    connection: &Connection,
    after: i64,
    person: Option<&str>,
    most: u32,
) -> rusqlite::Result<Vec<Entry>> {
    let person = match (person, Key::of(connection)?) {
        (Some(person), Some(key)) => Some(key.hash(person)),
        (None, _) => None,
        // Nobody is found without the key.
        (Some(_), None) => return Ok(Vec::new()),
    };
    connection
        .prepare_cached(&format!(
            "{ENTRIES} where seq > ?1 and (?2 is null or person = ?2) order by seq limit ?3"
        ))?
        .query_map(params![after, person, most], entry)?
        .collect()
}

impl Outbox {
    /// Writes lines down, all or none.
    pub async fn write_down(&self, lines: Vec<Line>, now: Millis) -> Result<(), OutboxError> {
        self.submit(move |connection| lines.iter().try_for_each(|line| append(connection, line, now)))
            .await
    }

    /// The next few entries of the audit after one.
    pub fn audit(&self, after: i64, most: u32) -> Result<Vec<Entry>, OutboxError> {
        self.read(|connection| list(connection, after, None, most))
    }

    pub fn audit_head(&self) -> Result<Head, OutboxError> {
        self.read(head)
    }
}

impl Desk {
    pub fn write_down(&mut self, line: &Line, now: Millis) -> Result<(), DeskError> {
        let transaction = self
            .connection
            .transaction_with_behavior(TransactionBehavior::Immediate)?;
        append(&transaction, line, now)?;
        Ok(transaction.commit()?)
    }

    /// The next few entries of the audit after one, or those of them that are about a person.
    pub fn audit(&self, after: i64, person: Option<&str>, most: u32) -> Result<Vec<Entry>, DeskError> {
        self.is_current()?;
        Ok(list(&self.connection, after, person, most)?)
    }

    /// Whether the audit is as it was written, up to a head that somebody kept where one is given.
    pub fn verify_audit(&self, known: Option<&KnownHead>) -> Result<Verdict, DeskError> {
        self.is_current()?;
        Ok(verify(&self.connection, known)?)
    }
}

#[cfg(test)]
mod tests;
