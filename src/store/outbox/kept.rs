//! What is kept of a write once it is finished: confirmed, or given up.
//!
//! The key, the fingerprint and the outcome stay for ever, so that a storefront that posts it again gets the same
//! answer. What it held of a person (its body, requests and answers, the org's words, the values of edits) is dropped
//! once it is old or the file is larger than it may be ([`Outbox::trim`]), and the names of the person with it once
//! that person is gone from the org ([`Outbox::erase`]). A write that is not finished then is erased as soon as it is.
//!
//! What is dropped is overwritten in the file (`secure_delete`), and the write-ahead log is emptied after it.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;

use rusqlite::{Connection, params};

use crate::model::clock::Millis;
use crate::model::id;
use crate::model::write::{Kind, Write};
use crate::store::outbox::audit::names::{self, Names};
use crate::store::outbox::audit::of_writes;
use crate::store::outbox::damage::{self, shown};
use crate::store::outbox::open_orders::OF_CUSTOMER;
use crate::store::outbox::{Outbox, OutboxError, survivors};
use crate::store::scrub;

/// Most writes that one transaction empties.
const BATCH_ROWS: usize = 200;

/// In the place of the org's words.
const NOT_KEPT: &str = "not kept any more";

/// Records of persons, by the first characters of their ids, which are the same in every org.
pub const PERSONS: [(&str, &str); 3] = [("001", "Account"), ("003", "Contact"), ("00Q", "Lead")];

/// The object of a person's record; `None` for records of anything else, and for what is no id.
pub fn person_object(id: &str) -> Option<&'static str> {
    let known = PERSONS.iter().find(|(own, _)| id::prefix(id) == Some(*own));
    known.map(|(_, object)| *object)
}

/// How much is kept of finished writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Those that were finished before this time are emptied.
    pub finished_before: Millis,
    /// The oldest are emptied while more of the file is in use.
    pub bytes_max: u64,
}

impl Outbox {
    /// Empties finished writes that are too old or too many; returns how many were.
    pub async fn trim(&self, bounds: Bounds, now: Millis) -> Result<usize, OutboxError> {
        let mut emptied = 0;
        loop {
            let batch = self
                .submit(move |connection| trim(connection, bounds, now))
                .await?;
            emptied += batch;
            if batch < BATCH_ROWS {
                break;
            }
        }
        if emptied > 0 {
            self.empty_log().await?;
        }
        Ok(emptied)
    }

    /// Erases persons: everything that writes hold of them, by the ids of their records or by their keys. Returns how
    /// many writes were erased or, where they are not finished, will be.
    pub async fn erase(
        &self,
        record_ids: Vec<String>,
        keys: Vec<String>,
        now: Millis,
    ) -> Result<usize, OutboxError> {
        let erased = self
            .submit(move |connection| {
                let found = writes_of(connection, &record_ids, &keys)?;
                let mut names = Names::default();
                for sequence in &found {
                    names.extend(named_in(connection, *sequence)?);
                    erase(connection, *sequence, now)?;
                }
                record_ids
                    .iter()
                    .chain(&keys)
                    .for_each(|token| names.add_token(token));
                let named = names::erase(connection, &names)?;
                for id in &record_ids {
                    survivors::forget(connection, id)?;
                    let mut gone = connection.prepare_cached(NOT_OF_RECORD)?;
                    gone.execute([id])?;
                }
                Ok((found.len(), named))
            })
            .await?;
        if erased != (0, 0) {
            self.empty_log().await?;
        }
        Ok(erased.0)
    }

    /// Erases what single writes hold; returns how many.
    pub async fn erase_writes(&self, sequences: Vec<i64>, now: Millis) -> Result<usize, OutboxError> {
        let erased = sequences.len();
        self.submit(move |connection| {
            let mut sequences = sequences.iter();
            sequences.try_for_each(|sequence| erase(connection, *sequence, now))
        })
        .await?;
        if erased > 0 {
            self.empty_log().await?;
        }
        Ok(erased)
    }

    /// Erases what is held of records that are no persons' and belong to no order; returns how many writes that were.
    pub async fn erase_records(&self, record_ids: Vec<String>, now: Millis) -> Result<usize, OutboxError> {
        let erased = self
            .submit(move |connection| {
                let mut of_record = connection.prepare_cached(
                    "select sequence from writes indexed by writes_record
                     where salesforce_id = ?1 and priority = 2 and salesforce_id is not null",
                )?;
                let mut erased = 0;
                for id in &record_ids {
                    let sequences = of_record.query_map([id], |row| row.get(0))?;
                    for sequence in sequences.collect::<rusqlite::Result<Vec<i64>>>()? {
                        erase(connection, sequence, now)?;
                        erased += 1;
                    }
                }
                Ok(erased)
            })
            .await?;
        if erased > 0 {
            self.empty_log().await?;
        }
        Ok(erased)
    }

