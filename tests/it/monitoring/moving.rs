//! Every metric is seen to move: a test makes happen what the metric tells of, and sees its value follow.
//!
//! [`SEEN_MOVING`] names each metric with the test that moves it. A test notes what it has seen and compares that with
//! the table, and the names that the daemon exports are compared with the table too: a metric that no test moves fails
//! the tests, and so does a row of the table that nothing stands behind.

use std::collections::BTreeSet;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use storesync::model::clock::parse_datetime;

use super::{Query, asked, metrics};
use crate::outbound::{accepted, long_order};
use crate::world::{Daemon, PATIENCE, Sandbox, a_store, eventually, order, storesync};

/// The tests of this file.
const EVENTS: &str = "what_changes_in_the_org_moves_the_metrics_of_events";
const LOADS: &str = "loads_and_outages_move_the_metrics_of_the_state";
const ORDERS: &str = "orders_and_requests_move_their_metrics";
/// Tests of other files, which have what it takes.
pub const STREAMS: &str = "a_stream_that_ends_in_any_way_goes_on_where_it_was";
pub const ALLOWANCE: &str = "a_spent_allowance_is_waited_out_and_told_of";
pub const PAGES: &str = "pages_of_a_large_object_come_side_by_side_and_a_killed_load_reads_no_other_again";
pub const SCHEDULE: &str = "the_daemon_compares_by_schedule";
pub const ERASURE: &str = "an_erasure_that_is_killed_goes_on_where_it_was";
pub const DISK: &str = "a_full_disk_is_one_sentence_and_loses_nothing";

/// Each metric, and the test that moves it.
const SEEN_MOVING: &[(&str, &str)] = &[
    ("storesync_apply_batches_total", EVENTS),
    ("storesync_apply_duration_seconds", EVENTS),
    ("storesync_apply_lag_seconds", EVENTS),
    ("storesync_events_received_total", EVENTS),
    ("storesync_gap_events_total", EVENTS),
    ("storesync_gap_open", EVENTS),
    ("storesync_object_last_event_timestamp_seconds", EVENTS),
    ("storesync_object_rows", EVENTS),
    ("storesync_repair_duration_seconds", EVENTS),
    ("storesync_schema_fetches_total", EVENTS),
    ("storesync_stream_last_message_timestamp_seconds", EVENTS),
    ("storesync_build_info", LOADS),
    ("storesync_cursor_age_seconds", LOADS),
    ("storesync_event_delivery_used_ratio", LOADS),
    ("storesync_object_state", LOADS),
    ("storesync_replay_window_remaining_seconds", LOADS),
    ("storesync_serving", LOADS),
    ("storesync_lag_seconds", LOADS),
    ("storesync_sf_api_limit", LOADS),
    ("storesync_sf_api_limit_remaining", LOADS),
    ("storesync_db_size_bytes", ORDERS),
    ("storesync_http_request_duration_seconds", ORDERS),
    ("storesync_http_requests_total", ORDERS),
    ("storesync_order_oldest_pending_seconds", ORDERS),
    ("storesync_order_push_duration_seconds", ORDERS),
    ("storesync_orders", ORDERS),
    ("storesync_orders_pending", ORDERS),
    ("storesync_orders_pushed_total", ORDERS),
    ("storesync_sf_api_requests_total", ORDERS),
    ("storesync_snapshot_progress_ratio", PAGES),
    ("storesync_stream_reconnects_total", STREAMS),
    ("storesync_stream_problem", ALLOWANCE),
    ("storesync_drift_rows", SCHEDULE),
    ("storesync_erased_records_total", ERASURE),
    ("storesync_erasure_oldest_seconds", ERASURE),
    ("storesync_erasures_pending", ERASURE),
    ("storesync_disk_free_bytes", DISK),
];

