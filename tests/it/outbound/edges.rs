//! Where orders meet what they were not made for: more items than a request takes, a second daemon, a merchant who
//! edits meanwhile, an org that says nothing.

use serde_json::{Value, json};

use super::{accepted, configure, eventually_has, items, long_items, long_order, without_item_keys};
use crate::world::{Sandbox, a_store, eventually, order};

/// Orders that a shop sent, and the headers of those under way.
const KEYED: &str = "Order WHERE External_ID__c != null";

async fn a_long_order_arrives_whole(with_keys: bool) {
    let org = Sandbox::start(&[]).await;
    if !with_keys {
        without_item_keys(&org).await;
    }
    configure(&org, "[orders]\nstatus = \"Activated\"");
    let before = org.count(KEYED).await;
    let daemon = org.daemon().await;
    daemon.live().await;
    let (store, currency, products) = a_store(&daemon).await;
    // Lost once in every place a piece can be lost.
    org.fault(json!({"path": "/composite/graph", "every": 2, "times": 3, "fault": "drop_after_commit"}))
        .await;
    accepted(
        &daemon,
        &store,
        &long_order("LONG-1", &currency, &products, 1_200),
    )
    .await;
    let path = format!("/v1/stores/{store}/orders/LONG-1");
    let told = daemon
        .until(&path, &["sent", "confirmed", "needs_attention"])
        .await;
    assert_ne!(told["state"], "needs_attention", "{told}");
    assert_eq!(items(&org, "LONG-1").await, long_items(&products, 1_200));
    assert_eq!(
        org.count("Order WHERE External_ID__c = 'LONG-1' AND Status = 'Activated'")
            .await,
        1
    );
    assert_eq!(org.count(KEYED).await, before + 1, "no header is left over");
}

