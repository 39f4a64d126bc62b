//! Beginning the journal anew after damage, with the events that can still be read.
//!
//! They are read from the newest back to the first that cannot be: what is older is cut. What the org answered is not
//! taken over, since a replay needs all of it from a start on. Records that wait to be erased are.

use std::path::Path;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags, TransactionBehavior, params_from_iter};

use crate::model::clock::Millis;
use crate::store::database::{self, OpenError};
use crate::store::journal::KIND;
use crate::store::journal::forget::set_mark;

/// Most events that are taken over: they are written in one transaction.
const EVENTS_MAX: usize = 100_000;

/// Tables without which an event cannot be read, and what is owed to persons.
const WHOLE: [&str; 3] = ["topic", "schema", "erasure"];

/// Begins the journal of a directory anew, with what can be read of the damaged one: how many events.
pub fn begin_anew(dir: &Path, damaged: &Path, now: Millis) -> Result<usize, OpenError> {
    let failed = |source| OpenError::of(&dir.join(KIND.file_name), source);
    let mut connection = database::open_writer(dir, KIND)?;
    let mut write = || {
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let taken = match open(damaged) {
            Ok(damaged) => take_over(&damaged, &transaction)?,
            // Nothing of it can be read.
            Err(_) => Vec::new(),
        };
        set_mark(&transaction, "pruned_batch", 1)?;
        set_mark(
            &transaction,
            "pruned_event",
            taken.last().map_or(0, |oldest| oldest - 1),
        )?;
        set_mark(&transaction, "pruned_at", now)?;
        transaction.commit()?;
        Ok(taken.len())
    };
    write().map_err(failed)
}

/// With what its log holds, and left as it is.
fn open(damaged: &Path) -> rusqlite::Result<Connection> {
    let connection = Connection::open_with_flags(damaged, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    Ok(connection)
}

/// The numbers of the events that were taken over, the newest first. Fails where they cannot be written.
fn take_over(damaged: &Connection, to: &Connection) -> rusqlite::Result<Vec<i64>> {
    for table in WHOLE {
        copy(damaged, to, &format!("select * from {table}"), table)?;
    }
    let newest_first = format!("select * from event order by number desc limit {EVENTS_MAX}");
    copy(damaged, to, &newest_first, "event")
}

/// Copies rows until one cannot be read; gives their numbers. A file of an older version has fewer columns.
fn copy(damaged: &Connection, to: &Connection, sql: &str, table: &str) -> rusqlite::Result<Vec<i64>> {
    let mut numbers = Vec::new();
    let Ok(mut select) = damaged.prepare(sql) else {
        return Ok(numbers);
    };
    let names: Vec<&str> = select.column_names().collect();
    let names = names.join(", ");
    let columns = select.column_count();
    let places = vec!["?"; columns].join(", ");
    let mut insert = to.prepare(&format!(
        "insert or ignore into {table} ({names}) values ({places})"
    ))?;
    let Ok(mut rows) = select.query([]) else {
        return Ok(numbers);
    };
    while let Ok(Some(row)) = rows.next() {
        let values = (0..columns).map(|column| row.get::<_, rusqlite::types::Value>(column));
        let Ok(values) = values.collect::<rusqlite::Result<Vec<_>>>() else {
            break;
        };
        insert.execute(params_from_iter(values))?;
        numbers.push(row.get(0).unwrap_or(0));
    }
    Ok(numbers)
}
