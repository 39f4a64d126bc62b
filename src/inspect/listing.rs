//! `storesync events list`, `tail` and `show`: events with what they say.
//!
//! An event in JSON: `number, received_at, topic, replay_id, event_id, schema_id`, then, where it can be read,
//! `object, kind, record_ids, origin, user, transaction, sequence, committed_at` and `fields`, a list of `{field, value,
//! diff}`, else `undecodable`. With `--changes` there is `changes` in place of `fields`: a list for each record of
//! `{record_id, fields: [{field, before, after}]}`. With `--raw` there are `payload` (base64) and `schema`.

use std::path::Path;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::cli::{Exit, FilterArgs, ListArgs, Look};
use crate::inspect::{Misused, print, print_json, state_dir};
use crate::journal::history::History;
use crate::journal::history::events::{Event, Filter, Said};
use crate::journal::history::record::FieldChange;
use crate::model::clock::{Millis, format_datetime, parse_datetime};

/// Events listed where no limit is given.
const LISTED: usize = 100;

/// Events shown before those that tail waits for.
const TAIL_BEGINS: usize = 10;

/// Between two looks at what has arrived.
const LOOK: Duration = Duration::from_millis(200);

pub(super) fn filter(args: &FilterArgs) -> Result<Filter, Misused> {
    Ok(Filter {
        object: args.object.clone(),
        record: args.record.clone(),
        field: args.field.clone(),
        kind: args.kind.clone(),
        since: args.since.as_deref().map(instant).transpose()?,
        until: args.until.as_deref().map(instant).transpose()?,
        transaction: args.transaction.clone(),
        origin: args.origin.clone(),
    })
}

pub(super) fn instant(text: &str) -> Result<Millis, Misused> {
    parse_datetime(text)
        .ok_or_else(|| Misused(format!("{text} is no time: write it like 2026-11-22T09:30:00Z")))
}

pub fn list(config: Option<&Path>, args: &ListArgs) -> anyhow::Result<Exit> {
    let filter = filter(&args.filter)?;
    let mut history = History::open(&state_dir(config, args.look.state.as_deref())?)?;
    let mut found = history.before(i64::MAX, &filter, args.limit.unwrap_or(LISTED))?;
    found.reverse();
    if args.look.json {
        let listed: anyhow::Result<Vec<Value>> = found
            .iter()
            .map(|event| as_json(&mut history, event, args.changes, args.raw))
            .collect();
        print_json(&Value::Array(listed?));
        return Ok(Exit::Ok);
    }
    if found.is_empty() {
        print("no event passes\n");
    }
    for event in &found {
        print(&as_text(&mut history, event, args.changes, args.raw)?);
    }
    Ok(Exit::Ok)
}

/// Prints what arrives until it is stopped, or until so many new ones were printed; in JSON one object a line.
pub async fn tail(config: Option<&Path>, args: &ListArgs, stop: CancellationToken) -> anyhow::Result<Exit> {
    let filter = filter(&args.filter)?;
    let mut history = History::open(&state_dir(config, args.look.state.as_deref())?)?;
    let mut next = history.journal.bounds()?.map_or(1, |(_, newest)| newest + 1);
    let mut begins = history.before(next, &filter, TAIL_BEGINS)?;
    begins.reverse();
    for event in &begins {
        print(&line(&mut history, event, args)?);
    }
    let mut left = args.limit.unwrap_or(usize::MAX);
    while left > 0 {
        let (found, then) = history.after(next, &filter)?;
        for event in found.iter().take(left) {
            print(&line(&mut history, event, args)?);
        }
        left -= found.len().min(left);
        if std::mem::replace(&mut next, then) == then {
            tokio::select! {
                () = stop.cancelled() => return Ok(Exit::Ok),
                () = tokio::time::sleep(LOOK) => {}
            }
        }
    }
    Ok(Exit::Ok)
}

fn line(history: &mut History, event: &Event, args: &ListArgs) -> anyhow::Result<String> {
    match args.look.json {
        true => Ok(format!("{}\n", as_json(history, event, args.changes, args.raw)?)),
        false => as_text(history, event, args.changes, args.raw),
    }
}

pub fn show(config: Option<&Path>, wanted: &str, raw: bool, look: &Look) -> anyhow::Result<Exit> {
    let mut history = History::open(&state_dir(config, look.state.as_deref())?)?;
    let numbers = match wanted.parse() {
        Ok(number) => vec![number],
        Err(_) => history.journal.numbers_named(wanted)?,
    };
    let mut found = Vec::new();
    for number in numbers {
        if let Some(kept) = history.journal.event(number)? {
            found.push(history.read(kept)?);
        }
    }
    if found.is_empty() {
        eprintln!(
            "storesync: the journal holds no event {wanted}: storesync events list shows what it holds"
        );
        return Ok(Exit::Failed);
    }
    for event in &found {
        if look.json {
            let mut shown = as_json(&mut history, event, true, raw)?;
            let fields = event.said.as_ref().map(fields_json).unwrap_or_default();
            shown["fields"] = fields;
            print_json(&shown);
        } else {
            print(&as_text(&mut history, event, true, raw)?);
        }
    }
    Ok(Exit::Ok)
}

