//! What all calls of the Pub/Sub API share: the org, who may call, which topics there are.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tonic::metadata::MetadataMap;
use tonic::{Code, Status};

use super::channels::Channels;
use super::deliveries::Deliveries;
use super::kept::Kept;
use super::managed::Managed;
use super::platform::PlatformEvent;
use super::refusal::refuse;
use crate::bus::{PLATFORM_EVENT, Topic};
use crate::files::PLATFORM_EVENT_TOPIC;
use crate::oauth::Sessions;
use crate::org::Org;
use crate::value::RecordId;

/// The channel of all selected objects.
pub const ALL_CHANGES: &str = "/data/ChangeEvents";
/// The platform never lets a subscriber wait longer for a keep-alive.
const KEEPALIVE_MAX: Duration = Duration::from_secs(270);

/// When calls speak without being spoken to, and when they end.
#[derive(Clone, Copy, Debug)]
pub struct Timings {
    /// Subscriptions: from the last response to an empty one, while events are owed; at most 270 s.
    pub keepalive: Duration,
    /// Subscriptions: from the last response to the end, while none are.
    pub idle: Duration,
    /// Managed subscriptions: from the last commit to the end.
    pub commit: Duration,
    /// PublishStream: from the last request to the end.
    pub publish: Duration,
}

impl Default for Timings {
    fn default() -> Self {
        Self {
            keepalive: Duration::from_secs(120),
            idle: Duration::from_secs(60),
            commit: Duration::from_secs(1_800),
            publish: Duration::from_secs(70),
        }
    }
}

/// What a topic's name stands for.
#[derive(Clone, Debug)]
pub struct Channel {
    pub name: String,
    pub topic: Topic,
    /// By object: positions of fields whose values every update and deletion is sent with.
    pub enriched: Arc<BTreeMap<usize, Vec<usize>>>,
}

impl Channel {
    fn plain(name: &str, topic: Topic) -> Self {
        Self {
            name: name.to_owned(),
            topic,
            enriched: Arc::default(),
        }
    }

    /// The one object whose events the channel carries; custom channels count as carrying several.
    pub fn object(&self) -> Option<usize> {
        match self.topic {
            Topic::Object(object) => Some(object),
            Topic::All | Topic::Changes | Topic::Objects(_) => None,
        }
    }

    pub fn is_platform_event(&self) -> bool {
        self.object() == Some(PLATFORM_EVENT)
    }
}

/// Shared by the service, its calls and the HTTP controls.
pub struct Hub {
    pub org: Org,
    pub sessions: Sessions,
    pub timings: Timings,
    pub channels: Channels,
    pub deliveries: Deliveries,
    pub managed: Managed,
    pub platform_event: PlatformEvent,
}

impl Hub {
    pub fn new(org: Org, sessions: Sessions, timings: Timings) -> Arc<Self> {
        let keepalive = timings.keepalive.min(KEEPALIVE_MAX);
        let hub = Self {
            deliveries: Deliveries::new(org.clock().clone()),
            channels: Channels::default(),
            managed: Managed::default(),
            platform_event: PlatformEvent::new(),
            timings: Timings { keepalive, ..timings },
            org,
            sessions,
        };
        hub.restore();
        Arc::new(hub)
    }

    /// Takes up what was set up before a restart.
    fn restore(&self) {
        let kept = self.org.settings().pubsub.clone();
        for channel in kept.channels {
            if let Err(reason) = self.channels.define(&self.org, channel) {
                tracing::warn!("a custom channel did not come back: {reason}");
            }
        }
        if let Err(reason) = self.channels.hide(&self.org, &kept.hidden) {
            tracing::warn!("hidden objects did not come back: {reason}");
        }
        self.deliveries.limit(kept.daily_max);
        self.managed.restore(&kept.managed);
    }

    /// Has the org keep what is set up, and how far managed subscriptions are.
    pub fn keep(&self) {
        let kept = Kept {
            channels: self.channels.definitions(),
            hidden: self.channels.hidden(&self.org),
            daily_max: self.deliveries.daily_max(),
            managed: self.managed.kept(),
        };
        self.org.set(|settings| settings.pubsub = kept);
    }

    /// Who a token was issued to.
    pub fn user(&self, token: &str) -> RecordId {
        self.sessions.user(token).unwrap_or_else(|| self.org.user_id())
    }

