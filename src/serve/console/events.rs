//! Events: the newest that pass a filter, one in full, and those that could not be decoded.

use axum::Extension;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

use crate::journal::history::events::{Event, Filter, Said};
use crate::journal::history::record::FieldChange;
use crate::model::change::ReplayId;
use crate::model::clock::{format_datetime, parse_datetime};
use crate::serve::World;
use crate::serve::console::html::{
    Html, button, element, facts, field, folded, heading, link, note, table, tag, text, verbatim,
};
use crate::serve::console::{ACTOR, Page, Trouble, look, shell};
use crate::serve::operators::Operator;
use crate::store::cache::repairs::{self, Kind};

/// Events on one page.
const LISTED: usize = 50;

/// Parked events on the page.
const PARKED_MAX: usize = 200;

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Asked {
    object: String,
    record: String,
    field: String,
    kind: String,
    transaction: String,
    origin: String,
    since: String,
    until: String,
    before: Option<i64>,
}

impl Asked {
    fn filter(&self) -> Result<Filter, Trouble> {
        let given = |text: &str| Some(text.trim().to_owned()).filter(|text| !text.is_empty());
        let time = |text: &str| match given(text) {
            None => Ok(None),
            Some(text) => parse_datetime(&text).map(Some).ok_or_else(|| {
                let sentence = format!("{text} is no time: write it like 2026-11-22T09:30:00Z");
                Trouble::new(StatusCode::BAD_REQUEST, sentence)
            }),
        };
        Ok(Filter {
            object: given(&self.object),
            record: given(&self.record),
            field: given(&self.field),
            kind: given(&self.kind),
            transaction: given(&self.transaction),
            origin: given(&self.origin),
            since: time(&self.since)?,
            until: time(&self.until)?,
        })
    }

    fn form(&self) -> Html {
        let fields = [
            field("Object", "object", &self.object, "Product2"),
            field("Record id", "record", &self.record, ""),
            field("Field", "field", &self.field, ""),
            field("Kind", "kind", &self.kind, "UPDATE"),
            field("Transaction", "transaction", &self.transaction, ""),
            field("Origin", "origin", &self.origin, ""),
            field("Since", "since", &self.since, "2026-11-22T09:30:00Z"),
            field("Until", "until", &self.until, ""),
            button("Show"),
        ];
        element(
            "form",
            &[("method", "get"), ("action", "/events"), ("role", "search")],
            fields,
        )
    }

    /// The address of the page with what is older.
    fn older(&self, before: i64) -> String {
        let before = before.to_string();
        let parts = [
            ("object", &self.object),
            ("record", &self.record),
            ("field", &self.field),
            ("kind", &self.kind),
            ("transaction", &self.transaction),
            ("origin", &self.origin),
            ("since", &self.since),
            ("until", &self.until),
            ("before", &before),
        ];
        let given = parts.iter().filter(|(_, value)| !value.is_empty());
        let encode = |value: &str| {
            percent_encoding::utf8_percent_encode(value, percent_encoding::NON_ALPHANUMERIC).to_string()
        };
        let query: Vec<String> = given
            .map(|(name, value)| format!("{name}={}", encode(value)))
            .collect();
        format!("/events?{}", query.join("&"))
    }
}

pub async fn page(State(world): State<World>, Query(asked): Query<Asked>) -> Page {
    let filter = asked.filter()?;
    let before = asked.before.unwrap_or(i64::MAX);
    let found = look(&world, move |history| history.before(before, &filter, LISTED))?;
    let older = found
        .last()
        .filter(|_| found.len() == LISTED)
        .map(|event| link(&asked.older(event.kept.number), "Older events"));
    let rows = found.iter().map(row);
    let head = ["Event", "Committed", "Object", "Kind", "Records", "By", "Says of"];
    let content = [asked.form(), table("Events, the newest first", &head, rows)];
    Ok(shell(
        StatusCode::OK,
        "/events",
        "Events",
        content.into_iter().chain(older),
    ))
}

fn row(event: &Event) -> Vec<Html> {
    let number = event.kept.number;
    let mut cells = vec![link(&format!("/events/{number}"), number)];
    match &event.said {
        Err(reason) => cells.extend([
            text(format_datetime(event.kept.received_at)),
            text(&event.kept.topic),
            element(
                "span",
                &[("class", "bad")],
                [text(format!("cannot be read: {reason}"))],
            ),
            text(""),
            text(""),
            text(""),
        ]),
        Ok(said) => {
            let records = said.record_ids.iter().map(|id| record_link(&said.object, id));
            let listed = said
                .fields
                .iter()
                .filter(|set| set.listed && !set.value.is_null());
            let fields: Vec<&str> = listed.map(|set| set.field.as_str()).collect();
            cells.extend([
                text(format_datetime(said.committed_at)),
                text(&said.object),
                text(said.kind.symbol()),
                records.collect(),
                text(origin(said)),
                text(fields.join(", ")),
            ]);
        }
    }
    cells
}

pub(super) fn record_link(object: &str, id: &str) -> Html {
    let is_name = |text: &str| {
        text.bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
    };
    if !is_name(object) || !is_name(id) {
        return text(format!("{id} "));
    }
    [link(&format!("/records/{object}/{id}"), id), text(" ")]
        .into_iter()
        .collect()
}

