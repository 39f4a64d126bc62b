//! The Pub/Sub API over gRPC.
//!
//! Headers travel only when a call starts, so a renewed session takes effect with the next call; a running
//! stream goes on with the old one until the org ends it. The position given is sent back untouched.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::metadata::MetadataValue;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint};
use tonic::{Code, Request, Status, Streaming};

use crate::model::change::{RawEvent, ReplayId};
use crate::salesforce::auth::Session;
use crate::salesforce::client::ca_pem;
use crate::salesforce::{Error, Org};
use storesync_proto::pub_sub_client::PubSubClient;
use storesync_proto::{
    ConsumerEvent, FetchRequest, FetchResponse, ReplayPreset, SchemaRequest, TopicRequest,
};

const ERROR_CODE_PREFIX: &str = "sfdc.platform.eventbus.grpc.";
const UNARY_TIMEOUT: Duration = Duration::from_secs(30);

/// A connection to the Pub/Sub API; cheap to clone.
#[derive(Clone)]
pub struct PubSub {
    org: Org,
    wire: Arc<RwLock<Wire>>,
}

/// What calls and streams that begin now go over.
#[derive(Clone)]
struct Wire {
    client: PubSubClient<Channel>,
    endpoint: Endpoint,
    /// Of `ca_file`, as it was read.
    ca_pem: Option<Vec<u8>>,
}

/// Where a subscription begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Start {
    /// At the tip.
    Latest,
    /// At the oldest event still kept (72 hours).
    Earliest,
    /// Strictly after an event.
    After(ReplayId),
}

/// What the org says of a topic.
#[derive(Clone, Debug)]
pub struct Topic {
    pub name: String,
    pub can_subscribe: bool,
    /// `None` for channels that carry several objects.
    pub schema_id: Option<String>,
}

/// One response of a subscription. Without events it says: still alive, nothing new.
#[derive(Clone, Debug)]
pub struct Response {
    pub events: Vec<RawEvent>,
    /// At least as fresh as the last event.
    pub latest: ReplayId,
    /// What the org still owes.
    pub pending: u32,
}

type Opening = Pin<Box<dyn Future<Output = Result<Streaming<FetchResponse>, Status>> + Send>>;

enum State {
    /// The org need not answer before it has something to say.
    Opening(Opening),
    Open(Box<Streaming<FetchResponse>>),
}

/// A running subscription. Dropping it ends the stream.
pub struct Subscription {
    topic: String,
    state: State,
    /// Unbounded, but never holds more than one request for each response.
    requests: UnboundedSender<FetchRequest>,
}

impl PubSub {
    /// Prepares the connection; the first call makes it.
    pub fn new(org: &Org) -> Result<Self, Error> {
        let ca_pem = ca_pem(org.config())?;
        Ok(Self {
            org: org.clone(),
            wire: Arc::new(RwLock::new(Wire::new(org, ca_pem)?)),
        })
    }

    /// Reads `ca_file` again. What is open goes on; what begins from now on is checked by the new certificates.
    pub fn take_certificates(&self) -> Result<(), Error> {
        let ca_pem = ca_pem(self.org.config())?;
        if self.wire().ca_pem != ca_pem {
            let wire = Wire::new(&self.org, ca_pem)?;
            *self.wire.write().unwrap_or_else(PoisonError::into_inner) = wire;
        }
        Ok(())
    }

    fn wire(&self) -> Wire {
        let wire = self.wire.read().unwrap_or_else(PoisonError::into_inner);
        wire.clone()
    }
}

