//! From a request body to field values: what the platform checks of each field by itself.

use serde_json::Value as Json;

use super::super::schema::{Catalog, Field, FieldKind, Object};
use super::super::value::{RecordId, Value};
use super::draft::{Change, Draft, refuse};
use super::error::{RecordError, RecordErrors};
use super::records::Records;
use super::transaction::Body;

/// Reads a body for an object. Every field is checked, so that one answer tells all that is wrong with one kind.
pub fn read(
    catalog: &Catalog,
    records: &Records,
    object: &Object,
    body: &Body,
    creating: bool,
    internal: bool,
) -> Result<Vec<Change>, RecordErrors> {
    let mut changes = Vec::with_capacity(body.len());
    let mut read_only = Vec::new();
    for (name, json) in body.iter().filter(|(name, _)| *name != "attributes") {
        if name.eq_ignore_ascii_case("Id") {
            let message = if creating {
                "cannot specify Id in an insert call"
            } else {
                "cannot specify Id in the body"
            };
            return Err(vec![
                RecordError::new("INVALID_FIELD_FOR_INSERT_UPDATE", message).with_fields(["Id"]),
            ]);
        }
        let (position, value) = match (object.field(name), json) {
            (Some(position), _) => (position, None),
            (None, Json::Object(key)) => {
                let Some(position) = object.relationship(name) else {
                    return refuse_unknown(object, name);
                };
                (
                    position,
                    Some(related(catalog, records, &object.fields[position], key)?),
                )
            }
            (None, _) => return refuse_unknown(object, name),
        };
        let field = &object.fields[position];
        if !internal
            && !(if creating {
                field.createable
            } else {
                field.updateable
            })
        {
            read_only.push(field.name.clone());
            continue;
        }
        let value = match value {
            Some(id) => Some(Value::Id(id)),
            None => value_of(field, json)?,
        };
        changes.push((position, value));
    }
    if read_only.is_empty() {
        Ok(changes)
    } else {
        Err(vec![refuse_read_only(&read_only)])
    }
}

fn refuse_unknown<T>(object: &Object, name: &str) -> Result<T, RecordErrors> {
    refuse(
        "INVALID_FIELD",
        format!("No such column '{name}' on sobject of type {}", object.name),
    )
}

fn refuse_read_only(fields: &[String]) -> RecordError {
    let names = fields.join(", ");
    let message = format!(
        "Unable to create/update fields: {names}. Please check the security settings of this field and verify \
         that it is read/write for your profile or permission set."
    );
    RecordError::new("INVALID_FIELD_FOR_INSERT_UPDATE", message).with_fields(fields)
}

/// Follows `{"Account": {"External_ID__c": "x"}}`.
fn related(
    catalog: &Catalog,
    records: &Records,
    field: &Field,
    key: &Body,
) -> Result<RecordId, RecordErrors> {
    let Some(target) = catalog.target(field) else {
        return refuse("INVALID_FIELD", format!("{} has no target", field.name));
    };
    let mut keys = key.iter().filter(|(name, _)| *name != "attributes");
    let Some((name, value)) = keys.next() else {
        return refuse(
            "INVALID_FIELD",
            format!("{} needs a key of {}", field.name, target.name),
        );
    };
    let position = target
        .field(name)
        .filter(|at| target.fields[*at].id_lookup || target.fields[*at].external_id);
    let Some(position) = position else {
        let message = format!(
            "Field name provided, {name} does not match an External ID, Salesforce Id, or indexed field for {}",
            target.name
        );
        return refuse("INVALID_FIELD", message);
    };
    let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let found = match RecordId::parse(&text).filter(|_| target.fields[position].kind == FieldKind::Id) {
        Some(id) => records.live(target.index, id).map(|_| id).into_iter().collect(),
        None => records.by_external_id(target.index, position, &text),
    };
    let field_name = &target.fields[position].name;
    match found[..] {
        [id] => Ok(id),
        [] => refuse(
            "INVALID_FIELD",
            format!(
                "Foreign key external ID: {text} not found for field {field_name} in entity {}",
                target.name
            ),
        ),
        _ => refuse(
            "INVALID_FIELD",
            format!(
                "Foreign key external ID: {text} matches several records for field {field_name} in entity {}",
                target.name
            ),
        ),
    }
}

