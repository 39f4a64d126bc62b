//! What the journal is told of a batch: its commands, its events, and the rows that the org answered.

use std::borrow::Cow;
use std::sync::Arc;

use bytes::Bytes;
use csv::{ByteRecord, ReaderBuilder};
use serde::Serialize;
use serde_json::{Map, Value};

use crate::inbound::command::{Command, Events, Packed, RepairedRow, Source, Start};
use crate::inbound::prepare::Found;
use crate::model::clock::Millis;
use crate::store::cache::Cache;
use crate::store::journal::log::{KeptCommand, Page, pack};
use crate::store::journal::{Append, Journal};

/// An id that is after all ids.
const LAST_ID: &str = "~";

/// A batch that is about to be applied.
#[derive(Debug)]
pub(super) struct Record {
    pub at: Millis,
    /// The last batch that the cache holds.
    pub after: i64,
    /// The newest revision of the cache.
    pub rev: i64,
    /// The journal keeps the rows that the org answered.
    pub keeps_rows: bool,
    pub commands: Arc<[Command]>,
}

impl Record {
    /// Writes it down: the number of the batch.
    pub fn write(&self, journal: &mut Journal) -> anyhow::Result<i64> {
        let mut append = journal.append(self.at)?;
        let mut kept = Vec::with_capacity(self.commands.len());
        let mut pages = Vec::new();
        for (place, command) in self.commands.iter().enumerate() {
            kept.push(keep(&mut append, command)?);
            pages.extend(page(place, command, self.keeps_rows)?);
        }
        let number = append.batch(self.after, self.rev, &kept, &pages)?;
        append.commit()?;
        Ok(number)
    }
}

/// A command as the journal keeps it. Events are written down first, since it says where they are.
fn keep(append: &mut Append<'_>, command: &Command) -> anyhow::Result<KeptCommand> {
    let Some(events) = command.events() else {
        return command.to_kept();
    };
    for schema in &events.schemas {
        append.schema(&schema.id, &schema.json)?;
    }
    let runs = append.events(&events.topic, events.resumed, &events.events)?;
    let events = events.clone();
    Command::Events(Events { runs, ..events }).to_kept()
}

/// The rows that a command holds, and what a record's history is found by.
fn page(place: usize, command: &Command, keeps_rows: bool) -> serde_json::Result<Option<Page>> {
    Ok(match command {
        Command::Page(page) => page.packed.as_ref().filter(|_| keeps_rows).map(|packed| Page {
            command: place,
            object: page.object.clone(),
            kind: "load",
            first_id: packed.first_id.clone(),
            last_id: packed.last_id.clone(),
            packed: packed.bytes.clone(),
        }),
        // So that a record's history finds the load that did not see it.
        Command::BeginLoad { object, .. } => Some(bare(place, object, "load_begun")),
        Command::FinishLoad { object, .. } => Some(bare(place, object, "load_ended")),
        Command::Rows(rows) if keeps_rows && !rows.rows.is_empty() => {
            let kind = match rows.source {
                Source::Load { .. } => "load",
                Source::Poll { .. } => "poll",
                Source::CatchUp { .. } => "catch_up",
            };
            let ids = rows.rows.iter().filter_map(|row| row.get("Id")?.as_str());
            let kept: Vec<_> = rows.rows.iter().map(without_what_is_gone).collect();
            Some(json_page(place, &rows.object, kind, &kept, ids)?)
        }
        Command::Repaired {
            object,
            rows: Some(rows),
            ..
        } if keeps_rows => {
            let ids = rows.iter().map(|(_, id, _): &RepairedRow| id.as_str());
            Some(json_page(place, object, "re_read", rows, ids)?)
        }
        Command::Start(_)
        | Command::Events(_)
        | Command::Lost { .. }
        | Command::Rows(_)
        | Command::Removal { .. }
        | Command::Repaired { .. }
        | Command::CaughtUp { .. }
        | Command::Compared { .. }
        | Command::Failed { .. }
        | Command::ReadAgain { .. }
        | Command::Reload { .. }
        | Command::Changed { .. }
        | Command::Moved { .. }
        | Command::ObjectProblem { .. }
        | Command::ChannelProblem { .. }
        | Command::ForgetApplied {} => None,
    })
}

/// Rows in JSON: rows of a load or a poll as they came, records read again each with its number in the ledger.
fn json_page<'r>(
    command: usize,
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
        command,
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
fn bare(command: usize, object: &str, kind: &'static str) -> Page {
    Page {
        command,
        object: object.to_owned(),
        kind,
        first_id: String::new(),
        last_id: LAST_ID.to_owned(),
        packed: pack(&[]),
    }
}

impl Packed {
    /// Packs a page. Takes some milliseconds: not for the apply stage's own thread.
    pub fn csv(csv: &Bytes) -> Self {
        let (first_id, last_id) = id_range(csv).unwrap_or((String::new(), LAST_ID.to_owned()));
        Self {
            bytes: pack(csv),
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
    let start = Command::Start(Start {
        fresh: held == 0 && cache.rev() == 0,
        schemas: journal.schemas()?.into_iter().map(|(id, _)| id).collect(),
        found: Box::new(found.clone()),
    });
    single(journal, cache, &start, now)
}

/// Writes down a batch of one command that has nothing beside it.
pub(crate) fn single(
    journal: &mut Journal,
    cache: &Cache,
    command: &Command,
    now: Millis,
) -> anyhow::Result<i64> {
    let kept = command.to_kept()?;
    Ok(journal.write_down(now, cache.journalled(), cache.rev(), kept)?)
}
