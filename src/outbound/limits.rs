//! What the org takes in a field, as describe tells it, and what it would refuse of a value. Pure.
//!
//! Only what describe says for sure is refused here. Validation rules, dependent picklists and the rights of a user are
//! not in it, so those are the org's to judge. The org takes a number with too many digits after the point and rounds it
//! without a word, so that such a number is refused here: what was sent is never changed.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::model::clock::{parse_date, parse_datetime};
use crate::model::id;
use crate::model::order::day;
use crate::model::order::digits::{self, Digits};
use crate::salesforce::describe::Field;

/// Most values of a picklist that a refusal lists.
const LISTED_MAX: usize = 10;

/// What the org takes in one field.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// As describe writes it.
    pub name: String,
    pub createable: bool,
    /// A record cannot be without a value.
    pub required: bool,
    /// A new record has a value where none is sent.
    pub defaulted: bool,
    pub form: Form,
    /// The objects that a reference may be to; none where describe does not say.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub refers_to: Vec<String>,
}

/// What a value has to look like.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Form {
    /// So many characters; 0 where describe does not say.
    Text {
        length: u32,
    },
    /// One value of a restricted picklist, or several with semicolons between them.
    Choice {
        values: Vec<String>,
        many: bool,
    },
    /// Digits before and after the point.
    Number {
        whole: u32,
        scale: u32,
    },
    Integer {
        digits: u32,
    },
    Date,
    DateTime,
    Flag,
    Id,
    Other,
}

impl Limits {
    /// Of a field of an object. The org refuses an order status that it does not have, while describe may tell no
    /// restriction of that field.
    pub fn in_object(field: &Field, object: &str) -> Self {
        let limits = Self::of(field);
        match (object, field.name.as_str(), field.kind.as_str()) {
            ("Order", "Status", "picklist") => Self {
                form: Form::choice(field, false),
                ..limits
            },
            _ => limits,
        }
    }

    fn of(field: &Field) -> Self {
        Self {
            name: field.name.clone(),
            createable: field.createable,
            required: !field.nillable,
            defaulted: field.defaulted_on_create,
            form: Form::of(field),
            refers_to: field.reference_to.clone(),
        }
    }

    /// Whether a new record has to be sent with a value.
    pub fn is_wanted(&self) -> bool {
        self.required && self.createable && !self.defaulted && self.form != Form::Flag
    }

    /// Why the org would not take a value, as what follows the name of it.
    pub fn refusal(&self, value: &Value) -> Option<String> {
        match value {
            Value::Null => self.refusal_of_nothing(),
            Value::String(text) if text.trim().is_empty() => self.refusal_of_nothing(),
            // Another record, named by its key.
            Value::Object(_) | Value::Array(_) => None,
            value => self.form.refusal(value),
        }
    }

    /// Why a reference cannot be to a record of an object.
    pub fn refusal_of_object(&self, object: &str) -> Option<String> {
        let takes = |other: &String| other.eq_ignore_ascii_case(object);
        let fits = self.refers_to.is_empty() || self.refers_to.iter().any(takes);
        (!fits).then(|| id::refusal(object, &self.refers_to))
    }

    fn refusal_of_nothing(&self) -> Option<String> {
        let needs_one = self.required || self.form == Form::Flag;
        needs_one.then(|| "is empty: the org wants a value".to_owned())
    }
}

impl Form {
    fn choice(field: &Field, many: bool) -> Self {
        Self::Choice {
            values: field.choices().map(|choice| choice.value.clone()).collect(),
            many,
        }
    }

