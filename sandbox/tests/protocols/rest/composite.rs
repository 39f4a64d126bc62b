//! Composite requests and graphs, and what faults leave of them.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value as Json, json};

use super::client::{Client, DATA};

fn order_composite(entry: &Json, key: &str, lines: usize) -> Json {
    let mut parts = vec![
        json!({ "method": "PATCH", "url": format!("{DATA}/sobjects/Account/External_ID__c/C-{key}"),
            "referenceId": "customer", "body": { "Name": "Ana Lee" } }),
        json!({ "method": "POST", "url": format!("{DATA}/sobjects/Order"), "referenceId": "order", "body": {
            "AccountId": "@{customer.id}", "External_ID__c": key, "EffectiveDate": "2026-11-22", "Status": "Draft",
            "Pricebook2Id": entry["Pricebook2Id"], "CurrencyIsoCode": entry["CurrencyIsoCode"] } }),
    ];
    for line in 0..lines {
        parts.push(
            json!({ "method": "POST", "url": format!("{DATA}/sobjects/OrderItem"),
            "referenceId": format!("item{line}"), "body": { "OrderId": "@{order.id}",
            "PricebookEntryId": entry["Id"], "Quantity": 2, "UnitPrice": 19.9 } }),
        );
    }
    json!({ "allOrNone": true, "collateSubrequests": false, "compositeRequest": parts })
}

#[tokio::test]
async fn an_order_with_items_is_written_once() {
    let client = Client::start().await;
    let entry = client.entry().await;
    let (status, answer) = client
        .post("composite", order_composite(&entry, "WEB-1", 3))
        .await;
    assert_eq!(status, 200);
    let parts = answer["compositeResponse"].as_array().unwrap();
    assert_eq!(parts.len(), 5);
    assert!(parts.iter().all(|part| part["httpStatusCode"] == 201), "{answer}");
    let order = parts[1]["body"]["id"].as_str().unwrap();
    assert_eq!(
        parts[1]["httpHeaders"]["Location"],
        format!("{DATA}/sobjects/Order/{order}")
    );

    let soql = "SELECT Id, TotalAmount, Account.Name, (SELECT Id, UnitPrice FROM OrderItems) FROM Order \
                WHERE External_ID__c = 'WEB-1'";
    let orders = client.query(soql).await;
    assert_eq!(orders["totalSize"], 1);
    let row = &orders["records"][0];
    assert_eq!(
        (&row["Account"]["Name"], &row["OrderItems"]["totalSize"]),
        (&json!("Ana Lee"), &json!(3))
    );
    assert!(
        (row["TotalAmount"].as_f64().unwrap() - 119.4).abs() < 1e-9,
        "{row}"
    );

    let (_, again) = client
        .post("composite", order_composite(&entry, "WEB-1", 3))
        .await;
    let parts = again["compositeResponse"].as_array().unwrap();
    assert_eq!(parts[1]["body"][0]["errorCode"], "DUPLICATE_VALUE");
    assert!(parts.iter().all(|part| part["httpStatusCode"] == 400), "{again}");
    assert_eq!(
        client.query(soql).await["records"][0]["OrderItems"]["totalSize"],
        3
    );
    // Its items go with it and come back with it, but for one that went before.
    let delete = async |path: &str| {
        let deleted = client.request(Method::DELETE, path).send().await.unwrap();
        assert_eq!(deleted.status(), 204);
    };
    let first = &row["OrderItems"]["records"][0]["Id"];
    delete(&format!("sobjects/OrderItem/{}", first.as_str().unwrap())).await;
    let (status, answer) = client
        .post("/sandbox/clock", json!({ "advance_ms": 2_000 }))
        .await;
    assert_eq!(status, 200, "{answer}");
    delete(&format!("sobjects/Order/{order}")).await;
    let items = "SELECT COUNT() FROM OrderItem WHERE Order.External_ID__c = 'WEB-1'";
    assert_eq!(client.query(items).await["totalSize"], 0);
    let (status, answer) = client
        .post("/sandbox/changes", json!({ "undelete": [order] }))
        .await;
    assert_eq!(status, 200, "{answer}");
    let back = client.query(soql).await;
    let items = &back["records"][0]["OrderItems"];
    assert_eq!(items["totalSize"], 2, "{back}");
    let mut items = items["records"].as_array().unwrap().iter();
    assert!(items.all(|item| item["Id"] != *first), "{back}");
    client.stop().await;
}

