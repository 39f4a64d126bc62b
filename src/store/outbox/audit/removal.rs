//! Takes entries out of the audit that are older than they are to be kept.
//!
//! They go from the beginning of the chain, and no further than somebody outside the file may know its head. The number and
//! hash of the last that went stay, which the first that is left is chained to, and an entry tells of it. Entries that are
//! not as they were written stay, with all after them: what shows that somebody changed them is not removed.

use std::sync::atomic::Ordering;

use rusqlite::{Connection, OptionalExtension as _, params};

use crate::model::clock::{Millis, format_datetime};
use crate::store::outbox::audit::key::ACTOR;
use crate::store::outbox::audit::verify::Walk;
use crate::store::outbox::audit::{ENTRIES, Entry, Head, Line, append, head};
use crate::store::outbox::{Outbox, OutboxError};

/// Most entries of one transaction.
const BATCH_ROWS: usize = 1_000;
const DEED: &str = "remove";
/// What the entry of a removal has of the last that went.
const LAST: &str = "last";

/// The last entry that was removed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Removed {
    pub head: Head,
    /// When it was made.
    pub at: Millis,
}

/// What a step came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// There is nothing old.
    Nothing,
    Done {
        count: usize,
        last: Head,
        /// There may be more.
        is_full: bool,
    },
    /// This entry is not as it was written: it stays, and all after it.
    Broken { seq: i64, why: &'static str },
}

/// The last that was removed; `None` where none was.
pub(super) fn removed(connection: &Connection) -> rusqlite::Result<Option<Removed>> {
    connection
        .prepare_cached("select seq, hash, at from audit_removed order by seq desc limit 1")?
        .query_row([], |row| {
            let (seq, hash) = (row.get(0)?, row.get(1)?);
            let at = row.get(2)?;
            Ok(Removed {
                head: Head { seq, hash },
                at,
            })
        })
        .optional()
}

/// Whether an entry is that of a removal which ended with this one.
pub(super) fn tells_of(entry: &Entry, removed: &Removed) -> bool {
    entry.deed == DEED
        && entry.about.get(LAST).and_then(|last| last.as_str()) == Some(&removed.head.to_string())
}

/// Removes some entries from before a time, up to one that is known elsewhere, and never the newest.
fn remove(connection: &Connection, before: Millis, known: i64, now: Millis) -> rusqlite::Result<Step> {
    let newest = head(connection)?.seq;
    let gone = removed(connection)?;
    let mut walk = Walk::begin(gone.as_ref());
    let (mut last, mut count) = (None, 0);
    let mut statement = connection.prepare_cached(&format!(
        "{ENTRIES} where seq > ?1 and seq <= ?2 and seq < ?3 order by seq limit ?4"
    ))?;
    let most = i64::try_from(BATCH_ROWS).unwrap_or(i64::MAX);
    let mut rows = statement.query(params![walk.head.seq, known, newest, most])?;
    while let Some(row) = rows.next()? {
        let seq = walk.head.seq + 1;
        match walk.step(row)? {
            Ok(entry) if entry.at >= before => break,
            Ok(entry) => (last, count) = (Some((walk.head.clone(), entry.at)), count + 1),
            Err(why) if last.is_none() => return Ok(Step::Broken { seq, why }),
            Err(_) => break,
        }
    }
    drop(rows);
    let Some((last, at)) = last else {
        return Ok(Step::Nothing);
    };
    for sql in [
        "delete from audit_details where seq <= ?1",
        "delete from audit_names where seq <= ?1",
        "delete from audit where seq <= ?1",
    ] {
        connection.prepare_cached(sql)?.execute([last.seq])?;
    }
    connection
        .prepare_cached("delete from audit_removed")?
        .execute([])?;
    connection
        .prepare_cached("insert into audit_removed (seq, at, hash) values (?1, ?2, ?3)")?
        .execute(params![last.seq, at, last.hash])?;
    let line = Line::new(ACTOR, DEED)
        .about("count", Some(count as u64))
        .about("before", Some(format_datetime(before)))
        .about(LAST, Some(last.to_string()));
    append(connection, &line, now)?;
    Ok(Step::Done {
        count,
        last,
        is_full: count == BATCH_ROWS,
    })
}

impl Outbox {
    /// Removes some entries of the audit from before a time, none after the head `known` that was told to somebody.
    pub async fn shorten_audit(&self, before: Millis, known: i64, now: Millis) -> Result<Step, OutboxError> {
        let step = self.submit(move |connection| remove(connection, before, known, now));
        let step = step.await?;
        if matches!(step, Step::Done { is_full: false, .. }) {
            self.log_to_empty.store(true, Ordering::Release);
        }
        Ok(step)
    }
}