    /// Top-level fields of an object's events that a user may not see. A compound field counts once none of its
    /// parts can be seen.
    pub fn hidden_fields(&self, user: RecordId, object: usize) -> Vec<&str> {
        let (all, seen) = (self.org.catalog(), self.org.catalog_of(user));
        if object == PLATFORM_EVENT || std::ptr::eq(all, seen) {
            return Vec::new();
        }
        let (whole, object) = (&all.objects()[object], &seen.objects()[object]);
        // A field that is gone is nobody's to see, and hidden from nobody.
        let is_hidden = |at: usize| whole.fields[at].visible && !object.fields[at].visible;
        let hidden = whole.fields.iter().enumerate().filter(|(at, field)| {
            let mut parts = whole.members(&field.name).map(|(part, _)| part).peekable();
            match parts.peek() {
                Some(_) => parts.all(is_hidden),
                None => is_hidden(*at) && field.compound.is_none(),
            }
        });
        hidden.map(|(_, field)| field.name.as_str()).collect()
    }

    /// Checks the three headers and gives back the token.
    pub fn authenticate(&self, rpc: &'static str, metadata: &MetadataMap) -> Result<String, Status> {
        let header = |name: &str| {
            metadata
                .get(name)
                .and_then(|value| value.to_str().ok())
                .unwrap_or_default()
                .trim()
        };
        let token = header("accesstoken");
        // The instance's address is not compared: clients send it with or without a port.
        let ours = RecordId::parse(header("tenantid")) == Some(self.org.id());
        if header("instanceurl").is_empty() || !ours {
            return Err(unauthenticated(rpc));
        }
        self.check_token(rpc, token)?;
        Ok(token.to_owned())
    }

    /// A token that ended or was revoked ends the call.
    pub fn check_token(&self, rpc: &'static str, token: &str) -> Result<(), Status> {
        if self.sessions.is_valid(token) {
            return Ok(());
        }
        Err(unauthenticated(rpc))
    }

    pub fn channel(&self, rpc: &'static str, name: &str) -> Result<Channel, Status> {
        if name.is_empty() {
            let text = "Topic validation failed. The topic name can't be blank.";
            return Err(refuse(Code::InvalidArgument, "topic.validation.empty", rpc, text));
        }
        if name == ALL_CHANGES {
            return Ok(Channel::plain(name, Topic::Changes));
        }
        if name == PLATFORM_EVENT_TOPIC {
            return Ok(Channel::plain(name, Topic::Object(PLATFORM_EVENT)));
        }
        if let Some(channel) = self.channels.get(name) {
            return Ok(channel);
        }
        let event = name.strip_prefix("/data/");
        let schemas = self.org.event_schemas();
        let position = schemas
            .iter()
            .position(|schema| Some(schema.event_name.as_str()) == event);
        match position.filter(|position| self.org.is_selected(*position)) {
            Some(position) => Ok(Channel::plain(name, Topic::Object(position))),
            None => {
                let text = format!(
                    "The topic information for org {} and topic {name} not found. Ensure the topic name is correct \
                     and that the topic exists.",
                    self.tenant()
                );
                Err(refuse(Code::NotFound, "topic.not.found", rpc, &text))
            }
        }
    }

    /// The channel, if the user may read it. One that carries several objects may always be read; the events that
    /// the user may not see are left out of it.
    pub fn readable(&self, rpc: &'static str, name: &str) -> Result<Channel, Status> {
        let channel = self.channel(rpc, name)?;
        if channel
            .object()
            .is_some_and(|object| self.channels.is_hidden(object))
        {
            let text = format!("The user doesn't have permission to subscribe to the topic {name}.");
            let suffix = "subscription.topic.cannot.subscribe";
            return Err(refuse(Code::PermissionDenied, suffix, rpc, &text));
        }
        Ok(channel)
    }

    /// The newest schema of a channel's events; blank where they have several.
    pub fn schema_id(&self, channel: &Channel) -> String {
        match channel.object() {
            None => String::new(),
            Some(PLATFORM_EVENT) => self.platform_event.schema_id.clone(),
            Some(object) => self.org.event_schema(object).id.clone(),
        }
    }

    /// The JSON of any schema that events were ever written by.
    pub fn schema_json(&self, id: &str) -> Option<String> {
        if id == self.platform_event.schema_id {
            return Some(self.platform_event.schema_json.clone());
        }
        self.org.schema_by_id(id).map(|schema| schema.json.clone())
    }

    pub fn tenant(&self) -> String {
        format!("CORE/prod/{}", self.org.id())
    }
}

fn unauthenticated(rpc: &'static str) -> Status {
    let text = "An authentication exception occurred. Provide valid authentication via metadata headers.";
    refuse(Code::Unauthenticated, "service.auth.error", rpc, text)
}