#[tokio::test]
async fn a_failed_composite_leaves_nothing() {
    let client = Client::start().await;
    let mut request = order_composite(&client.entry().await, "WEB-2", 1);
    request["compositeRequest"][2]["body"]["Quantity"] = json!(0);
    let (status, answer) = client.post("composite", request.clone()).await;
    assert_eq!(status, 200);
    let code = |answer: &Json, at: usize| answer["compositeResponse"][at]["body"][0]["errorCode"].clone();
    assert_eq!(code(&answer, 0), "PROCESSING_HALTED");
    assert_eq!(code(&answer, 1), "PROCESSING_HALTED");
    assert_ne!(code(&answer, 2), "PROCESSING_HALTED");
    let left = "SELECT COUNT() FROM Account WHERE External_ID__c = 'C-WEB-2'";
    assert_eq!(client.query(left).await["totalSize"], 0);

    // Without all-or-none what can be written is.
    request["allOrNone"] = json!(false);
    request["compositeRequest"][1]["body"]["Status"] = json!("nonsense");
    let (_, answer) = client.post("composite", request).await;
    assert_eq!(answer["compositeResponse"][0]["httpStatusCode"], 201, "{answer}");
    assert_eq!(code(&answer, 1), "INVALID_OR_NULL_FOR_RESTRICTED_PICKLIST");
    assert_eq!(code(&answer, 2), "PROCESSING_HALTED");
    assert_eq!(client.query(left).await["totalSize"], 1);

    // All or none is so of a collection in it too, whatever the collection says itself.
    let account =
        |name: &str| json!({ "attributes": { "type": "Account" }, "External_ID__c": "P-1", "Name": name });
    let partly = json!({ "allOrNone": true, "compositeRequest": [
        { "method": "POST", "url": format!("{DATA}/composite/sobjects"), "referenceId": "many",
            "body": { "allOrNone": false, "records": [account("A"), account("a second under its key")] } },
        { "method": "GET", "url": format!("{DATA}/limits"), "referenceId": "after" },
    ] });
    let (_, answer) = client.post("composite", partly).await;
    assert_eq!(code(&answer, 1), "PROCESSING_HALTED", "{answer}");
    let left = "SELECT COUNT() FROM Account WHERE External_ID__c = 'P-1'";
    assert_eq!(client.query(left).await["totalSize"], 0);

    let many: Vec<Json> = (0..26)
        .map(|at| json!({ "method": "GET", "url": format!("{DATA}/sobjects"), "referenceId": format!("r{at}") }))
        .collect();
    let (status, answer) = client
        .post("composite", json!({ "compositeRequest": many }))
        .await;
    assert_eq!((status, code(&answer, 0)), (200, json!("LIMIT_EXCEEDED")));
    assert_eq!(answer["compositeResponse"][0]["referenceId"], Json::Null);
    // Of queries and collections five at most, together.
    for (collections, status) in [(3, 200), (4, 200)] {
        let part = |at: usize| match at < collections {
            true => {
                json!({ "method": "POST", "url": format!("{DATA}/composite/sobjects"), "referenceId": format!("r{at}"),
                "body": { "records": [{ "attributes": { "type": "Account" }, "Name": format!("many {at}") }] } })
            }
            false => {
                json!({ "method": "GET", "url": format!("{DATA}/query?q=SELECT+Id+FROM+Account+LIMIT+1"),
                "referenceId": format!("r{at}") })
            }
        };
        let parts: Vec<Json> = (0..collections + 2).map(part).collect();
        let (found, answer) = client
            .post("composite", json!({ "compositeRequest": parts }))
            .await;
        let is_too_many = code(&answer, 0) == "LIMIT_EXCEEDED";
        assert_eq!((found, is_too_many), (status, collections == 4), "{answer}");
    }
    client.stop().await;
}

