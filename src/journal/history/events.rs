//! Single events: what each says, in the words of the org, and which of them pass a filter.

use std::collections::HashMap;
use std::rc::Rc;

use serde_json::Value as Json;

use crate::inbound::decode::{Change, EventSchema, Leaf};
use crate::inbound::redact::withheld;
use crate::journal::history::{History, full_id};
use crate::model::change::ChangeKind;
use crate::model::clock::Millis;
use crate::model::row::Value;
use crate::store::journal::{JournalReader, Kept};

/// Events read at a time.
const EVENTS_READ: usize = 500;

/// Compiled schemas, by id; `None` for one that is of no use.
#[derive(Debug, Default)]
pub(super) struct Schemas(HashMap<String, Option<Rc<EventSchema>>>);

impl Schemas {
    pub fn get(&mut self, journal: &JournalReader, id: &str) -> rusqlite::Result<Option<Rc<EventSchema>>> {
        if let Some(known) = self.0.get(id) {
            return Ok(known.clone());
        }
        let json = journal.schema(id)?;
        let schema = json
            .and_then(|json| EventSchema::compile(&json).ok())
            .map(Rc::new);
        self.0.insert(id.to_owned(), schema.clone());
        Ok(schema)
    }
}

/// An event with what it says, or why that cannot be read.
#[derive(Clone, Debug)]
pub struct Event {
    pub kept: Kept,
    pub said: Result<Said, String>,
}

impl Event {
    /// Whether it had a value of a field that was not kept.
    pub fn withholds(&self, field: &str) -> bool {
        let mut redacted = self.kept.redacted.iter();
        redacted.any(|redacted| redacted.eq_ignore_ascii_case(field))
    }
}

/// What an event says.
#[derive(Clone, Debug, PartialEq)]
pub struct Said {
    pub object: String,
    pub kind: ChangeKind,
    pub record_ids: Vec<String>,
    /// The client that made the change.
    pub origin: String,
    pub user: String,
    pub transaction: String,
    pub sequence: i32,
    pub committed_at: Millis,
    /// Of fields that it says anything of.
    pub fields: Vec<Set>,
    /// A part of a person's name is among them.
    pub name_parts: bool,
}

/// A field that an event sets.
#[derive(Clone, Debug, PartialEq)]
pub struct Set {
    /// By describe's name.
    pub field: String,
    pub value: Json,
    /// Named as changed; else it only happens to have a value.
    pub listed: bool,
    /// The value is a difference to the text before.
    pub is_diff: bool,
}

/// Which events. All that is given has to hold.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    pub object: Option<String>,
    /// Of 15 or 18 characters.
    pub record: Option<String>,
    pub field: Option<String>,
    pub kind: Option<String>,
    pub since: Option<Millis>,
    pub until: Option<Millis>,
    pub transaction: Option<String>,
    pub origin: Option<String>,
}

impl Filter {
    pub fn is_empty(&self) -> bool {
        let texts = [
            &self.object,
            &self.record,
            &self.field,
            &self.kind,
            &self.transaction,
            &self.origin,
        ];
        texts.iter().all(|text| text.is_none()) && self.since.is_none() && self.until.is_none()
    }

    /// An event that cannot be read passes where nothing is asked for but a time.
    pub fn passes(&self, event: &Event) -> bool {
        let Ok(said) = &event.said else {
            return Self {
                since: None,
                until: None,
                ..self.clone()
            }
            .is_empty()
                && self.since.is_none_or(|since| event.kept.received_at >= since)
                && self.until.is_none_or(|until| event.kept.received_at <= until);
        };
        let same = |wanted: &Option<String>, text: &str| {
            wanted
                .as_ref()
                .is_none_or(|wanted| wanted.eq_ignore_ascii_case(text))
        };
        same(&self.object, &said.object)
            && same(&self.kind, said.kind.symbol())
            && same(&self.transaction, &said.transaction)
            && self
                .origin
                .as_ref()
                .is_none_or(|wanted| said.origin.to_lowercase().contains(&wanted.to_lowercase()))
            && self.since.is_none_or(|since| said.committed_at >= since)
            && self.until.is_none_or(|until| said.committed_at <= until)
            && self.field.as_ref().is_none_or(|wanted| {
                let mut named = said.fields.iter().map(|set| &set.field);
                named.any(|field| field.eq_ignore_ascii_case(wanted)) || event.withholds(wanted)
            })
            && self.record.as_ref().is_none_or(|wanted| {
                let wanted = full_id(wanted);
                said.record_ids.contains(&wanted)
            })
    }
}

