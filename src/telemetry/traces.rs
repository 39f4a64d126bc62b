//! Traces, where `[log] otlp_url` names a collector: one for each order, one for each batch of changes.
//!
//! An order's trace is known by its key alone, so that the request that brought it, the attempts to send it and its
//! coming back belong together though hours and restarts lie between them. Spans hold keys, ids and counts, never
//! what an order or a record holds. Sent as OTLP over HTTP in JSON, which every collector takes; what cannot be
//! delivered is dropped and said.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

/// Spans that wait to be sent; the oldest go first.
const WAITING_MAX: usize = 4_096;

const INTERVAL: Duration = Duration::from_secs(2);
const ANSWER_MAX: Duration = Duration::from_secs(10);

static WANTED: AtomicBool = AtomicBool::new(false);
static WAITING: Mutex<VecDeque<Span>> = Mutex::new(VecDeque::new());

/// Something that took time.
#[derive(Clone, Debug, PartialEq)]
pub struct Span {
    trace: [u8; 16],
    id: [u8; 8],
    parent: Option<[u8; 8]>,
    name: &'static str,
    /// Milliseconds since 1970.
    begun_at: i64,
    ended_at: i64,
    attributes: Vec<(&'static str, String)>,
    error: Option<String>,
}

impl Span {
    /// A part of an order's trace. `part` tells it from others of the same name.
    pub fn of_order(key: &str, name: &'static str, part: u32, begun_at: i64, ended_at: i64) -> Self {
        let (trace, root) = order_ids(key);
        let (_, id) = ids(&format!("{key}\n{name}\n{part}\n{begun_at}"));
        Self {
            trace,
            id,
            parent: Some(root),
            name,
            begun_at,
            ended_at,
            attributes: vec![("order.key", key.to_owned())],
            error: None,
        }
    }

    /// The whole of an order, from its being accepted until it has come back.
    pub fn order(key: &str, begun_at: i64, ended_at: i64) -> Self {
        let (trace, id) = order_ids(key);
        Self {
            id,
            trace,
            parent: None,
            ..Self::of_order(key, "order", 0, begun_at, ended_at)
        }
    }

    /// A batch of changes, told apart by the revision that it made.
    pub fn batch(rev: i64, begun_at: i64, ended_at: i64) -> Self {
        let (trace, id) = ids(&format!("batch\n{rev}\n{begun_at}"));
        Self {
            trace,
            id,
            parent: None,
            name: "apply",
            begun_at,
            ended_at,
            attributes: vec![("rev", rev.to_string())],
            error: None,
        }
    }

    pub fn with(mut self, name: &'static str, value: &impl ToString) -> Self {
        self.attributes.push((name, value.to_string()));
        self
    }

    /// It did not succeed, by this code.
    pub fn failed(mut self, code: Option<&str>) -> Self {
        self.error = code.map(str::to_owned);
        self
    }

    /// Has it sent, where anyone wants to know; where not, it is not made.
    pub fn tell(make: impl FnOnce() -> Self) {
        if !WANTED.load(Ordering::Relaxed) {
            return;
        }
        let span = make();
        let mut waiting = WAITING.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.len() == WAITING_MAX {
            waiting.pop_front();
        }
        waiting.push_back(span);
    }

    fn as_json(&self) -> Value {
        let attributes = self.attributes.iter().map(|(name, value)| attribute(name, value));
        let mut span = json!({
            "traceId": hex(&self.trace),
            "spanId": hex(&self.id),
            "name": self.name,
            "kind": 1,
            "startTimeUnixNano": format!("{}000000", self.begun_at),
            "endTimeUnixNano": format!("{}000000", self.ended_at.max(self.begun_at)),
            "attributes": attributes.collect::<Vec<_>>(),
        });
        if let Some(parent) = &self.parent {
            span["parentSpanId"] = hex(parent).into();
        }
        if let Some(error) = &self.error {
            span["status"] = json!({"code": 2, "message": error});
        }
        span
    }
}

fn attribute(name: &str, value: &str) -> Value {
    json!({"key": name, "value": {"stringValue": value}})
}

/// The org does not tell keys apart by case.
fn order_ids(key: &str) -> ([u8; 16], [u8; 8]) {
    ids(&format!("order\n{}", key.to_ascii_lowercase()))
}

fn ids(text: &str) -> ([u8; 16], [u8; 8]) {
    let (mut trace, mut span) = ([0; 16], [0; 8]);
    let hash = digest(&SHA256, text.as_bytes());
    trace.copy_from_slice(&hash.as_ref()[..16]);
    span.copy_from_slice(&hash.as_ref()[16..24]);
    (trace, span)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Sends spans to the collector until it is stopped, and then what is left.
pub async fn run(url: String, stop: CancellationToken) -> anyhow::Result<()> {
    let client = reqwest::Client::builder().timeout(ANSWER_MAX).build()?;
    let address = format!("{}/v1/traces", url.trim_end_matches('/'));
    WANTED.store(true, Ordering::Relaxed);
    let mut told = false;
    loop {
        let stopped = tokio::select! {
            () = stop.cancelled() => true,
            () = tokio::time::sleep(INTERVAL) => false,
        };
        match send(&client, &address).await {
            Ok(()) => told = false,
            Err(reason) if !told => {
                tracing::warn!(
                    "traces cannot be sent to {address} ({reason}): check [log] otlp_url; they are dropped meanwhile"
                );
                told = true;
            }
            Err(_) => {}
        }
        if stopped {
            WANTED.store(false, Ordering::Relaxed);
            return Ok(());
        }
    }
}

async fn send(client: &reqwest::Client, address: &str) -> Result<(), String> {
    let spans: Vec<Value> = {
        let mut waiting = WAITING.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.drain(..).map(|span| span.as_json()).collect()
    };
    if spans.is_empty() {
        return Ok(());
    }
    let resource = [
        attribute("service.name", "storesync"),
        attribute("service.version", env!("CARGO_PKG_VERSION")),
    ];
    let body = json!({"resourceSpans": [{
        "resource": {"attributes": resource},
        "scopeSpans": [{"scope": {"name": "storesync"}, "spans": spans}],
    }]});
    let answer = client
        .post(address)
        .json(&body)
        .send()
        .await
        .map_err(|error| error.to_string())?;
    match answer.status() {
        status if status.is_success() => Ok(()),
        status => Err(status.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_an_order_belong_together() {
        let whole = Span::order("WEB-1", 1, 9).as_json();
        let part = Span::of_order("web-1", "send", 2, 3, 4)
            .failed(Some("UNABLE_TO_LOCK_ROW"))
            .as_json();
        assert_eq!(part["traceId"], whole["traceId"]);
        assert_eq!(part["parentSpanId"], whole["spanId"]);
        assert_ne!(part["spanId"], whole["spanId"]);
        assert_eq!(whole["parentSpanId"], Value::Null);
        assert_eq!(
            part["status"],
            json!({"code": 2, "message": "UNABLE_TO_LOCK_ROW"})
        );
        assert_eq!(
            (&part["startTimeUnixNano"], &part["endTimeUnixNano"]),
            (&json!("3000000"), &json!("4000000"))
        );
        assert_ne!(Span::order("WEB-2", 1, 9).as_json()["traceId"], whole["traceId"]);
    }
}
