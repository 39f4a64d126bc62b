//! Fields that come and go while the org runs, and users who may not see all of them.
//!
//! - `POST /sandbox/schema`, one of
//!   - `{"add": {"object": "Account", "name": "Tier__c", "type": "Text 20", "words": "external unique",
//!     "picklist": [], "label": "Tier", "before": "Industry"}}`: `before` puts it in the middle of events; types and
//!     words are those of the sandbox's `objects.json` (`Currency 16,2`, `Reference Account`; `required`, `unique`,
//!     `external`, `formula`);
//!   - `{"remove": {"object": "Account", "name": "Tier__c"}}`;
//!   - `{"retype": {"object": "Account", "name": "Tier__c", "type": "Double 18,0"}}`: values that the new type can
//!     hold are kept and nothing is told; where one is lost, an event with a wildcard is.
//!   - `{"person_accounts": {}}`: accounts may be persons: an account that is made with a `LastName` is one, and has a
//!     contact that follows it.
//!
//!   - `{"order_statuses": {"statuses": [{"label": "Entwurf", "class": "Draft"}, {"label": "Aktiv", "class": "Activated"}]}}`:
//!     an order may have these and no others, and is made in one of the class Draft.
//!
//!   Describe, REST, SOQL and the schema id of events follow at once; old schema ids are still served.
//! - `POST /sandbox/users {"username": "shop@sandbox.example"}`: a user, answered with `id` and an `access_token`.
//! - `POST /sandbox/permissions {"user": "005...", "object": "Account", "hidden": ["Phone"], "read_only": ["Site"]}`:
//!   takes the place of what was set for the user and object; without `user` it is for the integration user.

use serde::Deserialize;
use serde_json::{Value as Json, json};

use super::super::App;
use super::super::answer::{Answer, Refusal, Reply};
use super::super::call::Call;
use super::changes::{identified, object_named};
use crate::org::{Manner, Origin, Record};
use crate::schema::change::{FieldChange, OrderStatus, Permissions};
use crate::value::RecordId;

fn refused(sentence: String) -> Refusal {
    Refusal::new(400, "INVALID_INPUT", sentence)
}

pub(super) fn change(app: &App, call: &Call) -> Answer {
    let change: FieldChange = call.parsed()?;
    app.org.change_schema(&change).map_err(refused)?;
    match &change {
        FieldChange::PersonAccounts {} => add_person_type(app)?,
        FieldChange::OrderStatuses { statuses } => replace_statuses(app, statuses)?,
        _ => {}
    }
    Ok(Reply::empty(204))
}

/// The rows that tell the class of each order status; the first is the default.
fn replace_statuses(app: &App, statuses: &[OrderStatus]) -> Result<(), Refusal> {
    let object = object_named(app, "OrderStatus")?;
    let old: Vec<RecordId> = app.org.read(|records| {
        records
            .all(object)
            .filter(|row| !row.deleted)
            .map(Record::id)
            .collect()
    });
    let origin = Origin {
        client: "sandbox".to_owned(),
        user: app.org.user_id(),
    };
    app.org.transact(&origin, |transaction| {
        transaction.set_manner(Manner {
            internal: true,
            ..Manner::default()
        });
        old.iter().try_for_each(|id| transaction.delete(object, *id))
    })?;
    for (at, status) in statuses.iter().enumerate() {
        let fields = json!({
            "ApiName": status.label, "MasterLabel": status.label, "StatusCode": status.class, "IsDefault": at == 0,
            "SortOrder": at + 1,
        });
        create_inside(app, "OrderStatus", &fields)?;
    }
    Ok(())
}

/// The record type that marks an account as a person.
fn add_person_type(app: &App) -> Result<(), Refusal> {
    let fields = json!({
        "Name": "Person Account", "DeveloperName": "PersonAccount", "SobjectType": "Account", "IsActive": true,
        "IsPersonType": true,
    });
    create_inside(app, "RecordType", &fields).map(drop)
}

/// Creates what only the platform itself can.
fn create_inside(app: &App, object: &str, fields: &Json) -> Result<RecordId, Refusal> {
    let origin = Origin {
        client: "sandbox".to_owned(),
        user: app.org.user_id(),
    };
    let object = object_named(app, object)?;
    app.org.transact(&origin, |transaction| {
        transaction.set_manner(Manner {
            internal: true,
            ..Manner::default()
        });
        let fields = fields
            .as_object()
            .ok_or_else(|| Refusal::parser("a record is a JSON object"))?;
        Ok(transaction.create(object, fields)?)
    })
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewUser {
    username: String,
}

pub(super) fn add_user(app: &App, call: &Call) -> Answer {
    let wanted: NewUser = call.parsed()?;
    let fields = json!({
        "Username": wanted.username, "LastName": wanted.username.split('@').next(), "Email": wanted.username,
        "Name": wanted.username.split('@').next(), "IsActive": true,
    });
    let id = create_inside(app, "User", &fields)?;
    let token = app.login.sessions.issue_for(id);
    let token = token.map_err(|error| Refusal::new(500, "UNKNOWN_EXCEPTION", error.to_string()))?;
    Ok(Reply::ok(json!({ "id": id.as_str(), "access_token": token })))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Permitted {
    user: Option<String>,
    object: String,
    #[serde(default)]
    hidden: Vec<String>,
    #[serde(default)]
    read_only: Vec<String>,
}

pub(super) fn permit(app: &App, call: &Call) -> Answer {
    let wanted: Permitted = call.parsed()?;
    let user = match &wanted.user {
        Some(user) => identified(app, user)?.1,
        None => app.org.user_id(),
    };
    object_named(app, &wanted.object)?;
    let permissions = Permissions {
        hidden: wanted.hidden,
        read_only: wanted.read_only,
    };
    app.org
        .permit(user, &wanted.object, permissions)
        .map_err(refused)?;
    Ok(Reply::empty(204))
}
