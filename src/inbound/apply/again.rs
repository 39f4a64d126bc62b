//! The door, for what went through it before: see [`crate::inbound::replay`].

use anyhow::Context as _;
use bytes::Bytes;
use serde_json::{Map, Value};

use crate::inbound::apply::log::Note;
use crate::inbound::apply::work::{Events, RepairedRow, Source};
use crate::inbound::apply::{Phase, World, name_of};
use crate::model::change::{RawEvent, ReplayId};
use crate::model::clock::Millis;
use crate::store::cache::absence::Decision;
use crate::store::cache::{Batch, Cache};

/// A note with what the journal keeps beside it.
pub(in crate::inbound) struct Again {
    pub note: Note,
    pub events: Vec<RawEvent>,
    /// Schemas that were learnt with the events: id and text.
    pub schemas: Vec<(String, String)>,
    /// What the org answered, unpacked.
    pub page: Option<Vec<u8>>,
}

impl Again {
    /// A note with nothing beside it.
    pub fn of(note: Note) -> Self {
        Self {
            note,
            events: Vec::new(),
            schemas: Vec::new(),
            page: None,
        }
    }
}

/// A batch, to be applied again.
pub(in crate::inbound) struct AgainBatch {
    pub number: i64,
    pub at: Millis,
    pub rev: i64,
    /// Nothing is left out: every number is what it was.
    pub exact: bool,
    pub works: Vec<Again>,
}

/// The rows of an answer were not kept.
#[derive(Debug, thiserror::Error)]
#[error(
    "the journal does not hold the rows of {0} that were read: set [state] keep_rows, and have the cache made anew"
)]
pub struct NotKept(String);

impl World {
    /// Applies a batch as [`super::run`] did. Nobody waits for answers.
    pub(in crate::inbound) fn again(&mut self, cache: &mut Cache, again: AgainBatch) -> anyhow::Result<()> {
        self.now = again.at;
        for (id, json) in again.works.iter().flat_map(|work| &work.schemas) {
            self.schemas.learn(id, json, &self.objects, &self.by_name);
        }
        let mut batch = cache.batch()?;
        batch.is_batch(again.number);
        batch.raise_rev(again.rev);
        for mut work in again.works {
            if !again.exact {
                self.renumber(&mut work.note);
            }
            self.work_again(&mut batch, work)?;
        }
        // Stored as it was, and told to nobody: it happened long ago.
        std::mem::take(&mut self.tally).store(&mut batch, name_of(&self.objects))?;
        batch.commit()?;
        cache.bound_log()?;
        self.replies.clear();
        Ok(())
    }

    /// Loads are numbered as they begin, and not all of them begin in a part.
    fn renumber(&self, note: &mut Note) {
        if let Note::Page { object, run, .. }
        | Note::FinishLoad { object, run, .. }
        | Note::Rows {
            object,
            source: Source::Load { run },
            ..
        } = note
            && let Some(index) = self.by_name.get(object)
            && let Phase::Loading { load, .. } = &self.objects[*index].phase
        {
            *run = load.run;
        }
    }

    fn work_again(&mut self, batch: &mut Batch<'_>, again: Again) -> anyhow::Result<()> {
        match again.note {
            Note::Events {
                topic,
                restart,
                latest,
                ..
            } => {
                let response = Events {
                    topic: topic.into(),
                    events: again.events.into(),
                    restart,
                    latest: latest.as_deref().and_then(ReplayId::from_hex),
                    ..Events::default()
                };
                self.events(batch, &response)?;
            }
            Note::BeginLoad { object, watermark } => {
                self.begin_load(batch, &object, watermark)?;
            }
            Note::Page { object, run, place } => {
                let csv = Bytes::from(again.page.ok_or_else(|| NotKept(object.clone()))?);
                // What was wrong with the page then, is wrong with it now.
                drop(self.page(batch, &object, run, &csv, place.as_ref())?);
            }
            Note::Rows { object, source, rows } => {
                let rows: Vec<Map<String, Value>> = match again.page {
                    Some(page) => serde_json::from_slice(&page).context("read a page of the journal")?,
                    None if rows == 0 => Vec::new(),
                    None => return Err(NotKept(object).into()),
                };
                drop(self.rows(batch, &object, &source, &rows)?);
            }
            Note::FinishLoad {
                object,
                run,
                rows,
                answer,
            } => {
                self.finish_load(batch, &object, run, rows, answer)?;
            }
            Note::Repaired { object, read_rev } => {
                let page = again.page.ok_or_else(|| NotKept(object.clone()))?;
                let rows: Vec<RepairedRow> =
                    serde_json::from_slice(&page).context("read a page of the journal")?;
                self.repaired(batch, &object, read_rev, &rows)?;
            }
            Note::ForgetApplied {} => batch.forget_applied()?,
            // The replay itself begins a world.
            Note::Start { .. } => {}
            note => self.ledger_again(batch, note)?,
        }
        Ok(())
    }

    fn ledger_again(&mut self, batch: &mut Batch<'_>, note: Note) -> anyhow::Result<()> {
        match note {
            Note::Lost { topic, objects } => {
                for object in &objects {
                    self.lost(batch, &topic, object)?;
                }
            }
            Note::CaughtUp { object, number, rows } => self.caught_up(batch, &object, number, rows)?,
            Note::Compared {
                object,
                number,
                rows,
                before,
                differing,
            } => self.compared(batch, &object, number, (rows, before), &differing)?,
            Note::Failed { numbers, error } => {
                for number in numbers {
                    batch.fail_repair(number, &error)?;
                }
            }
            Note::Removal { object, decision } => {
                if let Some(decision) = Decision::from_text(&decision) {
                    self.removal(batch, &object, decision)?;
                }
            }
            Note::ReadAgain { object, ids, reason } => self.read_again(batch, &object, &ids, &reason)?,
            Note::Reload { object, reason } => self.reload(batch, &object, &reason)?,
            Note::Changed { planned } => {
                self.changed(batch, &planned)?;
            }
            Note::ObjectProblem { object, problem } => {
                batch.set_object_problem(&object, problem.as_deref())?;
            }
            Note::ChannelProblem { topic, problem } => {
                batch.set_channel_problem(&topic, problem.as_deref(), self.now)?;
            }
            _ => {}
        }
        Ok(())
    }
}
