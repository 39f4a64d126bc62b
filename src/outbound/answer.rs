//! Holds what an answer of the org tells against what was asked. Pure.
//!
//! An answer that belongs to another request, or that something on the way made up, can look like the org's own. What it
//! says is believed only where it fits: one part for each that was sent, under its name; ids of the right form, with the
//! check letters and of the object that was asked for; rows that have the key, the id or the address that was looked for.
//! All else is no answer: the write waits and is looked up, and no id of it is noted.

use std::collections::HashSet;

use serde_json::{Map, Value};

use crate::model::order::Problem;
use crate::outbound::compose::FOUND;
use crate::outbound::shape::Shape;
use crate::salesforce::rest::PartResult;

/// The code of an answer that does not belong to what was asked.
pub const MISFIT: &str = "ANSWER_MISFIT";

/// A field and the values of which each row has one.
pub type Having<'a> = (&'a str, &'a [&'a str]);

/// Of an answer that is not to what was asked, and why.
pub fn misfit(what: &str) -> Problem {
    Problem::new(
        MISFIT,
        format!(
            "the answer does not fit what was asked ({what}): nothing of it is believed, and it is looked up and tried again; check proxies and caches on the way to the org"
        ),
    )
}

/// Holds the parts of an answer against those of the request.
pub fn parts(shape: &Shape, asked: &Value, results: &[PartResult]) -> Result<(), Problem> {
    let asked = asked.as_array().map(Vec::as_slice).unwrap_or_default();
    let is_done = |result: &PartResult| (200..300).contains(&result.status);
    if !results.iter().all(is_done) {
        let is_asked = |result: &&PartResult| asked.iter().any(|part| is_of(part, result));
        let other = results.iter().find(|result| !is_asked(result));
        let made = results
            .iter()
            .find(|result| is_done(result) && result.body["success"] == true);
        // All is done, or nothing.
        return match (other, made) {
            (Some(other), _) => Err(misfit(&format!("no part {} was sent", name(other)))),
            (None, Some(made)) => Err(misfit(&format!("{} is done beside one that failed", name(made)))),
            (None, None) => Ok(()),
        };
    }
    if results.len() != asked.len() {
        let (came, sent) = (results.len(), asked.len());
        return Err(misfit(&format!("{came} parts came for {sent} that were sent")));
    }
    let mut made = HashSet::new();
    for part in asked {
        let mut own = results.iter().filter(|result| is_of(part, result));
        let reference = part["referenceId"].as_str().unwrap_or_default();
        let (Some(result), None) = (own.next(), own.next()) else {
            return Err(misfit(&format!("it has not one part {reference}")));
        };
        if !is_status_of(part["method"].as_str(), result.status) {
            let status = result.status;
            return Err(misfit(&format!("{reference} has the status {status}")));
        }
        let told = told(shape, part, &result.body).map_err(|what| misfit(&format!("{reference}: {what}")))?;
        if let Some(id) = told
            && !made.insert(id)
        {
            return Err(misfit(&format!("{reference}: two records have the id {id}")));
        }
    }
    Ok(())
}

/// The records that parts made, with their objects.
pub fn made<'a>(asked: &'a Value, results: &'a [PartResult]) -> impl Iterator<Item = (&'a str, &'a str)> {
    let posted = asked
        .as_array()
        .into_iter()
        .flatten()
        .filter(|part| part["method"] == "POST");
    posted.filter_map(|part| {
        let object = part["url"].as_str()?.rsplit_once("/sobjects/")?.1;
        let own = results.iter().find(|result| is_of(part, result))?;
        Some((object, own.body["id"].as_str()?))
    })
}

fn name(result: &PartResult) -> &str {
    result.reference.as_deref().unwrap_or("without a name")
}

fn is_of(part: &Value, result: &PartResult) -> bool {
    result.reference.is_some() && result.reference.as_deref() == part["referenceId"].as_str()
}

/// Whether the org answers a part of this method so that it has done.
fn is_status_of(method: Option<&str>, status: u16) -> bool {
    match method {
        Some("POST") => status == 201,
        Some("GET") => status == 200,
        _ => matches!(status, 200 | 201 | 204),
    }
}

