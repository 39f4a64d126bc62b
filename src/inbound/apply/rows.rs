//! Applying whole rows: pages of a load, rows of a poll, records read again.

use csv::{Reader, StringRecord};
use serde_json::{Map, Value as Json};

use crate::inbound::apply::dependants::texts;
use crate::inbound::apply::work::{RepairedRow, Source, Written};
use crate::inbound::apply::{Phase, World, cells};
use crate::inbound::mapping::stamp_field;
use crate::model::clock::Millis;
use crate::model::row::Value;
use crate::store::cache::loads::{self, Load, Place};
use crate::store::cache::rows::{Inserter, Mirror, Outcome, Whole};
use crate::store::cache::{Batch, objects};

/// Answer to a page of a load that was given up meanwhile.
const GIVEN_UP: &str = "another load of the object has begun";

/// Why a row that a page and the stream disagree on is read once more.
const CHANGED_MEANWHILE: &str = "changed while the object was read";

impl World {
    pub(super) fn begin_load(
        &mut self,
        batch: &mut Batch<'_>,
        object: &str,
        watermark: Millis,
    ) -> anyhow::Result<Load> {
        let index = self.index(object)?;
        self.runs += 1;
        let load = batch.begin_load(&self.objects[index].mirror, self.runs, watermark, self.now)?;
        self.objects[index].phase = Phase::Loading { load, again: false };
        self.objects[index].read_at = Some(watermark);
        Ok(load)
    }

