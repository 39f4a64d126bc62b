//! Requests without a key of their own that may arrive late.
//!
//! A request that makes a record under a key fails when it arrives a second time. One that only sets values is done
//! again by the org whenever it arrives, over whatever was written since. So when its answer never came, it and
//! its lane are held for as long as a request can be on its way; then the org is asked what it has, and only then is it
//! sent again, unless someone else changed the record meanwhile.

use std::collections::HashMap;

use serde_json::{Map, Value, json};

use super::{Delivery, Trouble};
use crate::model::order::Problem;
use crate::outbound::compose::{FOUND, RECORD, Request};
use crate::outbound::meant::{self, STAMPS, Target};
use crate::outbound::outcome::{self, Verdict};
use crate::outbound::schedule;
use crate::salesforce::rest::Scope;
use crate::salesforce::soql::literal;

impl Delivery<'_> {
    /// Why a request whose end is not known is neither looked up nor sent again yet. `code` is of what happened to it.
    pub(super) fn held(code: &str) -> Trouble {
        let problem = Problem::new(
            crate::store::outbox::ANSWER_AWAITED,
            format!(
                "its answer never came ({code}) and it may still arrive: it is looked up {} s later, and what follows it waits",
                schedule::hold().as_secs()
            ),
        );
        Trouble::sending(Verdict::Hold { problem })
    }

    /// Holds a request that was on its way when the process before this one ended.
    pub(super) fn hold_interrupted(&mut self) -> Result<(), Trouble> {
        if !self.claimed.is_interrupted {
            return Ok(());
        }
        let began_at = self.claimed.unanswered_at;
        self.exchange.unanswered_at = began_at.map(|at| self.org.as_org_time(at));
        Err(Self::held("INTERRUPTED"))
    }

    /// The id of the record, where the org has all that the request was to set.
    pub(super) async fn as_meant(&mut self, request: &Request) -> Result<Option<String>, Trouble> {
        let parts = request.json();
        let mut ids = HashMap::new();
        let mut all_there = true;
        for part in parts.as_array().into_iter().flatten() {
            if part["referenceId"] == FOUND {
                continue;
            }
            let Some(target) = meant::target(part) else {
                return Ok(None);
            };
            let Some(record) = self.record_of(&parts, &target).await? else {
                all_there = false;
                continue;
            };
            let id = record.get("Id").and_then(Value::as_str).unwrap_or_default();
            ids.insert(target.reference, id.to_owned());
            if !meant::holds(target.values, &record, &ids) {
                self.unless_changed(target.object, &record).await?;
                all_there = false;
            }
        }
        Ok(if all_there { ids.remove(RECORD) } else { None })
    }

    /// The record that a part sets values of, as the org has it.
    async fn record_of(
        &mut self,
        parts: &Value,
        target: &Target<'_>,
    ) -> Result<Option<Map<String, Value>>, Trouble> {
        let set = target.values.iter().filter(|(_, value)| !value.is_object());
        let set = set.map(|(field, _)| field.as_str());
        let fields: Vec<&str> = STAMPS.into_iter().chain(set).collect();
        let key = percent_encoding::percent_decode_str(target.key).decode_utf8_lossy();
        let asked = json!({"object": target.object, "key": key});
        let condition = match (target.field, meant::asked_before(parts)) {
            ("Id", Some(condition)) if target.key.starts_with("@{") => condition,
            ("Id", _) => format!("Id = {}", literal(&key)),
            (field, _) => {
                let found = self.org.by_external_id(target.object, field, &key, &fields).await;
                return self.looked(&asked, found, field);
            }
        };
        let soql = format!(
            "SELECT {} FROM {} WHERE {condition}",
            fields.join(", "),
            target.object
        );
        let page = self.org.query(&soql, Scope::Live).await;
        let page = self.looked(&asked, page, target.field)?;
        Ok(page.records.into_iter().next())
    }

    /// A record that someone changed since the request left is theirs: it is a person's matter.
    pub(super) async fn unless_changed(
        &mut self,
        object: &str,
        record: &Map<String, Value>,
    ) -> Result<(), Trouble> {
        let Some(since) = self.claimed.unanswered_at else {
            return Ok(());
        };
        let session = self.org.session().await;
        let session = session.map_err(|error| Trouble {
            verdict: outcome::of_error(&error, ""),
            looking: true,
        })?;
        if !meant::is_changed_since(record, since, &session.user_id) {
            return Ok(());
        }
        let id = record.get("Id").and_then(Value::as_str).unwrap_or_default();
        Err(Trouble::refused(Problem::new(
            "CHANGED_MEANWHILE",
            format!(
                "its answer never came, and another user has changed {object} {id} since: compare the two, then retry to write over it, or discard this one"
            ),
        )))
    }
}
