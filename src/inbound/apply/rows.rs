//! Applying whole rows: pages of a load, rows of a poll, records read again.

use csv::StringRecord;
use serde_json::{Map, Value as Json};

use crate::inbound::apply::dependants::texts;
use crate::inbound::apply::ledger::withdraw;
use crate::inbound::apply::page::{Columns, each_row};
use crate::inbound::apply::queue::{Finished, Written};
use crate::inbound::apply::{Phase, World, cells};
use crate::inbound::command::{Page, RepairedRow, Rows, Source};
use crate::inbound::mapping::stamp_field;
use crate::model::brake::Answer;
use crate::model::clock::{Millis, Moment};
use crate::salesforce::pages::unreadable;
use crate::store::cache::absence::{self, Admission, Leave};
use crate::store::cache::compare;
use crate::store::cache::loads::{self, Load};
use crate::store::cache::repairs::reason;
use crate::store::cache::rows::{Mirror, Outcome, Whole};
use crate::store::cache::{Batch, objects};

/// The rows of an answer were not kept.
#[derive(Debug, thiserror::Error)]
#[error(
    "the journal does not hold the rows of {0} that were read: set [state] keep_rows, and have the cache made anew"
)]
pub(super) struct NotKept(String);

/// Answer to a page of a load that was given up meanwhile.
const GIVEN_UP: &str = "another load of the object has begun";

/// What becomes of a row that the org does not know, among many.
const WAITS: &str = "not in the org: its removal waits for a person";

/// Why a row that a page and the stream disagree on is read once more.
const CHANGED_MEANWHILE: &str = "changed while the object was read";

impl World {
    pub(super) fn begin_load(
        &mut self,
        batch: &mut Batch<'_>,
        object: &str,
        watermark: Millis,
        asked: Option<Moment>,
    ) -> anyhow::Result<Load> {
        let index = self.index(object)?;
        let load = batch.begin_load(&self.objects[index].mirror, watermark, self.now)?;
        self.objects[index].phase = Phase::Loading { load, again: false };
        self.objects[index].read_at = Some(watermark);
        if let Some(asked) = asked {
            batch.load_asked(object, asked)?;
        }
        Ok(load)
    }

    pub(super) fn finish_load(
        &mut self,
        batch: &mut Batch<'_>,
        object: &str,
        run: u64,
        rows: Option<u64>,
        answer: Option<Answer>,
    ) -> anyhow::Result<Finished> {
        let index = self.index(object)?;
        let Some(load) = self.load(index, run) else {
            return Ok(Finished::Swept(0));
        };
        let leave = match self.may_sweep(batch, index, &load, rows, answer)? {
            Ok(leave) => leave,
            Err(unfinished) => return Ok(unfinished),
        };
        let asked = batch.when_load_asked(object, self.moment)?;
        self.bound_watermark(batch, index)?;
        let swept = batch.finish_load(&self.objects[index].mirror, &load, leave, self.now)?;
        let phase = std::mem::replace(&mut self.objects[index].phase, Phase::Settled);
        if matches!(phase, Phase::Loading { again: true, .. }) {
            self.reload(batch, object, "asked for while the object was read")?;
        }
        self.loaded(batch, object, asked)?;
        // Entries for the object have waited for this.
        self.ledger_rings = true;
        Ok(match leave {
            Some(_) => Finished::Swept(swept),
            None => Finished::Waits,
        })
    }

    /// Whether the rows that a load did not see may leave; `None` where they stay for now, an error where the load cannot
    /// end yet.
    fn may_sweep(
        &mut self,
        batch: &mut Batch<'_>,
        index: usize,
        load: &Load,
        rows: Option<u64>,
        answer: Option<Answer>,
    ) -> anyhow::Result<Result<Option<Leave>, Finished>> {
        let mirror = &self.objects[index].mirror;
        let object = &mirror.table.object;
        if let Some(rows) = rows.filter(|_| !load.fresh)
            && rows != batch.seen_rows(load)?
        {
            batch.restart_load(object)?;
            return Ok(Err(Finished::Incomplete));
        }
        let (absent, of) = match load.fresh {
            true => (0, 0),
            false => batch.unseen_rows(mirror, load)?,
        };
        let reason = "a load did not find them";
        Ok(match batch.admit(object, absent, of, answer, reason, self.now)? {
            Admission::Leave(leave) => {
                withdraw(
                    batch,
                    object,
                    Millis::MAX,
                    "a read of the whole object did not find it necessary",
                )?;
                batch.end_wait(object, 0)?;
                Ok(Some(leave))
            }
            Admission::Ask => Err(Finished::Ask),
            Admission::Incomplete => {
                batch.restart_load(object)?;
                Err(Finished::Incomplete)
            }
            Admission::Wait => {
                tracing::error!(
                    object,
                    absent,
                    of,
                    "{absent} of {of} rows of {object} were not found in the org: their removal waits for a person, see storesync removals"
                );
                Ok(None)
            }
        })
    }

