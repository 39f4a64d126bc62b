//! A product by its id over HTTP, on connections that stay: the daemon, the same answer made over Redis and over
//! PostgreSQL, and a handler that says hello, in turns.
//!
//! What a handler reaches that reads the same row and does nothing else shows what the daemon's own part costs: tokens,
//! tags, age, counters, limits of time.
//!
//! One thread asks on all connections, so that asking costs the same whoever answers. Client, server and databases
//! share the cores.

use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::Path as InPath;
use axum::routing::get;
use storesync::inbound::budget::Limits;
use storesync::model::clock::Clock;
use storesync::model::freshness::{Known, Truth};
use storesync::model::trouble::Hindrances;
use storesync::outbound::outbox::Intake;
use storesync::serve::{self, Feed, Freshness, Health, Tokens};
use storesync::store::outbox;
use storesync::store::reader::Reader;
use tokio::net::TcpListener;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::peers::{Postgres, Redis, handlers};
use crate::products::{PRODUCTS, id, sqlite};
use crate::timing::median;
use crate::wire::Connection;

const CONNECTIONS: usize = 32;
const WINDOW: Duration = Duration::from_secs(2);
const WINDOWS: usize = 5;

/// Answers a second, and the milliseconds that 99 of 100 took at most.
type Load = (f64, f64);

pub fn run(dir: &Path, stop: &CancellationToken, redis: Option<&Redis>, postgres: Option<&Postgres>) {
    let runtime = Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime");
    let hello = Router::new().route("/v1/objects/Product2/{id}", get(|| async { "hello world" }));
    let entered = runtime.enter();
    let mut sides = vec![
        ("hello", Some(0.5), plain(&runtime, hello)),
        ("the row alone", None, plain(&runtime, row_alone(dir))),
    ];
    sides.extend(postgres.map(|peer| ("over PostgreSQL", Some(2.2), plain(&runtime, peer.routes()))));
    sides.extend(redis.map(|peer| ("over Redis", Some(1.3), plain(&runtime, peer.routes()))));
    drop(entered);
    let ours = daemon(&runtime, dir, stop.clone());
    let mut loads: Vec<Vec<Load>> = vec![Vec::new(); sides.len() + 1];
    for _ in 0..WINDOWS {
        let addresses = sides.iter().map(|(_, _, address)| *address).chain([ours]);
        for (address, loads) in addresses.zip(&mut loads) {
            loads.push(load(address));
        }
    }
    let of = |place: usize| {
        let rates = loads[place].iter().map(|(rate, _)| *rate).collect();
        let worst = loads[place].iter().map(|(_, p99)| *p99).collect();
        (median(rates), median(worst))
    };
    let (rate, p99) = of(sides.len());
    println!("  HTTP, {CONNECTIONS} connections, medians of {WINDOWS} windows:");
    println!("  a product: {rate:.0}/s, p99 {p99:.2} ms (target 1.50)");
    for (place, (name, target, _)) in sides.iter().enumerate() {
        let (peer, p99) = of(place);
        let target = target.map_or(String::new(), |target| format!(" (target {target:.1})"));
        println!(
            "  {name}: {peer:.0}/s, p99 {p99:.2} ms: ours {:.2} times{target}",
            rate / peer
        );
    }
}

/// The same row by the same connections, and nothing around it.
fn row_alone(dir: &Path) -> Router {
    let reader = Reader::new(dir);
    let handler = move |InPath(id): InPath<String>| {
        let reader = reader.clone();
        async move { handlers::answer(sqlite(&reader, &id)) }
    };
    Router::new().route("/v1/objects/Product2/{id}", get(handler))
}

fn bind(runtime: &Runtime) -> TcpListener {
    runtime
        .block_on(TcpListener::bind("127.0.0.1:0"))
        .expect("a port")
}

fn plain(runtime: &Runtime, routes: Router) -> SocketAddr {
    let listener = bind(runtime);
    let address = listener.local_addr().expect("it");
    runtime.spawn(async move {
        use axum::serve::ListenerExt;
        let listener = listener.tap_io(|socket| socket.set_nodelay(true).expect("it"));
        axum::serve(listener, routes).await
    });
    address
}

/// Every object was proved just now.
fn proved() -> Freshness {
    let now = Clock::System.moment();
    let known = Known {
        complete: true,
        proved: Some(now),
        ..Known::default()
    };
    let limits = Limits::new(&storesync::config::Sync::default()).freshness();
    Freshness::new(Truth::new(
        [(&"Product2".to_owned(), &known)],
        &limits,
        &Hindrances::default(),
        now,
    ))
}

fn daemon(runtime: &Runtime, dir: &Path, stop: CancellationToken) -> SocketAddr {
    let (outbox, writer) = outbox::open(dir, 0).expect("an outbox");
    std::thread::spawn(move || writer.run());
    let listener = bind(runtime);
    let address = listener.local_addr().expect("it");
    let health = Health {
        freshness: proved(),
        ..Health::default()
    };
    let world = std::sync::Arc::new(serve::Parts {
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
        health: watch::channel(health).1,
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
        stop,
    });
    runtime.spawn(serve::run(listener.try_into().expect("a listener"), world));
    address
}

/// Asks on all connections for a window, from a thread of its own.
fn load(address: SocketAddr) -> Load {
    let asking = std::thread::spawn(move || {
        let runtime = Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        let began = Instant::now();
        let mut times = runtime.block_on(async {
            let clients: Vec<_> = (0..CONNECTIONS)
                .map(|_| tokio::spawn(ask(address, began + WINDOW)))
                .collect();
            let mut times = Vec::new();
            for client in clients {
                times.extend(client.await.expect("a client"));
            }
            times
        });
        let rate = times.len() as f64 / began.elapsed().as_secs_f64();
        times.sort_unstable();
        (rate, times[times.len() * 99 / 100].as_secs_f64() * 1_000.0)
    });
    asking.join().expect("answers")
}

async fn ask(address: SocketAddr, end: Instant) -> Vec<Duration> {
    let mut connection = Connection::open(address).await;
    let mut times = Vec::with_capacity(16_384);
    loop {
        let asked = Instant::now();
        if asked >= end {
            return times;
        }
        let path = format!("/v1/objects/Product2/{}", id(fastrand::usize(..PRODUCTS)));
        connection.get(&path).await;
        times.push(asked.elapsed());
    }
}
