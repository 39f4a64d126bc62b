//! Changes of a write that a person makes before it is sent again. Pure.
//!
//! An edit is a JSON merge patch (RFC 7396) over what is kept: members that are given take the place of those
//! that are there, null takes one away, lists are replaced whole. One thing is added: an object of indexes changes
//! members of a list, `{"lines": {"0": {"quantity": "2"}}}`. The result has to be a write that could have
//! been accepted, under the same key, of the same store and at the same prices.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::model::order::card;
use crate::model::write::{Kind, Write, check};

/// One value that an edit changed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Change {
    /// `customer.email`, `lines[0].quantity`
    pub path: String,
    pub from: Value,
    pub to: Value,
}

/// What an edit leaves as it is: whose the write is, and what its prices mean.
const FIXED: [&str; 5] = ["external_id", "store_id", "order", "pricebook_id", "currency"];

/// The write after the edit, and what is different. The error is one sentence.
pub fn edit(kind: Kind, body: &str, patch: &Value) -> Result<(Write, Vec<Change>), String> {
    if let Some(path) = card::find(patch) {
        return Err(format!("{path} holds a card number: card data is never taken"));
    }
    let before: Value =
        serde_json::from_str(body).map_err(|error| format!("what is kept cannot be read ({error})"))?;
    let mut after = before.clone();
    if !patch.is_object() {
        return Err("an edit is a JSON object of the members to change".to_owned());
    }
    in_lists("", &before, patch)?;
    merge(&mut after, patch);
    for fixed in FIXED {
        if before.get(fixed) != after.get(fixed) {
            return Err(format!(
                "{fixed} cannot be changed: discard this write and send another in its place"
            ));
        }
    }
    let write = Write::from_json(kind, &after.to_string())
        .map_err(|error| format!("that would be no {} any more ({error})", kind.name()))?;
    // Compared as it is understood, so that a member nobody knows is told instead of dropped.
    let kept: Value = write
        .to_json()
        .and_then(|text| serde_json::from_str(&text))
        .map_err(|error| error.to_string())?;
    let mut lost = Vec::new();
    differences("", &without_nulls(after), &without_nulls(kept), &mut lost);
    if let Some(change) = lost.iter().find(|change| change.to.is_null()) {
        return Err(format!(
            "there is no {} in a write of this kind: see what `show` prints",
            change.path
        ));
    }
    let mut changes = Vec::new();
    let after: Value = serde_json::from_str(&write.to_json().map_err(|error| error.to_string())?)
        .map_err(|error| error.to_string())?;
    differences(
        "",
        &without_nulls(before.clone()),
        &without_nulls(after.clone()),
        &mut changes,
    );
    if let Err(invalid) = check::kept(kind, &after) {
        let field = &invalid.field;
        // What was wrong before, and is left as it was, is not this edit's.
        let is_touched = |change: &Change| change.path.starts_with(field) || field.starts_with(&change.path);
        if changes.iter().any(is_touched) || check::kept(kind, &before).as_ref() != Err(&invalid) {
            return Err(format!("{field} {}", invalid.message));
        }
    }
    Ok((write, changes))
}

/// Most members on the way to a value: a body of a write has fewer.
const DEPTH_MAX: usize = 16;

/// Sets `path` in a merge patch: `customer.email`, `lines[0].quantity`, `lines.0.quantity`. The error is one sentence.
pub fn set(patch: &mut Value, path: &str, value: Value) -> Result<(), String> {
    let plain = path.replace('[', ".").replace(']', "");
    if plain.split('.').count() > DEPTH_MAX {
        return Err(format!(
            "a path has at most {DEPTH_MAX} members: see what `show` prints"
        ));
    }
    set_member(patch, &plain, value);
    Ok(())
}

fn set_member(patch: &mut Value, path: &str, value: Value) {
    if !patch.is_object() {
        *patch = Value::Object(Map::new());
    }
    match path.split_once('.') {
        Some((first, rest)) => set_member(&mut patch[first], rest, value),
        None => patch[path] = value,
    }
}

fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        target.clone_from(patch);
        return;
    };
    if let Value::Array(list) = target
        && merge_by_index(list, patch)
    {
        return;
    }
    if !target.is_object() {
        *target = Value::Object(Map::new());
    }
    let Value::Object(members) = target else { return };
    for (name, value) in patch {
        if value.is_null() {
            members.shift_remove(name);
        } else {
            merge(members.entry(name.clone()).or_insert(Value::Null), value);
        }
    }
}

/// Refuses a patch that names members of a list that are not there.
fn in_lists(path: &str, there: &Value, patch: &Value) -> Result<(), String> {
    let Value::Object(patch) = patch else {
        return Ok(());
    };
    for (name, value) in patch {
        let (path, there) = match there {
            Value::Array(list) => {
                let member = name.parse().ok().and_then(|index: usize| list.get(index));
                let Some(member) = member else {
                    let last = list.len().saturating_sub(1);
                    return Err(format!(
                        "{path} has no member {name}: it has {} to change, 0 to {last}; to add one, give the whole list",
                        list.len()
                    ));
                };
                (format!("{path}[{name}]"), member)
            }
            there => {
                let path = if path.is_empty() {
                    name.clone()
                } else {
                    format!("{path}.{name}")
                };
                (path, there.get(name).unwrap_or(&Value::Null))
            }
        };
        in_lists(&path, there, value)?;
    }
    Ok(())
}

/// Changes members of a list where every name of the patch is the index of one, and says whether it did.
fn merge_by_index(list: &mut [Value], patch: &Map<String, Value>) -> bool {
    let index = |name: &String| name.parse().ok().filter(|index: &usize| *index < list.len());
    let Some(indexes) = patch.keys().map(index).collect::<Option<Vec<usize>>>() else {
        return false;
    };
    for (index, value) in indexes.into_iter().zip(patch.values()) {
        merge(&mut list[index], value);
    }
    true
}

/// A member that is null is a member that is not there.
fn without_nulls(value: Value) -> Value {
    match value {
        Value::Object(members) => members
            .into_iter()
            .filter(|(_, value)| !value.is_null())
            .map(|(name, value)| (name, without_nulls(value)))
            .filter(|(_, value)| value.as_object().is_none_or(|members| !members.is_empty()))
            .collect(),
        Value::Array(values) => values.into_iter().map(without_nulls).collect(),
        value => value,
    }
}

