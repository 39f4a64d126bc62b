//! The ledger: what has to be done again, and what was found when it was.
//!
//! An open entry is work for a stage; a closed one is history. An event that deletes a record closes its open
//! entry and opens another, so that the answer of a read which is already under way is recognised as too old by
//! its number. The same holds for an object that has to be read again while it is being read.

use rusqlite::{Connection, Row, params};

use crate::model::clock::Millis;
use crate::store::cache::{Batch, KIND};
use crate::store::database::{self, OpenError};

/// Closed entries kept as history.
const HISTORY_MAX: i64 = 100_000;

/// Why entries are opened, where that decides what they mean. Stored.
pub mod reason {
    pub const BY_SCHEDULE: &str = "by schedule";
    pub const FIELDS_CHANGED: &str = "fields have changed";
    pub const CONDITION_CHANGED: &str = "the condition on its rows has changed";
    pub const OTHER_ADDRESS: &str = "the org answers from another address";
    /// How the reason of a record begins that could not be read.
    pub const UNREADABLE: &str = "it could not be read";
    /// Of an object that is mirrored in part a record has changed.
    pub const IN_PART: &str = "only a read tells whether it is mirrored";
    pub const UNKNOWN_EVENT: &str = "an event of an unknown object could not be decoded";
}

/// What kind of work an entry is. Stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A record is read again by id.
    Record,
    /// The object is read again as a whole.
    Reload,
    /// What changed since an instant is read again: the stream's position was lost.
    CatchUp,
    /// The object is compared with the org.
    Verify,
    /// An event that could not be decoded. Closed when its object was read again; where that is not known, a
    /// person has to look.
    Parked,
}

impl Kind {
    pub const ALL: [Self; 5] = [
        Self::Record,
        Self::Reload,
        Self::CatchUp,
        Self::Verify,
        Self::Parked,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Record => "record",
            Self::Reload => "reload",
            Self::CatchUp => "catch_up",
            Self::Verify => "verify",
            Self::Parked => "parked",
        }
    }

    fn from_str(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text)
    }
}

/// An entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Repair {
    pub number: i64,
    pub kind: Kind,
    /// `?` for an event whose object is not known.
    pub object: String,
    /// For [`Kind::Record`] only.
    pub record_id: Option<String>,
    pub reason: String,
    pub detail: Option<String>,
    /// All that changed in the org before it is here. Of a record: of the object that it shows fields of.
    pub since: Option<Millis>,
    pub opened_at: Millis,
    pub closed_at: Option<Millis>,
    /// What was found; with `closed_at`.
    pub found: Option<String>,
    /// Attempts that failed, and why the last one did.
    pub attempts: u32,
    pub error: Option<String>,
}

const COLUMNS: &str =
    "number, kind, object, record_id, reason, detail, since, opened_at, closed_at, found, attempts, error";

fn read(row: &Row<'_>) -> rusqlite::Result<Repair> {
    let kind: String = row.get(1)?;
    Ok(Repair {
        number: row.get(0)?,
        kind: Kind::from_str(&kind).unwrap_or(Kind::Parked),
        object: row.get(2)?,
        record_id: row.get(3)?,
        reason: row.get(4)?,
        detail: row.get(5)?,
        since: row.get(6)?,
        opened_at: row.get(7)?,
        closed_at: row.get(8)?,
        found: row.get(9)?,
        attempts: row.get(10)?,
        error: row.get(11)?,
    })
}

fn list(
    connection: &Connection,
    rest: &str,
    parameters: impl rusqlite::Params,
) -> rusqlite::Result<Vec<Repair>> {
    connection
        .prepare_cached(&format!("select {COLUMNS} from _repair {rest}"))?
        .query_map(parameters, read)?
        .collect()
}

fn number(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}

