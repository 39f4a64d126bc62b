//! What goes through the door is written down, so that it can go through again: see [`crate::inbound::replay`].
//!
//! Each batch becomes a list of notes, in the order of its works. Events are named by their numbers in the
//! journal; whole rows, which are the org's own answers, are packed beside it. With the door's clock and what the
//! org said at each start that is all that the cache is made from.

use std::borrow::Cow;
use std::sync::Arc;

use bytes::Bytes;
use csv::{ByteRecord, ReaderBuilder};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::inbound::apply::Work;
use crate::inbound::apply::work::{Events, RepairedRow, Source};
use crate::inbound::prepare::{Found, Planned};
use crate::model::brake::Answer;
use crate::model::change::RawEvent;
use crate::model::clock::Millis;
use crate::store::cache::Cache;
use crate::store::cache::loads::Place;
use crate::store::journal::Journal;
use crate::store::journal::forget::Starts;
use crate::store::journal::log::{Page, Run, pack};

/// How the notes of a start begin.
pub(in crate::inbound) const START: &str = "[{\"start\":{";

/// How the notes of the start with an empty cache begin.
pub(in crate::inbound) const FRESH: &str = "[{\"start\":{\"fresh\":true";

/// What the journal has to know of starts.
pub(in crate::inbound) const STARTS: Starts = Starts {
    begin: START,
    fresh: FRESH,
    not_fresh: "[{\"start\":{\"fresh\":false",
};

/// An id that is after all ids.
const LAST_ID: &str = "~";

/// What is written down of a work.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(in crate::inbound) enum Note {
    Start {
        /// The cache was empty. Stands first: see [`FRESH`].
        fresh: bool,
        /// Ids of the schemas that were known.
        schemas: Vec<String>,
        found: Box<Found>,
    },
    Events {
        topic: String,
        runs: Vec<Run>,
        /// Ids of the schemas that were not known before.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        schemas: Vec<String>,
        #[serde(default, skip_serializing_if = "is_false")]
        restart: bool,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        latest: Option<String>,
    },
    Lost {
        topic: String,
        objects: Vec<String>,
    },
    BeginLoad {
        object: String,
        watermark: Millis,
    },
    /// With a page of CSV.
    Page {
        object: String,
        run: u64,
        place: Option<Place>,
    },
    /// With a page of JSON, where there are rows.
    Rows {
        object: String,
        source: Source,
        rows: usize,
    },
    FinishLoad {
        object: String,
        run: u64,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        rows: Option<u64>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        answer: Option<Answer>,
    },
    Removal {
        object: String,
        decision: String,
    },
    /// With a page of JSON.
    Repaired {
        object: String,
        read_rev: i64,
    },
    CaughtUp {
        object: String,
        number: i64,
        rows: u64,
    },
    Compared {
        object: String,
        number: Option<i64>,
        rows: u64,
        #[serde(default)]
        before: u64,
        differing: Vec<(String, String)>,
    },
    Failed {
        numbers: Vec<i64>,
        error: String,
    },
    ReadAgain {
        object: String,
        ids: Vec<String>,
        reason: String,
    },
    Reload {
        object: String,
        reason: String,
    },
    Changed {
        planned: Planned,
    },
    ObjectProblem {
        object: String,
        problem: Option<String>,
    },
    ChannelProblem {
        topic: String,
        problem: Option<String>,
    },
    /// Events are applied once more by hand: what is known to have been applied is forgotten.
    ForgetApplied {},
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "as serde calls it")]
fn is_false(flag: &bool) -> bool {
    !flag
}

/// A page of CSV as the journal keeps it, with the least and the greatest id in it.
#[derive(Clone, Debug)]
pub struct Packed {
    body: Bytes,
    first_id: String,
    last_id: String,
}

impl Packed {
    /// Packs a page. Takes some milliseconds: not for the door's own thread.
    pub fn csv(csv: &Bytes) -> Self {
        let (first_id, last_id) = id_range(csv).unwrap_or((String::new(), LAST_ID.to_owned()));
        Self {
            body: pack(csv),
            first_id,
            last_id,
        }
    }
}

fn id_range(csv: &[u8]) -> Option<(String, String)> {
    let mut reader = ReaderBuilder::new().flexible(true).from_reader(csv);
    let header = reader.byte_headers().ok()?;
    let id = header.iter().position(|name| name.eq_ignore_ascii_case(b"Id"))?;
    let mut record = ByteRecord::new();
    let (mut first, mut last) = (None::<Vec<u8>>, Vec::new());
    while reader.read_byte_record(&mut record).ok()? {
        let id = record.get(id)?;
        if first.as_ref().is_none_or(|first| id < &first[..]) {
            first = Some(id.to_vec());
        }
        if id > &last[..] {
            last = id.to_vec();
        }
    }
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).ok();
    Some((text(first.unwrap_or_default())?, text(last)?))
}

