//! Rows that cannot be read, and bodies that are not what was accepted: a disk that flips a bit does both.
//!
//! Promises that such a row is never sent, that it is set aside alone as what needs a person, and that nothing waits
//! for it. SQLite keeps no checksums of its own, so each body has one here, over the kind and the key too: a body
//! under another key would be another write.

use aws_lc_rs::digest::{Context, SHA256};
use rusqlite::types::ValueRef;
use rusqlite::{Connection, Row, params};

use crate::model::clock::Millis;
use crate::model::order::Problem;
use crate::model::state::WriteState;
use crate::model::write::{Kind, Write};
use crate::store::outbox::transitions::release;

/// The codes of what is set aside here.
pub(super) const ROW_UNREADABLE: &str = "ROW_UNREADABLE";
pub(super) const BODY_DAMAGED: &str = "BODY_DAMAGED";

/// Of a write's body.
pub(super) fn checksum(write: &Write, body: &str) -> i64 {
    sum(write.kind(), write.external_id(), body)
}

/// The first eight bytes of the SHA-256 over kind, key and body.
fn sum(kind: Kind, external_id: &str, body: &str) -> i64 {
    let mut context = Context::new(&SHA256);
    for part in [kind.name(), external_id, body].map(str::as_bytes) {
        context.update(part);
        context.update(&[0]);
    }
    let mut first = [0; 8];
    first.copy_from_slice(&context.finish().as_ref()[..8]);
    i64::from_be_bytes(first)
}

pub(super) fn unreadable(what: &str) -> Problem {
    Problem::new(
        ROW_UNREADABLE,
        format!(
            "the outbox holds {what} that storesync cannot read: check the disk of [state] dir, then discard it and have the storefront send it again under another key"
        ),
    )
}

fn damaged() -> Problem {
    Problem::new(
        BODY_DAMAGED,
        "what it holds is not what was accepted: check the disk of [state] dir, then discard it and have the storefront send it again under another key",
    )
}

/// A text that has to be what was written.
pub(super) fn exact<'a>(row: &'a Row<'_>, index: usize, what: &str) -> Result<&'a str, Problem> {
    row.get_ref(index)
        .ok()
        .and_then(|value| value.as_str().ok())
        .ok_or_else(|| unreadable(what))
}

/// The body in column `index`, where it is what the checksum in the next was made of.
pub(super) fn body(row: &Row<'_>, index: usize, kind: Kind, external_id: &str) -> Result<String, Problem> {
    let body = row.get::<_, String>(index).map_err(|_| damaged())?;
    let made_of: Option<i64> = row.get(index + 1).map_err(|_| damaged())?;
    if made_of.is_some_and(|made_of| made_of != sum(kind, external_id, &body)) {
        return Err(damaged());
    }
    Ok(body)
}

/// A text that is only shown: what cannot be read of it is replaced.
pub(super) fn shown(row: &Row<'_>, index: usize) -> rusqlite::Result<Option<String>> {
    Ok(match row.get_ref(index)? {
        ValueRef::Null => None,
        ValueRef::Text(bytes) | ValueRef::Blob(bytes) => Some(String::from_utf8_lossy(bytes).into_owned()),
        ValueRef::Integer(number) => Some(number.to_string()),
        ValueRef::Real(number) => Some(number.to_string()),
    })
}

/// The state as it is stored. One that is not known needs a person.
pub(super) fn state(row: &Row<'_>, index: usize) -> rusqlite::Result<WriteState> {
    let name = shown(row, index)?.unwrap_or_default();
    Ok(WriteState::from_name(&name).unwrap_or(WriteState::NeedsAttention))
}

/// The kind as it is stored; `None` where it is not known.
pub(super) fn kind(row: &Row<'_>, index: usize) -> rusqlite::Result<Option<Kind>> {
    Ok(Kind::from_name(&shown(row, index)?.unwrap_or_default()))
}

/// Sets a write aside. Where the indexes do not fit the row, they are made again first.
pub(super) fn set_aside(
    connection: &Connection,
    sequence: i64,
    problem: &Problem,
    now: Millis,
) -> rusqlite::Result<()> {
    tracing::error!(sequence, code = %problem.code, "write #{sequence} is set aside: {}", problem.message);
    if mark(connection, sequence, problem, now).is_err() {
        connection.execute_batch("reindex writes")?;
        mark(connection, sequence, problem, now)?;
    }
    free_lanes(connection)
}

fn mark(connection: &Connection, sequence: i64, problem: &Problem, now: Millis) -> rusqlite::Result<()> {
    connection
        .prepare_cached(
            "update writes set state = 'needs_attention', behind = 0, due_at = null, read_back = 1, error_code = ?2,
                 error_message = ?3, updated_at = ?4
             where sequence = ?1",
        )?
        .execute(params![sequence, problem.code, problem.message, now])
        .map(drop)
}

/// Makes the foremost write due of each lane in which none is: a lane's name may be what was damaged.
fn free_lanes(connection: &Connection) -> rusqlite::Result<()> {
    let lanes: Vec<String> = connection
        .prepare_cached(
            "select lane from writes where is_open = 1 group by lane having min(behind) = 1 and typeof(lane) = 'text'",
        )?
        .query_map([], |row| shown(row, 0))?
        .filter_map(rusqlite::Result::transpose)
        .collect::<rusqlite::Result<_>>()?;
    lanes.iter().try_for_each(|lane| release(connection, lane))
}

/// Sets aside what has a kind or a state that is not known, and frees what waited for it.
pub(super) fn look(connection: &Connection, now: Millis) -> rusqlite::Result<()> {
    let kinds = Kind::ALL.map(|kind| format!("'{}'", kind.name())).join(", ");
    let states = WriteState::ALL
        .map(|state| format!("'{}'", state.name()))
        .join(", ");
    let found: Vec<(i64, bool)> = connection
        .prepare(&format!(
            "select sequence, kind in ({kinds}) from writes not indexed
             where kind not in ({kinds}) and state not in ('confirmed', 'needs_attention', 'discarded')
                 or state not in ({states})"
        ))?
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect::<rusqlite::Result<_>>()?;
    for (sequence, has_kind) in found {
        let what = if has_kind { "a state" } else { "a kind" };
        set_aside(connection, sequence, &unreadable(what), now)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