impl Wire {
    fn new(org: &Org, ca_pem: Option<Vec<u8>>) -> Result<Self, Error> {
        let config = org.config();
        let unusable = |reason: String| {
            Error::Secret(format!(
                "[org] pubsub_url {} cannot be used ({reason}): it must be like https://api.pubsub.salesforce.com:7443",
                config.pubsub_url
            ))
        };
        let mut endpoint = Endpoint::from_shared(config.pubsub_url.clone())
            .map_err(|error| unusable(error.to_string()))?
            .connect_timeout(Duration::from_secs(10))
            .http2_keep_alive_interval(Duration::from_secs(30))
            .keep_alive_timeout(Duration::from_secs(20))
            .user_agent(concat!("storesync/", env!("CARGO_PKG_VERSION")))
            .map_err(|error| unusable(error.to_string()))?;
        if config.pubsub_url.starts_with("https:") {
            let mut tls = ClientTlsConfig::new().with_native_roots();
            if let Some(pem) = &ca_pem {
                tls = tls.ca_certificate(Certificate::from_pem(pem));
            }
            endpoint = endpoint
                .tls_config(tls)
                .map_err(|error| unusable(error.to_string()))?;
        }
        Ok(Self {
            client: PubSubClient::new(endpoint.connect_lazy()),
            endpoint,
            ca_pem,
        })
    }
}

impl PubSub {
    /// Whether a connection can be made at all: name, network, TLS.
    pub async fn connect(&self) -> Result<(), Error> {
        let connected = self.wire().endpoint.connect().await;
        connected.map(drop).map_err(|error| {
            let mut cause: &dyn std::error::Error = &error;
            while let Some(next) = cause.source() {
                cause = next;
            }
            Error::Unreachable {
                url: self.org.pubsub_url().to_owned(),
                reason: cause.to_string(),
            }
        })
    }