/// Records to be read again, of an object that is live; those that failed least come first.
pub fn due(connection: &Connection, object: &str, limit: usize) -> rusqlite::Result<Vec<Repair>> {
    list(
        connection,
        "where closed_at is null and kind = 'record' and object = ?1 \
         and exists (select 1 from _object where _object.object = _repair.object and state = 'live') \
         order by attempts, number limit ?2",
        params![object, number(limit)],
    )
}

/// The objects that have records to be read again and are live.
pub fn due_objects(connection: &Connection) -> rusqlite::Result<Vec<String>> {
    connection
        .prepare_cached(
            "select distinct object from _repair join _object using (object) \
             where closed_at is null and kind = 'record' and state = 'live' order by object",
        )?
        .query_map([], |row| row.get(0))?
        .collect()
}

/// Open entries of a kind, the oldest first.
pub fn open(connection: &Connection, kind: Kind, limit: usize) -> rusqlite::Result<Vec<Repair>> {
    list(
        connection,
        "where closed_at is null and kind = ?1 order by number limit ?2",
        params![kind.as_str(), number(limit)],
    )
}

/// Entries of a kind, closed ones too, the newest first.
pub fn history_of(connection: &Connection, kind: Kind, limit: usize) -> rusqlite::Result<Vec<Repair>> {
    list(
        connection,
        "where kind = ?1 order by number desc limit ?2",
        params![kind.as_str(), number(limit)],
    )
}

/// Records that wait because they cannot be read.
pub fn unreadable(connection: &Connection, limit: usize) -> rusqlite::Result<Vec<Repair>> {
    list(
        connection,
        "where closed_at is null and kind = 'record' and substr(reason, 1, length(?1)) = ?1 order by number limit ?2",
        params![reason::UNREADABLE, number(limit)],
    )
}

/// All entries of the last while, the newest first.
pub fn history(connection: &Connection, limit: usize) -> rusqlite::Result<Vec<Repair>> {
    list(connection, "order by number desc limit ?1", [number(limit)])
}

/// How many of these records (object, id) are still to be read again.
pub fn outstanding(connection: &Connection, records: &[(String, String)]) -> rusqlite::Result<usize> {
    let mut statement = connection.prepare_cached(
        "select 1 from _asked where object = ?1 and record_id = ?2 union all \
         select 1 from _repair where object = ?1 and record_id = ?2 and closed_at is null",
    )?;
    let mut open = 0;
    for (object, id) in records {
        open += usize::from(statement.exists([object, id])?);
    }
    Ok(open)
}

/// Repairs of one kind that were done, and for how long all of them had been open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Closed {
    pub kind: String,
    pub count: i64,
    pub millis: i64,
}

/// What the ledger holds of repairs that were done.
pub fn closed(connection: &Connection) -> rusqlite::Result<Vec<Closed>> {
    connection
        .prepare_cached(
            "select kind, count(*), sum(closed_at - opened_at) from _repair where closed_at is not null group by kind",
        )?
        .query_map([], |row| {
            Ok(Closed {
                kind: row.get(0)?,
                count: row.get(1)?,
                millis: row.get(2)?,
            })
        })?
        .collect()
}

/// How many entries of each kind are open, and when the oldest was opened.
pub fn open_counts(connection: &Connection) -> rusqlite::Result<Vec<(Kind, u64, Millis)>> {
    connection
        .prepare_cached(
            "select kind, count(*), min(opened_at) from _repair where closed_at is null group by kind order by kind",
        )?
        .query_map([], |row| {
            let kind: String = row.get(0)?;
            let count = row.get::<_, i64>(1)?.unsigned_abs();
            Ok((Kind::from_str(&kind).unwrap_or(Kind::Parked), count, row.get(2)?))
        })?
        .collect()
}

/// Whether an object is being read again or compared. What has failed is not waited for.
pub fn under_way(connection: &Connection, object: &str) -> rusqlite::Result<bool> {
    connection
        .prepare_cached(
            "select 1 from _repair where object = ?1 and closed_at is null and error is null \
             and kind in ('reload', 'catch_up', 'verify') limit 1",
        )?
        .exists([object])
}