fn value_of(field: &Field, json: &Json) -> Result<Option<Value>, RecordErrors> {
    let refuse =
        |code, message: String| Err(vec![RecordError::new(code, message).with_fields([&field.name])]);
    let label = &field.label;
    let trimmed = json.as_str().map(|text| Json::from(text.trim()));
    let value = match Value::from_json(field.kind, trimmed.as_ref().unwrap_or(json)) {
        Ok(value) => value,
        Err(misread) if misread.malformed_id => {
            return refuse(
                "MALFORMED_ID",
                format!("{label}: id value of incorrect type: {}", misread.message),
            );
        }
        Err(misread) => return Err(vec![RecordError::new("JSON_PARSER_ERROR", misread.message)]),
    };
    match &value {
        None if field.kind == FieldKind::Boolean => refuse(
            "INVALID_TYPE_ON_FIELD_IN_RECORD",
            format!("{label}: value not of required type: null"),
        ),
        Some(Value::Text(text)) if field.length > 0 && text.chars().count() > field.length => {
            let length = field.length;
            refuse(
                "STRING_TOO_LONG",
                format!("{label}: data value too large: {text} (max length={length})"),
            )
        }
        Some(Value::Text(text))
            if field.restricted_picklist && !field.picklist.iter().any(|v| v.as_str() == &**text) =>
        {
            let message = format!("{label}: bad value for restricted picklist field: {text}");
            refuse("INVALID_OR_NULL_FOR_RESTRICTED_PICKLIST", message)
        }
        Some(Value::Text(text)) if field.kind == FieldKind::Email && !is_email(text) => refuse(
            "INVALID_EMAIL_ADDRESS",
            format!("{label}: invalid email address: {text}"),
        ),
        Some(Value::Double(number)) => match rounded(*number, field) {
            Some(number) => Ok(Some(Value::Double(number))),
            None => {
                let message = format!("{label}: value outside of valid range on numeric field: {number}");
                refuse("NUMBER_OUTSIDE_VALID_RANGE", message)
            }
        },
        _ => Ok(value),
    }
}

fn is_email(text: &str) -> bool {
    let Some((local, domain)) = text.split_once('@') else {
        return false;
    };
    !local.is_empty() && domain.contains('.') && !domain.contains('@') && !text.contains(char::is_whitespace)
}

/// The number at the field's scale, if its whole part fits.
fn rounded(number: f64, field: &Field) -> Option<f64> {
    let whole_digits = field.precision.saturating_sub(field.scale).min(18);
    if number.abs() >= 10f64.powi(whole_digits as i32) {
        return None;
    }
    let factor = 10f64.powi(field.scale as i32);
    let scaled = (number * factor).round() / factor;
    Some(if scaled.is_finite() { scaled } else { number })
}

/// Checks of the finished draft that need no rule of its object: required values, parents, unique keys.
pub fn check(draft: &Draft<'_>) -> Result<(), RecordErrors> {
    let missing = draft.object.fields.iter().enumerate().filter(|(at, field)| {
        *at >= super::super::schema::FIRST_OWN
            && !field.nillable
            && !field.kind.is_compound()
            && draft.at(*at).is_none()
    });
    let missing: Vec<&String> = missing.map(|(_, field)| &field.name).collect();
    if !missing.is_empty() {
        let names = missing
            .iter()
            .map(|name| name.as_str())
            .collect::<Vec<_>>()
            .join(", ");
        let message = format!("Required fields are missing: [{names}]");
        return Err(vec![
            RecordError::new("REQUIRED_FIELD_MISSING", message).with_fields(missing),
        ]);
    }
    for (position, value) in &draft.changes {
        let field = &draft.object.fields[*position];
        match value {
            Some(Value::Id(id)) if field.kind == FieldKind::Reference => check_parent(draft, field, *id)?,
            Some(value) if field.unique => check_unique(draft, *position, value)?,
            _ => {}
        }
    }
    Ok(())
}

fn check_parent(draft: &Draft<'_>, field: &Field, id: RecordId) -> Result<(), RecordErrors> {
    let Some(target) = draft.catalog.target(field) else {
        return Ok(());
    };
    if target.key_prefix != id.prefix() {
        let message = format!("{}: id value of incorrect type: {id}", field.label);
        return Err(vec![
            RecordError::new("FIELD_INTEGRITY_EXCEPTION", message).with_fields([&field.name]),
        ]);
    }
    match draft.records.live(target.index, id) {
        Some(_) => Ok(()),
        None => refuse("INVALID_CROSS_REFERENCE_KEY", "invalid cross reference id"),
    }
}

fn check_unique(draft: &Draft<'_>, position: usize, value: &Value) -> Result<(), RecordErrors> {
    let Some(text) = value.as_str() else { return Ok(()) };
    let own = draft.before.map(super::records::Record::id);
    let others = draft.records.by_external_id(draft.object.index, position, text);
    match others.into_iter().find(|other| Some(*other) != own) {
        None => Ok(()),
        Some(other) => {
            let field = &draft.object.fields[position].name;
            refuse(
                "DUPLICATE_VALUE",
                format!(
                    "duplicate value found: {field} duplicates value on record with id: {}",
                    &other.as_str()[..15]
                ),
            )
        }
    }
}