    fn of(field: &Field) -> Self {
        let choice = |many| match field.restricted_picklist {
            true => Self::choice(field, many),
            false => Self::Text { length: field.length },
        };
        match field.kind.as_str() {
            "string" | "textarea" | "phone" | "url" | "email" | "combobox" | "encryptedstring" => {
                Self::Text { length: field.length }
            }
            "picklist" => choice(false),
            "multipicklist" => choice(true),
            "double" | "currency" | "percent" if field.precision > 0 => Self::Number {
                whole: field.precision.saturating_sub(field.scale),
                scale: field.scale,
            },
            "int" if field.digits > 0 => Self::Integer { digits: field.digits },
            "date" => Self::Date,
            "datetime" => Self::DateTime,
            "boolean" => Self::Flag,
            "reference" | "id" => Self::Id,
            _ => Self::Other,
        }
    }

    /// Most digits before the point, of a number.
    pub fn whole_digits(&self) -> Option<u32> {
        match self {
            Self::Number { whole, .. } => Some(*whole),
            Self::Integer { digits } => Some(*digits),
            _ => None,
        }
    }

    fn refusal(&self, value: &Value) -> Option<String> {
        match self {
            // The org takes a number for the text of it.
            Self::Text { .. } | Self::Choice { .. } if value.is_boolean() => is_not(false, "text, in quotes"),
            Self::Text { length } => too_long(*length, value.as_str()?),
            Self::Choice { values, many } => not_among(values, *many, value.as_str()?),
            Self::Number { whole, scale } => not_in_range(*whole, *scale, value),
            Self::Integer { digits } => not_in_range(*digits, 0, value),
            Self::Date | Self::DateTime if is_out_of_range(value) => Some(day::OUT_OF_RANGE.to_owned()),
            Self::Date => is_not(is_date(value), "a date such as 2026-11-22"),
            Self::DateTime => is_not(
                is_datetime(value),
                "a date and time with a zone, such as 2026-11-22T09:30:00Z",
            ),
            Self::Flag => is_not(is_flag(value), "true or false"),
            Self::Id => is_not(is_id(value), "an id of the org: 15 or 18 letters and digits"),
            Self::Other => None,
        }
    }
}

/// The org cuts blanks off at both ends first.
fn too_long(length: u32, text: &str) -> Option<String> {
    let text = text.trim();
    if length == 0 || text.len() <= length as usize {
        return None;
    }
    let characters = text.chars().count();
    (characters > length as usize).then(|| {
        format!(
            "has {} characters: the org takes {}",
            grouped(characters),
            grouped(length as usize)
        )
    })
}

