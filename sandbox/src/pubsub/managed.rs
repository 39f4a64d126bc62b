//! Managed subscriptions: the org keeps the subscriber's position.
//!
//! They live as long as the org does, so a subscriber that comes back goes on after what it committed last. One
//! client at a time holds a subscription; the slot is free again when its call ends.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};
use serde_json::{Value as Json, json};
use tonic::{Code, Status};

use super::hub::Hub;
use super::kept::ManagedKept;
use super::refusal::refuse;
use crate::bus::Position;
use crate::files::MANAGED_SUBSCRIPTION;
use crate::value::RecordId;
use storesync_proto::ManagedFetchRequest;

/// An org has no more managed subscriptions.
const SUBSCRIPTIONS_MAX: usize = 200;
pub(super) const RPC: &str = "ManagedSubscribe";
/// The key prefix of ManagedEventSubscription records.
const PREFIX: [u8; 3] = *b"18x";

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
enum Preset {
    #[default]
    Latest,
    Earliest,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
enum State {
    #[default]
    Run,
    Stop,
}

/// A subscription as it is set up, in the words of the platform's metadata.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Definition {
    developer_name: String,
    topic_name: String,
    /// Where a subscriber begins that never committed.
    #[serde(default)]
    default_replay: Preset,
    /// Where one goes on whose committed position is not kept any more.
    #[serde(default)]
    error_recovery_replay: Preset,
    #[serde(default)]
    state: State,
}

struct Subscription {
    id: RecordId,
    definition: Definition,
    /// The replay id that was committed last.
    committed: Option<Vec<u8>>,
    active: bool,
}

/// By developer name.
pub struct Managed(Mutex<BTreeMap<String, Subscription>>);

/// A subscription that a call holds.
pub(super) struct Opened {
    pub developer_name: String,
    pub topic_name: String,
    pub position: Position,
}

impl Default for Managed {
    /// With the one subscription that every sandbox has.
    fn default() -> Self {
        let managed = Self(Mutex::new(BTreeMap::new()));
        let accounts = Definition {
            developer_name: MANAGED_SUBSCRIPTION.to_owned(),
            topic_name: "/data/AccountChangeEvent".to_owned(),
            default_replay: Preset::Latest,
            error_recovery_replay: Preset::Latest,
            state: State::Run,
        };
        managed.insert(accounts);
        managed
    }
}

impl Managed {
    /// What has to come back after a restart.
    pub fn kept(&self) -> BTreeMap<String, ManagedKept> {
        let inside = self.inside();
        let all = inside.iter().map(|(name, subscription)| {
            let kept = ManagedKept {
                number: subscription.id.counter().unwrap_or_default(),
                definition: subscription.definition.clone(),
                committed: subscription.committed.clone(),
            };
            (name.clone(), kept)
        });
        all.collect()
    }

    pub fn restore(&self, kept: &BTreeMap<String, ManagedKept>) {
        let all = kept.iter().map(|(name, kept)| {
            let subscription = Subscription {
                id: RecordId::new(PREFIX, kept.number),
                definition: kept.definition.clone(),
                committed: kept.committed.clone(),
                active: false,
            };
            (name.clone(), subscription)
        });
        self.inside().extend(all);
    }

