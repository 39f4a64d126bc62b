//! Numbers of writes, by which the org tells an older change from a later one.
//!
//! A number is the time at which it is given, in milliseconds, or one more than the number before where that is higher. So
//! numbers grow for as long as the outbox is kept, whatever the clock does. An outbox of a backup goes on above all numbers
//! that were given after the backup, unless the clock is behind the last of them.

use rusqlite::{Connection, params};

use crate::model::clock::Millis;

/// Gives the next number.
pub(super) fn next(connection: &Connection, now: Millis) -> rusqlite::Result<i64> {
    connection
        .prepare_cached("update versions set last = max(last + 1, ?1) returning last")?
        .query_row([now], |row| row.get(0))
}

/// Numbers a write that a person sends again above what its lane has sent since, and what waits behind it above that.
pub(super) fn renew(connection: &Connection, sequence: i64, now: Millis) -> rusqlite::Result<()> {
    let first = next(connection, now)?;
    let numbered = connection
        .prepare_cached(
            "update writes set version = ?2 + place from (
                 select w.sequence as renewed, row_number() over (order by w.sequence) - 1 as place
                 from writes own join writes w on w.lane = own.lane
                 where own.sequence = ?1 and (w.sequence = ?1 or w.sequence > ?1 and w.is_open = 1)
             ) where sequence = renewed",
        )?
        .execute(params![sequence, first])?;
    let behind = i64::try_from(numbered).unwrap_or(i64::MAX).saturating_sub(1);
    connection
        .prepare_cached("update versions set last = last + ?1")?
        .execute([behind.max(0)])
        .map(drop)
}