/// Metrics that the tests of what they tell of look at.
const SEEN_ELSEWHERE: &[&str] = &[
    "storesync_audit_failures_total",
    "storesync_audit_head",
    "storesync_audit_seq",
    "storesync_connections_ended_total",
    "storesync_dlq_depth",
    "storesync_erasure_lookups_total",
    "storesync_events_parked_total",
    "storesync_file_trouble",
    "storesync_gap_oldest_seconds",
    "storesync_log_holders",
    "storesync_log_size_bytes",
    "storesync_object_lag_seconds",
    "storesync_org_trouble",
    "storesync_reads_refused_total",
    "storesync_removal_rows_waiting",
    "storesync_request_bytes_held",
    "storesync_streams_refused_total",
];

/// That the names are those of the tables, neither more nor fewer.
pub fn all_are_listed(exported: &BTreeSet<String>) {
    let listed = SEEN_MOVING.iter().map(|(name, _)| *name);
    let listed: Vec<&str> = listed.chain(SEEN_ELSEWHERE.iter().copied()).collect();
    let known: BTreeSet<String> = listed.iter().map(|name| (*name).to_owned()).collect();
    assert_eq!(known.len(), listed.len(), "a metric is listed twice");
    assert_eq!(*exported, known, "exported, and seen to move by a test");
}

/// How a sample is expected to change.
#[derive(Clone, Copy, Debug)]
pub enum Change {
    By(f64),
    /// Up by so much or more.
    Up(f64),
    /// Down by so much or more.
    Down(f64),
    /// To this value, from any other.
    To(f64),
}

use Change::{By, Down, To, Up};

impl Change {
    fn has_happened(self, before: f64, now: f64) -> bool {
        let same = |one: f64, other: f64| (one - other).abs() < 1e-6;
        match self {
            By(change) => same(now, before + change),
            Up(change) => now >= before + change,
            Down(change) => now <= before - change,
            To(value) => same(now, value) && !same(before, value),
        }
    }
}

/// The value of exactly this sample; 0 where there is none yet.
pub fn value_of(text: &str, sample: &str) -> f64 {
    let found = text
        .lines()
        .find_map(|line| line.strip_prefix(sample)?.strip_prefix(' '));
    found.map_or(0.0, |value| value.parse().unwrap())
}

/// The metric that a name is a part of, as `_count` is of a histogram.
fn whole(name: &str) -> &str {
    let parts = ["_bucket", "_sum", "_count"];
    let whole = parts.iter().find_map(|part| name.strip_suffix(part));
    let listed = |whole: &&str| SEEN_MOVING.iter().any(|(known, _)| known == whole);
    whole.filter(listed).unwrap_or(name)
}

/// What a test has seen of the metrics.
#[derive(Default)]
pub struct Seen {
    names: BTreeSet<String>,
    /// All that was exported when something had moved.
    samples: String,
}

impl Seen {
    /// Makes something happen, and waits until each sample has changed as it should.
    pub async fn after(
        &mut self,
        daemon: &Daemon,
        what: &str,
        cause: impl AsyncFnOnce(),
        expected: &[(&str, Change)],
    ) {
        let before = metrics(daemon).await;
        cause().await;
        self.since(&before, daemon, what, expected).await;
    }

