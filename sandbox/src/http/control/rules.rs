//! What administrators set up, and what they do that REST does not offer.
//!
//! - `POST /sandbox/rules` puts these in place of the rules before; all parts may be left out:
//!
//! ```json
//! {"validations": [{"object": "Order", "when": "PoNumber = null", "message": "A PO number is needed.", "field": "PoNumber"}],
//!  "growing": [{"object": "Order", "field": "Version__c", "message": "A later change is there."}],
//!  "duplicates": [{"object": "Contact", "name": "Same_Email", "fields": ["Email"], "allow_save": true}],
//!  "flows": [{"object": "Order", "when": "Type = null", "set": {"Type": "Online"}, "later": false}]}
//! ```
//!
//!   Conditions are SOQL's. A `growing` rule refuses a number that is lower than the one before it. A flow that runs `later` has a transaction, and events, of its own.
//! - `POST /sandbox/locks {"id": "001...", "hold_ms": 3000, "status": 400}`: writes that need the row, or a row that
//!   points at it, are refused with UNABLE_TO_LOCK_ROW for so long by the org's clock. `DELETE` releases all.
//! - `POST /sandbox/convert {"lead": "00Q...", "account": "001...", "status": "Closed - Converted"}` converts a lead
//!   to a contact of a new account, or of the one that is named. Answers `{"account", "contact"}`.
//! - `POST /sandbox/merge {"master": "003...", "loser": "003..."}` merges two accounts, contacts or leads.

use serde::Deserialize;
use serde_json::json;

use super::super::App;
use super::super::answer::{Answer, Refusal, Reply};
use super::super::call::Call;
use super::changes::identified;
use crate::org::Origin;
use crate::org::locks::Lock;
use crate::org::rules::Rules;

pub(super) fn set(app: &App, call: &Call) -> Result<(), Refusal> {
    let rules: Rules = call.parsed()?;
    let checked = rules.check(app.org.catalog(), app.org.clock().now());
    checked.map_err(|sentence| Refusal::new(400, "INVALID_INPUT", sentence))?;
    app.org.set(|settings| settings.rules = rules);
    Ok(())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Held {
    id: String,
    hold_ms: i64,
    #[serde(default = "bad_request")]
    status: u16,
}

fn bad_request() -> u16 {
    400
}

pub(super) fn lock(app: &App, call: &Call) -> Answer {
    let held: Held = call.parsed()?;
    let (_, id) = identified(app, &held.id)?;
    app.org.locks().hold(Lock {
        id,
        until: app.org.clock().now().saturating_add(held.hold_ms),
        status: held.status,
    });
    Ok(Reply::empty(204))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Conversion {
    lead: String,
    account: Option<String>,
    status: Option<String>,
}

pub(super) fn convert(app: &App, call: &Call) -> Answer {
    let wanted: Conversion = call.parsed()?;
    let (_, lead) = identified(app, &wanted.lead)?;
    let account = wanted.account.as_deref().map(|account| identified(app, account));
    let account = account.transpose()?.map(|(_, id)| id);
    let origin = Origin {
        client: "sandbox".to_owned(),
        user: app.org.user_id(),
    };
    let converted = app.org.transact(&origin, |transaction| {
        transaction.convert(lead, account, wanted.status.as_deref())
    })?;
    Ok(Reply::ok(json!({
        "account": converted.account.as_str(), "contact": converted.contact.as_str(),
    })))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Merge {
    master: String,
    loser: String,
}

pub(super) fn merge(app: &App, call: &Call) -> Answer {
    let wanted: Merge = call.parsed()?;
    let (object, master) = identified(app, &wanted.master)?;
    let (_, loser) = identified(app, &wanted.loser)?;
    let origin = Origin {
        client: "sandbox".to_owned(),
        user: app.org.user_id(),
    };
    app.org
        .transact(&origin, |transaction| transaction.merge(object, master, loser))?;
    Ok(Reply::empty(204))
}
