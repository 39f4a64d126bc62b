//! The daemon away, the place in the stream forgotten, the session over: nothing is missing, and nothing is told twice.

use serde_json::{Value, json};

use super::feed::{assert_told, reloads, revision, told};
use crate::world::{Row, Sandbox, converge, eventually};

const HOUR_MILLIS: u64 = 3_600_000;

/// Few objects, so that loading and comparing them is quick.
const FEW_OBJECTS: (&str, &str) = ("STORESYNC__SYNC__PROFILE", "standard");

fn found<'l>(ledger: &'l [Row], kind: &str, object: &str) -> Vec<&'l str> {
    let entries = ledger
        .iter()
        .filter(|entry| entry["kind"] == kind && entry["object"] == object);
    entries.map(|entry| entry["found"].as_str().unwrap()).collect()
}

async fn ids(org: &Sandbox, object: &str) -> Vec<String> {
    let rows = org.query(&format!("SELECT Id FROM {object} ORDER BY Id")).await;
    rows.iter()
        .map(|row| row["Id"].as_str().unwrap().to_owned())
        .collect()
}

/// One transaction that gives each of these records a new text.
async fn update_all(org: &Sandbox, object: &str, field: &str, ids: &[String], text: &str) {
    let update: Vec<Value> = ids
        .iter()
        .enumerate()
        .map(|(at, id)| json!({"attributes": {"type": object}, "Id": id, field: format!("{text} {at}")}))
        .collect();
    org.control("changes", json!({"update": update})).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_position_that_the_org_will_soon_forget_is_warned_of() {
    let org = Sandbox::start(&["--products", "5", "--stores", "1"]).await;
    let mut daemon = org.daemon_with(&[FEW_OBJECTS]).await;
    daemon.live().await;
    converge(&org).await;
    daemon.running.kill();
    // Of the 72 hours that the org keeps events for, 60 pass, and what this takes.
    let sixty = json!({"advance_ms": 60 * HOUR_MILLIS});
    org.control("clock", sixty).await;
    let daemon = org.daemon_with(&[FEW_OBJECTS]).await;
    eventually("the hours that are left are told", async || {
        let said = daemon.running.said();
        said.contains("can be resumed for 11 more hours").then_some(())
    })
    .await;
    // What is heard from now on is a position that is kept for longer.
    daemon.live().await;
    converge(&org).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn after_eighty_hours_down_everything_is_here_and_told_once() {
    let org = Sandbox::start(&["--stores", "1"]).await;
    let mut daemon = org.daemon_with(&[FEW_OBJECTS]).await;
    daemon.live().await;
    let products = ids(&org, "Product2").await;
    let purged = org.create("Account", json!({"Name": "Gone for good"})).await;
    converge(&org).await;
    daemon.running.kill();
    let before = revision(&org);

    // Changes of each day, the first of which the org has long forgotten by the end.
    let advance = async |hours: u64| {
        org.control("clock", json!({"advance_ms": hours * HOUR_MILLIS}))
            .await;
    };
    let made = org
        .create("Account", json!({"Name": "Made in the first hour"}))
        .await;
    org.update("Product2", &products[0], json!({"Description": "first day"}))
        .await;
    org.delete("Product2", &products[1]).await;
    org.control("changes", json!({"told": "silently", "hard_delete": [purged]}))
        .await;
    advance(40).await;
    org.update("Product2", &products[0], json!({"Description": "second day"}))
        .await;
    org.update("Product2", &products[2], json!({"Description": "second day"}))
        .await;
    advance(39).await;
    org.update("Account", &made, json!({"Site": "the last hour"}))
        .await;
    advance(1).await;

    let _daemon = org.daemon_with(&[FEW_OBJECTS]).await;
    converge(&org).await;
    let ledger = org.settled().await;
    assert_eq!(
        found(&ledger, "catch_up", "Product2"),
        ["3 rows read again, 3 differed"]
    );
    let expected: [(&str, &[&str]); 3] = [
        (&products[0], &["updated"]),
        (&products[1], &["deleted"]),
        (&products[2], &["updated"]),
    ];
    assert_told(&org, "Product2", before, &expected);
    assert_told(
        &org,
        "Account",
        before,
        &[(&made, &["created"]), (&purged, &["deleted"])],
    );
    assert_eq!(reloads(&org, "Product2", before), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn replay_ids_that_are_invalidated_while_five_thousand_rows_change_leave_no_hole() {
    let org = Sandbox::start(&["--products", "5000", "--stores", "1"]).await;
    let daemon = org.daemon_with(&[FEW_OBJECTS]).await;
    daemon.live().await;
    let mut products = ids(&org, "Product2").await;
    products.truncate(5_000);
    assert_eq!(products.len(), 5_000);
    org.update("Product2", &products[0], json!({"Family": "streamed"}))
        .await;
    converge(&org).await;
    let before = revision(&org);
    for (number, batch) in products.chunks(500).enumerate() {
        update_all(
            &org,
            "Product2",
            "Description",
            batch,
            &format!("transaction {number}"),
        )
        .await;
        if number == 5 {
            org.control("pubsub/migrate", json!({})).await;
        }
    }
    converge(&org).await;
    let ledger = org.settled().await;
    assert_eq!(found(&ledger, "catch_up", "Product2").len(), 1, "{ledger:?}");
    assert_eq!(reloads(&org, "Product2", before), 0);
    let expected: Vec<(&str, &[&str])> = products
        .iter()
        .map(|id| (id.as_str(), &["updated"][..]))
        .collect();
    assert_told(&org, "Product2", before, &expected);
    let (code, report, said) = org.verb(&["verify", "--full", "--object", "Product2"]).await;
    assert_eq!(code, 0, "{report}{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_channel_that_told_its_members_late_is_caught_up_for_all_of_them() {
    let org = Sandbox::start(&["--products", "5", "--stores", "1"]).await;
    let members = json!([{"object": "Account"}]);
    org.control(
        "pubsub/channels",
        json!({"name": "Shop__chn", "members": members}),
    )
    .await;
    org.fault(json!({"path": "/tooling/query", "times": 1, "fault": {"status": 403}}))
        .await;
    let daemon = org
        .daemon_with(&[FEW_OBJECTS, ("STORESYNC__SYNC__CHANNELS", "/data/Shop__chn")])
        .await;
    daemon.live().await;
    assert!(
        daemon
            .running
            .said()
            .contains("does not tell what /data/Shop__chn carries"),
        "{}",
        daemon.running.said()
    );
    // A schema that is new makes the daemon ask again.
    org.control(
        "schema",
        json!({"add": {"object": "Account", "name": "Late__c", "type": "Text 20"}}),
    )
    .await;
    let known = org.create("Account", json!({"Name": "Before"})).await;
    eventually("accounts come by change events", async || {
        let told = daemon.running.said();
        told.contains("Account is kept current by change events")
            .then_some(())
    })
    .await;
    converge(&org).await;
    org.settled().await;

    // The stream ends, its position is forgotten, and meanwhile there are changes.
    org.fault(json!({"rpc": "Subscribe", "on": "call", "fault": "unavailable"}))
        .await;
    org.fault(json!({"rpc": "Subscribe", "on": "now", "fault": "reset"}))
        .await;
    org.create("Account", json!({"Name": "Meanwhile"})).await;
    org.update("Account", &known, json!({"Site": "meanwhile"})).await;
    org.control("pubsub/migrate", json!({})).await;
    let url = format!("{}/sandbox/faults", org.env["SANDBOX_HTTP"]);
    org.http.delete(url).send().await.unwrap();
    eventually("accounts are caught up for", async || {
        let entry = |entry: &Row| entry["kind"] == "catch_up" && entry["object"] == "Account";
        org.ledger().iter().any(entry).then_some(())
    })
    .await;
    converge(&org).await;
    let ledger = org.settled().await;
    assert_eq!(found(&ledger, "catch_up", "Account").len(), 1, "{ledger:?}");
    assert!(daemon.running.said().contains("no longer knows the position"));
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_that_expire_mid_stream_under_load_cost_a_login_and_no_event() {
    const ROUNDS: usize = 30;
    let org = Sandbox::start(&["--products", "50", "--stores", "1"]).await;
    // Of the tokens that the daemon gets; this test's own was issued before.
    org.control("sessions", json!({"life_ms": 700})).await;
    // Nothing is polled, so that nothing but the stream itself renews the session.
    let unpolled = ("STORESYNC__SYNC__POLL_SECONDS", "3600");
    let daemon = org.daemon_with(&[FEW_OBJECTS, unpolled]).await;
    daemon.live().await;
    converge(&org).await;
    let products = ids(&org, "Product2").await;
    let (before, logins) = (revision(&org), logins(&org).await);
    for round in 0..ROUNDS {
        update_all(
            &org,
            "Product2",
            "Description",
            &products,
            &format!("round {round}"),
        )
        .await;
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    converge(&org).await;
    let renewed = self::logins(&org).await - logins;
    assert!(renewed >= 3, "{renewed} logins");
    assert_eq!(org.settled().await, [], "nothing had to be repaired");
    for (id, kinds) in told(&org, "Product2", before) {
        assert_eq!(kinds, vec!["updated"; ROUNDS], "{id}");
    }
}

async fn logins(org: &Sandbox) -> u64 {
    let url = format!("{}/sandbox/stats", org.env["SANDBOX_HTTP"]);
    let stats: Value = org.http.get(url).send().await.unwrap().json().await.unwrap();
    stats["paths"]["services/oauth2"].as_u64().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_falls_silent_is_left_and_nothing_said_meanwhile_is_lost() {
    let org = Sandbox::start(&["--products", "20", "--stores", "1"]).await;
    let daemon = org.daemon_with(&[FEW_OBJECTS]).await;
    daemon.live().await;
    converge(&org).await;
    let products = ids(&org, "Product2").await;
    let before = revision(&org);
    org.fault(json!({"rpc": "Subscribe", "on": "now", "times": 1, "fault": "silence"}))
        .await;
    for round in 0..5 {
        update_all(
            &org,
            "Product2",
            "Description",
            &products,
            &format!("unheard {round}"),
        )
        .await;
    }
    eventually("the silence is noticed", async || {
        daemon
            .running
            .said()
            .contains("nothing was heard on")
            .then_some(())
    })
    .await;
    converge(&org).await;
    assert_eq!(org.settled().await, [], "nothing had to be repaired");
    let told = told(&org, "Product2", before);
    assert_eq!(told.len(), products.len());
    for (id, kinds) in told {
        assert_eq!(kinds, ["updated"; 5], "{id}");
    }
}
