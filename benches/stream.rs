//! The whole inbound path: events from a gRPC server on loopback to rows, as the daemon takes them.
//!
//! Against apply alone, fed from memory, in the same run, and against what users have today: the Node client, which
//! hears the same stream, hands each event to a handler that prints it, and stores nothing. The server hands out what
//! it made beforehand as fast as it is asked; it and the subscriber share the machine. Targets: 0.9 of apply alone,
//! 10 times the Node client, which is measured where `sh benches/peers/setup.sh` has installed it.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::Pin;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use futures_util::stream::{self, Stream, StreamExt};
use storesync::config;
use storesync::inbound::prepare::{Channel, Planned};
use storesync::inbound::{Wires, subscribe};
use storesync::model::change::RawEvent;
use storesync::model::clock::Clock;
use storesync::salesforce::{self, Org};
use storesync::store::cache::cursors;
use storesync::store::reader::Reader;
use storesync_proto::pub_sub_server::{PubSub, PubSubServer};
use storesync_proto::{
    ConsumerEvent, FetchRequest, FetchResponse, ManagedFetchRequest, ManagedFetchResponse, ProducerEvent,
    PublishRequest, PublishResponse, SchemaInfo, SchemaRequest, TopicInfo, TopicRequest,
};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status, Streaming};

use crate::apply::{EVENTS_PER_RESPONSE, responses};
use crate::door::{self, Door, TOPIC};
use crate::fixture::{self, Fixture};
use crate::{scripts, timing};

const RECORDS: u64 = 100_000;
const EVENTS: usize = 100_000;
const ROUNDS: usize = 5;
/// The Node client hears fewer, for the sake of time.
const NODE_EVENTS: usize = 20_000;
const NODE_ROUNDS: usize = 3;

pub fn run() {
    let runtime = Runtime::new().expect("a runtime");
    let mut fixture = Fixture::new(4, RECORDS);
    let table = door::table(&fixture);
    let csv: Bytes = fixture.csv().into();
    let dirs: Vec<tempfile::TempDir> = (0..2).map(|_| tempfile::tempdir().expect("a folder")).collect();
    let doors: Vec<Door> = dirs.iter().map(|dir| Door::open(dir.path(), &table)).collect();
    let pages = std::slice::from_ref(&csv);
    doors.iter().for_each(|door| door.load(pages));
    let mut rounds: Vec<_> = (0..ROUNDS).map(|_| fixture.events(EVENTS)).collect();
    rounds.reverse();
    let mut alone: Vec<_> = rounds.iter().map(|events| responses(events.clone())).collect();

    let server = Server::default();
    let addresses = runtime.block_on(serve(server.clone()));
    let secrets = tempfile::tempdir().expect("a folder");
    let secret = secrets.path().join("secret");
    std::fs::write(&secret, "secret").expect("a secret");
    let org = Org::new(&org_config(addresses, secret), Clock::System).expect("an org");
    let pubsub = runtime
        .block_on(async { salesforce::pubsub::PubSub::new(&org) })
        .expect("a client");
    let reader = Reader::new(dirs[1].path());

    let through_grpc = || {
        let events = rounds.pop().expect("a round");
        let last = events.last().expect("events").replay_id.clone();
        server.offer(events);
        let stop = CancellationToken::new();
        let wires = Wires {
            org: org.clone(),
            clock: Clock::System,
            reader: reader.clone(),
            planned: watch::Sender::new(Arc::from(Vec::<Planned>::new())),
            apply: doors[1].queue.clone(),
            bells: doors[1].bells.clone(),
            keep_rows: true,
            stop: stop.clone(),
        };
        let channel = Channel {
            topic: TOPIC.to_owned(),
            resume_after: None,
        };
        let mut revisions = doors[1].bells.rev.subscribe();
        runtime.block_on(async {
            let subscription = tokio::spawn(subscribe::run(wires, pubsub.clone(), channel, HashSet::new()));
            loop {
                let cursors = reader.with(cursors::cursors).expect("the cursors");
                if cursors.iter().any(|cursor| cursor.last_seen == last) {
                    break;
                }
                revisions.changed().await.expect("apply runs");
            }
            stop.cancel();
            subscription.await.expect("no panic").expect("no error");
        });
    };
    let rates = timing::medians(
        ROUNDS,
        EVENTS,
        &mut [&mut || doors[0].apply(alone.pop().expect("a round")), &mut {
            through_grpc
        }],
    );
    println!(
        "{RECORDS} rows of {} columns, {EVENTS} events a round, medians of {ROUNDS} rounds",
        table.columns.len()
    );
    timing::line("apply alone", rates[0], rates[0]);
    timing::line("over gRPC (target 0.9x)", rates[1], rates[0]);
    doors.into_iter().for_each(Door::close);
    node(&server, addresses.1, &fixture.events(NODE_EVENTS), rates[1]);
}

