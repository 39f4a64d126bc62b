//! `storesync events export` and `import`: an incident, carried to another machine.
//!
//! The file is text, one JSON object a line: `{"schema": {id, json}}`, `{"event": {number, topic, replay_id, ordinal,
//! event_id, schema_id, received_at, payload, redacted}}`, and where all of the journal is written also `{"batch": {...}}` and
//! `{"page": {...}}`, so that it can be replayed. Bytes are in base64, times in milliseconds. It holds what the events
//! hold, personal data among it.

use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::path::Path;

use anyhow::Context as _;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use crate::cli::{Exit, FilterArgs};
use crate::inspect::listing::filter;
use crate::inspect::{Misused, actor, is_closed, print, state_dir, write_down};
use crate::journal::history::History;
use crate::journal::history::events::Filter;
use crate::model::clock::Millis;
use crate::store::journal::Journal;
use crate::store::journal::import::Import;
use crate::store::journal::log::KeptCommand;
use crate::store::journal::read::{KeptBatch, KeptPage};
use crate::store::journal::{JournalReader, Kept};
use crate::store::outbox::audit;

/// Rows read at a time.
const ROWS_READ: usize = 500;

/// Pages read at a time.
const PAGES_READ: usize = 8;

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Line {
    Schema {
        id: String,
        json: String,
    },
    Event {
        number: i64,
        topic: String,
        replay_id: String,
        ordinal: i64,
        event_id: String,
        schema_id: String,
        received_at: Millis,
        payload: String,
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        redacted: Vec<String>,
    },
    Batch {
        number: i64,
        at: Millis,
        rev: i64,
        last_event: i64,
        commands: Vec<KeptCommand>,
    },
    Page {
        number: i64,
        batch: i64,
        command: usize,
        object: String,
        kind: String,
        taken_at: Millis,
        first_id: String,
        last_id: String,
        packed: String,
    },
}

pub fn export(config: Option<&Path>, args: &FilterArgs, state: Option<&Path>) -> anyhow::Result<Exit> {
    let filter = filter(args)?;
    let dir = state_dir(config, state)?;
    let mut history = History::open(&dir)?;
    write_down(&dir, &noted(args)?)?;
    let mut out = BufWriter::new(std::io::stdout().lock());
    let exported = events(&mut history, &filter, &mut out);
    // Whoever closed the pipe has read enough.
    match exported {
        Err(error) if !is_closed(&error) => Err(error),
        _ => Ok(Exit::Ok),
    }
}

fn events(history: &mut History, filter: &Filter, out: &mut impl Write) -> anyhow::Result<()> {
    for (id, json) in history.journal.schemas()? {
        write(out, &Line::Schema { id, json })?;
    }
    if filter.is_empty() {
        batches(&history.journal, out)?;
    }
    let mut next = 1;
    loop {
        let (found, then) = history.after(next, filter)?;
        for event in found {
            write(out, &event_line(event.kept))?;
        }
        if std::mem::replace(&mut next, then) == then {
            break;
        }
    }
    out.flush().context("write the export")
}

/// What the audit has of it.
fn noted(args: &FilterArgs) -> Result<audit::Line, Misused> {
    let line = audit::Line {
        person: args.record.clone(),
        ..audit::Line::new(actor()?, "export")
    };
    let line = line
        .about("what", Some("events"))
        .about("object", args.object.as_deref())
        .about("field", args.field.as_deref())
        .about("kind", args.kind.as_deref())
        .about("since", args.since.as_deref())
        .about("until", args.until.as_deref())
        .about("transaction", args.transaction.as_deref())
        .about("origin", args.origin.as_deref());
    Ok(line)
}

fn batches(journal: &JournalReader, out: &mut impl Write) -> anyhow::Result<()> {
    let mut next = 1;
    loop {
        let batches = journal.batches(next, ROWS_READ)?;
        let Some(last) = batches.last() else { break };
        next = last.number + 1;
        for batch in batches {
            write(out, &batch_line(batch))?;
        }
    }
    let mut next = 1;
    loop {
        let pages = journal.pages(next, PAGES_READ)?;
        let Some(last) = pages.last() else { return Ok(()) };
        next = last.number + 1;
        for page in pages {
            write(out, &page_line(page))?;
        }
    }
}