/// In place of a record's id, where a person decided about a removal.
pub const DECISION_ID: &str = "";

/// A record that was asked for from beside the daemon, or a decision about a removal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    pub object: String,
    pub record_id: String,
    pub reason: String,
}

/// Asks for records to be read again, from beside the daemon, in a transaction of its own: no mirrored row is
/// touched, and the daemon finds them when it next looks.
pub fn ask_for(dir: &std::path::Path, records: &[Asked]) -> Result<(), OpenError> {
    let failed = |source| OpenError::of(&dir.join(KIND.file_name), source);
    let mut connection = database::open_writer(dir, KIND)?;
    let ask = |connection: &mut Connection| {
        // Checkpoints are the daemon's.
        connection.pragma_update(None, "wal_autocheckpoint", 0)?;
        let transaction = connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
        for Asked {
            object,
            record_id,
            reason,
        } in records
        {
            transaction
                .prepare_cached("insert or replace into _asked values (?1, ?2, ?3)")?
                .execute([object, record_id, reason])?;
        }
        transaction.commit()
    };
    ask(&mut connection).map_err(failed)
}

/// What was asked for, some of it where it is much.
pub fn asked(connection: &Connection, limit: usize) -> rusqlite::Result<Vec<Asked>> {
    connection
        .prepare_cached("select object, record_id, reason from _asked limit ?1")?
        .query_map([number(limit)], |row| {
            Ok(Asked {
                object: row.get(0)?,
                record_id: row.get(1)?,
                reason: row.get(2)?,
            })
        })?
        .collect()
}

/// What an entry is opened with.
#[derive(Clone, Copy, Debug)]
pub struct Entry<'e> {
    pub kind: Kind,
    pub object: &'e str,
    pub record_id: Option<&'e str>,
    pub reason: &'e str,
    pub detail: Option<&'e str>,
    pub since: Option<Millis>,
}

impl<'e> Entry<'e> {
    pub fn record(object: &'e str, id: &'e str, reason: &'e str) -> Self {
        Self {
            record_id: Some(id),
            ..Self::object(Kind::Record, object, reason)
        }
    }

    pub fn object(kind: Kind, object: &'e str, reason: &'e str) -> Self {
        Self {
            kind,
            object,
            record_id: None,
            reason,
            detail: None,
            since: None,
        }
    }
}

fn insert(connection: &Connection, entry: &Entry<'_>, now: Millis) -> rusqlite::Result<()> {
    connection
        .prepare_cached(
            "insert into _repair (kind, object, record_id, reason, detail, since, opened_at) \
             values (?1, ?2, ?3, ?4, ?5, ?6, ?7) on conflict do nothing",
        )?
        .execute(params![
            entry.kind.as_str(),
            entry.object,
            entry.record_id,
            entry.reason,
            entry.detail,
            entry.since,
            now
        ])?;
    Ok(())
}

