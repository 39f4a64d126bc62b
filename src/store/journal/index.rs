//! `index.db`: which events name which record.
//!
//! Made from the journal by whoever asks, and only then, so that taking events in costs nothing for it. It holds ids
//! and numbers alone, may be deleted at any time, and is made anew where it is not of this journal.

use std::path::Path;

use rusqlite::{Connection, OptionalExtension, TransactionBehavior, params};

use crate::store::database::{self, Kind, OpenError};

/// The file. Nothing in it is worth waiting for the disk.
pub const KIND: Kind = Kind {
    file_name: "index.db",
    application_id: 0x5353_4931,
    migrations: &[
        include_str!("../migrations/index_1.sql"),
        include_str!("../migrations/index_2.sql"),
    ],
    page_bytes: 4096,
    synchronous: "off",
    mode: 0o600,
    kept_before_upgrade: false,
};

/// What has been indexed: the number of the last event, and the bus's id of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reached {
    pub number: i64,
    pub event_id: String,
}

/// The index of a journal.
#[derive(Debug)]
pub struct Index {
    connection: Connection,
}

impl Index {
    pub fn open(dir: &Path) -> Result<Self, OpenError> {
        let connection = database::open_writer(dir, KIND)?;
        Ok(Self { connection })
    }

    pub fn reached(&self) -> rusqlite::Result<Reached> {
        let reached = self
            .connection
            .query_row("select number, event_id from reached", [], |row| {
                Ok(Reached {
                    number: row.get(0)?,
                    event_id: row.get(1)?,
                })
            })
            .optional()?;
        Ok(reached.unwrap_or_default())
    }

    /// Forgets everything: the journal is another one.
    pub fn clear(&mut self) -> rusqlite::Result<()> {
        self.connection
            .execute_batch("begin immediate; delete from touched; delete from reached; commit")
    }

    /// Adds which event names which record, up to an event, and leaves out what the journal holds no more. Nothing
    /// where another has been here meanwhile.
    pub fn add(
        &mut self,
        from: &Reached,
        touched: &[(String, i64)],
        to: &Reached,
        oldest: i64,
    ) -> rusqlite::Result<()> {
        if self.reached()? != *from {
            return Ok(());
        }
        let transaction = self
            .connection
            .transaction_with_behavior(TransactionBehavior::Immediate)?;
        {
            let mut insert = transaction.prepare_cached("insert or ignore into touched values (?1, ?2)")?;
            for (record, event) in touched {
                insert.execute(params![record, event])?;
            }
        }
        if from.number > 0 && from.number < oldest {
            transaction.execute("delete from touched where event < ?1", [oldest])?;
        }
        transaction.execute("delete from reached", [])?;
        transaction.execute(
            "insert into reached (number, event_id) values (?1, ?2)",
            params![to.number, to.event_id],
        )?;
        transaction.commit()
    }

    /// The events that name a record, the oldest first.
    pub fn events(&self, record: &str) -> rusqlite::Result<Vec<i64>> {
        self.connection
            .prepare_cached("select event from touched where record = ?1 order by event")?
            .query_map([record], |row| row.get(0))?
            .collect()
    }
}
