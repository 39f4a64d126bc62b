//! One fault rule: which occasions it is for, when it strikes, and what it does then.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value as Json};

use crate::clock::Millis;

/// The calls that a rule's `rpc` may name.
const RPCS: [&str; 7] = [
    "*",
    "Subscribe",
    "ManagedSubscribe",
    "GetTopic",
    "GetSchema",
    "Publish",
    "PublishStream",
];
/// Of those, the ones whose rules are about responses with events unless they say otherwise.
const STREAMS: [&str; 3] = ["*", "Subscribe", "ManagedSubscribe"];

/// What a rule does.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged, try_from = "Json")]
pub enum Fault {
    Named(Named),
    Status(Failure),
    Delay { delay_ms: u64 },
    CommitLater { commit_after_ms: u64 },
    Edit { edit: Edit },
}

/// What is changed in the answer on its way.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[derive(Default)]
pub struct Edit {
    /// Members of a JSON body; null takes one out.
    #[serde(skip_serializing_if = "Map::is_empty")]
    pub members: Map<String, Json>,
    /// Headers by their names in small letters; null takes one out.
    #[serde(skip_serializing_if = "Map::is_empty")]
    pub headers: Map<String, Json>,
    /// Rows of CSV, or `records` of JSON, that are left.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rows: Option<usize>,
    /// Bytes that are taken off the end of the body.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cut_bytes: Option<usize>,
    /// A text of the body, and what the first of its kind becomes; `\\xff` is a byte that is no UTF-8.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replace: Option<(String, String)>,
}

/// An answer in place of the real one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Failure {
    pub status: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_after_seconds: Option<u64>,
    #[serde(default)]
    pub html: bool,
    /// In place of an error body, as it stands; its first character tells its media type.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub body: Option<String>,
    /// Where the answer sends the client.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub location: Option<String>,
}

/// The faults that need no more than a name; the module's head says what each does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Named {
    DropBefore,
    DropAfterCommit,
    DropMidBody,
    ExpireSessions,
    LimitExceeded,
    MoveInstance,
    Maintenance,
    RowLock,
    Silence,
    Reset,
    End,
    ServiceUnavailable,
    Unavailable,
    ResourceExhausted,
    DeliveryLimit,
    RevokeToken,
    Migrate,
    TruncatePayload,
    UnknownSchema,
    BlankEventId,
    Duplicate,
}

/// When a rule for calls of the Pub/Sub API is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Moment {
    /// A call begins; of a stream, its first request was read.
    Call,
    /// A response with events is about to leave.
    Events,
    /// A response without events is about to leave.
    KeepAlive,
    /// The rule was just set, and the stream runs.
    Now,
}

/// Something that a rule may strike.
#[derive(Clone, Copy, Debug)]
pub enum Occasion<'a> {
    /// An HTTP request.
    Request { method: &'a str, path: &'a str },
    /// A call of the Pub/Sub API; the topic is blank where it has none.
    Call {
        rpc: &'a str,
        topic: &'a str,
        moment: Moment,
    },
    /// A record is about to be written.
    Write { object: &'a str },
}

/// One rule and how often it has met its occasions.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    #[serde(default, skip_serializing_if = "String::is_empty")]
    path: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    except: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    method: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    rpc: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    topic: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    on: Option<Moment>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    object: Option<String>,
    #[serde(default = "one")]
    every: u64,
    #[serde(default)]
    skip: u64,
    #[serde(default)]
    times: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    for_ms: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    chance: Option<f64>,
    pub fault: Fault,
    /// Occasions that the rule was for.
    #[serde(default)]
    pub met: u64,
    /// Occasions that it struck.
    #[serde(default)]
    pub struck: u64,
    /// When its time began to run.
    #[serde(skip)]
    begun: Option<Millis>,
}

fn one() -> u64 {
    1
}

impl TryFrom<Json> for Fault {
    type Error = String;

    fn try_from(json: Json) -> Result<Self, String> {
        match &json {
            Json::String(_) => serde_json::from_value(json).map(Self::Named),
            Json::Object(keys) if keys.contains_key("status") => {
                serde_json::from_value(json).map(Self::Status)
            }
            Json::Object(keys) if keys.len() == 1 && keys.contains_key("delay_ms") => {
                serde_json::from_value(json["delay_ms"].clone()).map(|delay_ms| Self::Delay { delay_ms })
            }
            Json::Object(keys) if keys.len() == 1 && keys.contains_key("commit_after_ms") => {
                serde_json::from_value(json["commit_after_ms"].clone())
                    .map(|commit_after_ms| Self::CommitLater { commit_after_ms })
            }
            Json::Object(keys) if keys.len() == 1 && keys.contains_key("edit") => {
                serde_json::from_value(json["edit"].clone()).map(|edit| Self::Edit { edit })
            }
            _ => {
                return Err(format!(
                    "a fault is a name, {{\"status\": N}}, {{\"delay_ms\": N}}, {{\"commit_after_ms\": N}} or {{\"edit\": ...}}, not {json}"
                ));
            }
        }
        .map_err(|error| error.to_string())
    }
}

