//! A storefront's reads while a campaign changes products: in process, and over HTTP.
//!
//! The same reads quiet, with 2,000 rows a second, which is what one subscription of an org 50 ms away can bring, and
//! with events from memory as fast as apply takes them. Reader, server, clients, apply and checkpoints share the
//! machine, in one process as in the daemon. `STORESYNC_BENCH_EVENTS=1_000_000` sets how many events the campaign has.
//! Targets, against quiet: in process 2x; over HTTP 2x at 2,000 rows/s and 5x flat out.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use storesync::inbound::command::{Command, Events, Schema};
use storesync::model::change::RawEvent;
use storesync::model::clock::Clock;
use storesync::model::row::Table;
use storesync::outbound::outbox::Intake;
use storesync::serve::{self, Feed, Health, Tokens};
use storesync::store::cache::Cache;
use storesync::store::outbox;
use storesync::store::reader::Reader;
use storesync::store::storefront::{self, Found, objects};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::apply::EVENTS_PER_RESPONSE;
use crate::door::{self, Door, TOPIC};
use crate::fixture::{self, Fixture};
use crate::timing::median;
use crate::world;

const RECORDS: u64 = 100_000;
const EVENTS: usize = 1_000_000;
const ROWS_PER_SECOND: usize = 2_000;
const WINDOW: Duration = Duration::from_secs(4);
const WINDOWS: usize = 3;
const CONNECTIONS: usize = 16;

pub fn run() {
    let events = world::number("STORESYNC_BENCH_EVENTS", EVENTS);
    let mut fixture = Fixture::new(5, RECORDS);
    let table = door::table(&fixture);
    let dir = tempfile::tempdir().expect("a folder");
    prepare(dir.path(), &table);
    let door = Door::open(dir.path(), &table);
    door.load(&[fixture.csv().into()]);
    println!(
        "{RECORDS} rows of {} columns; quiet and {ROWS_PER_SECOND} rows/s: medians of {WINDOWS} windows of {} s",
        table.columns.len(),
        WINDOW.as_secs()
    );
    let reader = Reader::new(dir.path());
    let in_process = |ended: &AtomicBool| read_until(&reader, ended);
    compare("in process", [2.0, 2.0], &door, &mut fixture, events, in_process);
    let server = Server::start(dir.path());
    let over_http = |ended: &AtomicBool| server.load_until(ended);
    let what = format!("HTTP, {CONNECTIONS} connections");
    compare(&what, [2.0, 5.0], &door, &mut fixture, events, over_http);
    door.close();
}

/// The tables and what storefronts see of them, before apply has the files.
fn prepare(dir: &Path, table: &Table) {
    let mut cache = Cache::open(dir).expect("a cache");
    cache.ensure_object(table, true, 0).expect("a table");
    storefront::prepare(cache.connection(), &[]).expect("views");
}

/// Reads quiet, with a writer at a steady pace in turns, and then through a whole campaign.
fn compare(
    what: &str,
    targets: [f64; 2],
    door: &Door,
    fixture: &mut Fixture,
    events: usize,
    reads: impl Fn(&AtomicBool) -> Vec<Duration> + Sync,
) {
    let (mut quiet, mut steady) = (Vec::new(), Vec::new());
    for _ in 0..WINDOWS {
        quiet.push(Shown::of(beside(|| thread::sleep(WINDOW), &reads)));
        let responses = responses(fixture, ROWS_PER_SECOND * WINDOW.as_secs() as usize);
        let pause = Duration::from_secs_f64(EVENTS_PER_RESPONSE as f64 / ROWS_PER_SECOND as f64);
        let feed = || {
            let begun = Instant::now();
            for (at, response) in (0..).zip(responses) {
                thread::sleep((pause * at).saturating_sub(begun.elapsed()));
                send(door, response);
            }
        };
        steady.push(Shown::of(beside(feed, &reads)));
    }
    let campaign = responses(fixture, events);
    let begun = Instant::now();
    let feed = || {
        campaign.into_iter().for_each(|response| send(door, response));
        door.apply(Vec::new());
    };
    let campaign = Shown::of(beside(feed, &reads));
    let rate = events as f64 / begun.elapsed().as_secs_f64();
    let quiet = Shown::median(&quiet);
    quiet.line(&format!("{what}, quiet"), &quiet, None);
    let steady_name = format!("{what}, {ROWS_PER_SECOND} rows/s");
    Shown::median(&steady).line(&steady_name, &quiet, Some(targets[0]));
    let campaign_name = format!("{what}, {events} events at {rate:.0}/s");
    campaign.line(&campaign_name, &quiet, Some(targets[1]));
}

fn responses(fixture: &mut Fixture, count: usize) -> Vec<Vec<RawEvent>> {
    crate::apply::responses(fixture.updates(count))
}

fn send(door: &Door, events: Vec<RawEvent>) {
    let events = Events {
        topic: TOPIC.into(),
        events: events.into(),
        schemas: vec![Schema::from((
            fixture::SCHEMA_ID.to_owned(),
            fixture::SCHEMA.to_owned(),
        ))],
        ..Events::default()
    };
    drop(door.begin(Command::Events(events)));
}

/// Reads for as long as something else is done.
fn beside(
    work: impl FnOnce() + Send,
    reads: &(impl Fn(&AtomicBool) -> Vec<Duration> + Sync),
) -> Vec<Duration> {
    let ended = AtomicBool::new(false);
    thread::scope(|scope| {
        let reading = scope.spawn(|| reads(&ended));
        work();
        ended.store(true, Ordering::Relaxed);
        reading.join().expect("no panic")
    })
}

