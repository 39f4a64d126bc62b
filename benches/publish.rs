//! How fast the sandbox hands out events: the log, the Pub/Sub service over it, and rows before both.
//!
//! A bare client on loopback drains while events are appended; it asks again as soon as half its credit is spent, as
//! the daemon does. Target: 10,000 events a second. Clients share the machine with the sandbox.

use std::sync::Arc;

use bytes::Bytes;
use serde_json::json;
use storesync_proto::pub_sub_client::PubSubClient;
use storesync_proto::{FetchRequest, ReplayPreset};
use storesync_sandbox::bus::NewEvent;
use storesync_sandbox::clock::Clock;
use storesync_sandbox::oauth::Sessions;
use storesync_sandbox::org::{DEFAULT_ENTITIES, Org, OrgOptions, Origin, RecordErrors};
use storesync_sandbox::pubsub::{Hub, Service, Timings};
use storesync_sandbox::value::RecordId;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Request;
use tonic::metadata::MetadataValue;
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Channel, Server};

use crate::timing;

const EVENTS: usize = 50_000;
/// Records of one transaction.
const TOGETHER: usize = 200;
const ROUNDS: usize = 5;
const TOPIC: &str = "/data/Product2ChangeEvent";
const CREDIT: usize = 100;

pub fn run() {
    let runtime = Runtime::new().expect("a runtime");
    let org = Org::new(OrgOptions {
        seed: 1,
        products: TOGETHER,
        stores: 1,
        clock: Clock::System,
        selected_entities: DEFAULT_ENTITIES.map(str::to_owned).to_vec(),
    })
    .expect("an org");
    // Each change is to be an event of its own.
    org.set(|settings| settings.merge = false);
    let subscriber = runtime.block_on(Subscriber::new(&org));
    let event = one_event(&org);
    let transactions = || (0..EVENTS / TOGETHER).map(|_| vec![event.clone(); TOGETHER]);
    let rates = timing::medians(
        ROUNDS,
        EVENTS,
        &mut [
            &mut || transactions().for_each(|events| drop(org.bus().append(events))),
            &mut || {
                let drained = subscriber.drain(&runtime, &org);
                transactions().for_each(|events| drop(org.bus().append(events)));
                runtime.block_on(drained).expect("all events");
            },
            &mut || {
                let drained = subscriber.drain(&runtime, &org);
                (0..EVENTS / TOGETHER).for_each(|round| change(&org, round));
                runtime.block_on(drained).expect("all events");
            },
        ],
    );
    println!(
        "{EVENTS} events of {} bytes a round, {TOGETHER} a transaction, medians of {ROUNDS} rounds",
        event.payload.len()
    );
    timing::line("the log alone", rates[0], rates[0]);
    timing::line("appended and drained over gRPC", rates[1], rates[0]);
    timing::line("rows written, encoded and drained", rates[2], rates[0]);
}

fn origin(org: &Org) -> Origin {
    Origin {
        client: "bench".to_owned(),
        user: org.user_id(),
    }
}

/// Changes every product once, in one transaction.
fn change(org: &Org, round: usize) {
    let product = org.catalog().object("Product2").expect("products").index;
    let done: Result<(), RecordErrors> = org.transact(&origin(org), |transaction| {
        for at in 1..=TOGETHER as u64 {
            let body = json!({"Description": format!("Changed in round {round}, the {at}.")});
            let body = body.as_object().expect("an object");
            transaction.update(product, RecordId::new(*b"01t", at), body)?;
        }
        Ok(())
    });
    done.expect("a change");
}

fn one_event(org: &Org) -> NewEvent {
    let start = org.bus().tip();
    change(org, 0);
    let (events, _) = org
        .bus()
        .after(storesync_sandbox::bus::Topic::All, start, 1, usize::MAX);
    let event = events.first().expect("an event");
    NewEvent {
        object: event.object,
        id: event.id.clone(),
        schema_id: event.schema_id.clone(),
        payload: event.payload.clone(),
    }
}

struct Subscriber {
    client: PubSubClient<Channel>,
    headers: Arc<[(&'static str, String); 3]>,
}

impl Subscriber {
    async fn new(org: &Org) -> Self {
        let sessions = Sessions::new(Clock::System, org.id());
        let token = sessions.issue().expect("a token");
        let hub = Hub::new(org.clone(), sessions, Timings::default());
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let service = Service::new(hub).into_server();
        let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
        tokio::spawn(
            Server::builder()
                .add_service(service)
                .serve_with_incoming(incoming),
        );
        let channel = Channel::from_shared(format!("http://{address}")).expect("an address");
        Self {
            client: PubSubClient::new(channel.connect().await.expect("a connection")),
            headers: Arc::new([
                ("accesstoken", token),
                ("instanceurl", "https://bench.example".to_owned()),
                ("tenantid", org.id().to_string()),
            ]),
        }
    }

    /// Receives a round's events, from here on.
    fn drain(&self, runtime: &Runtime, org: &Org) -> tokio::task::JoinHandle<()> {
        let (client, headers) = (self.client.clone(), Arc::clone(&self.headers));
        runtime.spawn(receive(client, headers, org.bus().tip().replay_id()))
    }
}

async fn receive(
    mut client: PubSubClient<Channel>,
    headers: Arc<[(&'static str, String); 3]>,
    replay_id: Bytes,
) {
    let (ask, asked) = tokio::sync::mpsc::channel(8);
    let mut request = Request::new(ReceiverStream::new(asked));
    for (name, value) in headers.iter() {
        let value = MetadataValue::try_from(value).expect("a header");
        request.metadata_mut().insert(*name, value);
    }
    let more = |topic: &str, events: usize| FetchRequest {
        topic_name: topic.to_owned(),
        replay_preset: ReplayPreset::Custom.into(),
        replay_id: replay_id.clone(),
        num_requested: events as i32,
        auth_refresh: String::new(),
    };
    ask.send(more(TOPIC, CREDIT)).await.expect("a request");
    let mut responses = client.subscribe(request).await.expect("a call").into_inner();
    let mut received = 0;
    while received < EVENTS {
        let response = responses.message().await.expect("no error").expect("no end");
        received += response.events.len();
        let pending = usize::try_from(response.pending_num_requested).expect("a number");
        if pending <= CREDIT / 2 {
            ask.send(more("", CREDIT - pending)).await.expect("a request");
        }
    }
}
