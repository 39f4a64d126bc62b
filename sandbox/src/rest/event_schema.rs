//! Schemas of events by id or by name, as `event/eventSchema/ID` and `sobjects/NAME/eventSchema` give them.
//!
//! `payloadFormat=COMPACT` is the Avro schema that Pub/Sub gives. The expanded form, which is the usual one here,
//! wraps it as the JSON of a streaming client's message.

use serde_json::{Value as Json, json};

use super::Caller;
use crate::http::answer::{Answer, Refusal, Reply};
use crate::http::call::Call;

/// Any schema that events were ever written by.
pub fn by_id(caller: &Caller<'_>, call: &Call, id: &str) -> Answer {
    let schema = caller.app.hub.schema_json(id).ok_or_else(Refusal::not_found)?;
    show(call, id, &schema)
}

/// The newest schema of a change event (`AccountChangeEvent`) or a platform event.
pub fn by_name(caller: &Caller<'_>, call: &Call, name: &str) -> Answer {
    let hub = &caller.app.hub;
    let topic = if name.ends_with("__e") { "event" } else { "data" };
    let channel = hub
        .channel("GetSchema", &format!("/{topic}/{name}"))
        .map_err(|_| Refusal::not_found())?;
    by_id(caller, call, &hub.schema_id(&channel))
}

fn show(call: &Call, id: &str, schema: &str) -> Answer {
    let mut compact: Json = serde_json::from_str(schema)
        .map_err(|error| Refusal::new(500, "UNKNOWN_EXCEPTION", error.to_string()))?;
    let format = call.parameter("payloadFormat").unwrap_or("EXPANDED");
    if format.eq_ignore_ascii_case("COMPACT") {
        compact["uuid"] = Json::from(id);
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
        "name": compact["name"],
        "namespace": "com.sforce.eventbus",
        "type": "expanded-record",
        "fields": [
            { "name": "data", "type": record("Data", data) },
            { "name": "channel", "type": "string" },
        ],
    })))
}
