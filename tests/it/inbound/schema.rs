//! The org's fields change while the daemon runs.

use serde_json::{Value, json};

use crate::service::signal;
use crate::world::{Daemon, Sandbox, cache, converge, eventually, select};

fn columns(org: &Sandbox, table: &str) -> Vec<String> {
    let sql = format!("select name, type from pragma_table_info('{table}')");
    let rows = select(&cache(&org.state()), &sql);
    let told = |row: &crate::world::Row| {
        format!(
            "{} {}",
            row["name"].as_str().unwrap(),
            row["type"].as_str().unwrap()
        )
    };
    rows.iter().map(|row| told(row).to_lowercase()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_field_becomes_a_column_and_old_rows_get_its_values() {
    let org = Sandbox::start(&[]).await;
    let daemon = org.daemon().await;
    daemon.live().await;
    let add =
        json!({"add": {"object": "Account", "name": "Tier__c", "type": "Text 20", "before": "Industry"}});
    org.control("schema", add).await;
    let ids = org.query("SELECT Id FROM Account ORDER BY Id LIMIT 3").await;
    let id = |at: usize| ids[at]["Id"].as_str().unwrap().to_owned();
    // One row is filled without an event, so that only a read can bring it.
    let silent = json!({"told": "silently", "update": [{"attributes": {"type": "Account"}, "Id": id(0), "Tier__c": "gold"}]});
    org.control("changes", silent).await;
    org.update("Account", &id(1), json!({"Tier__c": "silver"})).await;
    eventually("the column is there", async || {
        columns(&org, "account")
            .contains(&"tier__c text".to_owned())
            .then_some(())
    })
    .await;
    converge(&org).await;
    let tier = |id: &str| {
        let sql = format!("select tier__c from account where id = '{id}'");
        select(&cache(&org.state()), &sql)[0]["tier__c"].clone()
    };
    assert_eq!(
        (tier(&id(0)), tier(&id(1)), tier(&id(2))),
        (json!("gold"), json!("silver"), Value::Null)
    );
    // The daemon is the same process, and goes on.
    org.update("Account", &id(2), json!({"Tier__c": "bronze"})).await;
    converge(&org).await;
    daemon.live().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_field_that_goes_away_keeps_what_it_had_and_is_told_of() {
    let org = Sandbox::start(&[]).await;
    let text = |name: &str| json!({"add": {"object": "Account", "name": name, "type": "Text 20"}});
    for name in ["Gone__c", "Turned__c"] {
        org.control("schema", text(name)).await;
    }
    let daemon = org.daemon().await;
    daemon.live().await;
    let id = org.some("Account", "").await;
    org.update("Account", &id, json!({"Gone__c": "kept", "Turned__c": "12"}))
        .await;
    converge(&org).await;

    org.control(
        "schema",
        json!({"remove": {"object": "Account", "name": "Gone__c"}}),
    )
    .await;
    let retype = json!({"retype": {"object": "Account", "name": "Turned__c", "type": "Double 18,0"}});
    org.control("schema", retype).await;
    // Its events name another schema now.
    org.update("Account", &id, json!({"Site": "after"})).await;
    eventually("the column has the new type", async || {
        columns(&org, "account")
            .contains(&"turned__c real".to_owned())
            .then_some(())
    })
    .await;
    let row = eventually("its value is read again", async || {
        let sql = format!("select gone__c, turned__c, site from account where id = '{id}'");
        let row = select(&cache(&org.state()), &sql).remove(0);
        (row["turned__c"] == 12.0 && row["site"] == "after").then_some(row)
    })
    .await;
    assert_eq!(row["gone__c"], "kept");
    let (_, status, _) = org.verb(&["status", "--json"]).await;
    let status: Value = serde_json::from_str(&status).unwrap();
    let account = status["objects"]
        .as_array()
        .unwrap()
        .iter()
        .find(|object| object["object"] == "Account")
        .unwrap();
    assert_eq!(account["missing_fields"][0]["field"], "Gone__c", "{account:#}");
    org.settled().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_field_hidden_from_the_user_keeps_what_it_had() {
    let org = Sandbox::start(&[]).await;
    let mut daemon = org.daemon().await;
    daemon.live().await;
    let id = org.some("Account", "").await;
    org.update("Account", &id, json!({"Site": "seen"})).await;
    converge(&org).await;
    daemon.running.kill();
    org.control("permissions", json!({"object": "Account", "hidden": ["Site"]}))
        .await;
    let daemon = org.daemon().await;
    daemon.live().await;
    // The whole object is read again, without the field.
    org.control("changes", json!({"told": "overflow", "announce": ["Account"]}))
        .await;
    eventually("it was read again", async || {
        org.ledger()
            .iter()
            .any(|entry| entry["kind"] == "reload" && !entry["found"].is_null())
            .then_some(())
    })
    .await;
    let site = || {
        select(
            &cache(&org.state()),
            &format!("select site from account where id = '{id}'"),
        )[0]["site"]
            .clone()
    };
    assert_eq!(site(), "seen");
    let (_, status, _) = org.verb(&["status"]).await;
    assert!(status.contains("no longer shown by the org: Site"), "{status}");
    let few = [("STORESYNC__SYNC__PROFILE", "standard")];
    let (exit, report, _) = org.verb_with(&few, &["check", "--json"]).await;
    let report: Value = serde_json::from_str(&report).unwrap();
    let mut lines = report["lines"].as_array().unwrap().iter();
    let line = lines.find(|line| line["subject"] == "Account.Site");
    let line = line.unwrap_or_else(|| panic!("the hidden field has no line: {report:#}"));
    assert_eq!((exit, &line["verdict"]), (0, &json!("warn")), "{line}");
    assert!(
        line["told"].as_str().unwrap().contains("no longer shows it"),
        "{line}"
    );
    // Shown again, it gets what it has become meanwhile.
    org.update("Account", &id, json!({"Industry": "Retail"})).await;
    org.control("permissions", json!({"object": "Account", "hidden": []}))
        .await;
    drop(daemon);
    org.update("Account", &id, json!({"Site": "changed in hiding"}))
        .await;
    let _daemon = org.daemon().await;
    converge(&org).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_that_is_hidden_is_told_of_until_it_is_shown_again() {
    let org = Sandbox::start(&["--products", "5", "--stores", "1"]).await;
    let daemon = org.daemon_with(&[("STORESYNC__SYNC__PROFILE", "standard")]).await;
    daemon.live().await;
    let account = org.some("Account", "").await;
    // A new schema has the daemon look again at what the org shows.
    let looks_again = async |field: &str| {
        let add = json!({"add": {"object": "Account", "name": field, "type": "Text 20"}});
        org.control("schema", add).await;
        org.update("Account", &account, json!({field: "new"})).await;
    };
    let problem = async || {
        let status = daemon.status().await?;
        let mut objects = status["objects"].as_array()?.iter();
        let product = objects.find(|object| object["object"] == "Product2")?;
        Some(product["problem"].clone())
    };
    org.fault(json!({"path": "/sobjects/Product2/describe", "fault": {"status": 404, "code": "NOT_FOUND"}}))
        .await;
    looks_again("Tier__c").await;
    eventually("the hidden object has a problem", async || {
        problem().await.filter(Value::is_string)
    })
    .await;
    let url = format!("{}/sandbox/faults", org.env["SANDBOX_HTTP"]);
    org.http.delete(url).send().await.unwrap();
    looks_again("Level__c").await;
    eventually("the object that is shown again has none", async || {
        problem().await.filter(Value::is_null)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_poll_that_is_refused_has_the_org_described_again() {
    for code in ["INVALID_FIELD", "INVALID_TYPE"] {
        let org = Sandbox::start(&["--products", "5", "--stores", "1"]).await;
        let daemon = org.daemon_with(&[("STORESYNC__SYNC__PROFILE", "standard")]).await;
        daemon.live().await;
        let status = daemon.status().await.unwrap();
        let mut objects = status["objects"].as_array().unwrap().iter();
        let polled = objects.find(|object| object["kept_by"] == "poll").unwrap();
        let polled = polled["object"].as_str().unwrap().to_owned();
        // The object is taken from the user: it is neither described nor read.
        org.fault(json!([
            {"path": format!("/sobjects/{polled}/describe"), "fault": {"status": 404, "code": "NOT_FOUND"}},
            {"path": format!("FROM%20{polled}"), "fault": {"status": 400, "code": code}},
        ]))
        .await;
        eventually(&format!("{polled} is told to be hidden for {code}"), async || {
            let status = daemon.status().await?;
            let mut objects = status["objects"].as_array()?.iter();
            let object = objects.find(|object| object["object"] == *polled)?;
            object["problem"].as_str()?.contains("no longer").then_some(())
        })
        .await;
    }
}

/// Hides a field, has the daemon look again, and shows it with another value that no event tells of.
async fn hide_and_show(org: &Sandbox, daemon: &Daemon) {
    let permissions = |hidden: &[&str]| json!({"object": "Account", "hidden": hidden});
    org.control("permissions", permissions(&["Site"])).await;
    signal(&daemon.running, "-HUP");
    eventually("the field is told to be hidden", async || {
        let status = daemon.status().await?;
        let mut objects = status["objects"].as_array()?.iter();
        let account = objects.find(|object| object["object"] == "Account")?;
        (account["missing_fields"][0]["field"] == "Site").then_some(())
    })
    .await;
    // The cache does not have it before an event of it comes.
    let add = json!({"add": {"object": "Account", "name": "Tier__c", "type": "Text 20"}});
    org.control("schema", add).await;
    let (_, report, _) = org
        .verb(&["verify", "--full", "--object", "Account", "--json"])
        .await;
    let report: Value = serde_json::from_str(&report).unwrap();
    let not_compared = json!([
        {"field": "Site", "cause": "the org does not show it to this user"},
        {"field": "Tier__c", "cause": "the cache does not have it yet"},
    ]);
    assert_eq!(report["objects"][0]["not_compared"], not_compared, "{report:#}");
    let (_, words, _) = org.verb(&["verify", "--full", "--object", "Account"]).await;
    assert!(
        words.contains("Account: Site was not compared: the org"),
        "{words}"
    );

    org.control("permissions", permissions(&[])).await;
    let id = org.some("Account", "").await;
    let silent = json!({"told": "silently", "update": [{"attributes": {"type": "Account"}, "Id": id, "Site": "silently"}]});
    org.control("changes", silent).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_takes_up_a_field_that_is_shown_again() {
    let org = Sandbox::start(&["--products", "5", "--stores", "1"]).await;
    let daemon = org.daemon().await;
    daemon.live().await;
    hide_and_show(&org, &daemon).await;
    signal(&daemon.running, "-HUP");
    converge(&org).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_with_a_hidden_field_is_described_again_soon() {
    let org = Sandbox::start(&["--products", "5", "--stores", "1"]).await;
    let soon = [("STORESYNC_BOUND_HIDDEN_SECONDS", "1")];
    let daemon = org.daemon_with(&soon).await;
    daemon.live().await;
    hide_and_show(&org, &daemon).await;
    converge(&org).await;
}
