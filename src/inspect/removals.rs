//! `storesync removals`: rows that were not found in the org, and what people decide about them.
//!
//! A decision is written beside the mirrored rows, and the daemon carries it out: at once where it runs, else when it next
//! starts.

use serde_json::{Value, json};

use crate::cli::{Exit, RemovalsCommand};
use crate::config::Config;
use crate::inspect::{actor, print, print_json, reader, write_down};
use crate::model::clock::format_datetime;
use crate::store::cache::absence::{self, Decision, Waiting};
use crate::store::cache::repairs::{self, Asked, DECISION_ID};
use crate::store::outbox::audit::Line;

pub fn run(config: &Config, command: &RemovalsCommand) -> anyhow::Result<Exit> {
    let waiting = reader(&config.state.dir)?.with(absence::waiting)?;
    match command {
        RemovalsCommand::List { json } => {
            list(&waiting, *json);
            Ok(Exit::Ok)
        }
        RemovalsCommand::Release { object, rows } => {
            decide(config, &waiting, object, Decision::Release(*rows))
        }
        RemovalsCommand::Refuse { object } => decide(config, &waiting, object, Decision::Refuse),
    }
}

fn list(waiting: &[Waiting], as_json: bool) {
    if as_json {
        print_json(&Value::Array(waiting.iter().map(as_value).collect()));
        return;
    }
    if waiting.is_empty() {
        print("no removal waits\n");
    }
    for waiting in waiting {
        let (since, object) = (format_datetime(waiting.since), &waiting.object);
        print(&format!(
            "{since}  {object}  {}: {}\n",
            waiting.reason,
            waiting.sentence()
        ));
    }
}

fn as_value(waiting: &Waiting) -> Value {
    json!({
        "object": waiting.object,
        "rows": waiting.rows,
        "rows_of": waiting.of,
        "reason": waiting.reason,
        "since": format_datetime(waiting.since),
    })
}

fn decide(config: &Config, waiting: &[Waiting], object: &str, decision: Decision) -> anyhow::Result<Exit> {
    let found = waiting
        .iter()
        .find(|waiting| waiting.object.eq_ignore_ascii_case(object));
    let Some(found) = found else {
        eprintln!("storesync: no removal of {object} waits: storesync removals list shows those that do");
        return Ok(Exit::Failed);
    };
    if let Decision::Release(rows) = decision
        && rows < found.rows
    {
        eprintln!(
            "storesync: {} rows of {} wait, which is more than {rows}: release all of them or refuse",
            found.rows, found.object
        );
        return Ok(Exit::Failed);
    }
    let asked = Asked {
        object: found.object.clone(),
        record_id: DECISION_ID.to_owned(),
        reason: decision.as_text(),
    };
    let line = match decision {
        Decision::Release(rows) => Line::new(actor()?, "release").about("rows", Some(rows)),
        Decision::Refuse | Decision::Back { .. } => Line::new(actor()?, "refuse"),
    };
    write_down(
        &config.state.dir,
        &line.about("object", Some(found.object.as_str())),
    )?;
    repairs::ask_for(&config.state.dir, &[asked])?;
    print(&match decision {
        Decision::Release(rows) => {
            format!(
                "{} is read again as a whole, and up to {rows} rows leave\n",
                found.object
            )
        }
        Decision::Refuse | Decision::Back { .. } => format!("the rows of {} stay\n", found.object),
    });
    Ok(Exit::Ok)
}
