//! One subscription of an org that is far away: 50 ms there and back.
//!
//! Salesforce keeps at most a hundred events in flight for a subscription, so its speed is bound by 100 / RTT,
//! however fast the client is: what a client does between a response and its next request comes off that. Against
//! it, and against a bare client that asks as soon as a response is there and throws the events away. The org is a
//! sandbox with the same cap, behind a relay that delays each direction. Target: 0.95 of 100 / RTT.

use std::time::{Duration, Instant};

use storesync_proto::pub_sub_client::PubSubClient;
use storesync_proto::{FetchRequest, ReplayPreset, TopicRequest};
use tokio::runtime::Runtime;
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::transport::Channel;

use crate::relay;
use crate::timing;
use crate::world::{self, FEW_OBJECTS, Sandbox};

const RTT: Duration = Duration::from_millis(50);
const IN_FLIGHT_MAX: usize = 100;
const TOPIC: &str = "/data/ChangeEvents";
const PRODUCTS: usize = 2_000;
const EVENTS_PER_TRANSACTION: usize = 500;
/// Of a round; the time of the first ones is that of connecting.
const EVENTS: usize = 12_000;
const FIRST: usize = 2_000;
const ROUNDS: usize = 3;
const CALLS: usize = 20;

pub fn run() {
    let runtime = Runtime::new().expect("a runtime");
    runtime.block_on(measure());
}

async fn measure() {
    let org = Sandbox::start(PRODUCTS).await;
    let relay = relay::start(org.grpc(), RTT / 2);
    let url = format!("http://{relay}");
    let products = org.products(PRODUCTS).await;
    let far = [FEW_OBJECTS, ("STORESYNC__ORG__PUBSUB_URL", url.as_str())];
    let mut daemon = org.daemon(&far);
    daemon.live().await;
    let cache = world::cache(&org.state());
    let mut bare = world::pubsub(relay).await;
    let (mut of_bare, mut of_daemon) = (Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        daemon.process.kill();
        let before = world::revision(&cache);
        for (number, some) in products
            .chunks(EVENTS_PER_TRANSACTION)
            .cycle()
            .take(EVENTS / EVENTS_PER_TRANSACTION)
            .enumerate()
        {
            org.update_all(some, &format!("round {round}, {number}")).await;
        }
        of_bare.push(drain(&mut bare, &org, round * EVENTS).await);
        daemon = org.daemon(&far);
        let mut begun = None;
        let seconds = loop {
            let applied = world::revision(&cache) - before;
            let now = Instant::now();
            if applied >= FIRST as i64 {
                begun.get_or_insert((now, applied));
            }
            if applied >= EVENTS as i64
                && let Some((begun, first)) = begun
            {
                break (now - begun).as_secs_f64() / (applied - first) as f64;
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        };
        of_daemon.push(1.0 / seconds);
    }
    let rtt = round_trip(&mut bare, &org).await;
    let limit = IN_FLIGHT_MAX as f64 / RTT.as_secs_f64();
    println!(
        "{EVENTS} events a round, medians of {ROUNDS} rounds; a call takes {:.1} ms",
        rtt.as_secs_f64() * 1e3
    );
    timing::line("100 in flight / 50 ms", limit, limit);
    timing::line("a client that only asks", timing::median(of_bare), limit);
    timing::line(
        "storesync, stored (target 0.95x)",
        timing::median(of_daemon),
        limit,
    );
}

type Client = PubSubClient<Channel>;

/// Reads the round's events from the log, which holds those of earlier rounds too; events per second.
async fn drain(client: &mut Client, org: &Sandbox, earlier: usize) -> f64 {
    let (requests, stream) = tokio::sync::mpsc::unbounded_channel();
    let ask = |events: usize| FetchRequest {
        topic_name: TOPIC.to_owned(),
        replay_preset: ReplayPreset::Earliest.into(),
        num_requested: events as i32,
        ..FetchRequest::default()
    };
    requests.send(ask(IN_FLIGHT_MAX)).expect("the stream is open");
    let request = org.call(UnboundedReceiverStream::new(stream));
    let mut responses = client.subscribe(request).await.expect("a stream").into_inner();
    let (mut events, mut begun) = (0, None);
    loop {
        let response = responses.message().await.expect("no error").expect("no end");
        let now = Instant::now();
        if !response.events.is_empty() {
            requests
                .send(ask(response.events.len()))
                .expect("the stream is open");
        }
        events += response.events.len();
        if events >= earlier + FIRST {
            begun.get_or_insert((now, events));
        }
        if events >= earlier + EVENTS
            && let Some((begun, first)) = begun
        {
            return (events - first) as f64 / (now - begun).as_secs_f64();
        }
    }
}

async fn round_trip(client: &mut Client, org: &Sandbox) -> Duration {
    let mut times = Vec::with_capacity(CALLS);
    for _ in 0..CALLS {
        let called = Instant::now();
        let topic_name = TOPIC.to_owned();
        let answer = client.get_topic(org.call(TopicRequest { topic_name })).await;
        answer.expect("an answer");
        times.push(called.elapsed());
    }
    times.sort_unstable();
    times[CALLS / 2]
}
