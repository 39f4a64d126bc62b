//! A sandbox org and a daemon, each a process of its own, as users run them.

use std::collections::HashMap;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rusqlite::{Connection, OpenFlags};
use serde_json::{Value, json};
use storesync_proto::pub_sub_client::PubSubClient;
use tonic::Request;
use tonic::metadata::MetadataValue;
use tonic::transport::{Channel, Endpoint};

const DATA_PATH: &str = "/services/data/v67.0";

/// Longer than the first load takes on a slow machine.
const LOAD_MAX: Duration = Duration::from_secs(1_800);

/// Few objects, where the object of the bench is all that counts.
pub const FEW_OBJECTS: (&str, &str) = ("STORESYNC__SYNC__PROFILE", "standard");

/// A number of things that the environment may set.
pub fn number(variable: &str, default: usize) -> usize {
    match std::env::var(variable) {
        Ok(text) => text
            .replace('_', "")
            .parse()
            .unwrap_or_else(|_| panic!("{variable} is no number")),
        Err(_) => default,
    }
}

fn storesync() -> Command {
    Command::new(env!("CARGO_BIN_EXE_storesync"))
}

/// Ends with the bench, however that ends.
pub struct Process(pub Child);

impl Process {
    fn start(command: &mut Command) -> Self {
        Self(command.spawn().expect("storesync starts"))
    }

    /// SIGKILL: nothing gets a chance to be tidied up.
    pub fn kill(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

pub struct Sandbox {
    pub process: Process,
    /// How long it took until it was ready.
    pub seeded: Duration,
    env: HashMap<String, String>,
    dir: tempfile::TempDir,
    http: reqwest::Client,
    token: String,
}

impl Sandbox {
    /// An org of so many products.
    pub async fn start(products: usize) -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        let started = Instant::now();
        let mut process = Process::start(
            storesync()
                .args(["sandbox", "--http", "127.0.0.1:0", "--grpc", "127.0.0.1:0"])
                .args(["--products", &products.to_string(), "--data"])
                .arg(dir.path())
                .stdout(Stdio::piped()),
        );
        let mut line = String::new();
        BufReader::new(process.0.stdout.take().expect("its output"))
            .read_line(&mut line)
            .expect("the line that says it is ready");
        let seeded = started.elapsed();
        let env: HashMap<String, String> = serde_json::from_str(&line).expect("a line of JSON");
        let http = reqwest::Client::new();
        let form = [
            ("grant_type", "client_credentials"),
            ("client_id", env["SANDBOX_CLIENT_ID"].as_str()),
            ("client_secret", env["SANDBOX_CLIENT_SECRET"].as_str()),
        ];
        let url = format!("{}/services/oauth2/token", env["SANDBOX_HTTP"]);
        let answer = http.post(url).form(&form).send().await.expect("a login");
        let answer: Value = answer.json().await.expect("JSON");
        let token = answer["access_token"].as_str().expect("a token").to_owned();
        Self {
            process,
            seeded,
            env,
            dir,
            http,
            token,
        }
    }

    pub fn state(&self) -> PathBuf {
        self.dir.path().join("state")
    }

    pub fn config(&self) -> PathBuf {
        self.dir.path().join("config.toml")
    }

    /// Sets one of the sandbox's own controls.
    pub async fn control(&self, path: &str, body: &Value) {
        let url = format!("{}/sandbox/{path}", self.env["SANDBOX_HTTP"]);
        let answer = self.http.post(url).json(body).send().await.expect("an answer");
        assert!(answer.status().is_success(), "{path} {body}");
    }

    /// How one of the sandbox's own controls stands.
    pub async fn asked(&self, path: &str) -> Value {
        let url = format!("{}/sandbox/{path}", self.env["SANDBOX_HTTP"]);
        let answer = self.http.get(url).send().await.expect("an answer");
        answer.json().await.expect("JSON")
    }

    /// A message with the headers that every call of the Pub/Sub API carries.
    pub fn call<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        for (name, value) in [
            ("accesstoken", self.token.as_str()),
            ("instanceurl", self.env["SANDBOX_HTTP"].as_str()),
            ("tenantid", self.env["SANDBOX_ORG_ID"].as_str()),
        ] {
            let value = MetadataValue::try_from(value).expect("ASCII");
            request.metadata_mut().insert(name, value);
        }
        request
    }

    pub fn grpc(&self) -> SocketAddr {
        self.env["SANDBOX_GRPC"].parse().expect("an address")
    }

    /// The ids of the first so many products.
    pub async fn products(&self, count: usize) -> Vec<String> {
        self.ids("Product2", count).await
    }

