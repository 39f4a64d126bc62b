//! A part of what was applied: some object, or one record.

use std::collections::HashMap;

use bytes::Bytes;
use serde_json::{Map, Value, json};

use crate::inbound::command::{Command, Events, Page, RepairedRow, Rows, Schema, Source};
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

    pub fn learn(&mut self, schemas: &[Schema]) {
        if self.only.is_everything() {
            return;
        }
        for Schema { id, json } in schemas {
            self.schemas
                .entry(id.clone())
                .or_insert_with(|| EventSchema::compile(json).ok());
        }
    }

    /// What is left of a command; none where it is about other objects.
    pub fn of(&mut self, command: Command) -> anyhow::Result<Option<Command>> {
        if object_of(&command).is_some_and(|object| !self.only.has_object(object)) {
            return Ok(None);
        }
        Ok(match command {
            Command::Events(events) => Some(Command::Events(self.events(events)?)),
            Command::Page(page) => Some(Command::Page(Page {
                csv: page.csv.map(|csv| self.csv(csv)).transpose()?,
                ..page
            })),
            Command::Rows(rows) => Some(self.rows(rows)),
            // Its entries in the ledger may lie outside the part.
            Command::Repaired {
                object,
                read_rev,
                rows: Some(rows),
            } => {
                let wanted = rows.into_iter().filter(|(_, id, _)| self.only.has_record(id));
                let rows = wanted.map(as_row).collect();
                Some(Command::rows(object, Source::CatchUp { read_rev }, rows))
            }
            // What was found by comparing, and what was asked for, is read again: that is what counts.
            Command::Compared { .. }
            | Command::ReadAgain { .. }
            | Command::Failed { .. }
            | Command::CaughtUp { .. } => None,
            Command::Start(_)
            | Command::Lost { .. }
            | Command::BeginLoad { .. }
            | Command::FinishLoad { .. }
            | Command::Removal { .. }
            | Command::Repaired { .. }
            | Command::Reload { .. }
            | Command::Changed { .. }
            | Command::Moved { .. }
            | Command::ObjectProblem { .. }
            | Command::ChannelProblem { .. }
            | Command::ForgetApplied {} => Some(command),
        })
    }

    fn events(&mut self, events: Events) -> anyhow::Result<Events> {
        let mut chosen = Vec::with_capacity(events.events.len());
        for event in events.events.iter() {
            if self.has_event(&event.schema_id, &event.payload)? {
                chosen.push(event.clone());
            }
        }
        Ok(Events {
            events: chosen.into(),
            ..events
        })
    }

    fn rows(&self, rows: Rows) -> Command {
        // Rows that were not kept are missed when they are applied.
        if rows.rows.len() != rows.count {
            return Command::Rows(rows);
        }
        let has = |row: &Map<String, Value>| {
            row.get("Id")
                .and_then(Value::as_str)
                .is_some_and(|id| self.only.has_record(id))
        };
        let chosen = rows.rows.into_iter().filter(has).collect();
        Command::rows(rows.object, rows.source, chosen)
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
    fn csv(&self, page: Bytes) -> anyhow::Result<Bytes> {
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
        Ok(writer.into_inner()?.into())
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

fn object_of(command: &Command) -> Option<&str> {
    match command {
        Command::BeginLoad { object, .. }
        | Command::Page(Page { object, .. })
        | Command::Rows(Rows { object, .. })
        | Command::FinishLoad { object, .. }
        | Command::Repaired { object, .. }
        | Command::Removal { object, .. }
        | Command::CaughtUp { object, .. }
        | Command::Compared { object, .. }
        | Command::ReadAgain { object, .. }
        | Command::Reload { object, .. }
        | Command::ObjectProblem { object, .. } => Some(object),
        Command::Changed { planned } => Some(&planned.table.object),
        Command::Start(_)
        | Command::Events(_)
        | Command::Lost { .. }
        | Command::Failed { .. }
        | Command::Moved { .. }
        | Command::ChannelProblem { .. }
        | Command::ForgetApplied {} => None,
    }
}