    fn inside(&self) -> MutexGuard<'_, BTreeMap<String, Subscription>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn insert(&self, definition: Definition) {
        let mut inside = self.inside();
        let id = RecordId::new(PREFIX, inside.len() as u64 + 1);
        let name = definition.developer_name.clone();
        match inside.get_mut(&name) {
            Some(present) => present.definition = definition,
            None => {
                let subscription = Subscription {
                    id,
                    definition,
                    committed: None,
                    active: false,
                };
                inside.insert(name, subscription);
            }
        }
    }

    /// Sets a subscription up, or changes one; what was committed stays.
    pub fn define(&self, hub: &Hub, definition: Definition) -> Result<(), String> {
        let topic = &definition.topic_name;
        hub.channel(RPC, topic)
            .map_err(|_| format!("the org has no topic {topic}"))?;
        let inside = self.inside();
        if inside.len() >= SUBSCRIPTIONS_MAX && !inside.contains_key(&definition.developer_name) {
            return Err(format!(
                "an org has at most {SUBSCRIPTIONS_MAX} managed subscriptions"
            ));
        }
        drop(inside);
        self.insert(definition);
        Ok(())
    }

    /// The subscriptions, as the Tooling API's ManagedEventSubscription has them, and how far each is.
    pub fn list(&self) -> Vec<Json> {
        let inside = self.inside();
        let mut all: Vec<&Subscription> = inside.values().collect();
        all.sort_by_key(|subscription| subscription.id);
        let record = |subscription: &Subscription| {
            let committed = subscription.committed.as_ref();
            let hex = committed.map(|id| id.iter().map(|byte| format!("{byte:02x}")).collect::<String>());
            json!({
                "Id": subscription.id.as_str(),
                "DeveloperName": subscription.definition.developer_name,
                "Metadata": subscription.definition,
                "committed": hex,
                "active": subscription.active,
            })
        };
        all.into_iter().map(record).collect()
    }

    /// Takes the subscription that a call's first request names. It is held until [`Managed::close`].
    pub(super) fn open(&self, hub: &Hub, request: &ManagedFetchRequest) -> Result<Opened, Status> {
        let invalid = |suffix: &str, text: &str| refuse(Code::InvalidArgument, suffix, RPC, text);
        if request.commit_replay_id_request.is_some() {
            let text = "The first request of a managed subscription can't contain a commit.";
            let suffix = "managed.subscription.fetch.request.commit.request.restricted";
            return Err(invalid(suffix, text));
        }
        let (id, name) = (&request.subscription_id, &request.developer_name);
        if id.is_empty() && name.is_empty() {
            let text = "The subscription ID or the developer name of a managed subscription is required.";
            return Err(invalid("managed.subscription.id.or.developer.name.empty", text));
        }
        let id = match RecordId::parse(id) {
            Some(id) => Some(id),
            None if id.is_empty() => None,
            None => {
                let text = format!("The subscription ID {id} is not valid.");
                return Err(invalid("managed.subscription.subscription.id.invalid", &text));
            }
        };
        let mut inside = self.inside();
        let mut all = inside.values_mut();
        let found = match id {
            Some(id) => all.find(|subscription| subscription.id == id),
            None => all.find(|subscription| subscription.definition.developer_name == *name),
        };
        let Some(subscription) = found else {
            let (suffix, named) = match id {
                Some(id) => ("managed.subscription.subscription.id.not.found", id.to_string()),
                None => ("managed.subscription.developer.name.not.found", name.clone()),
            };
            let text = format!("The managed subscription {named} was not found.");
            return Err(refuse(Code::NotFound, suffix, RPC, &text));
        };
        let Definition {
            developer_name,
            topic_name,
            ..
        } = subscription.definition.clone();
        if subscription.definition.state == State::Stop {
            let text = format!("The managed subscription {developer_name} is stopped.");
            let suffix = "managed.subscription.config.stopped";
            return Err(refuse(Code::FailedPrecondition, suffix, RPC, &text));
        }
        if subscription.active {
            let text = format!("The managed subscription {developer_name} is already active.");
            let suffix = "managed.subscription.already.active";
            return Err(refuse(Code::AlreadyExists, suffix, RPC, &text));
        }
        subscription.active = true;
        Ok(Opened {
            position: start(hub, subscription),
            developer_name,
            topic_name,
        })
    }

    pub(super) fn close(&self, developer_name: &str) {
        if let Some(subscription) = self.inside().get_mut(developer_name) {
            subscription.active = false;
        }
    }

    /// Keeps a position; false where the replay id is not of the log.
    pub(super) fn commit(&self, hub: &Hub, developer_name: &str, replay_id: &[u8]) -> bool {
        let known = hub.org.bus().position(replay_id).is_some();
        if known && let Some(subscription) = self.inside().get_mut(developer_name) {
            subscription.committed = Some(replay_id.to_vec());
        }
        if known {
            hub.keep();
        }
        known
    }
}

fn start(hub: &Hub, subscription: &Subscription) -> Position {
    let bus = hub.org.bus();
    let preset = match &subscription.committed {
        None => subscription.definition.default_replay,
        Some(replay_id) => match bus.position(replay_id) {
            Some(position) => return position,
            None => subscription.definition.error_recovery_replay,
        },
    };
    match preset {
        Preset::Latest => bus.tip(),
        Preset::Earliest => bus.oldest(),
    }
}