    /// The same where the cause is in the past, and perhaps another process's.
    pub async fn since(&mut self, before: &str, daemon: &Daemon, what: &str, expected: &[(&str, Change)]) {
        let started = Instant::now();
        loop {
            let now = metrics(daemon).await;
            let missed: Vec<String> = expected
                .iter()
                .map(|(sample, change)| (sample, change, value_of(before, sample), value_of(&now, sample)))
                .filter(|(_, change, was, is)| !change.has_happened(*was, *is))
                .map(|(sample, change, was, is)| format!("{sample}: {was}, then {is}, and not {change:?}"))
                .collect();
            if missed.is_empty() {
                self.samples += &now;
                break;
            }
            assert!(started.elapsed() < PATIENCE, "{what}: {missed:#?}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        expected.iter().for_each(|(sample, _)| self.note(sample));
    }

    /// Something that was seen in another way.
    pub fn note(&mut self, sample: &str) {
        let name = sample.split('{').next().unwrap();
        self.names.insert(whole(name).to_owned());
    }

    /// That this is what the table says of the test.
    pub fn is_all_of(&self, test: &str) {
        let listed = SEEN_MOVING.iter().filter(|(_, of)| *of == test);
        let listed: BTreeSet<String> = listed.map(|(name, _)| (*name).to_owned()).collect();
        assert_eq!(self.names, listed, "seen by {test}, and listed for it");
        self.has_the_labels_that_are_asked_for();
    }

    /// Alerts and dashboard match, group by and show labels that the samples of what they ask for have.
    fn has_the_labels_that_are_asked_for(&self) {
        for query in Query::all() {
            let asked = asked(&query.expression);
            if !asked.iter().any(|name| self.names.contains(whole(name))) {
                continue;
            }
            let of_it = |sample: &&str| {
                asked
                    .iter()
                    .any(|name| sample.split(['{', ' ']).next() == Some(name))
            };
            let samples: Vec<&str> = self.samples.lines().filter(of_it).collect();
            for label in query.labels() {
                let marks = [format!("{{{label}"), format!(",{label}")];
                let mut all = samples.iter();
                let found = all.any(|sample| marks.iter().any(|mark| sample.contains(mark.as_str())));
                assert!(found, "{}: no sample has {label}", query.expression);
            }
        }
    }
}

/// Ends all faults: what they delayed goes on at once.
async fn end_faults(org: &Sandbox) {
    let url = format!("{}/sandbox/faults", org.env["SANDBOX_HTTP"]);
    assert!(org.http.delete(url).send().await.unwrap().status().is_success());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_changes_in_the_org_moves_the_metrics_of_events() {
    const ROWS: &str = "storesync_object_rows{object=\"Product2\"}";
    const LAST_EVENT: &str = "storesync_object_last_event_timestamp_seconds{object=\"Product2\"}";
    let org = Sandbox::start(&["--products", "5", "--stores", "1"]).await;
    let daemon = org.daemon().await;
    daemon.live().await;
    let mut seen = Seen::default();
    let heard = "storesync_stream_last_message_timestamp_seconds{topic=\"/data/ChangeEvents\"}";
    seen.after(&daemon, "a keep-alive", async || (), &[(heard, Up(0.1))])
        .await;

    let mut id = String::new();
    let made = [
        (ROWS, By(1.0)),
        ("storesync_events_received_total{change_type=\"CREATE\"}", By(1.0)),
        ("storesync_apply_lag_seconds_count", By(1.0)),
        ("storesync_apply_lag_seconds_bucket{le=\"+Inf\"}", By(1.0)),
        ("storesync_apply_batches_total", Up(1.0)),
        ("storesync_apply_duration_seconds_count", Up(1.0)),
        ("storesync_apply_duration_seconds_bucket{le=\"+Inf\"}", Up(1.0)),
        ("storesync_apply_duration_seconds_sum", Up(1e-6)),
    ];
    let make = async || {
        id = org
            .create("Product2", json!({"Name": "New", "IsActive": true}))
            .await
    };
    seen.after(&daemon, "a product is made", make, &made).await;

    // Commits are told in whole seconds: this one is in another than the one before.
    org.control("clock", json!({"advance_ms": 5_000})).await;
    let before = metrics(&daemon).await;
    org.update("Product2", &id, json!({"Name": "Renamed"})).await;
    let soql = format!("SELECT SystemModstamp FROM Product2 WHERE Id = '{id}'");
    let stamp = parse_datetime(org.query(&soql).await[0]["SystemModstamp"].as_str().unwrap()).unwrap();
    let updates = "storesync_events_received_total{change_type=\"UPDATE\"}";
    let expected = [(LAST_EVENT, To(stamp as f64 / 1_000.0)), (updates, By(1.0))];
    seen.since(&before, &daemon, "it is renamed", &expected).await;

    let deletions = "storesync_events_received_total{change_type=\"DELETE\"}";
    let delete = async || org.delete("Product2", &id).await;
    let expected = [(ROWS, By(-1.0)), (deletions, By(1.0))];
    seen.after(&daemon, "it is deleted", delete, &expected).await;
    gaps_and_repairs(&org, &daemon, &mut seen).await;

    let tier = json!({"add": {"object": "Account", "name": "Tier__c", "type": "Text 20"}});
    let account = org.some("Account", "").await;
    let by_a_new_schema = async || {
        org.control("schema", tier).await;
        org.update("Account", &account, json!({"Tier__c": "gold"})).await;
    };
    let expected = [("storesync_schema_fetches_total", Up(1.0))];
    seen.after(&daemon, "a field is added", by_a_new_schema, &expected)
        .await;
    seen.is_all_of(EVENTS);
}

/// An event that says only that a record changed, while the org does not let it be read.
async fn gaps_and_repairs(org: &Sandbox, daemon: &Daemon, seen: &mut Seen) {
    const OPEN: &str = "storesync_gap_open{kind=\"record\"}";
    let product = org.some("Product2", "").await;
    let update = json!([{"attributes": {"type": "Product2"}, "Id": product, "Description": "in a gap"}]);
    org.fault(json!({"path": "/composite/sobjects/Product2", "fault": {"status": 503}}))
        .await;
    let tell = async || {
        org.control("changes", json!({"told": "gaps", "update": update}))
            .await;
    };
    let gap = "storesync_events_received_total{change_type=\"GAP_UPDATE\"}";
    let told = [
        (gap, By(1.0)),
        ("storesync_gap_events_total{object=\"Product2\"}", By(1.0)),
        (OPEN, To(1.0)),
    ];
    seen.after(daemon, "a gap is told", tell, &told).await;
    let repaired = [
        (OPEN, To(0.0)),
        (
            "storesync_repair_duration_seconds_count{kind=\"record\"}",
            By(1.0),
        ),
        ("storesync_repair_duration_seconds_sum{kind=\"record\"}", Up(1e-3)),
    ];
    let cause = async || end_faults(org).await;
    seen.after(daemon, "the record can be read", cause, &repaired)
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn loads_and_outages_move_the_metrics_of_the_state() {
    const AGE: &str = "storesync_cursor_age_seconds{topic=\"/data/ChangeEvents\"}";
    const WINDOW: &str = "storesync_replay_window_remaining_seconds{topic=\"/data/ChangeEvents\"}";
    const LIVE: &str = "storesync_serving{state=\"live\"}";
    const STALE: &str = "storesync_serving{state=\"stale\"}";
    let org = Sandbox::start(&["--products", "30", "--stores", "1"]).await;
    let mut seen = Seen::default();
    let mut daemon = a_load_is_held_and_goes_on(&org, &mut seen).await;
    let product = org.some("Product2", "").await;
    let update = async || org.update("Product2", &product, json!({"Name": "Renamed"})).await;
    let updates = "storesync_events_received_total{change_type=\"UPDATE\"}";
    let text = metrics(&daemon).await;
    update().await;
    eventually("an event is delivered", async || {
        (value_of(&metrics(&daemon).await, updates) >= 1.0).then_some(())
    })
    .await;

    // It is started again an hour later, and the org is away.
    daemon.running.kill();
    daemon = org
        .daemon_with(&[
            ("STORESYNC__ORG__LOGIN_URL", "http://127.0.0.1:1"),
            ("STORESYNC_CLOCK_AHEAD_SECONDS", "3600"),
        ])
        .await;
    let away = [
        (AGE, Up(3_500.0)),
        (WINDOW, Down(3_500.0)),
        ("storesync_lag_seconds", Up(3_000.0)),
        (STALE, To(1.0)),
        (LIVE, To(0.0)),
    ];
    seen.since(&text, &daemon, "the org is away", &away).await;
    let away = metrics(&daemon).await;

    // It is back, and its allowances are others.
    daemon.running.kill();
    let used_before = limits(&org, 5_000).await;
    let deliveries = format!("{}/sandbox/pubsub/deliveries", org.env["SANDBOX_HTTP"]);
    let delivered: Value = org
        .http
        .get(&deliveries)
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    let delivered = delivered["delivered_24h"].as_f64().unwrap();
    org.control("pubsub/deliveries", json!({"daily_max": 400})).await;
    daemon = org.daemon().await;
    let back = [
        (AGE, Down(3_000.0)),
        (WINDOW, Up(3_000.0)),
        (STALE, To(0.0)),
        (LIVE, To(1.0)),
        ("storesync_sf_api_limit", To(5_000.0)),
        ("storesync_sf_api_limit_remaining", Down(1_000_000.0)),
        ("storesync_event_delivery_used_ratio", To(delivered / 400.0)),
    ];
    seen.since(&away, &daemon, "the org is back", &back).await;
    let left = value_of(&metrics(&daemon).await, "storesync_sf_api_limit_remaining");
    let (most, least) = (5_000.0 - used_before, 5_000.0 - limits(&org, 5_000).await);
    assert!((least..=most).contains(&left), "{left} of {least} to {most}");

    let version = storesync().arg("--version").output().unwrap().stdout;
    let version = String::from_utf8(version).unwrap();
    let version = version.trim().strip_prefix("storesync ").unwrap();
    let info = format!("storesync_build_info{{version=\"{version}\"}}");
    assert_eq!(value_of(&metrics(&daemon).await, &info), 1.0);
    seen.note(&info);
    seen.is_all_of(LOADS);
}

/// Sets how many calls the org allows a day; gives how many are used.
async fn limits(org: &Sandbox, daily_requests: u64) -> f64 {
    let told = org
        .control("limits", json!({"daily_requests": daily_requests}))
        .await;
    told["used"].as_f64().unwrap()
}

/// A first load does not begin, and another process does it.
async fn a_load_is_held_and_goes_on(org: &Sandbox, seen: &mut Seen) -> Daemon {
    let product = |state: &str| {
        format!("storesync_object_state{{object=\"Product2\",state=\"{state}\",kept_by=\"stream\"}}")
    };
    let (waiting, live) = (product("waiting"), product("live"));
    let initializing = "storesync_serving{state=\"initializing\"}";
    let held = [(waiting.as_str(), To(1.0)), (initializing, To(1.0))];
    let loaded = [
        (waiting.as_str(), To(0.0)),
        (&live, To(1.0)),
        (initializing, To(0.0)),
        ("storesync_serving{state=\"live\"}", To(1.0)),
    ];
    let mut daemon = org.daemon_with(&[("STORESYNC_FAILPOINT", "load")]).await;
    seen.since("", &daemon, "the load does not begin", &held).await;
    let before = metrics(&daemon).await;
    daemon.running.kill();
    daemon = org.daemon().await;
    seen.since(&before, &daemon, "the load is done", &loaded).await;
    daemon
}

#[tokio::test(flavor = "multi_thread")]
async fn orders_and_requests_move_their_metrics() {
    const PENDING: &str = "storesync_orders_pending";
    const OLDEST: &str = "storesync_order_oldest_pending_seconds";
    const WAITING: &str = "storesync_orders{state=\"waiting\"}";
    let org = Sandbox::start(&["--products", "12", "--stores", "1"]).await;
    let daemon = org.daemon().await;
    daemon.live().await;
    let (store, currency, products) = a_store(&daemon).await;
    let mut seen = Seen::default();
    requests(&daemon, &mut seen).await;

    let refusal = json!({"status": 503, "code": "SERVER_UNAVAILABLE"});
    org.fault(json!({"path": "/composite", "except": "/sobjects/", "fault": refusal}))
        .await;
    let posted = order("WEB-1", &currency, &[(&products[0], 1)]);
    let place = async || accepted(&daemon, &store, &posted).await;
    let class = "error_class=\"SERVER_UNAVAILABLE\"";
    let retried = format!("storesync_orders_pushed_total{{outcome=\"retry\",{class}}}");
    let waits = [
        (PENDING, To(1.0)),
        (WAITING, To(1.0)),
        (OLDEST, Up(1e-3)),
        (retried.as_str(), Up(1.0)),
        (
            "storesync_order_push_duration_seconds_count{outcome=\"retry\"}",
            Up(1.0),
        ),
        (
            "storesync_sf_api_requests_total{api=\"composite\",outcome=\"refused\"}",
            Up(1.0),
        ),
    ];
    seen.after(&daemon, "an order waits", place, &waits).await;
    is_as_old_as_it_is(&daemon, &store, "WEB-1").await;
    let delivered = [
        (PENDING, To(0.0)),
        (WAITING, To(0.0)),
        (OLDEST, To(0.0)),
        ("storesync_orders{state=\"confirmed\"}", To(1.0)),
        (
            "storesync_orders_pushed_total{outcome=\"sent\",error_class=\"\"}",
            By(1.0),
        ),
        (
            "storesync_order_push_duration_seconds_count{outcome=\"sent\"}",
            By(1.0),
        ),
        (
            "storesync_order_push_duration_seconds_sum{outcome=\"sent\"}",
            Up(1e-3),
        ),
        (
            "storesync_sf_api_requests_total{api=\"composite\",outcome=\"ok\"}",
            Up(1.0),
        ),
    ];
    let end = async || end_faults(&org).await;
    seen.after(&daemon, "the org takes it", end, &delivered).await;

    let long = long_order("WEB-2", &currency, &products, 1_000);
    let grow = async || accepted(&daemon, &store, &long).await;
    let outbox = [("storesync_db_size_bytes{db=\"outbox\"}", Up(1.0))];
    seen.after(&daemon, "a long order is kept", grow, &outbox).await;
    files_are_as_large_as_is_told(&org, &daemon).await;
    seen.is_all_of(ORDERS);
}

async fn files_are_as_large_as_is_told(org: &Sandbox, daemon: &Daemon) {
    for db in ["cache", "journal", "outbox"] {
        let sample = format!("storesync_db_size_bytes{{db=\"{db}\"}}");
        let bytes = |end: &str| {
            let path = org.state().join(format!("{db}.db{end}"));
            std::fs::metadata(path).unwrap().len()
        };
        eventually(&sample, async || {
            let told = value_of(&metrics(daemon).await, &sample);
            (told == (bytes("") + bytes("-wal")) as f64).then_some(())
        })
        .await;
    }
}

async fn requests(daemon: &Daemon, seen: &mut Seen) {
    let labels = |route: &str, status: u16| {
        format!(
            "storesync_http_requests_total{{listener=\"storefront\",method=\"GET\",route=\"{route}\",status=\"{status}\"}}"
        )
    };
    let (stores, nothing) = (labels("/v1/stores", 200), labels("none", 404));
    let ask = async || {
        assert_eq!(daemon.get("/v1/stores").await.unwrap().0, 200);
        assert_eq!(daemon.get("/v1/nothing").await.unwrap().0, 404);
    };
    let part =
        |part: &str| format!("storesync_http_request_duration_seconds_{part}{{listener=\"storefront\"");
    let expected = [
        (stores.as_str(), By(1.0)),
        (&nothing, By(1.0)),
        (&(part("count") + "}"), By(2.0)),
        (&(part("sum") + "}"), Up(1e-6)),
        (&(part("bucket") + ",le=\"+Inf\"}"), By(2.0)),
    ];
    seen.after(daemon, "two requests", ask, &expected).await;
}

/// The age that is told is that of the order, by the clock.
async fn is_as_old_as_it_is(daemon: &Daemon, store: &str, key: &str) {
    let age = |since: i64| {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        now.as_secs_f64() - since as f64 / 1_000.0
    };
    let (_, told) = daemon
        .get(&format!("/v1/stores/{store}/orders/{key}"))
        .await
        .unwrap();
    let accepted_at = parse_datetime(told["accepted_at"].as_str().unwrap()).unwrap();
    let least = age(accepted_at);
    let oldest = value_of(&metrics(daemon).await, "storesync_order_oldest_pending_seconds");
    let most = age(accepted_at);
    // What is told is in whole milliseconds.
    assert!(
        (least - 2e-3..=most + 2e-3).contains(&oldest),
        "{oldest} of {least} to {most}"
    );
}
