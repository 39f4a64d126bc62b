//! What takes long has a place of its own: streams of changes, and writes of many lines.

use serde_json::json;

use crate::monitoring::metrics;
use crate::monitoring::moving::value_of;
use crate::world::{Sandbox, a_store, eventually, order};

#[tokio::test]
async fn a_connection_has_four_streams_and_its_other_requests() {
    let org = Sandbox::start(&["--products", "5", "--stores", "1"]).await;
    let daemon = org.daemon().await;
    daemon.live().await;
    let one_connection = || {
        reqwest::Client::builder()
            .http2_prior_knowledge()
            .build()
            .unwrap()
    };
    let (client, other) = (one_connection(), one_connection());
    let url = format!("{}/v1/changes", daemon.api);
    let listen = async |client: &reqwest::Client| client.get(&url).send().await.unwrap();
    let mut streams = Vec::new();
    for _ in 0..4 {
        let mut stream = listen(&client).await;
        assert_eq!(stream.status(), 200);
        stream.chunk().await.unwrap().unwrap();
        streams.push(stream);
    }
    let refused = listen(&client).await;
    assert_eq!(refused.status(), 503);
    assert!(refused.headers().contains_key("retry-after"));
    let told = refused.text().await.unwrap();
    assert!(told.contains("4 streams are open on this connection"), "{told}");
    let stores = client
        .get(format!("{}/v1/stores", daemon.api))
        .send()
        .await
        .unwrap();
    assert_eq!(stores.status(), 200);
    assert_eq!(listen(&other).await.status(), 200);
    let counted = metrics(&daemon).await;
    let sample = "storesync_streams_refused_total{reason=\"connection\"}";
    assert!(value_of(&counted, sample) > 0.5, "{counted}");
    streams.pop();
    eventually("one that is closed makes room", async || {
        (listen(&client).await.status() == 200).then_some(())
    })
    .await;
}

/// By a bound that leaves no place in any queue.
#[tokio::test]
async fn an_order_of_many_lines_is_judged_where_it_keeps_nobody_waiting() {
    const LARGE_BYTES: usize = 4 * 1024;
    let org = Sandbox::start(&["--products", "5", "--stores", "1"]).await;
    let usual = org.daemon().await;
    usual.live().await;
    let (store, currency, products) = a_store(&usual).await;
    let body = |key: &str, bytes: usize| {
        let mut body = order(key, &currency, &[(&products[0], 1)]).to_string();
        body.push_str(&" ".repeat(bytes - body.len()));
        body
    };
    let place = async |api: &str, body: String| {
        let request = reqwest::Client::new().post(format!("{api}/v1/stores/{store}/orders"));
        let request = request.header("content-type", "application/json").body(body);
        request.send().await.unwrap()
    };
    assert_eq!(
        place(&usual.api, body("LONG-1", LARGE_BYTES + 1)).await.status(),
        202
    );
    drop(usual);
    let daemon = org.daemon_with(&[("STORESYNC_BOUND_READS_WAITING", "0")]).await;
    let placed = eventually("it is ready", async || {
        let answer = place(&daemon.api, body("SHORT-1", LARGE_BYTES)).await;
        (answer.status() != 503).then_some(answer)
    })
    .await;
    assert_eq!(placed.status(), 202);
    let refused = place(&daemon.api, body("LONG-2", LARGE_BYTES + 1)).await;
    assert_eq!(refused.status(), 503);
    assert!(refused.headers().contains_key("retry-after"));
    let told: serde_json::Value = refused.json().await.unwrap();
    assert_eq!(told["type"], json!("urn:storesync:problem:too-busy"));
    let replayed = place(&daemon.api, body("LONG-1", LARGE_BYTES)).await;
    assert_eq!(replayed.status(), 202, "it is the same order");
}
