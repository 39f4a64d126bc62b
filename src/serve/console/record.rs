//! One record's past: what touched it, what that changed, and the row as it was at a time.

use axum::Extension;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use serde::Deserialize;

use crate::journal::history::at::Then;
use crate::journal::history::full_id;
use crate::journal::history::record::Moment;
use crate::journal::history::touches::{Cause, What};
use crate::model::clock::{Millis, format_datetime, parse_datetime};
use crate::serve::World;
use crate::serve::console::events::{changed, read};
use crate::serve::console::html::{Html, button, element, field, heading, link, note, table, tag, text};
use crate::serve::console::{Page, Trouble, look, shell};
use crate::serve::operators::Operator;

/// Touches shown; those before are in the command line's `history`.
const SHOWN_MAX: usize = 500;

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Asked {
    at: String,
}

pub async fn page(
    State(world): State<World>,
    Extension(operator): Extension<Operator>,
    Path((object, id)): Path<(String, String)>,
    Query(asked): Query<Asked>,
) -> Page {
    let id = full_id(&id);
    let at = match asked.at.trim() {
        "" => None,
        given => Some(parse_datetime(given).ok_or_else(|| {
            let sentence = format!("{given} is no time: write it like 2026-11-22T09:30:00Z");
            Trouble::new(StatusCode::BAD_REQUEST, sentence)
        })?),
    };
    let (of, record) = (object.clone(), id.clone());
    let (timeline, then) = look(&world, move |history| {
        let then = match at {
            Some(at) => Some((at, history.at(&of, &record, at)?)),
            None => None,
        };
        Ok((history.timeline(&of, &record)?, then))
    })?;
    let form = [
        field("As it was at", "at", &asked.at, "2026-11-22T09:30:00Z"),
        button("Show the row"),
    ];
    let mut content = vec![element("form", &[("method", "get")], form)];
    content.extend(then.map(|(at, then)| row_then(at, &then)));
    content.push(heading("What touched it, the newest first"));
    match timeline.is_empty() {
        true => content.push(note("The journal holds nothing of this record.")),
        false => read(&world, &operator, &object),
    }
    let skipped = timeline.len().saturating_sub(SHOWN_MAX);
    let moments = timeline.iter().skip(skipped).rev().map(moment);
    content.push(element("ol", &[("class", "timeline")], moments));
    if skipped > 0 {
        content.push(note(format!(
            "{skipped} older ones: storesync history {object} {id}"
        )));
    }
    let title = format!("{object} {id}");
    Ok(shell(StatusCode::OK, "/events", &title, content))
}

fn row_then(at: Millis, then: &Then) -> Html {
    let title = heading(format!("The row at {}", format_datetime(at)));
    let told = match then {
        Then::Row { row, whole } => {
            let rows = row.iter().map(|(field, value)| vec![text(field), text(value)]);
            let caption = if *whole {
                "All fields"
            } else {
                "What is known of it"
            };
            table(caption, &["Field", "Value"], rows)
        }
        Then::Absent => note("It was not there."),
        Then::Unknown { .. } => note("The journal does not reach back so far."),
    };
    [title, told].into_iter().collect()
}

fn moment(moment: &Moment) -> Html {
    let touch = &moment.touch;
    let mut told = vec![tag("strong", format_datetime(touch.at)), text(" ")];
    match &touch.cause {
        Cause::Event(event) => {
            let number = event.kept.number;
            told.push(link(&format!("/events/{number}"), format!("Event {number}")));
            if let Ok(said) = &event.said {
                told.push(text(format!(
                    " {} by {} over {}",
                    said.kind.symbol(),
                    said.user,
                    if said.origin.is_empty() {
                        "the platform"
                    } else {
                        &said.origin
                    }
                )));
            }
        }
        Cause::Read(kind) => told.push(text(format!("read from the org ({})", kind.replace('_', " ")))),
    }
    told.push(match touch.what {
        What::Unsaid => note("It does not say what changed."),
        What::Gone | What::LoadEnded => note("It is not there any more."),
        _ if moment.changes.is_empty() => note("Nothing changed."),
        _ => changed(&moment.changes),
    });
    element("li", &[], told)
}
