//! Going through the files of a folder for a person: every row in which a token stands, and what it says.
//!
//! Events are decoded, and pages of rows unpacked: of a page each row is looked at by itself, so that the rows of others
//! are nobody's business.

use std::collections::BTreeSet;

use anyhow::Context as _;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value as Json, json};

use crate::inspect::person::wanted::Wanted;
use crate::journal::history::History;
use crate::journal::history::events::{Event, Said};
use crate::store::journal::Kept;
use crate::store::journal::read::unpack;
use crate::store::subject::classes::Holds;
use crate::store::subject::folder::Held;
use crate::store::subject::rows::{Column, Database, Row, Stored, Table};

/// A token in a column.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Hit {
    pub column: String,
    pub token: usize,
}

/// What a place holds.
#[derive(Clone, Debug)]
pub enum Body {
    /// A row of a table, by its columns.
    Row(Map<String, Json>),
    /// An event, or why it cannot be read.
    Event(Result<Said, String>),
    /// A row as the org answered it, in a page of such rows.
    Answer(Map<String, Json>),
    /// A page that cannot be read.
    Unread(String),
}

/// A place in which a person is found.
#[derive(Clone, Debug)]
pub struct Finding {
    pub file: String,
    pub table: String,
    /// Which row of the table: its key, as text.
    pub place: String,
    pub hits: BTreeSet<Hit>,
    /// What the columns with the hits hold.
    pub holds: Vec<(String, Holds)>,
    pub body: Body,
}

/// Looks through the tables of one database.
pub struct Look<'w> {
    pub wanted: &'w Wanted,
    /// Decodes events; none where there is no journal.
    pub history: Option<History>,
}

impl Look<'_> {
    /// Visits every place of a database in which the person is found.
    pub fn through(
        &mut self,
        file: &Held,
        visit: &mut dyn FnMut(Finding) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let Some(kind) = file.kind else { return Ok(()) };
        let database = Database::open(&file.path, kind)?;
        for table in &database.tables {
            let look = |row: Row| {
                let found = self.row(&file.name, table, &row);
                found.and_then(|found| found.into_iter().try_for_each(&mut *visit))
            };
            let looked = database.each(table, look);
            looked.with_context(|| format!("look through {} of {}", table.name, file.name))?;
        }
        Ok(())
    }

    fn row(&mut self, file: &str, table: &Table, row: &Row) -> anyhow::Result<Vec<Finding>> {
        let mut findings = Vec::new();
        let (mut hits, mut holds) = (BTreeSet::new(), Vec::new());
        let mut found_in = |column: &Column, tokens: BTreeSet<usize>| {
            if !tokens.is_empty() {
                holds.push((column.name.clone(), column.holds));
            }
            hits.extend(tokens.into_iter().map(|token| Hit {
                column: column.name.clone(),
                token,
            }));
        };
        let mut body = None;
        for (column, value) in table.columns.iter().zip(&row.values) {
            match column.holds {
                Holds::Event => {
                    let event = self.event(table, row)?;
                    found_in(column, self.in_event(&event));
                    body = Some(Body::Event(event.said));
                }
                Holds::Packed => findings.extend(self.page((file, table, row), column, value.bytes())),
                _ => found_in(column, self.wanted.in_text(value.bytes())),
            }
        }
        if !hits.is_empty() {
            findings.push(Finding {
                file: file.to_owned(),
                table: table.name.clone(),
                place: place(&row.key),
                hits,
                holds,
                body: body.unwrap_or_else(|| Body::Row(members(table, row))),
            });
        }
        Ok(findings)
    }

    fn event(&mut self, table: &Table, row: &Row) -> anyhow::Result<Event> {
        let text = |name: &str| table.text(row, name).unwrap_or_default();
        let payload = table.position("payload").map(|at| row.values[at].bytes());
        let kept = Kept {
            number: table.integer(row, "number").unwrap_or_default(),
            topic: String::new(),
            replay_id: Vec::new(),
            ordinal: 0,
            event_id: text("event_id").to_owned(),
            schema_id: text("schema_id").to_owned(),
            received_at: table.integer(row, "received_at").unwrap_or_default(),
            payload: payload.unwrap_or_default().to_owned(),
            redacted: text("redacted").split_whitespace().map(str::to_owned).collect(),
        };
        match &mut self.history {
            Some(history) => Ok(history.read(kept)?),
            None => Ok(Event {
                kept,
                said: Err("there is no journal to read it by".to_owned()),
            }),
        }
    }

    /// Of an event that can be read what it says; of another, its bytes.
    fn in_event(&self, event: &Event) -> BTreeSet<usize> {
        match &event.said {
            Ok(said) => self.wanted.in_text(told(said).to_string().as_bytes()),
            Err(_) => self.wanted.in_bytes(&event.kept.payload),
        }
    }

    fn page(&self, (file, table, row): (&str, &Table, &Row), column: &Column, packed: &[u8]) -> Vec<Finding> {
        let finding = |place: String, tokens: BTreeSet<usize>, body| Finding {
            file: file.to_owned(),
            table: table.name.clone(),
            place,
            hits: tokens
                .into_iter()
                .map(|token| Hit {
                    column: column.name.clone(),
                    token,
                })
                .collect(),
            holds: vec![(column.name.clone(), column.holds)],
            body,
        };
        let page = place(&row.key);
        let Some(unpacked) = unpack(packed) else {
            let tokens = self.wanted.in_bytes(packed);
            let body = Body::Unread("it cannot be unpacked".to_owned());
            let finding = finding(page, tokens, body);
            return Vec::from_iter(Some(finding).filter(|finding| !finding.hits.is_empty()));
        };
        // Most pages are about others.
        if self.wanted.in_bytes(&unpacked).is_empty() && self.wanted.in_text(&unpacked).is_empty() {
            return Vec::new();
        }
        let Some(rows) = answers(&unpacked) else {
            let body = Body::Unread("it is no list of rows".to_owned());
            return vec![finding(page, self.wanted.in_text(&unpacked), body)];
        };
        let mut findings = Vec::new();
        for row in rows {
            let tokens = self
                .wanted
                .in_text(Json::from(row.clone()).to_string().as_bytes());
            if !tokens.is_empty() {
                let id = row.get("Id").and_then(Json::as_str).unwrap_or("?");
                findings.push(finding(format!("{page}, {id}"), tokens, Body::Answer(row)));
            }
        }
        findings
    }
}

