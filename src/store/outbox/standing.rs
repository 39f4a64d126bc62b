//! How much of the outbox is where, and since when.

use std::collections::BTreeMap;
use std::path::Path;

use rusqlite::Connection;

use crate::model::clock::Millis;
use crate::model::state::WriteState;
use crate::store::database::{self, OpenError};
use crate::store::outbox::{KIND, Outbox, OutboxError, damage};

/// Orders in one state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InState {
    pub state: WriteState,
    pub count: u64,
    /// When the oldest of them was accepted.
    pub oldest_at: Millis,
    /// Those of them that the disk has damaged.
    pub damaged: u64,
}

/// From beside the daemon; none where there is no outbox yet.
pub fn standing_in(dir: &Path) -> Result<Vec<InState>, OpenError> {
    if !dir.join(KIND.file_name).exists() {
        return Ok(Vec::new());
    }
    let connection = database::open_reader(dir, KIND)?;
    standing(&connection).map_err(|source| OpenError::of(&dir.join(KIND.file_name), source))
}

fn standing(connection: &Connection) -> rusqlite::Result<Vec<InState>> {
    let mut found: BTreeMap<WriteState, InState> = BTreeMap::new();
    let mut statement =
        connection.prepare_cached("select state, count(*), min(accepted_at) from writes group by state")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let (state, count, oldest_at) = (
            damage::state(row, 0)?,
            row.get::<_, i64>(1)?.unsigned_abs(),
            row.get(2)?,
        );
        let all = found.entry(state).or_insert(InState {
            state,
            count: 0,
            oldest_at,
            damaged: 0,
        });
        all.count += count;
        all.oldest_at = all.oldest_at.min(oldest_at);
    }
    if let Some(parked) = found.get_mut(&WriteState::NeedsAttention) {
        let damaged =
            "select count(*) from writes where state = 'needs_attention' and error_code in (?1, ?2)";
        let codes = [damage::ROW_UNREADABLE, damage::BODY_DAMAGED];
        let count: i64 = connection
            .prepare_cached(damaged)?
            .query_row(codes, |row| row.get(0))?;
        parked.damaged = count.unsigned_abs();
    }
    Ok(found.into_values().collect())
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
