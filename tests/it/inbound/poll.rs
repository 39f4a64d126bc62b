//! Polling brings every page of what changed, and changes that become visible late.

use serde_json::{Value, json};

use crate::world::{Sandbox, cache, converge, eventually, select};

/// Few objects, so that loading and polling them is quick.
const FEW_OBJECTS: (&str, &str) = ("STORESYNC__SYNC__PROFILE", "standard");

fn department(org: &Sandbox, contact: &str) -> Value {
    let sql = format!("select department from contact where id = '{contact}'");
    select(&cache(&org.state()), &sql)[0]["department"].clone()
}

/// Changes a contact ten seconds later, and waits until a poll has brought that.
async fn polled(org: &Sandbox, contact: &str, text: &str) {
    org.control("clock", json!({"advance_ms": 10_000})).await;
    org.update("Contact", contact, json!({"Department": text})).await;
    eventually("the contact is polled", async || {
        (department(org, contact) == text).then_some(())
    })
    .await;
}

/// Of several objects the one that stands still is told, whichever it is, before anything is too old.
#[tokio::test(flavor = "multi_thread")]
async fn what_keeps_one_object_from_being_polled_is_told_of_all() {
    let org = Sandbox::start(&["--products", "5", "--stores", "1"]).await;
    let daemon = org.daemon_with(&[FEW_OBJECTS]).await;
    daemon.live().await;
    let status = daemon.status().await.unwrap();
    let objects = status["objects"].as_array().unwrap().iter();
    let polled = objects.filter(|object| object["kept_by"] == "poll");
    let polled: Vec<&str> = polled.map(|object| object["object"].as_str().unwrap()).collect();
    assert!(polled.len() > 1, "{status:#}");
    let cause = async || {
        let ready = daemon.admin_get("/readyz").await;
        let status = daemon.status().await.unwrap();
        [ready["reads"]["cause"].clone(), status["cause"].clone()]
    };
    for object in [polled[0], polled[polled.len() - 1]] {
        org.fault(json!({"path": format!("FROM%20{object}"), "fault": {"status": 503}}))
            .await;
        let words = format!("{object} could not be polled");
        eventually(&words, async || {
            let told = cause().await;
            let is_told = |cause: &Value| cause.as_str().is_some_and(|cause| cause.contains(&words));
            told.iter().all(is_told).then_some(())
        })
        .await;
        org.no_faults().await;
        eventually("nothing stands in the way", async || {
            cause().await.iter().all(Value::is_null).then_some(())
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn polls_bring_a_change_that_becomes_visible_late_and_every_page_of_many() {
    let org = Sandbox::start(&["--products", "5", "--stores", "1"]).await;
    let daemon = org.daemon_with(&[FEW_OBJECTS]).await;
    daemon.live().await;
    let late = org.some("Contact", "ORDER BY Id").await;
    let other = org.some("Contact", "ORDER BY Id DESC").await;
    polled(&org, &late, "in time").await;
    org.control("clock", json!({"advance_ms": 18 * 60_000})).await;
    polled(&org, &other, "after it").await;
    // As after a long transaction: the stamp is 18 minutes older than that of a change that was polled before.
    let update = json!({"attributes": {"type": "Contact"}, "Id": late, "Department": "late"});
    let unstamped = json!({"told": "silently", "stamps": "none", "update": [update]});
    org.control("changes", unstamped).await;
    polled(&org, &other, "after that").await;
    assert_eq!(department(&org, &late), "late");

    // The org answers with pages of 2,000 rows.
    let create: Vec<Value> = (0..2_001)
        .map(|at| json!({"attributes": {"type": "Contact"}, "LastName": format!("Contact {at}")}))
        .collect();
    org.control("changes", json!({ "create": create })).await;
    converge(&org).await;
}
