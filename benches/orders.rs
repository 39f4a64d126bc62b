//! Orders in and orders out, over sockets: a sandbox org and a daemon in this process, and shoppers beside them.
//!
//! Accepting, while the org is away, against a loop of one append and one fdatasync for each order: 32 clients share
//! their fsyncs, so the target is 3 times the loop and 20 ms at the 99th percentile. Delivering, with an org that
//! answers in 50 ms: from the acceptance to the Salesforce id being on the disk, less the org's time; target 10 ms.

use std::io::Write;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use storesync::config::Config;
use storesync::daemon::{self, Listeners};
use storesync::model::clock::Clock;
use storesync_sandbox as sandbox;
use tokio::net::TcpListener;
use tokio::runtime::{Builder, Runtime};
use tokio_util::sync::CancellationToken;

use crate::timing;
use crate::wire::Connection;

const CLIENTS: usize = 32;
/// Orders of each client in a round.
const ORDERS: usize = 100;
const ROUNDS: usize = 5;
/// Orders that are delivered one after the other.
const DELIVERED: usize = 40;
const ORG_MILLIS: u64 = 50;
/// What the loop appends for an order.
const ORDER_BYTES: usize = 1_024;

pub fn run() {
    // One thread asks for all clients, so that no thread has to wake another for each answer.
    let runtime = Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let stop = CancellationToken::new();
    let shop = runtime.block_on(Shop::open(&stop));
    accepting(&runtime, &shop);
    runtime.block_on(delivering(&shop));
    stop.cancel();
    runtime.shutdown_timeout(Duration::from_secs(20));
}

/// A storefront of a daemon whose org is a sandbox in the same process.
struct Shop {
    http: reqwest::Client,
    org: String,
    api: String,
    address: SocketAddr,
    /// Where orders are posted.
    path: String,
    product: String,
}

