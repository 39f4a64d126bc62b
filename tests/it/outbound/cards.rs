//! Card numbers, in any field of any write: refused, and on no disk, in no log and in no answer.

use std::path::Path;

use reqwest::Method;
use serde_json::{Value, json};

use super::accepted;
use crate::world::{Daemon, Sandbox, a_store, order};

const CARD: &str = "4111111111111111";
const SPACED: &str = "4111 1111 1111 1111";

/// Every place of a body where a text, a number or a member's name may stand.
fn poisoned(body: &Value) -> Vec<Value> {
    fn walk(body: &Value, at: &str, paths: &mut Vec<String>) {
        paths.push(at.to_owned());
        match body {
            Value::Object(members) => members
                .iter()
                .for_each(|(name, value)| walk(value, &format!("{at}/{name}"), paths)),
            Value::Array(values) => values
                .iter()
                .enumerate()
                .for_each(|(index, value)| walk(value, &format!("{at}/{index}"), paths)),
            _ => {}
        }
    }
    let mut paths = Vec::new();
    walk(body, "", &mut paths);
    let mut made = Vec::new();
    for path in paths {
        for poison in [
            json!(CARD),
            json!(SPACED),
            json!(CARD.parse::<u64>().unwrap()),
            json!(format!("pay with {CARD}, please")),
        ] {
            let mut bad = body.clone();
            let place = bad.pointer_mut(&path).unwrap();
            match place {
                Value::Object(members) if path.ends_with("fields") || path.is_empty() => {
                    members.insert(CARD.to_owned(), json!("x"));
                }
                Value::Object(_) | Value::Array(_) => continue,
                place => *place = poison,
            }
            made.push(bad);
        }
    }
    made
}

fn bodies(product: &str) -> Vec<(&'static str, Value)> {
    let customer = json!({"external_id": "C-9", "email": "ana@example.com", "first_name": "Ana", "last_name": "Lee",
        "phone": "+61", "company": "Acme"});
    let mut placed = order("CARD-1", "AUD", &[(product, 1)]);
    placed["shipping"] = json!({"amount": "1", "label": "x", "product_code": "y"});
    placed["discounts"] = json!([{"amount": "1", "label": "x"}]);
    placed["payments"] = json!([{"reference": "x", "method": "card", "status": "ok"}]);
    placed["fields"] = json!({"Note__c": "x"});
    vec![
        ("orders", placed),
        (
            "orders/CARD-1/updates",
            json!({"external_id": "U", "payment": {"reference": "x"}, "fields": {}}),
        ),
        (
            "customers",
            json!({"external_id": "C-9", "email": "a@b.example", "last_name": "Lee", "title": "x", "fields": {}}),
        ),
        (
            "cases",
            json!({"external_id": "K", "subject": "x", "description": "x", "customer": customer}),
        ),
        (
            "leads",
            json!({"external_id": "L", "last_name": "x", "message": "x", "address": {"street": "x"}}),
        ),
        (
            "campaign-members",
            json!({"external_id": "M", "campaign_id": "701000000000001AAA", "customer": customer}),
        ),
        (
            "assets",
            json!({"external_id": "A", "name": "x", "serial_number": "x", "customer": customer}),
        ),
        (
            "form-submissions",
            json!({"external_id": "F", "form_id": "a11000000000001AAA", "answers": [{"question": "x", "answer": "x"}, {"answer": ["x", "y"]}]}),
        ),
    ]
}

fn files_with(dir: &Path, text: &str, found: &mut Vec<String>) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files_with(&path, text, found);
        } else if std::fs::read(&path)
            .unwrap()
            .windows(text.len())
            .any(|window| window == text.as_bytes())
        {
            found.push(path.display().to_string());
        }
    }
}

/// What operators write at an order is no place for a card number either.
async fn refused_of_operators(org: &Sandbox, daemon: &Daemon, store: &str, posted: &Value) {
    let rule = json!({"object": "Order", "when": "ShippingCity = 'Hobart'", "message": "No such city."});
    org.control("rules", json!({"validations": [rule]})).await;
    accepted(daemon, store, posted).await;
    daemon
        .until(&format!("/v1/stores/{store}/orders/CARD-2"), &["needs_attention"])
        .await;
    for (deed, body) in [
        ("discard", json!({"reason": format!("paid with {SPACED}")})),
        ("discard", json!({"reason": "called", "actor": CARD})),
        ("edit", json!({"patch": {"customer": {"phone": CARD}}})),
    ] {
        let (status, problem) = daemon
            .admin_post(&format!("/api/orders/CARD-2/{deed}"), &body)
            .await;
        assert_eq!(status, 409, "{deed} {body}: {problem}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_card_number_is_refused_wherever_it_stands_and_leaves_no_trace() {
    let org = Sandbox::start(&["--products", "20", "--stores", "1"]).await;
    let daemon = org.daemon_with(&[("STORESYNC_LOG", "trace")]).await;
    daemon.live().await;
    let (store, currency, products) = a_store(&daemon).await;
    let mut tried = 0;
    for (path, body) in bodies(&products[0]) {
        for bad in poisoned(&body) {
            let (status, problem) = daemon.post(&format!("/v1/stores/{store}/{path}"), &bad).await;
            assert_eq!(status, 422, "{path} {bad}: {problem}");
            let problem = problem.to_string();
            assert!(!problem.contains(CARD) && !problem.contains(SPACED), "{problem}");
            tried += 1;
        }
    }
    println!("{tried} bodies with a card number were refused");
    assert!(tried > 200, "only {tried} places were tried");
    // A customer's change, the keys in addresses, and what an operator writes.
    let change = json!({"email": "a@b.example", "last_name": "Lee", "title": "x", "fields": {}});
    let customers = format!("/v1/stores/{store}/customers");
    let patch = async |path: String, body: &Value| {
        let (status, problem) = daemon
            .send(Method::PATCH, &daemon.api, &path, Some("E-1"), body)
            .await;
        assert_eq!(status, 422, "{path} {body}: {problem}");
    };
    for bad in poisoned(&change) {
        patch(format!("{customers}/C-9"), &bad).await;
    }
    patch(format!("{customers}/{CARD}"), &change).await;
    let late = json!({"external_id": "U-9", "cancelled": {}});
    let (status, _) = daemon
        .post(&format!("/v1/stores/{store}/orders/{CARD}/updates"), &late)
        .await;
    assert_eq!(status, 422);
    let parked = order("CARD-2", &currency, &[(&products[0], 1)]);
    refused_of_operators(&org, &daemon, &store, &parked).await;
    for path in [
        format!("/v1/stores/{store}/orders"),
        format!("/v1/stores/{store}/cases"),
    ] {
        let key = Some(CARD);
        let body = json!({"subject": "x", "customer": {"email": "a@b.example"}});
        let (status, _) = daemon.send(Method::POST, &daemon.api, &path, key, &body).await;
        assert_eq!(status, 422);
        let broken = reqwest::Client::new()
            .post(format!("{}{path}", daemon.api))
            .header("content-type", "application/json")
            .body(format!("{{\"a\": {CARD}, \"{SPACED}"));
        assert_eq!(broken.send().await.unwrap().status(), 400);
    }
    let mut shown = daemon.running.said();
    for path in ["/status", "/metrics", "/readyz", "/api/orders"] {
        shown.push_str(&daemon.admin_get(path).await.to_string());
    }
    let mut found = Vec::new();
    for text in [CARD, SPACED] {
        assert!(
            !shown.contains(text),
            "a log or a page of the admin side shows it"
        );
        files_with(&org.state(), text, &mut found);
    }
    assert!(found.is_empty(), "{found:?}");
}
