//! `composite/tree/X`: records and their children in one request, all created or none.
//!
//! Records are created level by level, parents before children, as the platform does. A level's failures are all
//! told; the levels below one that failed are not tried.

use std::collections::HashSet;

use serde_json::{Map, Value as Json, json};

use super::super::http::answer::{Answer, Refusal, Reply};
use super::super::http::call::Call;
use super::super::org::Transaction;
use super::super::rest::Caller;
use super::super::schema::{Catalog, Object};
use super::super::value::RecordId;

const RECORDS_MAX: usize = 200;
const LEVELS_MAX: usize = 5;
const TYPES_MAX: usize = 5;

/// A record to be created.
struct Node<'a> {
    reference: String,
    object: &'a Object,
    fields: Map<String, Json>,
    /// Its parent's place in the level above, and the lookup field that points there.
    parent: Option<(usize, usize)>,
}

/// A record of the next level, its object, and its place there as in [`Node`].
type Waiting<'a> = (Json, &'a Object, Option<(usize, usize)>);

pub fn answer(caller: &Caller<'_>, call: &Call, name: &str) -> Answer {
    let catalog = caller.app.org.catalog();
    let object = catalog.object(name).ok_or_else(Refusal::not_found)?;
    let levels = levels(catalog, object, call.json()?)?;
    let outcome = caller
        .app
        .org
        .transact(&caller.origin, |transaction| create(transaction, &levels));
    Ok(match outcome {
        Ok(results) => Reply::json(201, json!({ "hasErrors": false, "results": results })),
        Err(results) => Reply::json(400, json!({ "hasErrors": true, "results": results })),
    })
}

fn refused(message: impl Into<String>) -> Refusal {
    Refusal::new(400, "INVALID_INPUT", message)
}

/// The records of each level, parents before children.
fn levels<'a>(
    catalog: &'a Catalog,
    object: &'a Object,
    mut body: Json,
) -> Result<Vec<Vec<Node<'a>>>, Refusal> {
    let Json::Array(records) = body["records"].take() else {
        return Err(Refusal::parser("records is no JSON array"));
    };
    let mut waiting: Vec<Waiting<'_>> = records.into_iter().map(|record| (record, object, None)).collect();
    let mut levels = Vec::new();
    let (mut references, mut types) = (HashSet::new(), HashSet::new());
    while !waiting.is_empty() {
        if levels.len() == LEVELS_MAX {
            return Err(refused(format!("a tree has at most {LEVELS_MAX} levels")));
        }
        let mut level = Vec::with_capacity(waiting.len());
        let mut below = Vec::new();
        for (record, object, parent) in waiting {
            let node = node(object, record, parent)?;
            if !references.insert(node.reference.clone()) {
                return Err(refused(format!(
                    "Duplicate ReferenceId provided: {}",
                    node.reference
                )));
            }
            types.insert(object.index);
            level.push(node);
            let at = level.len() - 1;
            below.extend(children(catalog, &mut level[at], at)?);
        }
        if references.len() + below.len() > RECORDS_MAX || types.len() > TYPES_MAX {
            return Err(refused(format!(
                "a tree has at most {RECORDS_MAX} records of {TYPES_MAX} types"
            )));
        }
        levels.push(level);
        waiting = below;
    }
    Ok(levels)
}

fn node(object: &Object, record: Json, parent: Option<(usize, usize)>) -> Result<Node<'_>, Refusal> {
    let Json::Object(mut fields) = record else {
        return Err(Refusal::parser("a record is no JSON object"));
    };
    let attributes = fields.shift_remove("attributes").unwrap_or_default();
    let reference = attributes["referenceId"]
        .as_str()
        .ok_or_else(|| refused("Include a reference ID for each record in the request."))?;
    let kind = attributes["type"].as_str().unwrap_or_default();
    if !kind.eq_ignore_ascii_case(&object.name) {
        let message = format!(
            "the record {reference} is of type '{kind}' where {} belongs",
            object.name
        );
        return Err(refused(message));
    }
    Ok(Node {
        reference: reference.to_owned(),
        object,
        fields,
        parent,
    })
}

/// Takes the lists of children out of a node's fields.
fn children<'a>(catalog: &'a Catalog, node: &mut Node<'a>, at: usize) -> Result<Vec<Waiting<'a>>, Refusal> {
    let lists: Vec<String> = node
        .fields
        .iter()
        .filter(|(_, value)| value["records"].is_array())
        .map(|(name, _)| name.clone())
        .collect();
    let mut found = Vec::new();
    for name in lists {
        let (child, lookup) = catalog.child(node.object, &name).ok_or_else(|| {
            let message = format!(
                "No such relationship '{name}' on sobject of type {}",
                node.object.name
            );
            Refusal::new(400, "INVALID_FIELD", message)
        })?;
        let list = node.fields.shift_remove(&name).unwrap_or_default();
        let records = list["records"].as_array().cloned().unwrap_or_default();
        found.extend(
            records
                .into_iter()
                .map(|record| (record, child, Some((at, lookup)))),
        );
    }
    Ok(found)
}

/// The results of all records, or those of the records that failed.
fn create(transaction: &mut Transaction<'_>, levels: &[Vec<Node<'_>>]) -> Result<Vec<Json>, Vec<Json>> {
    let mut above: Vec<RecordId> = Vec::new();
    let mut results = Vec::new();
    for level in levels {
        let mut ids = Vec::with_capacity(level.len());
        let mut failures = Vec::new();
        for node in level {
            let mut fields = node.fields.clone();
            if let Some((parent, lookup)) = node.parent
                && let Some(id) = above.get(parent)
            {
                fields.insert(node.object.fields[lookup].name.clone(), Json::from(id.as_str()));
            }
            match transaction.create(node.object.index, &fields) {
                Ok(id) => {
                    results.push(json!({ "referenceId": node.reference, "id": id.as_str() }));
                    ids.push(id);
                }
                Err(errors) => {
                    let errors = Refusal::from(errors).collection_errors();
                    failures.push(json!({ "referenceId": node.reference, "errors": errors }));
                }
            }
        }
        if !failures.is_empty() {
            return Err(failures);
        }
        above = ids;
    }
    Ok(results)
}