fn origin(said: &Said) -> String {
    let client = said.origin.rsplit("client=").next().unwrap_or_default();
    match client {
        "" => format!("{} (the platform)", said.user),
        client => format!("{} ({client})", said.user),
    }
}

pub async fn one(
    State(world): State<World>,
    Extension(operator): Extension<Operator>,
    Path(number): Path<i64>,
) -> Page {
    let found = look(&world, move |history| {
        let Some(kept) = history.journal.event(number)? else {
            return Ok(None);
        };
        let event = history.read(kept)?;
        let mut changes = Vec::new();
        if let Ok(said) = &event.said {
            for id in &said.record_ids {
                changes.push((id.clone(), history.changes_of(number, &said.object, id)?));
            }
        }
        let schema = history.journal.schema(&event.kept.schema_id)?;
        Ok(Some((event, changes, schema)))
    });
    let Some((event, changes, schema)) = found? else {
        return Err(Trouble::not_found(format!("the journal holds no event {number}")));
    };
    let object = event.said.as_ref().map_or("event", |said| said.object.as_str());
    read(&world, &operator, object);
    let mut content = vec![header(&event)];
    if let Ok(said) = &event.said {
        for (id, changes) in &changes {
            content.push(element(
                "h2",
                &[],
                [text("What it changed in "), record_link(&said.object, id)],
            ));
            content.push(changed(changes));
        }
        let rows = said.fields.iter().map(|set| {
            vec![
                text(&set.field),
                text(&set.value),
                text(if set.is_diff { "a difference" } else { "" }),
            ]
        });
        let fields = table("Fields", &["Field", "Value", ""], rows);
        content.push(folded("All that it says", fields));
    }
    let payload = verbatim("Payload in base64", STANDARD.encode(&event.kept.payload));
    content.push(folded("Its bytes", payload));
    let schema = schema.unwrap_or_else(|| "not known".to_owned());
    content.push(folded("The schema it was written by", verbatim("Schema", schema)));
    let title = format!("Event {number}");
    Ok(shell(StatusCode::OK, "/events", &title, content))
}

/// Counts what of an object was told, for the audit.
pub(super) fn read(world: &World, operator: &Operator, object: &str) {
    let actor = operator.actor(ACTOR);
    world.audit.read(world.clock.now(), actor, None, object);
}

fn header(event: &Event) -> Html {
    let kept = &event.kept;
    let replay_id = ReplayId(kept.replay_id.clone().into());
    let mut told = vec![
        ("Received".to_owned(), text(format_datetime(kept.received_at))),
        ("Topic".to_owned(), text(&kept.topic)),
        ("Replay id".to_owned(), text(replay_id)),
        ("Bus id".to_owned(), text(&kept.event_id)),
    ];
    if !kept.redacted.is_empty() {
        told.push(("Values not kept of".to_owned(), text(kept.redacted.join(", "))));
    }
    match &event.said {
        Err(reason) => told.push((
            "Cannot be read".to_owned(),
            element("span", &[("class", "bad")], [text(reason)]),
        )),
        Ok(said) => told.extend([
            ("Object".to_owned(), text(&said.object)),
            ("Kind".to_owned(), text(said.kind.symbol())),
            ("Committed".to_owned(), text(format_datetime(said.committed_at))),
            ("By".to_owned(), text(origin(said))),
            (
                "Transaction".to_owned(),
                link(
                    &format!("/events?transaction={}", said.transaction),
                    &said.transaction,
                ),
            ),
            ("Place in it".to_owned(), text(said.sequence)),
        ]),
    }
    facts(told)
}

/// What changed, before and after.
pub(super) fn changed(changes: &[FieldChange]) -> Html {
    let rows = changes.iter().map(|change| {
        let before = match &change.before {
            Some(before) => text(before),
            None => tag("em", "not known"),
        };
        vec![text(&change.field), before, text(&change.after)]
    });
    table("Changes", &["Field", "Before", "After"], rows)
}

/// Events that could not be decoded, with their bytes.
pub async fn parked(State(world): State<World>, Extension(operator): Extension<Operator>) -> Page {
    let open = world
        .reader
        .with(|connection| repairs::open(connection, Kind::Parked, PARKED_MAX))?;
    let mut content = vec![note(
        "These events could not be decoded. Their bytes are kept; where their object is known it was read again.",
    )];
    if open.is_empty() {
        content.push(heading("No event is parked"));
    }
    for entry in open {
        read(&world, &operator, &entry.object);
        let position = entry.detail.clone().unwrap_or_default();
        let place = position.clone();
        let kept = look(&world, move |history| {
            let mut parts = place.split(' ');
            let (topic, hex) = (parts.next().unwrap_or(""), parts.next().unwrap_or(""));
            match ReplayId::from_hex(hex) {
                Some(id) => Ok(history.journal.at(topic, &id.0)?),
                None => Ok(Vec::new()),
            }
        })?;
        content.push(heading(format!(
            "{} at {}",
            entry.object,
            format_datetime(entry.opened_at)
        )));
        content.push(tag("p", &entry.reason));
        content.push(note(position));
        for kept in kept {
            content.push(link(
                &format!("/events/{}", kept.number),
                format!("Event {}", kept.number),
            ));
            let bytes = verbatim("Payload in base64", STANDARD.encode(&kept.payload));
            content.push(folded("Its bytes", bytes));
        }
    }
    Ok(shell(StatusCode::OK, "/parked", "Parked events", content))
}