    /// The ids of the first so many records of an object.
    pub async fn ids(&self, object: &str, count: usize) -> Vec<String> {
        let mut ids = Vec::with_capacity(count);
        let soql = format!("SELECT Id FROM {object} ORDER BY Id");
        let mut next = format!("{DATA_PATH}/query?q={}", soql.replace(' ', "+"));
        while ids.len() < count {
            let url = format!("{}{next}", self.env["SANDBOX_HTTP"]);
            let answer = self.http.get(url).bearer_auth(&self.token).send().await;
            let page: Value = answer.expect("an answer").json().await.expect("JSON");
            let records = page["records"].as_array().expect("records").iter();
            ids.extend(records.map(|record| record["Id"].as_str().expect("an id").to_owned()));
            match page["nextRecordsUrl"].as_str() {
                Some(more) => next = more.to_owned(),
                None => break,
            }
        }
        ids.truncate(count);
        ids
    }

    /// Gives a product a new text.
    pub async fn update(&self, product: &str, text: &str) {
        let url = format!(
            "{}{DATA_PATH}/sobjects/Product2/{product}",
            self.env["SANDBOX_HTTP"]
        );
        let request = self.http.patch(url).bearer_auth(&self.token);
        let answer = request.json(&json!({"Description": text})).send().await;
        assert_eq!(answer.expect("an answer").status(), 204);
    }

    /// Gives each of these products a text of its own, in one transaction.
    pub async fn update_all(&self, products: &[String], text: &str) {
        let record = |(at, id)| json!({"attributes": {"type": "Product2"}, "Id": id, "Description": format!("{text} {at}")});
        let update: Vec<Value> = products.iter().enumerate().map(record).collect();
        let url = format!("{}/sandbox/changes", self.env["SANDBOX_HTTP"]);
        let answer = self.http.post(url).json(&json!({"update": update})).send().await;
        assert!(answer.expect("an answer").status().is_success());
    }

    /// A daemon against this org, with its state in the org's folder.
    pub fn daemon(&self, variables: &[(&str, &str)]) -> Daemon {
        let mut process = Process::start(
            storesync()
                .arg("run")
                .arg("--config")
                .arg(self.dir.path().join("config.toml"))
                .env("STORESYNC__SERVE__LISTEN", "127.0.0.1:0")
                .env("STORESYNC__ADMIN__LISTEN", "127.0.0.1:0")
                .envs(variables.iter().copied())
                .stderr(Stdio::piped()),
        );
        let mut lines = BufReader::new(process.0.stderr.take().expect("its words")).lines();
        let mut address = |what: &str| {
            let line = lines
                .by_ref()
                .map_while(Result::ok)
                .find(|line| line.contains(what))
                .expect("the daemon says where it listens");
            let url = line.split_whitespace().find(|word| word.starts_with("http"));
            url.expect("an address").to_owned()
        };
        let api = address("storefronts are served on");
        let admin = address("operators are served on");
        // Read to the end, so that the pipe never fills.
        let (said, shown) = (
            Arc::<AtomicUsize>::default(),
            std::env::var_os("STORESYNC_BENCH_LOG"),
        );
        let counted = Arc::clone(&said);
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                counted.fetch_add(1, Ordering::Relaxed);
                if shown.is_some() {
                    eprintln!("{line}");
                }
            }
        });
        Daemon {
            process,
            api,
            admin,
            said,
        }
    }
}

pub struct Daemon {
    pub process: Process,
    pub api: String,
    pub admin: String,
    said: Arc<AtomicUsize>,
}

impl Daemon {
    /// Lines of the log since it listens.
    pub fn lines(&self) -> usize {
        self.said.load(Ordering::Relaxed)
    }

    /// Waits until everything is loaded; gives the number of rows.
    pub async fn live(&self) -> u64 {
        let started = Instant::now();
        while started.elapsed() < LOAD_MAX {
            let answer = reqwest::get(format!("{}/status", self.admin)).await;
            let status: Value = answer.expect("the daemon answers").json().await.expect("JSON");
            let objects = status["objects"].as_array().expect("objects");
            let live = objects.iter().all(|object| object["state"] == "live");
            if !objects.is_empty() && live && status["state"] != "initializing" {
                return objects.iter().filter_map(|object| object["rows"].as_u64()).sum();
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        panic!("not loaded within {} s", LOAD_MAX.as_secs());
    }
}

/// A bare client of the Pub/Sub API.
pub async fn pubsub(address: SocketAddr) -> PubSubClient<Channel> {
    let endpoint = Endpoint::from_shared(format!("http://{address}")).expect("an address");
    let client = PubSubClient::new(endpoint.connect().await.expect("a connection"));
    client.max_decoding_message_size(16 << 20)
}

/// The cache, as any program reads it that knows SQL.
pub fn cache(state: &Path) -> Connection {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let cache = Connection::open_with_flags(state.join("cache.db"), flags).expect("a cache");
    cache.busy_timeout(Duration::from_secs(10)).expect("a time-out");
    cache
}

/// The newest revision of the cache.
pub fn revision(cache: &Connection) -> i64 {
    cache
        .prepare_cached("select coalesce(max(rev), 0) from _change")
        .and_then(|mut select| select.query_row([], |row| row.get(0)))
        .expect("a revision")
}
