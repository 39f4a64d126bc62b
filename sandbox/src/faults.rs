//! Staged faults: an org that misbehaves on request.
//!
//! `POST /sandbox/faults` takes one rule, a list of rules, or a plan `{"seed": 7, "rules": [...]}`; `PUT` takes the
//! same in place of the rules in force; `GET` lists them with their counters, and how many requests are still to be
//! executed behind their clients' backs (`pending`); `DELETE` clears them. What a rule delays
//! goes on at once when that rule is replaced or cleared. `storesync sandbox --faults FILE` starts with a plan from a
//! file. No login is asked for: the sandbox is a test org on one's own machine.
//!
//! ```json
//! {"path": "/composite", "method": "POST", "every": 3, "skip": 0, "times": 10, "fault": {"status": 503}}
//! {"rpc": "Subscribe", "topic": "/data/AccountChangeEvent", "skip": 2, "times": 1, "fault": "reset"}
//! {"rpc": "GetSchema", "for_ms": 5000, "fault": "service_unavailable"}
//! {"object": "Order", "for_ms": 3000, "fault": "row_lock"}
//! ```
//!
//! Which occasions a rule is for:
//! - `path`, `except`, `method`: HTTP requests whose path with its query contains `path` and does not contain
//!   `except`, of this method; all where they are absent.
//! - `rpc`: calls of the Pub/Sub API by name (`Subscribe`, `ManagedSubscribe`, `GetTopic`, `GetSchema`, `Publish`,
//!   `PublishStream`, or `*` for all), and of those, the ones for `topic` where that is given. `on` says when:
//!   `call` (a call begins; what unary calls do when it is absent), `events` (a response with events is about to
//!   leave; what streams do), `keep_alive` (one without is), or `now` (at once, on every stream that runs).
//! - `object`: writes of records of this object (`row_lock` alone).
//!
//! How often it strikes:
//! - `every`: at every n-th of its occasions (1 where absent), after letting the first `skip` pass.
//! - `times`: at most so often; for ever where absent.
//! - `for_ms`: from its first occasion on for so long, then never again.
//! - `chance`: of those occasions only at this share of them (0 to 1), by the plan's `seed`.
//!
//! What it does, `fault`, to an HTTP request:
//! - `{"status": 503}`: answered at once, nothing is done. `"code"` and `"message"` set the error,
//!   `"retry_after_seconds"` adds the header; a status of 420, 502 or 504, or `"html": true`, answers with a page of
//!   HTML, as the platform's edge does; `"body": "..."` answers with this body, and `"location": "..."` adds the header,
//!   as proxies, gateways and sign-ins do; `"referenceId":"record*"` in it is the name of the request's part that begins
//!   with `record_`;
//! - `{"delay_ms": 500}`: executed at once, answered late;
//! - `{"edit": {...}}`: executed, and its answer is changed on its way: `members` of a JSON body and `headers` are set, or
//!   taken out where they are null; of CSV rows or `records` only the first `rows` are left; `replace` puts another text
//!   in place of the first that is found; `cut_bytes` are taken off the end;
//! - `{"commit_after_ms": 500}`: the connection is reset at once, and the request is executed so much later;
//! - `drop_before`: the connection is reset, nothing is done;
//! - `drop_after_commit`: executed and committed, then the connection is reset without an answer;
//! - `drop_mid_body`: executed, then the connection is reset after half of the answer's body;
//! - `expire_sessions`: all sessions end before the request is looked at;
//! - `limit_exceeded`: 403 `REQUEST_LIMIT_EXCEEDED`;
//! - `move_instance`: the org moves: all sessions end, logins give another `instance_url` (`localhost` in place of
//!   `127.0.0.1`, or back), and the old address takes no session any more;
//! - `maintenance`: 503; without `rpc` it strikes HTTP and the Pub/Sub API alike.
//!
//! To a write of a record: `row_lock`, refused with `UNABLE_TO_LOCK_ROW` in the form of the request it came by.
//!
//! To a call of the Pub/Sub API:
//! - `silence`: nothing is sent any more, no event, no keep-alive, no end;
//! - `reset`: the stream is reset (RST_STREAM) without a status;
//! - `end`: the stream ends without an error;
//! - `service_unavailable`: INTERNAL, `service.unavailable`;
//! - `unavailable`, `maintenance`: UNAVAILABLE without an error code, as a proxy on the way answers;
//! - `resource_exhausted`: RESOURCE_EXHAUSTED, `service.protection.triggered`;
//! - `delivery_limit`: RESOURCE_EXHAUSTED, `subscription.limit.exceeded`;
//! - `revoke_token`: the call's access token ends, and with it the call;
//! - `migrate`: the log starts anew, as after an org's migration: no replay id given so far is valid, counting
//!   begins from low numbers, and every running stream ends;
//! - `{"delay_ms": 500}`: late by so much;
//! - on `events` alone: `truncate_payload` (cut in half), `unknown_schema` (an id that GetSchema does not know),
//!   `blank_event_id`, each to every event of the response; and `duplicate`: the events come again behind it, with
//!   new replay ids.
//!
//! Each rule counts the occasions it is for. The first rule that strikes, in the order they were set, decides;
//! later rules count the occasion all the same.

