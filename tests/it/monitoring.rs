//! What monitoring systems are told: `/metrics`, and the alerts and the dashboard that ask for it.

pub mod moving;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::world::{Daemon, Sandbox, eventually};

fn monitoring() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("systemd/monitoring")
}

pub async fn metrics(daemon: &Daemon) -> String {
    let answer = reqwest::get(format!("{}/metrics", daemon.admin)).await.unwrap();
    assert_eq!(answer.status(), 200);
    assert_eq!(
        answer.headers()["content-type"],
        "text/plain; version=0.0.4; charset=utf-8"
    );
    answer.text().await.unwrap()
}

/// The value of the sample that begins like this.
pub fn value(metrics: &str, sample: &str) -> Option<f64> {
    let line = metrics.lines().find(|line| line.starts_with(sample))?;
    line.rsplit(' ').next()?.parse().ok()
}

/// Names and, for histograms and summaries, those of their parts.
fn exported(metrics: &str) -> BTreeSet<String> {
    let types = metrics.lines().filter_map(|line| line.strip_prefix("# TYPE "));
    let mut names = BTreeSet::new();
    for line in types {
        let (name, kind) = line.split_once(' ').unwrap();
        let parts: &[&str] = match kind {
            "histogram" => &["_bucket", "_sum", "_count"],
            "summary" => &["_sum", "_count"],
            _ => &[""],
        };
        names.extend(parts.iter().map(|part| format!("{name}{part}")));
    }
    names
}

/// The names of metrics in a query.
fn asked(query: &str) -> Vec<String> {
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let words = query.split(|c: char| !word(c));
    words
        .filter(|word| word.starts_with("storesync_"))
        .map(str::to_owned)
        .collect()
}

/// What alerts and dashboard ask for, and the words that show it.
struct Query {
    expression: String,
    shown: String,
}

impl Query {
    /// All of them.
    fn all() -> Vec<Self> {
        let mut all: Vec<Self> = Vec::new();
        let alerts = std::fs::read_to_string(monitoring().join("alerts.yml")).unwrap();
        for line in alerts.lines().map(str::trim) {
            if let Some(expression) = line.strip_prefix("expr: ") {
                all.push(Self {
                    expression: expression.to_owned(),
                    shown: String::new(),
                });
            }
            if let (Some(shown), Some(last)) = (line.strip_prefix("summary: "), all.last_mut()) {
                shown.clone_into(&mut last.shown);
            }
        }
        let dashboard = std::fs::read(monitoring().join("dashboard.json")).unwrap();
        let dashboard: Value = serde_json::from_slice(&dashboard).unwrap();
        for panel in dashboard["panels"].as_array().unwrap() {
            for target in panel["targets"].as_array().unwrap() {
                let text = |key: &str| target[key].as_str().unwrap().to_owned();
                all.push(Self {
                    expression: text("expr"),
                    shown: text("legendFormat"),
                });
            }
        }
        assert!(all.len() > 40, "only {}", all.len());
        all
    }

    /// The labels that it matches, groups by and shows, each as the beginning of a sample has it: `state="stale"` where
    /// it names the value, else `state="`.
    fn labels(&self) -> BTreeSet<String> {
        let mut labels = BTreeSet::new();
        for matcher in between(&self.expression, "{", "}").flat_map(|matchers| matchers.split(',')) {
            let (name, value) = matcher.split_once('=').unwrap();
            let value = value.strip_prefix('"').unwrap_or_default();
            labels.insert(format!("{}=\"{value}", name.trim_end_matches('!')));
        }
        let groups = between(&self.expression, "by (", ")").flat_map(|names| names.split(','));
        let legends = between(&self.shown, "{{", "}}").filter(|name| !name.contains(['$', ' ']));
        let words = between(&self.shown, "$labels.", " ");
        labels.extend(
            groups
                .chain(legends)
                .chain(words)
                .map(|name| format!("{}=\"", name.trim())),
        );
        // The bound of a bucket is no label of ours.
        labels.remove("le=\"");
        labels
    }
}

/// The parts of a text between two marks.
fn between<'t>(text: &'t str, open: &'t str, close: &'t str) -> impl Iterator<Item = &'t str> {
    let parts = text.split(open).skip(1);
    parts.map(move |part| part.split(close).next().unwrap())
}

async fn live(org: &Sandbox) -> Daemon {
    let daemon = org.daemon().await;
    eventually("the cache is complete", async || {
        let text = metrics(&daemon).await;
        (value(&text, "storesync_serving{state=\"live\"}") == Some(1.0)).then_some(())
    })
    .await;
    daemon
}

