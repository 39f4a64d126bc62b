//! Rows that leave because a read did not find them: how many did within the hour, and what waits for a person.
//!
//! Nothing removes a mirrored row without a [`Leave`]. There are two ways to one: the org said of this very record that
//! it is gone, or [`judge`] lets absent rows leave.

use rusqlite::{Connection, OptionalExtension, Row, params};
use serde::{Deserialize, Serialize};

use crate::model::brake::{Answer, Verdict, Wanted, judge};
use crate::model::clock::Millis;
use crate::store::cache::Batch;

const HOUR_MILLIS: Millis = 3_600_000;

/// Rows may be removed.
#[derive(Clone, Copy, Debug)]
pub struct Leave(());

impl Leave {
    /// The org said so of this record: by an event, by `IsDeleted`, or because it is not mirrored any more.
    pub fn told_by_the_org() -> Self {
        Self(())
    }
}

/// What becomes of a removal.
#[derive(Debug)]
pub enum Admission {
    Leave(Leave),
    /// The org is to be asked about the rows first.
    Ask,
    /// The org still has some of them.
    Incomplete,
    /// It waits for a person.
    Wait,
}

/// A removal that waits for a person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waiting {
    pub object: String,
    pub rows: u64,
    /// Rows of the table.
    pub of: u64,
    pub reason: String,
    pub since: Millis,
}

impl Waiting {
    /// In one sentence, with what to do.
    pub fn sentence(&self) -> String {
        let Self { object, rows, of, .. } = self;
        format!(
            "{rows} of {of} rows were not found in the org and stay until a person decides: look whether they are hidden \
             from the user, then storesync removals release {object} --rows {rows}, or storesync removals refuse {object}"
        )
    }
}

/// What was decided about a removal that waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum Decision {
    /// A person: so many rows may leave.
    Release(u64),
    /// A person: the rows stay.
    Refuse,
    /// A comparison that began then found all rows in the org.
    Back { looked_at: Millis },
}

impl Decision {
    /// As it is asked for from beside the daemon.
    pub fn as_text(self) -> String {
        match self {
            Self::Release(rows) => format!("release {rows}"),
            Self::Refuse => "refuse".to_owned(),
            Self::Back { looked_at } => format!("back {looked_at}"),
        }
    }

    pub fn from_text(text: &str) -> Option<Self> {
        match text.split_once(' ') {
            Some(("release", rows)) => rows.parse().ok().map(Self::Release),
            Some(("back", looked_at)) => {
                let looked_at = looked_at.parse().ok()?;
                Some(Self::Back { looked_at })
            }
            None if text == "refuse" => Some(Self::Refuse),
            _ => None,
        }
    }
}

impl From<Decision> for String {
    fn from(decision: Decision) -> Self {
        decision.as_text()
    }
}

impl TryFrom<String> for Decision {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        Self::from_text(&text).ok_or_else(|| format!("{text} is no decision about a removal"))
    }
}

/// The removals that wait.
pub fn waiting(connection: &Connection) -> rusqlite::Result<Vec<Waiting>> {
    let read = |row: &Row<'_>| {
        Ok(Waiting {
            object: row.get(0)?,
            rows: row.get::<_, i64>(1)?.unsigned_abs(),
            of: row.get::<_, i64>(2)?.unsigned_abs(),
            reason: row.get(3)?,
            since: row.get(4)?,
        })
    };
    connection
        .prepare_cached(
            "select object, waiting, waiting_of, reason, since from _absence where waiting is not null order by object",
        )?
        .query_map([], read)?
        .collect()
}

fn number(unsigned: u64) -> i64 {
    i64::try_from(unsigned).unwrap_or(i64::MAX)
}

