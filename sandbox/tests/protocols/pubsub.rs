//! The sandbox's Pub/Sub service, driven over a socket by the generated client.
//!
//! Each test starts an org of its own. Timings are short, and what is waited for is always a response.

mod channels;
mod faults;
mod managed;
mod publish;

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use serde_json::json;
use storesync_proto::pub_sub_client::PubSubClient;
use storesync_proto::{FetchRequest, FetchResponse, ReplayPreset, SchemaRequest, TopicRequest};
use storesync_sandbox::clock::Clock;
use storesync_sandbox::oauth::Sessions;
use storesync_sandbox::org::{DEFAULT_ENTITIES, Org, OrgOptions, Origin, RecordErrors};
use storesync_sandbox::pubsub::{Hub, Service, Timings};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::metadata::MetadataValue;
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Channel, Server};
use tonic::{Code, Request, Status, Streaming};

const ACCOUNTS: &str = "/data/AccountChangeEvent";

struct World {
    org: Org,
    hub: Arc<Hub>,
    sessions: Sessions,
    token: String,
    client: PubSubClient<Channel>,
}

/// A call in progress.
struct Call {
    ask: mpsc::Sender<FetchRequest>,
    responses: Streaming<FetchResponse>,
}

impl World {
    async fn new(timings: Timings) -> Self {
        let org = Org::new(OrgOptions {
            seed: 1,
            products: 5,
            stores: 1,
            clock: Clock::System,
            selected_entities: DEFAULT_ENTITIES.map(str::to_owned).to_vec(),
        })
        .unwrap();
        let sessions = Sessions::new(Clock::System, org.id());
        let token = sessions.issue().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let hub = Hub::new(org.clone(), sessions.clone(), timings);
        let service = Service::new(Arc::clone(&hub)).into_server();
        tokio::spawn(
            Server::builder()
                .add_service(service)
                .serve_with_incoming(TcpIncoming::from(listener).with_nodelay(Some(true))),
        );
        let channel = Channel::from_shared(format!("http://{address}"))
            .unwrap()
            .connect()
            .await
            .unwrap();
        Self {
            org,
            hub,
            sessions,
            token,
            client: PubSubClient::new(channel),
        }
    }

    async fn quick() -> Self {
        Self::new(Timings {
            keepalive: Duration::from_secs(20),
            idle: Duration::from_secs(20),
            ..Timings::default()
        })
        .await
    }

    fn signed<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        let tenant = self.org.id().to_string();
        for (name, value) in [
            ("accesstoken", self.token.as_str()),
            ("instanceurl", "https://sandbox.example"),
            ("tenantid", &tenant),
        ] {
            request
                .metadata_mut()
                .insert(name, MetadataValue::try_from(value).unwrap());
        }
        request
    }

    async fn subscribe(&self, first: FetchRequest) -> Call {
        let (ask, asked) = mpsc::channel(8);
        ask.send(first).await.unwrap();
        let responses = self
            .client
            .clone()
            .subscribe(self.signed(ReceiverStream::new(asked)))
            .await
            .unwrap();
        Call {
            ask,
            responses: responses.into_inner(),
        }
    }

    /// Creates so many accounts, each in a transaction of its own.
    fn change(&self, accounts: usize) {
        let origin = Origin {
            client: "tests".to_owned(),
            user: self.org.user_id(),
        };
        let account = self.org.catalog().object("Account").unwrap().index;
        for at in 0..accounts {
            let body = json!({"Name": format!("Account {at}")});
            let done = self
                .org
                .transact(&origin, |tx| tx.create(account, body.as_object().unwrap()));
            done.unwrap();
        }
    }
}

impl Call {
    async fn next(&mut self) -> Result<Option<FetchResponse>, Status> {
        tokio::time::timeout(Duration::from_secs(15), self.responses.message())
            .await
            .expect("a response in time")
    }

    async fn response(&mut self) -> FetchResponse {
        self.next().await.unwrap().expect("the call goes on")
    }

    async fn more(&self, events: i32) {
        self.ask
            .send(FetchRequest {
                num_requested: events,
                ..FetchRequest::default()
            })
            .await
            .unwrap();
    }
}

fn fetch(topic: &str, preset: ReplayPreset, replay_id: Bytes, events: i32) -> FetchRequest {
    FetchRequest {
        topic_name: topic.to_owned(),
        replay_preset: preset.into(),
        replay_id,
        num_requested: events,
        ..FetchRequest::default()
    }
}

fn latest(events: i32) -> FetchRequest {
    fetch(ACCOUNTS, ReplayPreset::Latest, Bytes::new(), events)
}

/// The tip of a topic, to resume from.
fn custom(replay_id: &Bytes, events: i32) -> FetchRequest {
    fetch(ACCOUNTS, ReplayPreset::Custom, replay_id.clone(), events)
}

fn error_code(status: &Status) -> &str {
    let code = status
        .metadata()
        .get("error-code")
        .and_then(|value| value.to_str().ok());
    code.unwrap_or_default()
        .strip_prefix("sfdc.platform.eventbus.grpc.")
        .unwrap_or_default()
}