fn not_among(values: &[String], many: bool, text: &str) -> Option<String> {
    let is_known = |text: &str| {
        let text = text.trim();
        text.is_empty() || values.iter().any(|value| value.eq_ignore_ascii_case(text))
    };
    let all_known = match many {
        true => text.split(';').all(is_known),
        false => is_known(text),
    };
    (!all_known).then(|| {
        let listed: Vec<&str> = values.iter().take(LISTED_MAX).map(String::as_str).collect();
        let more = match values.len().saturating_sub(LISTED_MAX) {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        format!(
            "is no value of the org's picklist: it takes {}{more}",
            listed.join(", ")
        )
    })
}

fn not_in_range(whole: u32, scale: u32, value: &Value) -> Option<String> {
    let text = match value {
        Value::Number(number) => number.to_string(),
        Value::String(text) => text.trim().to_owned(),
        _ => String::new(),
    };
    let real = text.parse().ok().filter(|real: &f64| real.is_finite());
    let Some((real, digits)) = real.zip(Digits::of(&text)) else {
        return Some("must be a number".to_owned());
    };
    if real.abs() >= 10_f64.powi(i32::try_from(whole).unwrap_or(i32::MAX)) {
        return Some(format!(
            "is too large: the org takes {whole} digits before the point"
        ));
    }
    let refusal = too_fine(digits.scale(), scale, "the org");
    refusal.or_else(|| (!digits.are_of(real)).then(|| digits::TOO_MANY.to_owned()))
}

/// What is said of a number with more digits after the point than are taken.
pub fn too_fine(found: u32, scale: u32, taker: &str) -> Option<String> {
    let most = match scale {
        0 => "none".to_owned(),
        scale => scale.to_string(),
    };
    let digits = if found == 1 { "digit" } else { "digits" };
    (found > scale).then(|| format!("has {found} {digits} after the point: {taker} takes {most}"))
}

fn is_not(fits: bool, wanted: &str) -> Option<String> {
    (!fits).then(|| format!("must be {wanted}"))
}

/// Whether a value begins with a date that no org keeps.
fn is_out_of_range(value: &Value) -> bool {
    let text = value.as_str().map_or("", str::trim);
    let begins = text.get(..10).is_some_and(|date| parse_date(date).is_some());
    begins && !day::is_of_org(text)
}

fn is_date(value: &Value) -> bool {
    let text = value.as_str().map(str::trim);
    text.is_some_and(|text| text.len() == 10 && parse_date(text).is_some())
}

/// What only begins with a date may be a form that the org knows.
fn is_datetime(value: &Value) -> bool {
    let Some(text) = value.as_str().map(str::trim) else {
        return false;
    };
    let begins = text.get(..10).is_some_and(|date| parse_date(date).is_some());
    begins || parse_datetime(text).is_some()
}

fn is_flag(value: &Value) -> bool {
    let told = |text: &str| text.eq_ignore_ascii_case("true") || text.eq_ignore_ascii_case("false");
    value.is_boolean() || value.as_str().is_some_and(|text| told(text.trim()))
}

/// `@{account.id}` stands for the id of a record that the same request makes.
fn is_id(value: &Value) -> bool {
    let text = value.as_str().map_or("", str::trim);
    id::is_id(text) || text.starts_with("@{")
}

/// `4,000`
fn grouped(number: usize) -> String {
    let digits = number.to_string();
    let mut grouped = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.char_indices() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::salesforce::describe::Choice;
    use serde_json::json;

    fn limits(kind: &str) -> Limits {
        let values = ["Red", "Green"].map(|value| Choice {
            value: value.to_owned(),
            active: true,
            default_value: false,
        });
        let gone = Choice {
            value: "Blue".to_owned(),
            ..Choice::default()
        };
        Limits::of(&Field {
            name: "Some__c".to_owned(),
            kind: kind.trim_start_matches("open ").to_owned(),
            length: 10,
            precision: 6,
            scale: 2,
            digits: 4,
            nillable: true,
            createable: true,
            restricted_picklist: !kind.starts_with("open "),
            picklist_values: values.into_iter().chain([gone]).collect(),
            ..Field::default()
        })
    }

    fn holds(cases: &[(&str, Value, &str)]) {
        for (kind, value, expected) in cases {
            let refusal = limits(kind).refusal(value).unwrap_or_default();
            assert_eq!(refusal, *expected, "{kind} {value}");
        }
    }

    #[test]
    fn texts_and_choices_are_held_against_what_describe_tells() {
        holds(&[
            ("string", json!("ten chars."), ""),
            ("string", json!("  ten chars.  "), ""),
            ("string", json!("öööööööööö"), ""),
            (
                "string",
                json!("eleven char"),
                "has 11 characters: the org takes 10",
            ),
            (
                "textarea",
                json!("x".repeat(4_000)),
                "has 4,000 characters: the org takes 10",
            ),
            ("string", json!(12), ""),
            ("string", json!(true), "must be text, in quotes"),
            ("picklist", json!(false), "must be text, in quotes"),
            ("picklist", json!("Red"), ""),
            ("picklist", json!("red"), ""),
            (
                "picklist",
                json!("Blue"),
                "is no value of the org's picklist: it takes Red, Green",
            ),
            ("open picklist", json!("Blue"), ""),
            ("multipicklist", json!("Red; Green"), ""),
            (
                "multipicklist",
                json!("Red;Blue"),
                "is no value of the org's picklist: it takes Red, Green",
            ),
        ]);
    }

    #[test]
    fn numbers_are_held_against_what_describe_tells() {
        holds(&[
            ("double", json!(9_999.99), ""),
            ("double", json!("12.5"), ""),
            (
                "double",
                json!(10_000),
                "is too large: the org takes 4 digits before the point",
            ),
            (
                "double",
                json!(-10_000),
                "is too large: the org takes 4 digits before the point",
            ),
            (
                "double",
                json!(1.005),
                "has 3 digits after the point: the org takes 2",
            ),
            // More digits than an amount may have elsewhere, too.
            (
                "double",
                json!(1.123_456_78),
                "has 8 digits after the point: the org takes 2",
            ),
            (
                "double",
                json!("1.12345678901234567890"),
                "has 19 digits after the point: the org takes 2",
            ),
            ("double", json!("many"), "must be a number"),
            ("double", json!(true), "must be a number"),
            ("currency", json!(1.25), ""),
            (
                "currency",
                json!(1.005),
                "has 3 digits after the point: the org takes 2",
            ),
            (
                "currency",
                json!(10_000),
                "is too large: the org takes 4 digits before the point",
            ),
            ("int", json!(9_999), ""),
            (
                "int",
                json!(1.5),
                "has 1 digit after the point: the org takes none",
            ),
        ]);
    }

    #[test]
    fn a_number_that_the_org_would_round_is_refused() {
        let wide = Limits::of(&Field {
            name: "Some__c".to_owned(),
            kind: "double".to_owned(),
            precision: 18,
            nillable: true,
            ..Field::default()
        });
        for (text, refusal) in [
            ("123456789012345678", Some(digits::TOO_MANY)),
            ("123456789012345", None),
            ("123456789012345000", None),
        ] {
            assert_eq!(wide.refusal(&json!(text)).as_deref(), refusal, "{text}");
        }
    }

    #[test]
    fn the_form_of_other_values_is_held_against_what_describe_tells() {
        holds(&[
            ("date", json!("0000-01-01"), day::OUT_OF_RANGE),
            ("datetime", json!("4001-01-01T00:00:00Z"), day::OUT_OF_RANGE),
            ("date", json!("2026-11-22"), ""),
            ("date", json!("22.11.2026"), "must be a date such as 2026-11-22"),
            (
                "date",
                json!("2026-11-22T00:00:00Z"),
                "must be a date such as 2026-11-22",
            ),
            ("datetime", json!("2026-11-22T09:30:00Z"), ""),
            ("datetime", json!("2026-11-22T09:30:00.000+0000"), ""),
            (
                "datetime",
                json!("soon"),
                "must be a date and time with a zone, such as 2026-11-22T09:30:00Z",
            ),
            ("boolean", json!(true), ""),
            ("boolean", json!("true"), ""),
            ("boolean", json!(1), "must be true or false"),
            ("boolean", json!("yes"), "must be true or false"),
            ("boolean", Value::Null, "is empty: the org wants a value"),
            ("reference", json!("001000000000001AAA"), ""),
            ("reference", json!({"External_ID__c": "C-7"}), ""),
            (
                "reference",
                json!("C-7"),
                "must be an id of the org: 15 or 18 letters and digits",
            ),
            ("string", Value::Null, ""),
            ("anytype", json!("whatever it may be"), ""),
        ]);
    }

    #[test]
    fn what_a_record_cannot_be_without_is_not_taken_away() {
        let wanted = Limits {
            required: true,
            ..limits("string")
        };
        assert!(wanted.is_wanted());
        for value in [Value::Null, json!(" ")] {
            assert_eq!(
                wanted.refusal(&value).as_deref(),
                Some("is empty: the org wants a value")
            );
        }
        let defaulted = Limits {
            defaulted: true,
            ..wanted
        };
        assert!(!defaulted.is_wanted());
    }

    #[test]
    fn what_describe_does_not_say_is_the_org_s_to_judge() {
        let bare = |kind: &str| {
            Limits::of(&Field {
                kind: kind.to_owned(),
                nillable: true,
                ..Field::default()
            })
        };
        for kind in ["string", "double", "int"] {
            assert_eq!(bare(kind).refusal(&json!("x".repeat(100))), None, "{kind}");
        }
    }
}
