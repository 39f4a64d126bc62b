//! What could not be taken from an event is in the ledger, until it has been put right.

use serde_json::{Value, json};

use crate::monitoring::{metrics, value};
use crate::world::{Row, Sandbox, cache, converge, eventually, select};

fn entries<'l>(ledger: &'l [Row], kind: &str) -> Vec<&'l Row> {
    ledger.iter().filter(|entry| entry["kind"] == kind).collect()
}

/// When each object was last read as a whole.
fn loaded(org: &Sandbox) -> Vec<Row> {
    select(
        &cache(&org.state()),
        "select object, loaded_at from _object order by object",
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_position_that_the_org_forgot_is_repaired_and_not_jumped_over() {
    let org = Sandbox::start(&[]).await;
    let mut daemon = org.daemon().await;
    daemon.live().await;
    let first = org.some("Account", "").await;
    org.update("Account", &first, json!({"Site": "streamed"})).await;
    converge(&org).await;
    let before = loaded(&org);
    daemon.running.kill();

    let (updated, deleted) = (
        org.some("Product2", "ORDER BY Id").await,
        org.some("Product2", "ORDER BY Id DESC").await,
    );
    let purged = org.create("Account", json!({"Name": "Short-lived"})).await;
    org.update(
        "Product2",
        &updated,
        json!({"Description": "while nobody listened"}),
    )
    .await;
    org.delete("Product2", &deleted).await;
    let made = org.create("Account", json!({"Name": "Made meanwhile"})).await;
    let silent = json!({"told": "silently", "hard_delete": [purged, first]});
    org.control("changes", silent).await;
    org.control("pubsub/migrate", json!({})).await;
    org.update("Account", &made, json!({"Site": "after the move"}))
        .await;

    let daemon = org.daemon().await;
    converge(&org).await;
    let ledger = org.settled().await;
    let caught_up = entries(&ledger, "catch_up");
    let product = caught_up
        .iter()
        .find(|entry| entry["object"] == "Product2")
        .unwrap();
    assert_eq!(product["found"], "2 rows read again, 2 differed", "{ledger:?}");
    let compared = entries(&ledger, "verify");
    let account = compared
        .iter()
        .find(|entry| entry["object"] == "Account")
        .unwrap();
    let found = account["found"].as_str().unwrap();
    assert!(found.contains("1 differ"), "the hard delete is found: {found}");
    assert_eq!(loaded(&org), before, "no object was read as a whole");

    // It streams on from the tip.
    org.update("Product2", &updated, json!({"Description": "streamed again"}))
        .await;
    converge(&org).await;
    assert_eq!(entries(&org.settled().await, "catch_up").len(), caught_up.len());
    drop(daemon);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_catch_up_brings_what_a_long_transaction_wrote_before_the_newest_event() {
    let org = Sandbox::start(&["--products", "5", "--stores", "1"]).await;
    let mut daemon = org.daemon().await;
    daemon.live().await;
    let ids = org.query("SELECT Id FROM Account ORDER BY Id LIMIT 2").await;
    let [late, newest] = [0, 1].map(|at| ids[at]["Id"].as_str().unwrap().to_owned());
    org.update("Account", &late, json!({"Site": "streamed"})).await;
    org.control("clock", json!({"advance_ms": 10 * 60_000})).await;
    org.update("Account", &newest, json!({"Site": "the newest event"}))
        .await;
    converge(&org).await;
    daemon.running.kill();
    // Written with the stamp of ten minutes before, and committed only now.
    let update = json!({"attributes": {"type": "Account"}, "Id": late, "Site": "written before"});
    let unstamped = json!({"told": "silently", "stamps": "none", "update": [update]});
    org.control("changes", unstamped).await;
    org.control("pubsub/migrate", json!({})).await;
    let _daemon = org.daemon().await;
    converge(&org).await;
    let ledger = org.settled().await;
    let account = entries(&ledger, "catch_up")
        .into_iter()
        .find(|entry| entry["object"] == "Account")
        .unwrap();
    assert_eq!(account["found"], "2 rows read again, 1 differed", "{ledger:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_position_older_than_what_the_org_keeps_is_repaired_too() {
    let org = Sandbox::start(&[]).await;
    let mut daemon = org.daemon().await;
    daemon.live().await;
    let id = org.some("Account", "").await;
    org.update("Account", &id, json!({"Site": "streamed"})).await;
    converge(&org).await;
    daemon.running.kill();
    org.update("Account", &id, json!({"Site": "soon too old"})).await;
    org.control("clock", json!({"advance_ms": 73 * 3_600_000})).await;
    org.update("Account", &id, json!({"Industry": "Retail"})).await;
    let _daemon = org.daemon().await;
    converge(&org).await;
    let ledger = org.settled().await;
    assert!(!entries(&ledger, "catch_up").is_empty(), "{ledger:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_event_does_not_tell_is_read_again_and_recorded() {
    let org = Sandbox::start(&[]).await;
    let daemon = org.daemon().await;
    daemon.live().await;
    let account = org.some("Account", "").await;
    let product = org.some("Product2", "").await;
    let update = |object: &str, id: &str, fields: Value| {
        let mut record = json!({"attributes": {"type": object}, "Id": id});
        record
            .as_object_mut()
            .unwrap()
            .extend(fields.as_object().unwrap().clone());
        record
    };
    let gaps = json!({
        "told": "gaps", "update": [update("Account", &account, json!({"Site": "by a gap"}))],
        "create": [{"attributes": {"type": "Account"}, "Name": "By a gap too"}],
    });
    org.control("changes", gaps).await;
    converge(&org).await;
    let overflow = json!({
        "told": "overflow", "update": [update("Product2", &product, json!({"Description": "by an overflow"}))],
    });
    org.control("changes", overflow).await;
    converge(&org).await;
    let wildcard = json!({"told": "wildcard", "announce": ["Account"]});
    org.control("changes", wildcard).await;
    eventually("the wildcard is in the ledger", async || {
        let ledger = org.ledger();
        ledger
            .iter()
            .any(|entry| entry["reason"] == "wildcard")
            .then_some(())
    })
    .await;
    org.fault(json!({"rpc": "Subscribe", "on": "events", "times": 1, "fault": "truncate_payload"}))
        .await;
    org.update("Product2", &product, json!({"Description": "cut in half"}))
        .await;
    converge(&org).await;

    let ledger = org.settled().await;
    let told: Vec<String> = ledger
        .iter()
        .map(|entry| format!("{} {} {}", entry["kind"], entry["object"], entry["reason"]).replace('"', ""))
        .collect();
    for expected in [
        "record Account gap: updated",
        "record Account gap: created",
        "reload Product2 overflow",
        "reload Account wildcard",
        "parked Product2 undecodable",
        "reload Product2 an event could not be decoded",
    ] {
        assert!(
            told.iter().any(|entry| entry.starts_with(expected)),
            "{expected} is not in {told:#?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_status_says_how_everything_stands() {
    let org = Sandbox::start(&[]).await;
    let (code, _, said) = org.verb(&["status"]).await;
    assert_eq!(code, 69, "{said}");
    assert!(said.contains("no cache"), "{said}");
    let mut daemon = org.daemon().await;
    daemon.live().await;
    let (code, text, _) = org.verb(&["status"]).await;
    assert_eq!(code, 0);
    for expected in [
        "daemon running",
        "/data/ChangeEvents",
        "h left to resume",
        "Product2",
        "open repairs: none",
    ] {
        assert!(text.contains(expected), "{expected:?} is not in\n{text}");
    }
    let (_, json, _) = org.verb(&["status", "--json"]).await;
    let status: Value = serde_json::from_str(&json).unwrap();
    let object = |name: &str| {
        let objects = status["objects"].as_array().unwrap();
        objects
            .iter()
            .find(|object| object["object"] == name)
            .unwrap()
            .clone()
    };
    assert_eq!(object("Product2")["kept_by"], "stream");
    assert_eq!(object("Contact")["kept_by"], "poll");
    assert_eq!(
        object("Product2")["rows"].as_u64(),
        Some(org.count("Product2").await)
    );
    assert!(object("Contact")["lag_seconds"].as_i64().unwrap() < 60);
    // The org keeps events for 72 hours, and this position is seconds old.
    let left_seconds = status["channels"][0]["replay_window_left_seconds"]
        .as_i64()
        .unwrap();
    assert!(
        (72 * 3_600 - 120..=72 * 3_600).contains(&left_seconds),
        "{left_seconds}"
    );
    daemon.running.kill();
    let (_, json, _) = org.verb(&["status", "--json"]).await;
    assert_eq!(serde_json::from_str::<Value>(&json).unwrap()["running"], false);

    // It is started again seven minutes later, and the org's stream stays away.
    org.fault(json!({"rpc": "Subscribe", "on": "call", "fault": "unavailable"}))
        .await;
    let daemon = org.daemon_with(&[("STORESYNC_CLOCK_AHEAD_SECONDS", "420")]).await;
    eventually("the cache is told to be stale", async || {
        (daemon.status().await?["state"] == "stale").then_some(())
    })
    .await;
    let answer = reqwest::get(format!("{}/v1/objects/product2", daemon.api))
        .await
        .unwrap();
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.headers()["storesync-state"], "stale");
    let lag = answer.headers()["storesync-lag-seconds"].to_str().unwrap();
    assert!(lag.parse::<u64>().unwrap() >= 420, "{lag}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_parked_event_can_be_looked_at() {
    let org = Sandbox::start(&[]).await;
    let mut daemon = org.daemon().await;
    daemon.live().await;
    let (_, text, _) = org.verb(&["events", "parked"]).await;
    assert_eq!(text, "no event is parked\n");
    // While its object cannot be read again, it stays.
    org.fault(json!({"path": "/jobs/query", "fault": {"status": 503}}))
        .await;
    org.fault(json!({"rpc": "Subscribe", "on": "events", "times": 1, "fault": "truncate_payload"}))
        .await;
    let product = org.some("Product2", "").await;
    org.update("Product2", &product, json!({"Description": "cut in half"}))
        .await;
    let parked = eventually("the event is listed", async || {
        let (_, json, _) = org.verb(&["events", "parked", "--json"]).await;
        let parked: Value = serde_json::from_str(&json).ok()?;
        (!parked.as_array()?.is_empty()).then_some(parked)
    })
    .await;
    assert_eq!(parked[0]["object"], "Product2");
    let payload = parked[0]["events"][0]["payload"].as_str().unwrap().to_owned();
    assert!(payload.len() > 40, "its bytes are kept: {parked}");
    let told = metrics(&daemon).await;
    for (sample, count) in [
        ("storesync_events_parked_total", 1.0),
        ("storesync_gap_open{kind=\"parked\"}", 1.0),
    ] {
        assert_eq!(value(&told, sample), Some(count), "{sample} in\n{told}");
    }
    assert_eq!(parked[0]["found"], Value::Null);
    // Once its object has been read again, it is still to be found, with what became of it.
    org.no_faults().await;
    let parked = eventually("the event is closed", async || {
        let (_, json, _) = org.verb(&["events", "parked", "--json"]).await;
        let parked: Value = serde_json::from_str(&json).ok()?;
        (!parked[0]["found"].is_null()).then_some(parked)
    })
    .await;
    assert!(parked[0]["events"][0]["payload"] == payload, "{parked}");
    daemon.running.kill();
}

#[tokio::test(flavor = "multi_thread")]
async fn records_are_read_again_where_composites_are_refused_and_why_not_is_told() {
    let org = Sandbox::start(&["--products", "5", "--stores", "1"]).await;
    let daemon = org.daemon().await;
    daemon.live().await;
    let product = org.some("Product2", "").await;
    let gap = async |text: &str| {
        let update = json!([{"attributes": {"type": "Product2"}, "Id": product, "Description": text}]);
        org.control("changes", json!({"told": "gaps", "update": update}))
            .await;
    };
    let page = json!({"path": "/composite", "fault": {"status": 403, "html": true}});
    let refused = json!({"path": "/composite", "fault": {"status": 403, "code": "INSUFFICIENT_ACCESS"}});
    for (number, fault) in [page, refused.clone()].into_iter().enumerate() {
        org.fault(fault).await;
        gap(&format!("{number}")).await;
        converge(&org).await;
        org.no_faults().await;
    }

    let cause = async |is_told: bool| {
        eventually(&format!("why is told: {is_told}"), async || {
            let status = daemon.status().await?;
            let mut objects = status["objects"].as_array()?.iter();
            let product = objects.find(|object| object["object"] == "Product2")?;
            let words = "records of Product2 could not be read again";
            let cause = product["cause"].as_str().unwrap_or_default();
            (cause.contains(words) == is_told).then_some(())
        })
        .await;
    };
    org.fault(refused).await;
    org.fault(json!({"path": "/query", "fault": {"status": 403, "code": "INSUFFICIENT_ACCESS"}}))
        .await;
    gap("by no way").await;
    cause(true).await;
    org.no_faults().await;
    converge(&org).await;
    cause(false).await;
}
