//! The Pub/Sub API's service over an org.
//!
//! Every call is checked for its three metadata headers before anything else. Topics are the change event
//! channels of the selected objects; publishing and managed subscriptions are refused with a sentence. Refusals
//! carry the platform's trailers, because clients branch on those and not on the status.

pub mod refusal;
pub mod subscription;

use std::pin::Pin;
use std::time::Duration;

use futures_util::Stream;
use tonic::metadata::MetadataMap;
use tonic::{Code, Request, Response, Status, Streaming};

use self::refusal::{refuse, rpc_id};
use self::subscription::Subscription;
use super::bus::Topic;
use super::oauth::Sessions;
use super::org::Org;
use super::value::RecordId;
use crate::proto::pub_sub_server::{PubSub, PubSubServer};
use crate::proto::{
    FetchRequest, FetchResponse, ManagedFetchRequest, ManagedFetchResponse, PublishRequest, PublishResponse,
    SchemaInfo, SchemaRequest, TopicInfo, TopicRequest,
};

/// The channel of all selected objects.
const ALL_EVENTS: &str = "/data/ChangeEvents";

/// When a subscription speaks without events, and when it ends.
#[derive(Clone, Copy, Debug)]
pub struct Timings {
    /// From the last response to an empty one, while events are owed.
    pub keepalive: Duration,
    /// From the last response to the end, while none are.
    pub idle: Duration,
}

impl Default for Timings {
    fn default() -> Self {
        Self {
            keepalive: Duration::from_secs(120),
            idle: Duration::from_secs(60),
        }
    }
}

/// The service; clones share the org.
#[derive(Clone)]
pub struct Service {
    org: Org,
    sessions: Sessions,
    timings: Timings,
}

type Responses<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

impl Service {
    pub fn new(org: Org, sessions: Sessions, timings: Timings) -> Self {
        Self {
            org,
            sessions,
            timings,
        }
    }

    /// The service as a tonic server takes it.
    pub fn into_server(self) -> PubSubServer<Self> {
        // Answers go out plain: on a loopback, compressing costs more than it saves.
        PubSubServer::new(self).accept_compressed(tonic::codec::CompressionEncoding::Gzip)
    }

    /// Checks the three headers and gives back the token.
    fn authenticate(&self, rpc: &'static str, metadata: &MetadataMap) -> Result<String, Status> {
        let header = |name: &str| {
            metadata
                .get(name)
                .and_then(|value| value.to_str().ok())
                .unwrap_or_default()
                .trim()
        };
        let refuse_login = || {
            let text =
                "An authentication exception occurred. Provide valid authentication via metadata headers.";
            refuse(Code::Unauthenticated, "service.auth.error", rpc, text)
        };
        let token = header("accesstoken");
        let ours = RecordId::parse(header("tenantid")) == Some(self.org.id());
        if header("instanceurl").is_empty() || !ours || !self.sessions.is_valid(token) {
            return Err(refuse_login());
        }
        Ok(token.to_owned())
    }

    fn topic(&self, rpc: &'static str, name: &str) -> Result<Topic, Status> {
        if name.is_empty() {
            let text = "Topic validation failed. The topic name can't be blank.";
            return Err(refuse(Code::InvalidArgument, "topic.validation.empty", rpc, text));
        }
        if name == ALL_EVENTS {
            return Ok(Topic::All);
        }
        let event = name.strip_prefix("/data/");
        let position = self
            .org
            .event_schemas()
            .iter()
            .position(|schema| Some(schema.event_name.as_str()) == event);
        match position.filter(|position| self.org.is_selected(*position)) {
            Some(position) => Ok(Topic::Object(position)),
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

    fn tenant(&self) -> String {
        format!("CORE/prod/{}", self.org.id())
    }
}

#[tonic::async_trait]
impl PubSub for Service {
    type SubscribeStream = Responses<FetchResponse>;
    type PublishStreamStream = Responses<PublishResponse>;
    type ManagedSubscribeStream = Responses<ManagedFetchResponse>;

    async fn subscribe(
        &self,
        request: Request<Streaming<FetchRequest>>,
    ) -> Result<Response<Self::SubscribeStream>, Status> {
        let token = self.authenticate("Subscribe", request.metadata())?;
        let subscription = Subscription::new(self.clone(), token, request.into_inner());
        Ok(Response::new(Box::pin(subscription.into_stream())))
    }

    async fn get_schema(&self, request: Request<SchemaRequest>) -> Result<Response<SchemaInfo>, Status> {
        self.authenticate("GetSchema", request.metadata())?;
        let wanted = request.into_inner().schema_id;
        let refuse = |code, suffix, text: &str| Err(refuse(code, suffix, "GetSchema", text));
        if wanted.is_empty() {
            let text = "Schema validation failed. The schema ID can't be blank.";
            return refuse(Code::InvalidArgument, "schema.validation.failed", text);
        }
        match self.org.schema_by_id(&wanted) {
            Some(schema) => Ok(Response::new(SchemaInfo {
                schema_json: schema.json.clone(),
                schema_id: wanted,
                rpc_id: rpc_id(),
            })),
            None => {
                let text =
                    format!("The schema {wanted} was not found. Ensure that the schema ID is correct.");
                refuse(Code::NotFound, "schema.meta.permission", &text)
            }
        }
    }

    async fn get_topic(&self, request: Request<TopicRequest>) -> Result<Response<TopicInfo>, Status> {
        self.authenticate("GetTopic", request.metadata())?;
        let topic_name = request.into_inner().topic_name;
        let schema_id = match self.topic("GetTopic", &topic_name)? {
            // Its events have many schemas, so the channel has none.
            Topic::All => String::new(),
            Topic::Object(position) => self.org.event_schema(position).id.clone(),
        };
        Ok(Response::new(TopicInfo {
            topic_name,
            tenant_guid: self.tenant(),
            can_publish: false,
            can_subscribe: true,
            schema_id,
            rpc_id: rpc_id(),
        }))
    }

    async fn publish(&self, request: Request<PublishRequest>) -> Result<Response<PublishResponse>, Status> {
        self.authenticate("Publish", request.metadata())?;
        Err(unimplemented("Publish"))
    }

    async fn publish_stream(
        &self,
        request: Request<Streaming<PublishRequest>>,
    ) -> Result<Response<Self::PublishStreamStream>, Status> {
        self.authenticate("PublishStream", request.metadata())?;
        Err(unimplemented("PublishStream"))
    }

    async fn managed_subscribe(
        &self,
        request: Request<Streaming<ManagedFetchRequest>>,
    ) -> Result<Response<Self::ManagedSubscribeStream>, Status> {
        self.authenticate("ManagedSubscribe", request.metadata())?;
        Err(unimplemented("ManagedSubscribe"))
    }
}

fn unimplemented(rpc: &str) -> Status {
    Status::unimplemented(format!(
        "the sandbox does not answer {rpc}; change events are read with Subscribe"
    ))
}
