//! What people do with writes: look, edit, try again, give up, take up again.
//!
//! Every deed is one transaction over a connection, with its line in the audit: the daemon does them between its
//! own ([`Outbox::deed`]), and the command line beside a running daemon or without one ([`Desk`]), in the same
//! file. SQLite keeps the two apart, and each deed is conditional on the state it found, so neither undoes the
//! other; the daemon's next look at the table finds what was done. History is never removed.

mod deeds;
mod filter;
mod told;

use std::path::{Path, PathBuf};

use rusqlite::{Connection, OptionalExtension, TransactionBehavior, params};
use serde_json::Value;

use crate::model::clock::Millis;
use crate::model::write::Kind;
use crate::model::write::edit::Change;
use crate::store::database::{self, OpenError};
use crate::store::outbox::damage::{self, shown};
use crate::store::outbox::read::{Attempt, VIEW, View, attempts, view};
use crate::store::outbox::{KIND, Outbox, OutboxError};
pub use deeds::{Action, Deed};
pub use filter::Filter;

/// Writes of an export that are read at once.
const EXPORT_ROWS: u32 = 50;
/// Most writes of one page.
pub const PAGE_MAX: u32 = 1_000;

/// A write with all that is known of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Detail {
    pub view: View,
    /// Null where it is not kept any more.
    pub body: Value,
    pub attempts: Vec<Attempt>,
    pub audit: Vec<Audit>,
}

/// One thing that a person did.
#[derive(Clone, Debug, PartialEq)]
pub struct Audit {
    pub at: Millis,
    pub action: String,
    pub actor: String,
    pub reason: Option<String>,
    pub changes: Vec<Change>,
}

/// What became of a deed.
#[derive(Clone, Debug, PartialEq)]
pub enum Done {
    /// So many writes were changed; of an edit, what it changed.
    Changed {
        count: usize,
        changes: Vec<Change>,
    },
    NoSuchWrite,
    /// Why not, as one sentence.
    Refused(String),
}

/// Why the desk cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DeskError {
    #[error("there is no outbox in {0} yet: start the daemon first, or check [state] dir")]
    None(PathBuf),
    #[error(
        "the running daemon has another version of the outbox: use its own storesync, or restart it with this one"
    )]
    OtherVersion,
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error("the outbox cannot be used: check the space left on the disk of [state] dir")]
    Sql(#[from] rusqlite::Error),
}

/// The outbox's file from beside the daemon.
pub struct Desk {
    connection: Connection,
}

impl Desk {
    /// Opens the file to look at it.
    pub fn read(dir: &Path) -> Result<Self, DeskError> {
        Self::check(dir)?;
        let connection = database::open_reader(dir, KIND)?;
        Ok(Self { connection })
    }

    /// Opens the file to change it.
    pub fn write(dir: &Path) -> Result<Self, DeskError> {
        Self::check(dir)?;
        let connection = database::open_writer(dir, KIND)?;
        Ok(Self { connection })
    }

    /// A file of another version is not migrated under a daemon that knows it as it is.
    fn check(dir: &Path) -> Result<(), DeskError> {
        if !dir.join(KIND.file_name).exists() {
            return Err(DeskError::None(dir.to_owned()));
        }
        let version = database::open_reader(dir, KIND)?
            .pragma_query_value(None, "user_version", |row| row.get::<_, i64>(0))?;
        let known = usize::try_from(version).is_ok_and(|version| version == KIND.migrations.len());
        if !known && database::is_held(dir) {
            return Err(DeskError::OtherVersion);
        }
        Ok(())
    }

    /// Writes that a filter takes, after `after`, in the order of their acceptance.
    pub fn list(&self, filter: &Filter, after: i64, most: u32) -> Result<Vec<View>, DeskError> {
        Ok(filter::list(&self.connection, filter, after, most)?)
    }

    pub fn detail(&self, reference: &str) -> Result<Option<Detail>, DeskError> {
        Ok(detail(&self.connection, reference)?)
    }

    /// The next few writes that a filter takes, with all that is known of them.
    pub fn export(&self, filter: &Filter, after: i64) -> Result<Vec<Detail>, DeskError> {
        Ok(export(&self.connection, filter, after)?)
    }