/// The id of the record that a part made; an error where what it tells is not of what was asked.
fn told<'b>(shape: &Shape, part: &Value, body: &'b Value) -> Result<Option<&'b str>, String> {
    let url = part["url"].as_str().unwrap_or_default();
    if part["referenceId"] == FOUND {
        let id = body.pointer("/records/0/Id").and_then(Value::as_str);
        return id.map_or(Ok(None), |id| held(shape, id, "Order").map(|()| None));
    }
    let path = url.split_once('?').map_or(url, |(path, _)| path);
    let Some((_, path)) = path.split_once("/sobjects/") else {
        return Ok(None);
    };
    let mut segments = path.split('/');
    let object = segments.next().unwrap_or_default();
    let (field, key) = (segments.next(), segments.next());
    let id = body.get("id").or_else(|| body.get("Id"));
    let is_whole = body["success"] == true && body["errors"].as_array().is_none_or(Vec::is_empty);
    match (part["method"].as_str(), id.and_then(Value::as_str)) {
        (Some("POST"), None) => Err("it tells no id".to_owned()),
        (Some("POST"), Some(_)) if !is_whole => Err("it is not done".to_owned()),
        // The org tells all 18 characters, with the check letters.
        (Some("POST"), Some(id)) if id.len() != 18 => Err(format!("{id} is no whole id")),
        (Some("POST"), Some(id)) => held(shape, id, object).map(|()| Some(id)),
        (_, Some(id)) => {
            held(shape, id, object)?;
            match field.filter(|asked| key.is_none() && !asked.starts_with('@')) {
                Some(asked) if !is_same("Id", asked, id) => Err(format!("{id} is not {asked}")),
                _ => Ok(None),
            }
        }
        (_, None) => Ok(None),
    }
}

fn held(shape: &Shape, id: &str, object: &str) -> Result<(), String> {
    match shape.is_id_of(id, object) {
        true => Ok(()),
        false => Err(format!("{id} is no id of {object}")),
    }
}

