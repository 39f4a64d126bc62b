//! Orgs that an administrator has set up in his own words: other order statuses, and other record types of accounts.

use serde_json::{Value, json};

use super::{accepted, configure};
use crate::process::DATA_PATH;
use crate::world::{Sandbox, a_store, order};

async fn statuses(org: &Sandbox, statuses: &[(&str, &str)]) {
    let statuses: Vec<Value> = statuses
        .iter()
        .map(|(label, class)| json!({"label": label, "class": class}))
        .collect();
    org.control("schema", json!({"order_statuses": {"statuses": statuses}}))
        .await;
}

/// The line of `storesync check` with this subject.
async fn check_line(org: &Sandbox, subject: &str) -> Value {
    let (_, told, said) = org.verb(&["check", "--json"]).await;
    let report: Value = serde_json::from_str(&told).unwrap_or_else(|_| panic!("{told} {said}"));
    let mut lines = report["lines"].as_array().unwrap().iter();
    let line = lines.find(|line| line["subject"] == subject);
    line.unwrap_or_else(|| panic!("no line {subject} in {report}"))
        .clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_order_is_a_draft_by_the_org_s_own_label() {
    let org = Sandbox::start(&["--products", "5", "--stores", "1"]).await;
    statuses(
        &org,
        &[
            ("Aktiv", "Activated"),
            ("Entwurf", "Draft"),
            ("In Arbeit", "Draft"),
        ],
    )
    .await;
    configure(&org, "[orders]\ncancelled_status = \"In Arbeit\"");
    let daemon = org.daemon().await;
    daemon.live().await;
    let (store, currency, products) = a_store(&daemon).await;
    accepted(
        &daemon,
        &store,
        &order("LABEL-1", &currency, &[(&products[0], 1)]),
    )
    .await;
    let path = format!("/v1/stores/{store}/orders/LABEL-1");
    let told = daemon
        .until(&path, &["sent", "confirmed", "needs_attention"])
        .await;
    assert_ne!(told["state"], "needs_attention", "{told}");
    let there = "Order WHERE External_ID__c = 'LABEL-1' AND StatusCode = 'Draft' AND Status = 'Entwurf'";
    assert_eq!(org.count(there).await, 1);
    let line = check_line(&org, "Status of new orders").await;
    assert_eq!(
        (&line["verdict"], &line["told"]),
        (
            &json!("ok"),
            &json!("Entwurf, which is of the org's category Draft")
        )
    );

    // Renamed while the daemon runs: the first order that is refused makes it look again.
    statuses(&org, &[("Neu", "Draft"), ("Aktiv", "Activated")]).await;
    accepted(
        &daemon,
        &store,
        &order("LABEL-2", &currency, &[(&products[0], 1)]),
    )
    .await;
    let path = format!("/v1/stores/{store}/orders/LABEL-2");
    let told = daemon
        .until(&path, &["sent", "confirmed", "needs_attention"])
        .await;
    assert_ne!(told["state"], "needs_attention", "{told}");
    assert_eq!(
        org.count("Order WHERE External_ID__c = 'LABEL-2' AND Status = 'Neu'")
            .await,
        1
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_is_activated_by_the_org_s_own_label() {
    let org = Sandbox::start(&["--products", "5", "--stores", "1"]).await;
    statuses(&org, &[("Entwurf", "Draft"), ("Aktiv", "Activated")]).await;
    configure(&org, "[orders]\nstatus = \"Aktiv\"");
    let daemon = org.daemon().await;
    daemon.live().await;
    let (store, currency, products) = a_store(&daemon).await;
    accepted(
        &daemon,
        &store,
        &order("LABEL-3", &currency, &[(&products[0], 1)]),
    )
    .await;
    let path = format!("/v1/stores/{store}/orders/LABEL-3");
    let told = daemon
        .until(&path, &["sent", "confirmed", "needs_attention"])
        .await;
    assert_ne!(told["state"], "needs_attention", "{told}");
    let there = "Order WHERE External_ID__c = 'LABEL-3' AND StatusCode = 'Activated' AND Status = 'Aktiv'";
    assert_eq!(org.count(there).await, 1);
}

async fn usable_types(org: &Sandbox, usable: &[&str]) {
    org.control("record_types", json!({"object": "Account", "usable": usable}))
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn persons_are_made_where_the_user_s_default_record_type_is_for_companies() {
    let org = Sandbox::start(&["--products", "5", "--stores", "1"]).await;
    org.control("schema", json!({"person_accounts": {}})).await;
    usable_types(&org, &["Customer"]).await;
    configure(&org, "[orders]\ncustomers = \"persons\"");
    let daemon = org.daemon().await;
    daemon.live().await;
    let (store, currency, products) = a_store(&daemon).await;
    accepted(
        &daemon,
        &store,
        &order("PERSON-1", &currency, &[(&products[0], 1)]),
    )
    .await;
    let path = format!("/v1/stores/{store}/orders/PERSON-1");
    let told = daemon
        .until(&path, &["sent", "confirmed", "needs_attention"])
        .await;
    let sentence = "the user may use no record type for person accounts: assign Person Account to its profile or a permission set";
    assert_eq!(
        (&told["error"]["code"], &told["error"]["message"]),
        (&json!("NO_PERSON_TYPE"), &json!(sentence))
    );
    let line = check_line(&org, "Record type of persons").await;
    assert_eq!(
        (&line["verdict"], &line["remedy"]),
        (&json!("fail"), &json!(sentence))
    );

    usable_types(&org, &["Customer", "PersonAccount"]).await;
    let line = check_line(&org, "Record type of persons").await;
    assert_eq!(
        (&line["verdict"], &line["told"]),
        (
            &json!("ok"),
            &json!("Person Account, which is sent with each: the user's default is for companies")
        )
    );
    // The daemon looks again soon after the refusal.
    crate::world::eventually("the order is sent", async || {
        daemon.admin_post("/api/orders/PERSON-1/retry", &json!({})).await;
        let told = daemon
            .until(&path, &["sent", "confirmed", "needs_attention"])
            .await;
        (told["state"] != "needs_attention").then_some(())
    })
    .await;
    let person = "Account WHERE External_ID__c = 'C-PERSON-1' AND IsPersonAccount = true AND RecordType.Name = 'Person Account'";
    assert_eq!(org.count(person).await, 1);
    // The org's own word: without the type it takes no person.
    let nameless = json!({"LastName": "Lee"});
    let request = |base: &str, token: &str| {
        let url = format!("{base}{DATA_PATH}/sobjects/Account");
        org.http.post(url).bearer_auth(token).json(&nameless)
    };
    assert_eq!(org.send(request).await.status().as_u16(), 400);
}