/// The same stream heard by the Node client.
fn node(server: &Server, address: SocketAddr, events: &[RawEvent], ours: f64) {
    let Some(installed) = scripts::installed() else {
        return;
    };
    for (name, handler) in [
        ("Node client, events counted", "count"),
        ("Node client, events printed (target 10x of it)", "print"),
    ] {
        let rounds = (0..NODE_ROUNDS).map(|_| {
            server.offer(events.to_vec());
            let mut node = Command::new("node");
            node.arg(scripts::path("hear_events.mjs"))
                .arg(&installed)
                .args([&address.to_string(), TOPIC, &events.len().to_string(), handler])
                .stdout(Stdio::null());
            scripts::rate(name, &mut node)
        });
        let rate = timing::median(rounds.collect());
        timing::line(name, rate, ours);
        println!("storesync is {:.1}x of it, and stores what it hears", ours / rate);
    }
}

fn org_config((http, grpc): (SocketAddr, SocketAddr), secret: PathBuf) -> config::Org {
    config::Org {
        login_url: format!("http://{http}"),
        pubsub_url: format!("http://{grpc}"),
        ca_file: None,
        auth: config::Auth::ClientCredentials,
        client_id: "client".to_owned(),
        client_secret_file: Some(secret),
        username: None,
        password_file: None,
        private_key_file: None,
        refresh_token_file: None,
        audience: None,
        api_version: "67.0".to_owned(),
        hosts: Vec::new(),
        region: None,
    }
}

/// Listens for logins and for gRPC.
async fn serve(server: Server) -> (SocketAddr, SocketAddr) {
    let http = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let grpc = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let addresses = (
        http.local_addr().expect("an address"),
        grpc.local_addr().expect("an address"),
    );
    let login = serde_json::json!({
        "access_token": "token",
        "instance_url": format!("http://{}", addresses.0),
        "id": format!("http://{}/id/00D000000000001EAA/005000000000001AAA", addresses.0),
    });
    let app = axum::Router::new().route(
        "/services/oauth2/token",
        axum::routing::post(move || std::future::ready(axum::Json(login.clone()))),
    );
    tokio::spawn(async move { axum::serve(http, app).await });
    tokio::spawn(
        tonic::transport::Server::builder()
            .add_service(PubSubServer::new(server))
            .serve_with_incoming(TcpIncoming::from(grpc).with_nodelay(Some(true))),
    );
    addresses
}

/// Hands out what was offered, as much as it is asked for.
#[derive(Clone, Default)]
struct Server {
    offered: Arc<Mutex<Vec<ConsumerEvent>>>,
}

impl Server {
    fn offer(&self, events: Vec<RawEvent>) {
        let mut events: Vec<ConsumerEvent> = events.into_iter().map(consumer_event).collect();
        events.reverse();
        *self.offered.lock().expect("no panic") = events;
    }

    fn take(&self, wanted: usize) -> Vec<ConsumerEvent> {
        let mut offered = self.offered.lock().expect("no panic");
        let left = offered.len().saturating_sub(wanted.min(EVENTS_PER_RESPONSE));
        let mut taken = offered.split_off(left);
        taken.reverse();
        taken
    }
}

fn consumer_event(event: RawEvent) -> ConsumerEvent {
    ConsumerEvent {
        event: Some(ProducerEvent {
            id: event.event_id,
            schema_id: event.schema_id,
            payload: event.payload,
            headers: Vec::new(),
        }),
        replay_id: event.replay_id.0,
    }
}

type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[tonic::async_trait]
impl PubSub for Server {
    type SubscribeStream = Answers<FetchResponse>;
    type PublishStreamStream = Answers<PublishResponse>;
    type ManagedSubscribeStream = Answers<ManagedFetchResponse>;

    async fn subscribe(
        &self,
        request: Request<Streaming<FetchRequest>>,
    ) -> Result<Response<Self::SubscribeStream>, Status> {
        let server = self.clone();
        let answers = stream::unfold(request.into_inner(), move |mut requests| {
            let server = server.clone();
            async move {
                loop {
                    let request = requests.message().await.ok()??;
                    let events = server.take(usize::try_from(request.num_requested).unwrap_or_default());
                    if let Some(last) = events.last() {
                        let response = FetchResponse {
                            latest_replay_id: last.replay_id.clone(),
                            pending_num_requested: 0,
                            rpc_id: String::new(),
                            events,
                        };
                        return Some((Ok(response), requests));
                    }
                }
            }
        });
        Ok(Response::new(answers.boxed()))
    }

    async fn get_schema(&self, request: Request<SchemaRequest>) -> Result<Response<SchemaInfo>, Status> {
        Ok(Response::new(SchemaInfo {
            schema_json: fixture::SCHEMA.to_owned(),
            schema_id: request.into_inner().schema_id,
            rpc_id: String::new(),
        }))
    }

    async fn get_topic(&self, _: Request<TopicRequest>) -> Result<Response<TopicInfo>, Status> {
        Err(Status::unimplemented("not asked for"))
    }

    async fn publish(&self, _: Request<PublishRequest>) -> Result<Response<PublishResponse>, Status> {
        Err(Status::unimplemented("not asked for"))
    }

    async fn publish_stream(
        &self,
        _: Request<Streaming<PublishRequest>>,
    ) -> Result<Response<Self::PublishStreamStream>, Status> {
        Err(Status::unimplemented("not asked for"))
    }

    async fn managed_subscribe(
        &self,
        _: Request<Streaming<ManagedFetchRequest>>,
    ) -> Result<Response<Self::ManagedSubscribeStream>, Status> {
        Err(Status::unimplemented("not asked for"))
    }
}
