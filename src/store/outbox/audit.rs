//! The audit: what operators did and read, in a chain of entries.
//!
//! The hash of an entry is the SHA-256 of the hash of the entry before (32 zero bytes before the first) and of the entry
//! as JSON in the form of RFC 8785. Promises that an entry which was changed, taken out or moved is found by
//! [`Desk::verify_audit`]. Whoever may write the file can make all entries from one on anew, or cut off the end: that is
//! shown only by a head, the number and hash of the last entry, that was kept elsewhere.
//!
//! An entry holds nothing of the person whom it is about but a keyed hash. What may be of a person lies beside it with a
//! salt, and can be erased: the entry has its hash alone.

pub(super) mod of_writes;

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use aws_lc_rs::digest::{Context, SHA256};
use aws_lc_rs::hmac;
use rusqlite::{Connection, Row, TransactionBehavior, params};
use serde::Serialize;
use serde_json::{Value, json};

use crate::model::clock::{Millis, format_datetime};
use crate::store::outbox::damage::shown;
use crate::store::outbox::desk::{Desk, DeskError};
use crate::store::outbox::{Outbox, OutboxError};

/// What an entry is about. Values are texts, whole numbers, or lists of them, so that they have one form.
pub type About = BTreeMap<String, Value>;

/// Fewest digits of a hash that name a head: as many as the metric has.
const DIGITS_MIN: usize = 12;

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
        let digits = self.hash[..DIGITS_MIN / 2].iter();
        digits.fold(0.0, |number, byte| number * 256.0 + f64::from(*byte))
    }
}

impl fmt::Display for Head {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}:{}", self.seq, hex(&self.hash))
    }
}

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
            let is_hash = (DIGITS_MIN..=64).contains(&digits.len())
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

/// An entry as it stands in the file.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    pub seq: i64,
    pub at: Millis,
    pub instance: String,
    pub actor: String,
    pub on_behalf_of: Option<String>,
    pub deed: String,
    pub about: About,
    pub person: Option<Vec<u8>>,
    pub detail_hash: Option<Vec<u8>>,
    pub hash: Vec<u8>,
    /// `None` where there is none, or none any more.
    pub detail: Option<Salted>,
}

/// What may be of a person.
#[derive(Clone, Debug, PartialEq)]
pub struct Salted {
    salt: Vec<u8>,
    text: String,
}

impl Salted {
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
    on_behalf_of: Option<&'e str>,
    person: Option<String>,
    seq: i64,
    time: String,
}

impl Entry {
    fn canonical(&self) -> Canonical<'_> {
        Canonical {
            about: &self.about,
            actor: &self.actor,
            deed: &self.deed,
            detail_hash: self.detail_hash.as_deref().map(hex),
            instance: &self.instance,
            on_behalf_of: self.on_behalf_of.as_deref(),
            person: self.person.as_deref().map(hex),
            seq: self.seq,
            time: format_datetime(self.at),
        }
    }

    /// The hash that it has behind another.
    fn chained(&self, before: &[u8; 32]) -> [u8; 32] {
        let mut context = Context::new(&SHA256);
        context.update(before);
        // Nothing in it can fail to be written.
        context.update(&serde_json::to_vec(&self.canonical()).unwrap_or_default());
        let mut hash = [0; 32];
        hash.copy_from_slice(context.finish().as_ref());
        hash
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
        let detail = self.detail.as_ref();
        told["detail"] = detail.map(|detail| detail.text.as_str()).into();
        told["salt"] = detail.map(|detail| hex(&detail.salt)).into();
        told
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Puts an entry at the end of the chain.
pub(super) fn append(connection: &Connection, line: &Line, now: Millis) -> rusqlite::Result<()> {
    let head = head(connection)?;
    let instance = connection
        .prepare_cached("select id from identity")?
        .query_row([], |row| row.get(0))?;
    let person = match &line.person {
        Some(person) => Some(keyed(connection, person)?),
        None => None,
    };
    let detail = match &line.detail {
        Some(text) => Some(Salted {
            salt: connection
                .prepare_cached("select randomblob(16)")?
                .query_row([], |row| row.get(0))?,
            text: text.clone(),
        }),
        None => None,
    };
    let entry = Entry {
        seq: head.seq + 1,
        at: now,
        instance,
        actor: line.actor.clone(),
        on_behalf_of: line.on_behalf_of.clone(),
        deed: line.deed.clone(),
        about: line.about.clone(),
        person,
        detail_hash: detail.as_ref().map(Salted::hash),
        hash: Vec::new(),
        detail,
    };
    connection
        .prepare_cached(
            "insert into audit (seq, at, instance, actor, on_behalf_of, deed, about, person, detail_hash, hash)
             values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
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
            entry.detail_hash,
            entry.chained(&head.hash),
        ])?;
    if let Some(Salted { salt, text }) = &entry.detail {
        connection
            .prepare_cached("insert into audit_details (seq, salt, detail) values (?1, ?2, ?3)")?
            .execute(params![entry.seq, salt, text])?;
    }
    Ok(())
}

