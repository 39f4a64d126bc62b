//! What every answer keeps to: what may be cached and by whom, what is too large, how it is packed, and how it ends.

use reqwest::StatusCode;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::service::signal;
use crate::world::{Daemon, Sandbox, a_store, eventually, order};

fn client() -> reqwest::Client {
    reqwest::Client::builder().no_gzip().build().unwrap()
}

async fn header(daemon: &Daemon, path: &str, name: &str) -> String {
    let answer = client()
        .get(format!("{}{path}", daemon.api))
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), 200, "{path}");
    let value = answer.headers().get(name);
    value.map_or(String::new(), |value| value.to_str().unwrap().to_owned())
}

#[tokio::test]
async fn who_may_keep_an_answer_follows_from_what_is_in_it() {
    let sandbox = Sandbox::start(&["--products", "8", "--stores", "1"]).await;
    let daemon = sandbox.daemon().await;
    daemon.live().await;
    let base = "/v1/stores/harbour-pine";
    for (path, expected) in [
        ("/products", "no-cache"),
        ("/products?customer=C-1", "private, no-cache"),
        ("/products/SKU-1", "no-cache"),
        ("/products/SKU-1?customer=C-1", "private, no-cache"),
        ("/prices?customer=C-1", "private, no-cache"),
        ("/promotions", "no-cache"),
        ("/promotions?customer=C-1", "private, no-cache"),
        ("/customers/C-1", "private, no-store"),
        ("/customers/C-1/orders", "private, no-store"),
    ] {
        let path = format!("{base}{path}");
        assert_eq!(header(&daemon, &path, "cache-control").await, expected, "{path}");
    }
}