impl History {
    /// The schema that events name by this id; `None` for one that is not known or of no use.
    pub fn schema(&mut self, id: &str) -> rusqlite::Result<Option<Rc<EventSchema>>> {
        self.schemas.get(&self.journal, id)
    }

    pub fn read(&mut self, kept: Kept) -> rusqlite::Result<Event> {
        let schema = self.schemas.get(&self.journal, &kept.schema_id)?;
        let said = match (withheld(&kept.redacted, &kept.payload), schema) {
            (Some(why), _) => Err(why),
            (None, Some(schema)) => said(&schema, &kept.payload).map(|mut said| {
                // They are null in the bytes, and were not in the event.
                said.fields.retain(|set| !kept.redacted.contains(&set.field));
                said
            }),
            (None, None) => Err("its schema is not known, or of no use".to_owned()),
        };
        Ok(Event { kept, said })
    }

    /// The newest events before a number that pass, the newest first.
    pub fn before(&mut self, number: i64, filter: &Filter, limit: usize) -> anyhow::Result<Vec<Event>> {
        let mut found = Vec::new();
        if let Some(record) = &filter.record {
            let numbers = self.events_of(&full_id(record))?;
            for number in numbers.into_iter().rev().filter(|of| *of < number) {
                if let Some(kept) = self.journal.event(number)? {
                    let event = self.read(kept)?;
                    found.extend(Some(event).filter(|event| filter.passes(event)));
                }
                if found.len() >= limit {
                    break;
                }
            }
            return Ok(found);
        }
        let mut before = number;
        while found.len() < limit {
            let kept = self.journal.events_before(before, EVENTS_READ)?;
            let Some(oldest) = kept.last().map(|kept| kept.number) else {
                break;
            };
            before = oldest;
            for kept in kept {
                let event = self.read(kept)?;
                if filter.passes(&event) && found.len() < limit {
                    found.push(event);
                }
            }
        }
        Ok(found)
    }

    /// The events from a number on that pass, and the number to go on with. Reads a few hundred at most.
    pub fn after(&mut self, number: i64, filter: &Filter) -> anyhow::Result<(Vec<Event>, i64)> {
        let mut found = Vec::new();
        let mut next = number;
        for kept in self.journal.events(number, EVENTS_READ)? {
            next = kept.number + 1;
            let event = self.read(kept)?;
            if filter.passes(&event) {
                found.push(event);
            }
        }
        Ok((found, next))
    }
}

/// Reads an event's bytes.
pub(super) fn said(schema: &EventSchema, payload: &[u8]) -> Result<Said, String> {
    let mut change = Change::default();
    schema
        .decode(payload, &mut change)
        .map_err(|error| error.to_string())?;
    let leaves = schema.fields();
    let mut fields: Vec<Set> = change
        .says()
        .map(|(leaf, value)| Set {
            field: leaves[leaf].name.clone(),
            value: json(&leaves[leaf], value),
            listed: change.is_listed(leaf) || change.header.kind != ChangeKind::Update,
            is_diff: false,
        })
        .collect();
    for leaf in change.diffed().iter() {
        let values = change.values();
        if let Ok(at) = values.binary_search_by_key(&leaf, |(leaf, _)| *leaf) {
            fields.push(Set {
                field: leaves[leaf].name.clone(),
                value: json(&leaves[leaf], values[at].1),
                listed: true,
                is_diff: true,
            });
        }
    }
    let header = &change.header;
    Ok(Said {
        object: schema.entity().to_owned(),
        kind: header.kind,
        record_ids: header
            .record_ids
            .iter()
            .map(|id| id.as_str().to_owned())
            .collect(),
        origin: header.origin.as_str().to_owned(),
        user: header.commit_user.as_str().to_owned(),
        transaction: header.transaction_key.as_str().to_owned(),
        sequence: header.sequence_number,
        committed_at: header.commit_timestamp,
        fields,
        name_parts: change.name_parts_changed(),
    })
}

fn json(leaf: &Leaf, value: Value<'_>) -> Json {
    match value {
        Value::Integer(number) if leaf.boolean => Json::from(number != 0),
        value => plain(value),
    }
}

/// A value as people read it: dates and times as they are stored.
pub(super) fn plain(value: Value<'_>) -> Json {
    match value {
        Value::Null => Json::Null,
        Value::Integer(number) => Json::from(number),
        Value::Real(number) => Json::from(number),
        Value::Text(text) => Json::from(text.as_str()),
        Value::DateTime(_) | Value::Date(_) | Value::Time(_) => Json::from(value.formatted()),
    }
}
