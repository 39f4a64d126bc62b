//! The ledger: what has to be done again, and what was found when it was.

use axum::extract::State;
use axum::http::StatusCode;

use crate::model::clock::format_datetime;
use crate::serve::World;
use crate::serve::console::events::record_link;
use crate::serve::console::html::{Html, heading, note, table, text};
use crate::serve::console::{Page, shell};
use crate::store::cache::repairs::{self, Kind, Repair};

/// Entries shown of each kind that is open, and of the history.
const SHOWN_MAX: usize = 200;

pub async fn page(State(world): State<World>) -> Page {
    let (open, closed) = world.reader.with(|connection| {
        let mut open = Vec::new();
        for kind in Kind::ALL {
            open.extend(repairs::open(connection, kind, SHOWN_MAX)?);
        }
        Ok((open, repairs::history(connection, SHOWN_MAX)?))
    })?;
    let open_rows = open.iter().map(|entry| {
        let mut cells = named(entry);
        cells.extend([
            text(entry.attempts),
            text(entry.error.as_deref().unwrap_or_default()),
        ]);
        cells
    });
    let closed_rows = closed
        .iter()
        .filter(|entry| entry.closed_at.is_some())
        .map(|entry| {
            let mut cells = named(entry);
            cells.extend([
                text(entry.closed_at.map(format_datetime).unwrap_or_default()),
                text(entry.found.as_deref().unwrap_or_default()),
            ]);
            cells
        });
    let content = [
        note(
            "Each entry is one piece of work, which the daemon does by itself. Parked events wait for a person.",
        ),
        heading("Open"),
        table(
            "Open entries",
            &[
                "Kind",
                "Object",
                "Record",
                "Why",
                "Since",
                "Attempts",
                "Last trouble",
            ],
            open_rows,
        ),
        heading("Done"),
        table(
            "Closed entries, the newest first",
            &["Kind", "Object", "Record", "Why", "Since", "Closed", "Found"],
            closed_rows,
        ),
    ];
    Ok(shell(StatusCode::OK, "/repairs", "Repairs", content))
}

fn named(entry: &Repair) -> Vec<Html> {
    let record = entry
        .record_id
        .as_deref()
        .map(|id| record_link(&entry.object, id));
    vec![
        text(entry.kind.as_str().replace('_', " ")),
        text(&entry.object),
        record.unwrap_or_default(),
        text(&entry.reason),
        text(format_datetime(entry.opened_at)),
    ]
}