mod edit;
pub mod http;
mod rule;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::Value as Json;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

pub use self::rule::{Edit, Fault, Moment, Named, Occasion, Rule};
use crate::clock::Millis;

/// Of a plan that names no seed.
const DEFAULT_SEED: u64 = 1;

/// Rules, and where their chances come from.
#[derive(Debug)]
pub struct Plan {
    seed: Option<u64>,
    rules: Vec<Rule>,
}

impl Plan {
    /// Reads one rule, a list, or an object with `rules` and `seed`. The error says which key or name is wrong.
    pub fn read(json: Json) -> Result<Self, String> {
        let (seed, rules) = match json {
            Json::Array(rules) => (None, rules),
            Json::Object(mut plan) if plan.contains_key("rules") => {
                let seed = match plan.remove("seed") {
                    None => None,
                    Some(seed) => Some(
                        seed.as_u64()
                            .ok_or("the seed of a fault plan is a whole number")?,
                    ),
                };
                let rules = plan.remove("rules");
                if let Some(key) = plan.keys().next() {
                    return Err(format!(
                        "a fault plan has the keys seed and rules, and no key {key}"
                    ));
                }
                let Some(Json::Array(rules)) = rules else {
                    return Err("the rules of a fault plan are a list".to_owned());
                };
                (seed, rules)
            }
            rule => (None, vec![rule]),
        };
        let rules = rules.into_iter().map(Rule::read).collect::<Result<_, _>>()?;
        Ok(Self { seed, rules })
    }
}

struct Inside {
    rules: Vec<Rule>,
    rng: fastrand::Rng,
    /// Ends with these rules.
    lifted: CancellationToken,
}

impl Inside {
    fn add(&mut self, plan: Plan) {
        self.rules.extend(plan.rules);
        if let Some(seed) = plan.seed {
            self.rng = fastrand::Rng::with_seed(seed);
        }
    }

    fn lift(&mut self) {
        self.rules.clear();
        std::mem::take(&mut self.lifted).cancel();
    }
}

/// The rules in force.
pub struct Faults {
    inside: Mutex<Inside>,
    /// Rings whenever rules are set or cleared, for streams that a rule is to strike at once.
    bell: watch::Sender<()>,
    /// Held here, and by each request that is still to be executed though its client was told nothing.
    pending: Arc<()>,
}

impl Default for Faults {
    fn default() -> Self {
        let rng = fastrand::Rng::with_seed(DEFAULT_SEED);
        let inside = Inside {
            rules: Vec::new(),
            rng,
            lifted: CancellationToken::new(),
        };
        Self {
            inside: Mutex::new(inside),
            bell: watch::Sender::new(()),
            pending: Arc::default(),
        }
    }
}

