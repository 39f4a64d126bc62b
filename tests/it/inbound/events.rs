//! Events as the bus really sends them: too many, twice, in parts, and of two schemas at once.

use serde_json::{Value, json};

use super::feed::{assert_told, reloads, revision, told};
use crate::world::{Sandbox, cache, converge, eventually, select};

/// Few objects, so that loading and comparing them is quick.
const FEW_OBJECTS: (&str, &str) = ("STORESYNC__SYNC__PROFILE", "standard");

fn strings(list: &Value) -> Vec<String> {
    let list = list.as_array().unwrap();
    list.iter()
        .map(|item| item.as_str().unwrap().to_owned())
        .collect()
}

/// New accounts, of one transaction.
async fn accounts(org: &Sandbox, count: usize, fields: impl Fn(usize) -> Value) -> Vec<String> {
    let create: Vec<Value> = (0..count)
        .map(|at| {
            let mut account = fields(at);
            account["attributes"] = json!({"type": "Account"});
            account
        })
        .collect();
    strings(&org.control("changes", json!({"create": create})).await["created"])
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_of_a_hundred_and_fifty_thousand_changes_overflows_and_is_read_again() {
    const RECORDS: usize = 10_000;
    let org = Sandbox::start(&["--products", "20", "--stores", "1"]).await;
    let daemon = org.daemon_with(&[FEW_OBJECTS]).await;
    daemon.live().await;
    converge(&org).await;
    let before = revision(&org);
    // Each changed field counts.
    let made = accounts(&org, RECORDS, |at| {
        json!({
            "Name": format!("Account {at}"), "Site": "campaign", "Phone": format!("+61 {at}"), "Fax": "1",
            "Industry": "Retail", "Type": "Other", "Rating": "Hot", "Website": "https://shop.example",
            "BillingStreet": format!("{at} High St"), "BillingCity": "Hobart", "BillingCountry": "AU",
            "ShippingCity": "Hobart", "ShippingCountry": "AU", "AccountNumber": format!("N-{at}"),
            "Description": "one of many",
        })
    })
    .await;
    assert_eq!(made.len(), RECORDS);
    eventually("the overflow is in the ledger, and worked off", async || {
        let ledger = org.ledger();
        let closed = |entry: &crate::world::Row| entry["reason"] == "overflow" && !entry["found"].is_null();
        ledger.iter().any(closed).then_some(())
    })
    .await;
    converge(&org).await;
    org.settled().await;
    assert_eq!(reloads(&org, "Account", before), 1);
    let told = told(&org, "Account", before);
    assert!(made.iter().all(|id| told[id] == ["created"]), "each is told once");
    assert_eq!(told.len(), RECORDS);
}

#[tokio::test(flavor = "multi_thread")]
async fn events_that_come_again_with_new_replay_ids_are_applied_once() {
    let org = Sandbox::start(&["--products", "20", "--stores", "1"]).await;
    let mut daemon = org.daemon_with(&[FEW_OBJECTS]).await;
    daemon.live().await;
    let id = org.some("Account", "").await;
    converge(&org).await;
    daemon.running.kill();
    let before = revision(&org);
    // Both in one response, so that what comes again behind it would take the second back.
    for site in ["first", "second"] {
        org.update("Account", &id, json!({"Site": site})).await;
    }
    org.fault(json!({"rpc": "Subscribe", "on": "events", "times": 1, "fault": "duplicate"}))
        .await;
    let _daemon = org.daemon_with(&[FEW_OBJECTS]).await;
    converge(&org).await;
    // What is told in order behind the duplicates is here once they have been seen.
    org.update("Account", &id, json!({"Industry": "Retail"})).await;
    converge(&org).await;
    assert_told(&org, "Account", before, &[(&id, &["updated"; 3])]);
    assert_eq!(org.settled().await, [], "nothing had to be repaired");
}

/// A channel whose events of accounts are enriched, and so are split where there are many.
const ENRICHED: &str = "/data/Shop__chn";

/// So many changes alike come in two parts: a hundred at most come together.
const SPLIT: usize = 150;

/// An org with that channel and so many accounts, and the daemon's variables to follow it.
async fn org_that_splits() -> (Sandbox, [(&'static str, &'static str); 2], Vec<String>) {
    let org = Sandbox::start(&["--products", "20", "--stores", "1"]).await;
    let members = json!([{"object": "Account", "enriched": ["Industry"]}]);
    org.control(
        "pubsub/channels",
        json!({"name": "Shop__chn", "members": members}),
    )
    .await;
    let made = accounts(
        &org,
        SPLIT,
        |at| json!({"Name": format!("Account {at}"), "Industry": "Retail"}),
    )
    .await;
    (org, [FEW_OBJECTS, ("STORESYNC__SYNC__CHANNELS", ENRICHED)], made)
}

/// Changes all of them at once, with one replay id.
async fn change_alike(org: &Sandbox, made: &[String]) {
    let update: Vec<Value> = made
        .iter()
        .map(|id| json!({"attributes": {"type": "Account"}, "Id": id, "Site": "alike"}))
        .collect();
    org.control("changes", json!({"update": update})).await;
}

/// How many of them have changed here.
fn changed_alike(org: &Sandbox) -> usize {
    let changed = "select id from account where site = 'alike'";
    select(&cache(&org.state()), changed).len()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_enriched_event_that_was_split_is_whole_after_a_kill_between_its_parts() {
    let (org, variables, made) = org_that_splits().await;
    let mut daemon = org.daemon_with(&variables).await;
    daemon.live().await;
    converge(&org).await;
    let before = revision(&org);
    // A hundred parts come at once; the rest, of the same replay id, is held back.
    org.fault(
        json!({"rpc": "Subscribe", "topic": ENRICHED, "on": "events", "skip": 1, "times": 1,
        "fault": {"delay_ms": 60_000}}),
    )
    .await;
    change_alike(&org, &made).await;
    eventually("the first parts are here", async || {
        (changed_alike(&org) > 0).then_some(())
    })
    .await;
    daemon.running.kill();
    assert_eq!(changed_alike(&org), 100, "it was killed between two parts");

    let _daemon = org.daemon_with(&variables).await;
    converge(&org).await;
    assert_eq!(changed_alike(&org), SPLIT);
    let expected: Vec<(&str, &[&str])> = made.iter().map(|id| (id.as_str(), &["updated"][..])).collect();
    assert_told(&org, "Account", before, &expected);
    assert_eq!(org.settled().await, [], "nothing had to be repaired");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_enriched_event_that_was_split_is_whole_after_the_stream_broke_between_its_parts() {
    let (org, variables, made) = org_that_splits().await;
    let daemon = org.daemon_with(&variables).await;
    daemon.live().await;
    converge(&org).await;
    let before = revision(&org);
    org.fault(
        json!({"rpc": "Subscribe", "topic": ENRICHED, "on": "events", "skip": 1, "times": 1, "fault": "reset"}),
    )
    .await;
    change_alike(&org, &made).await;
    eventually("both parts are here", async || {
        (changed_alike(&org) == SPLIT).then_some(())
    })
    .await;
    let expected: Vec<(&str, &[&str])> = made.iter().map(|id| (id.as_str(), &["updated"][..])).collect();
    assert_told(&org, "Account", before, &expected);
    assert_eq!(org.settled().await, [], "nothing had to be repaired");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_field_added_mid_record_is_taken_while_events_of_the_old_schema_are_still_in_the_stream() {
    let org = Sandbox::start(&["--products", "20", "--stores", "1"]).await;
    let daemon = org.daemon_with(&[FEW_OBJECTS]).await;
    daemon.live().await;
    converge(&org).await;
    let before = revision(&org);
    let ids = org.query("SELECT Id FROM Account ORDER BY Id LIMIT 2").await;
    let [first, second] = [0, 1].map(|at| ids[at]["Id"].as_str().unwrap().to_owned());
    // The stream is held back until both schemas are in it.
    org.fault(json!({"rpc": "Subscribe", "on": "events", "times": 1, "fault": {"delay_ms": 1_500}}))
        .await;
    org.update(
        "Account",
        &first,
        json!({"Industry": "Retail", "Site": "old schema"}),
    )
    .await;
    let add =
        json!({"add": {"object": "Account", "name": "Tier__c", "type": "Text 20", "before": "Industry"}});
    org.control("schema", add).await;
    org.update(
        "Account",
        &second,
        json!({"Industry": "Media", "Tier__c": "gold"}),
    )
    .await;
    org.update("Account", &first, json!({"Tier__c": "silver"})).await;
    eventually("the field is a column, and filled", async || {
        let columns = select(
            &cache(&org.state()),
            "select name from pragma_table_info('account')",
        );
        if !columns.iter().any(|column| column["name"] == "tier__c") {
            return None;
        }
        let sql = format!("select industry, tier__c from account where id = '{second}'");
        let row = select(&cache(&org.state()), &sql).remove(0);
        (row["tier__c"] == "gold" && row["industry"] == "Media").then_some(())
    })
    .await;
    converge(&org).await;
    org.settled().await;
    let told = told(&org, "Account", before);
    let twice = vec!["updated".to_owned(); 2];
    // An event that came before its column did is told with what the row had of it, and once more with the rest.
    assert!(told[&first] == twice || told[&first].len() == 3, "{told:?}");
    assert!(told[&second].len() <= 2, "{told:?}");
    assert_eq!(told.len(), 2, "{told:?}");
}
