//! Overwriting what SQLite leaves beside the rows of its pages.
//!
//! `secure_delete` overwrites a row where it is deleted. But where rows move from one page to another, since a page grew
//! too full, copies stay in the part of the page that is not in use, and nothing overwrites them when their row goes: of some
//! hundred rows that are deleted one can still be read so. Here the unused part of each page of a tree is written over, as
//! the format of the file has it: between the pointers to the cells and the cells, and in the free blocks among the cells.
//!
//! A page is read and written as SQLite itself does, within a transaction (`sqlite_dbpage`, which `.cargo/config.toml` has
//! SQLite built with; without it nothing is done). Where a page is not what it should be it is left as it is.

use std::ops::Range;

use rusqlite::{Connection, OptionalExtension, params};

/// Pages that are looked at in one step.
pub const PAGES_PER_STEP: u32 = 256;

/// In a larger file the first byte of a page that continues a value may be that of a page of a tree.
const PAGES_MAX: u32 = 0x0200_0000;

const FILE_HEADER_BYTES: usize = 100;

/// How many pages there are to be looked at.
pub fn pages(connection: &Connection) -> rusqlite::Result<u32> {
    let is_built_in = "select 1 from pragma_module_list where name = 'sqlite_dbpage'";
    if !connection.prepare_cached(is_built_in)?.exists([])? {
        tracing::debug!(
            "SQLite was built without sqlite_dbpage: what it leaves beside rows is not overwritten"
        );
        return Ok(0);
    }
    // Such a file has pages that are lists of pages, and begin like those of a tree.
    let auto_vacuum: u32 = connection.pragma_query_value(None, "auto_vacuum", |row| row.get(0))?;
    let pages: u32 = connection.pragma_query_value(None, "page_count", |row| row.get(0))?;
    Ok(if auto_vacuum == 0 && pages < PAGES_MAX {
        pages
    } else {
        0
    })
}

/// Those of the pages of a step, which begins with `first`, that hold something beside their rows.
pub fn unclean(connection: &Connection, first: u32) -> rusqlite::Result<Vec<u32>> {
    let mut found = Vec::new();
    for page in first..first.saturating_add(PAGES_PER_STEP) {
        let Some(bytes) = read(connection, page)? else {
            break;
        };
        found.extend(cleaned(&bytes, page).map(|_| page));
    }
    Ok(found)
}

/// Overwrites what pages hold beside their rows. Within a transaction that may write.
pub fn clean(connection: &Connection, pages: &[u32]) -> rusqlite::Result<()> {
    for page in pages {
        let bytes = read(connection, *page)?;
        if let Some(bytes) = bytes.and_then(|bytes| cleaned(&bytes, *page)) {
            connection
                .prepare_cached("update sqlite_dbpage set data = ?2 where pgno = ?1")?
                .execute(params![page, bytes])?;
        }
    }
    Ok(())
}

fn read(connection: &Connection, page: u32) -> rusqlite::Result<Option<Vec<u8>>> {
    connection
        .prepare_cached("select data from sqlite_dbpage where pgno = ?1")?
        .query_row([page], |row| row.get(0))
        .optional()
}

/// A page with nothing beside its rows; `None` where that is how it is.
fn cleaned(bytes: &[u8], page: u32) -> Option<Vec<u8>> {
    let unused = unused(bytes, if page == 1 { FILE_HEADER_BYTES } else { 0 })?;
    let is_clean = |range: &Range<usize>| bytes[range.clone()].iter().all(|byte| *byte == 0);
    if unused.iter().all(is_clean) {
        return None;
    }
    let mut cleaned = bytes.to_vec();
    for range in unused {
        cleaned[range].fill(0);
    }
    Some(cleaned)
}