impl Faults {
    fn inside(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a plan's rules behind those in force; its seed starts the chances anew.
    pub fn add(&self, plan: Plan) {
        self.inside().add(plan);
        self.bell.send_replace(());
    }

    /// Puts a plan's rules in place of those in force.
    pub fn replace(&self, plan: Plan) {
        {
            let mut inside = self.inside();
            inside.lift();
            inside.add(plan);
        }
        self.bell.send_replace(());
    }

    pub fn list(&self) -> Vec<Rule> {
        self.inside().rules.clone()
    }

    pub fn clear(&self) {
        self.inside().lift();
        self.bell.send_replace(());
    }

    /// Is cancelled when the rules that are in force now are no longer; to be asked for before [`Self::meet`].
    pub fn lifted(&self) -> CancellationToken {
        self.inside().lifted.clone()
    }

    /// To be held by a request until it is executed.
    pub fn pending(&self) -> Arc<()> {
        Arc::clone(&self.pending)
    }

    /// How many requests hold it.
    pub fn pending_requests(&self) -> usize {
        Arc::strong_count(&self.pending) - 1
    }

    pub fn watch(&self) -> watch::Receiver<()> {
        self.bell.subscribe()
    }

    /// Counts an occasion, and says what is to happen.
    pub fn meet(&self, occasion: &Occasion<'_>, now: Millis) -> Option<Fault> {
        let mut inside = self.inside();
        let Inside { rules, rng, .. } = &mut *inside;
        let mut decided = None;
        for rule in rules {
            let strikes = rule.meet(occasion, now, rng);
            if strikes && decided.is_none() {
                rule.struck += 1;
                decided = Some(rule.fault.clone());
            }
        }
        decided
    }
}

/// Waits for as long as a fault delays something, or until it is lifted.
pub async fn delay(delay_ms: u64, lifted: &CancellationToken) {
    tokio::select! {
        () = tokio::time::sleep(Duration::from_millis(delay_ms)) => {}
        () = lifted.cancelled() => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(json: &str) -> Faults {
        let faults = Faults::default();
        faults.add(Plan::read(serde_json::from_str(json).unwrap()).unwrap());
        faults
    }

    fn request<'a>(method: &'a str, path: &'a str) -> Occasion<'a> {
        Occasion::Request { method, path }
    }

    fn call<'a>(rpc: &'a str, topic: &'a str, moment: Moment) -> Occasion<'a> {
        Occasion::Call { rpc, topic, moment }
    }

    #[test]
    fn strikes_every_nth_request_of_its_path() {
        let faults = faults(r#"{"path":"/composite","every":3,"times":2,"fault":{"status":503}}"#);
        assert!(
            faults
                .meet(&request("GET", "/services/data/v67.0/limits"), 0)
                .is_none()
        );
        let composite = request("POST", "/services/data/v67.0/composite");
        let struck: Vec<usize> = (1..=12)
            .filter(|_| faults.meet(&composite, 0).is_some())
            .collect();
        assert_eq!(struck, [3, 6]);
        assert_eq!(faults.list()[0].met, 12);
    }

    #[test]
    fn leaves_out_the_requests_that_are_excepted() {
        let faults = faults(r#"{"path":"/composite","except":"/sobjects/","fault":{"status":503}}"#);
        let struck = |path| faults.meet(&request("POST", path), 0).is_some();
        assert!(struck("/services/data/v67.0/composite/graph"));
        assert!(!struck("/services/data/v67.0/composite/sobjects/Contact"));
        assert_eq!(faults.list()[0].met, 1);
    }

    #[test]
    fn the_first_rule_that_strikes_decides_and_all_count() {
        let faults = faults(
            r#"[{"every":3,"fault":{"status":503}},{"every":5,"fault":"drop_after_commit"},{"fault":{"delay_ms":5}}]"#,
        );
        let met: Vec<_> = (0..5)
            .map(|_| faults.meet(&request("POST", "/x"), 0).unwrap())
            .collect();
        assert!(matches!(met[2], Fault::Status(_)));
        assert_eq!(met[3], Fault::Delay { delay_ms: 5 });
        assert_eq!(met[4], Fault::Named(Named::DropAfterCommit));
    }

    #[test]
    fn a_rule_is_for_one_side_unless_it_is_maintenance() {
        let events = call("Subscribe", "/data/AccountChangeEvent", Moment::Events);
        let opening = call("Subscribe", "/data/AccountChangeEvent", Moment::Call);
        let schema = call("GetSchema", "", Moment::Call);
        let http = request("GET", "/x");
        let write = Occasion::Write { object: "Order" };
        // Which of these each rule strikes, in this order.
        let table = [
            (
                r#"{"rpc":"Subscribe","fault":"end"}"#,
                [true, false, false, false, false],
            ),
            (
                r#"{"rpc":"Subscribe","on":"call","fault":"end"}"#,
                [false, true, false, false, false],
            ),
            (
                r#"{"rpc":"GetSchema","fault":"unavailable"}"#,
                [false, false, true, false, false],
            ),
            (
                r#"{"rpc":"*","on":"call","fault":"reset"}"#,
                [false, true, true, false, false],
            ),
            (
                r#"{"rpc":"Subscribe","topic":"/data/ChangeEvents","fault":"end"}"#,
                [false; 5],
            ),
            (r#"{"fault":"drop_before"}"#, [false, false, false, true, false]),
            (r#"{"fault":"maintenance"}"#, [true, true, true, true, false]),
            (
                r#"{"rpc":"*","fault":"maintenance"}"#,
                [true, true, true, false, false],
            ),
            (
                r#"{"object":"Order","fault":"row_lock"}"#,
                [false, false, false, false, true],
            ),
            (r#"{"object":"Account","fault":"row_lock"}"#, [false; 5]),
            (r#"{"fault":"row_lock"}"#, [false, false, false, false, true]),
        ];
        for (rule, expected) in table {
            let faults = faults(rule);
            let struck = [&events, &opening, &schema, &http, &write].map(|at| faults.meet(at, 0).is_some());
            assert_eq!(struck, expected, "{rule}");
        }
    }

    #[test]
    fn a_window_opens_at_the_first_occasion_and_closes_for_good() {
        let faults = faults(r#"{"skip":1,"for_ms":1000,"fault":{"status":503}}"#);
        let struck: Vec<bool> = [0, 5_000, 5_500, 5_999, 6_000, 9_000]
            .into_iter()
            .map(|now| faults.meet(&request("GET", "/x"), now).is_some())
            .collect();
        assert_eq!(struck, [false, true, true, true, false, false]);
    }

    #[test]
    fn chances_follow_the_seed() {
        let struck = |seed: u64| -> Vec<usize> {
            let faults = faults(&format!(
                r#"{{"seed":{seed},"rules":[{{"chance":0.3,"fault":"drop_before"}}]}}"#
            ));
            (0..200)
                .filter(|_| faults.meet(&request("GET", "/x"), 0).is_some())
                .collect()
        };
        assert_eq!(struck(7), struck(7));
        assert_ne!(struck(7), struck(8));
        assert!((30..90).contains(&struck(7).len()), "{}", struck(7).len());
    }

    #[test]
    fn refuses_what_it_does_not_know_and_says_what() {
        let table = [
            (r#"{"evry":3,"fault":"drop_before"}"#, "evry"),
            (r#"{"fault":"explode"}"#, "explode"),
            (r#"{"fault":{"staus":503}}"#, "fault"),
            (r#"{"rpc":"Subscribe","fault":"drop_before"}"#, "drop_before"),
            (r#"{"path":"/x","fault":"silence"}"#, "silence"),
            (r#"{"rpc":"Subscribe","on":"call","fault":"duplicate"}"#, "events"),
            (r#"{"rpc":"Subcribe","fault":"end"}"#, "Subcribe"),
            (r#"{"rules":[],"sed":1}"#, "sed"),
            (r#"{"object":"Order","fault":"end"}"#, "object"),
            (r#"{"chance":2,"fault":"drop_before"}"#, "chance"),
        ];
        for (json, word) in table {
            let error = Plan::read(serde_json::from_str(json).unwrap()).unwrap_err();
            assert!(error.contains(word), "{json}: {error}");
        }
    }
}