#[tokio::test]
async fn credit_is_never_overdrawn_and_adds_up() {
    let world = World::quick().await;
    let first = fetch(ACCOUNTS, ReplayPreset::Earliest, Bytes::new(), 3);
    world.change(5);
    let mut call = world.subscribe(first).await;
    let response = call.response().await;
    assert_eq!((response.events.len(), response.pending_num_requested), (3, 0));
    assert_eq!(response.latest_replay_id, response.events[2].replay_id);
    assert_eq!(response.latest_replay_id.len(), 10);
    call.more(150).await;
    let response = call.response().await;
    assert_eq!(
        (response.events.len(), response.pending_num_requested),
        (2, 98),
        "credit is capped at 100"
    );
    world.change(1);
    let response = call.response().await;
    assert_eq!((response.events.len(), response.pending_num_requested), (1, 97));
}

#[tokio::test]
async fn events_arrive_promptly_and_their_schema_can_be_had() {
    let world = World::quick().await;
    world.change(1);
    let mut call = world
        .subscribe(fetch(ACCOUNTS, ReplayPreset::Earliest, Bytes::new(), 10))
        .await;
    assert_eq!(call.response().await.events.len(), 1);
    let begun = Instant::now();
    world.change(1);
    let response = call.response().await;
    assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
    let event = response.events[0].event.clone().unwrap();
    let mut client = world.client.clone();
    let schema = client
        .get_schema(world.signed(SchemaRequest {
            schema_id: event.schema_id.clone(),
        }))
        .await
        .unwrap();
    let schema = apache_avro::Schema::parse_str(&schema.into_inner().schema_json).unwrap();
    let reader = apache_avro::reader::datum::GenericDatumReader::builder(&schema)
        .build()
        .unwrap();
    reader.read_value(&mut &event.payload[..]).unwrap();
    let topic = client
        .get_topic(world.signed(TopicRequest {
            topic_name: ACCOUNTS.to_owned(),
        }))
        .await
        .unwrap();
    assert_eq!(topic.into_inner().schema_id, event.schema_id);
    let all = TopicRequest {
        topic_name: "/data/ChangeEvents".to_owned(),
    };
    assert_eq!(
        client
            .get_topic(world.signed(all))
            .await
            .unwrap()
            .into_inner()
            .schema_id,
        ""
    );
}

#[tokio::test]
async fn a_quiet_subscription_is_kept_alive_with_the_newest_position() {
    let timings = Timings {
        keepalive: Duration::from_millis(200),
        idle: Duration::from_secs(20),
        ..Timings::default()
    };
    let world = World::new(timings).await;
    let mut call = world
        .subscribe(fetch(
            "/data/Product2ChangeEvent",
            ReplayPreset::Latest,
            Bytes::new(),
            5,
        ))
        .await;
    let first = call.response().await;
    assert_eq!((first.events.len(), first.pending_num_requested), (0, 5));
    world.change(2);
    // Other topics' events move the position on.
    let mut position = first.latest_replay_id.clone();
    while position == first.latest_replay_id {
        let response = call.response().await;
        assert!(response.events.is_empty());
        position = response.latest_replay_id;
    }
    assert_eq!(position, world.org.bus().tip().replay_id());
    let again = world
        .subscribe(fetch(ACCOUNTS, ReplayPreset::Custom, position, 5))
        .await
        .response()
        .await;
    assert!(again.events.is_empty(), "the position is a place to resume from");
}

#[tokio::test]
async fn a_subscription_without_credit_ends_after_the_idle_time() {
    let timings = Timings {
        keepalive: Duration::from_secs(20),
        idle: Duration::from_millis(200),
        ..Timings::default()
    };
    let world = World::new(timings).await;
    world.change(1);
    let mut call = world
        .subscribe(fetch(ACCOUNTS, ReplayPreset::Earliest, Bytes::new(), 1))
        .await;
    assert_eq!(call.response().await.events.len(), 1);
    assert!(
        call.next().await.unwrap().is_none(),
        "the call ends without an error"
    );
}

#[tokio::test]
async fn resuming_is_strictly_after_a_replay_id() {
    let world = World::quick().await;
    world.change(4);
    let mut call = world
        .subscribe(fetch(ACCOUNTS, ReplayPreset::Earliest, Bytes::new(), 10))
        .await;
    let events = call.response().await.events;
    assert_eq!(events.len(), 4);
    for form in [events[1].replay_id.clone(), events[1].replay_id.slice(..8)] {
        let mut call = world
            .subscribe(fetch(ACCOUNTS, ReplayPreset::Custom, form, 10))
            .await;
        let rest = call.response().await.events;
        assert_eq!(
            rest.iter().map(|event| &event.replay_id).collect::<Vec<_>>(),
            [&events[2].replay_id, &events[3].replay_id]
        );
    }
}

