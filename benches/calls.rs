//! What keeping current costs of an org's API allowance, and how old answers are for it.
//!
//! A day passes by moved clocks, from the start of a daemon with an empty cache on. Calls are those that the org itself
//! counts, its first load, describes and limits among them. Answers are asked for at random instants, a product 45 of 100
//! times, a list 30, prices 10, taxes or shipping methods 10, the store 5, and their `Storesync-Lag-Seconds` is noted. The
//! org allows 100,000 calls a day and is idle, or 20,000 or 200,000 rows a day change: products 30 of 100, price book
//! entries 20 (which are streamed), stock levels 30, media 10, contacts 10 (which are polled). Each by the org's lists of
//! what changed, and by queries alone.
//!
//! What is waited for in real time (the looks of the daemon's own) has its turn after each minute. `CALLS_HOURS=2` lets
//! so many hours pass and carries what comes after the first load on to a day. `CALLS_ORGS=idle` takes one kind of org.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use fastrand::Rng;
use serde_json::{Value, json};
use storesync::config::Config;
use storesync::daemon::{self, Listeners};
use storesync::model::clock::{Clock, Millis};
use tokio::net::TcpListener;
use tokio::runtime::{Handle, Runtime};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::world::{Sandbox, number};

const MINUTE: Millis = 60_000;
const PRODUCTS: usize = 200;
const ALLOWED: u64 = 100_000;

/// Rounds follow the org's minutes by the time that the daemon gives to what is late.
const AFTER_MINUTE: Millis = 10_300;

/// Longer than anything takes that works.
const TURN_MAX: Duration = Duration::from_secs(120);

/// What changes, in 100 rows, and by which text.
const CHANGES: [(&str, usize, &str); 5] = [
    ("Product2", 30, "Description"),
    ("PricebookEntry", 20, "UnitPrice"),
    ("s_c__Stock_Level__c", 30, "Name"),
    ("s_c__Media__c", 10, "Name"),
    ("Contact", 10, "Description"),
];

/// Rows of one transaction.
const ROWS: usize = 25;

pub fn run() {
    let hours = number("CALLS_HOURS", 24);
    let wanted = std::env::var("CALLS_ORGS").unwrap_or_default();
    let orgs = [("idle", 0), ("normal", 20_000), ("busy", 200_000)];
    let mut days = Vec::new();
    for (place, (org, rows_daily)) in orgs.into_iter().enumerate() {
        for by_lists in [true, false] {
            if wanted.is_empty() || wanted.split(',').any(|wanted| wanted == org) {
                days.push(std::thread::spawn(move || {
                    let runtime = Runtime::new().expect("a runtime");
                    let told = runtime.block_on(day(rows_daily, by_lists, hours));
                    ((place, !by_lists), org, told)
                }));
            }
        }
    }
    let told = days
        .into_iter()
        .map(|day| day.join().expect("a day without a fault"));
    let mut told: Vec<_> = told.collect();
    told.sort_by_key(|(place, ..)| *place);
    println!("{hours} hours; {ALLOWED} calls a day are allowed; {PRODUCTS} products");
    println!(
        "{:<8} {:<8} {:>10} {:>12} {:>7} {:>5} {:>5} {:>5}  calls by path",
        "org", "by", "first load", "calls a day", "answers", "p50", "p90", "p99"
    );
    for ((_, by_queries), org, told) in told {
        let by = if by_queries { "queries" } else { "lists" };
        println!("{org:<8} {by:<8} {}", told.line(hours));
    }
    println!("before: one query an object and minute, 101,128 calls a day");
}

struct Told {
    first_load: u64,
    after: u64,
    lags: Vec<i64>,
    paths: BTreeMap<String, u64>,
}

impl Told {
    fn line(mut self, hours: usize) -> String {
        self.lags.sort_unstable();
        let at = |percent: usize| self.lags[(self.lags.len() * percent / 100).min(self.lags.len() - 1)];
        let mut paths: Vec<_> = self.paths.iter().collect();
        paths.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
        let paths = paths
            .iter()
            .take(6)
            .map(|(path, count)| format!("{path} {count}"));
        format!(
            "{:>10} {:>12} {:>7} {:>5} {:>5} {:>5}  {}",
            self.first_load,
            self.first_load + self.after * 24 / hours as u64,
            self.lags.len(),
            at(50),
            at(90),
            at(99),
            paths.collect::<Vec<_>>().join(", ")
        )
    }
}

struct Day {
    org: Sandbox,
    api: String,
    admin: String,
    ahead: Arc<AtomicI64>,
    org_ahead: Millis,
    stop: CancellationToken,
    task: JoinHandle<anyhow::Result<()>>,
    random: Rng,
    store: String,
    records: Vec<Vec<String>>,
    number: usize,
    lags: Vec<i64>,
    /// Calls that the org counted, and what its counter, which begins anew each day, said last.
    calls: u64,
    counter: u64,
}

async fn day(rows_daily: usize, by_lists: bool, hours: usize) -> Told {
    let mut day = Day::begin(by_lists).await;
    day.turn(300).await;
    day.count().await;
    let first_load = day.calls;
    for minute in 0..hours * 60 {
        let due = |minute: usize| rows_daily * minute / 1_440;
        day.minute(due(minute + 1) - due(minute)).await;
    }
    let stats = day.org.asked("stats").await;
    let paths = stats["paths"].as_object().expect("paths").iter();
    let paths = paths.filter(|(path, _)| !path.starts_with("sandbox") && !path.contains("oauth2"));
    let paths = paths.map(|(path, count)| (path.clone(), count.as_u64().unwrap_or(0)));
    let told = Told {
        first_load,
        after: day.calls - first_load,
        lags: std::mem::take(&mut day.lags),
        paths: paths.collect(),
    };
    day.stop.cancel();
    day.task
        .await
        .expect("the daemon ends")
        .expect("without an error");
    told
}

