//! All that touched one record, in the order in which it went through the door.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap};

use csv::ReaderBuilder;
use serde_json::{Map, Value as Json};

use crate::inbound::apply::cells;
use crate::inbound::command::{CHANGED, Command, RepairedRow, START};
use crate::inbound::mapping::stamp_field;
use crate::journal::history::History;
use crate::journal::history::events::{Event, Said, Set, plain};
use crate::journal::replay::commands;
use crate::model::change::ChangeKind;
use crate::model::clock::{Millis, format_datetime};
use crate::model::row::{Column, ColumnKind, Table, Value};
use crate::store::journal::read::{KeptBatch, KeptPage};

/// A row, by describe's names.
pub type Row = BTreeMap<String, Json>;

/// Something that touched a record.
#[derive(Clone, Debug)]
pub struct Touch {
    /// The org's time: commit of an event, stamp of a row that was read; when it was read where it has none.
    pub at: Millis,
    pub seen_at: Millis,
    pub cause: Cause,
    pub what: What,
    /// Its place: the batch of the journal, and the work in it.
    pub place: (i64, usize),
    /// The newest revision before its batch.
    pub rev: i64,
    /// Of a read: where the feed stood when it began.
    pub read_rev: i64,
}

/// What a touch came from.
#[derive(Clone, Debug)]
pub enum Cause {
    Event(Box<Event>),
    /// The org answered: `load`, `poll`, `catch_up`, `re_read`; or a load began or ended.
    Read(String),
}

/// What a touch says of the record.
#[derive(Clone, Debug)]
pub enum What {
    /// As the org has it.
    Whole(Row),
    /// Some fields. `makes` where the record is new or back.
    Part {
        said: Said,
        makes: bool,
    },
    Gone,
    /// That it changed, and not how.
    Unsaid,
    /// A load of its object began.
    LoadBegun,
    /// A load of its object ended: what it did not see is gone.
    LoadEnded,
}

impl History {
    /// The columns of an object, as the newest start or change of the org's schema has them.
    pub fn table(&self, object: &str) -> anyhow::Result<Option<Table>> {
        let Some(start) = self.journal.batch_before(i64::MAX, START)? else {
            return Ok(None);
        };
        let mut found = None;
        let later = self.journal.batches_with(start.number + 1, CHANGED)?;
        for batch in std::iter::once(start).chain(later) {
            for command in commands(&batch)? {
                let of_it = command
                    .into_planned()
                    .into_iter()
                    .find(|planned| planned.table.object.eq_ignore_ascii_case(object));
                found = of_it.map(|planned| planned.table).or(found);
            }
        }
        Ok(found)
    }

    /// What touched a record. `table` is that of its object, where it is known.
    pub fn touches(&mut self, object: &str, id: &str, table: Option<&Table>) -> anyhow::Result<Vec<Touch>> {
        let mut batches = Batches::default();
        let mut touches = Vec::new();
        if let Some(table) = table {
            for page in self.journal.pages_with(&table.object, id)? {
                touches.extend(self.read_touch(&mut batches, table, id, &page)?);
            }
        }
        let read: Vec<i64> = touches.iter().map(|touch| touch.place.0).collect();
        for number in self.events_of(id)? {
            let Some(kept) = self.journal.event(number)? else {
                continue;
            };
            let event = self.read(kept)?;
            let of_it = |said: &Said| said.object.eq_ignore_ascii_case(object);
            if event.said.as_ref().is_ok_and(of_it) {
                touches.push(self.event_touch(&mut batches, event, &read)?);
            }
        }
        touches.sort_by_key(|touch| touch.place);
        Ok(touches)
    }

    fn event_touch(&self, batches: &mut Batches, event: Event, read: &[i64]) -> anyhow::Result<Touch> {
        let number = event.kept.number;
        let batch = match self.journal.batch_of(number)? {
            Some(batch) => batches.get(self, batch)?,
            None => None,
        };
        // Where in its batch matters only beside a read in the same.
        let work = match batch.filter(|batch| read.contains(&batch.number)) {
            Some(batch) => commands(batch)?
                .iter()
                .position(|command| has_event(command, number))
                .unwrap_or(0),
            None => 0,
        };
        let (at, what) = match &event.said {
            Ok(said) => (said.committed_at, says(said)),
            Err(_) => (event.kept.received_at, What::Unsaid),
        };
        Ok(Touch {
            at,
            seen_at: event.kept.received_at,
            what,
            place: (batch.map_or(0, |batch| batch.number), work),
            rev: batch.map_or(0, |batch| batch.rev),
            read_rev: 0,
            cause: Cause::Event(Box::new(event)),
        })
    }

