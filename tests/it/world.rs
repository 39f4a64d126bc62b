//! A sandbox org and a daemon, each a process of its own, as a user would run them.
//!
//! Tests act on the org over its REST API and look at what users see: the HTTP API, the cache file, the
//! daemon's words and its exit status. They wait for states, with a limit that only a fault reaches.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use rusqlite::types::ValueRef;
use rusqlite::{Connection, OpenFlags};
use serde_json::{Value, json};

use crate::process::DATA_PATH;
pub use crate::process::{PATIENCE, Row, Running, Sandbox, eventually, refused};

/// The program, as a user would start it.
pub fn storesync() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_storesync"));
    command.env_remove("STORESYNC_LOG");
    command
}

/// Which of so many shares of a long list a run tries: another one each day. `STORESYNC_DAY`, days since 1970, tries
/// those of a day again.
pub fn share_of_today(shares: usize) -> usize {
    let day = match std::env::var("STORESYNC_DAY") {
        Ok(day) => day.parse().unwrap(),
        Err(_) => std::time::UNIX_EPOCH.elapsed().unwrap().as_secs() / 86_400,
    };
    usize::try_from(day).unwrap() % shares
}

impl Sandbox {
    pub fn state(&self) -> PathBuf {
        self.dir.path().join("state")
    }

    pub fn config(&self) -> PathBuf {
        self.dir.path().join("config.toml")
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

    /// Waits until nothing is left to do, but for events that a person has to look at. What a first load reads once it has a
    /// position is not among what is given: nothing was lost.
    pub async fn settled(&self) -> Vec<Row> {
        let mut ledger = eventually("every entry of the ledger is closed", async || {
            let ledger = self.ledger();
            ledger
                .iter()
                .all(|entry| !entry["found"].is_null())
                .then_some(ledger)
        })
        .await;
        let is_of_first_load = |entry: &Row| {
            let reason = entry["reason"].as_str().unwrap_or_default();
            reason.starts_with("there was no position")
        };
        ledger.retain(|entry| !is_of_first_load(entry));
        ledger
    }
    /// A daemon against this org, with its state in the sandbox's folder.
    pub async fn daemon(&self) -> Daemon {
        self.daemon_with(&[]).await
    }

    pub fn daemon_command(&self, variables: &[(&str, &str)]) -> Command {
        Self::daemon_command_of(&self.config(), variables)
    }

    /// A daemon of a configuration.
    pub fn daemon_command_of(config: &Path, variables: &[(&str, &str)]) -> Command {
        let mut command = storesync();
        command.arg("run").arg("--config").arg(config);
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

    pub async fn daemon_by(&self, command: Command) -> Daemon {
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
            state: self.state(),
        }
    }

    /// Starts a daemon that is expected to end at once; gives its exit status and its words.
    pub fn refused_daemon(&self, variables: &[(&str, &str)]) -> (Option<i32>, String) {
        refused(self.daemon_command(variables))
    }
}

/// A daemon.
pub struct Daemon {
    pub running: Running,
    pub api: String,
    pub admin: String,
    http: reqwest::Client,
    state: PathBuf,
}

/// A client that brings the token of this machine, where a daemon with this state directory has made one.
pub fn operator(state: &Path) -> reqwest::ClientBuilder {
    let token = std::fs::read_to_string(state.join("admin.token")).unwrap_or_default();
    let value = format!("Bearer {}", token.trim()).parse().unwrap();
    let headers = [(reqwest::header::AUTHORIZATION, value)].into_iter().collect();
    reqwest::Client::builder().default_headers(headers)
}

impl Daemon {
    /// Asks at the operators' listener with the token of this machine.
    pub fn operator(&self) -> reqwest::Client {
        operator(&self.state).build().unwrap()
    }

    /// As [`Self::operator`], and does not go where an answer leads.
    pub fn operator_who_stays(&self) -> reqwest::Client {
        let stays = reqwest::redirect::Policy::none();
        operator(&self.state).redirect(stays).build().unwrap()
    }

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

/// A store of the org and products that may be bought in any number: (store id, currency, product ids).
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
        .filter(|product| product["purchasable"] == true)
        .filter(|product| product["stock"].is_null() && product["order_quantity_max"].is_null())
        .collect();
    let currency = priced[0]["price"]["currency"].as_str().unwrap().to_owned();
    let ids = priced
        .iter()
        .map(|product| product["id"].as_str().unwrap().to_owned())
        .collect();
    (store, currency, ids)
}
