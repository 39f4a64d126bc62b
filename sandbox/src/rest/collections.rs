//! `composite/sobjects`: up to 200 records in one request, and many records by id.
//!
//! A well-formed request is answered 200 whatever became of its records; each has a result in its place. Without
//! `allOrNone` the records that failed are undone one by one, with it all are.

use serde_json::{Map, Value as Json, json};

use super::rows::{external_id, fields_of, key_value, requested};
use super::{Access, Caller};
use crate::http::answer::{Answer, Refusal, Reply};
use crate::http::call::Call;
use crate::org::Transaction;
use crate::schema::Object;
use crate::soql;
use crate::value::RecordId;

const RECORDS_MAX: usize = 200;
const IDS_MAX: usize = 2_000;

/// What is to be done with each record.
enum Act<'a> {
    Create,
    Update,
    /// By this external id field of this object.
    Upsert(&'a Object, usize),
}

pub fn answer(caller: &Caller<'_>, access: &mut Access<'_, '_>, call: &Call, rest: &[&str]) -> Answer {
    let catalog = caller.catalog();
    let object = |name: &str| catalog.object(name).ok_or_else(Refusal::not_found);
    match (call.method.as_str(), rest) {
        ("POST", []) => write(caller, access, call, &Act::Create),
        ("PATCH", []) => write(caller, access, call, &Act::Update),
        ("DELETE", []) => delete(caller, access, call),
        ("PATCH", [name, field]) => {
            let object = object(name)?;
            let field = external_id(object, field)?;
            write(caller, access, call, &Act::Upsert(object, field))
        }
        ("GET", [name]) => {
            let object = object(name)?;
            let ids: Vec<&str> = call
                .parameter("ids")
                .unwrap_or_default()
                .split(',')
                .map(str::trim)
                .collect();
            retrieve(
                caller,
                access,
                object,
                &ids,
                call.parameter("fields").unwrap_or("Id"),
            )
        }
        ("POST", [name]) => {
            let object = object(name)?;
            let body = call.json()?;
            let texts = |key: &str| -> Vec<&str> {
                body[key]
                    .as_array()
                    .into_iter()
                    .flatten()
                    .filter_map(Json::as_str)
                    .collect()
            };
            retrieve(caller, access, object, &texts("ids"), &texts("fields").join(","))
        }
        _ => Err(Refusal::method_not_allowed(&call.method)),
    }
}

fn retrieve(
    caller: &Caller<'_>,
    access: &Access<'_, '_>,
    object: &Object,
    ids: &[&str],
    fields: &str,
) -> Answer {
    if ids.len() > IDS_MAX {
        let message =
            format!("record limit reached. cannot submit more than {IDS_MAX} records into this call");
        return Err(Refusal::new(400, "EXCEEDED_ID_LIMIT", message));
    }
    let fields = requested(object, Some(fields))?;
    let scope = caller.scope(access);
    let rows = ids.iter().map(|text| {
        let id = RecordId::parse(text).ok_or_else(|| {
            Refusal::new(
                400,
                "MALFORMED_ID",
                format!("{}: id value of incorrect type: {text}", object.name),
            )
        })?;
        let record = scope
            .records
            .get(object.index, id)
            .filter(|record| !record.deleted && id.prefix() == object.key_prefix);
        let json = record.map(|record| soql::record_json(&scope, object, record, &fields, caller.version));
        Ok(json.unwrap_or(Json::Null))
    });
    Ok(Reply::ok(Json::Array(rows.collect::<Result<_, Refusal>>()?)))
}

fn too_many() -> Refusal {
    let message =
        format!("record limit reached. cannot submit more than {RECORDS_MAX} records into this call");
    Refusal::new(400, "EXCEEDED_ID_LIMIT", message)
}

fn write(caller: &Caller<'_>, access: &mut Access<'_, '_>, call: &Call, act: &Act<'_>) -> Answer {
    let mut body = call.json()?;
    let all_or_none = body["allOrNone"].as_bool().unwrap_or(false);
    let Json::Array(records) = body["records"].take() else {
        return Err(Refusal::parser("records is no JSON array"));
    };
    if records.len() > RECORDS_MAX {
        return Err(too_many());
    }
    let work = |transaction: &mut Transaction<'_>, record: Json| one(caller, transaction, record, act);
    each(access.write()?, records, all_or_none, work)
}

