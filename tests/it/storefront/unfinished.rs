//! A storefront that asks while the first load runs.

use serde_json::{Value, json};

use crate::world::{Sandbox, cache, eventually, select};

#[tokio::test(flavor = "multi_thread")]
async fn half_a_load_is_no_empty_shop() {
    let org = Sandbox::start(&["--products", "30", "--stores", "1"]).await;
    let store = org.some("s_c__Store__c", "").await;
    let daemon = org.daemon_with(&[("STORESYNC_FAILPOINT", "load:30")]).await;
    eventually("the load stands still half way", async || {
        let said = daemon.running.said();
        said.contains("the failpoint load is reached").then_some(())
    })
    .await;
    let loaded = select(&cache(&org.state()), "select object, state from _object");
    let is_loaded = |object: &str| {
        let state = loaded.iter().find(|row| row["object"] == object);
        state.is_some_and(|row| row["state"] == "live")
    };
    assert!(
        !is_loaded("OrderItem"),
        "the load stands before the last: {loaded:?}"
    );
    let in_store = |what: &str| format!("/v1/stores/{store}/{what}");
    for (path, needs) in [
        (in_store("products"), "PricebookEntry"),
        (in_store("taxes?country=AU"), "s_c__Tax__c"),
        (in_store("shipping-methods"), "s_c__Shipping_Rate__c"),
        (in_store("customers/C-1/orders"), "OrderItem"),
        ("/v1/objects/OrderItem".to_owned(), "OrderItem"),
        ("/v1/objects/case".to_owned(), "Case"),
        ("/v1/changes?rows=true".to_owned(), "OrderItem"),
    ] {
        if is_loaded(needs) {
            continue;
        }
        let url = format!("{}{path}", daemon.api);
        let answer = reqwest::get(&url).await.unwrap();
        assert_eq!(answer.status(), 503, "{path}");
        assert_eq!(answer.headers()["retry-after"], "5", "{path}");
        let problem: Value = answer.json().await.unwrap();
        assert_eq!(
            problem["type"], "urn:storesync:problem:initializing",
            "{path}: {problem}"
        );
    }
    let answer = reqwest::get(format!("{}/v1/objects/OrderItem?partial=true", daemon.api))
        .await
        .unwrap();
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.headers()["storesync-partial"], "true");
    let page: Value = answer.json().await.unwrap();
    assert_eq!(page["items"].as_array().map(Vec::len), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_is_loaded_while_the_stream_is_silent() {
    let org = Sandbox::start(&["--products", "12", "--stores", "1", "--keepalive-ms", "240000"]).await;
    let product = org.some("Product2", "").await;
    let daemon = org.daemon().await;
    daemon.live().await;
    // The first event tells the position as well as a keep-alive does.
    org.update("Product2", &product, json!({"Name": "Heard of"}))
        .await;
    eventually("the change is here", async || {
        let (_, row) = daemon.get(&format!("/v1/objects/Product2/{product}")).await?;
        (row["name"] == "Heard of").then_some(())
    })
    .await;
}