impl Named {
    fn is_for_requests(self) -> bool {
        use Named::{DropAfterCommit, DropBefore, DropMidBody, ExpireSessions, LimitExceeded, MoveInstance};
        matches!(
            self,
            DropBefore | DropAfterCommit | DropMidBody | ExpireSessions | LimitExceeded | MoveInstance
        )
    }

    fn is_for_events(self) -> bool {
        use Named::{BlankEventId, Duplicate, TruncatePayload, UnknownSchema};
        matches!(self, TruncatePayload | UnknownSchema | BlankEventId | Duplicate)
    }
}

impl Rule {
    pub fn read(json: Json) -> Result<Self, String> {
        let rule: Self = serde_json::from_value(json).map_err(|error| format!("a fault rule: {error}"))?;
        rule.check()?;
        Ok(rule)
    }

    /// A rule that could never strike is a mistake of whoever wrote it.
    fn check(&self) -> Result<(), String> {
        let name = serde_json::to_string(&self.fault).unwrap_or_default();
        if self.chance.is_some_and(|chance| !(0.0..=1.0).contains(&chance)) {
            return Err("the chance of a fault rule lies between 0 and 1".to_owned());
        }
        if self.object.is_some() && self.fault != Fault::Named(Named::RowLock) {
            return Err(format!(
                "a fault rule with object is for row_lock alone, not for {name}"
            ));
        }
        let Some(rpc) = &self.rpc else {
            if self.topic.is_some() || self.on.is_some() {
                return Err("a fault rule with topic or on needs an rpc".to_owned());
            }
            return match &self.fault {
                Fault::Named(Named::Maintenance | Named::RowLock)
                | Fault::Status(_)
                | Fault::Delay { .. }
                | Fault::CommitLater { .. }
                | Fault::Edit { .. } => Ok(()),
                Fault::Named(fault) if fault.is_for_requests() => Ok(()),
                Fault::Named(_) => Err(format!(
                    "the fault {name} strikes calls of the Pub/Sub API: its rule needs an rpc"
                )),
            };
        };
        if !RPCS.contains(&rpc.as_str()) {
            return Err(format!(
                "a fault rule's rpc is one of {}, not {rpc}",
                RPCS.join(", ")
            ));
        }
        match &self.fault {
            Fault::Status(_)
            | Fault::CommitLater { .. }
            | Fault::Edit { .. }
            | Fault::Named(Named::RowLock) => Err(format!(
                "the fault {name} does not strike calls of the Pub/Sub API"
            )),
            Fault::Named(fault) if fault.is_for_requests() => Err(format!(
                "the fault {name} strikes HTTP requests, which have no rpc"
            )),
            Fault::Named(fault) if fault.is_for_events() && self.moment() != Some(Moment::Events) => {
                Err(format!(
                    "the fault {name} strikes a stream's responses: its rule is for the rpc of a stream, on events"
                ))
            }
            _ => Ok(()),
        }
    }

    /// When the rule is looked at; always, where none is given.
    fn moment(&self) -> Option<Moment> {
        if self.fault == Fault::Named(Named::Maintenance) {
            return self.on;
        }
        let rpc = self.rpc.as_deref().unwrap_or_default();
        let usual = if STREAMS.contains(&rpc) {
            Moment::Events
        } else {
            Moment::Call
        };
        Some(self.on.unwrap_or(usual))
    }

    fn is_for(&self, occasion: &Occasion<'_>) -> bool {
        let is_lock = self.fault == Fault::Named(Named::RowLock);
        let everywhere = self.fault == Fault::Named(Named::Maintenance) && self.rpc.is_none();
        match *occasion {
            Occasion::Request { method, path } => {
                let same_method = self
                    .method
                    .as_deref()
                    .is_none_or(|wanted| wanted.eq_ignore_ascii_case(method));
                let excepted = self.except.as_ref().is_some_and(|part| path.contains(part));
                !is_lock && self.rpc.is_none() && same_method && path.contains(&self.path) && !excepted
            }
            Occasion::Call { rpc, topic, moment } => {
                let of_rpc = self
                    .rpc
                    .as_deref()
                    .is_some_and(|wanted| wanted == "*" || wanted == rpc);
                let of_topic = self.topic.as_deref().is_none_or(|wanted| wanted == topic);
                let of_moment = self.moment().is_none_or(|wanted| wanted == moment);
                everywhere || (of_rpc && of_topic && of_moment)
            }
            Occasion::Write { object } => {
                is_lock
                    && self
                        .object
                        .as_deref()
                        .is_none_or(|wanted| wanted.eq_ignore_ascii_case(object))
            }
        }
    }

    /// Counts an occasion; true where the rule strikes it.
    pub(super) fn meet(&mut self, occasion: &Occasion<'_>, now: Millis, rng: &mut fastrand::Rng) -> bool {
        if !self.is_for(occasion) {
            return false;
        }
        self.met += 1;
        let worn_out = self.times.is_some_and(|times| self.struck >= times);
        if worn_out || self.met <= self.skip {
            return false;
        }
        if let Some(window) = self.for_ms {
            let begun = *self.begun.get_or_insert(now);
            if now.saturating_sub(begun) >= i64::try_from(window).unwrap_or(i64::MAX) {
                return false;
            }
        }
        (self.met - self.skip).is_multiple_of(self.every.max(1))
            && self.chance.is_none_or(|chance| rng.f64() < chance)
    }
}
