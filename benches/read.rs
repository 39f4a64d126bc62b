//! A product by its id: in process, and over HTTP; against Redis and PostgreSQL that hold the same products.
//!
//! The peers run as processes of their own on Unix sockets in a temporary folder, with the protocol spoken by a few
//! lines here: `redis-server` and `postgres` as `benches/peers/databases.sh` installs them. A peer that is not on the
//! machine is left out, and said so.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use storesync::model::clock::Clock;
use storesync::model::row::{Column, ColumnKind, Table};
use storesync::outbound::outbox::Intake;
use storesync::serve::{self, Feed, Health, Tokens};
use storesync::store::cache::Cache;
use storesync::store::outbox;
use storesync::store::reader::Reader;
use storesync::store::storefront::{self, Found, objects};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::peers::{Postgres, Redis};

pub const PRODUCTS: usize = 100_000;
pub const COLUMNS: usize = 48;
const CONNECTIONS: usize = 32;
const WINDOW: Duration = Duration::from_secs(2);
const WINDOWS: usize = 3;

/// The id of the nth product.
pub fn id(at: usize) -> String {
    format!("01t{at:012}AAA")
}

pub fn run() {
    let dir = tempfile::tempdir().expect("a folder");
    fill(dir.path());
    let reader = Reader::new(dir.path());
    let example = sqlite(&reader, &id(7));
    println!(
        "  {PRODUCTS} products of {COLUMNS} columns, {} bytes of JSON each",
        example.len()
    );
    let redis = Redis::start(|at| sqlite(&reader, &id(at)));
    let postgres = Postgres::start();
    let mut sqlite_rate = 0.0;
    for _ in 0..WINDOWS {
        let rate = measure("SQLite, row to JSON, in process", |at| {
            sqlite(&reader, &id(at)).len()
        });
        sqlite_rate = f64::max(sqlite_rate, rate);
        for (name, target, peer) in [
            ("Redis", 2.0, redis.as_ref().map(|peer| peer as &dyn Peer)),
            ("PostgreSQL", 6.0, postgres.as_ref().map(|peer| peer as &dyn Peer)),
        ] {
            match peer.map(Peer::connect) {
                Some(mut get) => {
                    let of_peer = measure(&format!("{name}, over a Unix socket"), &mut get);
                    println!("    {:.1} times {name} (target {target:.1})", rate / of_peer);
                }
                None => println!("  {name} is not on this machine: run benches/peers/databases.sh"),
            }
        }
    }
    println!("  best: {sqlite_rate:.0} reads/s (target 80000)");
    over_http(dir.path());
}

/// A database that the same products are read from.
pub trait Peer {
    /// A connection: reads the nth product and gives the bytes it got.
    fn connect(&self) -> Box<dyn FnMut(usize) -> usize>;
}

fn sqlite(reader: &Reader, id: &str) -> Vec<u8> {
    match reader.with(|cache| objects::row(cache, "Product2", id)) {
        Ok(Found::Row(row)) => row.json,
        other => panic!("{other:?}"),
    }
}

/// Reads at random for a window; reads per second.
fn measure(name: &str, mut read: impl FnMut(usize) -> usize) -> f64 {
    let (began, mut reads, mut bytes) = (Instant::now(), 0_u32, 0);
    while began.elapsed() < WINDOW {
        for _ in 0..64 {
            bytes += read(fastrand::usize(..PRODUCTS));
        }
        reads += 64;
    }
    assert!(bytes > 0);
    let rate = f64::from(reads) / began.elapsed().as_secs_f64();
    println!("  {name}: {rate:.0} reads/s");
    rate
}

fn fill(dir: &Path) {
    let columns = (0..COLUMNS).map(|at| Column {
        field: format!("Field_{at}__c"),
        name: format!("field_{at}__c"),
        kind: ColumnKind::Text,
    });
    let table = Table {
        object: "Product2".to_owned(),
        name: "product2".to_owned(),
        columns: columns.collect(),
    };
    let mut cache = Cache::open(dir).expect("a cache");
    cache.ensure_object(&table, true, 0).expect("a table");
    let values: Vec<String> = (0..COLUMNS).map(|at| format!("'value {at}'")).collect();
    let sql = format!(
        "with recursive n (at) as (select 0 union all select at + 1 from n where at + 1 < {PRODUCTS}) \
         insert into product2 select printf('01t%012dAAA', at), at + 1, null, 0, {} from n",
        values.join(", ")
    );
    cache.connection().execute_batch(&sql).expect("products");
    storefront::prepare(cache.connection(), &[]).expect("views");
}