/// What is not in use of a page of a tree; `None` of any other, and of one that is not as it should be.
fn unused(bytes: &[u8], start: usize) -> Option<Vec<Range<usize>>> {
    let header_bytes = match bytes.get(start)? {
        2 | 5 => 12,
        10 | 13 => 8,
        _ => return None,
    };
    let number = |at: usize| {
        let two = bytes.get(at..)?.first_chunk::<2>()?;
        Some(usize::from(u16::from_be_bytes(*two)))
    };
    let cells = number(start + 3)?;
    let content = match number(start + 5)? {
        0 => 65_536,
        content => content,
    };
    let pointers = start + header_bytes..start + header_bytes + cells * 2;
    let is_sound = pointers.end <= content && content <= bytes.len();
    let mut at = pointers.clone().step_by(2);
    if !is_sound || !at.all(|at| number(at).is_some_and(|cell| (content..bytes.len()).contains(&cell))) {
        return None;
    }
    let between = pointers.end..content;
    let mut unused = vec![between];
    let mut block = number(start + 1)?;
    let mut last = content;
    while block > 0 {
        // Each has where the next is, and its own length, in its first four bytes; they are in order.
        let (next, length) = (number(block)?, number(block + 2)?);
        let end = block + length;
        if block < last || length < 4 || end > bytes.len() {
            return None;
        }
        unused.push(block + 4..end);
        (block, last) = (next, end);
    }
    Some(unused)
}

#[cfg(test)]
mod tests {
    use rusqlite::TransactionBehavior;

    use super::*;

    const MARK: &str = "CANARY";

    fn count(path: &std::path::Path) -> usize {
        let bytes = std::fs::read(path).unwrap();
        bytes
            .windows(MARK.len())
            .filter(|part| *part == MARK.as_bytes())
            .count()
    }

    /// Rows that come in no order, grow, and leave: what SQLite leaves of those that had the mark.
    fn lived(path: &std::path::Path, seed: u64) -> Connection {
        let mut rng = fastrand::Rng::with_seed(seed);
        let connection = Connection::open(path).unwrap();
        connection
            .execute_batch(
                "pragma page_size = 2048; pragma journal_mode = wal; pragma synchronous = off; pragma secure_delete = on;
                create table t (id text primary key, a text); begin",
            )
            .unwrap();
        let mut ids: Vec<u64> = (0..2_000).collect();
        rng.shuffle(&mut ids);
        for (at, id) in ids.iter().enumerate() {
            let mark = if at % 20 == 7 { MARK } else { "" };
            let text = format!("row {id} {mark}{}", "x".repeat(rng.usize(..300)));
            let id = format!("{id:018}");
            connection
                .execute("insert into t values (?1, ?2)", [id, text])
                .unwrap();
        }
        for id in &ids[..1_000] {
            let more = "y".repeat(rng.usize(..200));
            connection
                .execute(
                    "update t set a = a || ?2 where id = ?1",
                    [format!("{id:018}"), more],
                )
                .unwrap();
        }
        connection
            .execute_batch(&format!(
                "commit; delete from t where a like '%{MARK}%'; pragma wal_checkpoint(truncate)"
            ))
            .unwrap();
        connection
    }

    #[test]
    fn nothing_is_left_beside_rows_and_the_rows_are_as_they_were() {
        let mut left = 0;
        for seed in 0..12 {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("a.db");
            let mut connection = lived(&path, seed);
            left += count(&path);
            let rows = |connection: &Connection| {
                let all = "select count(*), sum(length(a)), group_concat(id || a) from t";
                let whole: String = connection
                    .query_row("pragma integrity_check", [], |row| row.get(0))
                    .unwrap();
                assert_eq!(whole, "ok");
                connection
                    .query_row(all, [], |row| {
                        Ok((
                            row.get::<_, i64>(0)?,
                            row.get::<_, i64>(1)?,
                            row.get::<_, String>(2)?,
                        ))
                    })
                    .unwrap()
            };
            let before = rows(&connection);
            let all = pages(&connection).unwrap();
            assert!(all > 100, "sqlite_dbpage is built in");
            for first in (1..=all).step_by(PAGES_PER_STEP as usize) {
                let unclean = unclean(&connection, first).unwrap();
                let transaction = connection
                    .transaction_with_behavior(TransactionBehavior::Immediate)
                    .unwrap();
                clean(&transaction, &unclean).unwrap();
                transaction.commit().unwrap();
                assert_eq!(super::unclean(&connection, first).unwrap(), Vec::<u32>::new());
            }
            connection
                .execute_batch("pragma wal_checkpoint(truncate)")
                .unwrap();
            assert_eq!(count(&path), 0);
            assert_eq!(rows(&connection), before);
            // It goes on with pages as they are now.
            connection
                .execute_batch("insert into t select id || 'b', a from t; delete from t where rowid % 3 = 0")
                .unwrap();
            connection
                .execute_batch("delete from t where id like '%b'")
                .unwrap();
            rows(&connection);
        }
        assert!(left > 0, "SQLite leaves nothing any more: all this can go");
    }
}
