//! `@{ref.field}` in a sub-request: the value that an earlier sub-request's result holds there.

use std::collections::HashMap;

use serde_json::Value as Json;

use crate::http::answer::Reply;
use crate::http::call::Call;

/// Bodies of the parts that succeeded, by reference id.
#[derive(Default)]
pub struct Results(HashMap<String, Json>);

impl Results {
    pub fn note(&mut self, reference: &str, reply: &Reply) {
        if reply.status < 300 {
            self.0.insert(reference.to_owned(), reply.body());
        }
    }

    /// The value at `ref.field`, `ref.records[0].Id`, `ref[0].id`.
    fn value(&self, expression: &str) -> Result<&Json, String> {
        let (reference, mut rest) = match expression.find(['.', '[']) {
            Some(at) => expression.split_at(at),
            None => (expression, ""),
        };
        let missing = || {
            format!(
                "Invalid reference specified. No value for {expression} found in {reference}. Provided referenceId \
                 ('{expression}') must start with a letter or a number, and it can contain only letters, numbers \
                 and underscores ('_')."
            )
        };
        let mut value = self.0.get(reference).ok_or_else(missing)?;
        while !rest.is_empty() {
            let step;
            if let Some(inner) = rest.strip_prefix('[') {
                let (index, after) = inner.split_once(']').ok_or_else(missing)?;
                let index: usize = index.trim().parse().map_err(|_| missing())?;
                step = value.get(index);
                rest = after;
            } else {
                let inner = rest.strip_prefix('.').ok_or_else(missing)?;
                let end = inner.find(['.', '[']).unwrap_or(inner.len());
                step = value.get(&inner[..end]);
                rest = &inner[end..];
            }
            value = step.ok_or_else(missing)?;
        }
        if value.is_object() || value.is_array() {
            Err(missing())
        } else {
            Ok(value)
        }
    }
}

/// Text, or the expression of a reference.
enum Piece<'a> {
    Text(&'a str),
    Reference(&'a str),
}

fn pieces(text: &str) -> Vec<Piece<'_>> {
    let mut pieces = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find("@{") {
        let Some(length) = rest[at..].find('}') else { break };
        if at > 0 {
            pieces.push(Piece::Text(&rest[..at]));
        }
        pieces.push(Piece::Reference(rest[at + 2..at + length].trim()));
        rest = &rest[at + length + 1..];
    }
    if !rest.is_empty() {
        pieces.push(Piece::Text(rest));
    }
    pieces
}

fn resolved_text(text: &str, results: &Results) -> Result<String, String> {
    let mut resolved = String::with_capacity(text.len());
    for piece in pieces(text) {
        match piece {
            Piece::Text(text) => resolved.push_str(text),
            Piece::Reference(expression) => match results.value(expression)? {
                Json::String(text) => resolved.push_str(text),
                other => resolved.push_str(&other.to_string()),
            },
        }
    }
    Ok(resolved)
}

/// Fills references into a sub-request's address, after it was taken apart: a value cannot add a segment.
pub fn resolved_address(call: &mut Call, results: &Results) -> Result<(), String> {
    for segment in &mut call.path {
        *segment = resolved_text(segment, results)?;
    }
    for (_, value) in &mut call.query {
        *value = resolved_text(value, results)?;
    }
    Ok(())
}

/// A body with its references filled in. One that stands alone keeps its kind: number, boolean or null.
pub fn resolved_body(body: &Json, results: &Results) -> Result<Json, String> {
    Ok(match body {
        Json::String(text) => match pieces(text).as_slice() {
            [Piece::Reference(expression)] => results.value(expression)?.clone(),
            _ => Json::String(resolved_text(text, results)?),
        },
        Json::Array(items) => Json::Array(
            items
                .iter()
                .map(|item| resolved_body(item, results))
                .collect::<Result<_, _>>()?,
        ),
        Json::Object(fields) => {
            let fields = fields
                .iter()
                .map(|(name, value)| Ok((name.clone(), resolved_body(value, results)?)));
            Json::Object(fields.collect::<Result<_, String>>()?)
        }
        other => other.clone(),
    })
}

/// The reference ids that a sub-request names.
pub fn references(url: &str, body: Option<&Json>) -> Vec<String> {
    let mut names = Vec::new();
    gather(
        &percent_encoding::percent_decode_str(url).decode_utf8_lossy(),
        &mut names,
    );
    if let Some(body) = body {
        gather_json(body, &mut names);
    }
    names
}

fn gather(text: &str, names: &mut Vec<String>) {
    for piece in pieces(text) {
        if let Piece::Reference(expression) = piece {
            names.extend(expression.split(['.', '[']).next().map(str::to_owned));
        }
    }
}

fn gather_json(json: &Json, names: &mut Vec<String>) {
    match json {
        Json::String(text) => gather(text, names),
        Json::Array(items) => items.iter().for_each(|item| gather_json(item, names)),
        Json::Object(fields) => fields.values().for_each(|value| gather_json(value, names)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn results() -> Results {
        let mut results = Results::default();
        results.note(
            "ref",
            &Reply::json(
                201,
                json!({ "id": "001A", "success": true, "n": 2, "none": null }),
            ),
        );
        results.note(
            "q",
            &Reply::ok(json!({ "records": [{ "Id": "801A", "Account": { "Name": "Acme" } }] })),
        );
        results.note("failed", &Reply::json(400, json!([{ "errorCode": "X" }])));
        results
    }

    #[test]
    fn fills_references_into_bodies() {
        for (given, expected) in [
            (json!("@{ref.id}"), json!("001A")),
            (json!("@{ref.n}"), json!(2)),
            (json!("@{ref.none}"), json!(null)),
            (json!("x-@{ref.id}-@{ref.n}"), json!("x-001A-2")),
            (json!({ "a": ["@{q.records[0].Id}"] }), json!({ "a": ["801A"] })),
            (json!("@{q.records[0].Account.Name}"), json!("Acme")),
            (json!("a@{b"), json!("a@{b")),
            (json!(7), json!(7)),
        ] {
            assert_eq!(resolved_body(&given, &results()), Ok(expected), "{given}");
        }
    }

    #[test]
    fn fills_references_into_addresses() {
        let mut call = Call::new(
            "GET",
            "/services/data/v67.0/query?q=SELECT+Id+FROM+A+WHERE+Id%3D'@%7Bref.id%7D'",
        );
        resolved_address(&mut call, &results()).unwrap();
        assert_eq!(call.parameter("q"), Some("SELECT Id FROM A WHERE Id='001A'"));
        let mut call = Call::new(
            "PATCH",
            "/services/data/v67.0/sobjects/Account/@{q.records[0].Account.Name}",
        );
        resolved_address(&mut call, &results()).unwrap();
        assert_eq!(call.path.last().map(String::as_str), Some("Acme"));
    }

    #[test]
    fn names_the_reference_that_has_no_value() {
        for expression in [
            "nobody.id",
            "failed.id",
            "ref.nothing",
            "q.records[1].Id",
            "q.records",
            "q.records[x]",
        ] {
            let message = resolved_body(&json!(format!("@{{{expression}}}")), &results()).unwrap_err();
            assert!(
                message.contains(&format!("No value for {expression} found")),
                "{message}"
            );
        }
    }

    #[test]
    fn finds_what_a_part_refers_to() {
        let body = json!({ "a": "@{one.id}", "b": [{ "c": "@{two[0].id}" }] });
        assert_eq!(
            references("/sobjects/A/@{zero.id}", Some(&body)),
            ["zero", "one", "two"]
        );
    }
}
