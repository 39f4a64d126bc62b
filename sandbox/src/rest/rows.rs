//! Records by id and by external id, and the descriptions of their objects.

use serde_json::{Map, Value as Json, json};

use super::{Access, Caller};
use crate::clock::{self, Millis};
use crate::describe;
use crate::http::answer::{Answer, Refusal, Reply};
use crate::http::call::Call;
use crate::org::{Record, record_types};
use crate::schema::{ID, Object};
use crate::soql;
use crate::value::{RecordId, Value};

pub fn answer(caller: &Caller<'_>, access: &mut Access<'_, '_>, call: &Call, rest: &[&str]) -> Answer {
    let catalog = caller.catalog();
    let [name, rest @ ..] = rest else {
        return Ok(Reply::ok(describe::global(catalog, caller.version)));
    };
    let object = catalog.object(name).ok_or_else(Refusal::not_found)?;
    // Clients that cannot send PATCH say so in a parameter.
    let method = match call.parameter("_HttpMethod") {
        Some(method) if call.method == "POST" => method,
        _ => call.method.as_str(),
    };
    match (method, rest) {
        ("GET", []) => Ok(Reply::ok(describe::summary(object, caller.version))),
        ("POST", [] | ["Id" | "id"]) => create(caller, access, call, object),
        ("GET", ["describe"]) => {
            let settings = caller.app.org.settings();
            let types = record_types::infos(catalog, access.records(), &settings, &object.name);
            Ok(Reply::ok(describe::object(
                catalog,
                object,
                types,
                caller.version,
            )))
        }
        ("GET", ["updated"]) => updated(caller, access, call, object),
        ("GET", ["deleted"]) => deleted(caller, access, call, object),
        (_, [id]) | (_, ["Id" | "id", id]) => {
            let id = identified(object, id)?;
            by_id(caller, access, call, object, id, method)
        }
        (_, [field, key]) => by_key(caller, access, call, object, (field, key), method),
        _ => Err(Refusal::not_found()),
    }
}

/// An id of this object's kind.
fn identified(object: &Object, text: &str) -> Result<RecordId, Refusal> {
    let id = RecordId::parse(text).filter(|id| id.prefix() == object.key_prefix);
    id.ok_or_else(Refusal::not_found)
}

/// The JSON object of a request's body, without what only describes it.
pub fn fields_of(json: Json) -> Result<Map<String, Json>, Refusal> {
    match json {
        Json::Object(mut fields) => {
            fields.shift_remove("attributes");
            Ok(fields)
        }
        _ => Err(Refusal::parser("the body is no JSON object")),
    }
}

/// `{"id", "success", "errors"}`
pub fn created(caller: &Caller<'_>, object: &Object, id: RecordId) -> Reply {
    let mut reply = Reply::json(201, json!({ "id": id.as_str(), "success": true, "errors": [] }));
    reply.location = Some(format!(
        "/services/data/v{}/sobjects/{}/{id}",
        caller.version, object.name
    ));
    reply
}

fn create(caller: &Caller<'_>, access: &mut Access<'_, '_>, call: &Call, object: &Object) -> Answer {
    let fields = fields_of(call.json()?)?;
    let id = access.write()?.create(object.index, &fields)?;
    Ok(created(caller, object, id))
}

fn by_id(
    caller: &Caller<'_>,
    access: &mut Access<'_, '_>,
    call: &Call,
    object: &Object,
    id: RecordId,
    method: &str,
) -> Answer {
    match method {
        "GET" | "HEAD" => {
            let fields = requested(object, call.parameter("fields"))?;
            let scope = caller.scope(access);
            let record = live(scope.records.get(object.index, id))?;
            Ok(Reply::ok(soql::record_json(
                &scope,
                object,
                record,
                &fields,
                caller.version,
            )))
        }
        "PATCH" => {
            let fields = fields_of(call.json()?)?;
            refuse_key(&fields, "Id")?;
            access.write()?.update(object.index, id, &fields)?;
            Ok(Reply::empty(204))
        }
        "DELETE" => {
            access.write()?.delete(object.index, id)?;
            Ok(Reply::empty(204))
        }
        _ => Err(Refusal::method_not_allowed(method)),
    }
}

fn live(record: Option<&Record>) -> Result<&Record, Refusal> {
    let record = record.ok_or_else(Refusal::not_found)?;
    if !record.deleted {
        return Ok(record);
    }
    let mut refusal = Refusal::new(404, "ENTITY_IS_DELETED", "entity is deleted");
    refusal.problems[0].fields = Some(Vec::new());
    Err(refusal)
}

/// The positions of `fields=A,B`; all fields where the parameter is absent.
pub fn requested(object: &Object, list: Option<&str>) -> Result<Vec<usize>, Refusal> {
    let Some(list) = list.filter(|list| !list.is_empty()) else {
        return Ok(object.visible().map(|(at, _)| at).collect());
    };
    let mut fields = vec![ID];
    for name in list.split(',').map(str::trim) {
        let field = object.field(name).ok_or_else(|| {
            let message = format!("No such column '{name}' on sobject of type {}", object.name);
            Refusal::new(400, "INVALID_FIELD", message)
        })?;
        if !fields.contains(&field) {
            fields.push(field);
        }
    }
    Ok(fields)
}

fn refuse_key(fields: &Map<String, Json>, key: &str) -> Result<(), Refusal> {
    let given = fields.keys().find(|name| name.eq_ignore_ascii_case(key));
    given.map_or(Ok(()), |name| {
        let message = format!("The {name} field should not be specified in the sobject data.");
        Err(Refusal::new(400, "INVALID_FIELD", message))
    })
}