#[tokio::test]
async fn graphs_commit_each_by_itself() {
    let client = Client::start().await;
    let node = |name: &str, reference: &str| {
        json!({ "method": "POST", "url": format!("{DATA}/sobjects/Account"), "referenceId": reference,
            "body": { "Name": name, "External_ID__c": name } })
    };
    let child = json!({ "method": "POST", "url": format!("{DATA}/sobjects/Contact"), "referenceId": "child",
        "body": { "LastName": "Lee", "AccountId": "@{parent.id}" } });
    let graphs = json!({ "graphs": [
        { "graphId": "good", "compositeRequest": [child, node("G-1", "parent")] },
        { "graphId": "bad", "compositeRequest": [node("G-2", "a"), node("G-1", "b")] },
    ] });
    let (status, answer) = client.post("composite/graph", graphs).await;
    assert_eq!(status, 200);
    assert_eq!(answer["graphs"][0]["isSuccessful"], true, "{answer}");
    assert_eq!(answer["graphs"][1]["isSuccessful"], false);
    let nodes = &answer["graphs"][1]["graphResponse"]["compositeResponse"];
    assert_eq!(nodes[0]["body"][0]["errorCode"], "DUPLICATE_VALUE");
    let found = client
        .query("SELECT External_ID__c FROM Account WHERE External_ID__c LIKE 'G-%'")
        .await;
    assert_eq!(found["totalSize"], 1);
    client.stop().await;
}

#[tokio::test]
async fn faults_strike_before_and_after_the_commit() {
    let client = Client::start().await;
    let path = "sobjects/Account";
    let body = |key: &str| json!({ "Name": key, "External_ID__c": key });
    let count = "SELECT COUNT() FROM Account WHERE External_ID__c LIKE 'F-%'";

    client
        .fault(json!({ "path": path, "times": 1, "fault": { "status": 503 } }))
        .await;
    let (status, busy) = client.post(path, body("F-1")).await;
    assert_eq!(
        (status, &busy[0]["errorCode"]),
        (503, &json!("SERVER_UNAVAILABLE"))
    );
    assert_eq!(client.query(count).await["totalSize"], 0);

    client
        .fault(json!({ "path": path, "times": 1, "fault": "drop_before" }))
        .await;
    let dropped = client.request(Method::POST, path).json(&body("F-2")).send().await;
    assert!(dropped.is_err(), "{dropped:?}");
    assert_eq!(client.query(count).await["totalSize"], 0);

    client
        .fault(json!({ "path": path, "times": 1, "fault": "drop_after_commit" }))
        .await;
    let dropped = client.request(Method::POST, path).json(&body("F-3")).send().await;
    assert!(dropped.is_err(), "{dropped:?}");
    assert_eq!(client.query(count).await["totalSize"], 1);

    client
        .fault(json!({ "path": path, "times": 1, "fault": { "delay_ms": 2_000 } }))
        .await;
    let late = client
        .request(Method::POST, path)
        .timeout(Duration::from_millis(300))
        .json(&body("F-4"));
    assert!(late.send().await.unwrap_err().is_timeout());
    assert_eq!(client.query(count).await["totalSize"], 2);

    let (_, rules) = client.get("/sandbox/faults").await;
    assert!(
        rules["rules"]
            .as_array()
            .unwrap()
            .iter()
            .all(|rule| rule["struck"] == 1),
        "{rules}"
    );
    assert_eq!(
        client.send(Method::DELETE, "/sandbox/faults", Json::Null).await.0,
        204
    );
    let (_, stats) = client.get("/sandbox/stats").await;
    assert!(
        stats["paths"]["sobjects/Account"].as_u64().unwrap() >= 4,
        "{stats}"
    );
    client.stop().await;
}
