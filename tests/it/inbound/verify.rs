//! Comparing finds what no event told, down to the field, and has it put right through the one door.

use serde_json::{Value, json};

use super::feed::{assert_told, revision};
use crate::monitoring::metrics;
use crate::monitoring::moving::{Change, SCHEDULE, Seen};
use crate::world::{Sandbox, cache, converge, differences, eventually, select};

async fn verify(org: &Sandbox, arguments: &[&str]) -> (i32, Value) {
    let all: Vec<&str> = ["verify", "--json"].iter().chain(arguments).copied().collect();
    let (code, json, said) = org.verb(&all).await;
    assert!(said.contains("API calls"), "the cost is told beforehand: {said}");
    (
        code,
        serde_json::from_str(&json).unwrap_or_else(|_| panic!("{json}\n{said}")),
    )
}

fn object<'r>(report: &'r Value, name: &str) -> &'r Value {
    let objects = report["objects"].as_array().unwrap();
    objects.iter().find(|object| object["object"] == name).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_no_event_told_is_found_and_put_right() {
    let org = Sandbox::start(&[]).await;
    // More accounts than a page lists: the org is asked for their number and newest stamp first.
    let create: Vec<Value> = (0..2_001)
        .map(|at| json!({"attributes": {"type": "Account"}, "Name": format!("Account {at}")}))
        .collect();
    org.control("changes", json!({ "create": create })).await;
    let daemon = org.daemon().await;
    daemon.live().await;
    converge(&org).await;
    let (code, report) = verify(&org, &[]).await;
    assert_eq!((code, &report["drift"]), (0, &json!(0)), "{report:#}");

    let stale = org.some("Account", "ORDER BY Id").await;
    let extra = org.create("Account", json!({"Name": "Soon gone"})).await;
    let polled = org.some("s_c__Tax__c", "").await;
    converge(&org).await;
    // One account goes and one comes: their number stays. Stamps are whole seconds: the newest becomes another.
    org.control("clock", json!({"advance_ms": 2_000})).await;
    let silent = json!({
        "told": "silently", "hard_delete": [extra, polled],
        "update": [{"attributes": {"type": "Account"}, "Id": stale, "Site": "silently"}],
        "create": [{"attributes": {"type": "Account"}, "Name": "Nobody was told"}],
    });
    let made = org.control("changes", silent).await["created"][0]
        .as_str()
        .unwrap()
        .to_owned();

    let (code, report) = verify(&org, &["--object", "account", "--object", "s_c__Tax__c"]).await;
    assert_eq!(code, 1, "{report:#}");
    let drift = object(&report, "Account")["drift"].as_array().unwrap();
    let kind = |id: &str| drift.iter().find(|row| row["id"] == id).map(|row| &row["kind"]);
    assert_eq!(kind(&extra), Some(&json!("extra")));
    assert_eq!(kind(&made), Some(&json!("missing")));
    let row = drift.iter().find(|row| row["id"] == stale.as_str()).unwrap();
    assert_eq!(row["fields"]["Site"]["org"], "silently", "{row}");
    assert_eq!(drift.len(), 3, "{report:#}");
    assert_eq!(object(&report, "s_c__Tax__c")["drift"][0]["id"], polled.as_str());
    assert!(
        !differences(&org).await.is_empty(),
        "without --repair nothing is written"
    );

    let (code, report) = verify(&org, &["--repair"]).await;
    assert_eq!(
        (code, &report["repairs"]),
        (0, &json!({"asked": 4, "open": 0})),
        "{report:#}"
    );
    assert_eq!(differences(&org).await, [""; 0]);
    assert_eq!(verify(&org, &[]).await.0, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_too_many_and_one_too_few_do_not_hide_each_other() {
    let org = Sandbox::start(&[]).await;
    let daemon = org.daemon().await;
    daemon.live().await;
    let extra = org.create("Account", json!({"Name": "Soon gone"})).await;
    converge(&org).await;
    let silent = json!({
        "told": "silently", "hard_delete": [extra],
        "create": [{"attributes": {"type": "Account"}, "Name": "Nobody was told"}],
    });
    org.control("changes", silent).await;
    // Both sides have so many rows, and this is the newest of both.
    let told = org.some("Account", "ORDER BY Id").await;
    org.update("Account", &told, json!({"Site": "told"})).await;
    eventually("it arrives", async || {
        let arrived = select(&cache(&org.state()), "select id from account where site = 'told'");
        (!arrived.is_empty()).then_some(())
    })
    .await;
    let (code, report) = verify(&org, &["--object", "Account"]).await;
    let drift = object(&report, "Account")["drift"].as_array().unwrap();
    let kinds: Vec<&Value> = drift.iter().map(|row| &row["kind"]).collect();
    assert_eq!((code, kinds.len()), (1, 2), "{report:#}");
    let is_found = |kinds: &[&Value]| {
        ["extra", "missing"]
            .iter()
            .all(|kind| kinds.contains(&&json!(kind)))
    };
    assert!(is_found(&kinds), "{report:#}");
    let (_, report) = verify(&org, &["--object", "Account", "--full"]).await;
    let drift = object(&report, "Account")["drift"].as_array().unwrap();
    let kinds: Vec<&Value> = drift.iter().map(|row| &row["kind"]).collect();
    assert!(kinds.len() == 2 && is_found(&kinds), "{report:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_without_a_stamp_is_found_by_reading_everything() {
    let org = Sandbox::start(&[]).await;
    let mut daemon = org.daemon().await;
    daemon.live().await;
    converge(&org).await;
    daemon.running.kill();
    let id = org.some("Account", "").await;
    let unstamped = json!({
        "told": "silently", "stamps": "none",
        "update": [{"attributes": {"type": "Account"}, "Id": id, "Site": "unstamped"}],
    });
    org.control("changes", unstamped).await;
    assert_eq!(verify(&org, &["--object", "Account"]).await.0, 0);
    let (code, report) = verify(&org, &["--object", "Account", "--full", "--repair"]).await;
    assert_eq!(
        (code, &report["repairs"]),
        (1, &json!({"asked": 1, "open": 1})),
        "no daemon runs: {report:#}"
    );
    let (code, _, said) = org.verb(&["verify", "--object", "Nothing__c"]).await;
    assert_eq!(code, 64, "{said}");
    // It does when it next starts.
    let mut daemon = org.daemon().await;
    converge(&org).await;
    daemon.running.stop();
    let (_, told, _) = org.verb(&["history", "Account", &id]).await;
    assert!(told.contains("unstamped"), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_daemon_compares_by_schedule() {
    let org = Sandbox::start(&[]).await;
    let mut daemon = org.daemon().await;
    daemon.live().await;
    let id = org.create("Account", json!({"Name": "Soon gone"})).await;
    converge(&org).await;
    org.control("changes", json!({"told": "silently", "hard_delete": [id]}))
        .await;
    let before = metrics(&daemon).await;
    daemon.running.kill();
    let connection = rusqlite::Connection::open(org.state().join("cache.db")).unwrap();
    connection
        .execute("update _object set loaded_at = loaded_at - 25 * 3600 * 1000", [])
        .unwrap();
    drop(connection);
    let daemon = org.daemon().await;
    eventually("the hard delete is found", async || {
        let ledger = org.ledger();
        ledger
            .iter()
            .any(|entry| entry["reason"] == "compared: not in the org")
            .then_some(())
    })
    .await;
    converge(&org).await;
    org.settled().await;
    let mut seen = Seen::default();
    let differed = [("storesync_drift_rows{object=\"Account\"}", Change::To(1.0))];
    seen.since(&before, &daemon, "a row that is gone", &differed)
        .await;
    seen.is_all_of(SCHEDULE);
}

/// Two rows are many here: what differs is put right a piece at a time.
const SMALL_PIECES: [(&str, &str); 2] = [
    ("STORESYNC_BOUND_PIECE_ROWS", "2"),
    ("STORESYNC_BOUND_LOOK_MILLIS", "50"),
];

#[tokio::test(flavor = "multi_thread")]
async fn more_rows_than_a_piece_are_put_right_however_many() {
    let org = Sandbox::start(&["--products", "5", "--stores", "1"]).await;
    let mut daemon = org.daemon().await;
    daemon.live().await;
    let create: Vec<Value> = (0..5)
        .map(|at| json!({"attributes": {"type": "Account"}, "Name": format!("Account {at}")}))
        .collect();
    let unseen = async || {
        org.control("changes", json!({"told": "silently", "create": create}))
            .await
    };
    unseen().await;
    for more in [&[][..], &["--full"]] {
        let all = [&["verify", "--json", "--object", "Account", "--repair"][..], more].concat();
        let (code, printed, said) = org.verb_with(&SMALL_PIECES, &all).await;
        let report: Value = serde_json::from_str(&printed).unwrap();
        assert_eq!((code, &report["drift"]), (0, &json!(5)), "{report:#} {said}");
        assert_eq!(report["repairs"], json!({"asked": 5, "open": 0}));
        assert_eq!(object(&report, "Account")["differing"], 5);
        assert_eq!(differences(&org).await, [""; 0]);
        unseen().await;
    }

    daemon.running.kill();
    let connection = rusqlite::Connection::open(org.state().join("cache.db")).unwrap();
    connection
        .execute("update _object set loaded_at = loaded_at - 25 * 3600 * 1000", [])
        .unwrap();
    connection
        .execute("update _object set verified_at = null, drift = null", [])
        .unwrap();
    drop(connection);
    let daemon = org.daemon_with(&SMALL_PIECES).await;
    converge(&org).await;
    eventually("all that differed is counted", async || {
        let metrics = metrics(&daemon).await;
        let line = "storesync_drift_rows{object=\"Account\"} 5";
        metrics.lines().any(|told| told == line).then_some(())
    })
    .await;
}

/// The daemon's own comparison of an object whose removal waits finds the same rows missing.
#[tokio::test(flavor = "multi_thread")]
async fn a_comparison_withdraws_no_removal_whose_rows_are_missing_still() {
    const ROWS: usize = 300;
    let org = Sandbox::start(&["--products", "5", "--stores", "1"]).await;
    let quick = [
        ("STORESYNC__SYNC__PROFILE", "standard"),
        ("STORESYNC_BOUND_LOOK_MILLIS", "50"),
    ];
    let mut daemon = org.daemon_with(&quick).await;
    daemon.live().await;
    let create: Vec<Value> = (0..ROWS)
        .map(|at| json!({"attributes": {"type": "Account"}, "Name": format!("Account {at}")}))
        .collect();
    let made = org.control("changes", json!({ "create": create })).await["created"].clone();
    converge(&org).await;
    org.control("changes", json!({"told": "silently", "hard_delete": made}))
        .await;
    let (code, report) = verify(&org, &["--object", "Account", "--repair"]).await;
    assert_eq!(
        (code, &report["repairs"]["open"]),
        (1, &json!(ROWS)),
        "they wait for a person: {report:#}"
    );
    let waiting = async || {
        let (_, list, _) = org.verb(&["removals", "list", "--json"]).await;
        serde_json::from_str::<Value>(&list).unwrap()
    };
    let told = waiting().await;
    assert_eq!(
        (&told[0]["object"], &told[0]["rows"]),
        (&json!("Account"), &json!(ROWS))
    );
    daemon.running.kill();
    let connection = rusqlite::Connection::open(org.state().join("cache.db")).unwrap();
    let a_day_passes = "update _object set loaded_at = loaded_at - 25 * 3600 * 1000, \
        verified_at = verified_at - 25 * 3600 * 1000";
    connection.execute(a_day_passes, []).unwrap();
    let (compared, before) = ("compared: not in the org", org.ledger().len());
    drop(connection);
    let daemon = org.daemon_with(&quick).await;
    eventually("all of them are found again", async || {
        let ledger = org.ledger();
        let found = ledger[before..]
            .iter()
            .filter(|entry| entry["reason"] == compared);
        (found.count() == ROWS).then_some(())
    })
    .await;
    org.settled().await;
    assert_eq!(waiting().await, told, "as many, and since when they did");
    assert!(!daemon.running.said().contains("is withdrawn"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hard_delete_of_a_thousand_rows_is_found_row_by_row_and_put_right() {
    const ROWS: usize = 1_000;
    let org = Sandbox::start(&["--products", "20", "--stores", "1"]).await;
    let daemon = org.daemon_with(&[("STORESYNC__SYNC__PROFILE", "standard")]).await;
    daemon.live().await;
    let create: Vec<Value> = (0..ROWS)
        .map(|at| json!({"attributes": {"type": "Account"}, "Name": format!("Account {at}")}))
        .collect();
    let made = org.control("changes", json!({"create": create})).await["created"].clone();
    let mut ids: Vec<&str> = made
        .as_array()
        .unwrap()
        .iter()
        .map(|id| id.as_str().unwrap())
        .collect();
    ids.sort_unstable();
    converge(&org).await;
    let before = revision(&org);
    org.control("changes", json!({"told": "silently", "hard_delete": made}))
        .await;

    let (code, report) = verify(&org, &["--object", "Account"]).await;
    assert_eq!((code, &report["drift"]), (1, &json!(ROWS)));
    let drift = object(&report, "Account")["drift"].as_array().unwrap();
    assert!(drift.iter().all(|row| row["kind"] == "extra"));
    let mut found: Vec<&str> = drift.iter().map(|row| row["id"].as_str().unwrap()).collect();
    found.sort_unstable();
    assert_eq!(found, ids, "each of them, and no other");

    let (code, report) = verify(&org, &["--object", "Account", "--repair"]).await;
    assert_eq!(
        (code, &report["repairs"]),
        (1, &json!({"asked": ROWS, "open": ROWS})),
        "so many rows that the org does not know wait for a person"
    );
    let (_, list, _) = org.verb(&["removals", "list", "--json"]).await;
    let list: Value = serde_json::from_str(&list).unwrap();
    assert_eq!(
        (&list[0]["object"], &list[0]["rows"]),
        (&json!("Account"), &json!(ROWS))
    );
    let left = select(&cache(&org.state()), "select count(*) as n from account");
    assert_eq!(left[0]["n"], list[0]["rows_of"], "none has left");
    let (code, ..) = org
        .verb(&["removals", "release", "Account", "--rows", "999"])
        .await;
    assert_eq!(code, 1, "fewer than those that wait");
    let (code, ..) = org
        .verb(&["removals", "release", "Account", "--rows", "1000"])
        .await;
    assert_eq!(code, 0);
    converge(&org).await;
    org.settled().await;
    let (_, list, _) = org.verb(&["removals", "list"]).await;
    assert_eq!(list, "no removal waits\n");
    let expected: Vec<(&str, &[&str])> = ids.iter().map(|id| (*id, &["deleted"][..])).collect();
    assert_told(&org, "Account", before, &expected);
}
