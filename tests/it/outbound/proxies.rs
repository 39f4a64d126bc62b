//! What stands between storesync and the org answers in its place: no order is to blame for it.

use serde_json::{Value, json};

use super::accepted;
use crate::world::{Sandbox, a_store, eventually, order};

#[tokio::test(flavor = "multi_thread")]
async fn json_that_is_no_composite_is_not_the_org_s_answer() {
    let org = Sandbox::start(&["--products", "12", "--stores", "1"]).await;
    let daemon = org.daemon().await;
    daemon.live().await;
    let (store, currency, products) = a_store(&daemon).await;
    for (number, body) in ["[]", "1", "\"x\"", "[[]]", "{\"compositeResponse\":[1]}", "null"]
        .into_iter()
        .enumerate()
    {
        let strange = json!({"status": 200, "body": body});
        org.fault(json!({"path": "/composite", "except": "/sobjects/", "method": "POST", "times": 1, "fault": strange}))
            .await;
        let key = format!("STRANGE-{number}");
        accepted(&daemon, &store, &order(&key, &currency, &[(&products[0], 1)])).await;
        let path = format!("/v1/stores/{store}/orders/{key}");
        daemon.until(&path, &["confirmed"]).await;
    }
    assert_eq!(org.count("Order WHERE External_ID__c LIKE 'STRANGE-%'").await, 6);
}

/// Sent or refused: an org that answers is there, and no order waits for it.
#[tokio::test(flavor = "multi_thread")]
async fn an_org_that_refuses_an_order_is_no_longer_waited_for() {
    let org = Sandbox::start(&["--products", "12", "--stores", "1"]).await;
    let rule = json!({"object": "Order", "when": "ShippingCity = 'Hobart'", "message": "No such city."});
    org.control("rules", json!({ "validations": [rule] })).await;
    let daemon = org.daemon().await;
    daemon.live().await;
    let (store, currency, products) = a_store(&daemon).await;
    let suspended = json!({"status": 403, "code": "REQUEST_LIMIT_EXCEEDED"});
    org.fault(json!({"path": "/composite", "except": "/sobjects/", "method": "POST", "fault": suspended}))
        .await;
    accepted(&daemon, &store, &order("WEB-1", &currency, &[(&products[0], 1)])).await;
    let problem = async || {
        let status = daemon.status().await.unwrap();
        let ready = daemon.admin_get("/readyz").await;
        [
            status["orders_problem"].clone(),
            ready["orders"]["problem"].clone(),
        ]
    };
    let waits = |problem: &Value| {
        let words = problem.as_str().unwrap_or_default();
        words.contains("orders wait (REQUEST_LIMIT_EXCEEDED)")
    };
    eventually("it is told why orders wait", async || {
        problem().await.iter().all(waits).then_some(())
    })
    .await;
    org.no_faults().await;
    let path = format!("/v1/stores/{store}/orders/WEB-1");
    daemon.until(&path, &["needs_attention"]).await;
    eventually("no order waits any more", async || {
        problem().await.iter().all(Value::is_null).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn orders_under_a_proxy_s_page_wait_and_arrive_by_themselves() {
    let org = Sandbox::start(&["--products", "12", "--stores", "1"]).await;
    let daemon = org.daemon().await;
    daemon.live().await;
    let (store, currency, products) = a_store(&daemon).await;
    let page = json!({"status": 403, "body": "<html><h1>403 Forbidden</h1>Request forbidden by administrative rules.</html>"});
    org.fault(json!({"path": "/composite", "except": "/sobjects/", "method": "POST", "fault": page}))
        .await;
    let keys: Vec<String> = (1..=5).map(|number| format!("PROXY-{number}")).collect();
    for key in &keys {
        accepted(&daemon, &store, &order(key, &currency, &[(&products[0], 1)])).await;
    }
    let paths: Vec<String> = keys
        .iter()
        .map(|key| format!("/v1/stores/{store}/orders/{key}"))
        .collect();
    let told = eventually(
        "three orders were tried, and health says why they wait",
        async || {
            let mut tried = 0;
            for path in &paths {
                let (_, told) = daemon.get(path).await?;
                assert!(told["state"] != "needs_attention", "{told}");
                tried += usize::from(told["error"]["code"] == "HTTP_403");
            }
            let problem = daemon.status().await?["orders_problem"].as_str()?.to_owned();
            (tried >= 3).then_some(problem)
        },
    )
    .await;
    assert!(
        told.contains("403") && told.contains("not the org's API"),
        "{told}"
    );
    assert!(told.contains("check proxies"), "{told}");
    let url = format!("{}/sandbox/faults", org.env["SANDBOX_HTTP"]);
    org.http.delete(url).send().await.unwrap();
    for path in &paths {
        daemon.until(path, &["sent", "confirmed"]).await;
    }
    assert_eq!(org.count("Order WHERE External_ID__c LIKE 'PROXY-%'").await, 5);
    let outbox = rusqlite::Connection::open(org.state().join("outbox.db")).unwrap();
    let spent = "select sum(failures) from writes where external_id like 'PROXY-%'";
    let spent: i64 = outbox.query_row(spent, [], |row| row.get(0)).unwrap();
    assert_eq!(spent, 0, "no attempt of an order is spent");
    eventually("health has no problem any more", async || {
        daemon.status().await?["orders_problem"].is_null().then_some(())
    })
    .await;
    let warned = daemon.running.said().matches("sending pauses").count();
    assert_eq!(warned, 1, "it is logged once");
}