    /// One topic; `None` where it does not exist, which is also so where its object is not selected for
    /// change data capture.
    pub async fn topic(&self, name: &str) -> Result<Option<Topic>, Error> {
        let answer = self
            .unary(|mut client, session| {
                let request = authorized(
                    TopicRequest {
                        topic_name: name.to_owned(),
                    },
                    &session,
                );
                async move { client.get_topic(request?).await }
            })
            .await;
        match answer {
            Ok(info) => Ok(Some(Topic {
                name: info.topic_name,
                can_subscribe: info.can_subscribe,
                schema_id: Some(info.schema_id).filter(|id| !id.is_empty()),
            })),
            Err(Error::Stream {
                code: Code::NotFound, ..
            }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The Avro schema of an id, as JSON.
    pub async fn schema(&self, id: &str) -> Result<String, Error> {
        let answer = self
            .unary(|mut client, session| {
                let request = authorized(
                    SchemaRequest {
                        schema_id: id.to_owned(),
                    },
                    &session,
                );
                async move { client.get_schema(request?).await }
            })
            .await?;
        Ok(answer.schema_json)
    }

    /// Subscribes and asks for the first `credit` events. The org may take minutes until it first answers, so
    /// a refusal shows in [`Subscription::next`].
    pub async fn subscribe(&self, topic: &str, start: Start, credit: u32) -> Result<Subscription, Error> {
        let session = self.org.session().await?;
        let (requests, stream) = unbounded_channel();
        let (replay_preset, replay_id) = match start {
            Start::Latest => (ReplayPreset::Latest, bytes::Bytes::new()),
            Start::Earliest => (ReplayPreset::Earliest, bytes::Bytes::new()),
            Start::After(replay_id) => (ReplayPreset::Custom, replay_id.0),
        };
        let mut first = fetch(topic, credit);
        first.replay_preset = replay_preset.into();
        first.replay_id = replay_id;
        requests.send(first).map_err(|_| ended(topic))?;
        let request =
            authorized(UnboundedReceiverStream::new(stream), &session).map_err(|status| failure(&status))?;
        let mut client = self.wire().client;
        let opening = async move { client.subscribe(request).await.map(tonic::Response::into_inner) };
        Ok(Subscription {
            topic: topic.to_owned(),
            state: State::Opening(Box::pin(opening)),
            requests,
        })
    }

    /// A call with the session, and once more with a new one where the org refused the old.
    async fn unary<T, F, R>(&self, call: F) -> Result<T, Error>
    where
        F: Fn(PubSubClient<Channel>, Session) -> R,
        R: Future<Output = Result<tonic::Response<T>, Status>>,
    {
        let session = self.org.session().await?;
        let answer = timed(call(self.wire().client, session.clone())).await;
        if answer.is_ok() {
            self.org.accepted(&session);
        }
        match answer {
            Err(Error::Stream {
                code: Code::Unauthenticated,
                ..
            }) => {
                let session = self.org.renew(&session).await?;
                let answer = timed(call(self.wire().client, session.clone())).await;
                if answer.is_ok() {
                    self.org.accepted(&session);
                }
                answer
            }
            answer => answer,
        }
    }
}

impl Subscription {
    /// The next response; `None` where the org ended the stream. Cancel-safe.
    pub async fn next(&mut self) -> Result<Option<Response>, Error> {
        if let State::Opening(opening) = &mut self.state {
            let stream = opening.await.map_err(|status| failure(&status))?;
            self.state = State::Open(Box::new(stream));
        }
        let State::Open(stream) = &mut self.state else {
            return Ok(None);
        };
        let response = stream.message().await.map_err(|status| failure(&status))?;
        Ok(response.map(|response| Response {
            events: response.events.into_iter().map(raw_event).collect(),
            latest: ReplayId(response.latest_replay_id),
            pending: u32::try_from(response.pending_num_requested).unwrap_or_default(),
        }))
    }

    /// Asks for `credit` more events; demand adds up.
    pub fn request(&self, credit: u32) -> Result<(), Error> {
        self.requests
            .send(fetch(&self.topic, credit))
            .map_err(|_| ended(&self.topic))
    }
}

async fn timed<T>(call: impl Future<Output = Result<tonic::Response<T>, Status>>) -> Result<T, Error> {
    match tokio::time::timeout(UNARY_TIMEOUT, call).await {
        Ok(answer) => answer
            .map(tonic::Response::into_inner)
            .map_err(|status| failure(&status)),
        Err(_) => Err(failure(&Status::deadline_exceeded("no answer in time"))),
    }
}

fn fetch(topic: &str, credit: u32) -> FetchRequest {
    FetchRequest {
        topic_name: topic.to_owned(),
        num_requested: i32::try_from(credit).unwrap_or(i32::MAX),
        ..FetchRequest::default()
    }
}

/// Adds the three headers that every call must carry.
fn authorized<T>(message: T, session: &Session) -> Result<Request<T>, Status> {
    let mut request = Request::new(message);
    let headers = [
        ("accesstoken", &session.access_token),
        ("instanceurl", &session.instance_url),
        ("tenantid", &session.org_id),
    ];
    for (name, value) in headers {
        let value = MetadataValue::try_from(value)
            .map_err(|_| Status::unauthenticated(format!("the login gave a {name} that is not ASCII")))?;
        request.metadata_mut().insert(name, value);
    }
    Ok(request)
}

fn raw_event(event: ConsumerEvent) -> RawEvent {
    let producer = event.event.unwrap_or_default();
    RawEvent {
        replay_id: ReplayId(event.replay_id),
        event_id: producer.id,
        schema_id: producer.schema_id,
        payload: producer.payload,
        redacted: Vec::new(),
    }
}

fn ended(topic: &str) -> Error {
    failure(&Status::unavailable(format!("the stream of {topic} has ended")))
}

/// The `error-code` trailer is what to branch on; the status alone is ambiguous (a full service is INTERNAL).
fn failure(status: &Status) -> Error {
    let trailer = status
        .metadata()
        .get("error-code")
        .and_then(|value| value.to_str().ok());
    let error_code = trailer.map(|code| code.strip_prefix(ERROR_CODE_PREFIX).unwrap_or(code).to_owned());
    Error::Stream {
        code: status.code(),
        error_code,
        message: status.message().to_owned(),
    }
}
