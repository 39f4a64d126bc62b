//! Which event names which record: brought up to date when it is asked for.

use std::collections::BTreeSet;

use crate::inbound::decode::Change;
use crate::journal::history::History;
use crate::model::id;
use crate::store::journal::index::{Index, Reached};

/// Events indexed in one transaction.
const EVENTS_PER_STEP: usize = 5_000;

/// An id in full.
const ID_BYTES: usize = 18;

/// Record and event.
type Touched = Vec<(String, i64)>;

impl History {
    /// The numbers of the events that name a record, the oldest first. Reads what has arrived since the last time.
    pub fn events_of(&mut self, record: &str) -> anyhow::Result<Vec<i64>> {
        let mut index = Index::open(&self.dir)?;
        self.bring_up_to_date(&mut index)?;
        Ok(index.events(record)?)
    }

    /// The numbers of the events that name any of some records, in order.
    pub fn events_of_any<'r>(
        &mut self,
        records: impl Iterator<Item = &'r str>,
    ) -> anyhow::Result<BTreeSet<i64>> {
        let mut index = Index::open(&self.dir)?;
        self.bring_up_to_date(&mut index)?;
        let mut numbers = BTreeSet::new();
        for record in records {
            numbers.extend(index.events(record)?);
        }
        Ok(numbers)
    }

    fn bring_up_to_date(&mut self, index: &mut Index) -> anyhow::Result<()> {
        let Some((oldest, newest)) = self.journal.bounds()? else {
            return Ok(());
        };
        let mut reached = index.reached()?;
        if reached.number > 0 && !self.is_of_this_journal(&reached, oldest)? {
            index.clear()?;
            reached = Reached::default();
        }
        while reached.number < newest {
            let (touched, to) = self.next_step(&reached)?;
            let Some(to) = to else { break };
            index.add(&reached, &touched, &to, oldest)?;
            reached = to;
        }
        Ok(())
    }

    /// Of an event that was pruned nothing can be told but its number.
    fn is_of_this_journal(&self, reached: &Reached, oldest: i64) -> rusqlite::Result<bool> {
        match self.journal.event(reached.number)? {
            Some(kept) => Ok(kept.event_id == reached.event_id),
            None => Ok(reached.number < oldest),
        }
    }

    fn next_step(&mut self, reached: &Reached) -> anyhow::Result<(Touched, Option<Reached>)> {
        let mut touched = Vec::new();
        let mut to = None;
        let kept = self.journal.events(reached.number + 1, EVENTS_PER_STEP)?;
        for kept in &kept {
            to = Some(Reached {
                number: kept.number,
                event_id: kept.event_id.clone(),
            });
            let schema = self.schemas.get(&self.journal, &kept.schema_id)?;
            let mut change = Change::default();
            let is_read = schema.is_some_and(|schema| schema.decode(&kept.payload, &mut change).is_ok());
            let mut ids: BTreeSet<&str> = change.header.record_ids.iter().map(|id| id.as_str()).collect();
            if !is_read {
                ids.extend(ids_in(&kept.payload));
            }
            touched.extend(ids.into_iter().map(|id| (id.to_owned(), kept.number)));
        }
        Ok((touched, to))
    }
}

/// Every id in the bytes of an event that cannot be read: it is about any of these records.
fn ids_in(bytes: &[u8]) -> impl Iterator<Item = &str> {
    let windows = bytes
        .windows(ID_BYTES)
        .filter_map(|id| std::str::from_utf8(id).ok());
    windows.filter(|id| id::is_id(id))
}
