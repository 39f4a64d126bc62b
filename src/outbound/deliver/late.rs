//! Requests without a key of their own that may arrive late.
//!
//! A request that makes a record under a key fails when it arrives a second time. One that only sets values is done
//! again by the org whenever it arrives, over whatever was written since. So when its answer never came, it and
//! its lane are held for as long as a request can be on its way; then the org is asked what it has, and it is sent again
//! only where the records show that it never arrived ([`meant`]).

use std::collections::HashMap;

use serde_json::{Map, Value, json};

use super::{Delivery, Trouble};
use crate::model::order::Problem;
use crate::outbound::compose::{FOUND, RECORD, Request};
use crate::outbound::meant::{self, STAMPS, Settled, Target, Writer};
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

    /// The id of the record, where the org has done what the request was to do.
    pub(super) async fn as_meant(&mut self, request: &Request) -> Result<Option<String>, Trouble> {
        let parts = request.json();
        let (mut ids, mut writers, mut differs) = (HashMap::new(), Vec::new(), None);
        for part in parts.as_array().into_iter().flatten() {
            if part["referenceId"] == FOUND {
                continue;
            }
            let Some(target) = meant::target(part) else {
                return Ok(None);
            };
            let Some(record) = self.record_of(&parts, &target).await? else {
                writers.push(Writer::Nobody);
                continue;
            };
            let id = id_of(&record);
            ids.insert(target.reference, id.clone());
            if !meant::holds(target.values, &record, &ids) {
                let writer = self.writer_of(&record).await?;
                if writer != Writer::Nobody {
                    differs = Some(format!("{} {id}", target.object));
                }
                writers.push(writer);
            }
        }
        match meant::settled(&writers) {
            Settled::Done => Ok(ids.remove(RECORD)),
            Settled::NeverArrived => Ok(None),
            Settled::Unknown => Err(changed_meanwhile(&differs.unwrap_or_default())),
        }
    }

    /// The record that a part sets values of, as the org has it.
    async fn record_of(
        &mut self,
        parts: &Value,
        target: &Target<'_>,
    ) -> Result<Option<Map<String, Value>>, Trouble> {
        let set = target.values.iter().filter(|(_, value)| !value.is_object());
        let set = set.map(|(field, _)| field.as_str());
        let mut fields: Vec<&str> = STAMPS.into_iter().chain(set).collect();
        if !fields.contains(&target.field) {
            fields.push(target.field);
        }
        let key = percent_encoding::percent_decode_str(target.key).decode_utf8_lossy();
        let asked = json!({"object": target.object, "key": key});
        let condition = match (target.field, meant::asked_before(parts)) {
            ("Id", Some(condition)) if target.key.starts_with("@{") => condition,
            ("Id", _) => format!("Id = {}", literal(&key)),
            (field, _) => {
                let found = self.org.by_external_id(target.object, field, &key, &fields).await;
                let found = self.looked(&asked, found, field)?;
                self.fits(&asked, (target.object, &[(field, &[&key])]), found.as_slice())?;
                return Ok(found);
            }
        };
        let soql = format!(
            "SELECT {} FROM {} WHERE {condition}",
            fields.join(", "),
            target.object
        );
        let page = self.org.query(&soql, Scope::Live).await;
        let page = self.looked(&asked, page, target.field)?;
        self.fits(&asked, (target.object, &[]), &page.records)?;
        Ok(page.records.into_iter().next())
    }

    /// Who wrote a record last since the request left.
    async fn writer_of(&mut self, record: &Map<String, Value>) -> Result<Writer, Trouble> {
        let Some(since) = self.claimed.unanswered_at else {
            return Ok(Writer::Nobody);
        };
        let session = self.org.session().await;
        let session = session.map_err(|error| Trouble {
            verdict: outcome::of_error(&error, ""),
            looking: true,
        })?;
        Ok(meant::writer_since(record, since, &session.user_id))
    }

    /// Whether an order that is a draft has been activated by our request and is a draft again by someone's change.
    pub(super) async fn was_activated(&mut self, order: &Map<String, Value>) -> Result<bool, Trouble> {
        let writer = self.writer_of(order).await?;
        match meant::settled(&[writer]) {
            Settled::Done => Ok(true),
            Settled::NeverArrived => Ok(false),
            Settled::Unknown => Err(changed_meanwhile(&format!("Order {}", id_of(order)))),
        }
    }
}

fn id_of(record: &Map<String, Value>) -> String {
    let id = record.get("Id").and_then(Value::as_str);
    id.unwrap_or_default().to_owned()
}

/// Nobody can tell whether the request arrived before the record was changed: it is a person's matter.
fn changed_meanwhile(record: &str) -> Trouble {
    Trouble::refused(Problem::new(
        "CHANGED_MEANWHILE",
        format!(
            "its answer never came, and {record} has been changed since, so that nobody can tell whether it arrived: compare the two, then retry to write over it, or discard this one"
        ),
    ))
}
