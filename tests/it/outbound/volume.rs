//! Many orders: accepted while the org is away, delivered in sequence when it is back, none behind a refused one.
//!
//! `STORESYNC_ORDERS=10000` waits for so many; unoptimised, most of that time is the sandbox's.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use serde_json::{Value, json};

use crate::world::{Daemon, PATIENCE, Sandbox, a_store, eventually, order};

/// Orders that wait where no number is given.
const ORDERS: usize = 1_500;
const ACCOUNTS: usize = 100;
const CLIENTS: usize = 32;

/// Places so many orders from as many clients as a busy shop has; each account's in the order of their numbers.
async fn place_all(daemon: &Daemon, store: &str, count: usize, make: impl Fn(usize) -> Value) {
    let next = AtomicUsize::new(0);
    let http = reqwest::Client::new();
    let url = format!("{}/v1/stores/{store}/orders", daemon.api);
    let clients = (0..CLIENTS).map(|client| {
        let (next, http, url, make) = (&next, &http, &url, &make);
        async move {
            // A client has accounts of its own, so that an account's orders come one after the other.
            for number in (0..count).filter(|number| number % ACCOUNTS % CLIENTS == client) {
                let answer = http.post(url).json(&make(number)).send().await.unwrap();
                assert_eq!(answer.status(), 202, "{}", answer.text().await.unwrap());
                next.fetch_add(1, Ordering::Relaxed);
            }
        }
    });
    futures_util::future::join_all(clients).await;
    assert_eq!(next.into_inner(), count);
}

fn of_account(key: &str, account: usize, currency: &str, product: &str) -> Value {
    let mut posted = order(key, currency, &[(product, 1)]);
    posted["customer"] =
        json!({"external_id": format!("V-{account:03}"), "last_name": format!("Lee {account}")});
    posted
}

/// Waits as long as something still happens.
async fn counted(daemon: &Daemon, wanted: &[(&str, usize)]) {
    let (mut last, mut since) = (Value::Null, Instant::now());
    loop {
        let orders = daemon.status().await.unwrap()["orders"].clone();
        if wanted.iter().all(|(state, count)| orders[*state] == json!(count)) {
            return;
        }
        if orders != last {
            (last, since) = (orders, Instant::now());
        }
        assert!(
            since.elapsed() < PATIENCE,
            "nothing moves any more: {last}, wanted {wanted:?}"
        );
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn thousands_of_orders_wait_for_the_org_and_arrive_in_sequence() {
    let orders = std::env::var("STORESYNC_ORDERS").map_or(ORDERS, |orders| orders.parse().unwrap());
    let org = Sandbox::start(&["--products", "20", "--stores", "1"]).await;
    let rule = json!({"validations": [{"object": "Order", "when": "ShippingCity = 'Nowhere'", "message": "No such city."}]});
    org.control("rules", rule).await;
    let daemon = org.daemon().await;
    daemon.live().await;
    let (store, currency, products) = a_store(&daemon).await;
    org.fault(json!({"path": "/composite", "fault": "drop_before"}))
        .await;
    // The first of every account is one that the org will refuse.
    let make = |number: usize| {
        let mut posted = of_account(
            &format!("VOL-{number:05}"),
            number % ACCOUNTS,
            &currency,
            &products[0],
        );
        if number < ACCOUNTS {
            posted["shipping_address"]["city"] = json!("Nowhere");
        }
        posted
    };
    let began = Instant::now();
    place_all(&daemon, &store, orders, make).await;
    println!(
        "{orders} orders accepted in {:.1} s",
        began.elapsed().as_secs_f64()
    );
    assert_eq!(
        org.count("Order WHERE External_ID__c LIKE 'VOL-%'").await,
        0,
        "the org is away"
    );
    let url = format!("{}/sandbox/faults", org.env["SANDBOX_HTTP"]);
    org.http.delete(url).send().await.unwrap();
    let began = Instant::now();
    counted(
        &daemon,
        &[("needs_attention", ACCOUNTS), ("confirmed", orders - ACCOUNTS)],
    )
    .await;
    println!(
        "{} orders delivered in {:.1} s",
        orders - ACCOUNTS,
        began.elapsed().as_secs_f64()
    );

    let rows = org
        .query("SELECT External_ID__c, Account.External_ID__c, OrderNumber FROM Order WHERE External_ID__c LIKE 'VOL-%' ORDER BY OrderNumber")
        .await;
    assert_eq!(rows.len(), orders - ACCOUNTS);
    let mut last: BTreeMap<String, String> = BTreeMap::new();
    for row in &rows {
        let key = row["External_ID__c"].as_str().unwrap().to_owned();
        let account = row["Account"]["External_ID__c"].as_str().unwrap().to_owned();
        if let Some(before) = last.insert(account, key.clone()) {
            assert!(before < key, "{key} came after {before}");
        }
    }
    assert_eq!(last.len(), ACCOUNTS);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_bad_order_of_a_thousand_delays_none() {
    const ONE_OF: usize = 1_000;
    let org = Sandbox::start(&["--products", "20", "--stores", "1"]).await;
    let rule = json!({"validations": [{"object": "Order", "when": "ShippingCity = 'Nowhere'", "message": "No such city."}]});
    org.control("rules", rule).await;
    let daemon = org.daemon().await;
    daemon.live().await;
    let (store, currency, products) = a_store(&daemon).await;
    let make = |number: usize| {
        let mut posted = of_account(
            &format!("ONE-{number:05}"),
            number % ACCOUNTS,
            &currency,
            &products[0],
        );
        if number == 333 {
            posted["shipping_address"]["city"] = json!("Nowhere");
        }
        posted
    };
    place_all(&daemon, &store, ONE_OF, make).await;
    counted(&daemon, &[("needs_attention", 1), ("confirmed", ONE_OF - 1)]).await;
    assert!(
        !daemon.running.said().contains("sending pauses"),
        "{}",
        daemon.running.said()
    );
    let (mut attempts, mut next) = (Vec::new(), json!(0));
    while !next.is_null() {
        let path = format!("/api/orders?state=confirmed&limit=500&cursor={next}");
        let page = daemon.admin_get(&path).await;
        let items = page["items"].as_array().unwrap().iter();
        attempts.extend(items.map(|one| one["attempts"].clone()));
        next = page["next"].clone();
    }
    assert_eq!(attempts.len(), ONE_OF - 1);
    assert!(
        attempts.iter().all(|attempts| *attempts == json!(1)),
        "each arrived at the first attempt"
    );
    eventually("the bad one is told", async || {
        let (_, told) = daemon
            .get(&format!("/v1/stores/{store}/orders/ONE-00333"))
            .await?;
        (told["error"]["code"] == "FIELD_CUSTOM_VALIDATION_EXCEPTION").then_some(())
    })
    .await;
}