#[tokio::test]
async fn media_are_where_the_org_says_and_move_when_it_says() {
    let sandbox = Sandbox::start(&["--products", "8", "--stores", "1"]).await;
    let daemon = sandbox.daemon().await;
    daemon.live().await;
    let rows =
        "SELECT Id, s_c__Media_Id__c, s_c__Product_Id__c FROM s_c__Product_Media__c ORDER BY Id LIMIT 1";
    let link = &sandbox.query(rows).await[0];
    let text = |field: &str| link[field].as_str().unwrap().to_owned();
    let media = text("s_c__Media_Id__c");
    let path = format!("/v1/stores/harbour-pine/products/{}", text("s_c__Product_Id__c"));
    let urls = async || {
        let (_, product) = daemon.get(&path).await.unwrap();
        let all = product["media"].as_array().unwrap().iter();
        all.map(|item| item["url"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    let asked = format!("SELECT s_c__Url__c FROM s_c__Media__c WHERE Id = '{media}'");
    let url = sandbox.query(&asked).await[0]["s_c__Url__c"]
        .as_str()
        .unwrap()
        .to_owned();
    assert!(urls().await.contains(&url), "passed on as it is");
    let tag = header(&daemon, &path, "etag").await;
    let mut stream = client()
        .get(format!("{}/v1/changes?store=harbour-pine", daemon.api))
        .send()
        .await
        .unwrap();
    stream.chunk().await.unwrap().unwrap();
    let moved = "https://cdn.example/a%20b.webp?w=800&v=2";
    sandbox
        .update("s_c__Media__c", &media, json!({"s_c__Url__c": moved}))
        .await;
    eventually("the address is the new one", async || {
        urls().await.contains(&moved.to_owned()).then_some(())
    })
    .await;
    let old = client()
        .get(format!("{}{path}", daemon.api))
        .header("if-none-match", tag);
    assert_eq!(
        old.send().await.unwrap().status(),
        200,
        "what is kept is not right any more"
    );
    let told = stream.chunk().await.unwrap().unwrap();
    let told = String::from_utf8_lossy(&told).into_owned();
    assert!(
        told.contains("\"topic\":\"products\"") && told.contains(&media),
        "{told}"
    );
}

/// An order with blanks behind it, which mean nothing in JSON.
#[tokio::test]
async fn a_body_may_have_a_mebibyte_and_not_a_byte_more() {
    const MEBIBYTE: usize = 1024 * 1024;
    let sandbox = Sandbox::start(&["--products", "8", "--stores", "1"]).await;
    let daemon = sandbox.daemon().await;
    daemon.live().await;
    let (store, currency, products) = a_store(&daemon).await;
    let orders = format!("{}/v1/stores/{store}/orders", daemon.api);
    for (bytes, expected) in [
        (MEBIBYTE - 1, StatusCode::ACCEPTED),
        (MEBIBYTE, StatusCode::ACCEPTED),
        (MEBIBYTE + 1, StatusCode::PAYLOAD_TOO_LARGE),
    ] {
        let placed = order(&format!("L-{bytes}"), &currency, &[(&products[0], 1)]);
        let mut body = placed.to_string();
        body.push_str(&" ".repeat(bytes - body.len()));
        let post = client().post(&orders).header("content-type", "application/json");
        let answer = post.body(body).send().await.unwrap();
        assert_eq!(answer.status(), expected, "{bytes} bytes");
    }
}

#[tokio::test]
async fn answers_are_packed_and_bodies_are_bounded() {
    let sandbox = Sandbox::start(&["--products", "30", "--stores", "1"]).await;
    let daemon = sandbox.daemon().await;
    daemon.live().await;
    let url = format!("{}/v1/stores/harbour-pine/products", daemon.api);
    let plain = client().get(&url).send().await.unwrap();
    assert!(!plain.headers().contains_key("content-encoding"));
    let plain = plain.bytes().await.unwrap();
    let packed = client()
        .get(&url)
        .header("accept-encoding", "gzip")
        .send()
        .await
        .unwrap();
    assert_eq!(packed.headers()["content-encoding"], "gzip");
    assert!(
        packed.headers()["vary"]
            .to_str()
            .unwrap()
            .contains("accept-encoding")
    );
    assert!(packed.bytes().await.unwrap().len() * 3 < plain.len());
    let orders = format!("{}/v1/stores/harbour-pine/orders", daemon.api);
    let large = json!({"external_id": "L-1", "fields": {"Description": "x".repeat(1024 * 1024)}});
    let refused = client().post(&orders).json(&large).send().await.unwrap();
    assert_eq!(refused.status(), StatusCode::PAYLOAD_TOO_LARGE);
    assert_eq!(refused.headers()["content-type"], "application/problem+json");
    // The connection may be closed before all of such a head has been sent, and the answer be lost with it.
    let much = client()
        .get(&url)
        .header("x-much", "x".repeat(80 * 1024))
        .send()
        .await;
    assert!(much.map_or(true, |answer| answer.status()
        == StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE));
    for (method, path, status) in [
        ("DELETE", "/v1/stores", 405),
        ("POST", "/v1/stores/harbour-pine/products", 405),
        ("GET", "/v1/nothing", 404),
        ("GET", "/v1/stores/harbour-pine/products?limit=501", 400),
        ("GET", "/v1/stores/harbour-pine/products?colour=red", 400),
        ("GET", "/v1/stores/harbour-pine/products?family=%00", 400),
    ] {
        let method = reqwest::Method::from_bytes(method.as_bytes()).unwrap();
        let answer = client()
            .request(method, format!("{}{path}", daemon.api))
            .header("content-type", "application/json")
            .send()
            .await
            .unwrap();
        assert_eq!(answer.status().as_u16(), status, "{path}");
        assert_eq!(
            answer.headers()["content-type"],
            "application/problem+json",
            "{path}"
        );
    }
    let counted = client()
        .get(format!("{}/metrics", daemon.admin))
        .send()
        .await
        .unwrap()
        .text()
        .await
        .unwrap();
    for series in [
        "storesync_http_requests_total{listener=\"storefront\",method=\"GET\",route=\"/v1/stores/{store}/products\",status=\"200\"} 2",
        "storesync_http_requests_total{listener=\"storefront\",method=\"DELETE\",route=\"/v1/stores\",status=\"405\"} 1",
        "storesync_http_requests_total{listener=\"storefront\",method=\"GET\",route=\"none\",status=\"404\"} 1",
    ] {
        assert!(counted.contains(series), "{series} in\n{counted}");
    }
}

#[tokio::test]
async fn a_request_under_way_is_answered_when_the_daemon_stops() {
    let sandbox = Sandbox::start(&["--products", "8", "--stores", "1"]).await;
    let mut daemon = sandbox.daemon().await;
    daemon.live().await;
    let order = json!({"external_id": "LAST-1", "currency": "AUD",
        "customer": {"external_id": "C-1", "email": "ana@example.com", "last_name": "Lee"},
        "items": [{"product_code": "SKU-1", "quantity": 1}]})
    .to_string();
    let address = daemon.api.trim_start_matches("http://").to_owned();
    let mut socket = TcpStream::connect(&address).await.unwrap();
    let (first, rest) = order.split_at(20);
    let head = format!(
        "POST /v1/stores/harbour-pine/orders HTTP/1.1\r\nhost: {address}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{first}",
        order.len()
    );
    socket.write_all(head.as_bytes()).await.unwrap();
    // An answered request on another connection: by then the first one's head has been read.
    assert_eq!(daemon.get("/v1/stores").await.unwrap().0, 200);
    signal(&daemon.running, "-TERM");
    eventually("no connection is taken any more", async || {
        TcpStream::connect(&address).await.is_err().then_some(())
    })
    .await;
    socket.write_all(rest.as_bytes()).await.unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 202 "), "{answer}");
    assert_eq!(daemon.running.wait().code(), Some(0));
    // What was accepted is the org's after the next start.
    let daemon = sandbox.daemon().await;
    eventually("the order is the org's", async || {
        let (_, state): (u16, Value) = daemon.get("/v1/stores/harbour-pine/orders/LAST-1").await?;
        (state["state"] == "confirmed").then_some(())
    })
    .await;
}