#[tokio::test]
async fn every_query_of_alerts_and_dashboard_names_what_is_exported() {
    let org = Sandbox::start(&["--products", "5"]).await;
    let daemon = live(&org).await;
    let names = eventually("the org has told its allowances", async || {
        let text = metrics(&daemon).await;
        value(&text, "storesync_sf_api_limit ").map(|_| exported(&text))
    })
    .await;
    let mut shown = BTreeSet::new();
    for Query { expression, .. } in Query::all() {
        let asked = asked(&expression);
        assert!(!asked.is_empty(), "{expression} asks for nothing of ours");
        for name in asked {
            assert!(
                names.contains(&name),
                "{expression}: {name} is not exported; these are: {names:?}"
            );
            shown.insert(name);
        }
    }
    // The other way round: what is exported and on no panel is a thing that nobody sees.
    let base = |name: &str| {
        let parts = ["_bucket", "_sum", "_count"];
        parts
            .iter()
            .find_map(|part| name.strip_suffix(part))
            .unwrap_or(name)
            .to_owned()
    };
    let seen: BTreeSet<String> = shown.iter().map(|name| base(name)).collect();
    let unseen: Vec<String> = names
        .iter()
        .map(|name| base(name))
        .filter(|name| !seen.contains(name))
        .collect();
    let elsewhere = [
        "storesync_object_state",
        "storesync_object_last_event_timestamp_seconds",
        "storesync_cursor_age_seconds",
    ];
    let unseen: Vec<&String> = unseen
        .iter()
        .filter(|name| !elsewhere.contains(&name.as_str()))
        .collect();
    assert!(unseen.is_empty(), "on no panel and in no alert: {unseen:?}");
    moving::all_are_listed(&names.iter().map(|name| base(name)).collect());
}

#[tokio::test]
async fn what_happens_is_counted() {
    let org = Sandbox::start(&["--products", "5"]).await;
    let daemon = live(&org).await;
    let id = org.some("Product2", "").await;
    org.update("Product2", &id, json!({"Name": "Renamed"})).await;
    // What is counted may be told before what is read from the files, and the other way round.
    let text = eventually("the change is counted and dated", async || {
        let text = metrics(&daemon).await;
        let updates = value(&text, "storesync_events_received_total{change_type=\"UPDATE\"}");
        let dated = value(
            &text,
            "storesync_object_last_event_timestamp_seconds{object=\"Product2\"}",
        );
        (updates >= Some(1.0) && dated.is_some()).then_some(text)
    })
    .await;
    let rows = org.count("Product2").await as f64;
    assert_eq!(
        value(&text, "storesync_object_rows{object=\"Product2\"}"),
        Some(rows)
    );
    assert_eq!(
        value(
            &text,
            "storesync_object_state{object=\"Product2\",state=\"live\",kept_by=\"stream\"}"
        ),
        Some(1.0)
    );
    assert_eq!(
        value(&text, "storesync_apply_lag_seconds_bucket{le=\"+Inf\"}"),
        Some(1.0)
    );
    assert!(
        value(
            &text,
            "storesync_object_last_event_timestamp_seconds{object=\"Product2\"}"
        )
        .unwrap()
            > 1e9
    );
    let left = value(
        &text,
        "storesync_replay_window_remaining_seconds{topic=\"/data/ChangeEvents\"}",
    )
    .unwrap();
    assert!((258_000.0..=259_200.0).contains(&left), "{left}");
    assert_eq!(value(&text, "storesync_orders_pending"), Some(0.0));
    assert!(
        value(
            &text,
            "storesync_sf_api_requests_total{api=\"bulk\",outcome=\"ok\"}"
        )
        .unwrap()
            > 0.0
    );
    assert!(value(&text, "storesync_db_size_bytes{db=\"cache\"}").unwrap() > 0.0);

    daemon.get("/v1/stores").await.unwrap();
    daemon.get("/v1/stores/none/orders/WEB-SECRET-1").await.unwrap();
    let text = metrics(&daemon).await;
    let stores = "storesync_http_requests_total{listener=\"storefront\",method=\"GET\",route=\"/v1/stores\",status=\"200\"}";
    assert_eq!(value(&text, stores), Some(1.0), "{text}");
    assert!(!text.contains("WEB-SECRET-1"), "addresses are not labels");

    is_well_formed(&text);
}

/// The format itself, by Prometheus's own reader.
fn is_well_formed(text: &str) {
    let mut promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool, see tests/setup.sh");
    std::io::Write::write_all(&mut promtool.stdin.take().unwrap(), text.as_bytes()).unwrap();
    let output = promtool.wait_with_output().unwrap();
    let said =
        String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}");
}

