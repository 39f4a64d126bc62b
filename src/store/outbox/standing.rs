//! How much of the outbox is where, and since when.

use std::path::Path;

use rusqlite::Connection;

use crate::model::clock::Millis;
use crate::store::database::{self, OpenError};
use crate::store::outbox::{KIND, Outbox, OutboxError};

/// Orders in one state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InState {
    pub state: String,
    pub count: u64,
    /// When the oldest of them was accepted.
    pub oldest_at: Millis,
}

impl InState {
    /// It is still to be sent.
    pub fn is_pending(&self) -> bool {
        matches!(self.state.as_str(), "queued" | "sending" | "waiting")
    }
}

/// From beside the daemon; none where there is no outbox yet.
pub fn standing_in(dir: &Path) -> Result<Vec<InState>, OpenError> {
    if !dir.join(KIND.file_name).exists() {
        return Ok(Vec::new());
    }
    let connection = database::open_reader(dir, KIND)?;
    standing(&connection).map_err(|source| OpenError::Database {
        path: dir.join(KIND.file_name),
        source,
    })
}

fn standing(connection: &Connection) -> rusqlite::Result<Vec<InState>> {
    connection
        .prepare_cached("select state, count(*), min(accepted_at) from writes group by state order by state")?
        .query_map([], |row| {
            Ok(InState {
                state: row.get(0)?,
                count: row.get::<_, i64>(1)?.unsigned_abs(),
                oldest_at: row.get(2)?,
            })
        })?
        .collect()
}

impl Outbox {
    pub fn standing(&self) -> Result<Vec<InState>, OutboxError> {
        self.read(standing)
    }

    /// Answers once the writer has had its turn: it is not stuck.
    pub async fn probe(&self) -> Result<(), OutboxError> {
        self.submit(|_| Ok(())).await
    }
}
