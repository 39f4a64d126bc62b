//! Schemas of change events by id or by name, as `event/eventSchema/ID` and `sobjects/NAME/eventSchema` give them.
//!
//! `payloadFormat=COMPACT` is the Avro schema that Pub/Sub gives. The expanded form, which is the usual one here,
//! wraps it as the JSON of a streaming client's message.

use serde_json::{Value as Json, json};

use super::Caller;
use crate::sandbox::avro::EventSchema;
use crate::sandbox::http::answer::{Answer, Refusal, Reply};
use crate::sandbox::http::call::Call;

pub fn by_id(caller: &Caller<'_>, call: &Call, id: &str) -> Answer {
    let schemas = caller.app.org.event_schemas();
    let schema = schemas.iter().find(|schema| schema.id == id);
    show(call, schema.ok_or_else(Refusal::not_found)?)
}

pub fn by_name(caller: &Caller<'_>, call: &Call, name: &str) -> Answer {
    let schemas = caller.app.org.event_schemas();
    let schema = schemas
        .iter()
        .find(|schema| schema.event_name.eq_ignore_ascii_case(name));
    show(call, schema.ok_or_else(Refusal::not_found)?)
}

fn show(call: &Call, schema: &EventSchema) -> Answer {
    let mut compact: Json = serde_json::from_str(&schema.json)
        .map_err(|error| Refusal::new(500, "UNKNOWN_EXCEPTION", error.to_string()))?;
    let format = call.parameter("payloadFormat").unwrap_or("EXPANDED");
    if format.eq_ignore_ascii_case("COMPACT") {
        compact["uuid"] = Json::from(schema.id.as_str());
        return Ok(Reply::ok(compact));
    }
    if !format.eq_ignore_ascii_case("EXPANDED") {
        let message = format!("payloadFormat is EXPANDED or COMPACT, not {format}");
        return Err(Refusal::new(400, "INVALID_INPUT", message));
    }
    let record = |name: &str, fields: Json| json!({ "type": "record", "name": name, "fields": fields });
    let event = record("Event", json!([{ "name": "replayId", "type": "long" }]));
    let data = json!([
        { "name": "schema", "type": "string" },
        { "name": "payload", "type": record("Payload", compact["fields"].take()) },
        { "name": "event", "type": event },
    ]);
    Ok(Reply::ok(json!({
        "name": schema.event_name,
        "namespace": "com.sforce.eventbus",
        "type": "expanded-record",
        "fields": [
            { "name": "data", "type": record("Data", data) },
            { "name": "channel", "type": "string" },
        ],
    })))
}