/// What was read of rows that are in JSON: rows of a load or a poll as they came, records read again each with its
/// number in the ledger.
fn json_page<'r>(
    work: usize,
    object: &str,
    kind: &'static str,
    rows: &impl Serialize,
    ids: impl Iterator<Item = &'r str>,
) -> serde_json::Result<Page> {
    let (mut first_id, mut last_id) = (LAST_ID, "");
    for id in ids {
        first_id = first_id.min(id);
        last_id = last_id.max(id);
    }
    Ok(Page {
        work,
        object: object.to_owned(),
        kind,
        first_id: first_id.to_owned(),
        last_id: last_id.to_owned(),
        packed: pack(&serde_json::to_vec(rows)?),
    })
}

/// A row that is deleted only says so: the org still tells its values, and nobody is to keep them.
fn without_what_is_gone(row: &Map<String, Value>) -> Cow<'_, Map<String, Value>> {
    if row.get("IsDeleted") != Some(&Value::Bool(true)) {
        return Cow::Borrowed(row);
    }
    let kept = row
        .iter()
        .filter(|(field, _)| matches!(field.as_str(), "Id" | "IsDeleted"));
    Cow::Owned(
        kept.map(|(field, value)| (field.clone(), value.clone()))
            .collect(),
    )
}

/// A page without rows, that is about every record.
fn bare(work: usize, object: &str, kind: &'static str) -> Page {
    Page {
        work,
        object: object.to_owned(),
        kind,
        first_id: String::new(),
        last_id: LAST_ID.to_owned(),
        packed: pack(&[]),
    }
}

/// All that is to be written down of a batch.
#[derive(Debug)]
pub(in crate::inbound) struct Notes {
    at: Millis,
    /// The last batch that the cache holds, and its newest revision.
    after: i64,
    rev: i64,
    notes: Vec<Note>,
    pages: Vec<Page>,
    received: Vec<Received>,
}

/// Events of a note: where they are in the journal is known when they are written.
#[derive(Debug)]
struct Received {
    note: usize,
    topic: Arc<str>,
    resumed: bool,
    schemas: Vec<(String, String)>,
    events: Arc<[RawEvent]>,
}

impl Notes {
    /// Of a batch that is about to be applied. `with_rows` where the journal keeps what the org answered.
    pub fn of(batch: &[Work], cache: &Cache, at: Millis, with_rows: bool) -> serde_json::Result<Self> {
        let mut notes = Self {
            at,
            after: cache.journalled(),
            rev: cache.rev(),
            notes: Vec::with_capacity(batch.len()),
            pages: Vec::new(),
            received: Vec::new(),
        };
        for work in batch {
            match work.events() {
                Some(events) => notes.events(events),
                None => notes.work(work, with_rows)?,
            }
        }
        Ok(notes)
    }

    /// Writes them down: the number of the batch.
    pub fn write(mut self, journal: &mut Journal) -> anyhow::Result<i64> {
        let mut append = journal.append(self.at)?;
        for received in &self.received {
            for (id, json) in &received.schemas {
                append.schema(id, json)?;
            }
            let written = append.events(&received.topic, received.resumed, &received.events)?;
            if let Note::Events { runs, .. } = &mut self.notes[received.note] {
                *runs = written;
            }
        }
        let works = serde_json::to_string(&self.notes)?;
        let number = append.batch(self.after, self.rev, &works, &self.pages)?;
        append.commit()?;
        Ok(number)
    }

    fn events(&mut self, events: &Events) {
        self.received.push(Received {
            note: self.notes.len(),
            topic: Arc::clone(&events.topic),
            resumed: events.resumed,
            schemas: events.schemas.clone(),
            events: Arc::clone(&events.events),
        });
        self.notes.push(Note::Events {
            topic: events.topic.to_string(),
            runs: Vec::new(),
            schemas: events.schemas.iter().map(|(id, _)| id.clone()).collect(),
            restart: events.restart,
            latest: events.latest.as_ref().map(ToString::to_string),
        });
    }