impl Batch<'_> {
    /// Opens an entry, unless one of its kind is open for the record or the object. Parked events are each
    /// their own.
    pub fn open_repair(&mut self, entry: &Entry<'_>, now: Millis) -> rusqlite::Result<()> {
        insert(&self.transaction, entry, now)
    }

    /// Opens an entry in place of the one that is open, whose work may be too old by now. A catch-up keeps the
    /// older beginning.
    pub fn reopen_repair(&mut self, entry: &Entry<'_>, now: Millis) -> rusqlite::Result<()> {
        let earlier: Option<Millis> = self.transaction.query_row(
            "select min(since) from _repair where object = ?1 and kind = ?2 and closed_at is null",
            params![entry.object, entry.kind.as_str()],
            |row| row.get(0),
        )?;
        self.transaction
            .prepare_cached(
                "update _repair set closed_at = ?3, found = 'superseded' \
                 where object = ?1 and kind = ?2 and closed_at is null",
            )?
            .execute(params![entry.object, entry.kind.as_str(), now])?;
        let since = match (earlier, entry.since) {
            (Some(earlier), Some(since)) => Some(earlier.min(since)),
            (earlier, since) => since.or(earlier),
        };
        insert(&self.transaction, &Entry { since, ..*entry }, now)
    }

    /// Makes the answer of a read that is under way count as too old. Whether there was an open entry.
    pub fn supersede_repair(&mut self, object: &str, record_id: &str, now: Millis) -> rusqlite::Result<bool> {
        let closed = self
            .transaction
            .prepare_cached(
                "update _repair set closed_at = ?3, found = 'superseded' \
                 where object = ?1 and record_id = ?2 and closed_at is null",
            )?
            .execute(params![object, record_id, now])?;
        if closed > 0 {
            let entry = Entry::record(object, record_id, "deleted while being repaired");
            self.open_repair(&entry, now)?;
        }
        Ok(closed > 0)
    }

    /// A record that was asked for from beside the daemon has its entry.
    pub fn take_asked(&mut self, object: &str, record_id: &str) -> rusqlite::Result<()> {
        self.transaction
            .prepare_cached("delete from _asked where object = ?1 and record_id = ?2")?
            .execute([object, record_id])?;
        Ok(())
    }

    /// Whether this very entry is still open.
    pub fn is_open(&self, number: i64) -> rusqlite::Result<bool> {
        self.transaction
            .prepare_cached("select 1 from _repair where number = ?1 and closed_at is null")?
            .exists([number])
    }

    /// Closes an entry, where it is open still.
    pub fn close_repair(&mut self, number: i64, found: &str, now: Millis) -> rusqlite::Result<()> {
        self.transaction
            .prepare_cached(
                "update _repair set closed_at = ?2, found = ?3 where number = ?1 and closed_at is null",
            )?
            .execute(params![number, now, found])?;
        self.transaction
            .prepare_cached("delete from _repair where number = ?1 and closed_at is not null")?
            .execute([number - HISTORY_MAX])?;
        Ok(())
    }

    /// Closes what a whole read of an object answers: reloads and parked events up to an entry's number.
    pub fn close_reloads(
        &mut self,
        object: &str,
        up_to: i64,
        found: &str,
        now: Millis,
    ) -> rusqlite::Result<()> {
        self.transaction
            .prepare_cached(
                "update _repair set closed_at = ?3, found = ?4 where object = ?1 and number <= ?2 \
                 and closed_at is null and kind in ('reload', 'parked')",
            )?
            .execute(params![object, up_to, now, found])?;
        Ok(())
    }

    /// Closes an object's comparison, where one is open.
    pub fn close_verifications(&mut self, object: &str, found: &str, now: Millis) -> rusqlite::Result<()> {
        self.transaction
            .prepare_cached(
                "update _repair set closed_at = ?2, found = ?3 \
                 where object = ?1 and kind = 'verify' and closed_at is null",
            )?
            .execute(params![object, now, found])?;
        Ok(())
    }

    /// An attempt failed: the entry stays open and says why.
    pub fn fail_repairs(&mut self, numbers: &[i64], error: &str) -> rusqlite::Result<()> {
        numbers
            .iter()
            .try_for_each(|number| self.fail_repair(*number, error))
    }

    fn fail_repair(&mut self, number: i64, error: &str) -> rusqlite::Result<()> {
        self.transaction
            .prepare_cached("update _repair set attempts = attempts + 1, error = ?2 where number = ?1")?
            .execute(params![number, error])?;
        Ok(())
    }

    /// The number of the newest entry.
    pub(super) fn newest_repair(&self) -> rusqlite::Result<i64> {
        self.transaction
            .query_row("select coalesce(max(number), 0) from _repair", [], |row| {
                row.get(0)
            })
    }
}
