//! Writes as operators read them: one JSON shape for the admin API and for `--json`.

use serde_json::{Value, json};

use crate::model::clock::format_datetime;
use crate::model::order::Problem;
use crate::store::outbox::desk::{Audit, Detail};
use crate::store::outbox::read::{Attempt, View};

/// Stands for what only tokens with a role are told.
pub const WITHHELD: &str = "values of persons are for tokens with the role personal";

fn error(problem: Option<&Problem>) -> Value {
    problem.map_or(
        Value::Null,
        |problem| json!({"code": problem.code, "message": problem.message}),
    )
}

impl View {
    /// Without what may be a value of a person.
    pub fn without_values(self) -> Self {
        Self {
            customer: None,
            problem: self.problem.map(without_message),
            ..self
        }
    }

    pub fn json(&self) -> Value {
        json!({
            "number": self.sequence,
            "kind": self.kind_name(),
            "external_id": self.external_id,
            "org_key": self.org_key.as_ref().unwrap_or(&self.external_id),
            "store": self.store_id,
            "customer": self.customer,
            "state": self.state,
            "salesforce_id": self.salesforce_id,
            "error": error(self.problem.as_ref()),
            "attempts": self.attempts,
            "next_attempt_at": self.due_at.map(format_datetime),
            "waits_for": self.waits_for,
            "not_written": self.not_written,
            "accepted_at": format_datetime(self.accepted_at),
            "updated_at": format_datetime(self.updated_at),
            "emptied_at": self.emptied_at.map(format_datetime),
        })
    }
}

/// Requests and answers are JSON unless they were cut.
fn exchanged(text: Option<&str>) -> Value {
    text.map_or(Value::Null, |text| {
        serde_json::from_str(text).unwrap_or_else(|_| text.into())
    })
}

impl Attempt {
    pub fn json(&self) -> Value {
        json!({
            "attempt": self.attempt,
            "began_at": format_datetime(self.began_at),
            "ended_at": self.ended_at.map(format_datetime),
            "state": self.state,
            "error": error(self.problem.as_ref()),
            "request": exchanged(self.request.as_deref()),
            "response": exchanged(self.response.as_deref()),
        })
    }
}

/// What the org says of a value may repeat it.
fn without_message(problem: Problem) -> Problem {
    Problem::new(problem.code, WITHHELD)
}

impl Detail {
    /// Without what may be a value of a person: where it stands, and who did what and when.
    pub fn without_values(self) -> Self {
        let attempts = self.attempts.into_iter().map(|attempt| Attempt {
            problem: attempt.problem.map(without_message),
            request: None,
            response: None,
            ..attempt
        });
        let audit = self.audit.into_iter().map(|deed| Audit {
            on_behalf_of: None,
            reason: None,
            changes: Vec::new(),
            ..deed
        });
        Self {
            view: self.view.without_values(),
            body: Value::Null,
            attempts: attempts.collect(),
            audit: audit.collect(),
            is_withheld: true,
        }
    }

    pub fn json(&self) -> Value {
        let mut told = self.view.json();
        if self.is_withheld {
            told["withheld"] = WITHHELD.into();
        }
        told["body"] = self.body.clone();
        told["history"] = self.attempts.iter().map(Attempt::json).collect();
        told["audit"] = self
            .audit
            .iter()
            .map(|deed| {
                json!({
                    "at": format_datetime(deed.at),
                    "action": deed.action,
                    "actor": deed.actor,
                    "on_behalf_of": deed.on_behalf_of,
                    "reason": deed.reason,
                    "changes": deed.changes,
                })
            })
            .collect();
        told
    }
}