fn delete(caller: &Caller<'_>, access: &mut Access<'_, '_>, call: &Call) -> Answer {
    let ids: Vec<&str> = call
        .parameter("ids")
        .unwrap_or_default()
        .split(',')
        .map(str::trim)
        .collect();
    if ids.len() > RECORDS_MAX {
        return Err(too_many());
    }
    let all_or_none = call
        .parameter("allOrNone")
        .is_some_and(|flag| flag.eq_ignore_ascii_case("true"));
    let catalog = caller.catalog();
    each(access.write()?, ids, all_or_none, |transaction, text| {
        let id = RecordId::parse(text);
        let known = id.and_then(|id| catalog.by_prefix(id.prefix()).map(|object| (object, id)));
        let (object, id) =
            known.ok_or_else(|| Refusal::new(400, "MALFORMED_ID", format!("malformed id {text}")))?;
        transaction.delete(object.index, id)?;
        Ok(success(id, None))
    })
}

/// Does `work` for each item and undoes what failed.
fn each<T>(
    transaction: &mut Transaction<'_>,
    items: Vec<T>,
    all_or_none: bool,
    work: impl Fn(&mut Transaction<'_>, T) -> Result<Json, Refusal>,
) -> Answer {
    let start = transaction.savepoint();
    let mut failed = false;
    let mut results = Vec::with_capacity(items.len());
    for item in items {
        let before = transaction.savepoint();
        results.push(work(transaction, item).unwrap_or_else(|refusal| {
            failed = true;
            transaction.rollback_to(before);
            json!({ "success": false, "errors": refusal.collection_errors() })
        }));
    }
    if failed && all_or_none {
        transaction.rollback_to(start);
        for result in results.iter_mut().filter(|result| result["success"] == true) {
            *result = rolled_back();
        }
    }
    let mut reply = Reply::ok(Json::Array(results));
    reply.partly_failed = failed;
    Ok(reply)
}

fn rolled_back() -> Json {
    let message =
        "Record rolled back because not all records were valid and the request was using AllOrNone header";
    json!({
        "success": false,
        "errors": [{ "statusCode": "ALL_OR_NONE_OPERATION_ROLLED_BACK", "message": message, "fields": [] }],
    })
}

fn success(id: RecordId, created: Option<bool>) -> Json {
    let mut json = json!({ "id": id.as_str(), "success": true, "errors": [] });
    if let Some(created) = created {
        json["created"] = Json::from(created);
    }
    json
}

fn one(
    caller: &Caller<'_>,
    transaction: &mut Transaction<'_>,
    record: Json,
    act: &Act<'_>,
) -> Result<Json, Refusal> {
    let type_name = record["attributes"]["type"]
        .as_str()
        .unwrap_or_default()
        .to_owned();
    let mut fields = fields_of(record)?;
    let object = caller.catalog().object(&type_name);
    let typed = || {
        let message = format!("sObject type '{type_name}' is not supported.");
        object.ok_or_else(|| Refusal::new(400, "INVALID_TYPE", message))
    };
    match act {
        Act::Create => Ok(success(transaction.create(typed()?.index, &fields)?, None)),
        Act::Update => {
            let id = taken(&mut fields, "Id").unwrap_or_default();
            let parsed = RecordId::parse(&id)
                .filter(|id| typed().is_ok_and(|object| object.key_prefix == id.prefix()));
            let id = parsed.ok_or_else(|| {
                let problem = if id.is_empty() {
                    (
                        "MISSING_ARGUMENT",
                        "Id not specified in an update call".to_owned(),
                    )
                } else {
                    ("MALFORMED_ID", format!("malformed id {id}"))
                };
                Refusal::new(400, problem.0, problem.1)
            })?;
            transaction.update(typed()?.index, id, &fields)?;
            Ok(success(id, None))
        }
        Act::Upsert(object, field) => {
            let name = &object.fields[*field].name;
            let key = taken(&mut fields, name)
                .ok_or_else(|| Refusal::new(400, "MISSING_ARGUMENT", format!("{name} not specified")))?;
            let value = key_value(object, *field, &key)?;
            let (id, created) = transaction.upsert(object.index, *field, &value, &fields)?;
            Ok(success(id, Some(created)))
        }
    }
}

/// Takes a key out of a record's fields, whatever its case; numbers as their digits.
fn taken(fields: &mut Map<String, Json>, name: &str) -> Option<String> {
    let key = fields.keys().find(|key| key.eq_ignore_ascii_case(name))?.clone();
    match fields.shift_remove(&key)? {
        Json::String(text) => Some(text),
        Json::Number(number) => Some(number.to_string()),
        _ => None,
    }
}
