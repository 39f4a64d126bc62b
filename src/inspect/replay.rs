//! `storesync replay`: sends the journal, or a part of it, through the door again.
//!
//! Into a file of its own (`--into`), only to say how that differs from the cache (`--dry-run`; with `--from` this is
//! what `--live` would change), or into the cache itself (`--live`), which wants the daemon stopped and a word typed: that moves the positions on the channels to
//! the end of what is replayed, and what came after is asked of the org again.

use std::io::BufRead;
use std::path::Path;

use anyhow::Context as _;
use serde_json::{Value, json};

use crate::cli::{Exit, ReplayArgs};
use crate::config::Config;
use crate::inspect::verify::NotMirrored;
use crate::inspect::{Misused, actor, print, print_json, reader, require_encrypted, state_dir, write_down};
use crate::journal::replay::{NoPoint, Only, Point, Replayed, Span, live, replay};
use crate::model::clock::{Clock, Millis};
use crate::store::cache::contrast::{self, Contrast, Differing, Scope};
use crate::store::cache::{Cache, KIND, meta};
use crate::store::database;
use crate::store::journal::{Journal, JournalReader};
use crate::store::outbox::audit::Line;
use crate::store::scratch::Scratch;
use crate::store::storefront::{self, ObjectStatus};

pub fn run(config: Option<&Path>, args: &ReplayArgs) -> anyhow::Result<Exit> {
    let span = match span(args) {
        Ok(span) => span,
        Err(error) => {
            eprintln!("storesync: {error}");
            return Ok(Exit::Usage);
        }
    };
    let dir = state_dir(config, args.state.as_deref())?;
    if let Some(object) = &args.object {
        // What cannot be read is told by whoever needs it.
        let states = reader(&dir).map(|reader| reader.with(storefront::object_states));
        let states = states.ok().and_then(Result::ok).unwrap_or_default();
        let is_there = |states: Vec<ObjectStatus>| {
            let mut objects = states.iter().map(|state| &state.object);
            objects.any(|mirrored| mirrored.eq_ignore_ascii_case(object))
        };
        if !states.is_empty() && !is_there(states) {
            return Err(Misused(NotMirrored(object.clone()).to_string()).into());
        }
    }
    if let (Some(file), Ok(config)) = (&args.into, Config::load(config)) {
        let remedy = "name a file beside those of [state] dir, or on an encrypted volume";
        require_encrypted(&config.state, beside(file), remedy)?;
    }
    write_down(&dir, &line(args)?)?;
    match (&args.into, args.live) {
        (Some(file), _) => {
            let replayed = into(&dir, file, &span)?;
            tell_replayed(args.json, &replayed, &format!("into {}", file.display()));
            Ok(Exit::Ok)
        }
        (None, true) => over_the_cache(&dir, &span, args.json),
        (None, false) => dry_run(&dir, span, args.json),
    }
}

/// What the audit has of it.
fn line(args: &ReplayArgs) -> Result<Line, Misused> {
    let way = match (&args.into, args.live) {
        (Some(_), _) => "into",
        (None, true) => "live",
        (None, false) => "dry-run",
    };
    let line = Line {
        person: args.record.clone(),
        ..Line::new(actor()?, "replay")
    };
    let line = line
        .about("way", Some(way))
        .about("from", args.from.as_deref())
        .about("to", args.to.as_deref())
        .about("object", args.object.as_deref());
    Ok(line)
}

fn span(args: &ReplayArgs) -> Result<Span, NoPoint> {
    let point = |text: &Option<String>| text.as_deref().map(str::parse::<Point>).transpose();
    Ok(Span {
        from: point(&args.from)?,
        to: point(&args.to)?,
        only: Only {
            object: args.object.clone(),
            record: args.record.clone(),
        },
        last_batch: None,
        steps: None,
    })
}

