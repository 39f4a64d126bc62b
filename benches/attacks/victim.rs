//! A storefront that works, and a probe, and how both fare.

use std::fmt::{self, Display};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use serde_json::{Value, json};
use tokio::io::{
    AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, BufReader,
};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{interval, sleep_until, timeout};
use tokio_rustls::TlsConnector;

use super::member;
use crate::world::Sandbox;

/// Reads a second, on so many connections.
const READS: u32 = 50;
const CONNECTIONS: u32 = 8;
/// What takes longer has failed.
const PATIENCE: Duration = Duration::from_secs(10);
const LOADING_MAX: Duration = Duration::from_secs(600);
/// Between two changes in the org.
const CHANGE_EVERY: Duration = Duration::from_millis(500);
/// How long `/livez` may take.
const PROBE_MAX: Duration = Duration::from_millis(100);

/// The storefront.
pub struct Shop {
    api: SocketAddr,
    token: &'static str,
    pub store: String,
    product: String,
}

/// How it went.
#[derive(Default)]
pub struct Report {
    reads: Vec<Duration>,
    reads_failed: usize,
    orders: Vec<Duration>,
    pub orders_refused: usize,
    longest_gap: Duration,
    changes: usize,
    pub probes: Vec<Option<Duration>>,
}

impl Report {
    /// How many orders were placed.
    pub fn orders(&self) -> usize {
        self.orders.len()
    }

    /// Milliseconds that 99 of 100 reads took at most.
    pub fn p99(&self) -> f64 {
        self.percentile(99)
    }

    fn percentile(&self, of: usize) -> f64 {
        let mut reads = self.reads.clone();
        reads.sort_unstable();
        let place = (reads.len() * of / 100).min(reads.len().saturating_sub(1));
        reads
            .get(place)
            .map_or(f64::INFINITY, |read| read.as_secs_f64() * 1_000.0)
    }

    /// Probes that took too long or had no answer.
    pub fn late(&self) -> usize {
        let is_late = |probe: &&Option<Duration>| probe.is_none_or(|took| took > PROBE_MAX);
        self.probes.iter().filter(is_late).count()
    }
}

impl Display for Report {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millis = |time: Option<Duration>| time.unwrap_or_default().as_secs_f64() * 1_000.0;
        write!(
            formatter,
            "{} reads, median {:.1} and p99 {:.1} ms, {} failed; {} orders, the slowest {:.0} ms, {} refused; {} changes heard, longest gap {:.2} s; \
             /livez at most {:.0} ms, {} too late or not at all",
            self.reads.len(),
            self.percentile(50),
            self.p99(),
            self.reads_failed,
            self.orders.len(),
            millis(self.orders.iter().max().copied()),
            self.orders_refused,
            self.changes,
            self.longest_gap.as_secs_f64(),
            millis(self.probes.iter().flatten().max().copied()),
            self.late()
        )
    }
}

