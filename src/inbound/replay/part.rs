//! A part of what went through the door: some object, or one record.

use std::collections::HashMap;

use serde_json::{Map, Value, json};

use crate::inbound::apply::again::Again;
use crate::inbound::apply::log::Note;
use crate::inbound::apply::work::{RepairedRow, Source};
use crate::inbound::decode::{Change, EventSchema};
use crate::store::journal::JournalReader;

/// Which records.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Only {
    /// By describe's name, whatever its case.
    pub object: Option<String>,
    /// 18 characters.
    pub record: Option<String>,
}

impl Only {
    pub fn is_everything(&self) -> bool {
        self.object.is_none() && self.record.is_none()
    }

    fn has_object(&self, object: &str) -> bool {
        self.object
            .as_ref()
            .is_none_or(|only| only.eq_ignore_ascii_case(object))
    }

    fn has_record(&self, id: &str) -> bool {
        self.record.as_ref().is_none_or(|only| only == id)
    }
}

/// Leaves out what is not asked for.
pub(super) struct Filter<'f> {
    journal: &'f JournalReader,
    only: &'f Only,
    schemas: HashMap<String, Option<EventSchema>>,
}

impl<'f> Filter<'f> {
    pub fn new(journal: &'f JournalReader, only: &'f Only) -> Self {
        Self {
            journal,
            only,
            schemas: HashMap::new(),
        }
    }

    pub fn learn(&mut self, schemas: &[(String, String)]) {
        if self.only.is_everything() {
            return;
        }
        for (id, json) in schemas {
            self.schemas
                .entry(id.clone())
                .or_insert_with(|| EventSchema::compile(json).ok());
        }
    }

    /// What is left of a work; none where it is about other objects.
    pub fn of(&mut self, again: Again) -> anyhow::Result<Option<Again>> {
        let Again {
            note,
            events,
            schemas,
            page,
        } = again;
        if object_of(&note).is_some_and(|object| !self.only.has_object(object)) {
            return Ok(None);
        }
        let mut kept_events = Vec::with_capacity(events.len());
        for event in events {
            if self.has_event(&event.schema_id, &event.payload)? {
                kept_events.push(event);
            }
        }
        let (note, page) = match (note, page) {
            // Its entries in the ledger may lie outside the part.
            (Note::Repaired { object, read_rev }, Some(page)) => {
                let rows: Vec<RepairedRow> = serde_json::from_slice(&page)?;
                let wanted = rows.into_iter().filter(|(_, id, _)| self.only.has_record(id));
                let rows: Vec<Map<String, Value>> = wanted.map(as_row).collect();
                let note = Note::Rows {
                    object,
                    source: Source::CatchUp { read_rev },
                    rows: rows.len(),
                };
                (note, Some(serde_json::to_vec(&rows)?))
            }
            (note @ Note::Rows { .. }, Some(page)) => {
                let rows: Vec<Map<String, Value>> = serde_json::from_slice(&page)?;
                let has = |row: &Map<String, Value>| {
                    row.get("Id")
                        .and_then(Value::as_str)
                        .is_some_and(|id| self.only.has_record(id))
                };
                let rows: Vec<_> = rows.into_iter().filter(has).collect();
                (note, Some(serde_json::to_vec(&rows)?))
            }
            (note @ Note::Page { .. }, Some(page)) => (note, Some(self.csv(page)?)),
            // What was found by comparing, and what was asked for, is read again: that is what counts.
            (Note::Compared { .. } | Note::ReadAgain { .. } | Note::Failed { .. }, _) => return Ok(None),
            (Note::CaughtUp { .. }, _) => return Ok(None),
            other => other,
        };
        Ok(Some(Again {
            note,
            events: kept_events,
            schemas,
            page,
        }))
    }

    pub fn has_event(&mut self, schema_id: &str, payload: &[u8]) -> anyhow::Result<bool> {
        if self.only.is_everything() {
            return Ok(true);
        }
        if !self.schemas.contains_key(schema_id) {
            let json = self.journal.schema(schema_id)?;
            let schema = json.and_then(|json| EventSchema::compile(&json).ok());
            self.schemas.insert(schema_id.to_owned(), schema);
        }
        let Some(Some(schema)) = self.schemas.get(schema_id) else {
            return Ok(false);
        };
        if !self.only.has_object(schema.entity()) {
            return Ok(false);
        }
        let mut change = Change::default();
        let ids = match schema.decode(payload, &mut change) {
            Ok(()) => &change.header.record_ids,
            // It is parked again.
            Err(_) => return Ok(true),
        };
        Ok(ids
            .iter()
            .map(|id| id.as_str())
            .any(|id| self.only.has_record(id) || id.ends_with('*')))
    }

    /// A page without the other records.
    fn csv(&self, page: Vec<u8>) -> anyhow::Result<Vec<u8>> {
        if self.only.record.is_none() {
            return Ok(page);
        }
        let mut reader = csv::ReaderBuilder::new().flexible(true).from_reader(&page[..]);
        let mut writer = csv::Writer::from_writer(Vec::new());
        let header = reader.headers()?.clone();
        writer.write_record(&header)?;
        let id = header.iter().position(|name| name.eq_ignore_ascii_case("Id"));
        for record in reader.records() {
            let record = record?;
            if id
                .and_then(|id| record.get(id))
                .is_some_and(|id| self.only.has_record(id))
            {
                writer.write_record(&record)?;
            }
        }
        Ok(writer.into_inner()?)
    }
}

/// A record read again, as a row that was asked for; one that was not there, as one that is deleted.
fn as_row((_, id, row): RepairedRow) -> Map<String, Value> {
    row.unwrap_or_else(|| {
        let mut gone = Map::new();
        gone.insert("Id".to_owned(), json!(id));
        gone.insert("IsDeleted".to_owned(), json!(true));
        gone
    })
}

fn object_of(note: &Note) -> Option<&str> {
    match note {
        Note::BeginLoad { object, .. }
        | Note::Page { object, .. }
        | Note::Rows { object, .. }
        | Note::FinishLoad { object, .. }
        | Note::Repaired { object, .. }
        | Note::Reload { object, .. }
        | Note::ObjectProblem { object, .. } => Some(object),
        Note::Changed { planned } => Some(&planned.table.object),
        _ => None,
    }
}