    /// What was read as a whole is here up to the org's time when that began, as far as that is known, and never later
    /// than stamps that were seen: those less what the load took are of before it.
    fn bound_watermark(&mut self, batch: &mut Batch<'_>, index: usize) -> anyhow::Result<()> {
        let table = &self.objects[index].mirror.table;
        let under_way = loads::load(batch.connection(), &table.object)?;
        let (Some(stamp), Some(under_way)) = (stamp_field(table), under_way) else {
            return Ok(());
        };
        let took = (self.now - under_way.begun_at).max(0);
        let newest = objects::newest_stamp(batch.connection(), table, stamp)?.unwrap_or(0);
        let stored = objects::object(batch.connection(), &table.object)?.and_then(|object| object.watermark);
        let bound = (newest - took).max(0);
        if stored > Some(bound) {
            batch.set_watermark(&table.object, bound)?;
        }
        Ok(())
    }

    /// A page of CSV. Columns are found by the header; one that the page lacks is null.
    pub(super) fn page(&mut self, batch: &mut Batch<'_>, page: &Page) -> anyhow::Result<Written> {
        let Page { object, place, .. } = page;
        let csv: &[u8] = page.csv.as_ref().ok_or_else(|| NotKept(object.clone()))?;
        let place = place.as_ref();
        let index = self.index(object)?;
        let Some(load) = self.load(index, page.run) else {
            return Ok(Err(GIVEN_UP.to_owned()));
        };
        let mut reader = csv::ReaderBuilder::new().from_reader(csv);
        let columns = match reader.headers() {
            Ok(header) if header.is_empty() => {
                batch.advance_load(object, &load, 0, place)?;
                return Ok(Ok(0));
            }
            Ok(header) => Columns::find(header, &self.objects[index].mirror),
            Err(error) => return Ok(Err(format!("a page of {object} has no readable header: {error}"))),
        };
        let Some(columns) = columns else {
            return Ok(Err(format!("a page of {object} has no column Id")));
        };
        let shown = self.objects[index].shown.clone();
        let mirror = &mut self.objects[index].mirror;
        let (mut newer, mut changed, mut broken) = (Vec::new(), Vec::new(), Vec::new());
        let mut write = |batch: &mut Batch<'_>, mirror: &mut Mirror, id: &str, record: &StringRecord| {
            let before = texts(batch, mirror, &shown, id)?;
            match columns.write(batch, mirror, &load, id, record)? {
                Whole::Newer => newer.push(id.to_owned()),
                Whole::Updated if texts(batch, mirror, &shown, id)? != before => changed.push(id.to_owned()),
                Whole::Updated | Whole::Same | Whole::Inserted => {}
            }
            Ok(())
        };
        let read = if load.fresh {
            let mut known = Vec::new();
            let mut inserter = batch.inserter(mirror)?;
            let mut inserted = 0;
            let read = each_row((csv, &mut reader), &columns, object, &mut broken, |id, record| {
                if columns.insert(&mut inserter, mirror, id, record)? {
                    inserted += 1;
                } else {
                    known.push((id.to_owned(), record.clone()));
                }
                Ok(())
            })?;
            drop(inserter);
            batch.inserted_quietly(mirror, inserted);
            for (id, record) in known {
                write(batch, mirror, &id, &record)?;
            }
            read
        } else {
            each_row((csv, &mut reader), &columns, object, &mut broken, |id, record| {
                batch.mark_seen(&load, id)?;
                write(batch, mirror, id, record)
            })?
        };
        for id in &broken {
            self.unreadable_row(batch, index, Some(load), id, "a text is no UTF-8")?;
        }
        self.follow_up(batch, index, &newer, &changed)?;
        if let Ok(rows) = read {
            batch.advance_load(object, &load, rows, place)?;
        }
        Ok(read)
    }

    /// A row that the org has and that cannot be read: it waits in the ledger, and no load takes it for deleted.
    fn unreadable_row(
        &mut self,
        batch: &mut Batch<'_>,
        index: usize,
        load: Option<Load>,
        id: &str,
        why: &str,
    ) -> rusqlite::Result<()> {
        if let Some(load) = load.filter(|load| !load.fresh) {
            batch.mark_seen(&load, id)?;
        }
        self.repair(batch, index, id, &format!("{}: {why}", reason::UNREADABLE))
    }

    /// What a page asks for besides: rows that the stream disagreed on, and rows whose change others show.
    fn follow_up(
        &mut self,
        batch: &mut Batch<'_>,
        index: usize,
        newer: &[String],
        changed: &[String],
    ) -> rusqlite::Result<()> {
        for id in newer {
            self.repair(batch, index, id, CHANGED_MEANWHILE)?;
        }
        for id in changed {
            self.read_dependants(batch, index, id)?;
        }
        Ok(())
    }

    /// Rows of REST, of a load or a poll.
    pub(super) fn rows(&mut self, batch: &mut Batch<'_>, given: &Rows) -> anyhow::Result<Written> {
        let Rows {
            object,
            source,
            count,
            rows,
        } = given;
        anyhow::ensure!(*count == rows.len(), NotKept(object.clone()));
        let index = self.index(object)?;
        let (read_rev, load) = match *source {
            Source::Poll { read_rev, .. } | Source::CatchUp { read_rev } => (read_rev, None),
            Source::Load { run } => match self.load(index, run) {
                Some(load) => (load.start_rev, Some(load)),
                None => return Ok(Err(GIVEN_UP.to_owned())),
            },
        };
        let polled = matches!(source, Source::Poll { .. });
        let caught_up = self.objects[index].catching_up;
        for row in rows {
            let Some(id) = row.get("Id").and_then(Json::as_str) else {
                return Ok(Err(format!("a row of {object} has no Id")));
            };
            if let Some(reason) = unreadable(row) {
                self.unreadable_row(batch, index, load, id, reason)?;
                continue;
            }
            let (differed, too_late) = if row.get("IsDeleted") == Some(&Json::Bool(true)) {
                let mirror = &self.objects[index].mirror;
                let outcome = batch.delete_untouched(mirror, id, read_rev, Leave::told_by_the_org())?;
                (outcome == Outcome::Changed, outcome == Outcome::AlreadyCurrent)
            } else {
                if let Some(load) = load.filter(|load| !load.fresh) {
                    batch.mark_seen(&load, id)?;
                }
                let shown = self.shown(batch, index, id)?;
                let mirror = &mut self.objects[index].mirror;
                let whole = write_json(batch, mirror, id, row, read_rev)?;
                if whole == Whole::Updated {
                    self.compare_shown(batch, index, id, &shown)?;
                }
                (
                    matches!(whole, Whole::Inserted | Whole::Updated),
                    whole == Whole::Newer,
                )
            };
            if let Some(count) = self.objects[index].catching_up.as_mut().filter(|_| differed) {
                *count += 1;
            }
            if too_late && !polled {
                self.repair(batch, index, id, CHANGED_MEANWHILE)?;
            }
        }
        if self.objects[index].catching_up != caught_up {
            batch.set_catching_up(object, self.objects[index].catching_up)?;
        }
        if let Some(load) = load {
            batch.advance_load(object, &load, rows.len() as u64, None)?;
        }
        if let Source::Poll {
            watermark: Some(watermark),
            proved,
            ..
        } = source
        {
            batch.set_watermark(object, *watermark)?;
            self.polled(batch, object, *proved)?;
        }
        Ok(Ok(rows.len() as u64))
    }

    /// Records read again. A repair whose record was touched meanwhile stays open and is read once more.
    pub(super) fn repaired(
        &mut self,
        batch: &mut Batch<'_>,
        object: &str,
        read_rev: i64,
        rows: Option<&[RepairedRow]>,
    ) -> anyhow::Result<()> {
        let rows = rows.ok_or_else(|| NotKept(object.to_owned()))?;
        let index = self.index(object)?;
        let absent = self.may_leave(batch, index, rows)?;
        for (number, id, row) in rows {
            if !batch.is_open(*number)? {
                continue;
            }
            let shown = self.shown(batch, index, id)?;
            let mirror = &mut self.objects[index].mirror;
            let told = row
                .as_ref()
                .is_some_and(|row| row.get("IsDeleted") == Some(&Json::Bool(true)));
            let leave = if told {
                Some(Leave::told_by_the_org())
            } else {
                absent
            };
            let found = match row {
                Some(row) if !told => match write_json(batch, mirror, id, row, read_rev)? {
                    Whole::Newer => None,
                    Whole::Same => Some("same"),
                    Whole::Updated => {
                        self.compare_shown(batch, index, id, &shown)?;
                        Some("changed")
                    }
                    Whole::Inserted => Some("missing here"),
                },
                _ => match leave {
                    None => Some(WAITS),
                    Some(leave) => match batch.delete_untouched(mirror, id, read_rev, leave)? {
                        Outcome::AlreadyCurrent => None,
                        Outcome::Changed => Some("deleted in the org"),
                        Outcome::Missing => Some("in neither"),
                    },
                },
            };
            match found {
                Some(found) => batch.close_repair(*number, found, self.now)?,
                None => self.ledger_rings = true,
            }
        }
        if absent.is_none() {
            batch.count_waiting(object, WAITS)?;
        }
        Ok(())
    }

    /// Whether the records that the org does not know may leave. It was asked whether they are deleted before.
    fn may_leave(
        &mut self,
        batch: &mut Batch<'_>,
        index: usize,
        rows: &[RepairedRow],
    ) -> anyhow::Result<Option<Leave>> {
        let table = &self.objects[index].mirror.table;
        let mut absent = 0;
        for (.., id, row) in rows {
            absent += u64::from(row.is_none() && compare::has_row(batch.connection(), table, id)?);
        }
        if absent == 0 {
            return Ok(Some(Leave::told_by_the_org()));
        }
        let object = &table.object;
        // Whatever waits, waits for the same person.
        let waiting = absence::waiting(batch.connection())?;
        if waiting.iter().any(|waiting| waiting.object == *object) {
            return Ok(None);
        }
        let of = objects::object(batch.connection(), object)?.map_or(0, |object| object.rows.unsigned_abs());
        let answer = Answer {
            asked: absent,
            ..Answer::default()
        };
        let reason = "the org does not know them, one by one";
        let admitted = batch.admit(object, absent, of, Some(answer), reason, self.now)?;
        if let Admission::Leave(leave) = admitted {
            return Ok(Some(leave));
        }
        tracing::error!(
            object,
            absent,
            of,
            "{absent} rows of {object} were not found in the org: their removal waits for a person, see storesync removals"
        );
        Ok(None)
    }

    pub(super) fn index(&self, object: &str) -> anyhow::Result<usize> {
        self.by_name
            .get(object)
            .copied()
            .ok_or_else(|| anyhow::anyhow!("{object} is not mirrored"))
    }

    fn load(&self, index: usize, run: u64) -> Option<Load> {
        match &self.objects[index].phase {
            Phase::Loading { load, .. } if load.run == run => Some(*load),
            _ => None,
        }
    }
}

fn write_json(
    batch: &mut Batch<'_>,
    mirror: &mut Mirror,
    id: &str,
    row: &Map<String, Json>,
    read_rev: i64,
) -> rusqlite::Result<Whole> {
    let written = cells::written_of(&mirror.table, row);
    let values = cells::values_of(&mirror.table, row, &written);
    let stamp = stamp_field(&mirror.table)
        .and_then(|field| row.get(field))
        .and_then(Json::as_str)
        .and_then(cells::stamp)
        .unwrap_or(0);
    batch.write_whole(mirror, id, &values, stamp, read_rev)
}