    /// Does a deed as one transaction.
    pub fn deed(&mut self, deed: &Deed, now: Millis) -> Result<Done, DeskError> {
        let transaction = self
            .connection
            .transaction_with_behavior(TransactionBehavior::Immediate)?;
        let done = deed.run(&transaction, now)?;
        transaction.commit()?;
        Ok(done)
    }
}

impl Outbox {
    /// Writes that a filter takes, after `after`, in the order of their acceptance.
    pub fn list(&self, filter: &Filter, after: i64, most: u32) -> Result<Vec<View>, OutboxError> {
        self.read(|connection| filter::list(connection, filter, after, most))
    }

    pub fn detail(&self, reference: &str) -> Result<Option<Detail>, OutboxError> {
        self.read(|connection| detail(connection, reference))
    }

    /// The next few writes that a filter takes, with all that is known of them.
    pub fn export(&self, filter: &Filter, after: i64) -> Result<Vec<Detail>, OutboxError> {
        self.read(|connection| export(connection, filter, after))
    }

    pub async fn deed(&self, deed: Deed, now: Millis) -> Result<Done, OutboxError> {
        let done = self.submit(move |connection| deed.run(connection, now)).await?;
        self.bell.notify_one();
        Ok(done)
    }
}

/// A write by what people call it: `WEB-1` (an order, else whatever alone has the key), `case:K-1`, or `#17`.
pub(super) fn sequence(connection: &Connection, reference: &str) -> rusqlite::Result<Option<i64>> {
    if let Some(number) = reference.strip_prefix('#') {
        let number: Option<i64> = number.parse().ok();
        return connection
            .prepare_cached("select sequence from writes where sequence = ?1")?
            .query_row([number], |row| row.get(0))
            .optional();
    }
    if let Some((kind, key)) = reference.split_once(':')
        && let Some(kind) = Kind::from_name(kind)
    {
        return connection
            .prepare_cached("select sequence from writes where kind = ?1 and external_id = ?2")?
            .query_row(params![kind.name(), key], |row| row.get(0))
            .optional();
    }
    let found = connection
        .prepare_cached("select sequence, kind from writes where external_id = ?1")?
        .query_map([reference], |row| Ok((row.get(0)?, damage::kind(row, 1)?)))?
        .collect::<rusqlite::Result<Vec<(i64, Option<Kind>)>>>()?;
    let order = found.iter().find(|(_, kind)| *kind == Some(Kind::Order));
    let alone = found.first().filter(|_| found.len() == 1);
    Ok(order.or(alone).map(|(sequence, _)| *sequence))
}

fn export(connection: &Connection, filter: &Filter, after: i64) -> rusqlite::Result<Vec<Detail>> {
    let page = filter::list(connection, filter, after, EXPORT_ROWS)?;
    page.iter().map(|view| full(connection, view.sequence)).collect()
}

fn detail(connection: &Connection, reference: &str) -> rusqlite::Result<Option<Detail>> {
    let found = sequence(connection, reference)?;
    found.map(|sequence| full(connection, sequence)).transpose()
}

fn full(connection: &Connection, sequence: i64) -> rusqlite::Result<Detail> {
    let (view, body) = connection
        .prepare_cached(&format!(
            "select {VIEW}, b.body from writes w left join bodies b on b.write_sequence = w.sequence where w.sequence = ?1"
        ))?
        .query_row([sequence], |row| Ok((view(row)?, shown(row, 15)?)))?;
    Ok(Detail {
        body: body.map_or(Value::Null, |body| {
            serde_json::from_str(&body).unwrap_or(Value::String(body))
        }),
        view,
        attempts: attempts(connection, sequence)?,
        audit: audit(connection, sequence)?,
    })
}

fn audit(connection: &Connection, sequence: i64) -> rusqlite::Result<Vec<Audit>> {
    connection
        .prepare_cached(
            "select at, action, actor, reason, diff from audit where write_sequence = ?1 order by number",
        )?
        .query_map([sequence], |row| {
            let diff = shown(row, 4)?;
            Ok(Audit {
                at: row.get(0)?,
                action: shown(row, 1)?.unwrap_or_default(),
                actor: shown(row, 2)?.unwrap_or_default(),
                reason: shown(row, 3)?,
                changes: diff
                    .and_then(|diff| serde_json::from_str(&diff).ok())
                    .unwrap_or_default(),
            })
        })?
        .collect()
}
