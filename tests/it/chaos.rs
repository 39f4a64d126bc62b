//! Faults and kills, and what is left of them: nothing.

use serde_json::{Value, json};

use crate::world::{Daemon, Sandbox, a_store, converge, eventually, order};

/// Places an order, through restarts of the daemon if need be.
async fn place(daemon: &Daemon, store: &str, order: &Value) -> bool {
    match daemon.place(store, order).await {
        Some((202, _)) => true,
        Some((status, answer)) => panic!("answered {status}: {answer}"),
        None => false,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_orders_survive_refusals_lost_answers_and_two_kills() {
    let org = Sandbox::start(&["--products", "80"]).await;
    let mut daemon = org.daemon().await;
    daemon.live().await;
    let (store, currency, products) = a_store(&daemon).await;
    org.fault(json!({"path": "/composite", "every": 3, "fault": {"status": 503}}))
        .await;
    org.fault(json!({"path": "/composite", "every": 5, "fault": "drop_after_commit"}))
        .await;

    let lines = |number: usize| -> Vec<(&str, u32)> {
        (0..=number % 4)
            .map(|line| {
                (
                    products[(number + line) % products.len()].as_str(),
                    line as u32 + 1,
                )
            })
            .collect()
    };
    for number in 0..100 {
        let placed = order(&format!("CHAOS-{number:03}"), &currency, &lines(number));
        // A shopper whose answer is lost presses the button again.
        while !place(&daemon, &store, &placed).await {}
        if number == 30 || number == 70 {
            daemon.running.kill();
            daemon = org.daemon().await;
        }
    }
    for number in 0..100 {
        eventually("the order is confirmed", async || {
            let (_, order) = daemon
                .get(&format!("/v1/stores/{store}/orders/CHAOS-{number:03}"))
                .await?;
            assert_ne!(order["state"], "needs_attention", "{order}");
            (order["state"] == "confirmed").then_some(())
        })
        .await;
    }
    assert_eq!(org.count("Order WHERE External_ID__c LIKE 'CHAOS-%'").await, 100);
    for number in 0..100 {
        let soql = format!(
            "SELECT Product2Id, Quantity FROM OrderItem WHERE Order.External_ID__c = 'CHAOS-{number:03}' ORDER BY Quantity"
        );
        let found: Vec<(String, f64)> = org
            .query(&soql)
            .await
            .iter()
            .map(|item| {
                (
                    item["Product2Id"].as_str().unwrap().to_owned(),
                    item["Quantity"].as_f64().unwrap(),
                )
            })
            .collect();
        let expected: Vec<(String, f64)> = lines(number)
            .iter()
            .map(|&(id, quantity)| (id.to_owned(), f64::from(quantity)))
            .collect();
        assert_eq!(found, expected, "order {number}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_twenty_times_during_twenty_thousand_changes_the_cache_equals_the_org() {
    const CHANGES: usize = 20_000;
    const KILLS: usize = 20;
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let mut changes = random.fork();
    let org = Sandbox::start(&["--products", "500"]).await;
    let ids = |rows: Vec<crate::world::Row>| -> Vec<String> {
        rows.iter()
            .map(|row| row["Id"].as_str().unwrap().to_owned())
            .collect()
    };
    let products = ids(org.query("SELECT Id FROM Product2").await);
    let entries = ids(org.query("SELECT Id FROM PricebookEntry").await);
    let accounts = ids(org.query("SELECT Id FROM Account").await);
    let mut daemon = org.daemon().await;

    let writes = async {
        let mut made: Vec<String> = Vec::new();
        for batch in 0..CHANGES / 25 {
            let parts: Vec<Value> = (0..25)
                .map(|part| {
                    let number = batch * 25 + part;
                    change(&mut changes, number, &products, &entries, &accounts, &mut made)
                })
                .collect();
            let body = json!({"allOrNone": false, "compositeRequest": parts});
            let (status, answer) = org.call(reqwest::Method::POST, "composite", &body).await;
            assert_eq!(status, 200, "{answer}");
            for part in answer["compositeResponse"].as_array().unwrap() {
                let status = part["httpStatusCode"].as_u64().unwrap();
                assert!(status < 300, "{part}");
                if let Some(id) = part["body"]["id"].as_str() {
                    made.push(id.to_owned());
                }
            }
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    };
    let kills = async {
        for _ in 0..KILLS {
            tokio::time::sleep(std::time::Duration::from_millis(random.u64(50..1_500))).await;
            daemon.running.kill();
            daemon = org.daemon().await;
        }
    };
    tokio::join!(writes, kills);
    daemon.live().await;
    converge(&org).await;
}

/// One change of the many kinds there are, as a part of a composite request.
fn change(
    random: &mut fastrand::Rng,
    number: usize,
    products: &[String],
    entries: &[String],
    accounts: &[String],
    made: &mut Vec<String>,
) -> Value {
    let part = |method: &str, path: &str, body: Value| json!({"method": method, "url": format!("/services/data/v67.0/sobjects/{path}"), "referenceId": format!("r{number}"), "body": body});
    let one = |random: &mut fastrand::Rng, ids: &[String]| ids[random.usize(..ids.len())].clone();
    match random.u32(0..100) {
        0..45 => {
            let price = f64::from(random.u32(100..100_000)) / 100.0;
            part(
                "PATCH",
                &format!("PricebookEntry/{}", one(random, entries)),
                json!({"UnitPrice": price}),
            )
        }
        45..70 => {
            let description = random
                .bool()
                .then(|| format!("description {number}, with \"quotes\" and\nlines"));
            let body = json!({"Description": description, "IsActive": random.bool()});
            part("PATCH", &format!("Product2/{}", one(random, products)), body)
        }
        70..88 => {
            let body = json!({"BillingCity": format!("City {number}"), "BillingStreet": null, "AnnualRevenue": random.u32(..)});
            part("PATCH", &format!("Account/{}", one(random, accounts)), body)
        }
        88..96 => part(
            "POST",
            "Account",
            json!({"Name": format!("Account {number}"), "External_ID__c": format!("CH-{number}")}),
        ),
        _ if !made.is_empty() => {
            let id = made.swap_remove(random.usize(..made.len()));
            part("DELETE", &format!("Account/{id}"), Value::Null)
        }
        _ => part(
            "PATCH",
            &format!("Product2/{}", one(random, products)),
            json!({"Name": format!("Name {number}")}),
        ),
    }
}
