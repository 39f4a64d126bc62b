//! Everything that a stranger can do to the listeners, at once, while a storefront works.
//!
//! A daemon with TLS and no tokens for operators, plain and with tokens for storefronts; an attacker, a process of its own at
//! the lowest priority, that uses every trick up to the limits of connections, first without a token, then with one that may
//! read a single store; and a victim with 50 reads a second, an order a second, a stream of changes and a probe of `/livez`
//! by a new connection each second. Targets: reads at most three times what they take in quiet and 100 ms at the 99th
//! percentile, no order refused, no gap of the stream over 2 s, `/livez` within 100 ms each time, memory and files back a
//! minute after, less than a line a second in the log.
//!
//! All share the cores of one machine, org and attacker too: what the daemon alone would take is less. How much of the
//! processor each had is printed. `STORESYNC_ATTACK_SECONDS` says how long it lasts, 60 where it does not;
//! `STORESYNC_ATTACK_TRICKS=pings,resets` which tricks are played, `STORESYNC_BENCH_LOG=1` shows what the daemon says.

mod tricks;
mod victim;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use aws_lc_rs::digest::{SHA256, digest};
use serde_json::Value;
use tokio::runtime::Runtime;

pub use tricks::run as attack;
use victim::{Probe, Report, Shop};

use crate::world::{self, Daemon, Process, Sandbox};

const PRODUCTS: usize = 2_000;
const SECONDS: usize = 60;
/// How long the daemon has to come back to what it was.
const AFTER: Duration = Duration::from_secs(60);

pub fn run() {
    let runtime = Runtime::new().expect("a runtime");
    runtime.block_on(measure());
}

async fn measure() {
    let seconds = world::number("STORESYNC_ATTACK_SECONDS", SECONDS) as u64;
    let org = Sandbox::start(PRODUCTS).await;
    let certificate = configure(&org);
    let daemon = org.daemon(&[]);
    let api: SocketAddr = address(&daemon.api);
    let shop = Arc::new(Shop::open(api, "victim").await);
    let probe = Arc::new(Probe::new(address(&daemon.admin), &certificate));
    let product = org.products(1).await.remove(0);
    let quiet = Duration::from_secs(seconds.clamp(10, 30));
    let before = shop.live(&org, &product, &probe, quiet, "quiet").await;
    let rested = Usage::of(&daemon);
    println!("quiet for {} s: {before}, {rested}", quiet.as_secs());
    for token in ["", "weak"] {
        let with = if token.is_empty() {
            "no token"
        } else {
            "a token of one store"
        };
        println!("an attacker with {with}, {seconds} s:");
        let lines = daemon.lines();
        let (began, cpu) = (
            Instant::now(),
            [cpu(daemon.process.0.id()), cpu(org.process.0.id())],
        );
        let attacker = start(&org, &daemon, &shop, token);
        let length = Duration::from_secs(seconds);
        let under = shop.live(&org, &product, &probe, length, token).await;
        let took = began.elapsed().as_secs_f64();
        let of = |id: u32, before: f64| (self::cpu(id) - before) / took * 100.0;
        println!("  {under}");
        verdict(&before, &under);
        println!(
            "  of the processor: daemon {:.0} %, attacker {:.0} %, org {:.0} % of {} cores",
            of(daemon.process.0.id(), cpu[0]),
            of(attacker.0.id(), 0.0),
            of(org.process.0.id(), cpu[1]),
            std::thread::available_parallelism().map_or(1, usize::from)
        );
        println!("  at the end: {}", Usage::of(&daemon));
        drop(attacker);
        let highest = peaked(daemon.process.0.id());
        println!("  peak of memory so far {highest:.0} MB (target under 700)");
        println!(
            "  lines of the log, but one for each order: {:.2} a second (target under 1)",
            (daemon.lines() - lines).saturating_sub(under.orders()) as f64 / took
        );
        let after = shop
            .live(&org, &product, &probe, AFTER, &format!("after-{token}"))
            .await;
        println!(
            "  {} s after: {}, before it {rested} (target: back, memory +20 %); {after}",
            AFTER.as_secs(),
            Usage::of(&daemon)
        );
        println!("  {}", probe.counted().await);
    }
}