/// What is told of many reads.
struct Shown {
    p50: f64,
    p99: f64,
    reads: f64,
}

impl Shown {
    fn of(mut times: Vec<Duration>) -> Self {
        times.sort_unstable();
        let at = |percent: usize| times[times.len() * percent / 100].as_secs_f64() * 1e6;
        Self {
            p50: at(50),
            p99: at(99),
            reads: times.len() as f64,
        }
    }

    fn median(all: &[Self]) -> Self {
        let of = |pick: fn(&Self) -> f64| median(all.iter().map(pick).collect());
        Self {
            p50: of(|shown| shown.p50),
            p99: of(|shown| shown.p99),
            reads: of(|shown| shown.reads),
        }
    }

    fn line(&self, what: &str, quiet: &Self, target: Option<f64>) {
        let target = target.map_or(String::new(), |target| format!(" (target {target}x)"));
        println!(
            "{what:<50} {:>9.0} reads, p50 {:>6.0} us, p99 {:>6.0} us {:>6.2}x{target}",
            self.reads,
            self.p50,
            self.p99,
            self.p99 / quiet.p99
        );
    }
}

fn read_until(reader: &Reader, ended: &AtomicBool) -> Vec<Duration> {
    let mut times = Vec::new();
    while !ended.load(Ordering::Relaxed) {
        let id = fixture::id(fastrand::u64(..RECORDS));
        let asked = Instant::now();
        match reader.with(|cache| objects::row(cache, "Product2", &id)) {
            Ok(Found::Row(row)) => assert!(!row.json.is_empty()),
            other => panic!("{other:?}"),
        }
        times.push(asked.elapsed());
    }
    times
}

/// The storefront's interface, on a runtime as the daemon's.
struct Server {
    address: SocketAddr,
    _runtime: tokio::runtime::Runtime,
}

impl Server {
    fn start(dir: &Path) -> Self {
        let (outbox, writer) = outbox::open(dir, 0).expect("an outbox");
        thread::spawn(move || writer.run());
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .expect("a runtime");
        let listener = runtime
            .block_on(tokio::net::TcpListener::bind("127.0.0.1:0"))
            .expect("a port");
        let address = listener.local_addr().expect("an address");
        let world = Arc::new(serve::Parts {
            reader: Reader::new(dir).within(serve::read_max()),
            intake: Intake::new(
                outbox,
                storesync::config::Orders::default(),
                storesync::outbound::outbox::Known::open(
                    dir,
                    &storesync::config::Orders::default(),
                    storesync::config::Profile::Standard,
                ),
                storesync::config::Profile::Standard,
                Clock::System,
            ),
            health: watch::channel(Health::default()).1,
            revisions: watch::channel(0).1,
            feed: Feed::default(),
            tokens: Tokens::default(),
            account_history: false,
            life: serve::KnownLife::default(),
            reached: serve::Reached {
                serve: serve::Ways {
                    hosts: vec!["localhost".to_owned()],
                    ..Default::default()
                },
                ..Default::default()
            },
            receiving: Default::default(),
            pools: serve::Pools::start().expect("threads"),
            heart: Default::default(),
            seen: Default::default(),
            clock: Clock::System,
            console: Default::default(),
            audit: serve::Audit::default(),
            dir: dir.into(),
            topics: Default::default(),
            stop: CancellationToken::new(),
        });
        runtime.spawn(serve::run(listener.try_into().expect("a listener"), world));
        Self {
            address,
            _runtime: runtime,
        }
    }

    /// Asks on all connections at once, from one thread.
    fn load_until(&self, ended: &AtomicBool) -> Vec<Duration> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        let stop = Arc::new(AtomicBool::new(false));
        let clients: Vec<_> = (0..CONNECTIONS)
            .map(|_| runtime.spawn(client(self.address, Arc::clone(&stop))))
            .collect();
        runtime.block_on(async {
            while !ended.load(Ordering::Relaxed) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            stop.store(true, Ordering::Relaxed);
            let mut times = Vec::new();
            for client in clients {
                times.extend(client.await.expect("a client"));
            }
            times
        })
    }
}

async fn client(address: SocketAddr, stop: Arc<AtomicBool>) -> Vec<Duration> {
    let socket = TcpStream::connect(address).await.expect("a connection");
    socket.set_nodelay(true).expect("it");
    let mut socket = BufReader::new(socket);
    let (mut times, mut line, mut body) = (Vec::new(), String::new(), Vec::new());
    while !stop.load(Ordering::Relaxed) {
        let id = fixture::id(fastrand::u64(..RECORDS));
        let request = format!("GET /v1/objects/Product2/{id} HTTP/1.1\r\nhost: localhost\r\n\r\n");
        let asked = Instant::now();
        socket.write_all(request.as_bytes()).await.expect("sent");
        let mut length = 0;
        loop {
            line.clear();
            socket.read_line(&mut line).await.expect("a line");
            assert!(!line.starts_with("HTTP/") || line.contains(" 200 "), "{line}");
            if let Some(value) = line.strip_prefix("content-length: ") {
                length = value.trim().parse().expect("a length");
            }
            if line == "\r\n" {
                break;
            }
        }
        body.resize(length, 0);
        socket.read_exact(&mut body).await.expect("a body");
        times.push(asked.elapsed());
    }
    times
}