#[test]
fn alert_rules_fire_when_they_should() {
    for arguments in [
        ["check", "rules", "alerts.yml"],
        ["test", "rules", "alerts_test.yml"],
    ] {
        let output = Command::new("promtool")
            .args(arguments)
            .current_dir(monitoring())
            .output();
        let output = output.expect("promtool, see tests/setup.sh");
        assert!(
            output.status.success(),
            "{}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
    }
}

#[tokio::test]
async fn status_tells_the_same_over_http_and_beside_the_daemon() {
    let org = Sandbox::start(&["--products", "5"]).await;
    let daemon = live(&org).await;
    let id = org.some("Product2", "").await;
    org.update("Product2", &id, json!({"Name": "Renamed"})).await;
    let by_name = |status: &Value| -> Value {
        let objects = status["objects"].as_array().unwrap();
        objects
            .iter()
            .find(|object| object["object"] == "Product2")
            .unwrap()
            .clone()
    };
    let told: Value = eventually("the event and the allowance are told", async || {
        let answer = reqwest::get(format!("{}/status", daemon.admin)).await.ok()?;
        let status: Value = answer.json().await.ok()?;
        let complete = by_name(&status)["last_event_at"].is_string() && status["allowance"].is_object();
        complete.then_some(status)
    })
    .await;
    assert_eq!(told["state"], "live");
    let product = by_name(&told);
    assert_eq!(product["rows"].as_u64(), Some(org.count("Product2").await));
    assert_eq!(
        (&product["kept_by"], &product["state"]),
        (&json!("stream"), &json!("live"))
    );
    assert_eq!(told["channels"][0]["topic"], "/data/ChangeEvents");
    assert!(
        told["channels"][0]["replay_window_left_seconds"]
            .as_i64()
            .unwrap()
            > 258_000
    );
    assert_eq!(
        told["outbox"],
        json!({"depth": 0, "oldest_seconds": null, "damaged": 0})
    );
    assert!(told["allowance"]["api"]["used"].as_u64().unwrap() > 0);
    assert!(told["allowance"]["event_deliveries"]["limit"].as_u64().unwrap() > 0);

    let (exit, stdout, _) = org.verb(&["status", "--json"]).await;
    let beside: Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!((exit, &beside["running"]), (0, &json!(true)));
    for key in [
        "org_id",
        "objects",
        "channels",
        "repairs",
        "orders",
        "outbox",
        "allowance",
    ] {
        assert!(!beside[key].is_null(), "{key}");
        let shape = |value: &Value| match value {
            Value::Object(members) => members.keys().cloned().collect::<Vec<_>>(),
            _ => Vec::new(),
        };
        assert_eq!(shape(&beside[key]), shape(&told[key]), "{key}");
    }
    let (_, text, _) = org.verb(&["status"]).await;
    for part in [
        "daemon running",
        "last event",
        "h left to resume",
        "outbox: 0 to be sent",
        "API requests",
    ] {
        assert!(text.contains(part), "{part} in {text}");
    }
}

/// Each look is a line of JSON; it ends in order when it is stopped.
#[tokio::test]
async fn status_can_be_watched() {
    let org = Sandbox::start(&["--products", "5"]).await;
    let _daemon = live(&org).await;
    let mut command = crate::world::storesync();
    command
        .args(["status", "--watch", "--json", "--config"])
        .arg(org.config());
    let (mut watching, line) = crate::world::Running::with_first_line(command);
    let status: Value = serde_json::from_str(&line).unwrap();
    assert_eq!(status["running"], true);
    let pid = watching.child.id().to_string();
    assert!(
        Command::new("kill")
            .args(["-INT", &pid])
            .status()
            .unwrap()
            .success()
    );
    assert_eq!(watching.wait().code(), Some(0));
}

/// Stands in for a collector: keeps the spans that it is sent.
async fn collector() -> (String, std::sync::Arc<std::sync::Mutex<Vec<Value>>>) {
    let kept = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
    let into = std::sync::Arc::clone(&kept);
    let take = async move |axum::Json(body): axum::Json<Value>| {
        let spans = body["resourceSpans"][0]["scopeSpans"][0]["spans"]
            .as_array()
            .unwrap()
            .clone();
        into.lock().unwrap().extend(spans);
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let router = axum::Router::new().route("/v1/traces", axum::routing::post(take));
    tokio::task::spawn(async move { axum::serve(listener, router).await });
    (format!("http://{address}"), kept)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_is_one_trace_from_its_request_until_it_is_back() {
    let org = Sandbox::start(&["--products", "20"]).await;
    let (url, spans) = collector().await;
    let daemon = org.daemon_with(&[("STORESYNC__LOG__OTLP_URL", &url)]).await;
    daemon.live().await;
    let (store, currency, products) = crate::world::a_store(&daemon).await;
    org.fault(
        json!({"path": "/composite", "except": "/sobjects/", "times": 1, "fault": "drop_after_commit"}),
    )
    .await;
    let placed = crate::world::order("WEB-1", &currency, &[(&products[0], 1)]);
    assert_eq!(daemon.place(&store, &placed).await.unwrap().0, 202);
    let all = eventually("the whole order is traced", async || {
        let spans = spans.lock().unwrap().clone();
        spans.iter().any(|span| span["name"] == "order").then_some(spans)
    })
    .await;
    let whole = all.iter().find(|span| span["name"] == "order").unwrap();
    let parts: Vec<&Value> = all
        .iter()
        .filter(|span| span["traceId"] == whole["traceId"] && span["parentSpanId"] == whole["spanId"])
        .collect();
    let named = |name: &str| parts.iter().filter(|span| span["name"] == name).count();
    assert_eq!((named("accept"), named("send")), (1, 2), "{parts:#?}");
    assert_eq!(
        parts.iter().filter(|span| span["status"]["code"] == 2).count(),
        1,
        "the lost answer"
    );
    assert!(
        all.iter().any(|span| span["name"] == "apply"),
        "batches are traced too"
    );
    let text = serde_json::to_string(&all).unwrap();
    assert!(
        !text.contains("ana@example.com") && !text.contains("High St"),
        "what an order holds is not told"
    );
}
