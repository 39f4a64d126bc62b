//! Record types: which an object has, which of them users may use, and which a record has that names none.
//!
//! Which may be used is set by [`Settings::record_types`], the default first. Where nothing is set, a person account is
//! of the person type and all other records are of none, which the platform calls the master.

use serde_json::{Value as Json, json};

use super::super::schema::Catalog;
use super::super::value::{RecordId, Value};
use super::Settings;
use super::draft::Draft;
use super::error::{RecordError, RecordErrors};
use super::records::{Record, Records};

const MASTER: &str = "012000000000000AAA";

/// A record type of an object.
struct RecordType {
    id: RecordId,
    name: String,
    developer_name: String,
    is_person: bool,
}

fn of_object(catalog: &Catalog, records: &Records, object: &str) -> Vec<RecordType> {
    let Some(types) = catalog.object("RecordType") else {
        return Vec::new();
    };
    let value = |row: &Record, name: &str| types.field(name).and_then(|at| row.get(at)).cloned();
    let text = |row: &Record, name: &str| {
        let value = value(row, name);
        value
            .as_ref()
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned()
    };
    let rows = records.all(types.index).filter(|row| !row.deleted);
    rows.filter(|row| text(row, "SobjectType") == object)
        .map(|row| RecordType {
            id: row.id(),
            name: text(row, "Name"),
            developer_name: text(row, "DeveloperName"),
            is_person: value(row, "IsPersonType") == Some(Value::Boolean(true)),
        })
        .collect()
}

/// Describe's `recordTypeInfos`.
pub fn infos(catalog: &Catalog, records: &Records, settings: &Settings, object: &str) -> Json {
    let usable = settings.record_types.get(object);
    let types = of_object(catalog, records, object);
    let has_persons = types.iter().any(|one| one.is_person);
    let default = match usable {
        Some(names) => names.first().map(String::as_str),
        None => types
            .iter()
            .find(|one| one.is_person)
            .map(|one| one.developer_name.as_str()),
    };
    let shown = types.iter().filter(|_| usable.is_some() || has_persons);
    let infos = shown.map(|one| {
        let is_usable = usable.is_none_or(|names| names.contains(&one.developer_name));
        json!({
            "active": true, "available": is_usable,
            "defaultRecordTypeMapping": default == Some(one.developer_name.as_str()),
            "developerName": one.developer_name, "master": false, "name": one.name,
            "recordTypeId": one.id.as_str(), "urls": {},
        })
    });
    let master = master(default.is_none());
    infos.chain([master]).collect()
}

/// The type of records that have none.
pub fn master(is_default: bool) -> Json {
    json!({
        "active": true, "available": true, "defaultRecordTypeMapping": is_default, "developerName": "Master",
        "master": true, "name": "Master", "recordTypeId": MASTER, "urls": {},
    })
}

/// Gives a new record its type, and refuses one that the user may not use. True where the record is of a person type.
pub(super) fn judge(
    draft: &mut Draft<'_>,
    settings: &Settings,
    is_person: bool,
) -> Result<bool, RecordErrors> {
    if draft.object.field("RecordTypeId").is_none() {
        return Ok(is_person);
    }
    let types = of_object(draft.catalog, draft.records, &draft.object.name);
    let usable = settings.record_types.get(&draft.object.name);
    if let Some(id) = draft.id("RecordTypeId").filter(|_| draft.changes("RecordTypeId")) {
        let may_use = |one: &RecordType| usable.is_none_or(|names| names.contains(&one.developer_name));
        if !types.iter().any(|one| one.id == id && may_use(one)) {
            let message = format!("Record Type ID: this ID value isn't valid for the user: {id}");
            return Err(vec![
                RecordError::new("INVALID_CROSS_REFERENCE_KEY", message).with_fields(["RecordTypeId"]),
            ]);
        }
    } else if draft.before.is_none() && draft.id("RecordTypeId").is_none() {
        let default = match usable {
            Some(names) => types
                .iter()
                .find(|one| names.first() == Some(&one.developer_name)),
            None => types.iter().find(|one| one.is_person && is_person),
        };
        if let Some(default) = default {
            draft.set("RecordTypeId", Value::Id(default.id));
        }
    }
    let id = draft.id("RecordTypeId");
    Ok(types.iter().any(|one| Some(one.id) == id && one.is_person))
}
