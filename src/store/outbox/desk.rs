//! What people do with writes: look, edit, try again, give up, take up again.
//!
//! Every deed is one transaction over a connection, with its entry in the audit: the daemon does them between its
//! own ([`Outbox::deed`]), and the command line beside a running daemon or without one ([`Desk`]), in the same
//! file. SQLite keeps the two apart, and each deed is conditional on the state it found, so neither undoes the
//! other; the daemon's next look at the table finds what was done. History is never removed.

mod deeds;
mod filter;
mod told;

use std::path::{Path, PathBuf};

use rusqlite::{Connection, OptionalExtension, TransactionBehavior};
use serde_json::Value;

use crate::model::clock::Millis;
use crate::model::write::Kind;
use crate::model::write::edit::Change;
use crate::store::database::{self, OpenError};
use crate::store::outbox::audit::of_writes;
use crate::store::outbox::damage::{self, shown};
use crate::store::outbox::missing;
use crate::store::outbox::read::{Attempt, VIEW, VIEW_COLUMNS, View, attempts, view};
use crate::store::outbox::{KIND, Outbox, OutboxError, open_writer};
pub use deeds::{Action, Deed};
pub use filter::Filter;
pub use told::WITHHELD;

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
    /// Values were left out for whoever asks.
    pub is_withheld: bool,
}

/// What a look for one write comes to.
#[derive(Clone, Debug, PartialEq)]
pub enum Sought<T> {
    Found(T),
    None,
    /// Writes of several stores have the key; one sentence that says how to name one.
    Several(String),
}

impl<T> Sought<T> {
    pub fn found(self) -> Option<T> {
        match self {
            Self::Found(found) => Some(found),
            Self::None | Self::Several(_) => None,
        }
    }
}

/// One thing that a person did.
#[derive(Clone, Debug, PartialEq)]
pub struct Audit {
    pub at: Millis,
    pub action: String,
    pub actor: String,
    /// Whom the actor said that it is for.
    pub on_behalf_of: Option<String>,
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
    #[error(
        "the outbox is of a version before this one: start the daemon once, which brings it up to date, or use the storesync that made it"
    )]
    OlderVersion,
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error("the outbox cannot be used: check the space left on the disk of [state] dir")]
    Sql(#[from] rusqlite::Error),
}

/// The outbox's file from beside the daemon.
pub struct Desk {
    pub(super) connection: Connection,
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
        let connection = open_writer(dir)?;
        Ok(Self { connection })
    }

    /// A file of another version is not migrated under a daemon that knows it as it is.
    fn check(dir: &Path) -> Result<(), DeskError> {
        missing::refuse(dir)?;
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

    /// Fails where a table or a column that is there since this version cannot be.
    pub(super) fn is_current(&self) -> Result<(), DeskError> {
        let version = self
            .connection
            .pragma_query_value(None, "user_version", |row| row.get::<_, i64>(0))?;
        match usize::try_from(version).is_ok_and(|version| version < KIND.migrations.len()) {
            true => Err(DeskError::OlderVersion),
            false => Ok(()),
        }
    }

    /// Writes that a filter takes, after `after`, in the order of their acceptance.
    pub fn list(&self, filter: &Filter, after: i64, most: u32) -> Result<Vec<View>, DeskError> {
        Ok(filter::list(&self.connection, filter, after, most)?)
    }

    pub fn detail(&self, reference: &str) -> Result<Sought<Detail>, DeskError> {
        self.is_current()?;
        Ok(detail(&self.connection, reference)?)
    }

    /// The next few writes that a filter takes, with all that is known of them.
    pub fn export(&self, filter: &Filter, after: i64) -> Result<Vec<Detail>, DeskError> {
        self.is_current()?;
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

    pub fn detail(&self, reference: &str) -> Result<Sought<Detail>, OutboxError> {
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

/// A write by what people call it: `WEB-1` (an order, else whatever has the key), `case:K-1`, or `#17`; its number alone is
/// enough where that is nobody's key. Keys are the stores' or the org's. Where the writes of several stores have the key,
/// none of them is taken for the other.
pub(super) fn sequence(connection: &Connection, reference: &str) -> rusqlite::Result<Sought<i64>> {
    if let Some(number) = reference.strip_prefix('#') {
        return numbered(connection, number);
    }
    let (kind, key) = match reference.split_once(':') {
        Some((kind, key)) => Kind::from_name(kind).map_or((None, reference), |kind| (Some(kind), key)),
        None => (None, reference),
    };
    let found = connection
        .prepare_cached(
            "select sequence, kind from writes where external_id = ?1 or org_key = ?1 order by sequence",
        )?
        .query_map([key], |row| Ok((row.get(0)?, damage::kind(row, 1)?)))?
        .collect::<rusqlite::Result<Vec<(i64, Option<Kind>)>>>()?;
    let of_kind = |wanted: Kind| {
        let of_kind = found.iter().filter(move |(_, kind)| *kind == Some(wanted));
        of_kind.map(|(sequence, _)| *sequence).collect::<Vec<i64>>()
    };
    let mut meant = of_kind(kind.unwrap_or(Kind::Order));
    if kind.is_none() && meant.is_empty() {
        meant = found.iter().map(|(sequence, _)| *sequence).collect();
    }
    Ok(match meant[..] {
        [] => numbered(connection, reference)?,
        [one] => Sought::Found(one),
        _ => Sought::Several(several(&meant)),
    })
}

fn numbered(connection: &Connection, number: &str) -> rusqlite::Result<Sought<i64>> {
    let number: Option<i64> = number.parse().ok();
    let found = connection
        .prepare_cached("select sequence from writes where sequence = ?1")?
        .query_row([number], |row| row.get(0))
        .optional()?;
    Ok(found.map_or(Sought::None, Sought::Found))
}

fn several(sequences: &[i64]) -> String {
    let numbers: Vec<String> = sequences.iter().map(|sequence| format!("#{sequence}")).collect();
    format!(
        "several writes have this key: name one of them by its number, {}",
        numbers.join(" or ")
    )
}

fn export(connection: &Connection, filter: &Filter, after: i64) -> rusqlite::Result<Vec<Detail>> {
    let page = filter::list(connection, filter, after, EXPORT_ROWS)?;
    page.iter().map(|view| full(connection, view.sequence)).collect()
}

fn detail(connection: &Connection, reference: &str) -> rusqlite::Result<Sought<Detail>> {
    Ok(match sequence(connection, reference)? {
        Sought::Found(sequence) => Sought::Found(full(connection, sequence)?),
        Sought::None => Sought::None,
        Sought::Several(sentence) => Sought::Several(sentence),
    })
}

fn full(connection: &Connection, sequence: i64) -> rusqlite::Result<Detail> {
    let (view, body) = connection
        .prepare_cached(&format!(
            "select {VIEW}, b.body from writes w left join bodies b on b.write_sequence = w.sequence where w.sequence = ?1"
        ))?
        .query_row([sequence], |row| Ok((view(row)?, shown(row, VIEW_COLUMNS)?)))?;
    Ok(Detail {
        body: body.map_or(Value::Null, |body| {
            serde_json::from_str(&body).unwrap_or(Value::String(body))
        }),
        view,
        attempts: attempts(connection, sequence)?,
        audit: of_writes::deeds(connection, sequence)?,
        is_withheld: false,
    })
}
