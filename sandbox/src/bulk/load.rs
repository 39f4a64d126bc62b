//! Runs an ingest job: reads its CSV and writes its records, in chunks, each a transaction.
//!
//! A row that fails is undone by itself and told; the others of its chunk stay. In a cell nothing means "leave as it
//! is" and `#N/A` means null.

use serde_json::{Map, Value as Json};

use super::super::http::answer::Refusal;
use super::super::org::{Org, Origin, Transaction};
use super::super::schema::{FieldKind, ID, Object};
use super::super::value::{RecordId, Value};
use super::csv_page::{Delimiter, Page};
use super::ingest::Operation;

/// Rows that are written, and make events, together.
const CHUNK_ROWS: usize = 200;
const NULL: &str = "#N/A";

/// What is to be done with an upload.
pub struct Work<'a> {
    pub org: &'a Org,
    pub origin: &'a Origin,
    pub object: &'a Object,
    pub operation: Operation,
    /// The key field of an upsert.
    pub key: Option<usize>,
    pub delimiter: Delimiter,
    pub crlf: bool,
}

/// What became of an upload's rows.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// CSV with `sf__Id` and `sf__Created` before the columns of the upload.
    pub successful: Vec<u8>,
    /// CSV with `sf__Id` and `sf__Error` before the columns of the upload.
    pub failed: Vec<u8>,
    /// The columns of the upload alone.
    pub header: Vec<u8>,
    pub succeeded_count: usize,
    pub failed_count: usize,
}

/// Where a column's cells go.
enum Column {
    Id,
    Field {
        name: String,
        boolean: bool,
    },
    /// `Account.External_ID__c`: the relationship and the key of the parent.
    Parent {
        relationship: String,
        key: String,
    },
}

/// A record's id, and whether it is new; or the record it was about, and why it failed.
type Outcome = Result<(RecordId, bool), (String, Refusal)>;

/// Loads all rows; an error is the reason why none was.
pub fn run(work: &Work<'_>, upload: &[u8]) -> Result<Loaded, String> {
    check_line_ending(work, upload)?;
    let upload = upload.strip_prefix(b"\xef\xbb\xbf").unwrap_or(upload);
    let mut reader = csv::ReaderBuilder::new()
        .delimiter(work.delimiter.byte())
        .from_reader(upload);
    let unreadable = |error: csv::Error| format!("InvalidBatch : Failed to parse CSV: {error}");
    let header = reader.headers().map_err(unreadable)?.clone();
    let columns = header
        .iter()
        .map(|name| column(work, name))
        .collect::<Result<Vec<_>, _>>()?;
    if columns.is_empty() {
        return Err("InvalidBatch : The upload has no header row".to_owned());
    }
    let rows = reader
        .records()
        .collect::<Result<Vec<_>, _>>()
        .map_err(unreadable)?;

    let names: Vec<&str> = header.iter().collect();
    let page = |first: &[&str]| Page::new(work.delimiter, work.crlf, &[first, &names].concat());
    let (mut successful, mut failed) = (page(&["sf__Id", "sf__Created"]), page(&["sf__Id", "sf__Error"]));
    let (mut succeeded_count, mut failed_count) = (0, 0);
    for chunk in rows.chunks(CHUNK_ROWS) {
        for (row, outcome) in chunk.iter().zip(write(work, &columns, chunk)) {
            let page = match outcome {
                Ok((id, created)) => {
                    succeeded_count += 1;
                    successful.text(id.as_str());
                    successful.text(if created { "true" } else { "false" });
                    &mut successful
                }
                Err((id, refusal)) => {
                    failed_count += 1;
                    failed.text(&id);
                    failed.text(&error_text(&refusal));
                    &mut failed
                }
            };
            for cell in row {
                page.text(cell);
            }
            page.end_row();
        }
    }
    Ok(Loaded {
        successful: successful.bytes(),
        failed: failed.bytes(),
        header: page(&[]).bytes(),
        succeeded_count,
        failed_count,
    })
}

/// The platform looks at the header row's ending and refuses the other kind.
fn check_line_ending(work: &Work<'_>, upload: &[u8]) -> Result<(), String> {
    let Some(end) = upload.iter().position(|byte| *byte == b'\n') else {
        return Ok(());
    };
    let crlf = end > 0 && upload[end - 1] == b'\r';
    if crlf == work.crlf {
        return Ok(());
    }
    let setting = if work.crlf { "CRLF" } else { "LF" };
    Err(format!(
        "ClientInputError : LineEnding is invalid on user data. Current LineEnding setting is {setting}"
    ))
}

