//! `storesync history` and `storesync bisect`: one record's past.
//!
//! The timeline in JSON is a list of `{at, seen_at, source, present, changes}`, where `source` is `{"event": ...}` as
//! `events list` has it without fields, or `{"read": "load"}` and its like, and `changes` a list of `{field, before,
//! after}`. With `--at` it is `{object, id, at, state, row}`, `state` being `row`, `partial`, `absent` or `unknown`.

use std::path::Path;

use serde_json::{Value, json};

use crate::cli::{BisectArgs, Exit, HistoryArgs};
use crate::inspect::listing::{changes_json, changes_text, header_json, headline, instant};
use crate::inspect::{Misused, print, print_json, state_dir};
use crate::journal::history::at::Then;
use crate::journal::history::record::Moment;
use crate::journal::history::touches::{Cause, What};
use crate::journal::history::{History, full_id};
use crate::model::clock::{Millis, format_datetime};
use crate::store::journal::forget::Reach;

pub fn run(config: Option<&Path>, args: &HistoryArgs) -> anyhow::Result<Exit> {
    let at = args.at.as_deref().map(instant).transpose()?;
    let id = full_id(&args.id);
    let mut history = History::open(&state_dir(config, args.look.state.as_deref())?)?;
    if let Some(at) = at {
        let then = history.at(&args.object, &id, at)?;
        let exit = tell_then(args, &id, at, &then);
        if let (Exit::Failed, Some(reach)) = (exit, history.journal.reaches_back()?) {
            eprintln!("storesync: {}", reaches_back(reach));
        }
        return Ok(exit);
    }
    let timeline = history.timeline(&args.object, &id)?;
    if args.look.json {
        print_json(&timeline.iter().map(as_json).collect());
    } else {
        timeline.iter().for_each(|moment| print(&as_text(moment)));
        if timeline.is_empty() {
            print(&format!("the journal holds nothing of {} {id}\n", args.object));
        }
        if let Some(reach) = history.journal.reaches_back()? {
            eprintln!("storesync: {}", reaches_back(reach));
        }
    }
    Ok(if timeline.is_empty() {
        Exit::Failed
    } else {
        Exit::Ok
    })
}

/// Why less may be known than was asked for.
fn reaches_back(reach: Reach) -> String {
    let at = format_datetime(reach.at);
    format!(
        "the journal reaches back to {at}: what was before it no longer holds ([state] journal_days, journal_bytes)"
    )
}

fn tell_then(args: &HistoryArgs, id: &str, at: Millis, then: &Then) -> Exit {
    let object = &args.object;
    let (state, row) = match then {
        Then::Row { row, whole: true } => ("row", json!(row)),
        Then::Row { row, whole: false } => ("partial", json!(row)),
        Then::Absent => ("absent", Value::Null),
        Then::Unknown { .. } => ("unknown", Value::Null),
    };
    if args.look.json {
        print_json(
            &json!({"object": object, "id": id, "at": format_datetime(at), "state": state, "row": row}),
        );
    } else {
        match then {
            Then::Row { row, whole } => {
                if !whole {
                    print("only these fields are known: the journal does not reach back to the whole row\n");
                }
                row.iter()
                    .for_each(|(field, value)| print(&format!("{field} = {value}\n")));
            }
            Then::Absent => print(&format!("{object} {id} was not there\n")),
            Then::Unknown { first_met } => print(&format!(
                "nothing is known of {object} {id} at that time: {}\n",
                first_met.map_or_else(
                    || "the journal holds nothing of it".to_owned(),
                    |at| format!("it is first met at {}", format_datetime(at))
                )
            )),
        }
    }
    match then {
        Then::Unknown { .. } => Exit::Failed,
        _ => Exit::Ok,
    }
}

fn as_json(moment: &Moment) -> Value {
    let touch = &moment.touch;
    let source = match &touch.cause {
        Cause::Event(event) => json!({"event": header_json(event)}),
        Cause::Read(kind) => json!({ "read": kind }),
    };
    json!({
        "at": format_datetime(touch.at),
        "seen_at": format_datetime(touch.seen_at),
        "source": source,
        "present": moment.present,
        "changes": changes_json(&moment.changes),
    })
}

fn as_text(moment: &Moment) -> String {
    let touch = &moment.touch;
    let mut text = match &touch.cause {
        Cause::Event(event) => headline(event),
        Cause::Read(kind) => format!(
            "{}  read at {} ({})\n",
            format_datetime(touch.at),
            format_datetime(touch.seen_at),
            kind.replace('_', " ")
        ),
    };
    match touch.what {
        What::Unsaid => text.push_str("    it does not say what changed\n"),
        What::Gone | What::LoadEnded if moment.present == Some(false) => {
            text.push_str("    it is not there any more\n");
        }
        _ => text.push_str(&changes_text(&moment.changes)),
    }
    text
}

/// Says which event or read first gave a field a value; exits 1 where none did.
pub fn bisect(config: Option<&Path>, args: &BisectArgs) -> anyhow::Result<Exit> {
    let Some((field, value)) = args.condition.split_once('=') else {
        return Err(Misused(format!("{} is not of the form FIELD=VALUE", args.condition)).into());
    };
    let id = full_id(&args.id);
    let mut history = History::open(&state_dir(config, args.look.state.as_deref())?)?;
    let first = history.first_with(&args.object, &id, field, |stored| is_meant(stored, value))?;
    let Some(first) = first else {
        let is_withheld = history.withholds(&args.object, &id, field)?;
        match (args.look.json, is_withheld) {
            (true, _) => print_json(&Value::Null),
            (false, false) => print(&format!("{field} of {} {id} never was {value}\n", args.object)),
            (false, true) => print(&format!(
                "whether {field} of {} {id} was {value} is not known: its values are not kept\n",
                args.object
            )),
        }
        return Ok(Exit::Failed);
    };
    if args.look.json {
        let mut found = as_json(&first.moment);
        found["looked_at"] = json!(first.looked_at);
        print_json(&found);
    } else {
        print(&as_text(&first.moment));
    }
    Ok(Exit::Ok)
}

/// Whether a value is what was typed.
fn is_meant(stored: &Value, typed: &str) -> bool {
    match stored {
        Value::Null => typed == "null" || typed.is_empty(),
        Value::Bool(flag) => typed == if *flag { "true" } else { "false" },
        Value::Number(number) => typed
            .parse::<f64>()
            .is_ok_and(|typed| number.as_f64() == Some(typed)),
        Value::String(text) => {
            text == typed
                || crate::model::clock::parse_datetime(typed)
                    .is_some_and(|at| text.len() == 24 && *text == format_datetime(at))
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_typed_means_a_value() {
        let cases = [
            (Value::Null, "null", true),
            (json!("null"), "null", true),
            (json!(1.5), "1.50", true),
            (json!(true), "true", true),
            (json!("a"), "b", false),
            (json!("2026-11-22T09:30:00.000Z"), "2026-11-22T09:30:00Z", true),
        ];
        for (stored, typed, expected) in cases {
            assert_eq!(is_meant(&stored, typed), expected, "{stored} {typed}");
        }
    }
}
