//! Whose org it is, where it answers, and what it shows: all of it may change under a running daemon.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::Router;
use axum::body::Bytes;
use axum::routing::post;
use serde_json::{Value, json};

use super::feed::{reloads, revision};
use crate::world::{Sandbox, cache, converge, eventually, select};

/// Few objects, so that loading and comparing them is quick.
const FEW_OBJECTS: (&str, &str) = ("STORESYNC__SYNC__PROFILE", "standard");

const HOUR_MILLIS: u64 = 3_600_000;

/// A login that, once switched, is for another org: its address, and the switch.
async fn login_that_turns(org: &Sandbox) -> (String, Arc<AtomicBool>) {
    let turned = Arc::new(AtomicBool::new(false));
    let (http, switch) = (org.http.clone(), Arc::clone(&turned));
    let token = format!("{}/services/oauth2/token", org.env["SANDBOX_HTTP"]);
    let id = org.env["SANDBOX_ORG_ID"].clone();
    let answer = async move |body: Bytes| {
        let request = http
            .post(token)
            .header("content-type", "application/x-www-form-urlencoded")
            .body(body);
        let text = request.send().await.unwrap().text().await.unwrap();
        match switch.load(Ordering::SeqCst) {
            true => text.replace(&id, "00D000000000009EAA"),
            false => text,
        }
    };
    let app = Router::new().route("/services/oauth2/token", post(answer));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, app).await });
    (url, turned)
}

async fn status(org: &Sandbox) -> Value {
    let (_, json, _) = org.verb(&["status", "--json"]).await;
    serde_json::from_str(&json).unwrap()
}