    /// Confirmed writes of a kind that still hold what was sent, with the ids of their records: the next few.
    pub fn held_after(
        &self,
        kind: Kind,
        sequence: i64,
        most: u32,
    ) -> Result<Vec<(i64, String)>, OutboxError> {
        self.read(|connection| {
            connection
                .prepare_cached(
                    "select sequence, salesforce_id from writes indexed by writes_state
                     where state = 'confirmed' and kind = ?1 and sequence > ?2 and emptied_at is null
                         and salesforce_id is not null
                     order by sequence limit ?3",
                )?
                .query_map(params![kind.name(), sequence, most], |row| {
                    Ok((row.get(0)?, row.get(1)?))
                })?
                .collect()
        })
    }

    /// Notes which persons writes are about.
    pub async fn note_persons(&self, persons: Vec<(i64, Vec<String>)>) -> Result<(), OutboxError> {
        self.submit(move |connection| {
            persons
                .iter()
                .try_for_each(|(sequence, ids)| note_persons(connection, *sequence, ids))
        })
        .await
    }

    /// The next few persons that writes are about, in the order of their ids.
    pub fn persons_after(&self, record_id: &str, most: u32) -> Result<Vec<String>, OutboxError> {
        self.read(|connection| {
            connection
                .prepare_cached(
                    "select distinct record_id from persons where record_id > ?1 order by record_id limit ?2",
                )?
                .query_map(params![record_id, most], |row| row.get(0))?
                .collect()
        })
    }

    /// Has overwritten what the file still holds beside its rows, and the write-ahead log emptied, which has pages as they
    /// were.
    async fn empty_log(&self) -> Result<(), OutboxError> {
        let pages = self.read(scrub::pages)?;
        for first in (1..=pages).step_by(scrub::PAGES_PER_STEP as usize) {
            // It may take a while, in which others have their turn.
            tokio::task::yield_now().await;
            let unclean = self.read(|connection| scrub::unclean(connection, first))?;
            if !unclean.is_empty() {
                self.submit(move |connection| scrub::clean(connection, &unclean))
                    .await?;
            }
        }
        self.log_to_empty.store(true, Ordering::Release);
        self.submit(|_| Ok(())).await
    }
}

pub(super) fn note_persons(connection: &Connection, sequence: i64, ids: &[String]) -> rusqlite::Result<()> {
    let mut insert = connection
        .prepare_cached("insert or ignore into persons (record_id, write_sequence) values (?1, ?2)")?;
    ids.iter()
        .filter(|id| person_object(id).is_some())
        .try_for_each(|id| insert.execute(params![id, sequence]).map(drop))
}

/// One batch: first those whose person is gone, then the old ones, then the oldest while the file is too large.
fn trim(connection: &Connection, bounds: Bounds, now: Millis) -> rusqlite::Result<usize> {
    let forgotten = sequences(
        connection,
        "select sequence from writes indexed by writes_forget
         where forget = 1 and state in ('confirmed', 'discarded') limit ?1",
    )?;
    for sequence in &forgotten {
        erase(connection, *sequence, now)?;
    }
    let oldest = sequences(
        connection,
        "select sequence from writes indexed by writes_kept
         where emptied_at is null and state in ('confirmed', 'discarded') order by updated_at limit ?1",
    )?;
    let mut emptied = forgotten.len();
    for sequence in oldest.into_iter().take(BATCH_ROWS - emptied) {
        if !is_old(connection, sequence, bounds.finished_before)?
            && bytes_used(connection)? <= bounds.bytes_max
        {
            break;
        }
        empty(connection, sequence, now)?;
        emptied += 1;
    }
    Ok(emptied)
}

fn sequences(connection: &Connection, sql: &str) -> rusqlite::Result<Vec<i64>> {
    let most = i64::try_from(BATCH_ROWS).unwrap_or(i64::MAX);
    connection
        .prepare_cached(sql)?
        .query_map([most], |row| row.get(0))?
        .collect()
}

fn is_old(connection: &Connection, sequence: i64, before: Millis) -> rusqlite::Result<bool> {
    connection
        .prepare_cached("select 1 from writes where sequence = ?1 and updated_at < ?2")?
        .exists(params![sequence, before])
}

/// Of the file, without the pages that are free to be used again.
fn bytes_used(connection: &Connection) -> rusqlite::Result<u64> {
    let pragma = |name| connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
    let pages = pragma("page_count")? - pragma("freelist_count")?;
    Ok((pages * pragma("page_size")?).unsigned_abs())
}

/// The writes that go with a record: those that name it, but for an account's that name a contact too. Who is a contact is
/// gone when the contact is, whatever became of an account.
const OF_RECORD: &str = "select write_sequence from persons p where record_id = ?1 and (
         record_id not glob '001*' or not exists (
             select 1 from persons c indexed by persons_write
             where c.write_sequence = p.write_sequence and c.record_id glob '003*'
         )
     )";

