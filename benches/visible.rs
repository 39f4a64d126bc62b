//! How long after an event arrives its row can be read: 100 changes a second in the org, one after another.
//!
//! A bare client of the Pub/Sub API notes when each event is there, another thread, which reads `cache.db` as any
//! program would, when its row is. What lies between is what storing it costs. Org, daemon and both observers share
//! the machine. Targets: median 3 ms, 99 of 100 within 15 ms.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use storesync_proto::{FetchRequest, ReplayPreset};
use tokio::runtime::Runtime;
use tokio::sync::mpsc;
use tokio_stream::wrappers::UnboundedReceiverStream;

use crate::world::{self, FEW_OBJECTS, Sandbox};

const CHANGES: usize = 3_000;
/// Not counted: what runs for the first time takes longer.
const FIRST: usize = 200;
const PERIOD: Duration = Duration::from_millis(10);
const LOOK: Duration = Duration::from_micros(100);
const IN_FLIGHT: i32 = 100;

pub fn run() {
    let runtime = Runtime::new().expect("a runtime");
    runtime.block_on(measure());
}

async fn measure() {
    let org = Sandbox::start(CHANGES).await;
    let daemon = org.daemon(&[FEW_OBJECTS]);
    daemon.live().await;
    let products = org.products(CHANGES).await;
    let mut arrivals = arrivals(&org).await;
    let ended = Arc::new(AtomicBool::new(false));
    let looking = {
        let (state, ended) = (org.state(), Arc::clone(&ended));
        std::thread::spawn(move || look(&state, &ended))
    };
    let (mut committed, mut arrived) = (Vec::new(), Vec::new());
    let mut due = tokio::time::interval(PERIOD);
    for product in &products {
        due.tick().await;
        // In turn, so that the nth event is of the nth change.
        org.update(product, "changed").await;
        committed.push(Instant::now());
    }
    while arrived.len() < products.len() {
        arrived.push(arrivals.recv().await.expect("every change is told of"));
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    ended.store(true, Ordering::SeqCst);
    let visible = looking.join().expect("no panic");
    let visible: Vec<Instant> = products.iter().map(|product| visible[product]).collect();
    println!(
        "{} changes, {} a second; medians and 99th percentiles, in milliseconds",
        CHANGES - FIRST,
        Duration::from_secs(1).as_millis() / PERIOD.as_millis()
    );
    line("the org's answer -> event at a bare client", &committed, &arrived);
    line("the org's answer -> row in cache.db", &committed, &visible);
    line(
        "event at a bare client -> row (targets 3 and 15)",
        &arrived,
        &visible,
    );
}

fn line(what: &str, from: &[Instant], to: &[Instant]) {
    let millis = |(from, to): (&Instant, &Instant)| {
        let later = to.saturating_duration_since(*from).as_secs_f64();
        (later - from.saturating_duration_since(*to).as_secs_f64()) * 1e3
    };
    let mut times: Vec<f64> = from.iter().zip(to).skip(FIRST).map(millis).collect();
    times.sort_unstable_by(f64::total_cmp);
    let at = |percent: usize| times[times.len() * percent / 100];
    println!("{what:<58} {:>8.2} {:>8.2}", at(50), at(99));
}

/// When each event came.
async fn arrivals(org: &Sandbox) -> mpsc::UnboundedReceiver<Instant> {
    let mut client = world::pubsub(org.grpc()).await;
    let (requests, stream) = mpsc::unbounded_channel();
    let ask = |events| FetchRequest {
        topic_name: "/data/ChangeEvents".to_owned(),
        replay_preset: ReplayPreset::Latest.into(),
        num_requested: events,
        ..FetchRequest::default()
    };
    requests.send(ask(IN_FLIGHT)).expect("the stream is open");
    let request = org.call(UnboundedReceiverStream::new(stream));
    let mut responses = client.subscribe(request).await.expect("a stream").into_inner();
    let (tell, told) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok(Some(response)) = responses.message().await {
            let now = Instant::now();
            for _ in &response.events {
                if tell.send(now).is_err() {
                    return;
                }
            }
            if !response.events.is_empty() {
                requests
                    .send(ask(response.events.len() as i32))
                    .expect("the stream is open");
            }
        }
    });
    told
}

/// When each record's change was first seen in the cache.
fn look(state: &Path, ended: &AtomicBool) -> HashMap<String, Instant> {
    let cache = world::cache(state);
    let mut newest = world::revision(&cache);
    let mut select = cache
        .prepare("select rev, record_id from _change where rev > ?1 and record_id is not null order by rev")
        .expect("a statement");
    let mut seen = HashMap::new();
    while !ended.load(Ordering::SeqCst) {
        let found: Vec<(i64, String)> = select
            .query_map([newest], |row| Ok((row.get(0)?, row.get(1)?)))
            .and_then(Iterator::collect)
            .expect("rows");
        let now = Instant::now();
        for (rev, id) in found {
            newest = rev;
            seen.entry(id).or_insert(now);
        }
        std::thread::sleep(LOOK);
    }
    seen
}