#[tokio::test(flavor = "multi_thread")]
async fn twelve_hundred_items_with_keys_arrive_once() {
    a_long_order_arrives_whole(true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn twelve_hundred_items_without_keys_arrive_once() {
    a_long_order_arrives_whole(false).await;
}

async fn two_daemons_race(with_keys: bool) {
    let org = Sandbox::start(&[]).await;
    if !with_keys {
        without_item_keys(&org).await;
    }
    let other_state = tempfile::tempdir().unwrap();
    let first = org.daemon().await;
    let second = org
        .daemon_with(&[("STORESYNC__STATE__DIR", other_state.path().to_str().unwrap())])
        .await;
    first.live().await;
    second.live().await;
    let (store, currency, products) = a_store(&first).await;
    org.fault(json!({"path": "/composite", "every": 3, "times": 12, "fault": {"delay_ms": 50}}))
        .await;
    for (key, count) in [("RACE-1", 1), ("RACE-2", 24), ("RACE-3", 200), ("RACE-4", 1_200)] {
        let posted = long_order(key, &currency, &products, count);
        tokio::join!(
            accepted(&first, &store, &posted),
            accepted(&second, &store, &posted)
        );
        for daemon in [&first, &second] {
            let path = format!("/v1/stores/{store}/orders/{key}");
            let told = daemon
                .until(&path, &["sent", "confirmed", "needs_attention"])
                .await;
            assert_ne!(told["state"], "needs_attention", "{told}");
        }
        assert_eq!(items(&org, key).await, long_items(&products, count), "{key}");
    }
    assert_eq!(org.count("Order WHERE External_ID__c LIKE 'RACE-%'").await, 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_daemons_that_deliver_the_same_orders_make_each_once() {
    two_daemons_race(true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_daemons_make_each_once_where_items_have_no_keys() {
    two_daemons_race(false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_that_is_posted_many_times_at_once_is_one() {
    let org = Sandbox::start(&["--products", "12", "--stores", "1"]).await;
    let daemon = org.daemon().await;
    daemon.live().await;
    let (store, currency, products) = a_store(&daemon).await;
    let posted = order("MANY-1", &currency, &[(&products[0], 2)]);
    let mut other = posted.clone();
    other["items"][0]["quantity"] = json!(3);
    let posts = (0..24).map(|number| daemon.place(&store, if number == 7 { &other } else { &posted }));
    let answers = futures_util::future::join_all(posts).await;
    let mut statuses: Vec<u16> = answers.into_iter().map(|answer| answer.unwrap().0).collect();
    statuses.sort_unstable();
    // Whichever of the two came first, the other was refused.
    let taken = statuses.iter().filter(|status| **status == 202).count();
    assert!(
        matches!(taken, 23 | 1) && statuses[taken..].iter().all(|status| *status == 409),
        "{statuses:?}"
    );
    let path = format!("/v1/stores/{store}/orders/MANY-1");
    daemon.until(&path, &["confirmed"]).await;
    assert_eq!(items(&org, "MANY-1").await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_that_a_merchant_edits_before_the_answer_arrives_is_not_sent_again() {
    let org = Sandbox::start(&[]).await;
    let mut daemon = org.daemon().await;
    daemon.live().await;
    let (store, currency, products) = a_store(&daemon).await;
    // The answer is lost, and the daemon gone: time for a merchant.
    org.fault(
        json!({"path": "/composite", "except": "/sobjects/", "times": 1, "fault": "drop_after_commit"}),
    )
    .await;
    let posted = order("EDIT-1", &currency, &[(&products[0], 2), (&products[1], 1)]);
    accepted(&daemon, &store, &posted).await;
    eventually_has(&org, 1, "Order WHERE External_ID__c = 'EDIT-1'").await;
    daemon.running.kill();
    // Stamps are whole seconds.
    org.control("clock", json!({"advance_ms": 2_000})).await;
    let item = org
        .some(
            "OrderItem",
            "WHERE Order.External_ID__c = 'EDIT-1' AND Quantity = 2",
        )
        .await;
    org.update("OrderItem", &item, json!({"Quantity": 5})).await;
    daemon = org.daemon().await;
    let path = format!("/v1/stores/{store}/orders/EDIT-1");
    let told = daemon
        .until(&path, &["sent", "confirmed", "needs_attention"])
        .await;
    assert_ne!(told["state"], "needs_attention", "{told}");
    assert_eq!(
        org.count("OrderItem WHERE Order.External_ID__c = 'EDIT-1'").await,
        2
    );
    assert_eq!(
        org.count("OrderItem WHERE Order.External_ID__c = 'EDIT-1' AND Quantity = 5")
            .await,
        1,
        "the edit stays"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn another_order_under_the_key_is_a_person_s_matter() {
    let org = Sandbox::start(&[]).await;
    let daemon = org.daemon().await;
    daemon.live().await;
    let (store, currency, products) = a_store(&daemon).await;
    let account = org.some("Account", "").await;
    let other = json!({"AccountId": account, "EffectiveDate": "2026-01-01", "Status": "Draft", "External_ID__c": "TAKEN-1"});
    let id = org.create("Order", other).await;
    accepted(
        &daemon,
        &store,
        &order("TAKEN-1", &currency, &[(&products[0], 2)]),
    )
    .await;
    let told = daemon
        .until(
            &format!("/v1/stores/{store}/orders/TAKEN-1"),
            &["needs_attention"],
        )
        .await;
    assert_eq!(told["error"]["code"], "ORDER_DIFFERS");
    assert!(told["error"]["message"].as_str().unwrap().contains(&id), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_org_never_tells_of_is_asked_for() {
    let org = Sandbox::start(&[]).await;
    configure(&org, "[orders]\necho_seconds = 1");
    let daemon = org.daemon().await;
    daemon.live().await;
    let (store, currency, products) = a_store(&daemon).await;
    // No events any more, and no polls that get through.
    org.fault(json!({"rpc": "*", "fault": "unavailable"})).await;
    org.fault(json!({"rpc": "Subscribe", "on": "now", "fault": "reset"}))
        .await;
    accepted(
        &daemon,
        &store,
        &order("SILENT-1", &currency, &[(&products[0], 1)]),
    )
    .await;
    let path = format!("/v1/stores/{store}/orders/SILENT-1");
    daemon.until(&path, &["confirmed"]).await;

    let id = daemon.get(&path).await.unwrap().1["salesforce_id"]
        .as_str()
        .unwrap()
        .to_owned();
    assert!(id.starts_with("801"), "{id}");
    // One that is gone before anyone saw it.
    org.fault(json!({"path": "/composite/sobjects/Order", "times": 3, "fault": {"status": 503}}))
        .await;
    accepted(&daemon, &store, &order("GONE-1", &currency, &[(&products[0], 1)])).await;
    let gone = format!("/v1/stores/{store}/orders/GONE-1");
    let sent = daemon.until(&gone, &["sent"]).await;
    org.delete("Order", sent["salesforce_id"].as_str().unwrap()).await;
    let told = daemon.until(&gone, &["needs_attention", "confirmed"]).await;
    assert_eq!(told["error"]["code"], "NOT_IN_ORG", "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_org_may_still_tell_of_is_not_asked_for() {
    let org = Sandbox::start(&[]).await;
    let daemon = org.daemon().await;
    daemon.live().await;
    let (store, currency, products) = a_store(&daemon).await;
    // No events any more: orders come by them, cases by polls.
    org.fault(json!({"rpc": "*", "fault": "unavailable"})).await;
    org.fault(json!({"rpc": "Subscribe", "on": "now", "fault": "reset"}))
        .await;
    accepted(
        &daemon,
        &store,
        &order("SILENT-1", &currency, &[(&products[0], 1)]),
    )
    .await;
    let path = format!("/v1/stores/{store}/orders/SILENT-1");
    daemon.until(&path, &["sent", "confirmed"]).await;
    // With each of these all that is sent is looked at.
    for key in ["K-1", "K-2"] {
        let case = json!({"external_id": key, "subject": "Late", "customer": {"external_id": format!("C-{key}"),
            "email": "bob@example.com", "last_name": "Bob"}});
        let (status, answer) = daemon.post(&format!("/v1/stores/{store}/cases"), &case).await;
        assert_eq!(status, 202, "{answer}");
        let status_url = answer["status_url"].as_str().unwrap();
        daemon.until(status_url, &["confirmed"]).await;
    }
    let (_, told) = daemon.get(&path).await.unwrap();
    assert_eq!(told["state"], "sent", "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn customers_are_person_accounts_where_the_org_has_them() {
    let org = Sandbox::start(&[]).await;
    org.control("schema", json!({"person_accounts": {}})).await;
    configure(&org, "[orders]\ncustomers = \"persons\"");
    let daemon = org.daemon().await;
    daemon.live().await;
    let (store, currency, products) = a_store(&daemon).await;
    for key in ["PERSON-1", "PERSON-2"] {
        let mut posted = order(key, &currency, &[(&products[0], 1)]);
        posted["customer"]["external_id"] = json!("P-7");
        accepted(&daemon, &store, &posted).await;
        let told = daemon
            .until(
                &format!("/v1/stores/{store}/orders/{key}"),
                &["sent", "confirmed", "needs_attention"],
            )
            .await;
        assert_ne!(told["state"], "needs_attention", "{told}");
    }
    let people = org
        .query("SELECT IsPersonAccount, PersonEmail FROM Account WHERE External_ID__c = 'P-7'")
        .await;
    assert_eq!(people.len(), 1);
    assert_eq!(
        (&people[0]["IsPersonAccount"], &people[0]["PersonEmail"]),
        (&json!(true), &json!("ana@example.com"))
    );
    assert_eq!(org.count("Order WHERE Account.External_ID__c = 'P-7'").await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_org_that_is_mended_is_found_without_a_restart() {
    let org = Sandbox::start(&[]).await;
    let daemon = org.daemon().await;
    daemon.live().await;
    let (store, currency, products) = a_store(&daemon).await;
    let permissions = |hidden: &[&str]| json!({"object": "Order", "hidden": hidden});
    org.control("permissions", permissions(&["External_ID__c", "s_c__sC_Id__c"]))
        .await;
    accepted(&daemon, &store, &order("MEND-1", &currency, &[(&products[0], 1)])).await;
    let path = format!("/v1/stores/{store}/orders/MEND-1");
    let told: Value = daemon.until(&path, &["needs_attention"]).await;
    assert_eq!(told["error"]["code"], "INVALID_FIELD", "{told}");
    org.control("permissions", permissions(&[])).await;
    daemon.admin_post("/api/orders/MEND-1/retry", &json!({})).await;
    daemon.until(&path, &["sent", "confirmed"]).await;
    eventually("it is there once", async || {
        (org.count("Order WHERE External_ID__c = 'MEND-1'").await == 1).then_some(())
    })
    .await;
}
