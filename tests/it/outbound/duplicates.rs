//! Duplicate rules of the org: who is saved all the same, who waits for a person, and what that person can do.

use serde_json::{Value, json};

use super::{accepted, configure};
use crate::world::{Daemon, Sandbox, a_store, order};

/// An org in which two contacts may not share an address, and a daemon; the store, its currency and a product.
async fn with_rule(allow_save: bool, config: &str) -> (Sandbox, Daemon, String, String, String) {
    let org = Sandbox::start(&["--products", "12", "--stores", "1"]).await;
    let rule =
        json!({"object": "Contact", "name": "One_Address", "fields": ["Email"], "allow_save": allow_save});
    org.control("rules", json!({"duplicates": [rule]})).await;
    configure(&org, config);
    let daemon = org.daemon().await;
    daemon.live().await;
    let (store, currency, products) = a_store(&daemon).await;
    (org, daemon, store, currency, products[0].clone())
}

/// The same person under two keys: what a guest who comes twice looks like.
async fn twice(daemon: &Daemon, store: &str, currency: &str, product: &str) -> Value {
    for key in ["TWIN-1", "TWIN-2"] {
        accepted(daemon, store, &order(key, currency, &[(product, 1)])).await;
        let path = format!("/v1/stores/{store}/orders/{key}");
        let told = daemon
            .until(&path, &["sent", "confirmed", "needs_attention"])
            .await;
        if key == "TWIN-2" {
            return told;
        }
        assert_ne!(told["state"], "needs_attention", "{told}");
    }
    unreachable!()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rule_that_only_warns_stops_no_order() {
    let (org, daemon, store, currency, product) = with_rule(true, "").await;
    let told = twice(&daemon, &store, &currency, &product).await;
    assert_ne!(told["state"], "needs_attention", "{told}");
    assert_eq!(org.count("Contact WHERE Email = 'ana@example.com'").await, 2);
    let lead = |key: &str| json!({"external_id": key, "last_name": "Lee", "email": "lee@example.com"});
    let rule = json!({"object": "Lead", "name": "One_Lead", "fields": ["Email"], "allow_save": true});
    org.control("rules", json!({"duplicates": [rule]})).await;
    for key in ["LEAD-1", "LEAD-2"] {
        let (status, answer) = daemon
            .post(&format!("/v1/stores/{store}/leads"), &lead(key))
            .await;
        assert_eq!(status, 202, "{answer}");
        let url = answer["status_url"].as_str().unwrap();
        let told = daemon.until(url, &["sent", "confirmed", "needs_attention"]).await;
        assert_ne!(told["state"], "needs_attention", "{told}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rule_that_blocks_leaves_the_order_to_a_person_who_names_whom_it_is_for() {
    let (org, daemon, store, currency, product) = with_rule(false, "").await;
    let told = twice(&daemon, &store, &currency, &product).await;
    assert_eq!(told["error"]["code"], "DUPLICATES_DETECTED", "{told}");
    let said = told["error"]["message"].as_str().unwrap();
    let contact = org.some("Contact", "WHERE External_ID__c = 'C-TWIN-1'").await;
    assert!(said.contains("One_Address") && said.contains(&contact), "{said}");
    // As the sentence says.
    let (code, _, said) = org
        .verb(&[
            "orders",
            "edit",
            "TWIN-2",
            "--set",
            "customer.external_id=C-TWIN-1",
        ])
        .await;
    assert_eq!(code, 0, "{said}");
    assert_eq!(org.verb(&["orders", "retry", "TWIN-2"]).await.0, 0);
    let path = format!("/v1/stores/{store}/orders/TWIN-2");
    daemon.until(&path, &["sent", "confirmed"]).await;
    let theirs = format!("Order WHERE External_ID__c LIKE 'TWIN-%' AND BillToContactId = '{contact}'");
    assert_eq!(org.count(&theirs).await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_duplicate_waits_for_a_person_where_that_is_configured() {
    let (org, daemon, store, currency, product) = with_rule(true, "[orders]\nduplicates = \"refuse\"").await;
    let told = twice(&daemon, &store, &currency, &product).await;
    assert_eq!(told["error"]["code"], "DUPLICATES_DETECTED", "{told}");
    assert!(
        told["error"]["message"]
            .as_str()
            .unwrap()
            .contains("orders.duplicates"),
        "{told}"
    );
    assert_eq!(org.count("Order WHERE External_ID__c = 'TWIN-2'").await, 0);
}
