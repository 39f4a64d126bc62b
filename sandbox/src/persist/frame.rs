//! The frames of the log: what each holds, and how it is written.

use std::sync::Arc;

use bytes::Bytes;

use super::Origin;
use super::bytes::{Reader, Writer};
use crate::bus::{Event, NewEvent};
use crate::org::records::{Shared, Slot};
use crate::org::{Record, Settings};
use crate::schema::change::FieldChange;
use crate::value::{RecordId, Value};

const ORIGIN: u8 = 0;
const COMMIT: u8 = 1;
const SETTINGS: u8 = 2;
const SCHEMA: u8 = 3;
const CLOCK: u8 = 4;
const LOG_BEGUN: u8 = 5;

/// One step of the org's history.
pub enum Frame {
    /// One transaction; without rows, events that came from elsewhere.
    Commit {
        number: i64,
        rows: Vec<RowFrame>,
        events: Vec<EventFrame>,
    },
    Note(Note),
}

/// A step that is no commit.
pub enum Note {
    Origin(Origin),
    Settings(Box<Settings>),
    Schema(FieldChange),
    /// By how many milliseconds the org's time is moved, in all.
    Clock(i64),
    /// The event log begins anew between these two positions.
    LogBegun {
        floor: u64,
        tip: u64,
    },
}

/// A row as a transaction left it; none where it is gone for good.
pub struct RowFrame {
    pub object: usize,
    pub id: RecordId,
    pub row: Option<RowValues>,
}

pub struct RowValues {
    pub deleted: bool,
    pub shared: Shared,
    pub values: Vec<Slot>,
}

/// An event with its place in the log.
pub struct EventFrame {
    pub position: u64,
    pub stored_at: i64,
    pub event: NewEvent,
}

impl Note {
    /// The frame's bytes, its kind first.
    pub fn encode(&self) -> Result<Vec<u8>, serde_json::Error> {
        let mut out = Writer::default();
        match self {
            Self::Origin(origin) => {
                out.u8(ORIGIN);
                out.0.extend(serde_json::to_vec(origin)?);
            }
            Self::Settings(settings) => {
                out.u8(SETTINGS);
                out.0.extend(serde_json::to_vec(settings)?);
            }
            Self::Schema(change) => {
                out.u8(SCHEMA);
                out.0.extend(serde_json::to_vec(change)?);
            }
            Self::Clock(millis) => {
                out.u8(CLOCK);
                out.i64(*millis);
            }
            Self::LogBegun { floor, tip } => {
                out.u8(LOG_BEGUN);
                out.u64(*floor);
                out.u64(*tip);
            }
        }
        Ok(out.0)
    }
}

impl Frame {
    /// None where the bytes are no frame.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let mut reader = Reader(bytes);
        Some(match reader.u8()? {
            ORIGIN => Self::Note(Note::Origin(serde_json::from_slice(reader.0).ok()?)),
            COMMIT => {
                let number = reader.i64()?;
                let rows = (0..reader.u32()?).map(|_| row(&mut reader));
                let rows = rows.collect::<Option<Vec<_>>>()?;
                let events = (0..reader.u32()?).map(|_| event(&mut reader));
                let events = events.collect::<Option<Vec<_>>>()?;
                Self::Commit { number, rows, events }
            }
            SETTINGS => Self::Note(Note::Settings(serde_json::from_slice(reader.0).ok()?)),
            SCHEMA => Self::Note(Note::Schema(serde_json::from_slice(reader.0).ok()?)),
            CLOCK => Self::Note(Note::Clock(reader.i64()?)),
            LOG_BEGUN => Self::Note(Note::LogBegun {
                floor: reader.u64()?,
                tip: reader.u64()?,
            }),
            _ => return None,
        })
    }
}

/// The first part of a commit's frame: its rows.
pub struct Rows {
    count: u32,
    number: i64,
    out: Writer,
    pub touched: Vec<(usize, RecordId)>,
}