impl Batch<'_> {
    /// Whether so many absent rows of an object may leave. Counts those that do; one that waits is written down.
    pub fn admit(
        &mut self,
        object: &str,
        absent: u64,
        rows: u64,
        answer: Option<Answer>,
        reason: &str,
        now: Millis,
    ) -> rusqlite::Result<Admission> {
        let (left, released) = self.absence(object, now)?;
        let wanted = Wanted {
            absent,
            rows,
            left,
            released,
            answer,
        };
        Ok(match judge(&wanted) {
            Verdict::Leave { unproved } => {
                self.count_absent(object, unproved, now)?;
                Admission::Leave(Leave(()))
            }
            Verdict::Ask => Admission::Ask,
            Verdict::Incomplete => Admission::Incomplete,
            Verdict::Wait => {
                self.wait_for_a_person(object, absent, rows, reason, now)?;
                Admission::Wait
            }
        })
    }

    /// Rows that left within the hour, and that a person released.
    fn absence(&self, object: &str, now: Millis) -> rusqlite::Result<(u64, u64)> {
        let stored = self
            .transaction
            .prepare_cached("select hour_began, left_rows, released from _absence where object = ?1")?
            .query_row([object], |row| {
                let (began, left): (Millis, i64) = (row.get(0)?, row.get(1)?);
                let left = if (now - began).abs() < HOUR_MILLIS {
                    left
                } else {
                    0
                };
                Ok((left.unsigned_abs(), row.get::<_, i64>(2)?.unsigned_abs()))
            })
            .optional()?;
        Ok(stored.unwrap_or_default())
    }

    fn count_absent(&mut self, object: &str, rows: u64, now: Millis) -> rusqlite::Result<()> {
        if rows == 0 {
            return Ok(());
        }
        self.transaction
            .prepare_cached(
                "insert into _absence (object, hour_began, left_rows) values (?1, ?2, ?3) on conflict do update set \
                 left_rows = case when abs(?2 - hour_began) < ?4 then left_rows + ?3 else ?3 end, \
                 hour_began = case when abs(?2 - hour_began) < ?4 then hour_began else ?2 end",
            )?
            .execute(params![object, now, number(rows), HOUR_MILLIS])?;
        Ok(())
    }

    fn wait_for_a_person(
        &mut self,
        object: &str,
        absent: u64,
        rows: u64,
        reason: &str,
        now: Millis,
    ) -> rusqlite::Result<()> {
        self.transaction
            .prepare_cached(
                "insert into _absence (object, hour_began, left_rows, waiting, waiting_of, reason, since) \
                 values (?1, ?2, 0, ?3, ?4, ?5, ?2) on conflict do update set \
                 waiting = max(coalesce(waiting, 0), ?3), waiting_of = ?4, reason = ?5, since = coalesce(since, ?2)",
            )?
            .execute(params![object, now, number(absent), number(rows), reason])?;
        Ok(())
    }

    /// Counts the records that wait one by one, which the ledger closed with these words.
    pub fn count_waiting(&mut self, object: &str, found: &str) -> rusqlite::Result<()> {
        self.transaction
            .prepare_cached(
                "update _absence set waiting = max(waiting, (select count(distinct record_id) from _repair \
                 where object = ?1 and found = ?2 and closed_at >= _absence.since)) where object = ?1 and waiting is not null",
            )?
            .execute([object, found])?;
        Ok(())
    }

    /// The rows that wait are in the org again, or few enough are missing, by a read that began then. So many waited,
    /// where any did and not since a later read.
    pub fn withdraw(&mut self, object: &str, looked_at: Millis) -> rusqlite::Result<Option<u64>> {
        let waited: Option<i64> = self
            .transaction
            .prepare_cached(
                "select waiting from _absence where object = ?1 and waiting is not null and since < ?2",
            )?
            .query_row(params![object, looked_at], |row| row.get(0))
            .optional()?;
        if waited.is_some() {
            self.end_wait(object, 0)?;
        }
        Ok(waited.map(i64::unsigned_abs))
    }

    /// Nothing waits any more: the object was read as a whole without need for it, or a person decided.
    pub fn end_wait(&mut self, object: &str, released: u64) -> rusqlite::Result<bool> {
        let ended = self
            .transaction
            .prepare_cached(
                "update _absence set waiting = null, waiting_of = null, reason = null, since = null, released = ?2 \
                 where object = ?1 and (waiting is not null or released <> ?2)",
            )?
            .execute(params![object, number(released)])?;
        Ok(ended > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::cache::Cache;

    #[test]
    fn decisions_are_read_as_they_are_written() {
        let back = Decision::Back { looked_at: 7 };
        for decision in [Decision::Release(1_424), Decision::Refuse, back] {
            assert_eq!(Decision::from_text(&decision.as_text()), Some(decision));
        }
        for text in ["", "release", "release many", "refuse 7", "back", "back then"] {
            assert_eq!(Decision::from_text(text), None, "{text}");
        }
    }

    #[test]
    fn what_waits_is_withdrawn_by_a_read_that_began_after_the_wait() {
        let unknown = Some(Answer {
            asked: 300,
            ..Answer::default()
        });
        for (looked_at, expected) in [(999, None), (1_000, None), (1_001, Some(300))] {
            let dir = tempfile::tempdir().unwrap();
            let mut cache = Cache::open(dir.path()).unwrap();
            let mut batch = cache.batch().unwrap();
            let admitted = batch.admit("Product2", 300, 1_000, unknown, "a load", 1_000);
            assert!(matches!(admitted, Ok(Admission::Wait)));
            assert_eq!(batch.withdraw("Product2", looked_at).unwrap(), expected);
            assert_eq!(batch.withdraw("Contact", looked_at).unwrap(), None);
            batch.commit().unwrap();
            let is_waiting = !waiting(cache.connection()).unwrap().is_empty();
            assert_eq!(is_waiting, expected.is_none(), "{looked_at}");
        }
    }

    #[test]
    fn an_hour_is_counted_and_what_waits_is_told_until_a_person_decides() {
        let dir = tempfile::tempdir().unwrap();
        let mut cache = Cache::open(dir.path()).unwrap();
        let mut batch = cache.batch().unwrap();
        let mut admit = |absent, answer, now| {
            let told = batch
                .admit("Product2", absent, 1_000, answer, "a load", now)
                .unwrap();
            match told {
                Admission::Leave(_) => "leave",
                Admission::Ask => "ask",
                Admission::Incomplete => "incomplete",
                Admission::Wait => "wait",
            }
        };
        assert_eq!(admit(8, None, 1), "leave");
        assert_eq!(admit(8, None, 1), "leave");
        assert_eq!(admit(8, None, 2), "ask");
        assert_eq!(admit(15, None, HOUR_MILLIS + 2), "leave");
        let unknown = Some(Answer {
            asked: 300,
            ..Answer::default()
        });
        assert_eq!(admit(300, unknown, HOUR_MILLIS + 3), "wait");
        assert_eq!(admit(200, unknown, HOUR_MILLIS + 4), "wait");
        batch.commit().unwrap();
        let told = waiting(cache.connection()).unwrap();
        assert_eq!(
            (told.len(), told[0].rows, told[0].since),
            (1, 300, HOUR_MILLIS + 3)
        );
        let mut batch = cache.batch().unwrap();
        assert!(batch.end_wait("Product2", 300).unwrap());
        let admitted = batch.admit("Product2", 300, 1_000, None, "a load", HOUR_MILLIS + 5);
        assert!(matches!(admitted, Ok(Admission::Leave(_))));
        batch.commit().unwrap();
        assert_eq!(waiting(cache.connection()).unwrap(), []);
    }
}