/// Takes an account that is gone off the writes that go with a contact.
const NOT_OF_RECORD: &str = "delete from persons where record_id = ?1 and record_id glob '001*' and exists (
         select 1 from persons c indexed by persons_write
         where c.write_sequence = persons.write_sequence and c.record_id glob '003*'
     )";

/// All writes about some persons: under their records' ids, under their keys, and what belongs to orders of theirs.
fn writes_of(
    connection: &Connection,
    record_ids: &[String],
    keys: &[String],
) -> rusqlite::Result<BTreeSet<i64>> {
    let mut found = BTreeSet::new();
    let mut by_record = connection.prepare_cached(OF_RECORD)?;
    for id in record_ids {
        let sequences = by_record.query_map([id], |row| row.get(0))?;
        found.extend(sequences.collect::<rusqlite::Result<Vec<i64>>>()?);
    }
    let mut keys: BTreeSet<String> = keys.iter().cloned().collect();
    let mut key_of = connection
        .prepare_cached("select customer from writes where sequence = ?1 and customer is not null")?;
    for sequence in &found {
        let own = key_of.query_map([sequence], |row| row.get(0))?;
        keys.extend(own.collect::<rusqlite::Result<Vec<String>>>()?);
    }
    let mut by_key = connection.prepare_cached(OF_CUSTOMER)?;
    for key in &keys {
        let sequences = by_key.query_map([key], |row| row.get(0))?;
        found.extend(sequences.collect::<rusqlite::Result<Vec<i64>>>()?);
    }
    let mut by_order = connection.prepare_cached("select sequence from writes where parent = ?1")?;
    let mut belonging = BTreeSet::new();
    for sequence in &found {
        let sequences = by_order.query_map([sequence], |row| row.get(0))?;
        belonging.extend(sequences.collect::<rusqlite::Result<Vec<i64>>>()?);
    }
    found.append(&mut belonging);
    Ok(found)
}

/// Drops what a finished write held; nothing of one that is not finished.
fn empty(connection: &Connection, sequence: i64, now: Millis) -> rusqlite::Result<bool> {
    let hit = connection
        .prepare_cached(
            "update writes set email = null, forget = 0, emptied_at = coalesce(emptied_at, ?2),
                 error_message = iif(error_code is null, null, ?3)
             where sequence = ?1 and state in ('confirmed', 'discarded')",
        )?
        .execute(params![sequence, now, NOT_KEPT])?;
    if hit == 0 {
        return Ok(false);
    }
    for sql in [
        "delete from bodies where write_sequence = ?1",
        "delete from exchanges where write_sequence = ?1",
    ] {
        connection.prepare_cached(sql)?.execute([sequence])?;
    }
    connection
        .prepare_cached(
            "update attempts set error_message = ?2 where write_sequence = ?1 and error_code is not null",
        )?
        .execute(params![sequence, NOT_KEPT])?;
    of_writes::empty(connection, sequence)?;
    Ok(true)
}

/// Empties a write and takes the person's names off it; of one that is not finished, notes that this is to be done.
fn erase(connection: &Connection, sequence: i64, now: Millis) -> rusqlite::Result<()> {
    let names = named_in(connection, sequence)?;
    if !empty(connection, sequence, now)? {
        return connection
            .prepare_cached("update writes set forget = 1 where sequence = ?1")?
            .execute([sequence])
            .map(drop);
    }
    // Lanes are named by the customer's key too.
    connection
        .prepare_cached("update writes set customer = null, lane = '#' || sequence where sequence = ?1")?
        .execute([sequence])?;
    of_writes::erase(connection, sequence)?;
    names::erase_of(connection, sequence, &names)?;
    connection
        .prepare_cached("delete from persons where write_sequence = ?1")?
        .execute([sequence])?;
    Ok(())
}

/// What a write still tells of who it is about.
fn named_in(connection: &Connection, sequence: i64) -> rusqlite::Result<Names> {
    let (kind, customer, email, body) = connection
        .prepare_cached(
            "select kind, customer, email, body from writes left join bodies on write_sequence = sequence
             where sequence = ?1",
        )?
        .query_row([sequence], |row| {
            let texts = (shown(row, 1)?, shown(row, 2)?, shown(row, 3)?);
            Ok((damage::kind(row, 0)?, texts.0, texts.1, texts.2))
        })?;
    let mut names = Names::default();
    customer
        .iter()
        .chain(&email)
        .for_each(|token| names.add_token(token));
    let write = kind
        .zip(body)
        .and_then(|(kind, body)| Write::from_json(kind, &body).ok());
    if let Some(customer) = write.as_ref().and_then(Write::customer) {
        names.add_customer(customer);
    }
    Ok(names)
}

#[cfg(test)]
mod tests;