/// The folder of a file.
fn beside(file: &Path) -> &Path {
    match file.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// Makes a cache of its own: in a folder beside the file, moved to its place when it is whole.
fn into(dir: &Path, file: &Path, span: &Span) -> anyhow::Result<Replayed> {
    // A file that is there already is not written over.
    if file.exists() {
        let why = format!(
            "{} exists already: give another file, or remove it first",
            file.display()
        );
        return Err(Misused(why).into());
    }
    let journal = JournalReader::open(dir)?;
    let beside = beside(file);
    let scratch = Scratch::in_dir(beside).with_context(|| format!("write into {}", beside.display()))?;
    let mut cache = Cache::open(scratch.path())?;
    let replayed = replay(&journal, &mut cache, span)?;
    drop(cache);
    std::fs::rename(scratch.path().join(KIND.file_name), file)
        .with_context(|| format!("write {}", file.display()))?;
    Ok(replayed)
}

/// Says how what the replay gives differs from the cache, whether or not the daemon runs: over an empty cache, or where
/// a point to begin at is given, over a copy of the cache, as `--live` would.
fn dry_run(dir: &Path, mut span: Span, as_json: bool) -> anyhow::Result<Exit> {
    // Beside what it is made of: on the same volume, for the same users.
    let scratch = Scratch::in_dir(dir).with_context(|| format!("write into {}", dir.display()))?;
    let connection = reader(dir)?.connection()?;
    let journal = JournalReader::open(dir)?;
    let replayed = if span.from.is_some() {
        database::copy(&connection, &scratch.path().join(KIND.file_name))?;
        let mut cache = Cache::open(scratch.path())?;
        let mut own = Journal::open(scratch.path())?;
        live(&journal, &mut own, &mut cache, &span, Clock::System.now())?
    } else {
        span.last_batch = Some(meta::<i64>(&connection, "journal")?.unwrap_or(0));
        replay(&journal, &mut Cache::open(scratch.path())?, &span)?
    };
    let scope = Scope {
        object: span.only.object.as_deref(),
        record: span.only.record.as_deref(),
    };
    let found = contrast::contrast(&connection, &scratch.path().join(KIND.file_name), &scope)?;
    tell(as_json, &replayed, &found);
    let same = found.iter().all(|table| table.differing == 0);
    Ok(if same { Exit::Ok } else { Exit::Failed })
}

/// Into the cache itself.
fn over_the_cache(dir: &Path, span: &Span, as_json: bool) -> anyhow::Result<Exit> {
    let _lock = database::lock(dir)?;
    reader(dir)?;
    let mut cache = Cache::open(dir)?;
    let org: String = meta(cache.connection(), "org_id")?.unwrap_or_default();
    eprintln!(
        "the events of this span are applied to {} once more, and the positions on their channels move to its end: \
         when the daemon starts, what came after is asked of the org again.\nType the org's id ({org}) to go on:",
        dir.join(KIND.file_name).display()
    );
    let mut typed = String::new();
    std::io::stdin().lock().read_line(&mut typed)?;
    if typed.trim() != org || org.is_empty() {
        eprintln!("storesync: nothing was changed");
        return Ok(Exit::Usage);
    }
    let now: Millis = Clock::System.now();
    let mut journal = Journal::open(dir)?;
    let replayed = live(&JournalReader::open(dir)?, &mut journal, &mut cache, span, now)?;
    tell_replayed(as_json, &replayed, "into the cache");
    Ok(Exit::Ok)
}

fn tell_replayed(as_json: bool, replayed: &Replayed, place: &str) {
    if as_json {
        return print_json(&counts(replayed));
    }
    let Replayed {
        batches,
        events,
        pages,
    } = replayed;
    print(&format!(
        "{events} events and {pages} answers with rows went {place}, in {batches} transactions\n"
    ));
}

fn counts(replayed: &Replayed) -> Value {
    json!({"batches": replayed.batches, "events": replayed.events, "pages": replayed.pages})
}

fn tell(as_json: bool, replayed: &Replayed, found: &[Contrast]) {
    if as_json {
        let mut told = counts(replayed);
        told["objects"] = found.iter().map(table_json).collect();
        return print_json(&told);
    }
    tell_replayed(false, replayed, "into a scratch cache");
    let mut differing = 0;
    for table in found {
        differing += table.differing;
        for row in &table.listed {
            print(&format!("{} {} {}\n", table.object, row.id, sentence(row)));
        }
        let more = table.differing - table.listed.len() as u64;
        if more > 0 {
            print(&format!("{}: {more} more\n", table.object));
        }
    }
    print(&format!(
        "{} objects compared with the cache: {differing} rows differ\n",
        found.len()
    ));
}

fn sentence(row: &Differing) -> String {
    match (row.here, row.there) {
        (true, false) => "is in the cache only".to_owned(),
        (false, _) => "is in the replay only".to_owned(),
        (true, true) => {
            let told = row.columns.iter().map(|column| {
                format!(
                    "{}: {} in the cache, {} in the replay",
                    column.field, column.here, column.org
                )
            });
            format!("differs: {}", told.collect::<Vec<_>>().join("; "))
        }
    }
}

fn table_json(table: &Contrast) -> Value {
    let rows = table.listed.iter().map(|row| {
        let fields: serde_json::Map<String, Value> = row
            .columns
            .iter()
            .map(|column| {
                (
                    column.field.clone(),
                    json!({"cache": column.here, "replay": column.org}),
                )
            })
            .collect();
        json!({"id": row.id, "in_cache": row.here, "in_replay": row.there, "fields": fields})
    });
    json!({
        "object": table.object, "rows_in_cache": table.rows_here, "rows_in_replay": table.rows_there,
        "differing": table.differing, "rows": rows.collect::<Vec<_>>(),
    })
}