/// The position of an external id field.
pub fn external_id(object: &Object, name: &str) -> Result<usize, Refusal> {
    let field = object
        .field(name)
        .filter(|field| object.fields[*field].external_id);
    field.ok_or_else(|| {
        let message = format!("Provided external ID field does not exist or is not accessible: {name}");
        Refusal::new(404, "NOT_FOUND", message)
    })
}

fn by_key(
    caller: &Caller<'_>,
    access: &mut Access<'_, '_>,
    call: &Call,
    object: &Object,
    (name, key): (&str, &str),
    method: &str,
) -> Answer {
    let field = external_id(object, name)?;
    let found = access.records().by_external_id(object.index, field, key);
    if found.len() > 1 {
        let path =
            |id: &RecordId| format!("/services/data/v{}/sobjects/{}/{id}", caller.version, object.name);
        return Ok(Reply::json(300, found.iter().map(path).collect()));
    }
    if method != "PATCH" {
        let id = found.first().copied().ok_or_else(Refusal::not_found)?;
        return by_id(caller, access, call, object, id, method);
    }
    let fields = fields_of(call.json()?)?;
    refuse_key(&fields, &object.fields[field].name)?;
    refuse_key(&fields, "Id")?;
    if found.is_empty()
        && call
            .parameter("updateOnly")
            .is_some_and(|only| only.eq_ignore_ascii_case("true"))
    {
        return Err(Refusal::not_found());
    }
    upsert(caller, access, object, (field, key), &fields)
}

fn upsert(
    caller: &Caller<'_>,
    access: &mut Access<'_, '_>,
    object: &Object,
    (field, key): (usize, &str),
    fields: &Map<String, Json>,
) -> Answer {
    let value = key_value(object, field, key)?;
    let (id, was_created) = access.write()?.upsert(object.index, field, &value, fields)?;
    let mut reply = created(caller, object, id);
    reply.content = crate::http::answer::Content::Json(json!({
        "id": id.as_str(), "success": true, "errors": [], "created": was_created,
    }));
    if !was_created {
        reply.status = 200;
        reply.location = None;
    }
    Ok(reply)
}

/// A key as a value of its field.
pub fn key_value(object: &Object, field: usize, key: &str) -> Result<Value, Refusal> {
    Value::from_text(object.fields[field].kind, key)
        .map_err(|misread| Refusal::new(400, "INVALID_TYPE_ON_FIELD_IN_RECORD", misread.message))
}

const MINUTE_MILLIS: Millis = 60_000;

/// The bounds of `start` and `end`, of which the platform ignores the seconds. They are more than `apart` apart.
fn window(call: &Call, apart: Millis) -> Result<(Millis, Millis), Refusal> {
    let refused = |message| Refusal::new(400, "INVALID_REPLICATION_DATE", message);
    let bound = |name: &str| -> Result<Millis, Refusal> {
        let text = call.parameter(name).unwrap_or_default().replace(' ', "+");
        let at = clock::parse_datetime(&text)
            .ok_or_else(|| refused(format!("{name} is no date and time with a zone: {text}")))?;
        Ok(at.div_euclid(MINUTE_MILLIS) * MINUTE_MILLIS)
    };
    let (start, end) = (bound("start")?, bound("end")?);
    if end - start <= apart {
        return Err(refused(
            "startDate is too close to endDate, or after it".to_owned(),
        ));
    }
    Ok((start, end))
}

/// How far lists are complete: no transaction is under way that began before.
fn covered(caller: &Caller<'_>, end: Millis) -> Millis {
    let open_since = caller.app.org.settings().open_since;
    open_since
        .map_or(end, |since| since.min(end))
        .min(caller.app.org.clock().now())
}

fn lists(caller: &Caller<'_>) -> Result<(), Refusal> {
    if caller.app.org.settings().lists_refused {
        return Err(Refusal::new(
            400,
            "LIMIT_EXCEEDED",
            "the lists of changes are not to be had",
        ));
    }
    Ok(())
}

fn updated(caller: &Caller<'_>, access: &Access<'_, '_>, call: &Call, object: &Object) -> Answer {
    lists(caller)?;
    let (start, end) = window(call, 0)?;
    let scope = caller.scope(access);
    let changed = scope.records.all(object.index);
    let changed = changed.filter(|record| !record.deleted && (start..end).contains(&record.modstamp()));
    let ids: Vec<Json> = changed.map(|record| Json::from(record.id().as_str())).collect();
    let covered = Value::DateTime(covered(caller, end)).to_json();
    Ok(Reply::ok(json!({ "ids": ids, "latestDateCovered": covered })))
}

/// A deleted record's stamp is the time of its deletion.
fn deleted(caller: &Caller<'_>, access: &Access<'_, '_>, call: &Call, object: &Object) -> Answer {
    lists(caller)?;
    let (start, end) = window(call, MINUTE_MILLIS)?;
    let scope = caller.scope(access);
    let gone = scope.records.all(object.index);
    let gone = gone.filter(|record| record.deleted && (start..end).contains(&record.modstamp()));
    let rows: Vec<Json> = gone
        .map(|record| {
            let date = Value::DateTime(record.modstamp()).to_json();
            json!({ "id": record.id().as_str(), "deletedDate": date })
        })
        .collect();
    Ok(Reply::ok(json!({
        "deletedRecords": rows,
        "earliestDateAvailable": Value::DateTime(start).to_json(),
        "latestDateCovered": Value::DateTime(covered(caller, end)).to_json(),
    })))
}
