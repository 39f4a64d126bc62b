//! The two journeys, end to end over real sockets.

use std::process::Command;

use serde_json::{Value, json};

use crate::world::{Sandbox, a_store, cache, converge, eventually, order, select};

#[tokio::test(flavor = "multi_thread")]
async fn a_change_in_the_org_reaches_readers_of_the_cache() {
    let org = Sandbox::start(&[]).await;
    let daemon = org.daemon().await;
    daemon.live().await;
    converge(&org).await;

    let product = org.query("SELECT Id FROM Product2 LIMIT 1").await[0]["Id"]
        .as_str()
        .unwrap()
        .to_owned();
    org.update(
        "Product2",
        &product,
        json!({"Name": "Renamed, with \"quotes\"\nand a line"}),
    )
    .await;
    let state = org.state();
    eventually("the new name is in the cache", async || {
        let rows = select(
            &cache(&state),
            &format!("select name from product2 where id = '{product}'"),
        );
        (rows[0]["name"] == "Renamed, with \"quotes\"\nand a line").then_some(())
    })
    .await;

    let made = org
        .create(
            "Product2",
            json!({"Name": "New", "ProductCode": "NEW-1", "IsActive": true}),
        )
        .await;
    org.update(
        "Product2",
        &made,
        json!({"Description": "described", "ProductCode": null}),
    )
    .await;
    org.delete("Product2", &product).await;
    let contact = org.query("SELECT Id FROM Contact LIMIT 1").await[0]["Id"]
        .as_str()
        .unwrap()
        .to_owned();
    org.update("Contact", &contact, json!({"LastName": "Polled"}))
        .await;
    converge(&org).await;
    let rows = select(
        &cache(&state),
        &format!("select productcode, description from product2 where id = '{made}'"),
    );
    assert_eq!(
        Value::Object(rows[0].clone()),
        json!({"productcode": null, "description": "described"})
    );
    let name = select(
        &cache(&state),
        &format!("select name from contact where id = '{contact}'"),
    );
    assert!(name[0]["name"].as_str().unwrap().ends_with("Polled"), "{name:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_reaches_the_org_once_and_is_confirmed() {
    let org = Sandbox::start(&[]).await;
    let daemon = org.daemon().await;
    daemon.live().await;
    let (store, currency, products) = a_store(&daemon).await;

    let placed = order("WEB-1001", &currency, &[(&products[0], 2), (&products[1], 1)]);
    let (status, answer) = daemon.place(&store, &placed).await.unwrap();
    assert_eq!((status, &answer["external_id"]), (202, &json!("WEB-1001")));
    let (again, _) = daemon.place(&store, &placed).await.unwrap();
    assert_eq!(again, 202);
    let (other, problem) = daemon
        .place(&store, &order("WEB-1001", &currency, &[(&products[0], 3)]))
        .await
        .unwrap();
    assert_eq!(other, 409, "{problem}");

    let confirmed = eventually("the order is confirmed", async || {
        let (_, order) = daemon.get(&format!("/v1/stores/{store}/orders/WEB-1001")).await?;
        (order["state"] == "confirmed").then_some(order)
    })
    .await;
    let orders = org
        .query("SELECT Id, AccountId, Status FROM Order WHERE External_ID__c = 'WEB-1001'")
        .await;
    assert_eq!(orders.len(), 1);
    assert_eq!(orders[0]["Id"], confirmed["salesforce_id"]);
    let soql = format!(
        "SELECT Product2Id, Quantity FROM OrderItem WHERE OrderId = '{}' ORDER BY Quantity",
        orders[0]["Id"].as_str().unwrap()
    );
    let items: Vec<(Value, Option<f64>)> = org
        .query(&soql)
        .await
        .into_iter()
        .map(|item| (item["Product2Id"].clone(), item["Quantity"].as_f64()))
        .collect();
    assert_eq!(
        items,
        [(json!(products[1]), Some(1.0)), (json!(products[0]), Some(2.0))]
    );
    assert_eq!(org.count("Contact WHERE Email = 'ana@example.com'").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn other_programs_read_the_cache_while_it_is_written() {
    let org = Sandbox::start(&["--products", "300"]).await;
    let daemon = org.daemon().await;
    daemon.live().await;
    let path = org.state().join("cache.db");
    let ids: Vec<String> = org
        .query("SELECT Id FROM Product2")
        .await
        .iter()
        .map(|row| row["Id"].as_str().unwrap().to_owned())
        .collect();
    let writes = async {
        for (number, id) in ids.iter().enumerate() {
            org.update(
                "Product2",
                id,
                json!({"Description": format!("written {number}")}),
            )
            .await;
        }
    };
    let reads = tokio::task::spawn_blocking({
        let (path, count) = (path.clone(), ids.len());
        move || {
            for _ in 0..20 {
                let shell = Command::new("sqlite3")
                    .arg("-readonly")
                    .arg(&path)
                    .arg("select count(name) from product2")
                    .output()
                    .unwrap();
                assert_eq!(
                    String::from_utf8_lossy(&shell.stdout).trim(),
                    count.to_string(),
                    "{shell:?}"
                );
                let script = "import sqlite3, sys\nc = sqlite3.connect(f'file:{sys.argv[1]}?mode=ro', uri=True)\nprint(len(c.execute('select id, name from product2').fetchall()))";
                let python = Command::new("python3")
                    .arg("-c")
                    .arg(script)
                    .arg(&path)
                    .output()
                    .unwrap();
                assert_eq!(
                    String::from_utf8_lossy(&python.stdout).trim(),
                    count.to_string(),
                    "{python:?}"
                );
            }
        }
    });
    let ((), read) = tokio::join!(writes, reads);
    read.unwrap();
    converge(&org).await;
    drop(daemon);
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_works_over_tls_with_a_jwt() {
    let org = Sandbox::start(&["--tls"]).await;
    let key = org.env["SANDBOX_JWT_KEY"].clone();
    let username = org.env["SANDBOX_USERNAME"].clone();
    let variables = [
        ("STORESYNC__ORG__AUTH", "jwt"),
        ("STORESYNC__ORG__USERNAME", username.as_str()),
        ("STORESYNC__ORG__PRIVATE_KEY_FILE", key.as_str()),
    ];
    let daemon = org.daemon_with(&variables).await;
    daemon.live().await;
    let product = org.query("SELECT Id FROM Product2 LIMIT 1").await[0]["Id"]
        .as_str()
        .unwrap()
        .to_owned();
    org.update("Product2", &product, json!({"Name": "over TLS"}))
        .await;
    converge(&org).await;
}
