//! The key by which the audit hashes persons.
//!
//! Each entry that has such a hash says which key it was made with, by a hash of the key. Whoever puts another key into the
//! file, so that entries about a person are found no more, is found by that: [`verify`](mod@super::verify) says from which entry
//! on, and the next start says it once and puts an entry of it into the chain. Nothing shows that the key was read: who has it
//! can try whether an entry is about somebody. Nor that another was there for a time in which no entry about a person was
//! made; and who makes the entries anew from that one on is found by a kept head alone.

use aws_lc_rs::hmac;
use rusqlite::{Connection, OptionalExtension as _, TransactionBehavior};

use crate::model::clock::Millis;
use crate::store::outbox::audit::{Line, append_with, hex};

/// Bytes that a key is told apart by.
const ID_BYTES: usize = 8;
/// Persons are hashed in small letters: none has this hash.
const ID_OF: &[u8] = b"WHICH KEY";

/// Who does what nobody asked for, as the audit has it.
pub(super) const ACTOR: &str = "storesync";
const NEW_KEY: &str = "new_key";

pub(super) struct Key(hmac::Key);

impl Key {
    /// The key in the file; `None` where there is none, because somebody took it out.
    pub fn of(connection: &Connection) -> rusqlite::Result<Option<Self>> {
        let key: Option<Vec<u8>> = connection
            .prepare_cached("select key from audit_key limit 1")?
            .query_row([], |row| row.get(0))
            .optional()?;
        Ok(key.map(|key| Self(hmac::Key::new(hmac::HMAC_SHA256, &key))))
    }

    /// The hash by which entries about a person are found, and the person is not.
    pub fn hash(&self, person: &str) -> Vec<u8> {
        let tag = hmac::sign(&self.0, person.trim().to_lowercase().as_bytes());
        tag.as_ref().to_vec()
    }

    /// What it is told apart from others by.
    pub fn id(&self) -> Vec<u8> {
        hmac::sign(&self.0, ID_OF).as_ref()[..ID_BYTES].to_vec()
    }
}

/// The key in the file; another is made where there is none. That it is another, the next start tells.
pub(super) fn current(connection: &Connection) -> rusqlite::Result<Key> {
    if let Some(key) = Key::of(connection)? {
        return Ok(key);
    }
    connection.execute("insert into audit_key (key) values (randomblob(32))", [])?;
    Key::of(connection)?.ok_or(rusqlite::Error::QueryReturnedNoRows)
}

/// Which key was told of last: that of the last entry about a new one, else the first that there is.
fn told(connection: &Connection) -> rusqlite::Result<Option<Vec<u8>>> {
    let of = |rest: &str| {
        let sql = format!(
            "select person_key from audit indexed by audit_person_key where person_key is not null {rest} limit 1"
        );
        connection.query_row(&sql, [], |row| row.get(0)).optional()
    };
    match of("and deed = 'new_key' order by seq desc")? {
        Some(told) => Ok(Some(told)),
        None => of("order by seq"),
    }
}

/// Tells once that the key is another than the one that was told of.
pub(in crate::store::outbox) fn look(connection: &mut Connection, now: Millis) -> rusqlite::Result<()> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let key = current(&transaction)?;
    let other = told(&transaction)?.filter(|told| *told != key.id());
    if let Some(was) = &other {
        let line = Line::new(ACTOR, NEW_KEY).about("was", Some(hex(was)));
        append_with(&transaction, &line, Some(&key), now)?;
    }
    transaction.commit()?;
    if other.is_some() {
        tracing::warn!(
            "the key by which the audit hashes persons is not the one that it was: storesync audit list --person finds nobody in entries that were made with that, and storesync audit verify says where another begins"
        );
    }
    Ok(())
}