fn verdict(before: &Report, under: &Report) {
    println!(
        "  reads: {:.1} times what they take in quiet (target 3), orders refused: {} (target 0), /livez too late or not at all: {} of {}",
        under.p99() / before.p99(),
        under.orders_refused,
        under.late(),
        under.probes.len()
    );
}

/// Tokens for storefronts, and a certificate for operators, which is given back.
fn configure(org: &Sandbox) -> String {
    let key = rcgen::KeyPair::generate().expect("a key");
    let certificate = rcgen::CertificateParams::new(vec!["localhost".to_owned()])
        .and_then(|params| params.self_signed(&key))
        .expect("a certificate")
        .pem();
    let (cert_file, key_file) = (certificate_file(org), org.config().with_file_name("web.key"));
    std::fs::write(&cert_file, &certificate).expect("a file");
    std::fs::write(&key_file, key.serialize_pem()).expect("a file");
    let token = |name: &str, rest: &str| {
        let hash = digest(&SHA256, name.as_bytes());
        let hash: String = hash.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
        format!("[[serve.tokens]]\nname = \"{name}\"\nsha256 = \"{hash}\"\n{rest}\n")
    };
    let mut text = std::fs::read_to_string(org.config()).expect("a configuration");
    text.push_str(&format!(
        "\n[admin.tls]\ncert_file = {cert_file:?}\nkey_file = {key_file:?}\n"
    ));
    text.push_str(&token("victim", "customers = true\norders = true"));
    text.push_str(&token("weak", "stores = [\"main\"]"));
    std::fs::write(org.config(), text).expect("a configuration");
    certificate
}

fn certificate_file(org: &Sandbox) -> PathBuf {
    org.config().with_file_name("web.pem")
}

fn address(url: &str) -> SocketAddr {
    let host = url.split_once("://").map_or(url, |(_, host)| host);
    host.parse().expect("an address")
}

/// The attacker, who ends when this is dropped.
fn start(org: &Sandbox, daemon: &Daemon, shop: &Shop, token: &str) -> Process {
    let own = std::env::current_exe().expect("this program");
    let mut command = Command::new("nice");
    command
        .args(["-n", "19"])
        .arg(own)
        .arg("attacker")
        .env("ATTACK_API", address(&daemon.api).to_string())
        .env("ATTACK_ADMIN", address(&daemon.admin).to_string())
        .env("ATTACK_STORE", &shop.store)
        .env("ATTACK_TOKEN", token)
        .env("ATTACK_CERTIFICATE", certificate_file(org))
        .stdout(Stdio::null());
    Process(command.spawn().expect("nice is installed"))
}

/// What a process holds.
struct Usage {
    megabytes: f64,
    files: usize,
    threads: usize,
}

impl Usage {
    fn of(daemon: &Daemon) -> Self {
        let id = daemon.process.0.id();
        let count = |what: &str| std::fs::read_dir(format!("/proc/{id}/{what}")).map_or(0, Iterator::count);
        Self {
            megabytes: kilobytes(id, "VmRSS:") / 1_000.0,
            files: count("fd"),
            threads: count("task"),
        }
    }
}

impl std::fmt::Display for Usage {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            megabytes,
            files,
            threads,
        } = self;
        write!(formatter, "{megabytes:.0} MB, {files} files, {threads} threads")
    }
}

fn kilobytes(id: u32, name: &str) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{id}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    let number = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
    number.unwrap_or(0.0)
}

/// Megabytes of memory that a process has had at most.
fn peaked(id: u32) -> f64 {
    kilobytes(id, "VmHWM:") / 1_000.0
}

/// Seconds of a processor that a process has had.
fn cpu(id: u32) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
    let rest = stat.rsplit(')').next().unwrap_or_default();
    let ticks = rest.split_whitespace().skip(11).take(2);
    let ticks: f64 = ticks.filter_map(|ticks| ticks.parse::<f64>().ok()).sum();
    ticks / 100.0
}

/// A member of an answer.
fn member<'v>(value: &'v Value, name: &str) -> &'v str {
    value[name].as_str().unwrap_or_default()
}