impl Shop {
    async fn open(stop: &CancellationToken) -> Self {
        let (told, addresses) = tokio::sync::oneshot::channel();
        let stop = stop.clone();
        // The daemon's start belongs to one thread.
        std::thread::spawn(move || {
            let runtime = Runtime::new().expect("a runtime");
            runtime.block_on(Box::pin(serve(told, stop)));
            runtime.shutdown_timeout(Duration::from_secs(1));
        });
        let (org, address) = addresses.await.expect("a sandbox and a daemon");
        let http = reqwest::Client::new();
        let api = format!("http://{address}");
        let (store, product) = loop {
            if let Some(found) = something_to_buy(&http, &api).await {
                break found;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        };
        Self {
            http,
            org,
            api,
            address,
            path: format!("/v1/stores/{store}/orders"),
            product,
        }
    }

    /// An order as it is posted.
    fn order(&self, key: &str) -> String {
        json!({"external_id": key, "customer": {"external_id": key, "last_name": "Lee"},
            "items": [{"product_id": self.product, "quantity": 2, "unit_price": "19.90"}]})
        .to_string()
    }

    /// Places one order after the other on one connection; how long each took.
    async fn place(&self, orders: Vec<String>) -> Vec<Duration> {
        let mut connection = Connection::open(self.address).await;
        let mut waits = Vec::with_capacity(orders.len());
        for order in orders {
            let start = Instant::now();
            connection.post(&self.path, &order, "202").await;
            waits.push(start.elapsed());
        }
        waits
    }

    async fn fault(&self, fault: Value) {
        let url = format!("{}/sandbox/faults", self.org);
        let cleared = self.http.delete(&url).send().await.expect("an answer");
        assert!(cleared.status().is_success());
        let rule = json!({"path": "/composite", "method": "POST", "fault": fault});
        let set = self.http.post(url).json(&rule).send().await.expect("an answer");
        assert!(set.status().is_success());
    }
}

/// Runs a sandbox and a daemon against it, once it has told their addresses.
async fn serve(told: tokio::sync::oneshot::Sender<(String, SocketAddr)>, stop: CancellationToken) {
    let sandbox = sandbox::start(sandbox::Options {
        http: "127.0.0.1:0".parse().expect("an address"),
        grpc: "127.0.0.1:0".parse().expect("an address"),
        products: 20,
        stores: 1,
        // The first load waits for one.
        keepalive: Duration::from_secs(2),
        ..sandbox::Options::default()
    })
    .await
    .expect("a sandbox");
    let mut values = sandbox.env.iter();
    let org = values
        .find(|(key, _)| *key == "SANDBOX_HTTP")
        .expect("its address")
        .1
        .clone();
    let text = std::fs::read_to_string(sandbox.data_dir.join("config.toml")).expect("its configuration");
    let mut config = Config::parse(&text, []).expect("a configuration");
    config.serve.hosts = vec!["localhost".to_owned()];
    let listeners = Listeners {
        storefront: TcpListener::bind("127.0.0.1:0")
            .await
            .expect("a port")
            .try_into()
            .expect("a listener"),
        admin: TcpListener::bind("127.0.0.1:0")
            .await
            .expect("a port")
            .try_into()
            .expect("a listener"),
    };
    let address = listeners.storefront.local_addr().expect("an address");
    told.send((org, address)).expect("someone who waits");
    let (served, ran) = tokio::join!(
        sandbox.run(stop.clone()),
        daemon::run(config, Clock::System, listeners, stop)
    );
    served.expect("the sandbox");
    ran.expect("the daemon");
}

/// A store and a product of it that has a price, once they are mirrored.
async fn something_to_buy(http: &reqwest::Client, api: &str) -> Option<(String, String)> {
    let get = async |path: &str| -> Option<Value> {
        http.get(format!("{api}{path}"))
            .send()
            .await
            .ok()?
            .json()
            .await
            .ok()
    };
    let store = get("/v1/stores").await?["items"][0]["id"].as_str()?.to_owned();
    let products = get(&format!("/v1/stores/{store}/products")).await?;
    let priced = products["items"]
        .as_array()?
        .iter()
        .find(|product| product["purchasable"] == true && product["stock"].is_null())?;
    Some((store, priced["id"].as_str()?.to_owned()))
}

fn accepting(runtime: &Runtime, shop: &Shop) {
    runtime.block_on(shop.fault(json!("drop_before")));
    let dir = tempfile::tempdir().expect("a folder");
    let mut file = std::fs::File::create(dir.path().join("loop")).expect("a file");
    let bytes = [b'x'; ORDER_BYTES];
    let of_client = |round: usize, client: usize| -> Vec<String> {
        let keys = (0..ORDERS).map(|order| format!("IN-{round}-{client}-{order}"));
        keys.map(|key| shop.order(&key)).collect()
    };
    // Written before the clock runs.
    let of_round = |round| (0..CLIENTS).map(|client| of_client(round, client)).collect();
    let rounds: Vec<Vec<Vec<String>>> = (1..=ROUNDS).map(of_round).collect();
    let mut rounds = rounds.into_iter();
    let mut waits = Vec::new();
    let count = CLIENTS * ORDERS;
    let rates = timing::medians(
        ROUNDS,
        count,
        &mut [
            &mut || {
                for _ in 0..count {
                    file.write_all(&bytes).expect("space");
                    file.sync_data().expect("a disk");
                }
            },
            &mut || {
                let clients = rounds.next().expect("a round").into_iter();
                let placed = clients.map(|orders| shop.place(orders));
                let placed = runtime.block_on(futures_util::future::join_all(placed));
                waits.extend(placed.into_iter().flatten());
            },
        ],
    );
    waits.sort_unstable();
    println!("{CLIENTS} clients, {ORDERS} orders each a round, medians of {ROUNDS} rounds, the org away");
    timing::line("one append and fdatasync for each order", rates[0], rates[0]);
    timing::line("orders accepted over HTTP (target 3x)", rates[1], rates[0]);
    let p99 = waits[waits.len() * 99 / 100];
    println!(
        "99th percentile of an acceptance (target 20 ms) {:>22.1} ms",
        p99.as_secs_f64() * 1_000.0
    );
}

async fn delivering(shop: &Shop) {
    // What was accepted before goes out first.
    shop.fault(json!({"delay_ms": 0})).await;
    let orders = CLIENTS * ORDERS * ROUNDS;
    println!("{orders} orders that waited are delivered first");
    let last = [1, ROUNDS].map(|round| format!("IN-{round}-{}-{}", CLIENTS - 1, ORDERS - 1));
    for key in &last {
        arrival(shop, key).await;
    }
    shop.fault(json!({"delay_ms": ORG_MILLIS})).await;
    let mut overheads = Vec::with_capacity(DELIVERED);
    for number in 0..DELIVERED {
        let key = format!("OUT-{number}");
        shop.place(vec![shop.order(&key)]).await;
        let start = Instant::now();
        arrival(shop, &key).await;
        let millis = start.elapsed().as_secs_f64() * 1_000.0;
        overheads.push(millis - ORG_MILLIS as f64);
    }
    println!(
        "accepted to Salesforce id, less the org's {ORG_MILLIS} ms, median of {DELIVERED} (target 10 ms) {:>8.1} ms",
        timing::median(overheads)
    );
}

/// Asks until an order has its id: looks are a millisecond apart, which is in the figure.
async fn arrival(shop: &Shop, key: &str) {
    let url = format!("{}{}/{key}", shop.api, shop.path);
    loop {
        let answer = shop.http.get(&url).send().await.expect("an answer");
        let told: Value = answer.json().await.expect("JSON");
        assert_ne!(told["state"], "needs_attention", "{told}");
        if !told["salesforce_id"].is_null() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}
