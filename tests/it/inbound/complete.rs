//! What an incomplete answer of the org does not mention stays.

use serde_json::{Value, json};

use super::feed::{reloads, revision, told};
use crate::world::{Daemon, Sandbox, cache, converge, eventually, select};

/// Few objects, so that loading and polling them is quick.
const FEW_OBJECTS: (&str, &str) = ("STORESYNC__SYNC__PROFILE", "standard");

fn rows(org: &Sandbox, table: &str) -> Value {
    select(
        &cache(&org.state()),
        &format!("select count(*) as n from \"{table}\""),
    )[0]["n"]
        .clone()
}

async fn says(daemon: &Daemon, words: &str) {
    eventually(words, async || {
        daemon.running.said().contains(words).then_some(())
    })
    .await;
}

/// Has the object read again as a whole.
async fn read_again(org: &Sandbox, object: &str) {
    org.control("changes", json!({"told": "overflow", "announce": [object]}))
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_removed_by_a_load_that_is_shorter_than_the_org_announced() {
    let org = Sandbox::start(&["--products", "60", "--stores", "1"]).await;
    let daemon = org.daemon_with(&[FEW_OBJECTS]).await;
    daemon.live().await;
    converge(&org).await;
    let (products, before) = (rows(&org, "product2"), revision(&org));
    // Each answer is wrong once; the last time all goes well.
    let short = json!({"rows": 10});
    let short_but_agreed = json!({"rows": 10, "headers": {"sforce-numberofrecords": "10"}});
    let no_end = json!({"headers": {"sforce-locator": null}});
    for (edit, words) in [
        (short, "10 of the"),
        (short_but_agreed, "rows that the query job announced"),
        (no_end, "Sforce-Locator"),
    ] {
        let so_far = reloads(&org, "Product2", before);
        org.fault(json!({"path": "/results", "times": 1, "fault": {"edit": edit}}))
            .await;
        read_again(&org, "Product2").await;
        says(&daemon, words).await;
        assert_eq!(rows(&org, "product2"), products, "{words}");
        eventually("it is read again", async || {
            (reloads(&org, "Product2", before) == so_far + 1).then_some(())
        })
        .await;
    }
    let gone = told(&org, "Product2", before);
    assert!(gone.is_empty(), "nothing was changed: {gone:?}");
    converge(&org).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_removed_or_missed_by_a_query_that_breaks_off() {
    let org = Sandbox::start(&["--products", "10", "--stores", "1"]).await;
    // Contacts are polled, and Bulk does not read them.
    let failed = json!({"status": 400, "code": "INVALIDENTITY", "message": "not supported by the Bulk API"});
    let daemon = org.daemon_with(&[FEW_OBJECTS]).await;
    daemon.live().await;
    converge(&org).await;
    let create: Vec<Value> = (0..2_100)
        .map(|at| json!({"attributes": {"type": "Contact"}, "LastName": format!("Contact {at}")}))
        .collect();
    // The first page of the poll that meets them says that it is not the last, and not where the next is.
    let breaks_off = json!({"members": {"nextRecordsUrl": null}});
    org.fault(json!({"path": "FROM%20Contact", "except": "Product", "fault": {"edit": breaks_off}}))
        .await;
    org.control("changes", json!({ "create": create })).await;
    says(&daemon, "names no next page").await;
    org.no_faults().await;
    converge(&org).await;

    let (contacts, before) = (rows(&org, "contact"), revision(&org));
    org.fault(json!({"path": "/jobs/query", "method": "POST", "fault": failed}))
        .await;
    let complete_too_early = json!({"members": {"nextRecordsUrl": null, "done": true}});
    org.fault(json!({"path": "FROM%20Contact", "fault": {"edit": complete_too_early}}))
        .await;
    let add = json!({"add": {"object": "Contact", "name": "New__c", "type": "Text 20"}});
    org.control("schema", add).await;
    let touched = org.some("Product2", "").await;
    org.control(
        "schema",
        json!({"add": {"object": "Product2", "name": "Bell__c", "type": "Text 20"}}),
    )
    .await;
    org.update("Product2", &touched, json!({"Description": "rings"}))
        .await;
    says(&daemon, "rows that it announced came").await;
    assert_eq!(rows(&org, "contact"), contacts);
    org.no_faults().await;
    eventually("contacts are read again", async || {
        (reloads(&org, "Contact", before) > 0).then_some(())
    })
    .await;
    let gone = told(&org, "Contact", before);
    assert!(gone.is_empty(), "nothing was changed: {gone:?}");
}

/// Has the org answer a load of products with so many rows, all of its numbers agreeing, its count too.
async fn only(org: &Sandbox, rows: usize) {
    only_by_bulk(org, rows).await;
    let counted = json!({"members": {"records": [{"n": rows}]}});
    org.fault(json!({"path": "%20n%20FROM%20Product2", "fault": {"edit": counted}}))
        .await;
}

/// The same, but for its count.
async fn only_by_bulk(org: &Sandbox, rows: usize) {
    let text = rows.to_string();
    org.fault(json!([
        {"path": "/jobs/query/", "except": "result", "method": "GET",
            "fault": {"edit": {"members": {"numberRecordsProcessed": rows}}}},
        {"path": "/results", "fault": {"edit": {"rows": rows, "headers": {"sforce-numberofrecords": text}}}},
    ]))
    .await;
}

async fn removals(org: &Sandbox) -> Value {
    let (code, list, said) = org.verb(&["removals", "list", "--json"]).await;
    assert_eq!(code, 0, "{said}");
    serde_json::from_str(&list).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_a_load_does_not_mention_and_the_org_still_has_stay() {
    let org = Sandbox::start(&["--products", "60", "--stores", "1"]).await;
    let daemon = org.daemon_with(&[FEW_OBJECTS]).await;
    daemon.live().await;
    converge(&org).await;
    let before = revision(&org);
    only(&org, 10).await;
    read_again(&org, "Product2").await;
    says(&daemon, "was read incompletely").await;
    org.no_faults().await;
    eventually("it is read again", async || {
        (reloads(&org, "Product2", before) == 1).then_some(())
    })
    .await;
    let gone = told(&org, "Product2", before);
    assert!(gone.is_empty(), "nothing was changed: {gone:?}");
    assert_eq!(removals(&org).await, json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_first_load_that_brings_one_row_twice_and_another_never_is_not_live() {
    let org = Sandbox::start(&["--products", "5", "--stores", "1"]).await;
    let contact = async |name: &str| org.create("Contact", json!({"LastName": name})).await;
    let (lost, twice) = (contact("Lost").await, contact("Twice").await);
    // No poll looks back so far for it.
    org.control("clock", json!({"advance_ms": 2_400_000})).await;
    contact("Newest").await;
    // Whatever Bulk answers, all of its numbers agree.
    let edit = json!({"replace": [lost, twice]});
    org.fault(json!({"path": "/results", "fault": {"edit": edit}}))
        .await;
    let daemon = org.daemon_with(&[FEW_OBJECTS]).await;
    daemon.live().await;
    let sql = format!("select lastname from contact where id = '{lost}'");
    assert_eq!(select(&cache(&org.state()), &sql).len(), 1, "live without a row");
    says(&daemon, "Contact was read incompletely").await;
    org.no_faults().await;
    converge(&org).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_a_load_does_not_mention_and_the_org_counts_stays() {
    let org = Sandbox::start(&["--products", "60", "--stores", "1"]).await;
    let daemon = org.daemon_with(&[FEW_OBJECTS]).await;
    daemon.live().await;
    converge(&org).await;
    let (products, before) = (rows(&org, "product2").as_u64().unwrap(), revision(&org));
    // So few may leave without the org being asked about them.
    let all_but_one = usize::try_from(products).unwrap() - 1;
    only_by_bulk(&org, all_but_one).await;
    read_again(&org, "Product2").await;
    eventually("it is read again", async || {
        (reloads(&org, "Product2", before) == 1).then_some(())
    })
    .await;
    let gone = told(&org, "Product2", before);
    assert!(gone.is_empty(), "nothing was changed: {gone:?}");
    says(&daemon, "Product2 was read incompletely").await;
    assert_eq!(rows(&org, "product2"), products);
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_the_org_does_not_show_any_more_wait_for_a_person() {
    let org = Sandbox::start(&["--products", "60", "--stores", "1"]).await;
    let daemon = org.daemon_with(&[FEW_OBJECTS]).await;
    daemon.live().await;
    converge(&org).await;
    let (products, before) = (rows(&org, "product2"), revision(&org));
    let absent = products.as_i64().unwrap() - 10;
    // The user lost sight of all but ten, and no number tells.
    only(&org, 10).await;
    let hidden = json!({"members": {"totalSize": 0, "records": []}});
    org.fault(json!({"path": "IsDeleted%20FROM%20Product2", "fault": {"edit": hidden}}))
        .await;
    for (number, decision) in ["refuse", "release"].into_iter().enumerate() {
        read_again(&org, "Product2").await;
        eventually("the removal waits", async || {
            (removals(&org).await[0]["rows"] == absent).then_some(())
        })
        .await;
        assert_eq!(rows(&org, "product2"), products);
        eventually("the status says so", async || {
            let status = daemon.status().await?;
            let mut objects = status["objects"].as_array()?.iter();
            let object = objects.find(|object| object["object"] == "Product2")?;
            (object["removal"]["rows"] == absent && object["freshness"] == "stale").then_some(())
        })
        .await;
        let metric = format!("storesync_removal_rows_waiting{{object=\"Product2\"}} {absent}");
        assert!(crate::monitoring::metrics(&daemon).await.contains(&metric));
        assert_eq!(reloads(&org, "Product2", before), number + 1);
        let most = absent.to_string();
        let arguments: &[&str] = match decision {
            "release" => &["removals", "release", "Product2", "--rows", &most],
            _ => &["removals", "refuse", "product2"],
        };
        let (code, _, said) = org.verb(arguments).await;
        assert_eq!(code, 0, "{said}");
        eventually("nothing waits", async || {
            (removals(&org).await == json!([])).then_some(())
        })
        .await;
    }
    eventually("what was released leaves", async || {
        (rows(&org, "product2") == 10).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removal_that_waits_is_withdrawn_once_its_rows_are_in_the_org_again() {
    let org = Sandbox::start(&["--products", "60", "--stores", "1"]).await;
    let at_once = ("STORESYNC_BOUND_RECOUNT_MILLIS", "0");
    let daemon = org
        .daemon_with(&[FEW_OBJECTS, at_once, ("STORESYNC_BOUND_LOOK_MILLIS", "50")])
        .await;
    daemon.live().await;
    converge(&org).await;
    let (products, before) = (rows(&org, "product2"), revision(&org));
    let absent = products.as_i64().unwrap() - 10;
    only(&org, 10).await;
    let hidden = json!({"members": {"totalSize": 0, "records": []}});
    org.fault(json!({"path": "IsDeleted%20FROM%20Product2", "fault": {"edit": hidden}}))
        .await;
    read_again(&org, "Product2").await;
    eventually("the removal waits", async || {
        (removals(&org).await[0]["rows"] == absent).then_some(())
    })
    .await;
    // The user sees them again. What the ledger has to do has the org looked at at once.
    org.no_faults().await;
    let product = org.some("Product2", "").await;
    let gap = json!({"told": "gaps",
        "update": [{"attributes": {"type": "Product2"}, "Id": product, "Description": "seen again"}]});
    org.control("changes", gap).await;
    eventually("nothing waits", async || {
        (removals(&org).await == json!([])).then_some(())
    })
    .await;
    eventually("the object is live", async || {
        let status = daemon.status().await?;
        let mut objects = status["objects"].as_array()?.iter();
        let object = objects.find(|object| object["object"] == "Product2")?;
        (object["removal"].is_null() && object["freshness"] == "live").then_some(())
    })
    .await;
    let withdrawn = format!("the removal of {absent} rows of Product2 is withdrawn");
    assert_eq!(daemon.running.said().matches(&withdrawn).count(), 1);
    let gone = told(&org, "Product2", before);
    assert!(
        gone.values().flatten().all(|told| *told == "updated"),
        "nothing was removed: {gone:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_cannot_be_read_waits_and_the_others_go_on() {
    let org = Sandbox::start(&["--products", "5", "--stores", "1"]).await;
    let daemon = org.daemon_with(&[FEW_OBJECTS]).await;
    daemon.live().await;
    converge(&org).await;
    let broken = org.some("Contact", "ORDER BY Id").await;
    let sound = org.some("Contact", "ORDER BY Id DESC").await;
    // Half of a pair of surrogates, which no JSON may hold.
    let replace = json!({"replace": ["in pieces", "\\ud83d"]});
    org.fault(json!({"path": "Contact", "fault": {"edit": replace}}))
        .await;
    let update = json!([
        {"attributes": {"type": "Contact"}, "Id": broken, "Department": "in pieces"},
        {"attributes": {"type": "Contact"}, "Id": sound, "Department": "in one piece"},
    ]);
    org.control("changes", json!({ "update": update })).await;
    eventually("the other contact is here", async || {
        let sql = "select id from contact where department = 'in one piece'";
        (select(&cache(&org.state()), sql).len() == 1).then_some(())
    })
    .await;
    eventually("the record is listed, with what stands in its way", async || {
        let (_, json, _) = org.verb(&["events", "parked", "--json"]).await;
        let parked: Value = serde_json::from_str(&json).ok()?;
        let tried = parked[0]["attempts"].as_u64()? > 0;
        (parked[0]["record_id"] == broken.as_str() && tried).then_some(())
    })
    .await;
    org.no_faults().await;
    converge(&org).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_status_names_who_holds_a_log() {
    let org = Sandbox::start(&["--products", "5", "--stores", "1"]).await;
    let daemon = org.daemon_with(&[FEW_OBJECTS]).await;
    daemon.live().await;
    let holds = async || {
        let (_, status, _) = org.verb(&["status", "--json"]).await;
        let status: Value = serde_json::from_str(&status).ok()?;
        let mut logs = status["logs"].as_array()?.iter();
        let log = logs.find(|log| log["db"] == "cache")?;
        let mut holders = log["holders"].as_array()?.iter();
        Some(holders.any(|holder| holder["pid"] == std::process::id()))
    };
    let reader = cache(&org.state());
    // What is read is in the log, and not in the database alone.
    let product = org.some("Product2", "").await;
    org.update("Product2", &product, json!({"Description": "in the log"}))
        .await;
    converge(&org).await;
    reader.execute_batch("begin; select * from _meta").unwrap();
    eventually("this process is named", async || holds().await?.then_some(())).await;
    let told = crate::monitoring::metrics(&daemon).await;
    assert!(told.contains("storesync_log_size_bytes{db=\"cache\"}"), "{told}");
    assert!(told.contains("storesync_log_holders{db=\"cache\"}"), "{told}");
    drop(reader);
    eventually("this process is not named", async || {
        (!holds().await?).then_some(())
    })
    .await;
}