fn differences(path: &str, from: &Value, to: &Value, found: &mut Vec<Change>) {
    let nothing = Value::Null;
    match (from, to) {
        (Value::Object(before), Value::Object(after)) => {
            let names = before
                .keys()
                .chain(after.keys().filter(|name| !before.contains_key(*name)));
            for name in names {
                let path = if path.is_empty() {
                    name.clone()
                } else {
                    format!("{path}.{name}")
                };
                let value = |members: &Map<String, Value>| members.get(name).cloned().unwrap_or(Value::Null);
                differences(&path, &value(before), &value(after), found);
            }
        }
        (Value::Array(before), Value::Array(after)) => {
            for index in 0..before.len().max(after.len()) {
                let (from, to) = (before.get(index), after.get(index));
                let path = format!("{path}[{index}]");
                differences(&path, from.unwrap_or(&nothing), to.unwrap_or(&nothing), found);
            }
        }
        (from, to) if from != to => found.push(Change {
            path: path.to_owned(),
            from: from.clone(),
            to: to.clone(),
        }),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const ORDER: &str = r#"{"external_id":"WEB-1","store_id":"a00","pricebook_id":"01s","currency":"AUD","effective_date":"2026-11-22",
        "customer":{"external_id":"C-7","email":"ana@old.example","first_name":null,"last_name":"Lee","phone":null},
        "shipping_address":null,"billing_address":null,
        "lines":[{"pricebook_entry_id":"01u","quantity":"2","unit_price":"19.9","fields":{}}],"fields":{"Note__c":"x"}}"#;

    fn edited(patch: &Value) -> Result<Vec<Change>, String> {
        edit(Kind::Order, ORDER, patch).map(|(_, changes)| changes)
    }

    #[test]
    fn says_what_it_changes() {
        let change = |path: &str, from: Value, to: Value| Change {
            path: path.to_owned(),
            from,
            to,
        };
        for (patch, expected) in [
            (
                json!({"customer": {"email": "ana@example.com"}}),
                change(
                    "customer.email",
                    json!("ana@old.example"),
                    json!("ana@example.com"),
                ),
            ),
            (
                json!({"fields": {"Note__c": null}}),
                change("fields", json!({"Note__c": "x"}), Value::Null),
            ),
            (
                json!({"lines": [{"pricebook_entry_id": "01u", "quantity": "3", "unit_price": "19.90"}]}),
                change("lines[0].quantity", json!("2"), json!("3")),
            ),
            (
                json!({"lines": {"0": {"quantity": "3"}}}),
                change("lines[0].quantity", json!("2"), json!("3")),
            ),
        ] {
            assert_eq!(edited(&patch).unwrap(), [expected]);
        }
        assert_eq!(edited(&json!({})).unwrap(), []);
    }

    #[test]
    fn a_path_may_name_a_member_of_a_list() {
        for path in ["lines[0].quantity", "lines.0.quantity"] {
            let mut patch = json!({});
            set(&mut patch, path, json!("3")).unwrap();
            assert_eq!(patch, json!({"lines": {"0": {"quantity": "3"}}}), "{path}");
        }
        let deep = vec!["a"; 5_000].join(".");
        assert!(set(&mut json!({}), &deep, Value::Null).is_err());
    }

    #[test]
    fn refuses_what_could_not_have_been_accepted() {
        for (patch, word) in [
            (json!({"external_id": "WEB-2"}), "external_id cannot"),
            (json!({"store_id": "a01"}), "store_id cannot"),
            (json!({"pricebook_id": "01t"}), "pricebook_id cannot"),
            (json!({"currency": "USD"}), "currency cannot"),
            (
                json!({"customer": {"email": "a@localhost"}}),
                "customer.email is not",
            ),
            (
                json!({"lines": {"1": {"quantity": "3"}}}),
                "lines has no member 1",
            ),
            (
                json!({"lines": {"0": {"quantity": "0"}}}),
                "lines[0].quantity must be",
            ),
            (json!({"lines": null}), "no order any more"),
            (
                json!({"lines": {"0": {"unit_price": "-5"}}}),
                "lines[0].unit_price must be a decimal",
            ),
            (
                json!({"lines": {"0": {"unit_price": "-5"}}, "savings": [{"amount": "5", "is_line": false}]}),
                "lines[0].unit_price must be a decimal",
            ),
            (
                json!({"shipment": {"amount": "-1"}}),
                "shipment.amount must be a decimal",
            ),
            (
                json!({"savings": [{"amount": "-1"}]}),
                "savings[0].amount must be a decimal",
            ),
            (json!({"colour": "red"}), "no colour"),
            (json!({"customer": {"nickname": "A"}}), "no customer.nickname"),
            (
                json!({"fields": {"Note__c": "4111 1111 1111 1111"}}),
                "card number",
            ),
            (json!({"customer": {"email": "bob"}}), "customer.email is not"),
            (
                json!({"customer": {"external_id": "C\n7"}}),
                "customer.external_id must be one line",
            ),
            (
                json!({"customer": {"email": null, "external_id": null, "last_name": null}}),
                "customer needs",
            ),
            (json!({"effective_date": "soon"}), "effective_date must be a date"),
            (json!({"lines": []}), "lines is empty"),
            (
                json!({"lines": [{"pricebook_entry_id": "01u", "quantity": "0", "unit_price": "1"}]}),
                "lines[0].quantity must be",
            ),
            (
                json!({"fields": {"Note__c": "x".repeat(4_001)}}),
                "fields.Note__c has more",
            ),
            (json!([]), "JSON object"),
        ] {
            let refusal = edited(&patch).unwrap_err();
            assert!(refusal.contains(word), "{patch}: {refusal}");
        }
    }

    #[test]
    fn a_line_that_stands_for_a_discount_takes_off() {
        let mut order: Value = serde_json::from_str(ORDER).unwrap();
        order["savings"] = json!([{"amount": "5", "is_line": true}]);
        let line = json!({"pricebook_entry_id": "01v", "quantity": "1", "unit_price": "-5", "fields": {}});
        order["lines"].as_array_mut().unwrap().push(line);
        let edited = |patch: &Value| edit(Kind::Order, &order.to_string(), patch).map(drop);
        let city = json!({"shipping_address": {"city": "Bath"}});
        assert_eq!(edited(&city), Ok(()));
        assert_eq!(edited(&json!({"lines": {"1": {"unit_price": "-4"}}})), Ok(()));
        for (index, price) in [("0", "-5"), ("1", "5")] {
            let refused = edited(&json!({"lines": {index: {"unit_price": price}}})).unwrap_err();
            assert!(
                refused.starts_with(&format!("lines[{index}].unit_price must")),
                "{refused}"
            );
        }
    }

    #[test]
    fn other_writes_are_checked_as_they_were_when_they_came() {
        let case = r#"{"external_id":"K-1","store_id":"a00","values":{"subject":"Late"},"customer":{"email":"a@b.example"}}"#;
        let asset = r#"{"external_id":"A-1","store_id":"a00","values":{"name":"Drill","price":19.9},"customer":{"email":"a@b.example"}}"#;
        let change = r#"{"external_id":"E-1","store_id":"a00","named":"C-7","customer":{"external_id":"C-7","emptied":["phone"]},
            "shipping_address":{"country":"GB","emptied":["state"]}}"#;
        let update = r#"{"external_id":"U-1","store_id":"a00","order":"WEB-1","values":{"cancelled":true}}"#;
        for (kind, body, patch, word) in [
            (
                Kind::OrderUpdate,
                update,
                json!({"order": "WEB-2"}),
                "order cannot",
            ),
            (
                Kind::Case,
                case,
                json!({"values": {"subject": null}}),
                "values.subject is missing",
            ),
            (
                Kind::Case,
                case,
                json!({"customer": {"email": "x"}}),
                "customer.email is not",
            ),
            (
                Kind::Customer,
                change,
                json!({"shipping_address": {"emptied": ["planet"]}}),
                "shipping_address.emptied[0] must be one of street",
            ),
            (
                Kind::Asset,
                asset,
                json!({"values": {"price": -1}}),
                "values.price must be",
            ),
            (
                Kind::Asset,
                asset,
                json!({"values": {"purchase_date": "soon"}}),
                "values.purchase_date must be",
            ),
            (
                Kind::Asset,
                asset,
                json!({"values": {"product_id": "7"}}),
                "values.product_id must be",
            ),
        ] {
            let refusal = edit(kind, body, &patch).unwrap_err();
            assert!(refusal.contains(word), "{patch}: {refusal}");
        }
        let (_, changes) = edit(
            Kind::Customer,
            change,
            &json!({"shipping_address": {"city": "Bath"}}),
        )
        .unwrap();
        assert_eq!(changes[0].path, "shipping_address.city");
        let (_, changes) = edit(Kind::Asset, asset, &json!({"values": {"price": 20}})).unwrap();
        assert_eq!(changes[0].path, "values.price");
    }

    #[test]
    fn paths_make_a_patch() {
        let mut patch = Value::Null;
        set(&mut patch, "customer.email", json!("a@b.example")).unwrap();
        set(&mut patch, "customer.phone", Value::Null).unwrap();
        set(&mut patch, "currency", json!("EUR")).unwrap();
        assert_eq!(
            patch,
            json!({"customer": {"email": "a@b.example", "phone": null}, "currency": "EUR"})
        );
    }
}