fn over_http(dir: &Path) {
    let (outbox, writer) = outbox::open(dir, 0).expect("an outbox");
    std::thread::spawn(move || writer.run());
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime");
    let listener = runtime
        .block_on(tokio::net::TcpListener::bind("127.0.0.1:0"))
        .expect("a port");
    let hello = runtime
        .block_on(tokio::net::TcpListener::bind("127.0.0.1:0"))
        .expect("a port");
    let (address, hello_address) = (
        listener.local_addr().expect("it"),
        hello.local_addr().expect("it"),
    );
    let world = serve::World {
        reader: Reader::new(dir),
        intake: Intake::new(outbox, storesync::config::Orders::default(), Clock::System),
        health: watch::channel(Health::default()).1,
        revisions: watch::channel(0).1,
        feed: Feed::default(),
        tokens: Tokens::default(),
        clock: Clock::System,
        console: Default::default(),
        dir: dir.into(),
        topics: Default::default(),
        stop: CancellationToken::new(),
    };
    runtime.spawn(serve::run(listener.into(), world));
    runtime.spawn(async move {
        let app = axum::Router::new().route("/", axum::routing::get(|| async { "hello world" }));
        axum::serve(hello, app).await
    });
    for _ in 0..WINDOWS {
        let of_hello = load(hello_address, |_| "/".to_owned());
        let of_product = load(address, |at| format!("/v1/objects/Product2/{}", id(at)));
        println!(
            "  HTTP, {CONNECTIONS} connections, hello: {:.0}/s, p99 {:.2} ms",
            of_hello.0, of_hello.1
        );
        println!(
            "  HTTP, {CONNECTIONS} connections, a product: {:.0}/s, p99 {:.2} ms (target 1.50)",
            of_product.0, of_product.1
        );
        println!("    {:.2} times hello (target 0.50)", of_product.0 / of_hello.0);
    }
}

/// Asks on all connections at once: answers per second, and the time that 99 of 100 took at most, in milliseconds.
fn load(address: std::net::SocketAddr, path: fn(usize) -> String) -> (f64, f64) {
    let began = Instant::now();
    let end = Arc::new(began + WINDOW);
    let clients = (0..CONNECTIONS).map(|_| {
        let end = Arc::clone(&end);
        std::thread::spawn(move || {
            let mut socket = BufReader::new(TcpStream::connect(address).expect("a connection"));
            socket.get_ref().set_nodelay(true).expect("it");
            let mut times = Vec::new();
            while Instant::now() < *end {
                let asked = Instant::now();
                let path = path(fastrand::usize(..PRODUCTS));
                let request = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n");
                socket.get_mut().write_all(request.as_bytes()).expect("sent");
                answer(&mut socket);
                times.push(asked.elapsed());
            }
            times
        })
    });
    let clients: Vec<_> = clients.collect();
    let mut times: Vec<Duration> = clients
        .into_iter()
        .flat_map(|client| client.join().expect("a client"))
        .collect();
    let rate = times.len() as f64 / began.elapsed().as_secs_f64();
    times.sort_unstable();
    (rate, times[times.len() * 99 / 100].as_secs_f64() * 1_000.0)
}

fn answer(socket: &mut impl BufRead) {
    let (mut line, mut length) = (String::new(), 0);
    loop {
        line.clear();
        socket.read_line(&mut line).expect("a line");
        if let Some(value) = line.strip_prefix("content-length: ") {
            length = value.trim().parse().expect("a length");
        }
        if line == "\r\n" {
            break;
        }
        assert!(!line.starts_with("HTTP/") || line.contains(" 200 "), "{line}");
    }
    std::io::copy(&mut socket.take(length), &mut std::io::sink()).expect("a body");
}
