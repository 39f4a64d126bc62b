//! Numbers of more digits than a double keeps: refused by their names, wherever a shop may send one. What is taken
//! arrives in the org digit for digit.

use reqwest::Method;
use serde_json::{Value, json};

use super::configure;
use crate::world::{Daemon, Sandbox, a_store, eventually, order};

/// Where a number stands in a body.
const NUMBER: &str = "@@";

/// What a double would make another number of: as a number, and as a text with its digits.
const ROUNDED: [&str; 4] = [
    "9007199254740993",
    "19.900000000000000001",
    "12345678901234567890",
    "\"12345678901234567.89\"",
];

/// The bodies that may hold a number: address, method, member, body.
fn bodies(store: &str, posted: &Value) -> Vec<(String, Method, String, Value)> {
    let mut bodies = Vec::new();
    let mut add = |path: &str, method: Method, pointer: &str, mut body: Value| {
        let (whole, name) = pointer.rsplit_once('/').unwrap();
        if whole == "/discounts/0" {
            body["discounts"] = json!([{}]);
        }
        body.pointer_mut(whole).unwrap()[name] = json!(NUMBER);
        let member = pointer
            .trim_start_matches('/')
            .replace("/0", "[0]")
            .replace('/', ".");
        bodies.push((format!("/v1/stores/{store}/{path}"), method, member, body));
    };
    for pointer in [
        "/items/0/quantity",
        "/items/0/unit_price",
        "/items/0/tax",
        "/items/0/discount",
        "/items/0/fields/Worth__c",
        "/tax",
        "/shipping/amount",
        "/discounts/0/amount",
        "/payments/0/amount",
        "/fields/Wide__c",
    ] {
        add("orders", Method::POST, pointer, posted.clone());
    }
    let person = json!({"external_id": "C-1", "last_name": "Lee", "fields": {}});
    add("customers", Method::POST, "/fields/Score__c", person);
    add(
        "customers/C-1",
        Method::PATCH,
        "/fields/Score__c",
        json!({"fields": {}}),
    );
    let asset = json!({"external_id": "A-1", "name": "Drill", "customer": {"external_id": "C-1"}});
    add("assets", Method::POST, "/price", asset.clone());
    add("assets", Method::POST, "/quantity", asset);
    let paid = json!({"external_id": "U-1", "payment": {"reference": "r"}});
    add("orders/EXACT/updates", Method::POST, "/payment/amount", paid);
    bodies
}

async fn send(daemon: &Daemon, method: Method, path: &str, text: String) -> (u16, Value) {
    let request = reqwest::Client::new()
        .request(method, format!("{}{path}", daemon.api))
        .header("content-type", "application/json")
        .header("idempotency-key", "N-1");
    let answer = request.body(text).send().await.unwrap();
    (answer.status().as_u16(), answer.json().await.unwrap())
}

async fn an_org() -> Sandbox {
    let org = Sandbox::start(&["--products", "12", "--stores", "1"]).await;
    for (object, name, kind) in [
        ("Order", "Wide__c", "Double 18,0"),
        ("Order", "Fine__c", "Double 16,6"),
        ("OrderItem", "Worth__c", "Currency 16,2"),
        ("Contact", "Score__c", "Double 18,0"),
    ] {
        let field = json!({"object": object, "name": name, "type": kind});
        org.control("schema", json!({ "add": field })).await;
    }
    let fields = "[\"Order.Wide__c\", \"Order.Fine__c\", \"OrderItem.Worth__c\", \"Contact.Score__c\"]";
    configure(&org, &format!("[orders]\nfields = {{ \"*\" = {fields} }}"));
    org
}

#[tokio::test(flavor = "multi_thread")]
async fn a_number_that_a_double_would_change_is_refused_by_its_name() {
    let org = an_org().await;
    let daemon = org.daemon().await;
    daemon.live().await;
    let seen = org.state().join("objects.json");
    eventually("the org's objects were seen", async || {
        seen.exists().then_some(())
    })
    .await;
    let (store, currency, products) = a_store(&daemon).await;
    let mut posted = order("EXACT", &currency, &[(&products[0], 1)]);
    posted["items"][0]["fields"] = json!({});
    posted["shipping"] = json!({"amount": "1"});
    posted["payments"] = json!([{"reference": "r"}]);
    for (path, method, member, body) in bodies(&store, &posted) {
        for number in ROUNDED {
            let text = body.to_string().replace(&format!("\"{NUMBER}\""), number);
            let (status, problem) = send(&daemon, method.clone(), &path, text).await;
            assert_eq!(
                (status, &problem["field"]),
                (422, &json!(member)),
                "{path} {number}: {problem}"
            );
            let detail = problem["detail"].as_str().unwrap();
            assert!(detail.contains("digits"), "{path} {number}: {problem}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_number_arrives_digit_for_digit() {
    let org = an_org().await;
    let daemon = org.daemon().await;
    daemon.live().await;
    let (store, currency, products) = a_store(&daemon).await;
    let mut exact = order("EXACT", &currency, &[(&products[0], 1)]);
    exact["items"][0]["fields"] = json!({});
    let text = exact.to_string();
    let text = text.replacen(
        "\"quantity\":1",
        "\"quantity\":12345678901.25,\"unit_price\":\"0.07\"",
        1,
    );
    let worth = "\"fields\":{\"Worth__c\":1234567890123.45}";
    let text = text.replacen("\"fields\":{}", worth, 1);
    let mine = "\"fields\":{\"Wide__c\":\"123456789012345\",\"Fine__c\":123456789.012345}";
    let text = text.replacen("\"fields\":{}", mine, 1);
    let (status, told) = send(&daemon, Method::POST, &format!("/v1/stores/{store}/orders"), text).await;
    assert_eq!(status, 202, "{told}");
    let path = format!("/v1/stores/{store}/orders/EXACT");
    let told = daemon
        .until(&path, &["sent", "confirmed", "needs_attention"])
        .await;
    assert_ne!(told["state"], "needs_attention", "{told}");
    for (field, from, digits) in [
        (
            "Wide__c",
            "Order WHERE External_ID__c = 'EXACT'",
            "123456789012345",
        ),
        (
            "Fine__c",
            "Order WHERE External_ID__c = 'EXACT'",
            "123456789.012345",
        ),
        (
            "Quantity",
            "OrderItem WHERE Order.External_ID__c = 'EXACT'",
            "12345678901.25",
        ),
        (
            "UnitPrice",
            "OrderItem WHERE Order.External_ID__c = 'EXACT'",
            "0.07",
        ),
        (
            "Worth__c",
            "OrderItem WHERE Order.External_ID__c = 'EXACT'",
            "1234567890123.45",
        ),
    ] {
        let rows = org.query(&format!("SELECT {field} FROM {from}")).await;
        let there = rows[0][field].as_f64().unwrap();
        assert_eq!(there.to_string(), digits, "{field}");
    }
}