impl Day {
    async fn begin(by_lists: bool) -> Self {
        let org = Sandbox::start(PRODUCTS).await;
        org.control("limits", &json!({"daily_requests": ALLOWED})).await;
        org.control("lists", &json!({"refused": !by_lists})).await;
        let mut records = Vec::new();
        for (object, ..) in CHANGES {
            records.push(org.ids(object, 100).await);
        }
        let store = org.ids("s_c__Store__c", 1).await.remove(0);
        // What the org was made with is long ago.
        let org_ahead = 40 * MINUTE;
        org.control("clock", &json!({"advance_ms": org_ahead})).await;
        let mut config = Config::load(Some(&org.config())).expect("a configuration");
        config.sync.poll_seconds = 60;
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
        let address = |listener: &storesync::serve::Listener| {
            format!("http://{}", listener.local_addr().expect("an address"))
        };
        let (api, admin) = (address(&listeners.storefront), address(&listeners.admin));
        let (stop, ahead) = (CancellationToken::new(), Arc::new(AtomicI64::new(0)));
        let (until, clock) = (stop.clone(), Clock::Slept(Arc::clone(&ahead)));
        let counter = org.asked("limits").await["used"].as_u64().expect("a number");
        let runtime = Handle::current();
        let task = tokio::task::spawn_blocking(move || {
            runtime.block_on(daemon::run(config, clock, listeners, until))
        });
        Self {
            org,
            api,
            admin,
            ahead,
            org_ahead,
            stop,
            task,
            random: Rng::with_seed(1),
            store,
            records,
            number: 0,
            lags: Vec::new(),
            calls: 0,
            counter,
        }
    }

    async fn pass(&mut self, millis: Millis) {
        self.org.control("clock", &json!({"advance_ms": millis})).await;
        self.org_ahead += millis;
        self.ahead.fetch_add(millis, Ordering::SeqCst);
    }

    /// The daemon does what is due: pages are no older than this.
    async fn turn(&self, seconds: i64) {
        let began = Instant::now();
        loop {
            let status = reqwest::get(format!("{}/status", self.admin))
                .await
                .expect("an answer");
            let status: Value = status.json().await.expect("JSON");
            let objects = status["objects"].as_array().into_iter().flatten();
            let mut pages = objects.filter(|object| object["object"] == "s_c__Media__c");
            let lag = pages.next().and_then(|media| media["lag_seconds"].as_i64());
            if status["state"] == "live" && lag.is_some_and(|lag| lag <= seconds) {
                return;
            }
            assert!(began.elapsed() < TURN_MAX, "not current: {}", status["cause"]);
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// From one round to the next, with looks at random instants in between.
    async fn minute(&mut self, rows: usize) {
        let now = Clock::System.now() + self.org_ahead;
        let round = (now - AFTER_MINUTE).div_euclid(MINUTE) * MINUTE + MINUTE + AFTER_MINUTE;
        let mut instants: Vec<Millis> = (0..3).map(|_| self.random.i64(now..round)).collect();
        instants.sort_unstable();
        for (number, at) in instants.into_iter().enumerate() {
            let millis = at - Clock::System.now() - self.org_ahead;
            if millis > 0 {
                self.pass(millis).await;
            }
            self.ask().await;
            if number == 1 {
                self.change(rows).await;
            }
        }
        let millis = round - Clock::System.now() - self.org_ahead;
        self.pass(millis.max(0)).await;
        self.turn(45).await;
        self.count().await;
    }

    async fn change(&mut self, rows: usize) {
        let mut update = Vec::new();
        for _ in 0..rows {
            self.number += 1;
            let mut share = self.random.usize(..100);
            let at = CHANGES.iter().position(|(_, of_100, _)| {
                let is_it = share < *of_100;
                share = share.saturating_sub(*of_100);
                is_it
            });
            let at = at.unwrap_or(0);
            let (object, _, field) = CHANGES[at];
            let ids = &self.records[at];
            let mut record =
                json!({"attributes": {"type": object}, "Id": ids[self.random.usize(..ids.len())]});
            record[field] = match field {
                "UnitPrice" => json!(self.number % 1_000),
                _ => json!(format!("text {}", self.number)),
            };
            update.push(record);
        }
        for update in update.chunks(ROWS) {
            self.org.control("changes", &json!({"update": update})).await;
        }
    }

    /// One answer of the mix.
    async fn ask(&mut self) {
        let products = &self.records[0];
        let path = match self.random.u32(..100) {
            0..45 => format!("/products/{}", products[self.random.usize(..products.len())]),
            45..75 => "/products?limit=20".to_owned(),
            75..85 => "/prices?limit=20".to_owned(),
            85..90 => "/taxes".to_owned(),
            90..95 => "/shipping-methods".to_owned(),
            _ => String::new(),
        };
        let url = format!("{}/v1/stores/{}{path}", self.api, self.store);
        let answer = reqwest::get(url).await.expect("an answer");
        let lag = answer.headers().get("storesync-lag-seconds");
        let lag = lag.and_then(|lag| lag.to_str().ok()?.parse().ok());
        self.lags.push(lag.expect("an age"));
    }

    /// What the org counted since.
    async fn count(&mut self) {
        let used = self.org.asked("limits").await["used"].as_u64().expect("a number");
        self.calls += if used < self.counter {
            used
        } else {
            used - self.counter
        };
        self.counter = used;
    }
}