#[tokio::test]
async fn bad_requests_end_the_call_with_the_platforms_error_code() {
    let world = World::quick().await;
    let unknown = Bytes::from_static(&[0, 0, 0, 0, 0, 0, 0, 9, 0, 0]);
    let custom = |id: Bytes| fetch(ACCOUNTS, ReplayPreset::Custom, id, 1);
    let topic = |name: &str| fetch(name, ReplayPreset::Latest, Bytes::new(), 1);
    let table = [
        (
            custom(unknown),
            Code::InvalidArgument,
            "subscription.fetch.replayid.corrupted",
        ),
        (
            custom(Bytes::from_static(b"garbage")),
            Code::InvalidArgument,
            "subscription.fetch.replayid.corrupted",
        ),
        (
            custom(Bytes::new()),
            Code::InvalidArgument,
            "subscription.fetch.replayid.validation.failed",
        ),
        (
            latest(0),
            Code::InvalidArgument,
            "subscription.fetch.requested.events.invalid",
        ),
        (topic("/data/NopeChangeEvent"), Code::NotFound, "topic.not.found"),
        (
            topic("/data/ContactChangeEvent"),
            Code::NotFound,
            "topic.not.found",
        ),
        (
            topic("/data/accountchangeevent"),
            Code::NotFound,
            "topic.not.found",
        ),
        (topic(""), Code::InvalidArgument, "topic.validation.empty"),
    ];
    for (request, code, suffix) in table {
        let mut call = world.subscribe(request.clone()).await;
        let status = call.next().await.expect_err(suffix);
        assert_eq!(
            (status.code(), error_code(&status)),
            (code, suffix),
            "{request:?}"
        );
        let rpc_id = status.metadata().get("rpc-id").unwrap().to_str().unwrap();
        assert!(
            status.message().ends_with(&format!("rpcId: {rpc_id}")),
            "{}",
            status.message()
        );
        assert_eq!(status.metadata().get("type").unwrap(), "Subscribe");
    }
    let mut call = world.subscribe(latest(1)).await;
    call.ask.send(topic("/data/OrderChangeEvent")).await.unwrap();
    assert_eq!(
        error_code(&call.next().await.unwrap_err()),
        "subscription.fetch.topic.mismatch"
    );
}

#[tokio::test]
async fn every_call_needs_a_valid_login() {
    let mut world = World::quick().await;
    let mut client = world.client.clone();
    let ask = || TopicRequest {
        topic_name: ACCOUNTS.to_owned(),
    };
    let bare = client.get_topic(ask()).await.unwrap_err();
    assert_eq!(
        (bare.code(), error_code(&bare)),
        (Code::Unauthenticated, "service.auth.error")
    );
    let mut other_org = world.signed(ask());
    other_org
        .metadata_mut()
        .insert("tenantid", MetadataValue::from_static("00DSb0000009999"));
    assert_eq!(
        client.get_topic(other_org).await.unwrap_err().code(),
        Code::Unauthenticated
    );
    let mut short = world.signed(ask());
    let tenant = world.org.id().as_str()[..15].to_owned();
    short
        .metadata_mut()
        .insert("tenantid", MetadataValue::try_from(tenant).unwrap());
    client.get_topic(short).await.expect("15 characters will do");
    // A token that ends takes its running calls with it.
    let mut call = world.subscribe(latest(5)).await;
    world.change(1);
    world.sessions.expire_all();
    world.change(1);
    let status = loop {
        match call.next().await {
            Ok(response) => assert!(response.is_some()),
            Err(status) => break status,
        }
    };
    assert_eq!(error_code(&status), "service.auth.error");
    world.token = "nonsense".to_owned();
    assert_eq!(
        client.get_topic(world.signed(ask())).await.unwrap_err().code(),
        Code::Unauthenticated
    );
}

#[tokio::test]
async fn all_channel_carries_every_selected_object_in_order() {
    let world = World::quick().await;
    let mut call = world
        .subscribe(fetch(
            "/data/ChangeEvents",
            ReplayPreset::Earliest,
            Bytes::new(),
            50,
        ))
        .await;
    let origin = Origin {
        client: "tests".to_owned(),
        user: world.org.user_id(),
    };
    let index = |name: &str| world.org.catalog().object(name).unwrap().index;
    let done: Result<(), RecordErrors> = world.org.transact(&origin, |tx| {
        tx.create(index("Account"), json!({"Name": "A"}).as_object().unwrap())?;
        tx.create(index("Contact"), json!({"LastName": "B"}).as_object().unwrap())?;
        tx.create(index("Product2"), json!({"Name": "C"}).as_object().unwrap())?;
        Ok(())
    });
    done.unwrap();
    let events = call.response().await.events;
    let schemas: Vec<String> = events
        .into_iter()
        .map(|event| event.event.unwrap().schema_id)
        .collect();
    let wanted = ["Account", "Product2"].map(|name| world.org.event_schema(index(name)).id.clone());
    assert_eq!(schemas, wanted);
}