fn write(out: &mut impl Write, line: &Line) -> anyhow::Result<()> {
    let written = serde_json::to_writer(&mut *out, line);
    written
        .map_err(std::io::Error::from)
        .context("write the export")?;
    out.write_all(b"\n").context("write the export")
}

/// Makes a journal; all of the file, or nothing of it.
pub fn import(file: &Path, state: &Path) -> anyhow::Result<Exit> {
    let shown = file.display();
    let read: Box<dyn BufRead> = match file.as_os_str() == "-" {
        true => Box::new(std::io::stdin().lock()),
        false => {
            let unread = |error| Misused(format!("{shown} cannot be read ({error})"));
            Box::new(BufReader::new(File::open(file).map_err(unread)?))
        }
    };
    if state.join(crate::store::journal::KIND.file_name).exists() {
        let why = format!("{} has a journal already: give another folder", state.display());
        return Err(Misused(why).into());
    }
    std::fs::create_dir_all(state).with_context(|| format!("make {}", state.display()))?;
    let mut journal = Journal::open(state)?;
    let mut import = journal.import()?;
    let mut events = 0;
    for (number, line) in read.lines().enumerate() {
        let line = line.with_context(|| format!("read {shown}"))?;
        let what = || Misused(format!("line {} of {shown} is no line of an export", number + 1));
        let line: Line = serde_json::from_str(&line).map_err(|_| what())?;
        events += u64::from(matches!(line, Line::Event { .. }));
        take(&mut import, line).ok_or_else(what)?.with_context(what)?;
    }
    import.commit()?;
    print(&format!(
        "{events} events are in {}: look at them with --state\n",
        state.display()
    ));
    Ok(Exit::Ok)
}

/// `None` where its bytes are not base64.
fn take(import: &mut Import<'_>, line: Line) -> Option<rusqlite::Result<()>> {
    let bytes = |text: &str| STANDARD.decode(text).ok();
    Some(match line {
        Line::Schema { id, json } => import.schema(&id, &json),
        Line::Event {
            number,
            topic,
            replay_id,
            ordinal,
            event_id,
            schema_id,
            received_at,
            payload,
            redacted,
        } => import.event(&Kept {
            number,
            topic,
            replay_id: bytes(&replay_id)?,
            ordinal,
            event_id,
            schema_id,
            received_at,
            payload: bytes(&payload)?,
            redacted,
        }),
        Line::Batch {
            number,
            at,
            rev,
            last_event,
            commands,
        } => import.batch(&KeptBatch {
            number,
            at,
            rev,
            last_event,
            commands,
        }),
        Line::Page {
            number,
            batch,
            command,
            object,
            kind,
            taken_at,
            first_id,
            last_id,
            packed,
        } => import.page(&KeptPage {
            number,
            batch,
            command,
            object,
            kind,
            taken_at,
            first_id,
            last_id,
            body: bytes(&packed)?,
        }),
    })
}

fn event_line(kept: Kept) -> Line {
    Line::Event {
        number: kept.number,
        topic: kept.topic,
        replay_id: STANDARD.encode(&kept.replay_id),
        ordinal: kept.ordinal,
        event_id: kept.event_id,
        schema_id: kept.schema_id,
        received_at: kept.received_at,
        payload: STANDARD.encode(&kept.payload),
        redacted: kept.redacted,
    }
}

fn batch_line(batch: KeptBatch) -> Line {
    Line::Batch {
        number: batch.number,
        at: batch.at,
        rev: batch.rev,
        last_event: batch.last_event,
        commands: batch.commands,
    }
}

fn page_line(page: KeptPage) -> Line {
    Line::Page {
        number: page.number,
        batch: page.batch,
        command: page.command,
        object: page.object,
        kind: page.kind,
        taken_at: page.taken_at,
        first_id: page.first_id,
        last_id: page.last_id,
        packed: STANDARD.encode(&page.body),
    }
}
