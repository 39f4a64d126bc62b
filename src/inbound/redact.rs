//! Takes out of events what may not be kept, before anything of them is written down.
//!
//! The fields that are never asked for ([`mapping`]) and those that the configuration leaves out are in no
//! query, but an event brings all fields of its object. Of such a field an event keeps that it was changed, and not its
//! value, which becomes null. An event whose bytes do not follow its schema keeps none of them where the schema has such
//! a field: nobody can say where its value is. The record, or its object, is read again in any case.
//!
//! The same is done to the same bytes whenever they come, so that an event that comes again is the same event.

use bytes::Bytes;
use serde_json::Value as Json;

use crate::config::ObjectRules;
use crate::inbound::decode::{EventSchema, Other, entity};
use crate::inbound::mapping;
use crate::model::change::ALL;

/// The first field of every event, which says what was changed and holds no field's value.
const HEADER: &str = "ChangeEventHeader";

/// The fields of a schema whose values are not kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Redaction {
    /// By the number of the leaf.
    denied: Vec<bool>,
}

impl Redaction {
    /// `None` where a schema has no such field.
    pub fn of(schema: &EventSchema, rules: &ObjectRules) -> Option<Self> {
        let leaves = schema.fields().iter();
        let denied: Vec<bool> = leaves
            .map(|leaf| !mapping::may_be_kept(rules, schema.entity(), &leaf.name))
            .collect();
        denied.contains(&true).then_some(Self { denied })
    }

    /// An event's bytes as they may be kept, and the names of the fields whose values are not in them any more; `None`
    /// where there is nothing to take out.
    pub fn apply(&self, schema: &EventSchema, payload: &[u8]) -> Option<(Bytes, Vec<String>)> {
        let mut taken: Vec<usize> = Vec::new();
        let copied = schema.copy(payload, &mut |leaf, _| {
            let is_denied = self.denied.get(leaf).is_some_and(|denied| *denied);
            is_denied.then(|| {
                taken.push(leaf);
                Other::Nothing
            })
        });
        let Ok(copied) = copied else {
            return Some(nothing());
        };
        let name = |leaf: &usize| schema.fields()[*leaf].name.clone();
        (!taken.is_empty()).then(|| (Bytes::from(copied), taken.iter().map(name).collect()))
    }
}

/// Why an event cannot be read of which nothing was kept.
pub const WITHHELD: &str =
    "its bytes were not kept: they do not follow their schema, which has fields that are never kept";

/// Whether nothing was kept of an event.
pub fn is_withheld(redacted: &[String]) -> bool {
    redacted.iter().any(|name| name == ALL)
}

/// Why an event cannot be read of which nothing was kept; of one whose bytes went with a person, why it could not be before.
/// `None` for any other.
pub fn withheld(redacted: &[String], payload: &[u8]) -> Option<String> {
    let why = String::from_utf8_lossy(payload);
    let why = if why.is_empty() { WITHHELD.into() } else { why };
    is_withheld(redacted).then(|| why.into_owned())
}

/// What is kept of an event of which nothing may be.
pub fn nothing() -> (Bytes, Vec<String>) {
    (Bytes::new(), vec![ALL.to_owned()])
}

/// The object that a schema's name is about, though the schema as a whole may not be usable.
pub fn object_of(schema_json: &str) -> Option<String> {
    let schema: Json = serde_json::from_str(schema_json).ok()?;
    entity(schema.get("name")?.as_str()?).ok()
}

/// Whether events may be kept as they are whose schema cannot be used, as far as its text tells.
pub fn may_be_kept(schema_json: &str, rules: &ObjectRules) -> bool {
    let Ok(schema) = serde_json::from_str::<Json>(schema_json) else {
        return false;
    };
    let object = object_of(schema_json).unwrap_or_default();
    let fields = schema.get("fields").and_then(Json::as_array);
    let names = fields
        .into_iter()
        .flatten()
        .map(|field| field.get("name").and_then(Json::as_str));
    // Of a field without a name nobody knows what it holds.
    names
        .into_iter()
        .all(|name| name.is_some_and(|name| name == HEADER || mapping::may_be_kept(rules, &object, name)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCHEMA: &str = r#"{"type":"record","name":"Vault__ChangeEvent","fields":[
        {"name":"ChangeEventHeader","type":{"type":"record","name":"ChangeEventHeader","fields":[]}},
        {"name":"Note__c","type":["null","string"]},{"name":"Api_Secret__c","type":["null","string"]}]}"#;

    #[test]
    fn of_a_schema_that_is_no_schema_the_names_decide() {
        let rules = |fields: &[&str], leave_out: &[&str]| ObjectRules {
            fields: fields.iter().map(|name| (*name).to_owned()).collect(),
            leave_out: leave_out.iter().map(|name| (*name).to_owned()).collect(),
            ..ObjectRules::default()
        };
        let plain = SCHEMA.replace("Api_Secret__c", "Other__c");
        for (schema, rules, expected) in [
            (SCHEMA, rules(&[], &[]), false),
            (&plain, rules(&[], &[]), true),
            (&plain, rules(&[], &["other__c"]), false),
            (&plain, rules(&["Note__c"], &[]), false),
            (&plain, rules(&["Note__c", "Other__c"], &[]), true),
            ("no JSON", rules(&[], &[]), false),
            (r#"{"fields":[{"type":"string"}]}"#, rules(&[], &[]), false),
        ] {
            assert_eq!(may_be_kept(schema, &rules), expected, "{schema} {rules:?}");
        }
        assert_eq!(object_of(SCHEMA).as_deref(), Some("Vault__c"));
    }
}
