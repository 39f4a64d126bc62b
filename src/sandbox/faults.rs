//! Staged faults: an org that misbehaves on request.
//!
//! `POST /sandbox/faults` takes one rule or a list of rules; `GET` lists them with their counters; `DELETE`
//! clears them. No login is asked for: the sandbox is a test org on one's own machine.
//!
//! ```json
//! {"path": "/composite", "method": "POST", "every": 3, "skip": 0, "times": 10, "fault": {"status": 503}}
//! ```
//!
//! - `path`: the rule is for requests whose path contains this; all where it is absent.
//! - `method`: only for this method.
//! - `every`: strikes at every n-th of its requests (1 where absent), after letting the first `skip` pass.
//! - `times`: strikes at most so often; for ever where absent.
//! - `fault`: one of
//!   - `{"status": 503}`: answered at once, nothing is done. `"code"` and `"message"` set the error; a status of
//!     420, 502 or 504, or `"html": true`, answers with a page of HTML, as the platform's edge does;
//!   - `"drop_before"`: the connection is cut, nothing is done;
//!   - `"drop_after_commit"`: the request is executed and committed, then the connection is cut without an answer;
//!   - `{"delay_ms": 500}`: executed at once, answered late;
//!   - `"expire_sessions"`: all sessions end before the request is looked at.
//!
//! Each rule counts the requests it is for. The first rule that strikes, in the order they were set, decides;
//! later rules count the request all the same.

use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};

/// What a rule does to a request.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", untagged)]
pub enum Fault {
    Named(Named),
    Status {
        status: u16,
        #[serde(skip_serializing_if = "Option::is_none")]
        code: Option<String>,
        #[serde(skip_serializing_if = "Option::is_none")]
        message: Option<String>,
        #[serde(default)]
        html: bool,
    },
    Delay {
        delay_ms: u64,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Named {
    DropBefore,
    DropAfterCommit,
    ExpireSessions,
}

/// One rule and how often it has met a request.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    #[serde(default)]
    pub path: String,
    #[serde(default)]
    pub method: Option<String>,
    #[serde(default = "one")]
    pub every: u64,
    #[serde(default)]
    pub skip: u64,
    #[serde(default)]
    pub times: Option<u64>,
    pub fault: Fault,
    /// Requests that the rule was for.
    #[serde(default)]
    pub met: u64,
    /// Requests that it struck.
    #[serde(default)]
    pub struck: u64,
}

fn one() -> u64 {
    1
}

/// The body of `POST /sandbox/faults`.
#[derive(Deserialize)]
#[serde(untagged)]
pub enum Rules {
    Many(Vec<Rule>),
    One(Rule),
}

/// The rules in force.
#[derive(Default)]
pub struct Faults(Mutex<Vec<Rule>>);

impl Faults {
    fn rules(&self) -> MutexGuard<'_, Vec<Rule>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn add(&self, rules: Rules) {
        match rules {
            Rules::Many(many) => self.rules().extend(many),
            Rules::One(one) => self.rules().push(one),
        }
    }

    pub fn list(&self) -> Vec<Rule> {
        self.rules().clone()
    }

    pub fn clear(&self) {
        self.rules().clear();
    }

    /// Counts a request, and says what is to happen to it.
    pub fn meet(&self, method: &str, path: &str) -> Option<Fault> {
        let mut decided = None;
        for rule in self.rules().iter_mut() {
            let strikes = rule.meet(method, path);
            if strikes && decided.is_none() {
                rule.struck += 1;
                decided = Some(rule.fault.clone());
            }
        }
        decided
    }
}

impl Rule {
    fn meet(&mut self, method: &str, path: &str) -> bool {
        let other_method = self
            .method
            .as_deref()
            .is_some_and(|wanted| !wanted.eq_ignore_ascii_case(method));
        if other_method || !path.contains(&self.path) {
            return false;
        }
        self.met += 1;
        let worn_out = self.times.is_some_and(|times| self.struck >= times);
        !worn_out && self.met > self.skip && (self.met - self.skip).is_multiple_of(self.every.max(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(json: &str) -> Faults {
        let faults = Faults::default();
        faults.add(serde_json::from_str(json).unwrap());
        faults
    }

    #[test]
    fn strikes_every_nth_request_of_its_path() {
        let faults = faults(r#"{"path":"/composite","every":3,"times":2,"fault":{"status":503}}"#);
        assert!(faults.meet("GET", "/services/data/v67.0/limits").is_none());
        let struck: Vec<usize> = (1..=12)
            .filter(|_| faults.meet("POST", "/services/data/v67.0/composite").is_some())
            .collect();
        assert_eq!(struck, [3, 6]);
        assert_eq!(faults.list()[0].met, 12);
    }

    #[test]
    fn the_first_rule_that_strikes_decides_and_all_count() {
        let faults = faults(
            r#"[{"every":3,"fault":{"status":503}},{"every":5,"fault":"drop_after_commit"},{"fault":{"delay_ms":5}}]"#,
        );
        let met: Vec<_> = (0..5).map(|_| faults.meet("POST", "/x").unwrap()).collect();
        assert!(matches!(met[2], Fault::Status { status: 503, .. }));
        assert_eq!(met[3], Fault::Delay { delay_ms: 5 });
        assert_eq!(met[4], Fault::Named(Named::DropAfterCommit));
    }

    #[test]
    fn refuses_unknown_keys() {
        assert!(serde_json::from_str::<Rules>(r#"{"evry":3,"fault":"drop_before"}"#).is_err());
        assert!(serde_json::from_str::<Rules>(r#"{"fault":"explode"}"#).is_err());
    }
}
