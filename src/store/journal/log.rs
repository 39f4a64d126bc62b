//! Writing down what went through the door, so that it can go through again.
//!
//! The cache remembers the number of the last batch that it holds. A batch that was written down and did not
//! reach the cache, because the process ended in between, is forgotten when the daemon starts: what it held comes
//! again. The events of such a batch stay, since they did arrive.

use bytes::Bytes;
use rusqlite::{Connection, params};

use crate::model::clock::Millis;
use crate::store::journal::{Append, Journal};

/// Events that follow each other in the journal: number of the first, and how many.
pub type Run = (i64, i64);

/// Whole rows on their way into the journal.
#[derive(Debug)]
pub struct Page {
    /// Which of the batch's works it belongs to.
    pub work: usize,
    pub object: String,
    pub kind: &'static str,
    pub first_id: String,
    pub last_id: String,
    /// From [`pack`].
    pub packed: Bytes,
}

/// Packs an answer of the org.
pub fn pack(bytes: &[u8]) -> Bytes {
    // Of its own size: what it is packed in has room for bytes that cannot be packed.
    Bytes::copy_from_slice(&lz4_flex::compress_prepend_size(bytes))
}

impl Append<'_> {
    /// Writes down a batch. `after` is the last batch that the cache holds; `rev` its newest revision.
    pub fn batch(&mut self, after: i64, rev: i64, works: &str, pages: &[Page]) -> rusqlite::Result<i64> {
        let mut insert = self.transaction.prepare_cached(
            "insert into batch (number, at, rev, last_event, works) values (\
             max(?1, (select coalesce(max(number), 0) from batch)) + 1, ?2, ?3, \
             (select coalesce(max(number), 0) from event), ?4)",
        )?;
        insert.execute(params![after, self.received_at, rev, works])?;
        let number = self.transaction.last_insert_rowid();
        for page in pages {
            self.transaction
                .prepare_cached(
                    "insert into page (batch, work, object, kind, taken_at, first_id, last_id, bytes) \
                     values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
                )?
                .execute(params![
                    number,
                    i64::try_from(page.work).unwrap_or(i64::MAX),
                    page.object,
                    page.kind,
                    self.received_at,
                    page.first_id,
                    page.last_id,
                    i64::try_from(page.packed.len()).unwrap_or(i64::MAX),
                ])?;
            let page_number = self.transaction.last_insert_rowid();
            self.transaction
                .prepare_cached("insert into body (page, packed) values (?1, ?2)")?
                .execute(params![page_number, &page.packed[..]])?;
        }
        Ok(number)
    }
}

fn forget(connection: &Connection, side: &str, batch: i64) -> rusqlite::Result<()> {
    let pages = format!("select number from page where batch {side} ?1");
    connection.execute(&format!("delete from body where page in ({pages})"), [batch])?;
    connection.execute(&format!("delete from page where batch {side} ?1"), [batch])?;
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

    /// Writes down a batch that is no work of the stages, such as what a start found.
    pub fn write_down(&mut self, at: Millis, after: i64, rev: i64, works: &str) -> rusqlite::Result<i64> {
        let mut append = self.append(at)?;
        let number = append.batch(after, rev, works, &[])?;
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
            work: 0,
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
            assert_eq!(append.batch(0, 0, "[]", &pages).unwrap(), number);
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
        assert_eq!(journal.write_down(9, 0, 0, "[]").unwrap(), 3);
        assert_eq!(journal.write_down(9, 40, 0, "[]").unwrap(), 41);
    }
}
