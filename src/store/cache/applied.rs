//! Which events have been applied, so that an event delivered again changes nothing.
//!
//! The org's bus may send an event twice under different replay ids, and a new subscription starts a little
//! before where the last one ended. Keys are hashes of what identifies an event, 16 bytes each; the newest
//! [`KEYS_MAX`] are held in memory and, one row per transaction, in the file. An event older than those would
//! be applied again: the guards on each row make that harmless in nearly every case.

use std::collections::{HashSet, VecDeque};
use std::hash::{BuildHasherDefault, Hasher};

use rusqlite::{Connection, params};

/// Keys kept.
pub const KEYS_MAX: usize = 262_144;

const KEY_BYTES: usize = 16;

/// The keys in memory, and those not yet in the file.
#[derive(Debug, Default)]
pub struct Applied {
    keys: HashSet<u128, BuildHasherDefault<Uniform>>,
    order: VecDeque<u128>,
    /// Rows of the file, oldest first, with the number of keys in each.
    batches: VecDeque<(i64, usize)>,
    stored: usize,
    unsaved: Vec<u8>,
}

/// Takes a key, which is already a hash, for its hash.
#[derive(Debug, Default)]
pub struct Uniform(u64);

impl Hasher for Uniform {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    #[allow(clippy::cast_possible_truncation)]
    fn write_u128(&mut self, key: u128) {
        self.0 = key as u64;
    }
}

impl Applied {
    pub(super) fn load(connection: &Connection) -> rusqlite::Result<Self> {
        let mut applied = Self::default();
        let kept: i64 = connection.query_row(
            "select coalesce(sum(length(keys)), 0) from _applied_event",
            [],
            |row| row.get(0),
        )?;
        // The oldest row may hold keys that were forgotten, and that may have come again since.
        let kept = usize::try_from(kept).unwrap_or(usize::MAX) / KEY_BYTES;
        let mut forgotten = kept.saturating_sub(KEYS_MAX);
        let mut statement = connection.prepare("select batch, keys from _applied_event order by batch")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let (keys, _) = row.get_ref(1)?.as_blob()?.as_chunks::<KEY_BYTES>();
            let skipped = forgotten.min(keys.len());
            forgotten -= skipped;
            for key in &keys[skipped..] {
                applied.remember(u128::from_le_bytes(*key));
            }
            applied.batches.push_back((row.get(0)?, keys.len()));
            applied.stored += keys.len();
        }
        Ok(applied)
    }

    /// Whether the key is new.
    pub(super) fn insert(&mut self, key: u128) -> bool {
        let new = self.remember(key);
        if new {
            self.unsaved.extend_from_slice(&key.to_le_bytes());
        }
        new
    }

    /// Forgets all keys, in memory and in the file.
    pub(super) fn clear(&mut self, connection: &Connection) -> rusqlite::Result<()> {
        connection.execute("delete from _applied_event", [])?;
        *self = Self::default();
        Ok(())
    }

    fn remember(&mut self, key: u128) -> bool {
        if self.keys.contains(&key) {
            return false;
        }
        // Room is made first, so that the set never grows past the bound and doubles.
        if self.order.len() >= KEYS_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.keys.remove(&oldest);
        }
        self.order.push_back(key);
        self.keys.insert(key)
    }

    pub(super) fn flush(&mut self, connection: &Connection) -> rusqlite::Result<()> {
        if self.unsaved.is_empty() {
            return Ok(());
        }
        let batch = self.batches.back().map_or(1, |(batch, _)| batch + 1);
        connection
            .prepare_cached("insert into _applied_event values (?1, ?2)")?
            .execute(params![batch, self.unsaved])?;
        let count = self.unsaved.len() / KEY_BYTES;
        self.batches.push_back((batch, count));
        self.stored += count;
        self.unsaved.clear();
        while let Some(&(oldest, count)) = self.batches.front()
            && self.stored - count >= KEYS_MAX
        {
            connection
                .prepare_cached("delete from _applied_event where batch = ?1")?
                .execute([oldest])?;
            self.batches.pop_front();
            self.stored -= count;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_the_newest_keys_in_memory_and_on_disk() {
        let connection = Connection::open_in_memory().unwrap();
        connection
            .execute_batch("create table _applied_event (batch integer primary key, keys blob)")
            .unwrap();
        let mut applied = Applied::default();
        let total = KEYS_MAX + 3_000;
        for key in 0..total {
            assert!(applied.insert(key as u128));
            if key % 1_000 == 999 {
                applied.flush(&connection).unwrap();
            }
        }
        applied.flush(&connection).unwrap();
        assert!(!applied.insert(total as u128 - 1));
        assert_eq!(applied.keys.len(), KEYS_MAX);
        let stored: i64 = connection
            .query_row("select sum(length(keys)) / 16 from _applied_event", [], |row| {
                row.get(0)
            })
            .unwrap();
        assert!(
            (KEYS_MAX..KEYS_MAX + 1_000).contains(&(stored as usize)),
            "{stored}"
        );
        let mut loaded = Applied::load(&connection).unwrap();
        assert!(!loaded.insert(total as u128 - 1));
        assert!(loaded.insert(5));
        // A key that was forgotten, is still in the file's oldest row, and comes again.
        for key in total..total + 500 {
            assert!(applied.insert(key as u128));
        }
        let forgotten = (total - KEYS_MAX) as u128;
        assert!(applied.insert(forgotten));
        applied.flush(&connection).unwrap();
        let loaded = Applied::load(&connection).unwrap();
        assert!(loaded.order == applied.order, "it decides as the one before it");
    }
}