    pub(super) fn finish_load(
        &mut self,
        batch: &mut Batch<'_>,
        object: &str,
        run: u64,
    ) -> anyhow::Result<usize> {
        let index = self.index(object)?;
        let Some(load) = self.load(index, run) else {
            return Ok(0);
        };
        let asked = batch.when_load_asked(object, self.moment)?;
        self.bound_watermark(batch, index)?;
        let swept = batch.finish_load(&self.objects[index].mirror, &load, self.now)?;
        let phase = std::mem::replace(&mut self.objects[index].phase, Phase::Settled);
        if matches!(phase, Phase::Loading { again: true, .. }) {
            self.reload(batch, object, "asked for while the object was read")?;
        }
        self.loaded(batch, object, asked)?;
        // Entries for the object have waited for this.
        self.ledger_rings = true;
        Ok(swept)
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
    pub(super) fn page(
        &mut self,
        batch: &mut Batch<'_>,
        object: &str,
        run: u64,
        csv: &[u8],
        place: Option<&Place>,
    ) -> anyhow::Result<Written> {
        let index = self.index(object)?;
        let Some(load) = self.load(index, run) else {
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
        let (mut newer, mut changed) = (Vec::new(), Vec::new());
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
            let read = each_row(&mut reader, &columns, object, |id, record| {
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
            each_row(&mut reader, &columns, object, |id, record| {
                batch.mark_seen(&load, id)?;
                write(batch, mirror, id, record)
            })?
        };
        self.follow_up(batch, index, &newer, &changed)?;
        if let Ok(rows) = read {
            batch.advance_load(object, &load, rows, place)?;
        }
        Ok(read)
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
    pub(super) fn rows(
        &mut self,
        batch: &mut Batch<'_>,
        object: &str,
        source: &Source,
        rows: &[Map<String, Json>],
    ) -> anyhow::Result<Written> {
        let index = self.index(object)?;
        let (read_rev, load) = match *source {
            Source::Poll { read_rev, .. } | Source::CatchUp { read_rev } => (read_rev, None),
            Source::Load { run } => match self.load(index, run) {
                Some(load) => (load.start_rev, Some(load)),
                None => return Ok(Err(GIVEN_UP.to_owned())),
            },
        };
        let polled = matches!(source, Source::Poll { .. });
        for row in rows {
            let Some(id) = row.get("Id").and_then(Json::as_str) else {
                return Ok(Err(format!("a row of {object} has no Id")));
            };
            let (differed, too_late) = if row.get("IsDeleted") == Some(&Json::Bool(true)) {
                let mirror = &self.objects[index].mirror;
                let outcome = batch.delete_untouched(mirror, id, read_rev)?;
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
        match source {
            Source::Poll {
                watermark: Some(watermark),
                proved,
                ..
            } => {
                batch.set_watermark(object, *watermark)?;
                self.polled(batch, object, *proved)?;
            }
            Source::Load { .. } => {
                if let Some(load) = load {
                    batch.advance_load(object, &load, rows.len() as u64, None)?;
                }
            }
            Source::Poll { .. } | Source::CatchUp { .. } => {}
        }
        Ok(Ok(rows.len() as u64))
    }

    /// Records read again. A repair whose record was touched meanwhile stays open and is read once more.
    pub(super) fn repaired(
        &mut self,
        batch: &mut Batch<'_>,
        object: &str,
        read_rev: i64,
        rows: &[RepairedRow],
    ) -> anyhow::Result<()> {
        let index = self.index(object)?;
        for (number, id, row) in rows {
            if !batch.is_open(*number)? {
                continue;
            }
            let shown = self.shown(batch, index, id)?;
            let mirror = &mut self.objects[index].mirror;
            let found = match row {
                Some(row) => match write_json(batch, mirror, id, row, read_rev)? {
                    Whole::Newer => None,
                    Whole::Same => Some("same"),
                    Whole::Updated => {
                        self.compare_shown(batch, index, id, &shown)?;
                        Some("changed")
                    }
                    Whole::Inserted => Some("missing here"),
                },
                None => match batch.delete_untouched(mirror, id, read_rev)? {
                    Outcome::AlreadyCurrent => None,
                    Outcome::Changed => Some("deleted in the org"),
                    Outcome::Missing => Some("in neither"),
                },
            };
            match found {
                Some(found) => batch.close_repair(*number, found, self.now)?,
                None => self.ledger_rings = true,
            }
        }
        Ok(())
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

/// Where the columns of a table are in a page.
struct Columns {
    id: usize,
    stamp: Option<usize>,
    fields: Vec<Option<usize>>,
}

impl Columns {
    fn find(header: &StringRecord, mirror: &Mirror) -> Option<Self> {
        let place = |name: &str| header.iter().position(|title| title.eq_ignore_ascii_case(name));
        let fields = mirror
            .table
            .columns
            .iter()
            .map(|column| place(&column.field))
            .collect();
        Some(Self {
            id: place("Id")?,
            stamp: stamp_field(&mirror.table).and_then(place),
            fields,
        })
    }

    fn id<'r>(&self, record: &'r StringRecord) -> Option<&'r str> {
        record.get(self.id).filter(|id| !id.is_empty())
    }

    /// The row's columns, and its stamp.
    fn values<'r>(
        &self,
        mirror: &Mirror,
        record: &'r StringRecord,
    ) -> (impl Iterator<Item = Value<'r>>, Millis) {
        let text = |place: Option<usize>| place.and_then(|place| record.get(place)).unwrap_or("");
        let stamp = cells::stamp(text(self.stamp)).unwrap_or(0);
        let columns = mirror.table.columns.iter().zip(&self.fields);
        let values = columns.map(move |(column, place)| cells::from_text(column.kind, text(*place)));
        (values, stamp)
    }

    /// Adds the row to a table that was empty; `false` where the stream has brought it meanwhile.
    fn insert(
        &self,
        inserter: &mut Inserter<'_>,
        mirror: &Mirror,
        id: &str,
        record: &StringRecord,
    ) -> rusqlite::Result<bool> {
        let (values, stamp) = self.values(mirror, record);
        inserter.insert(id, values.enumerate(), stamp, stamp)
    }

    fn write(
        &self,
        batch: &mut Batch<'_>,
        mirror: &mut Mirror,
        load: &Load,
        id: &str,
        record: &StringRecord,
    ) -> rusqlite::Result<Whole> {
        let (values, stamp) = self.values(mirror, record);
        let values: Vec<Value<'_>> = values.collect();
        batch.write_whole(mirror, id, &values, stamp, load.start_rev)
    }
}

/// Goes through the rows of a page, in one record that is reused. Gives their number, or why it ends early.
fn each_row(
    reader: &mut Reader<&[u8]>,
    columns: &Columns,
    object: &str,
    mut take: impl FnMut(&str, &StringRecord) -> rusqlite::Result<()>,
) -> rusqlite::Result<Written> {
    let mut record = StringRecord::new();
    let mut rows = 0;
    loop {
        match reader.read_record(&mut record) {
            Ok(true) => {}
            Ok(false) => return Ok(Ok(rows)),
            Err(error) => return Ok(Err(format!("a page of {object} cannot be read: {error}"))),
        }
        let Some(id) = columns.id(&record) else {
            return Ok(Err(format!("a page of {object} has a row without an id")));
        };
        take(id, &record)?;
        rows += 1;
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