/// The hash by which entries about a person are found, and the person is not.
fn keyed(connection: &Connection, person: &str) -> rusqlite::Result<Vec<u8>> {
    let key: Vec<u8> = connection
        .prepare_cached("select key from audit_key")?
        .query_row([], |row| row.get(0))?;
    let key = hmac::Key::new(hmac::HMAC_SHA256, &key);
    let tag = hmac::sign(&key, person.trim().to_lowercase().as_bytes());
    Ok(tag.as_ref().to_vec())
}

/// The last entry; in a copy of the file too.
pub fn head(connection: &Connection) -> rusqlite::Result<Head> {
    let mut last = connection.prepare_cached("select seq, hash from audit order by seq desc limit 1")?;
    let mut rows = last.query([])?;
    let Some(row) = rows.next()? else {
        return Ok(Head::default());
    };
    let (seq, hash) = (row.get(0)?, row.get(1)?);
    Ok(Head { seq, hash })
}

/// Entries with what may be of a person, where it is kept.
const ENTRIES: &str =
    "select seq, at, instance, actor, on_behalf_of, deed, about, person, detail_hash, hash, salt, detail
     from audit left join audit_details using (seq)";

fn entry(row: &Row<'_>) -> rusqlite::Result<Entry> {
    let text = |index| shown(row, index).map(Option::unwrap_or_default);
    let salt: Option<Vec<u8>> = row.get(10)?;
    let detail = match salt {
        Some(salt) => Some(Salted {
            salt,
            text: text(11)?,
        }),
        None => None,
    };
    Ok(Entry {
        seq: row.get(0)?,
        at: row.get(1)?,
        instance: text(2)?,
        actor: text(3)?,
        on_behalf_of: shown(row, 4)?,
        deed: text(5)?,
        about: serde_json::from_str(&text(6)?).unwrap_or_default(),
        person: row.get(7)?,
        detail_hash: row.get(8)?,
        hash: row.get(9)?,
        detail,
    })
}

/// The next few entries after one, or those of them that are about a person.
fn list(
    connection: &Connection,
    after: i64,
    person: Option<&str>,
    most: u32,
) -> rusqlite::Result<Vec<Entry>> {
    let person = match person {
        Some(person) => Some(keyed(connection, person)?),
        None => None,
    };
    connection
        .prepare_cached(&format!(
            "{ENTRIES} where seq > ?1 and (?2 is null or person = ?2) order by seq limit ?3"
        ))?
        .query_map(params![after, person, most], entry)?
        .collect()
}

/// What a look through the chain comes to.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict {
    /// With how many details were erased.
    Whole { head: Head, erased: u64 },
    /// The first entry that is not as it was written, and why.
    Broken { seq: i64, why: &'static str },
}

fn verify(connection: &Connection, known: Option<&KnownHead>) -> rusqlite::Result<Verdict> {
    let (mut head, mut erased) = (Head::default(), 0);
    let mut statement = match connection.prepare(&format!("{ENTRIES} order by seq")) {
        Err(error) if error.to_string().contains("no such table") => {
            return Ok(Verdict::Broken {
                seq: 1,
                why: "the tables of the audit are gone",
            });
        }
        prepared => prepared?,
    };
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let entry = entry(row)?;
        let seq = head.seq + 1;
        let broken = |why| Ok(Verdict::Broken { seq, why });
        if entry.seq != seq {
            return broken("it is missing");
        }
        let hash = entry.chained(&head.hash);
        // A text that is read as it was, and says more.
        let canonical = json!(entry.about).to_string();
        let is_plain = shown(row, 6)?.is_some_and(|text| text == canonical);
        if entry.hash != hash || !is_plain {
            return broken("it is not what was written there");
        }
        match (&entry.detail_hash, &entry.detail) {
            (Some(_), None) => erased += 1,
            (was, is) if *was != is.as_ref().map(Salted::hash) => {
                return broken("its detail is not what was written");
            }
            _ => {}
        }
        head = Head { seq, hash };
        if known.is_some_and(|known| known.seq == seq && !hex(&hash).starts_with(&known.digits)) {
            return broken("it is another than the head names: the entries up to it were made anew");
        }
    }
    match known {
        Some(known) if known.seq > head.seq => Ok(Verdict::Broken {
            seq: head.seq + 1,
            why: "it is missing: the head names a later one",
        }),
        _ => Ok(Verdict::Whole { head, erased }),
    }
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
        Ok(list(&self.connection, after, person, most)?)
    }

    /// Whether the audit is as it was written, up to a head that somebody kept where one is given.
    pub fn verify_audit(&self, known: Option<&KnownHead>) -> Result<Verdict, DeskError> {
        Ok(verify(&self.connection, known)?)
    }
}

#[cfg(test)]
mod tests;