impl Rows {
    pub fn new(number: i64) -> Self {
        Self {
            count: 0,
            number,
            out: Writer::default(),
            touched: Vec::new(),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    pub fn bytes(&self) -> usize {
        self.out.0.len()
    }

    /// Adds a row as it stands; none where it is gone for good. `unset` is what its object's rows have anyway.
    pub fn add(&mut self, object: usize, id: RecordId, record: Option<&Record>, unset: &[Slot]) {
        self.count += 1;
        self.touched.push((object, id));
        let out = &mut self.out;
        out.u32(object as u32);
        out.bytes(id.as_str().as_bytes());
        let Some(record) = record else {
            return out.u8(0);
        };
        out.u8(1 + u8::from(record.deleted));
        let shared = record.shared();
        let stamps = [
            &shared.created,
            &shared.created_by,
            &shared.modified,
            &shared.modified_by,
            &shared.modstamp,
        ];
        stamps.into_iter().for_each(|stamp| write_value(out, stamp));
        let at = out.0.len();
        out.u32(0);
        let mut count = 0u32;
        let is_unset =
            |(field, value): &(u16, &Value)| unset.iter().any(|(at, other)| at == field && other == *value);
        for (field, value) in record.slots().filter(|slot| !is_unset(slot)) {
            out.u32(u32::from(field));
            write_value(out, value);
            count += 1;
        }
        out.0[at..at + 4].copy_from_slice(&count.to_le_bytes());
    }

    /// The whole frame.
    pub fn finish<'e>(self, events: impl ExactSizeIterator<Item = &'e Arc<Event>>) -> Vec<u8> {
        let mut out = Writer(Vec::with_capacity(self.out.0.len() + 32 + events.len() * 700));
        out.u8(COMMIT);
        out.i64(self.number);
        out.u32(self.count);
        out.0.extend(self.out.0);
        out.u32(events.len() as u32);
        for event in events {
            out.u64(event.position.counter());
            out.i64(event.stored_at());
            out.u64(event.object as u64);
            out.bytes(event.id.as_bytes());
            out.bytes(event.schema_id.as_bytes());
            out.bytes(&event.payload);
        }
        out.0
    }
}

fn write_value(out: &mut Writer, value: &Value) {
    match value {
        Value::Boolean(flag) => out.u8(u8::from(*flag)),
        Value::Integer(number) => {
            out.u8(2);
            out.i64(*number);
        }
        Value::Double(number) => {
            out.u8(3);
            out.u64(number.to_bits());
        }
        Value::Text(text) => {
            out.u8(4);
            out.bytes(text.as_bytes());
        }
        Value::Id(id) => {
            out.u8(5);
            out.bytes(id.as_str().as_bytes());
        }
        Value::Date(millis) => {
            out.u8(6);
            out.i64(*millis);
        }
        Value::DateTime(millis) => {
            out.u8(7);
            out.i64(*millis);
        }
        Value::Time(millis) => {
            out.u8(8);
            out.i64(*millis);
        }
    }
}

fn value(reader: &mut Reader<'_>) -> Option<Value> {
    Some(match reader.u8()? {
        0 => Value::Boolean(false),
        1 => Value::Boolean(true),
        2 => Value::Integer(reader.i64()?),
        3 => Value::Double(f64::from_bits(reader.u64()?)),
        4 => Value::text(reader.text()?),
        5 => Value::Id(RecordId::parse(reader.text()?)?),
        6 => Value::Date(reader.i64()?),
        7 => Value::DateTime(reader.i64()?),
        8 => Value::Time(reader.i64()?),
        _ => return None,
    })
}

fn row(reader: &mut Reader<'_>) -> Option<RowFrame> {
    let object = reader.u32()? as usize;
    let id = RecordId::parse(reader.text()?)?;
    let state = reader.u8()?;
    if state == 0 {
        return Some(RowFrame {
            object,
            id,
            row: None,
        });
    }
    let shared = Shared {
        created: value(reader)?,
        created_by: value(reader)?,
        modified: value(reader)?,
        modified_by: value(reader)?,
        modstamp: value(reader)?,
        values: Arc::from(Vec::new()),
        layout: Arc::from(Vec::new()),
    };
    let slot = |reader: &mut Reader<'_>| Some((u16::try_from(reader.u32()?).ok()?, value(reader)?));
    let values = (0..reader.u32()?).map(|_| slot(reader));
    let values = values.collect::<Option<Vec<Slot>>>()?;
    let row = Some(RowValues {
        deleted: state == 2,
        shared,
        values,
    });
    Some(RowFrame { object, id, row })
}

fn event(reader: &mut Reader<'_>) -> Option<EventFrame> {
    Some(EventFrame {
        position: reader.u64()?,
        stored_at: reader.i64()?,
        event: NewEvent {
            object: reader.u64()? as usize,
            id: reader.text()?.to_owned(),
            schema_id: reader.text()?.to_owned(),
            payload: Bytes::copy_from_slice(reader.bytes()?),
        },
    })
}
