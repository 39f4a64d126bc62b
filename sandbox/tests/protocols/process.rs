//! A sandbox org as a process of its own, and how tests act on it: over its REST API, as a client would.
//!
//! The daemon's tests use this file too. What starts a sandbox is the including crate's: `crate::sandbox_command`.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::{Map, Value, json};

/// Longer than anything takes that works.
pub const PATIENCE: Duration = Duration::from_secs(240);

pub type Row = Map<String, Value>;

pub const DATA_PATH: &str = "/services/data/v67.0";

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
    pub fn start(mut command: Command) -> (Self, Option<std::process::ChildStdout>) {
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
    running: Running,
}

impl Sandbox {
    pub async fn start(arguments: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut command = crate::sandbox_command();
        command.args(["--http", "127.0.0.1:0", "--grpc", "127.0.0.1:0"]);
        if !arguments.contains(&"--keepalive-ms") {
            command.args(["--keepalive-ms", "200"]);
        }
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
            running,
        }
    }

    /// Sends what `make` makes of the org's address and a token, and again with others where the session has ended
    /// or the org has moved.
    pub async fn send(&self, make: impl Fn(&str, &str) -> reqwest::RequestBuilder) -> reqwest::Response {
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

    /// Lifts all faults.
    pub async fn no_faults(&self) {
        let url = format!("{}/sandbox/faults", self.env["SANDBOX_HTTP"]);
        let answer = self.http.delete(url).send().await.unwrap();
        assert!(answer.status().is_success());
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

    /// Ends the org: nobody is reached at its addresses any more.
    pub fn end(&mut self) {
        self.running.kill();
    }

    /// Ends all sessions: the next call has to log in again.
    pub async fn end_sessions(&self) {
        let url = format!("{}/sandbox/sessions", self.env["SANDBOX_HTTP"]);
        let answer = self.http.delete(url).send().await.unwrap();
        assert!(answer.status().is_success());
    }
    /// The id of some record.
    pub async fn some(&self, object: &str, rest: &str) -> String {
        let rows = self
            .query(&format!("SELECT Id FROM {object} {rest} LIMIT 1"))
            .await;
        rows[0]["Id"].as_str().unwrap().to_owned()
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
