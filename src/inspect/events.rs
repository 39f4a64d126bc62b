//! `storesync events`: events as they came off the wire.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::cli::Exit;
use crate::config::Config;
use crate::inspect::{print, print_json, reader};
use crate::model::clock::format_datetime;
use crate::store::cache::repairs::{self, Kind, Repair};
use crate::store::journal::{JournalReader, Kept};

/// Parked events listed at a time.
const LISTED_MAX: usize = 1_000;

/// Lists the events that could not be decoded, the newest first, and what became of each; and the rows that wait because
/// they cannot be read.
pub fn parked(config: &Config, as_json: bool) -> anyhow::Result<Exit> {
    let dir = &config.state.dir;
    let (parked, rows) = reader(dir)?.with(|connection| {
        Ok((
            repairs::history_of(connection, Kind::Parked, LISTED_MAX)?,
            repairs::unreadable(connection, LISTED_MAX)?,
        ))
    })?;
    let journal = JournalReader::open(dir)?;
    let mut listed = Vec::with_capacity(parked.len() + rows.len());
    for entry in parked.iter().chain(&rows) {
        let kept = match position(entry) {
            Some((topic, replay_id)) => journal.at(topic, &replay_id)?,
            None => Vec::new(),
        };
        listed.push((entry, kept));
    }
    if as_json {
        let list = listed.iter().map(|(entry, kept)| as_value(entry, kept));
        print_json(&Value::Array(list.collect()));
        return Ok(Exit::Ok);
    }
    if listed.is_empty() {
        print("no event is parked\n");
    }
    for (entry, kept) in &listed {
        let what = entry.detail.as_deref().or(entry.record_id.as_deref());
        let became = match &entry.found {
            Some(found) => found.clone(),
            None => format!("open, tried {} times", entry.attempts),
        };
        print(&format!(
            "{}  {}  {}  {}: {became}\n",
            format_datetime(entry.opened_at),
            entry.object,
            what.unwrap_or("?"),
            entry.reason
        ));
        for event in kept {
            let bytes = STANDARD.encode(&event.payload);
            print(&format!("    schema {}  payload {bytes}\n", event.schema_id));
        }
    }
    Ok(Exit::Ok)
}

/// Topic and replay id, of an entry's detail `topic hex event-id`.
fn position(entry: &Repair) -> Option<(&str, Vec<u8>)> {
    let mut parts = entry.detail.as_deref()?.split(' ');
    let (topic, hex) = (parts.next()?, parts.next()?);
    let bytes = (0..hex.len() / 2)
        .map(|at| u8::from_str_radix(hex.get(at * 2..at * 2 + 2)?, 16).ok())
        .collect::<Option<_>>()?;
    Some((topic, bytes))
}

fn as_value(entry: &Repair, kept: &[Kept]) -> Value {
    let events = kept.iter().map(|event| {
        json!({
            "event_id": event.event_id, "schema_id": event.schema_id, "payload": STANDARD.encode(&event.payload),
            "redacted": event.redacted,
        })
    });
    json!({
        "number": entry.number,
        "object": entry.object,
        "reason": entry.reason,
        "position": entry.detail,
        "record_id": entry.record_id,
        "closed_at": entry.closed_at.map(format_datetime),
        "found": entry.found,
        "attempts": entry.attempts,
        "parked_at": format_datetime(entry.opened_at),
        "events": events.collect::<Vec<_>>(),
    })
}
