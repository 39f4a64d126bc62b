//! `POST /sandbox/changes`: one transaction, made and told as the platform's insides do it.
//!
//! ```json
//! {"told": "gaps", "stamps": "system", "internal": true,
//!  "create": [{"attributes": {"type": "Account"}, "Name": "Ana"}],
//!  "update": [{"attributes": {"type": "Account"}, "Id": "001...", "ShippingLatitude": -42.8}],
//!  "delete": ["001..."], "undelete": ["001..."], "hard_delete": ["001..."],
//!  "announce": ["Product2"]}
//! ```
//!
//! - `told`: how subscribers learn of it. `events` (the default), `gaps` (GAP_CREATE and its like, without values),
//!   `overflow` (one GAP_OVERFLOW per object), `wildcard` (one event per object that names `001*`: a field
//!   conversion that lost data) or `silently` (no event: clean-ups, setup changes).
//! - `stamps`: `all` (the default), `system` (SystemModstamp alone: geocoding) or `none`.
//! - `internal`: events name no origin, and read-only fields can be set.
//! - `hard_delete` takes rows out of the recycle bin, or out of sight at once; the former makes no event.
//! - `began_ms_ago`: the transaction began so long ago, and stamps are of then; it commits now.
//! - `announce`: objects told of by `overflow` or `wildcard` though none of their rows is written.
//!
//! Everything may be left out. All of it happens, or none: a refusal is answered as REST answers it. The answer is
//! `{"created": ["001..."]}`. The org's own rules (required fields, orders, unique keys) hold here too.

use serde::Deserialize;
use serde_json::{Value as Json, json};

use super::super::App;
use super::super::answer::{Answer, Refusal, Reply};
use super::super::call::Call;
use crate::org::{Manner, Origin, Stamps, Told, Transaction};
use crate::value::RecordId;

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
#[derive(Default)]
struct Changes {
    told: Told,
    stamps: Stamps,
    internal: bool,
    began_ms_ago: i64,
    create: Vec<Json>,
    update: Vec<Json>,
    delete: Vec<String>,
    undelete: Vec<String>,
    hard_delete: Vec<String>,
    announce: Vec<String>,
}

pub(super) fn make(app: &App, call: &Call) -> Answer {
    let changes: Changes = call.parsed()?;
    let origin = Origin {
        client: "sandbox".to_owned(),
        user: app.org.user_id(),
    };
    let created = app.org.transact(&origin, |transaction| {
        transaction.set_manner(Manner {
            told: changes.told,
            stamps: changes.stamps,
            internal: changes.internal,
        });
        transaction.began_ago(changes.began_ms_ago);
        apply(app, transaction, changes)
    })?;
    Ok(Reply::ok(json!({ "created": created })))
}

fn apply(app: &App, transaction: &mut Transaction<'_>, changes: Changes) -> Result<Vec<String>, Refusal> {
    for name in &changes.announce {
        transaction.announce(object_named(app, name)?);
    }
    let mut created = Vec::new();
    for record in changes.create {
        let (object, fields) = typed(app, record)?;
        created.push(transaction.create(object, &fields)?.to_string());
    }
    for record in changes.update {
        let (object, mut fields) = typed(app, record)?;
        let id = fields.shift_remove("Id");
        let (_, id) = identified(app, id.as_ref().and_then(Json::as_str).unwrap_or_default())?;
        transaction.update(object, id, &fields)?;
    }
    for id in &changes.delete {
        let (object, id) = identified(app, id)?;
        transaction.delete(object, id)?;
    }
    for id in &changes.undelete {
        let (object, id) = identified(app, id)?;
        transaction.undelete(object, id)?;
    }
    for id in &changes.hard_delete {
        let (object, id) = identified(app, id)?;
        transaction.hard_delete(object, id)?;
    }
    Ok(created)
}

fn typed(app: &App, record: Json) -> Result<(usize, serde_json::Map<String, Json>), Refusal> {
    let name = record["attributes"]["type"]
        .as_str()
        .unwrap_or_default()
        .to_owned();
    let Json::Object(mut fields) = record else {
        return Err(Refusal::parser("a record is no JSON object"));
    };
    fields.shift_remove("attributes");
    Ok((object_named(app, &name)?, fields))
}

/// The position of an object of this name.
pub(super) fn object_named(app: &App, name: &str) -> Result<usize, Refusal> {
    let object = app.org.catalog().object(name).map(|object| object.index);
    object.ok_or_else(|| {
        Refusal::new(
            400,
            "INVALID_TYPE",
            format!("sObject type '{name}' is not supported."),
        )
    })
}

/// A record id with the position of its object.
pub(super) fn identified(app: &App, text: &str) -> Result<(usize, RecordId), Refusal> {
    let id = RecordId::parse(text);
    let known = id.and_then(|id| {
        app.org
            .catalog()
            .by_prefix(id.prefix())
            .map(|object| (object.index, id))
    });
    known.ok_or_else(|| Refusal::new(400, "MALFORMED_ID", format!("malformed id {text}")))
}