/// What an event says, with whom it is about.
pub fn told(said: &Said) -> Json {
    let fields = said
        .fields
        .iter()
        .map(|set| (set.field.clone(), set.value.clone()));
    json!({
        "object": said.object,
        "kind": said.kind.symbol(),
        "record_ids": said.record_ids,
        "user": said.user,
        "fields": Map::from_iter(fields),
    })
}

/// The rows of a page: CSV of a load, or JSON of anything else, where a record that was read again stands behind its number
/// and id.
fn answers(page: &[u8]) -> Option<Vec<Map<String, Json>>> {
    if page.first() != Some(&b'[') {
        return from_csv(page).ok();
    }
    let rows: Vec<Json> = serde_json::from_slice(page).ok()?;
    let row = |row: Json| match row {
        Json::Object(row) => Some(row),
        Json::Array(mut parts) if parts.len() == 3 => match (parts.remove(2), parts.remove(1)) {
            (Json::Object(row), _) => Some(row),
            (_, id) => Some(Map::from_iter([("Id".to_owned(), id)])),
        },
        _ => None,
    };
    rows.into_iter().map(row).collect()
}

fn from_csv(page: &[u8]) -> Result<Vec<Map<String, Json>>, csv::Error> {
    let mut reader = csv::ReaderBuilder::new().flexible(true).from_reader(page);
    let header = reader.headers()?.clone();
    let row = |record: csv::StringRecord| {
        let fields = header.iter().zip(record.iter());
        let fields = fields.map(|(name, text)| (name.to_owned(), Json::from(text)));
        fields.collect::<Map<String, Json>>()
    };
    reader.records().map(|record| record.map(row)).collect()
}

/// A row by its columns. Bytes are in base64.
fn members(table: &Table, row: &Row) -> Map<String, Json> {
    let columns = table.columns.iter().zip(&row.values);
    let members = columns.map(|(column, value)| (column.name.clone(), as_json(value)));
    members.collect()
}

fn as_json(value: &Stored) -> Json {
    match value {
        Stored::Null => Json::Null,
        Stored::Integer(number) => Json::from(*number),
        Stored::Real(number) => Json::from(*number),
        Stored::Text(text) => Json::from(text.as_str()),
        Stored::Bytes(bytes) => Json::from(STANDARD.encode(bytes)),
    }
}

fn place(key: &[Stored]) -> String {
    let parts = key.iter().map(|part| match part {
        Stored::Text(text) => text.clone(),
        other => as_json(other).to_string(),
    });
    parts.collect::<Vec<_>>().join(", ")
}