/// Sends a request and takes its answer.
async fn exchange<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut S,
    request: &[u8],
) -> io::Result<(u16, Vec<u8>)> {
    stream.write_all(request).await?;
    let mut read = Vec::with_capacity(4_096);
    let head = loop {
        if let Some(head) = read.windows(4).position(|four| four == b"\r\n\r\n") {
            break head + 4;
        }
        if stream.read_buf(&mut read).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    };
    let text = String::from_utf8_lossy(&read[..head]).to_lowercase();
    let length = text
        .lines()
        .find_map(|line| line.strip_prefix("content-length: ")?.trim().parse().ok())
        .unwrap_or(0);
    while read.len() < head + length {
        if stream.read_buf(&mut read).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    let status = text.get(9..12).and_then(|status| status.parse().ok());
    Ok((status.unwrap_or(0), read.split_off(head)))
}

/// A connection that is opened again where it was closed.
struct Line {
    api: SocketAddr,
    stream: Option<TcpStream>,
}

impl Line {
    async fn ask(&mut self, request: &[u8]) -> io::Result<(u16, Vec<u8>)> {
        let asked = async {
            let mut stream = match self.stream.take() {
                Some(stream) => stream,
                None => {
                    let stream = TcpStream::connect(self.api).await?;
                    stream.set_nodelay(true)?;
                    stream
                }
            };
            let answer = exchange(&mut stream, request).await?;
            self.stream = Some(stream);
            Ok(answer)
        };
        timeout(PATIENCE, asked)
            .await
            .unwrap_or_else(|late| Err(late.into()))
    }
}

impl Shop {
    /// Waits until there is something to buy.
    pub async fn open(api: SocketAddr, token: &'static str) -> Self {
        let mut shop = Self {
            api,
            token,
            store: String::new(),
            product: String::new(),
        };
        let mut line = shop.line();
        let began = Instant::now();
        while began.elapsed() < LOADING_MAX {
            tokio::time::sleep(Duration::from_millis(200)).await;
            let Some(stores) = shop.json(&mut line, "/v1/stores").await else {
                continue;
            };
            let store = member(&stores["items"][0], "id").to_owned();
            let path = format!("/v1/stores/{store}/products?limit=100");
            let Some(products) = shop.json(&mut line, &path).await else {
                continue;
            };
            let is_for_sale = |product: &&Value| product["purchasable"] == true && product["stock"].is_null();
            let items = products["items"].as_array().into_iter().flatten();
            let product = items
                .filter(is_for_sale)
                .map(|product| member(product, "id"))
                .next();
            if let Some(product) = product {
                (shop.store, shop.product) = (store, product.to_owned());
                return shop;
            }
        }
        panic!("nothing is for sale within {} s", LOADING_MAX.as_secs());
    }

    fn line(&self) -> Line {
        Line {
            api: self.api,
            stream: None,
        }
    }

    fn get(&self, path: &str) -> Vec<u8> {
        let token = self.token;
        format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {token}\r\n\r\n")
            .into_bytes()
    }

    async fn json(&self, line: &mut Line, path: &str) -> Option<Value> {
        let (status, body) = line.ask(&self.get(path)).await.ok()?;
        let value = serde_json::from_slice(&body).ok();
        value.filter(|_| status == 200)
    }

    /// Works for a while; orders have keys of this name.
    pub async fn live(
        self: &Arc<Self>,
        org: &Sandbox,
        product: &str,
        probe: &Arc<Probe>,
        length: Duration,
        name: &str,
    ) -> Report {
        let end = Instant::now() + length;
        let mut readers = JoinSet::new();
        for number in 0..CONNECTIONS {
            readers.spawn(Arc::clone(self).read(number, end));
        }
        let orders = tokio::spawn(Arc::clone(self).order(format!("A-{name}"), end));
        let listening = tokio::spawn(Arc::clone(self).listen(end));
        let probing = tokio::spawn(Arc::clone(probe).ask_again(end));
        let mut due = interval(CHANGE_EVERY);
        let mut number = 0;
        while Instant::now() < end {
            due.tick().await;
            number += 1;
            org.update(product, &format!("{name} {number}")).await;
        }
        let mut report = Report::default();
        while let Some(read) = readers.join_next().await {
            let (reads, failed) = read.expect("no panic");
            report.reads.extend(reads);
            report.reads_failed += failed;
        }
        (report.orders, report.orders_refused) = orders.await.expect("no panic");
        (report.changes, report.longest_gap) = listening.await.expect("no panic");
        report.probes = probing.await.expect("no panic");
        report
    }

    /// Reads, one connection of all; each is timed from when it was due.
    async fn read(self: Arc<Self>, number: u32, end: Instant) -> (Vec<Duration>, usize) {
        let every = Duration::from_secs(1) * CONNECTIONS / READS;
        let mut due = Instant::now() + every * number / CONNECTIONS;
        let requests = [
            self.get(&format!("/v1/stores/{}/products/{}", self.store, self.product)),
            self.get(&format!("/v1/stores/{}/products?limit=20", self.store)),
        ];
        let (mut line, mut reads, mut failed) = (self.line(), Vec::new(), 0);
        for turn in 0.. {
            sleep_until(due.into()).await;
            if due >= end {
                break;
            }
            let answer = line.ask(&requests[turn % requests.len()]).await;
            reads.push(due.elapsed());
            failed += usize::from(!answer.is_ok_and(|(status, _)| status == 200));
            due += every;
        }
        (reads, failed)
    }

    async fn order(self: Arc<Self>, name: String, end: Instant) -> (Vec<Duration>, usize) {
        let (mut line, mut orders, mut refused) = (self.line(), Vec::new(), 0);
        let mut due = interval(Duration::from_secs(1));
        for number in 0.. {
            due.tick().await;
            if Instant::now() >= end {
                break;
            }
            let key = format!("{name}-{number}");
            let body = json!({"external_id": key, "customer": {"external_id": key, "last_name": "Lee"},
                "items": [{"product_id": self.product, "quantity": 1, "unit_price": "19.90"}]});
            let body = body.to_string();
            let request = format!(
                "POST /v1/stores/{}/orders HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {}\r\n\
                 content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
                self.store,
                self.token,
                body.len()
            );
            let asked = Instant::now();
            let answer = line.ask(request.as_bytes()).await;
            orders.push(asked.elapsed());
            refused += usize::from(!answer.is_ok_and(|(status, _)| status == 202));
        }
        (orders, refused)
    }

    /// Hears changes; how many, and the longest time without one.
    async fn listen(self: Arc<Self>, end: Instant) -> (usize, Duration) {
        let (mut count, mut last, mut gap) = (0, Instant::now(), Duration::ZERO);
        while Instant::now() < end {
            let heard = async {
                let mut stream = TcpStream::connect(self.api).await?;
                stream.write_all(&self.get("/v1/changes")).await?;
                let mut lines = BufReader::new(stream).lines();
                while let Some(line) = lines.next_line().await? {
                    if line == "event: change" {
                        count += 1;
                        gap = gap.max(last.elapsed());
                        last = Instant::now();
                    }
                }
                io::Result::Ok(())
            };
            let _closed = tokio::time::timeout_at(end.into(), heard).await;
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        (count, gap.max(last.elapsed()))
    }
}

/// Asks `/livez` as a supervisor does.
pub struct Probe {
    admin: SocketAddr,
    tls: TlsConnector,
}

impl Probe {
    pub fn new(admin: SocketAddr, certificate: &str) -> Self {
        let certificate = CertificateDer::from_pem_slice(certificate.as_bytes()).expect("a certificate");
        let mut roots = rustls::RootCertStore::empty();
        roots.add(certificate).expect("a certificate");
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_root_certificates(roots)
            .with_no_client_auth();
        Self {
            admin,
            tls: TlsConnector::from(Arc::new(config)),
        }
    }

    async fn get(&self, path: &str) -> io::Result<(u16, Vec<u8>)> {
        let name = ServerName::try_from("localhost").expect("a name");
        let asked = async {
            let stream = TcpStream::connect(self.admin).await?;
            let mut stream = self.tls.connect(name, stream).await?;
            let host = self.admin;
            let request = format!("GET {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n");
            exchange(&mut stream, request.as_bytes()).await
        };
        timeout(PATIENCE, asked)
            .await
            .unwrap_or_else(|late| Err(late.into()))
    }

    async fn ask_again(self: Arc<Self>, end: Instant) -> Vec<Option<Duration>> {
        let mut due = interval(Duration::from_secs(1));
        let mut probes = Vec::new();
        loop {
            due.tick().await;
            if Instant::now() >= end {
                return probes;
            }
            let asked = Instant::now();
            let answer = self.get("/livez").await;
            probes.push(
                answer
                    .is_ok_and(|(status, _)| status == 200)
                    .then(|| asked.elapsed()),
            );
        }
    }

    /// What the daemon has counted of those it ended and refused.
    pub async fn counted(&self) -> String {
        let Ok((_, text)) = self.get("/metrics").await else {
            return "the metrics cannot be read".to_owned();
        };
        let text = String::from_utf8_lossy(&text).into_owned();
        let names = [
            "storesync_connections_ended_total{",
            "storesync_reads_refused_total{",
            "storesync_streams_refused_total{",
        ];
        let lines = text
            .lines()
            .filter(|line| names.iter().any(|name| line.starts_with(name)));
        let lines: Vec<&str> = lines.map(|line| line.trim_start_matches("storesync_")).collect();
        lines.join(", ")
    }
}
