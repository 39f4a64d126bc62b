//! The number that a change carries, so that the org itself refuses it where a later one is there. Pure.
//!
//! A request that only sets values and arrives late would undo what was written since. Where the org has a number field
//! and a validation rule that lets its value only grow, such a request is refused, whenever it arrives. Each attempt of a
//! write has a higher number than those before it, so that a late one does not undo an edit that was made after the next.
//! What makes a record under a key is refused by that key when it arrives again: its number is where the record begins,
//! and no order is refused for the number.

use serde_json::{Value, json};

use crate::model::order::Problem;
use crate::outbound::compose::Request;
use crate::outbound::limits::Form;
use crate::outbound::shape::{Shape, Writable};
use crate::salesforce::ApiError;
use crate::salesforce::describe::Describe;
use crate::salesforce::rest::PartResult;
use crate::store::outbox::Claimed;

/// The objects that writes change.
pub const OBJECTS: [&str; 3] = ["Order", "Account", "Contact"];

/// Digits before the point that the field needs.
const DIGITS: u32 = 15;
/// The numbers of one write; attempts beyond them share the last.
const ATTEMPTS: u32 = 100;

/// The part that gives a record its number ahead of a status: the org takes no other value along with that.
const VERSION: &str = "version";

/// The number of one attempt at a write.
#[derive(Clone, Copy)]
pub struct Version<'a> {
    field: &'a str,
    number: i64,
    shape: &'a Shape,
}

impl<'a> Version<'a> {
    pub fn of(claimed: &Claimed, field: &'a str, shape: &'a Shape) -> Self {
        Self {
            field,
            number: number(claimed.version, claimed.attempt),
            shape,
        }
    }

    /// The request with the number in each record that it makes, and in each that it changes where `changes`.
    pub fn stamp(&self, request: &Request, changes: bool) -> Request {
        let stamp = |parts: &[Value]| -> Vec<Value> {
            let parts = parts.iter().cloned();
            parts.flat_map(|part| self.stamped(part, changes)).collect()
        };
        match request {
            Request::Composite(body) => {
                let mut body = body.clone();
                if let Some(parts) = body["compositeRequest"].as_array_mut() {
                    *parts = stamp(parts);
                }
                Request::Composite(body)
            }
            Request::Graph(parts) => Request::Graph(stamp(parts)),
        }
    }

    fn stamped(&self, mut part: Value, changes: bool) -> Vec<Value> {
        let Some(field) = self.field_of(&part) else {
            return vec![part];
        };
        if part["method"] == "PATCH" && !changes {
            return vec![part];
        }
        if part["method"] == "PATCH" && part["body"].get("Status").is_some() {
            let ahead = json!({
                "method": "PATCH", "url": part["url"], "referenceId": VERSION, "body": { field: self.number },
            });
            return vec![ahead, part];
        }
        if let Some(body) = part.get_mut("body").and_then(Value::as_object_mut) {
            body.insert(field.to_owned(), self.number.into());
        }
        vec![part]
    }

    /// The field of a part's object, as the org writes it.
    fn field_of(&self, part: &Value) -> Option<&'a str> {
        let (_, path) = part["url"].as_str()?.split_once("/sobjects/")?;
        let object = path.split(['/', '?']).next()?;
        part["body"].as_object()?;
        field_of(self.shape.object(object).ok()?, self.field).ok()
    }

    /// Why the org refuses the change, where it does so for the number.
    pub fn refusal(&self, results: &[PartResult]) -> Option<Problem> {
        let mut errors = results.iter().flat_map(|part| ApiError::all_of(&part.body));
        let is_ours = |name: &String| name.eq_ignore_ascii_case(self.field);
        errors.find(|error| {
            error.code == "FIELD_CUSTOM_VALIDATION_EXCEPTION" && error.fields.iter().any(is_ours)
        })?;
        Some(Problem::new(
            "OVERTAKEN",
            format!(
                "the org has a later change of the record, and its rule for {} refuses this one: nothing is to be done; to write it over the later one, reopen and retry it",
                self.field
            ),
        ))
    }
}

/// The field of an object as the org writes it; why its changes carry no number where the field does not do.
pub fn field_of<'s>(shape: &'s Writable, field: &str) -> Result<&'s str, String> {
    let object = &shape.object;
    let Some(limits) = shape.limits(field) else {
        return Err(format!("{object} has no field {field} that the user may see"));
    };
    if !matches!(limits.form, Form::Number { whole, .. } if whole >= DIGITS) {
        return Err(format!(
            "{object}.{field} is no number with {DIGITS} digits before the point"
        ));
    }
    if !limits.createable {
        return Err(format!("the user may not set {object}.{field}"));
    }
    Ok(&limits.name)
}

/// The same of an object as the org describes it.
pub fn described(describe: &Describe, field: &str) -> Result<String, String> {
    let object = &describe.name;
    if describe.field(field).is_some_and(|field| !field.updateable) {
        return Err(format!("the user may not change {object}.{field}"));
    }
    field_of(&Writable::of(describe, None), field).map(str::to_owned)
}