    /// Anything but events.
    fn work(&mut self, work: &Work, with_rows: bool) -> serde_json::Result<()> {
        let at = self.notes.len();
        match work {
            Work::Page {
                object,
                packed: Some(packed),
                ..
            } if with_rows => self.pages.push(Page {
                work: at,
                object: object.clone(),
                kind: "load",
                first_id: packed.first_id.clone(),
                last_id: packed.last_id.clone(),
                packed: packed.body.clone(),
            }),
            // So that a record's history finds the load that did not see it.
            Work::BeginLoad { object, .. } => self.pages.push(bare(at, object, "load_begun")),
            Work::FinishLoad { object, .. } => self.pages.push(bare(at, object, "load_ended")),
            Work::Rows {
                object, source, rows, ..
            } if with_rows && !rows.is_empty() => {
                let kind = match source {
                    Source::Load { .. } => "load",
                    Source::Poll { .. } => "poll",
                    Source::CatchUp { .. } => "catch_up",
                };
                let ids = rows.iter().filter_map(|row| row.get("Id")?.as_str());
                let kept: Vec<_> = rows.iter().map(without_what_is_gone).collect();
                self.pages.push(json_page(at, object, kind, &kept, ids)?);
            }
            Work::Repaired { object, rows, .. } if with_rows => {
                let ids = rows.iter().map(|(_, id, _): &RepairedRow| id.as_str());
                self.pages.push(json_page(at, object, "re_read", rows, ids)?);
            }
            _ => {}
        }
        self.notes.extend(note(work));
        Ok(())
    }
}

/// What is to be written down of a work besides its rows; events need their numbers and are not made here.
fn note(work: &Work) -> Option<Note> {
    rows_note(work).or_else(|| ledger_note(work))
}

fn rows_note(work: &Work) -> Option<Note> {
    Some(match work {
        Work::BeginLoad {
            object, watermark, ..
        } => Note::BeginLoad {
            object: object.clone(),
            watermark: *watermark,
        },
        Work::Page {
            object, run, place, ..
        } => Note::Page {
            object: object.clone(),
            run: *run,
            place: place.clone(),
        },
        Work::Rows {
            object, source, rows, ..
        } => Note::Rows {
            object: object.clone(),
            source: source.clone(),
            rows: rows.len(),
        },
        Work::FinishLoad {
            object,
            run,
            rows,
            answer,
            ..
        } => Note::FinishLoad {
            object: object.clone(),
            run: *run,
            rows: *rows,
            answer: *answer,
        },
        Work::Repaired { object, read_rev, .. } => Note::Repaired {
            object: object.clone(),
            read_rev: *read_rev,
        },
        Work::Changed { planned, .. } => Note::Changed {
            planned: planned.clone(),
        },
        _ => return None,
    })
}

fn ledger_note(work: &Work) -> Option<Note> {
    Some(match work {
        Work::Lost { topic, objects, .. } => Note::Lost {
            topic: topic.to_string(),
            objects: objects.clone(),
        },
        Work::CaughtUp {
            object, number, rows, ..
        } => Note::CaughtUp {
            object: object.clone(),
            number: *number,
            rows: *rows,
        },
        Work::Compared {
            object,
            number,
            rows,
            before,
            differing,
            ..
        } => Note::Compared {
            object: object.clone(),
            number: *number,
            rows: *rows,
            before: *before,
            differing: differing
                .iter()
                .map(|(id, reason)| (id.clone(), (*reason).to_owned()))
                .collect(),
        },
        Work::Failed { numbers, error } => Note::Failed {
            numbers: numbers.clone(),
            error: error.clone(),
        },
        Work::Removal { object, decision, .. } => Note::Removal {
            object: object.clone(),
            decision: decision.as_text(),
        },
        Work::ReadAgain {
            object, ids, reason, ..
        } => Note::ReadAgain {
            object: object.clone(),
            ids: ids.clone(),
            reason: reason.clone().into_owned(),
        },
        Work::Reload { object, reason } => Note::Reload {
            object: object.clone(),
            reason: (*reason).to_owned(),
        },
        Work::ObjectProblem { object, problem } => Note::ObjectProblem {
            object: object.clone(),
            problem: problem.clone(),
        },
        Work::ChannelProblem { topic, problem } => Note::ChannelProblem {
            topic: topic.to_string(),
            problem: problem.clone(),
        },
        _ => return None,
    })
}

/// Writes down what the org said at a start; forgets first what did not reach the cache. The number of the batch.
pub(in crate::inbound) fn start(
    journal: &mut Journal,
    cache: &Cache,
    found: &Found,
    now: Millis,
) -> anyhow::Result<i64> {
    let held = cache.journalled();
    // A cache that was made anew begins after all that the journal holds.
    if held > 0 {
        journal.forget_after(held)?;
    }
    let start = Note::Start {
        fresh: held == 0 && cache.rev() == 0,
        schemas: journal.schemas()?.into_iter().map(|(id, _)| id).collect(),
        found: Box::new(found.clone()),
    };
    single(journal, cache, &start, now)
}

/// Writes down a batch of one note.
pub(in crate::inbound) fn single(
    journal: &mut Journal,
    cache: &Cache,
    note: &Note,
    now: Millis,
) -> anyhow::Result<i64> {
    let works = serde_json::to_string(&[note])?;
    Ok(journal.write_down(now, cache.journalled(), cache.rev(), &works)?)
}
