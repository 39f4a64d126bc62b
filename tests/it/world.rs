//! A sandbox org and a daemon, each a process of its own, as a user would run them.
//!
//! Tests act on the org over its REST API and look at what users see: the HTTP API, the cache file, the
//! daemon's words and its exit status. They wait for states, with a limit that only a fault reaches.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rusqlite::types::ValueRef;
use rusqlite::{Connection, OpenFlags};
use serde_json::{Map, Value, json};

/// Longer than anything takes that works.
pub const PATIENCE: Duration = Duration::from_secs(240);

pub type Row = Map<String, Value>;

const DATA_PATH: &str = "/services/data/v67.0";

pub fn storesync() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_storesync"));
    command.env_remove("STORESYNC_LOG");
    command
}

/// Asks until there is an answer, ever less often: who asks takes of the time that the answer needs.
pub async fn eventually<T>(what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let started = Instant::now();
    let mut pause = Duration::from_millis(5);
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(
            started.elapsed() < PATIENCE,
            "waited {} s in vain: {what}",
            PATIENCE.as_secs()
        );
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(Duration::from_millis(100));
    }
}

/// A process whose standard error is kept, line by line.
pub struct Running {
    pub child: Child,
    lines: Arc<Mutex<Vec<String>>>,
}

impl Running {
    fn start(mut command: Command) -> (Self, Option<std::process::ChildStdout>) {
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let stdout = child.stdout.take();
        let lines = Arc::new(Mutex::new(Vec::new()));
        let into = Arc::clone(&lines);
        std::thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                into.lock().unwrap().push(line);
            }
        });
        (Self { child, lines }, stdout)
    }

    /// Started; what it prints is not looked at.
    pub fn quiet(command: Command) -> Self {
        let (running, stdout) = Self::start(command);
        std::thread::spawn(move || stdout.map(|mut stdout| stdout.read_to_end(&mut Vec::new())));
        running
    }

    /// Started, and the first line that it printed.
    pub fn with_first_line(command: Command) -> (Self, String) {
        let (running, stdout) = Self::start(command);
        let mut line = String::new();
        let mut stdout = BufReader::new(stdout.unwrap());
        stdout.read_line(&mut line).unwrap();
        // Read to the end, so that the pipe never fills.
        std::thread::spawn(move || stdout.read_to_end(&mut Vec::new()));
        (running, line)
    }

    /// Started, and the first line of its log that has these words.
    pub fn with_first_line_of_log(command: Command, words: &str) -> (Self, String) {
        let (running, stdout) = Self::start(command);
        std::thread::spawn(move || stdout.unwrap().read_to_end(&mut Vec::new()));
        let started = Instant::now();
        loop {
            let said = running.said();
            if let Some(line) = said.lines().find(|line| line.contains(words)) {
                return (running, line.to_owned());
            }
            assert!(
                started.elapsed() < PATIENCE,
                "waited in vain for {words}; it said:\n{said}"
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// What it has said so far.
    pub fn said(&self) -> String {
        self.lines.lock().unwrap().join("\n")
    }

    /// SIGKILL: nothing gets a chance to be tidied up.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// SIGTERM: it ends in order.
    pub fn stop(&mut self) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").arg(pid).status().unwrap().success());
        self.wait();
    }

    pub fn wait(&mut self) -> ExitStatus {
        let started = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(
                started.elapsed() < PATIENCE,
                "the process does not end; it said:\n{}",
                self.said()
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("--- the process said:\n{}", self.said());
        }
    }
}

/// Address and access token of a new session. An org that is made to misbehave is asked again.
async fn log_in(http: &reqwest::Client, env: &BTreeMap<String, String>) -> (String, String) {
    let form = [
        ("grant_type", "client_credentials"),
        ("client_id", env["SANDBOX_CLIENT_ID"].as_str()),
        ("client_secret", env["SANDBOX_CLIENT_SECRET"].as_str()),
    ];
    let url = format!("{}/services/oauth2/token", env["SANDBOX_HTTP"]);
    eventually("the org logs the test in", async || {
        let answer = http.post(&url).form(&form).send().await.ok()?;
        let answer: Value = answer.json().await.ok()?;
        let text = |key: &str| answer[key].as_str().map(str::to_owned);
        Some((text("instance_url")?, text("access_token")?))
    })
    .await
}

/// A sandbox org.
pub struct Sandbox {
    pub env: BTreeMap<String, String>,
    pub dir: tempfile::TempDir,
    pub http: reqwest::Client,
    /// Where the org answers, and the token for it.
    session: Mutex<(String, String)>,
    _running: Running,
}

impl Sandbox {
    pub async fn start(arguments: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut command = storesync();
        command.args([
            "sandbox",
            "--http",
            "127.0.0.1:0",
            "--grpc",
            "127.0.0.1:0",
            "--keepalive-ms",
            "200",
        ]);
        command.arg("--data").arg(dir.path()).args(arguments);
        let (running, line) = Running::with_first_line(command);
        let env: BTreeMap<String, String> = serde_json::from_str(&line)
            .unwrap_or_else(|_| panic!("no JSON line: {line}\n{}", running.said()));
        let http = match env
            .get("SANDBOX_CA")
            .filter(|_| env["SANDBOX_HTTP"].starts_with("https"))
        {
            Some(ca) => {
                let pem = std::fs::read(ca).unwrap();
                let certificates = reqwest::Certificate::from_pem_bundle(&pem).unwrap();
                reqwest::Client::builder()
                    .tls_certs_only(certificates)
                    .build()
                    .unwrap()
            }
            None => reqwest::Client::new(),
        };
        let session = log_in(&http, &env).await;
        Self {
            env,
            dir,
            http,
            session: Mutex::new(session),
            _running: running,
        }
    }

    /// Sends what `make` makes of the org's address and a token, and again with others where the session has ended
    /// or the org has moved.
    async fn send(&self, make: impl Fn(&str, &str) -> reqwest::RequestBuilder) -> reqwest::Response {
        loop {
            let (base, token) = self.session.lock().unwrap().clone();
            let answer = make(&base, &token).send().await.unwrap();
            if answer.status() != reqwest::StatusCode::UNAUTHORIZED {
                return answer;
            }
            let renewed = log_in(&self.http, &self.env).await;
            *self.session.lock().unwrap() = renewed;
        }
    }

    pub fn url(&self, resource: &str) -> String {
        format!("{}{DATA_PATH}/{resource}", self.env["SANDBOX_HTTP"])
    }

    pub fn state(&self) -> PathBuf {
        self.dir.path().join("state")
    }

    pub fn config(&self) -> PathBuf {
        self.dir.path().join("config.toml")
    }

    pub async fn query(&self, soql: &str) -> Vec<Row> {
        let mut rows = Vec::new();
        let mut next: Option<String> = None;
        loop {
            let request = |base: &str, token: &str| {
                let request = match &next {
                    Some(next) => self.http.get(format!("{base}{next}")),
                    None => self
                        .http
                        .get(format!("{base}{DATA_PATH}/query"))
                        .query(&[("q", soql)]),
                };
                request.bearer_auth(token)
            };
            let answer = self.send(request).await;
            let status = answer.status();
            let mut page: Value = answer.json().await.unwrap();
            assert!(status.is_success(), "{soql}: {page}");
            let Value::Array(records) = page["records"].take() else {
                panic!("{soql}: no records")
            };
            for record in records {
                let Value::Object(record) = record else {
                    panic!("{soql}: not a record")
                };
                rows.push(
                    record
                        .into_iter()
                        .filter(|(key, _)| key != "attributes")
                        .collect(),
                );
            }
            next = page["nextRecordsUrl"].as_str().map(str::to_owned);
            if next.is_none() {
                return rows;
            }
        }
    }

    pub async fn count(&self, from: &str) -> u64 {
        let soql = format!("SELECT COUNT() FROM {from}");
        let request = |base: &str, token: &str| {
            let request = self.http.get(format!("{base}{DATA_PATH}/query"));
            request.query(&[("q", &soql)]).bearer_auth(token)
        };
        let page: Value = self.send(request).await.json().await.unwrap();
        page["totalSize"].as_u64().unwrap()
    }

    /// Any call with a JSON body; gives status and answer.
    pub async fn call(&self, method: reqwest::Method, resource: &str, body: &Value) -> (u16, Value) {
        let request = |base: &str, token: &str| {
            let request = self
                .http
                .request(method.clone(), format!("{base}{DATA_PATH}/{resource}"));
            request.bearer_auth(token).json(body)
        };
        let answer = self.send(request).await;
        let status = answer.status().as_u16();
        (
            status,
            serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap_or_default(),
        )
    }

    pub async fn update(&self, object: &str, id: &str, fields: Value) {
        let (status, answer) = self
            .call(
                reqwest::Method::PATCH,
                &format!("sobjects/{object}/{id}"),
                &fields,
            )
            .await;
        assert_eq!(status, 204, "{answer}");
    }

    pub async fn create(&self, object: &str, fields: Value) -> String {
        let (status, answer) = self
            .call(reqwest::Method::POST, &format!("sobjects/{object}"), &fields)
            .await;
        assert_eq!(status, 201, "{answer}");
        answer["id"].as_str().unwrap().to_owned()
    }

    pub async fn delete(&self, object: &str, id: &str) {
        let (status, answer) = self
            .call(
                reqwest::Method::DELETE,
                &format!("sobjects/{object}/{id}"),
                &json!({}),
            )
            .await;
        assert_eq!(status, 204, "{answer}");
    }

    /// Stages a fault, in the words of the sandbox's own interface.
    pub async fn fault(&self, rule: Value) {
        let url = format!("{}/sandbox/faults", self.env["SANDBOX_HTTP"]);
        let answer = self.http.post(url).json(&rule).send().await.unwrap();
        assert!(answer.status().is_success(), "{}", answer.text().await.unwrap());
    }

    /// One of the sandbox's own controls: `POST /sandbox/{path}`.
    pub async fn control(&self, path: &str, body: Value) -> Value {
        let url = format!("{}/sandbox/{path}", self.env["SANDBOX_HTTP"]);
        let answer = self.http.post(url).json(&body).send().await.unwrap();
        let status = answer.status();
        let text = answer.text().await.unwrap();
        assert!(status.is_success(), "{path} {body}: {text}");
        serde_json::from_str(&text).unwrap_or_default()
    }

    /// Ends all sessions: the next call has to log in again.
    pub async fn end_sessions(&self) {
        let url = format!("{}/sandbox/sessions", self.env["SANDBOX_HTTP"]);
        let answer = self.http.delete(url).send().await.unwrap();
        assert!(answer.status().is_success());
    }

    /// Runs a verb with this sandbox's configuration: exit status, standard output, standard error.
    pub async fn verb(&self, arguments: &[&str]) -> (i32, String, String) {
        self.verb_with(&[], arguments).await
    }

    pub async fn verb_with(&self, variables: &[(&str, &str)], arguments: &[&str]) -> (i32, String, String) {
        let mut command = storesync();
        command.envs(variables.iter().copied());
        command.args(arguments).arg("--config").arg(self.config());
        command.env("STORESYNC__SYNC__POLL_SECONDS", "1");
        let output = tokio::task::spawn_blocking(move || command.output().unwrap())
            .await
            .unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (
            output.status.code().unwrap(),
            text(&output.stdout),
            text(&output.stderr),
        )
    }

    /// The ledger's entries, the oldest first.
    pub fn ledger(&self) -> Vec<Row> {
        select(
            &cache(&self.state()),
            "select kind, object, record_id, reason, found from _repair order by number",
        )
    }

    /// Waits until nothing is left to do, but for events that a person has to look at.
    pub async fn settled(&self) -> Vec<Row> {
        eventually("every entry of the ledger is closed", async || {
            let ledger = self.ledger();
            ledger
                .iter()
                .all(|entry| !entry["found"].is_null())
                .then_some(ledger)
        })
        .await
    }

    /// The id of some record.
    pub async fn some(&self, object: &str, rest: &str) -> String {
        let rows = self
            .query(&format!("SELECT Id FROM {object} {rest} LIMIT 1"))
            .await;
        rows[0]["Id"].as_str().unwrap().to_owned()
    }

    /// A daemon against this org, with its state in the sandbox's folder.
    pub async fn daemon(&self) -> Daemon {
        self.daemon_with(&[]).await
    }

    pub fn daemon_command(&self, variables: &[(&str, &str)]) -> Command {
        let mut command = storesync();
        command.arg("run").arg("--config").arg(self.config());
        command
            .env("STORESYNC__SERVE__LISTEN", "127.0.0.1:0")
            .env("STORESYNC__ADMIN__LISTEN", "127.0.0.1:0");
        command.env("STORESYNC__SYNC__POLL_SECONDS", "1");
        command.envs(variables.iter().copied());
        command
    }

    pub async fn daemon_with(&self, variables: &[(&str, &str)]) -> Daemon {
        self.daemon_by(self.daemon_command(variables)).await
    }

    /// A daemon that a shell starts, once it has run what is given.
    pub async fn daemon_after(&self, shell: &str) -> Daemon {
        let plain = self.daemon_command(&[]);
        let mut command = Command::new("sh");
        command.arg("-c").arg(format!("{shell}; exec \"$0\" \"$@\""));
        command.arg(plain.get_program()).args(plain.get_args());
        command.envs(plain.get_envs().filter_map(|(name, value)| Some((name, value?))));
        self.daemon_by(command).await
    }

    async fn daemon_by(&self, command: Command) -> Daemon {
        let (mut running, _stdout) = Running::start(command);
        let address = async |running: &mut Running, what: &str| {
            eventually(what, async || {
                if let Some(status) = running.child.try_wait().unwrap() {
                    panic!("the daemon ended with {status}");
                }
                let said = running.said();
                let line = said.lines().find(|line| line.contains(what))?;
                let start = line.find("http://")?;
                let end = line[start..]
                    .find(|c: char| c.is_whitespace())
                    .unwrap_or(line.len() - start);
                Some(line[start..start + end].to_owned())
            })
            .await
        };
        let api = address(&mut running, "storefronts are served on").await;
        let admin = address(&mut running, "operators are served on").await;
        Daemon {
            running,
            api,
            admin,
            http: reqwest::Client::new(),
        }
    }

    /// Starts a daemon that is expected to end at once; gives its exit status and its words.
    pub fn refused_daemon(&self, variables: &[(&str, &str)]) -> (Option<i32>, String) {
        refused(self.daemon_command(variables))
    }
}

/// Runs a command that is expected to end by itself.
pub fn refused(command: Command) -> (Option<i32>, String) {
    let (mut running, _stdout) = Running::start(command);
    let status = running.wait();
    // The reader of standard error may be a moment behind the end.
    std::thread::sleep(Duration::from_millis(100));
    (status.code(), running.said())
}

/// A daemon.
pub struct Daemon {
    pub running: Running,
    pub api: String,
    pub admin: String,
    http: reqwest::Client,
}

impl Daemon {
    pub async fn get(&self, path: &str) -> Option<(u16, Value)> {
        let answer = self.http.get(format!("{}{path}", self.api)).send().await.ok()?;
        let status = answer.status().as_u16();
        Some((status, answer.json().await.ok()?))
    }

    pub async fn status(&self) -> Option<Value> {
        self.http
            .get(format!("{}/status", self.admin))
            .send()
            .await
            .ok()?
            .json()
            .await
            .ok()
    }

    pub async fn place(&self, store: &str, order: &Value) -> Option<(u16, Value)> {
        let url = format!("{}/v1/stores/{store}/orders", self.api);
        let answer = self.http.post(url).json(order).send().await.ok()?;
        let status = answer.status().as_u16();
        Some((status, answer.json().await.ok()?))
    }

    /// Waits until every object has been loaded.
    pub async fn live(&self) {
        eventually("all objects are live", async || {
            let status = self.status().await?;
            let objects = status["objects"].as_array()?;
            let live = objects.iter().all(|object| object["state"] == "live");
            (live && !objects.is_empty() && status["state"] != "initializing").then_some(())
        })
        .await;
    }
}

/// The cache as another process reads it.
pub fn cache(state: &Path) -> Connection {
    let connection =
        Connection::open_with_flags(state.join("cache.db"), OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap();
    connection.busy_timeout(Duration::from_secs(10)).unwrap();
    connection
}

/// Rows of a statement, as JSON.
pub fn select(connection: &Connection, sql: &str) -> Vec<Row> {
    let mut statement = connection.prepare(sql).unwrap();
    let names: Vec<String> = statement.column_names().map(str::to_owned).collect();
    let read = |row: &rusqlite::Row<'_>| {
        let value = |index: usize| match row.get_ref_unwrap(index) {
            ValueRef::Null => Value::Null,
            ValueRef::Integer(integer) => json!(integer),
            ValueRef::Real(real) => json!(real),
            ValueRef::Text(text) => json!(std::str::from_utf8(text).unwrap()),
            ValueRef::Blob(_) => json!("(blob)"),
        };
        Ok(names
            .iter()
            .enumerate()
            .map(|(index, name)| (name.clone(), value(index)))
            .collect())
    };
    statement
        .query_map([], read)
        .unwrap()
        .map(Result::unwrap)
        .collect()
}

/// The objects that the cache mirrors: table names that are not the daemon's own.
pub fn mirrored(connection: &Connection) -> Vec<String> {
    select(connection, "select name from sqlite_schema where type = 'table' and substr(name, 1, 1) <> '_' and name not like 'sqlite%' order by name")
        .into_iter()
        .map(|row| row["name"].as_str().unwrap().to_owned())
        .collect()
}

/// Where cache and org differ, value by value: `object id column: cached / in the org`.
pub async fn differences(sandbox: &Sandbox) -> Vec<String> {
    let connection = cache(&sandbox.state());
    let mut found = Vec::new();
    let objects = mirrored(&connection);
    assert!(objects.len() > 10, "only {objects:?} are mirrored");
    for object in objects {
        let cached = by_id(select(&connection, &format!("select * from \"{object}\"")));
        let columns: Vec<String> = select(
            &connection,
            &format!("select name from pragma_table_info('{object}') where substr(name, 1, 1) <> '_'"),
        )
        .into_iter()
        .map(|row| row["name"].as_str().unwrap().to_owned())
        .collect();
        let columns = without_formulas_over_others(sandbox, &object, columns).await;
        let lower = |row: Row| {
            row.into_iter()
                .map(|(key, value)| (key.to_lowercase(), value))
                .collect()
        };
        let rows = sandbox
            .query(&format!("SELECT {} FROM {object}", columns.join(",")))
            .await;
        let in_org = by_id(rows.into_iter().map(lower).collect());
        let ids: BTreeSet<&String> = cached.keys().chain(in_org.keys()).collect();
        for id in ids {
            match (cached.get(id), in_org.get(id)) {
                (Some(cached), Some(in_org)) => {
                    for column in &columns {
                        let values = [cached, in_org].map(|row| row.get(column).unwrap_or(&Value::Null));
                        if !same(values[0], values[1]) {
                            found.push(format!("{object} {id} {column}: {} / {}", values[0], values[1]));
                        }
                    }
                }
                (Some(_), None) => found.push(format!("{object} {id}: not in the org")),
                (None, _) => found.push(format!("{object} {id}: not in the cache")),
            }
        }
    }
    found
}

/// A formula that shows a field of another record changes without an event and without a stamp: it is read again
/// with its own record, and by schedule, so nothing can be demanded of it at once.
async fn without_formulas_over_others(sandbox: &Sandbox, table: &str, columns: Vec<String>) -> Vec<String> {
    let request = |base: &str, token: &str| {
        let describe = format!("{base}{DATA_PATH}/sobjects/{table}/describe");
        sandbox.http.get(describe).bearer_auth(token)
    };
    let describe: Value = sandbox.send(request).await.json().await.unwrap();
    let fields = describe["fields"].as_array().unwrap().iter();
    let over_others: BTreeSet<String> = fields
        .filter(|field| {
            field["calculatedFormula"]
                .as_str()
                .is_some_and(|formula| formula.contains('.'))
        })
        .map(|field| field["name"].as_str().unwrap().to_lowercase())
        .collect();
    columns
        .into_iter()
        .filter(|column| !over_others.contains(column))
        .collect()
}

/// Waits until cache and org are equal.
pub async fn converge(sandbox: &Sandbox) {
    let started = Instant::now();
    loop {
        let found = differences(sandbox).await;
        if found.is_empty() {
            return;
        }
        let shown = found.iter().take(20).cloned().collect::<Vec<_>>().join("\n");
        assert!(
            started.elapsed() < PATIENCE,
            "{} differences stay:\n{shown}",
            found.len()
        );
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

fn by_id(rows: Vec<Row>) -> BTreeMap<String, Row> {
    rows.into_iter()
        .map(|row| (row["id"].as_str().unwrap().to_owned(), row))
        .collect()
}

/// SQLite has no booleans, and REST writes a datetime's offset as `+0000`.
fn same(cached: &Value, in_org: &Value) -> bool {
    match (cached, in_org) {
        (Value::Number(cached), Value::Bool(in_org)) => cached.as_i64() == Some(i64::from(*in_org)),
        (Value::Number(cached), Value::Number(in_org)) => cached.as_f64() == in_org.as_f64(),
        (Value::String(cached), Value::String(in_org)) => {
            cached == in_org || *cached == in_org.replace("+0000", "Z")
        }
        (cached, in_org) => cached == in_org,
    }
}

/// An order of one customer, for the given products and quantities.
pub fn order(external_id: &str, currency: &str, items: &[(&str, u32)]) -> Value {
    let items: Vec<Value> = items
        .iter()
        .map(|(id, quantity)| json!({"product_id": id, "quantity": quantity}))
        .collect();
    json!({
        "external_id": external_id, "currency": currency, "items": items, "fields": {},
        "customer": {"external_id": format!("C-{external_id}"), "email": "ana@example.com", "first_name": "Ana", "last_name": "Lee"},
        "shipping_address": {"street": "1 High St", "city": "Hobart", "state": "TAS", "postal_code": "7000", "country": "AU"}
    })
}

/// A store of the org and its priced products: (store id, currency, product ids).
pub async fn a_store(daemon: &Daemon) -> (String, String, Vec<String>) {
    let (_, stores) = daemon.get("/v1/stores").await.unwrap();
    let store = stores["items"][0]["id"].as_str().unwrap().to_owned();
    let (_, products) = daemon
        .get(&format!("/v1/stores/{store}/products?limit=200"))
        .await
        .unwrap();
    let priced: Vec<&Value> = products["items"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|product| !product["price"].is_null())
        .collect();
    let currency = priced[0]["price"]["currency"].as_str().unwrap().to_owned();
    let ids = priced
        .iter()
        .map(|product| product["id"].as_str().unwrap().to_owned())
        .collect();
    (store, currency, ids)
}
