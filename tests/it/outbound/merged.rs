//! Customers that the org has merged: what the old key sends goes to the one who lives on.

use reqwest::Method;
use serde_json::{Value, json};

use super::accepted;
use crate::world::{Daemon, Sandbox, a_store, eventually};

/// Sends an order and waits until the org has it; gives its contact and account there.
async fn ordered(org: &Sandbox, daemon: &Daemon, store: &str, order: &Value) -> (Value, Value) {
    accepted(daemon, store, order).await;
    let key = order["external_id"].as_str().unwrap();
    let path = format!("/v1/stores/{store}/orders/{key}");
    let told = daemon.until(&path, &["confirmed", "needs_attention"]).await;
    assert_eq!(told["state"], "confirmed", "{told}");
    let soql = format!("SELECT BillToContactId, AccountId FROM Order WHERE External_ID__c = '{key}'");
    let row = org.query(&soql).await.remove(0);
    (row["BillToContactId"].clone(), row["AccountId"].clone())
}

#[tokio::test(flavor = "multi_thread")]
#[allow(clippy::too_many_lines, reason = "one story, told in its order")]
async fn a_merged_customer_s_orders_go_to_the_one_who_lives_on() {
    let org = Sandbox::start(&["--products", "12", "--stores", "1"]).await;
    let account = org
        .create("Account", json!({"Name": "Old", "External_ID__c": "ACME"}))
        .await;
    let daemon = org.daemon().await;
    daemon.live().await;
    let (store, _, products) = a_store(&daemon).await;
    let order = |key: &str, customer: Value| json!({"external_id": key, "customer": customer, "items": [{"product_id": products[0], "quantity": 1}]});
    let person = json!({"external_id": "C-7", "email": "old@example.com", "last_name": "Old"});
    let (loser, _) = ordered(&org, &daemon, &store, &order("M-1", person.clone())).await;
    let survivor = org.some("Contact", "WHERE External_ID__c = 'C-1'").await;
    let other = org.some("Contact", "WHERE External_ID__c = 'C-2'").await;
    let of_survivor =
        format!("SELECT LastName, Email, Phone, AccountId FROM Contact WHERE Id = '{survivor}'");
    let before = org.query(&of_survivor).await;

    // One after the other: the old key leads to the last.
    org.control("merge", json!({"master": other, "loser": loser}))
        .await;
    org.control("merge", json!({"master": survivor, "loser": other}))
        .await;
    let (contact, of_order) = ordered(&org, &daemon, &store, &order("M-2", person.clone())).await;
    assert_eq!(contact, json!(survivor), "nobody new is made");
    assert_eq!(of_order, before[0]["AccountId"]);
    let theirs = format!("Order WHERE External_ID__c LIKE 'M-%' AND BillToContactId = '{survivor}'");
    assert_eq!(org.count(&theirs).await, 2, "the merge took the first with it");
    assert_eq!(
        org.query(&of_survivor).await,
        before,
        "what the merge left is not changed by an order"
    );

    // Once the daemon has heard of the merge it needs no recycle bin.
    eventually("the one who was merged away is forgotten", async || {
        let shown = daemon.admin_get("/api/orders/M-1").await;
        (!shown["emptied_at"].is_null()).then_some(())
    })
    .await;
    eventually("the daemon has seen that the other is gone", async || {
        let (status, _) = daemon.get(&format!("/v1/objects/contact/{other}")).await?;
        (status == 404).then_some(())
    })
    .await;
    org.control("changes", json!({"hard_delete": [loser, other]}))
        .await;
    let (contact, _) = ordered(&org, &daemon, &store, &order("M-3", person.clone())).await;
    assert_eq!(contact, json!(survivor));

    // Who changes the customer means the one who lives on.
    let path = format!("/v1/stores/{store}/customers/C-7");
    let (status, answer) = daemon
        .send(
            Method::PATCH,
            &daemon.api,
            &path,
            Some("P-1"),
            &json!({"phone": "77"}),
        )
        .await;
    assert_eq!(status, 202, "{answer}");
    eventually("the change is the survivor's", async || {
        (org.query(&of_survivor).await[0]["Phone"] == "77").then_some(())
    })
    .await;

    // A company too: a new person of it is of the company that lives on, which keeps its name.
    let company = org
        .create("Account", json!({"Name": "New", "External_ID__c": "GLOBEX"}))
        .await;
    org.control("merge", json!({"master": company, "loser": account}))
        .await;
    let person = json!({"external_id": "N-1", "last_name": "Ng", "company": "Acme Ltd", "account_external_id": "ACME"});
    let (_, of_order) = ordered(&org, &daemon, &store, &order("M-4", person)).await;
    assert_eq!(of_order, json!(company));
    assert_eq!(
        org.count(&format!("Account WHERE Id = '{company}' AND Name = 'New'"))
            .await,
        1
    );
    assert_eq!(org.count("Account WHERE External_ID__c = 'ACME'").await, 0);
    assert_eq!(org.count("Contact WHERE External_ID__c = 'C-7'").await, 0);
}