/// Holds the rows of an object against what was looked for.
pub fn rows(
    shape: &Shape,
    object: &str,
    having: &[Having<'_>],
    rows: &[Map<String, Value>],
) -> Result<(), Problem> {
    let mut seen = HashSet::new();
    for row in rows {
        let text = |field: &str| row.get(field).and_then(Value::as_str);
        let id = text("Id").unwrap_or_default();
        held(shape, id, object).map_err(|what| misfit(&what))?;
        let address = row.get("attributes").and_then(|about| about["url"].as_str());
        if let Some((_, of)) = address.and_then(|address| address.rsplit_once('/'))
            && !is_same("Id", of, id)
        {
            return Err(misfit(&format!("{object} {id} is at the address of {of}")));
        }
        if !seen.insert(id) {
            return Err(misfit(&format!("{object} {id} came twice")));
        }
        for (field, of) in [("AccountId", "Account"), ("MasterRecordId", object)] {
            if let Some(other) = text(field) {
                held(shape, other, of).map_err(|what| misfit(&what))?;
            }
        }
        for (field, values) in having {
            let there = text(field).unwrap_or_default();
            if !values.iter().any(|value| is_same(field, value, there)) {
                return Err(misfit(&format!("{object} {id} has another {field}")));
            }
        }
    }
    Ok(())
}

/// Ids have 15 significant characters. The org compares texts without regard to case.
fn is_same(field: &str, one: &str, other: &str) -> bool {
    if field.ends_with("Id") && one.len() >= 15 && other.len() >= 15 {
        return one.as_bytes()[..15] == other.as_bytes()[..15];
    }
    let folded = |text: &str| text.trim().to_uppercase().to_lowercase();
    folded(one) == folded(other)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::salesforce::describe::{Describe, Field};
    use serde_json::json;

    const ORDER: &str = "801Sb0000000001IAA";
    const ITEM: &str = "802Sb0000000001IAA";
    const CONTACT: &str = "003Sb0000000001IAA";

    /// Objects with a key, of an org that tells no more of them.
    fn plain() -> Shape {
        let key = Field {
            name: "External_ID__c".to_owned(),
            kind: "string".to_owned(),
            external_id: true,
            unique: true,
            createable: true,
            ..Field::default()
        };
        let describe = |object: &str| Describe {
            name: object.to_owned(),
            label: object.to_owned(),
            key_prefix: None,
            queryable: true,
            createable: true,
            updateable: true,
            record_types: Vec::new(),
            fields: vec![key.clone()],
        };
        let [order, account, contact, item] = ["Order", "Account", "Contact", "OrderItem"].map(describe);
        Shape::of(&order, &account, &contact, &item, None).unwrap()
    }

    fn result(reference: &str, status: u16, body: Value) -> PartResult {
        PartResult {
            reference: Some(reference.to_owned()),
            status,
            body,
        }
    }

    fn asked() -> Value {
        json!([
            {"method": "PATCH", "url": format!("/v/sobjects/Contact/{CONTACT}"), "referenceId": "contact"},
            {"method": "POST", "url": "/v/sobjects/Order", "referenceId": "record"},
            {"method": "POST", "url": "/v/sobjects/OrderItem", "referenceId": "item0"},
        ])
    }

    #[test]
    fn a_part_is_done_by_its_status_and_its_word() {
        let told = |word: Value| {
            let mut body = json!({"id": ORDER, "success": true});
            for (name, value) in word.as_object().unwrap() {
                body[name] = value.clone();
            }
            body
        };
        for (contact, order, body, fits) in [
            (204, 201, json!({}), true),
            (200, 201, json!({"errors": []}), true),
            (204, 200, json!({}), false),
            (204, 202, json!({}), false),
            (204, 299, json!({}), false),
            (206, 201, json!({}), false),
            (204, 201, json!({"success": null}), false),
            (204, 201, json!({"success": false}), false),
            (204, 201, json!({"success": "true"}), false),
            (204, 201, json!({"errors": [{"message": "x"}]}), false),
            (204, 201, json!({"id": null}), false),
        ] {
            let results = [
                result("contact", contact, Value::Null),
                result("record", order, told(body.clone())),
                result("item0", 201, json!({"id": ITEM, "success": true})),
            ];
            let held = parts(&plain(), &asked(), &results);
            assert_eq!(held.is_ok(), fits, "{contact} {order} {body}: {held:?}");
        }
    }

    #[test]
    fn parts_are_those_that_were_sent_with_ids_of_their_objects() {
        let made = |id: &str| json!({"id": id, "success": true});
        let contact = || result("contact", 204, Value::Null);
        let record = |id: &str| result("record", 201, made(id));
        let item = |id: &str| result("item0", 201, made(id));
        for (results, fits) in [
            (vec![contact(), record(ORDER), item(ITEM)], true),
            (vec![item(ITEM), contact(), record(ORDER)], true),
            // Of another object, swapped, without its check letters, no id.
            (vec![contact(), record("001Sb0000000001IAA"), item(ITEM)], false),
            (vec![contact(), record(ITEM), item(ORDER)], false),
            (vec![contact(), record("801Sb0000000001IAB"), item(ITEM)], false),
            (vec![contact(), record("zzz"), item(ITEM)], false),
            // Too few, too many, one twice, one of another name.
            (vec![contact(), record(ORDER)], false),
            (vec![contact(), record(ORDER), item(ITEM), item(ITEM)], false),
            (vec![contact(), record(ORDER), record(ORDER)], false),
            (
                vec![contact(), record(ORDER), result("item1", 201, made(ITEM))],
                false,
            ),
            // What is changed by its id is that one.
            (
                vec![
                    result("contact", 200, made("003Sb0000000002IAA")),
                    record(ORDER),
                    item(ITEM),
                ],
                false,
            ),
            (vec![contact(), record(&ORDER[..15]), item(ITEM)], false),
            // A record is not made where another part failed.
            (vec![record(ORDER), result("item0", 400, json!([]))], false),
            (vec![contact(), result("item0", 400, json!([]))], true),
            // A refusal is one of a part that was sent.
            (vec![result("record", 400, json!([]))], true),
            (vec![result("other", 400, json!([]))], false),
        ] {
            let held = parts(&plain(), &asked(), &results);
            assert_eq!(held.is_ok(), fits, "{results:?}: {held:?}");
        }
    }

    #[test]
    fn two_records_are_not_one() {
        let asked = json!([
            {"method": "POST", "url": "/v/sobjects/OrderItem", "referenceId": "item0"},
            {"method": "POST", "url": "/v/sobjects/OrderItem", "referenceId": "item1"},
        ]);
        let results = ["item0", "item1"].map(|name| result(name, 201, json!({"id": ITEM, "success": true})));
        assert!(parts(&plain(), &asked, &results).is_err());
    }

    #[test]
    fn rows_have_what_was_looked_for() {
        let account = "001Sb0000000001IAA";
        for (row, fits) in [
            (json!({"Id": CONTACT, "Email": "A@b.example"}), true),
            (
                json!({"Id": CONTACT, "Email": "a@b.example", "AccountId": account}),
                true,
            ),
            (
                json!({"Id": CONTACT, "Email": "a@b.example", "AccountId": null}),
                true,
            ),
            (
                json!({"Id": CONTACT, "Email": "a@b.example", "attributes": {"url": format!("/v/sobjects/Contact/{CONTACT}")}}),
                true,
            ),
            (
                json!({"Id": CONTACT, "Email": "a@b.example", "attributes": {"url": "/v/sobjects/Contact/003Sb0000000002IAA"}}),
                false,
            ),
            (json!({"Id": account, "Email": "a@b.example"}), false),
            (json!({"Id": "zzz", "Email": "a@b.example"}), false),
            (json!({"Email": "a@b.example"}), false),
            (json!({"Id": CONTACT, "Email": "c@d.example"}), false),
            (json!({"Id": CONTACT}), false),
            (
                json!({"Id": CONTACT, "Email": "a@b.example", "AccountId": CONTACT}),
                false,
            ),
            (
                json!({"Id": CONTACT, "Email": "a@b.example", "MasterRecordId": account}),
                false,
            ),
        ] {
            let one = row.as_object().unwrap().clone();
            let held = rows(&plain(), "Contact", &[("Email", &["a@B.example"])], &[one]);
            assert_eq!(held.is_ok(), fits, "{row}: {held:?}");
        }
    }
}