fn sites(org: &Sandbox) -> Vec<Value> {
    let rows = select(&cache(&org.state()), "select site from account order by id");
    rows.into_iter().map(|mut row| row["site"].take()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_to_another_org_is_refused_at_the_start_and_nothing_is_overwritten() {
    let org = Sandbox::start(&["--stores", "1"]).await;
    let (login, turned) = login_that_turns(&org).await;
    let variables = [FEW_OBJECTS, ("STORESYNC__ORG__LOGIN_URL", login.as_str())];
    let mut daemon = org.daemon_with(&variables).await;
    daemon.live().await;
    converge(&org).await;
    daemon.running.stop();
    let before = sites(&org);
    let id = org.some("Account", "").await;
    org.update("Account", &id, json!({"Site": "of the other org"}))
        .await;
    turned.store(true, Ordering::SeqCst);
    let (code, said) = org.refused_daemon(&variables);
    assert_eq!(code, Some(78), "{said}");
    assert!(said.contains("set another [state] dir"), "{said}");
    assert_eq!(sites(&org), before);
    turned.store(false, Ordering::SeqCst);
    let _daemon = org.daemon_with(&variables).await;
    converge(&org).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_that_turns_to_another_org_mid_run_stops_the_stream_and_is_told() {
    let org = Sandbox::start(&["--stores", "1"]).await;
    let (login, turned) = login_that_turns(&org).await;
    let variables = [FEW_OBJECTS, ("STORESYNC__ORG__LOGIN_URL", login.as_str())];
    let mut daemon = org.daemon_with(&variables).await;
    daemon.live().await;
    converge(&org).await;
    let before = sites(&org);
    turned.store(true, Ordering::SeqCst);
    let url = format!("{}/sandbox/sessions", org.env["SANDBOX_HTTP"]);
    org.http.delete(url).send().await.unwrap();
    let id = org.some("Account", "").await;
    org.update("Account", &id, json!({"Site": "of the other org"}))
        .await;
    let problem = eventually("the status tells of it", async || {
        let status = status(&org).await;
        status["channels"][0]["problem"].as_str().map(str::to_owned)
    })
    .await;
    assert!(problem.contains("00D000000000009EAA"), "{problem}");
    assert_eq!(sites(&org), before, "nothing of it is taken");
    turned.store(false, Ordering::SeqCst);
    daemon.running.stop();
    let _daemon = org.daemon_with(&variables).await;
    converge(&org).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_org_that_moves_to_another_address_is_followed_and_compared() {
    let org = Sandbox::start(&["--stores", "1"]).await;
    let mut daemon = org.daemon_with(&[FEW_OBJECTS]).await;
    daemon.live().await;
    converge(&org).await;
    let id = org.some("Account", "").await;
    let compared = || {
        let ledger = org.ledger();
        let moved = |entry: &&crate::world::Row| entry["reason"] == "the org answers from another address";
        ledger.iter().filter(moved).count()
    };
    let first = status(&org).await["instance_url"].clone();
    // While it runs, and while it does not.
    for restart in [false, true] {
        let (before, seen) = (compared(), status(&org).await["instance_url"].clone());
        if restart {
            daemon.running.kill();
        }
        org.fault(json!({"path": "/query", "times": 1, "fault": "move_instance"}))
            .await;
        // The test's own query is as good as the daemon's.
        org.some("Account", "").await;
        org.update(
            "Account",
            &id,
            json!({"Site": format!("moved, restart {restart}")}),
        )
        .await;
        if restart {
            daemon = org.daemon_with(&[FEW_OBJECTS]).await;
        }
        eventually("every object is to be compared", async || {
            (compared() >= before + 12).then_some(())
        })
        .await;
        converge(&org).await;
        org.settled().await;
        assert_ne!(status(&org).await["instance_url"], seen);
    }
    assert_eq!(status(&org).await["instance_url"], first, "it has moved back");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_that_was_hidden_at_the_start_is_mirrored_once_it_is_shown() {
    let org = Sandbox::start(&["--stores", "1"]).await;
    let hidden =
        json!({"path": "/sobjects/Product2/describe", "fault": {"status": 404, "code": "NOT_FOUND"}});
    org.fault(hidden).await;
    let daemon = org.daemon_with(&[FEW_OBJECTS]).await;
    daemon.live().await;
    let has_table = || {
        let sql = "select name from sqlite_schema where name = 'product2'";
        !select(&cache(&org.state()), sql).is_empty()
    };
    assert!(!has_table());
    // Its events come all the same, and change nothing.
    let product = org.some("Product2", "").await;
    org.update("Product2", &product, json!({"Description": "not shown"}))
        .await;
    converge(&org).await;
    let url = format!("{}/sandbox/faults", org.env["SANDBOX_HTTP"]);
    org.http.delete(url).send().await.unwrap();
    // A new schema has the daemon look again at what the org shows.
    let account = org.some("Account", "").await;
    org.control(
        "schema",
        json!({"add": {"object": "Account", "name": "Tier__c", "type": "Text 20"}}),
    )
    .await;
    org.update("Account", &account, json!({"Tier__c": "gold"})).await;
    eventually("the object is loaded", async || {
        let objects = status(&org).await["objects"].clone();
        let objects = objects.as_array().unwrap();
        let live = |object: &&Value| object["object"] == "Product2" && object["state"] == "live";
        objects.iter().find(live).map(drop)
    })
    .await;
    let before = revision(&org);
    org.update("Product2", &product, json!({"Description": "shown"}))
        .await;
    converge(&org).await;
    let entry = select(
        &cache(&org.state()),
        &format!("select kind from _change where record_id = '{product}' and rev > {before}"),
    );
    assert_eq!(entry.len(), 1, "its events are taken from the stream");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_is_read_again_as_a_whole_by_its_schedule() {
    let org = Sandbox::start(&["--stores", "1"]).await;
    let rules = "\n[sync.object.Account]\nreread_hours = 2\n";
    let config = std::fs::read_to_string(org.config()).unwrap();
    std::fs::write(org.config(), config + rules).unwrap();
    let mut daemon = org.daemon_with(&[FEW_OBJECTS]).await;
    daemon.live().await;
    converge(&org).await;
    let before = revision(&org);
    let id = org.some("Account", "").await;
    let unseen = json!({"told": "silently", "stamps": "none",
        "update": [{"attributes": {"type": "Account"}, "Id": id, "Site": "without a trace"}]});
    org.control("changes", unseen).await;
    // In the second hour the share of the allowance is spent.
    for (hour, share_percent, expected) in [(1, "50", 0), (2, "0", 0), (3, "50", 1)] {
        daemon.running.kill();
        let connection = rusqlite::Connection::open(org.state().join("cache.db")).unwrap();
        let an_hour_passes = format!("update _object set loaded_at = loaded_at - {HOUR_MILLIS}");
        connection.execute(&an_hour_passes, []).unwrap();
        drop(connection);
        let share = ("STORESYNC__SYNC__API_SHARE_PERCENT", share_percent);
        daemon = org.daemon_with(&[FEW_OBJECTS, share]).await;
        if expected == 0 {
            // Another object is read again after a look for what is due.
            let overflow = json!({"told": "overflow", "announce": ["Product2"]});
            org.control("changes", overflow).await;
            eventually("another object is read again", async || {
                (reloads(&org, "Product2", before) == hour).then_some(())
            })
            .await;
            let ledger = org.ledger();
            assert!(
                !ledger.iter().any(|entry| entry["reason"] == "by schedule"),
                "hour {hour}: {ledger:?}"
            );
            continue;
        }
        eventually("it is read again", async || {
            (reloads(&org, "Account", before) == expected).then_some(())
        })
        .await;
    }
    converge(&org).await;
    let ledger = org.settled().await;
    assert!(
        ledger
            .iter()
            .any(|entry| entry["object"] == "Account" && entry["reason"] == "by schedule"),
        "{ledger:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_price_book_entry_follows_the_name_of_its_product() {
    let org = Sandbox::start(&["--stores", "1", "--products", "20"]).await;
    let daemon = org.daemon_with(&[FEW_OBJECTS]).await;
    daemon.live().await;
    converge(&org).await;
    let entry = org
        .query("SELECT Id, Product2Id FROM PricebookEntry ORDER BY Id LIMIT 1")
        .await
        .remove(0);
    let product = entry["Product2Id"].as_str().unwrap();
    let shown = |org: &Sandbox| {
        let sql = format!("select name, productcode from pricebookentry where product2id = '{product}'");
        select(&cache(&org.state()), &sql)
    };
    // By its event.
    org.update(
        "Product2",
        product,
        json!({"Name": "Renamed", "ProductCode": "R-1"}),
    )
    .await;
    eventually("its entries show it", async || {
        let shown = shown(&org);
        shown
            .iter()
            .all(|row| row["name"] == "Renamed" && row["productcode"] == "R-1")
            .then_some(())
    })
    .await;
    // A code that changes alone is shown too.
    org.update("Product2", product, json!({"ProductCode": "R-2"}))
        .await;
    eventually("its entries show the code", async || {
        shown(&org)
            .iter()
            .all(|row| row["productcode"] == "R-2")
            .then_some(())
    })
    .await;
    // And where the event does not say what changed.
    let gap = json!({"told": "gaps",
        "update": [{"attributes": {"type": "Product2"}, "Id": product, "Name": "Renamed in a gap"}]});
    org.control("changes", gap).await;
    eventually("its entries show it again", async || {
        let shown = shown(&org);
        shown
            .iter()
            .all(|row| row["name"] == "Renamed in a gap")
            .then_some(())
    })
    .await;
    converge(&org).await;
    org.settled().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_account_follows_its_contact() {
    let org = Sandbox::start(&["--stores", "1", "--products", "5"]).await;
    org.control("schema", json!({"person_accounts": {}})).await;
    let person = org
        .create(
            "Account",
            json!({"LastName": "Lee", "FirstName": "Ana", "PersonTitle": "Ms"}),
        )
        .await;
    let company = org.create("Account", json!({"Name": "Acme"})).await;
    let daemon = org.daemon_with(&[FEW_OBJECTS]).await;
    daemon.live().await;
    converge(&org).await;
    let contact = org
        .some("Contact", &format!("WHERE AccountId = '{person}'"))
        .await;
    let other = org
        .create("Contact", json!({"LastName": "Kay", "AccountId": company}))
        .await;
    // The org shows the contact's title at both, and says so of the contact alone.
    let unsaid = json!({"told": "silently", "stamps": "none",
        "update": [{"attributes": {"type": "Account"}, "Id": person, "PersonTitle": "Doctor"}]});
    org.control("changes", unsaid).await;
    let said =
        [&contact, &other].map(|id| json!({"attributes": {"type": "Contact"}, "Id": id, "Title": "Doctor"}));
    org.control("changes", json!({"update": said})).await;
    eventually("the account shows it", async || {
        let sql = format!("select persontitle from account where id = '{person}'");
        let rows = select(&cache(&org.state()), &sql);
        (rows[0]["persontitle"] == "Doctor").then_some(())
    })
    .await;
    converge(&org).await;
    // The company has nothing of its contact.
    let (_, parked, _) = org
        .verb(&["events", "list", "--record", &company, "--json"])
        .await;
    assert!(!parked.contains("of another record"), "{parked}");
}

/// The sandbox is on SBX1; what moves an org to another region is another instance's name.
#[tokio::test(flavor = "multi_thread")]
async fn an_org_that_is_elsewhere_is_not_mirrored() {
    let org = Sandbox::start(&["--stores", "1"]).await;
    let here = [FEW_OBJECTS, ("STORESYNC__ORG__REGION", "sbx")];
    let mut daemon = org.daemon_with(&here).await;
    daemon.live().await;
    assert_eq!(status(&org).await["instance_name"], "SBX1");
    let (_, told, _) = org.verb(&["status"]).await;
    assert!(told.contains("(instance SBX1)"), "{told}");
    let (_, told, _) = org.verb_with(&here, &["check"]).await;
    assert!(told.contains("the org is on the instance SBX1"), "{told}");
    daemon.running.stop();
    daemon.running.wait();

    for shown in ["null", "\"\"", "\" \""] {
        org.fault(
            json!({"path": "Organization", "times": 2, "fault": {"edit": {"replace": ["\"SBX1\"", shown]}}}),
        )
        .await;
        let (exit, told, _) = org.verb_with(&here, &["check"]).await;
        let hidden = "the org is on an instance that it does not show to this user";
        let expected = format!("{hidden}, and [org] region is sbx");
        assert!(exit == 78 && told.contains(&expected), "{exit} {told}");
        let (exit, said) = org.refused_daemon(&here);
        let expected = format!("{hidden} and [org] region is sbx");
        assert!(exit == Some(78) && said.contains(&expected), "{exit:?} {said}");
    }
    org.fault(json!({"path": "Organization", "fault": {"edit": {"replace": ["SBX1", "DEU12"]}}}))
        .await;
    let (exit, told, _) = org.verb_with(&here, &["check"]).await;
    let expected = "the org is on the instance DEU12, and [org] region is sbx";
    assert!(exit == 78 && told.contains(expected), "{exit} {told}");
    let (exit, said) = org.refused_daemon(&here);
    let expected = "the org is on the instance DEU12 and [org] region is sbx";
    assert!(exit == Some(78) && said.contains(expected), "{exit:?} {said}");
    let there = [FEW_OBJECTS, ("STORESYNC__ORG__REGION", "DEU")];
    let daemon = org.daemon_with(&there).await;
    daemon.live().await;
    eventually("the instance is told", async || {
        (status(&org).await["instance_name"] == "DEU12").then_some(())
    })
    .await;
    for odd in ["DEU12", "", "EU-1"] {
        let odd = [("STORESYNC__ORG__REGION", odd)];
        let (exit, _, said) = org.verb_with(&odd, &["status"]).await;
        assert!(
            exit == 78 && said.contains("[org] region is"),
            "{odd:?}: {exit} {said}"
        );
    }
}