fn fields_json(said: &Said) -> Value {
    let fields = said
        .fields
        .iter()
        .map(|set| json!({"field": set.field, "value": set.value, "diff": set.is_diff}));
    fields.collect()
}

pub(super) fn header_json(event: &Event) -> Value {
    let kept = &event.kept;
    let mut shown = json!({
        "number": kept.number,
        "received_at": format_datetime(kept.received_at),
        "topic": kept.topic,
        "replay_id": hex(&kept.replay_id),
        "event_id": kept.event_id,
        "schema_id": kept.schema_id,
    });
    if !kept.redacted.is_empty() {
        shown["redacted"] = json!(kept.redacted);
    }
    match &event.said {
        Err(reason) => shown["undecodable"] = json!(reason),
        Ok(said) => {
            shown["object"] = json!(said.object);
            shown["kind"] = json!(said.kind.symbol());
            shown["record_ids"] = json!(said.record_ids);
            shown["origin"] = json!(said.origin);
            shown["user"] = json!(said.user);
            shown["transaction"] = json!(said.transaction);
            shown["sequence"] = json!(said.sequence);
            shown["committed_at"] = json!(format_datetime(said.committed_at));
        }
    }
    shown
}

fn as_json(history: &mut History, event: &Event, changes: bool, raw: bool) -> anyhow::Result<Value> {
    let mut shown = header_json(event);
    if let Ok(said) = &event.said {
        if changes {
            let records = records_changed(history, event, said)?.into_iter();
            let changed =
                records.map(|(id, changes)| json!({"record_id": id, "fields": changes_json(&changes)}));
            shown["changes"] = changed.collect();
        } else {
            shown["fields"] = fields_json(said);
        }
    }
    if raw {
        let schema = history.journal.schema(&event.kept.schema_id)?;
        shown["payload"] = json!(STANDARD.encode(&event.kept.payload));
        shown["schema"] = match schema.map(|schema| serde_json::from_str(&schema)) {
            Some(Ok(schema)) => schema,
            _ => Value::Null,
        };
    }
    Ok(shown)
}

type RecordChanges = Vec<(String, Vec<FieldChange>)>;

fn records_changed(history: &mut History, event: &Event, said: &Said) -> anyhow::Result<RecordChanges> {
    let mut changed = Vec::with_capacity(said.record_ids.len());
    for id in &said.record_ids {
        changed.push((
            id.clone(),
            history.changes_of(event.kept.number, &said.object, id)?,
        ));
    }
    Ok(changed)
}

pub(super) fn changes_json(changes: &[FieldChange]) -> Value {
    let fields = changes.iter().map(|change| {
        let mut shown = json!({"field": change.field, "after": change.after});
        // A value that is not known is left out, null being a value.
        if let Some(before) = &change.before {
            shown["before"] = before.clone();
        }
        shown
    });
    fields.collect()
}

fn as_text(history: &mut History, event: &Event, changes: bool, raw: bool) -> anyhow::Result<String> {
    let mut text = headline(event);
    if !event.kept.redacted.is_empty() {
        let fields = event.kept.redacted.join(", ");
        text.push_str(&format!("    values not kept of: {fields}\n"));
    }
    if let Ok(said) = &event.said {
        if changes {
            for (id, changes) in records_changed(history, event, said)? {
                if said.record_ids.len() > 1 {
                    text.push_str(&format!("    {id}\n"));
                }
                text.push_str(&changes_text(&changes));
            }
        } else {
            for set in said
                .fields
                .iter()
                .filter(|set| !set.value.is_null() || set.listed)
            {
                text.push_str(&format!("    {} = {}\n", set.field, set.value));
            }
        }
    }
    if raw {
        let payload = STANDARD.encode(&event.kept.payload);
        text.push_str(&format!("    payload {payload}\n"));
        if let Some(schema) = history.journal.schema(&event.kept.schema_id)? {
            text.push_str(&format!("    schema {} {schema}\n", event.kept.schema_id));
        }
    }
    Ok(text)
}

pub(super) fn headline(event: &Event) -> String {
    let kept = &event.kept;
    match &event.said {
        Ok(said) => format!(
            "{}  {}  {} {}  {}  by {} over {}\n",
            kept.number,
            format_datetime(said.committed_at),
            said.object,
            said.kind.symbol(),
            said.record_ids.join(","),
            if said.user.is_empty() { "?" } else { &said.user },
            if said.origin.is_empty() {
                "the platform"
            } else {
                &said.origin
            },
        ),
        Err(reason) => format!(
            "{}  {}  {} {}  cannot be read: {reason}\n",
            kept.number,
            format_datetime(kept.received_at),
            kept.topic,
            hex(&kept.replay_id)
        ),
    }
}

pub(super) fn changes_text(changes: &[FieldChange]) -> String {
    let lines = changes.iter().map(|change| {
        let before = change
            .before
            .as_ref()
            .map_or_else(|| "?".to_owned(), ToString::to_string);
        format!("    {}: {before} -> {}\n", change.field, change.after)
    });
    lines.collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
