//! `storesync events decode`: one payload, shown as the daemon reads it.
//!
//! The payload comes in base64, as captures of the Pub/Sub API have it, and the schema from a file, as GetSchema
//! gave it. What is printed is one JSON object:
//!
//! - `header`: the ChangeEventHeader, its bitmaps as they came;
//! - `fields`: the values as Avro has them, those that are not null, members of a compound as `Parent.Child`;
//! - `changed`, `nulled`, `diff`: the bitmaps as lists of those names.

use std::path::Path;

use anyhow::{Context, Result, anyhow};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value as Json, json};

use crate::inbound::decode::{Bits, Change, EventSchema, Header};
use crate::model::row::Value;

/// Decodes a payload by the schema in a file. An error says what to do about it.
pub fn run(schema: &Path, payload: &str) -> Result<Json> {
    let shown = schema.display();
    let text = std::fs::read_to_string(schema).with_context(|| format!("read the schema {shown}"))?;
    let schema = EventSchema::compile(&text).with_context(|| {
        format!("the schema {shown} cannot be used: give the JSON that GetSchema answers")
    })?;
    let payload: String = payload.split_whitespace().collect();
    let payload = STANDARD
        .decode(payload)
        .context("the payload on standard input is not base64")?;
    let mut change = Change::default();
    schema
        .decode(&payload, &mut change)
        .map_err(|error| anyhow!("the payload cannot be decoded by {shown}: {error}"))?;
    Ok(json!({
        "header": header(&change.header),
        "fields": fields(&schema, &change),
        "changed": names(&schema, change.changed()),
        "nulled": names(&schema, change.nulled()),
        "diff": names(&schema, change.diffed()),
    }))
}

fn header(header: &Header<'_>) -> Json {
    let bitmaps = header.bitmaps();
    json!({
        "entityName": header.entity,
        "recordIds": header.record_ids,
        "changeType": header.kind.symbol(),
        "changeOrigin": header.origin,
        "transactionKey": header.transaction_key,
        "sequenceNumber": header.sequence_number,
        "commitTimestamp": header.commit_timestamp,
        "commitNumber": header.commit_number,
        "commitUser": header.commit_user,
        "nulledFields": bitmaps.nulled,
        "diffFields": bitmaps.diffed,
        "changedFields": bitmaps.changed,
    })
}

fn fields(schema: &EventSchema, change: &Change<'_>) -> Json {
    let leaves = schema.fields();
    let shown = change.values().iter().map(|(leaf, value)| {
        let leaf = &leaves[*leaf];
        let value = match *value {
            Value::Null => Json::Null,
            // Rows have no booleans; events have.
            Value::Integer(number) if leaf.boolean => Json::from(number != 0),
            Value::Integer(number) | Value::DateTime(number) | Value::Date(number) | Value::Time(number) => {
                Json::from(number)
            }
            Value::Real(number) => Json::from(number),
            Value::Text(text) => Json::from(text.as_str()),
        };
        (leaf.path.clone(), value)
    });
    Json::Object(shown.collect::<Map<_, _>>())
}

fn names(schema: &EventSchema, bits: &Bits) -> Vec<String> {
    let leaves = schema.fields();
    bits.iter().map(|leaf| leaves[leaf].path.clone()).collect()
}