fn number(version: i64, attempt: u32) -> i64 {
    let place = attempt.min(ATTEMPTS - 1);
    version
        .saturating_mul(i64::from(ATTEMPTS))
        .saturating_add(i64::from(place))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::salesforce::describe::Field;

    /// Objects whose number field is of a kind, has a precision, and may be set or not.
    fn shape((kind, precision, createable): (&str, u32, bool)) -> Shape {
        let describe = |object: &str| Describe {
            name: object.to_owned(),
            label: object.to_owned(),
            key_prefix: None,
            queryable: true,
            createable: true,
            updateable: true,
            record_types: Vec::new(),
            fields: vec![
                Field {
                    name: "Key__c".to_owned(),
                    kind: "string".to_owned(),
                    external_id: true,
                    unique: true,
                    createable: true,
                    ..Field::default()
                },
                Field {
                    name: "Version__c".to_owned(),
                    kind: kind.to_owned(),
                    precision,
                    createable,
                    ..Field::default()
                },
            ],
        };
        let [order, account, contact, item] = ["Order", "Account", "Contact", "OrderItem"].map(describe);
        Shape::of(&order, &account, &contact, &item, Some("Key__c")).unwrap()
    }

    #[test]
    fn only_a_number_that_holds_it_and_may_be_set_is_used() {
        for (field, expected) in [
            (("double", 18, true), "Version__c"),
            (("double", 15, true), "Version__c"),
            (("double", 14, true), "is no number with 15 digits"),
            (("string", 18, true), "is no number with 15 digits"),
            (("double", 18, false), "the user may not set Order.version__C"),
        ] {
            let shape = shape(field);
            let found = field_of(&shape.order, "version__C");
            let told = found.map_or_else(|lack| lack, str::to_owned);
            assert!(told.contains(expected), "{field:?}: {told}");
        }
        assert!(field_of(&shape(("double", 18, true)).order, "Other__c").is_err());
    }

    #[test]
    fn a_number_is_of_no_use_where_it_may_be_set_once_and_not_changed() {
        for (updateable, createable, told) in [
            (true, true, Ok("Version__c")),
            (false, true, Err("the user may not change Order.version__C")),
            (true, false, Err("the user may not set Order.version__C")),
        ] {
            let field = Field {
                name: "Version__c".to_owned(),
                kind: "double".to_owned(),
                precision: 18,
                createable,
                updateable,
                ..Field::default()
            };
            let describe = Describe {
                name: "Order".to_owned(),
                label: "Order".to_owned(),
                key_prefix: None,
                queryable: true,
                createable: true,
                updateable: true,
                record_types: Vec::new(),
                fields: vec![field],
            };
            let found = described(&describe, "version__C");
            let found = found.as_deref().map_err(String::as_str);
            assert_eq!(found, told, "{updateable} {createable}");
        }
    }

    #[test]
    fn a_number_is_in_what_is_made_and_changed_and_ahead_of_a_status() {
        let shape = shape(("double", 18, true));
        let version = Version {
            field: "version__c",
            number: 7,
            shape: &shape,
        };
        let part = |method: &str, path: &str, body: Value| json!({"method": method, "url": format!("/services/data/v67.0/sobjects/{path}"), "referenceId": "r", "body": body});
        let both = |status: &Value, path: &str| {
            let ahead = json!({"method": "PATCH", "url": format!("/services/data/v67.0/sobjects/{path}"), "referenceId": "version", "body": {"Version__c": 7}});
            vec![ahead, status.clone()]
        };
        let status = part("PATCH", "Order/801", json!({"Status": "Activated"}));
        let by_key = "Order/Key__c/W?updateOnly=true";
        let query = json!({"method": "GET", "url": "/services/data/v67.0/query?q=x", "referenceId": "found"});
        for (given, changes, expected) in [
            (
                part("POST", "Order", json!({"Status": "Draft"})),
                false,
                vec![part("POST", "Order", json!({"Status": "Draft", "Version__c": 7}))],
            ),
            (
                part("PATCH", by_key, json!({"City": "x"})),
                true,
                vec![part("PATCH", by_key, json!({"City": "x", "Version__c": 7}))],
            ),
            (
                part("PATCH", "Contact/003", json!({"Phone": "x"})),
                false,
                vec![part("PATCH", "Contact/003", json!({"Phone": "x"}))],
            ),
            (status.clone(), true, both(&status, "Order/801")),
            (
                part("POST", "Lead", json!({"City": "x"})),
                true,
                vec![part("POST", "Lead", json!({"City": "x"}))],
            ),
            (query.clone(), true, vec![query.clone()]),
        ] {
            let stamped = version.stamp(&Request::Graph(vec![given.clone()]), changes);
            assert_eq!(stamped, Request::Graph(expected), "{given}");
        }
    }

    #[test]
    fn later_writes_and_later_attempts_have_higher_numbers_of_15_digits() {
        let numbers = [
            (1_795_986_000_000, 1),
            (1_795_986_000_000, 2),
            (1_795_986_000_000, 99),
            (1_795_986_000_001, 0),
        ];
        let numbers = numbers.map(|(version, attempt)| number(version, attempt));
        assert!(numbers.is_sorted_by(|one, next| one < next), "{numbers:?}");
        assert_eq!(number(1_795_986_000_000, 400), numbers[2]);
        assert_eq!(numbers[3].to_string().len(), 15);
    }

    #[test]
    fn a_refusal_is_for_the_number_where_it_names_the_field() {
        let shape = shape(("double", 18, true));
        let version = Version {
            field: "Version__c",
            number: 7,
            shape: &shape,
        };
        for (code, field, expected) in [
            ("FIELD_CUSTOM_VALIDATION_EXCEPTION", "version__c", true),
            ("FIELD_CUSTOM_VALIDATION_EXCEPTION", "PoNumber", false),
            ("NUMBER_OUTSIDE_VALID_RANGE", "Version__c", false),
        ] {
            let result = PartResult {
                reference: Some("record".to_owned()),
                status: 400,
                body: json!([{"errorCode": code, "message": "no", "fields": [field]}]),
            };
            assert_eq!(version.refusal(&[result]).is_some(), expected, "{code} {field}");
        }
    }
}
