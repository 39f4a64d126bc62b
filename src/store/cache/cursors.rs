//! Where each subscription goes on. Replay ids are opaque: stored and given back, never computed with.
//!
//! Events that the org split from one change share its replay id, and a subscription resumes after all events
//! of an id. So a cursor has two positions: the newest seen, and the newest known to be complete because a
//! later one followed it. A new subscription starts after the latter; what it brings twice is known by then.

use bytes::Bytes;
use rusqlite::{Connection, OptionalExtension, params};

use crate::model::change::ReplayId;
use crate::model::clock::Millis;
use crate::store::cache::Batch;

/// Where a topic's subscription goes on, and when it last moved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cursor {
    pub topic: String,
    pub resume_after: ReplayId,
    pub last_seen: ReplayId,
    /// Commit of the newest event applied.
    pub committed_at: Option<Millis>,
    /// When the org last said anything on this topic.
    pub heard_at: Millis,
    /// The time that the position stands for: commit of its event, or when it was the tip. Events of more than
    /// 72 hours ago are gone, and so is a position before them.
    pub position_at: Millis,
}

/// How long the org keeps events, and so positions.
const REPLAY_WINDOW_MILLIS: Millis = 72 * 3_600_000;

impl Cursor {
    /// How long the position can still be resumed from, in milliseconds; below zero where the org has forgotten it.
    /// The org's clock may be ahead of `now`; a position is never younger than nothing.
    pub fn replay_window_left(&self, now: Millis) -> Millis {
        REPLAY_WINDOW_MILLIS - (now - self.position_at).max(0)
    }
}

const SELECT: &str = "select topic, resume_after, last_seen, committed_at, heard_at, coalesce(position_at, heard_at) from _cursor";

fn read(row: &rusqlite::Row<'_>) -> rusqlite::Result<Cursor> {
    let replay_id = |index| {
        row.get::<_, Vec<u8>>(index)
            .map(|bytes| ReplayId(Bytes::from(bytes)))
    };
    Ok(Cursor {
        topic: row.get(0)?,
        resume_after: replay_id(1)?,
        last_seen: replay_id(2)?,
        committed_at: row.get(3)?,
        heard_at: row.get(4)?,
        position_at: row.get(5)?,
    })
}

/// A topic's cursor, where one is stored.
pub fn cursor(connection: &Connection, topic: &str) -> rusqlite::Result<Option<Cursor>> {
    connection
        .query_row(&format!("{SELECT} where topic = ?1"), [topic], read)
        .optional()
}

/// All cursors.
pub fn cursors(connection: &Connection) -> rusqlite::Result<Vec<Cursor>> {
    connection
        .prepare_cached(&format!("{SELECT} order by topic"))?
        .query_map([], read)?
        .collect()
}

impl Batch<'_> {
    /// Moves a cursor. `committed_at` of `None` keeps what is stored.
    pub fn move_cursor(&mut self, cursor: &Cursor) -> rusqlite::Result<()> {
        let Cursor {
            topic,
            resume_after,
            last_seen,
            committed_at,
            heard_at,
            position_at,
        } = cursor;
        self.transaction
            .prepare_cached(
                "insert into _cursor values (?1, ?2, ?3, ?4, ?5, ?6) on conflict (topic) do update set \
                 resume_after = excluded.resume_after, last_seen = excluded.last_seen, \
                 committed_at = coalesce(excluded.committed_at, committed_at), heard_at = excluded.heard_at, \
                 position_at = excluded.position_at",
            )?
            .execute(params![
                topic,
                &resume_after.0[..],
                &last_seen.0[..],
                committed_at,
                heard_at,
                position_at
            ])?;
        Ok(())
    }

    /// Says what stands in a channel's way, or that nothing does any more.
    pub fn set_channel_problem(
        &mut self,
        topic: &str,
        problem: Option<&str>,
        now: Millis,
    ) -> rusqlite::Result<()> {
        match problem {
            Some(problem) => self
                .transaction
                .prepare_cached(
                    "insert into _channel values (?1, ?2, ?3) on conflict do update set problem = excluded.problem",
                )?
                .execute(params![topic, problem, now])?,
            None => self
                .transaction
                .prepare_cached("delete from _channel where topic = ?1")?
                .execute([topic])?,
        };
        Ok(())
    }
}

/// What stands in the way of channels: topic, sentence, and since when.
pub fn problems(connection: &Connection) -> rusqlite::Result<Vec<(String, String, Millis)>> {
    connection
        .prepare_cached("select topic, problem, since from _channel order by topic")?
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_has_at_most_the_whole_window_left() {
        let cursor = Cursor {
            topic: "/data/ChangeEvents".to_owned(),
            resume_after: ReplayId(Bytes::new()),
            last_seen: ReplayId(Bytes::new()),
            committed_at: None,
            heard_at: 1_000_000,
            position_at: 1_000_000,
        };
        const HOUR: Millis = 3_600_000;
        for (now, left) in [
            (1_000_000, 72 * HOUR),
            (1_000_000 + HOUR, 71 * HOUR),
            (1_000_000 + 73 * HOUR, -HOUR),
            // The org's clock is a second ahead of ours.
            (999_000, 72 * HOUR),
        ] {
            assert_eq!(cursor.replay_window_left(now), left, "at {now}");
        }
    }
}