fn column(work: &Work<'_>, name: &str) -> Result<Column, String> {
    let object = work.object;
    if let Some((relationship, key)) = name.split_once('.') {
        // `User:Owner.Email` says which object a lookup of several is meant to find.
        let relationship = relationship.rsplit(':').next().unwrap_or(relationship);
        if object.relationship(relationship).is_none() {
            return Err(format!("InvalidBatch : Field name not found : {name}"));
        }
        return Ok(Column::Parent {
            relationship: relationship.to_owned(),
            key: key.to_owned(),
        });
    }
    match object.field(name) {
        Some(ID) => Ok(Column::Id),
        Some(at) => Ok(Column::Field {
            name: object.fields[at].name.clone(),
            boolean: object.fields[at].kind == FieldKind::Boolean,
        }),
        None => Err(format!("InvalidBatch : Field name not found : {name}")),
    }
}

/// Writes the rows of a chunk.
fn write(work: &Work<'_>, columns: &[Column], chunk: &[csv::StringRecord]) -> Vec<Outcome> {
    let outcomes = work.org.transact(work.origin, |transaction| {
        let outcomes = chunk.iter().map(|row| {
            let savepoint = transaction.savepoint();
            let (id, fields) = record(columns, row);
            one(work, transaction, id.as_deref(), fields).map_err(|refusal| {
                transaction.rollback_to(savepoint);
                (id.unwrap_or_default(), refusal)
            })
        });
        Ok::<Vec<Outcome>, Refusal>(outcomes.collect())
    });
    outcomes.unwrap_or_default()
}

/// The id and the fields of a row.
fn record(columns: &[Column], row: &csv::StringRecord) -> (Option<String>, Map<String, Json>) {
    let mut id = None;
    let mut fields = Map::new();
    for (column, cell) in columns.iter().zip(row).filter(|(_, cell)| !cell.is_empty()) {
        let value = if cell == NULL {
            Json::Null
        } else {
            Json::from(cell)
        };
        match column {
            Column::Id => id = Some(cell.to_owned()),
            Column::Field { name, boolean: true } => {
                let value = match cell.to_ascii_lowercase().as_str() {
                    "true" | "1" => Json::from(true),
                    "false" | "0" => Json::from(false),
                    _ => value,
                };
                fields.insert(name.clone(), value);
            }
            Column::Field { name, .. } => {
                fields.insert(name.clone(), value);
            }
            Column::Parent { relationship, key } => {
                let parent = Map::from_iter([(key.clone(), value)]);
                fields.insert(relationship.clone(), Json::Object(parent));
            }
        }
    }
    (id, fields)
}

fn one(
    work: &Work<'_>,
    transaction: &mut Transaction<'_>,
    id: Option<&str>,
    mut fields: Map<String, Json>,
) -> Result<(RecordId, bool), Refusal> {
    let object = work.object;
    let existing = |call: &str| {
        let missing = || {
            Refusal::new(
                400,
                "MISSING_ARGUMENT",
                format!("Id not specified in {call} call"),
            )
        };
        let text = id.ok_or_else(missing)?;
        let id = RecordId::parse(text).filter(|id| id.prefix() == object.key_prefix);
        id.ok_or_else(|| Refusal::new(400, "MALFORMED_ID", format!("bad id {text}")))
    };
    match work.operation {
        Operation::Insert => Ok((transaction.create(object.index, &fields)?, true)),
        Operation::Update => {
            let id = existing("an update")?;
            transaction.update(object.index, id, &fields)?;
            Ok((id, false))
        }
        Operation::Delete | Operation::HardDelete => {
            let id = existing("a delete")?;
            if work.operation == Operation::HardDelete {
                transaction.hard_delete(object.index, id)?;
            } else {
                transaction.delete(object.index, id)?;
            }
            Ok((id, false))
        }
        Operation::Upsert => {
            let key = work.key.unwrap_or(ID);
            if key == ID {
                return match id {
                    None => Ok((transaction.create(object.index, &fields)?, true)),
                    Some(_) => {
                        let id = existing("an upsert")?;
                        transaction.update(object.index, id, &fields)?;
                        Ok((id, false))
                    }
                };
            }
            let name = &object.fields[key].name;
            let value = fields.shift_remove(name);
            let value = value
                .as_ref()
                .and_then(Json::as_str)
                .ok_or_else(|| Refusal::new(400, "MISSING_ARGUMENT", format!("{name} not specified")))?;
            let value = Value::from_text(object.fields[key].kind, value)
                .map_err(|misread| Refusal::new(400, "INVALID_TYPE_ON_FIELD_IN_RECORD", misread.message))?;
            Ok(transaction.upsert(object.index, key, &value, &fields)?)
        }
    }
}

/// `REQUIRED_FIELD_MISSING:Required fields are missing: [Name]:Name --`
fn error_text(refusal: &Refusal) -> String {
    let problems = refusal.problems.iter().map(|problem| {
        let fields = problem.fields.as_deref().unwrap_or_default().join(",");
        format!("{}:{}:{fields} --", problem.code, problem.message)
    });
    problems.collect::<Vec<_>>().join(";")
}
