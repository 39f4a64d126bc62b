//! Writing down what the apply stage was given, so that it can be applied again.
//!
//! The cache remembers the number of the last batch that it holds. A batch that was written down and did not
//! reach the cache, because the process ended in between, is forgotten when the daemon starts: what it held comes
//! again. The events of such a batch stay, since they did arrive.

use bytes::Bytes;
use rusqlite::{Connection, params};
use serde::{Deserialize, Serialize};

use crate::model::clock::Millis;
use crate::store::journal::read::bound;
use crate::store::journal::{Append, Journal};

/// Events that follow each other in the journal: number of the first, and how many.
pub type Run = (i64, i64);

/// Whole rows on their way into the journal.
#[derive(Debug)]
pub struct Page {
    /// The place in its batch of the command that it belongs to.
    pub command: usize,
    pub object: String,
    pub kind: &'static str,
    pub first_id: String,
    pub last_id: String,
    /// From [`pack`].
    pub packed: Bytes,
}

/// A command of the apply stage: what it means is known to the stage alone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptCommand {
    pub kind: String,
    /// Of the body's form.
    pub version: i64,
    /// A JSON object.
    pub body: String,
}

/// Packs an answer of the org.
pub fn pack(bytes: &[u8]) -> Bytes {
    // Of its own size: what it is packed in has room for bytes that cannot be packed.
    Bytes::copy_from_slice(&lz4_flex::compress_prepend_size(bytes))
}

impl Append<'_> {
    /// Writes down a batch, after its events. `after` is the last batch that the cache holds; `rev` its newest revision.
    pub fn batch(
        &mut self,
        after: i64,
        rev: i64,
        commands: &[KeptCommand],
        pages: &[Page],
    ) -> rusqlite::Result<i64> {
        let mut insert = self.transaction.prepare_cached(
            "insert into batch (number, at, rev, last_event) values (\
             max(?1, (select coalesce(max(number), 0) from batch)) + 1, ?2, ?3, \
             (select coalesce(max(number), 0) from event))",
        )?;
        insert.execute(params![after, self.received_at, rev])?;
        let number = self.transaction.last_insert_rowid();
        for (place, command) in commands.iter().enumerate() {
            insert_command(&self.transaction, number, place, command)?;
        }
        for page in pages {
            self.page(number, page)?;
        }
        Ok(number)
    }

    fn page(&self, batch: i64, page: &Page) -> rusqlite::Result<()> {
        self.transaction
            .prepare_cached(
                "insert into page (batch, command, object, kind, taken_at, first_id, last_id, bytes) \
                 values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
            )?
            .execute(params![
                batch,
                bound(page.command),
                page.object,
                page.kind,
                self.received_at,
                page.first_id,
                page.last_id,
                bound(page.packed.len()),
            ])?;
        let number = self.transaction.last_insert_rowid();
        self.transaction
            .prepare_cached("insert into body (page, packed) values (?1, ?2)")?
            .execute(params![number, &page.packed[..]])?;
        Ok(())
    }
}

pub(super) fn insert_command(
    connection: &Connection,
    batch: i64,
    place: usize,
    command: &KeptCommand,
) -> rusqlite::Result<()> {
    let KeptCommand { kind, version, body } = command;
    connection
        .prepare_cached(
            "insert into command (batch, place, kind, version, body) values (?1, ?2, ?3, ?4, ?5)",
        )?
        .execute(params![batch, bound(place), kind, version, body])?;
    Ok(())
}

fn forget(connection: &Connection, side: &str, batch: i64) -> rusqlite::Result<()> {
    let pages = format!("select number from page where batch {side} ?1");
    connection.execute(&format!("delete from body where page in ({pages})"), [batch])?;
    connection.execute(&format!("delete from page where batch {side} ?1"), [batch])?;
    connection.execute(&format!("delete from command where batch {side} ?1"), [batch])?;
    connection.execute(&format!("delete from batch where number {side} ?1"), [batch])?;
    Ok(())
}

impl Journal {
    /// Forgets the batches that the cache does not hold.
    pub fn forget_after(&mut self, held: i64) -> rusqlite::Result<()> {
        let transaction = self.connection.transaction()?;
        forget(&transaction, ">", held)?;
        transaction.commit()
    }

    /// Writes down a batch of one command that has nothing beside it.
    pub fn write_down(
        &mut self,
        at: Millis,
        after: i64,
        rev: i64,
        command: KeptCommand,
    ) -> rusqlite::Result<i64> {
        let mut append = self.append(at)?;
        let number = append.batch(after, rev, &[command], &[])?;
        append.commit()?;
        Ok(number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::journal::JournalReader;

    fn page(object: &str, ids: [&str; 2]) -> Page {
        Page {
            command: 0,
            object: object.to_owned(),
            kind: "load",
            first_id: ids[0].to_owned(),
            last_id: ids[1].to_owned(),
            packed: pack(b"Id,Name"),
        }
    }

    #[test]
    fn what_the_cache_does_not_hold_is_forgotten_and_pages_are_found_by_their_ids() {
        let dir = tempfile::tempdir().unwrap();
        let mut journal = Journal::open(dir.path()).unwrap();
        for number in 1..=3 {
            let mut append = journal.append(number).unwrap();
            let pages = [page("Account", ["001A", "001F"])];
            assert_eq!(append.batch(0, 0, &[], &pages).unwrap(), number);
            append.commit().unwrap();
        }
        journal.forget_after(2).unwrap();
        let reader = JournalReader::open(dir.path()).unwrap();
        let found = reader.pages_with("Account", "001C").unwrap();
        assert_eq!(found.iter().map(|page| page.batch).collect::<Vec<_>>(), [1, 2]);
        assert_eq!(found[0].unpack().unwrap(), b"Id,Name");
        assert!(reader.pages_with("Account", "001G").unwrap().is_empty());
        assert!(reader.pages_with("Contact", "001C").unwrap().is_empty());
        // A cache that was made anew goes on after all that is here.
        let command = || KeptCommand {
            kind: "reload".to_owned(),
            version: 1,
            body: "{}".to_owned(),
        };
        assert_eq!(journal.write_down(9, 0, 0, command()).unwrap(), 3);
        assert_eq!(journal.write_down(9, 40, 0, command()).unwrap(), 41);
        assert_eq!(reader.batch(41).unwrap().unwrap().commands, [command()]);
    }
}
