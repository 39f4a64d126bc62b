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
use crate::salesforce::rest::PartResult;
use crate::store::outbox::Claimed;

/// Digits before the point that the field needs.
pub const DIGITS: u32 = 15;
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
        field_of(self.shape.object(object).ok()?, self.field)
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

/// The field of an object that takes numbers of so many digits, where it has one that the user may set.
fn field_of<'s>(shape: &'s Writable, field: &str) -> Option<&'s str> {
    let takes = matches!(shape.limits(field)?.form, Form::Number { whole, .. } if whole >= DIGITS);
    shape.createable(field).filter(|_| takes)
}

fn number(version: i64, attempt: u32) -> i64 {
    let place = attempt.min(ATTEMPTS - 1);
    version
        .saturating_mul(i64::from(ATTEMPTS))
        .saturating_add(i64::from(place))
}
