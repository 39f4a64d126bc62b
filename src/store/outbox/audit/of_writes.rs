//! What was done to single writes, in the audit: how it is written down, found, and made to hold nothing of a person.

use rusqlite::{Connection, TransactionBehavior};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::model::write::edit::Change;
use crate::store::outbox::audit::{About, ENTRIES, Entry, Line, append, entry};
use crate::store::outbox::damage::shown;
use crate::store::outbox::desk::Audit;

/// What may be of a person.
#[derive(Default, Serialize, Deserialize)]
struct Detail {
    reason: Option<String>,
    changes: Vec<Change>,
}

/// The line of what was done to a write.
pub(in crate::store::outbox) fn line(
    connection: &Connection,
    (write, deed): (i64, &str),
    (actor, on_behalf_of): (&str, Option<&str>),
    (reason, changes): (Option<&str>, &[Change]),
) -> rusqlite::Result<Line> {
    let person = connection
        .prepare_cached("select coalesce(customer, email) from writes where sequence = ?1")?
        .query_row([write], |row| shown(row, 0))?;
    let paths: Vec<&str> = changes.iter().map(|change| change.path.as_str()).collect();
    let detail = Detail {
        reason: reason.map(str::to_owned),
        changes: changes.to_vec(),
    };
    let has_detail = reason.is_some() || !changes.is_empty();
    let line = Line {
        on_behalf_of: on_behalf_of.map(str::to_owned),
        person,
        detail: serde_json::to_string(&detail).ok().filter(|_| has_detail),
        ..Line::new(actor, deed)
    };
    let paths = (!paths.is_empty()).then_some(paths);
    Ok(line.about("write", Some(write)).about("fields", paths))
}

/// What was done to a write, the oldest first.
pub(in crate::store::outbox) fn deeds(connection: &Connection, write: i64) -> rusqlite::Result<Vec<Audit>> {
    let entries = connection
        .prepare_cached(&format!("{ENTRIES} where about ->> '$.write' = ?1 order by seq"))?
        .query_map([write], entry)?
        .collect::<rusqlite::Result<Vec<Entry>>>()?;
    Ok(entries.into_iter().map(deed).collect())
}

fn deed(entry: Entry) -> Audit {
    let kept = entry.detail.map(|kept| serde_json::from_str(&kept.text));
    let Detail { reason, changes } = match kept {
        Some(kept) => kept.unwrap_or_default(),
        None => Detail {
            reason: None,
            changes: without_values(&entry.about),
        },
    };
    Audit {
        at: entry.at,
        action: entry.deed,
        actor: entry.actor,
        on_behalf_of: entry.named.map(|named| named.text),
        reason,
        changes,
    }
}

/// Which values an edit changed.
fn without_values(about: &About) -> Vec<Change> {
    let paths = about.get("fields").and_then(Value::as_array);
    let paths = paths.into_iter().flatten().filter_map(Value::as_str);
    let changes = paths.map(|path| Change {
        path: path.to_owned(),
        from: Value::Null,
        to: Value::Null,
    });
    changes.collect()
}

/// Drops the values that edits of a write changed.
pub(in crate::store::outbox) fn empty(connection: &Connection, write: i64) -> rusqlite::Result<()> {
    connection
        .prepare_cached(
            "delete from audit_details
             where seq in (select seq from audit where about ->> '$.write' = ?1 and deed = 'edit')",
        )?
        .execute([write])
        .map(drop)
}

/// Drops all that may be of a person of what was done to a write.
pub(in crate::store::outbox) fn erase(connection: &Connection, write: i64) -> rusqlite::Result<()> {
    connection
        .prepare_cached(
            "delete from audit_details where seq in (select seq from audit where about ->> '$.write' = ?1)",
        )?
        .execute([write])
        .map(drop)
}

/// Puts what versions before wrote down, in a table without a chain, at the beginning of the chain.
pub(in crate::store::outbox) fn take_over(connection: &mut Connection) -> rusqlite::Result<()> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let has_any = "select 1 from sqlite_schema where name = 'audit_before'";
    if !transaction.prepare(has_any)?.exists([])? {
        return Ok(());
    }
    let mut before = transaction.prepare(
        "select write_sequence, at, action, actor, on_behalf_of, reason, diff from audit_before order by number",
    )?;
    let mut rows = before.query([])?;
    while let Some(row) = rows.next()? {
        let text = |index| shown(row, index).map(Option::unwrap_or_default);
        let (deed, actor, on_behalf_of) = (text(2)?, text(3)?, shown(row, 4)?);
        let (reason, diff) = (shown(row, 5)?, text(6)?);
        let changes: Vec<Change> = serde_json::from_str(&diff).unwrap_or_default();
        let who = (actor.as_str(), on_behalf_of.as_deref());
        let of = (row.get(0)?, deed.as_str());
        let line = line(&transaction, of, who, (reason.as_deref(), &changes))?;
        append(&transaction, &line, row.get(1)?)?;
    }
    drop(rows);
    drop(before);
    transaction.execute("drop table audit_before", [])?;
    transaction.commit()
}