    fn read_touch(
        &self,
        batches: &mut Batches,
        table: &Table,
        id: &str,
        page: &KeptPage,
    ) -> anyhow::Result<Option<Touch>> {
        let bare = match page.kind.as_str() {
            "load_begun" => Some(What::LoadBegun),
            "load_ended" => Some(What::LoadEnded),
            _ => None,
        };
        let what = match bare {
            Some(what) => Some(what),
            None => find(table, id, &page.unpack()?)?,
        };
        let Some(what) = what else { return Ok(None) };
        let batch = batches.get(self, page.batch)?;
        let mut rev = 0;
        let mut read_rev = 0;
        if let Some(batch) = batch {
            rev = batch.rev;
            let command = commands(batch)?.into_iter().nth(page.command);
            read_rev = command.and_then(|command| command.read_rev()).unwrap_or(0);
        }
        let stamp = match &what {
            What::Whole(row) => stamp_field(table)
                .and_then(|field| row.get(field)?.as_str())
                .and_then(cells::stamp),
            _ => None,
        };
        Ok(Some(Touch {
            at: stamp.unwrap_or(page.taken_at),
            seen_at: page.taken_at,
            cause: Cause::Read(page.kind.clone()),
            what,
            place: (page.batch, page.command),
            rev,
            read_rev,
        }))
    }
}

/// Batches that were read.
#[derive(Default)]
struct Batches(HashMap<i64, Option<KeptBatch>>);

impl Batches {
    fn get(&mut self, history: &History, number: i64) -> rusqlite::Result<Option<&KeptBatch>> {
        Ok(match self.0.entry(number) {
            Entry::Occupied(known) => known.into_mut().as_ref(),
            Entry::Vacant(place) => place.insert(history.journal.batch(number)?).as_ref(),
        })
    }
}

fn has_event(command: &Command, number: i64) -> bool {
    let runs = command
        .events()
        .map(|events| &events.runs[..])
        .unwrap_or_default();
    runs.iter()
        .any(|(first, count)| (*first..first + count).contains(&number))
}

fn says(said: &Said) -> What {
    let part = |makes| What::Part {
        said: said.clone(),
        makes,
    };
    match said.kind {
        ChangeKind::Create | ChangeKind::Undelete => part(true),
        ChangeKind::Update => part(false),
        ChangeKind::Delete => What::Gone,
        ChangeKind::Gap(_) | ChangeKind::Overflow | ChangeKind::Snapshot => What::Unsaid,
    }
}

/// What an answer of the org says of a record: CSV of a load, or JSON of anything else.
fn find(table: &Table, id: &str, page: &[u8]) -> anyhow::Result<Option<What>> {
    if page.first() != Some(&b'[') {
        return from_csv(table, id, page);
    }
    if let Ok(rows) = serde_json::from_slice::<Vec<Map<String, Json>>>(page) {
        let row = rows
            .into_iter()
            .find(|row| row.get("Id").and_then(Json::as_str) == Some(id));
        return Ok(row.map(|row| match row.get("IsDeleted") {
            Some(Json::Bool(true)) => What::Gone,
            _ => What::Whole(from_json(table, &row)),
        }));
    }
    let rows: Vec<RepairedRow> = serde_json::from_slice(page)?;
    let found = rows.into_iter().find(|(_, of, _)| of == id);
    Ok(found.map(|(_, _, row)| match row {
        Some(row) if row.get("IsDeleted") != Some(&Json::Bool(true)) => What::Whole(from_json(table, &row)),
        _ => What::Gone,
    }))
}

fn from_csv(table: &Table, id: &str, page: &[u8]) -> anyhow::Result<Option<What>> {
    let mut reader = ReaderBuilder::new().flexible(true).from_reader(page);
    let header = reader.headers()?.clone();
    let place = |name: &str| header.iter().position(|title| title.eq_ignore_ascii_case(name));
    let Some(id_place) = place("Id") else {
        return Ok(None);
    };
    let mut record = csv::StringRecord::new();
    while reader.read_record(&mut record)? {
        if record.get(id_place) != Some(id) {
            continue;
        }
        let text = |column: &Column| {
            place(&column.field)
                .and_then(|place| record.get(place))
                .unwrap_or("")
        };
        let columns = table.columns.iter();
        let row = columns.map(|column| {
            let value = cells::from_text(column.kind, text(column));
            (column.field.clone(), of_column(column.kind, value))
        });
        return Ok(Some(What::Whole(row.collect())));
    }
    Ok(None)
}

fn from_json(table: &Table, row: &Map<String, Json>) -> Row {
    let written = cells::written_of(table, row);
    let values = cells::values_of(table, row, &written);
    let columns = table.columns.iter().zip(values);
    columns
        .map(|(column, value)| (column.field.clone(), of_column(column.kind, value)))
        .collect()
}

fn of_column(kind: ColumnKind, value: Value<'_>) -> Json {
    match value {
        Value::Integer(number) if kind == ColumnKind::Boolean => Json::from(number != 0),
        value => plain(value),
    }
}

/// The stamp that an event's row gets, since events do not carry it.
pub(super) fn stamp_of(said: &Said) -> Json {
    let modified = said
        .fields
        .iter()
        .find(|set| set.field.eq_ignore_ascii_case("LastModifiedDate") && !set.value.is_null());
    modified.map_or_else(
        || Json::from(format_datetime(said.committed_at)),
        |Set { value, .. }| value.clone(),
    )
}
