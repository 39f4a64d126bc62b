//! The Pub/Sub API's service over an org.
//!
//! Every call is checked for its three metadata headers before anything else, and then by the staged faults.
//! Refusals carry the platform's trailers, because clients branch on those and not on the status.
//!
//! - [`hub`]: what all calls share: who may call, which topics there are. [`channels`], [`deliveries`], [`managed`]
//!   and `platform` hold its parts, [`control`] is how a test sets them, [`kept`] what comes back after a restart.
//! - `reader`: reading a topic by credit, for `subscription` and `managed_call`; `tailor` fits events to channel and user.
//! - `publish`: the way in for platform events.
//! - [`faults`], `reset`: misbehaviour, and streams that end without a status.

pub mod channels;
pub mod control;
pub mod deliveries;
pub mod faults;
pub mod hub;
pub mod kept;
pub mod managed;
mod managed_call;
mod platform;
mod publish;
mod reader;
pub mod refusal;
mod reset;
mod subscription;
mod tailor;

use std::pin::Pin;
use std::sync::Arc;

use futures_util::Stream;
use tonic::codec::CompressionEncoding;
use tonic::{Code, Extensions, Request, Response, Status, Streaming};

pub use self::hub::{Hub, Timings};
pub use self::reset::Resettable;

use self::faults::Target;
use self::managed_call::ManagedCall;
use self::publish::PublishCall;
use self::refusal::{refuse, rpc_id};
use self::reset::Reset;
use self::subscription::Subscription;
use storesync_proto::pub_sub_server::{PubSub, PubSubServer};
use storesync_proto::{
    FetchRequest, FetchResponse, ManagedFetchRequest, ManagedFetchResponse, PublishRequest, PublishResponse,
    SchemaInfo, SchemaRequest, TopicInfo, TopicRequest,
};

/// The service; clones share the hub.
#[derive(Clone)]
pub struct Service {
    hub: Arc<Hub>,
}

type Responses<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

impl Service {
    pub fn new(hub: Arc<Hub>) -> Self {
        Self { hub }
    }

    /// The service as a tonic server takes it.
    pub fn into_server(self) -> Resettable<PubSubServer<Self>> {
        // Answers go out plain: on a loopback, compressing costs more than it saves.
        Resettable(PubSubServer::new(self).accept_compressed(CompressionEncoding::Gzip))
    }

    /// What every call begins with; gives back the token.
    fn enter<T>(&self, rpc: &'static str, request: &Request<T>) -> Result<String, Status> {
        self.hub.authenticate(rpc, request.metadata())
    }

    /// What a call that answers once meets before it does.
    async fn meet_faults(
        &self,
        rpc: &'static str,
        topic: &str,
        token: &str,
        extensions: &Extensions,
    ) -> Result<(), Status> {
        let target = Target {
            rpc,
            topic,
            token,
            reset: extensions.get::<Reset>(),
        };
        faults::strike_call(&self.hub, &target).await
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
        let token = self.enter("Subscribe", &request)?;
        let reset = request.extensions().get::<Reset>().cloned();
        let call = Subscription::new(Arc::clone(&self.hub), token, reset, request.into_inner());
        Ok(Response::new(Box::pin(call.into_stream())))
    }

    async fn get_schema(&self, request: Request<SchemaRequest>) -> Result<Response<SchemaInfo>, Status> {
        const RPC: &str = "GetSchema";
        let token = self.enter(RPC, &request)?;
        self.meet_faults(RPC, "", &token, request.extensions()).await?;
        let schema_id = request.into_inner().schema_id;
        if schema_id.is_empty() {
            let text = "Schema validation failed. The schema ID can't be blank.";
            return Err(refuse(
                Code::InvalidArgument,
                "schema.validation.failed",
                RPC,
                text,
            ));
        }
        let Some(schema_json) = self.hub.schema_json(&schema_id) else {
            let text = format!("The schema {schema_id} was not found. Ensure that the schema ID is correct.");
            return Err(refuse(Code::NotFound, "schema.meta.permission", RPC, &text));
        };
        Ok(Response::new(SchemaInfo {
            schema_json,
            schema_id,
            rpc_id: rpc_id(),
        }))
    }

    async fn get_topic(&self, request: Request<TopicRequest>) -> Result<Response<TopicInfo>, Status> {
        const RPC: &str = "GetTopic";
        let token = self.enter(RPC, &request)?;
        let topic_name = &request.get_ref().topic_name;
        self.meet_faults(RPC, topic_name, &token, request.extensions())
            .await?;
        let channel = self.hub.channel(RPC, topic_name)?;
        let hidden = channel
            .object()
            .is_some_and(|object| self.hub.channels.is_hidden(object));
        Ok(Response::new(TopicInfo {
            tenant_guid: self.hub.tenant(),
            can_publish: channel.is_platform_event(),
            can_subscribe: !hidden,
            schema_id: self.hub.schema_id(&channel),
            topic_name: channel.name,
            rpc_id: rpc_id(),
        }))
    }

    async fn publish(&self, request: Request<PublishRequest>) -> Result<Response<PublishResponse>, Status> {
        const RPC: &str = "Publish";
        let token = self.enter(RPC, &request)?;
        let topic_name = &request.get_ref().topic_name;
        self.meet_faults(RPC, topic_name, &token, request.extensions())
            .await?;
        let request = request.into_inner();
        let channel = publish::writable(&self.hub, RPC, &request.topic_name)?;
        publish::publish(&self.hub, RPC, &channel, request.events).map(Response::new)
    }

    async fn publish_stream(
        &self,
        request: Request<Streaming<PublishRequest>>,
    ) -> Result<Response<Self::PublishStreamStream>, Status> {
        const RPC: &str = "PublishStream";
        let token = self.enter(RPC, &request)?;
        self.meet_faults(RPC, "", &token, request.extensions()).await?;
        let call = PublishCall {
            hub: Arc::clone(&self.hub),
            token,
            requests: request.into_inner(),
            channel: None,
            ended: false,
        };
        Ok(Response::new(Box::pin(call.into_stream())))
    }

    async fn managed_subscribe(
        &self,
        request: Request<Streaming<ManagedFetchRequest>>,
    ) -> Result<Response<Self::ManagedSubscribeStream>, Status> {
        let token = self.enter("ManagedSubscribe", &request)?;
        let reset = request.extensions().get::<Reset>().cloned();
        let call = ManagedCall::new(Arc::clone(&self.hub), token, reset, request.into_inner());
        Ok(Response::new(Box::pin(call.into_stream())))
    }
}
