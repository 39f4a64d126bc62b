//! Reading whole objects: cut off, in part, and too wide for an address.

use serde_json::{Value, json};

use crate::monitoring::moving::{Change, PAGES, Seen};
use crate::world::{Sandbox, cache, converge, eventually, select};

const FEW_OBJECTS: (&str, &str) = ("STORESYNC__SYNC__PROFILE", "standard");

#[tokio::test(flavor = "multi_thread")]
async fn a_load_of_an_org_that_lists_no_pages_goes_on_after_a_kill_with_the_next_page() {
    let org = Sandbox::start(&["--products", "5000"]).await;
    let unknown = json!({"path": "resultPages", "fault": {"status": 404, "code": "NOT_FOUND"}});
    org.fault(unknown).await;
    // Later pages take their time.
    org.fault(json!({"path": "locator=", "fault": {"delay_ms": 700}}))
        .await;
    let mut daemon = org.daemon().await;
    eventually("a page of the products is stored", async || {
        let rows = select(
            &cache(&org.state()),
            "select rows, locator from _load where object = 'Product2'",
        );
        rows.first()
            .filter(|row| !row["locator"].is_null() && row["rows"] != 0)
            .map(|_| ())
    })
    .await;
    let (_, status, _) = org.verb(&["status", "--json"]).await;
    let status: Value = serde_json::from_str(&status).unwrap();
    let products = status["objects"]
        .as_array()
        .unwrap()
        .iter()
        .find(|object| object["object"] == "Product2")
        .unwrap();
    assert_eq!(
        products["load"]["rows_total"],
        org.count("Product2").await,
        "{products:#}"
    );
    daemon.running.kill();
    // What changes meanwhile comes by the stream.
    let id = org.some("Product2", "").await;
    org.delete("Product2", &id).await;

    let daemon = org.daemon().await;
    daemon.live().await;
    converge(&org).await;
    let said = daemon.running.said();
    assert!(
        said.contains("the load of Product2 goes on where it was"),
        "{said}"
    );
    assert!(!said.contains("begins anew"), "{said}");
    assert!(!said.contains('\r'), "a bar is for terminals: {said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_of_a_large_object_come_side_by_side_and_a_killed_load_reads_no_other_again() {
    let org = Sandbox::start(&["--products", "4000"]).await;
    org.control("bulk", json!({"page_rows": 500})).await;
    // Never, as far as this test goes.
    let held_back = |times: Value| {
        let fault = json!({"delay_ms": 3_600_000});
        json!({"path": "/results?locator=", "times": times, "fault": fault})
    };
    // One page of a first list: of the object that gets there first.
    org.fault(held_back(json!(1))).await;
    let mut daemon = org.daemon().await;
    let faults = format!("{}/sandbox/faults", org.env["SANDBOX_HTTP"]);
    let object = eventually(
        "its other pages are stored meanwhile, and all other objects",
        async || {
            let told: Value = org.http.get(&faults).send().await.ok()?.json().await.ok()?;
            let under_way = select(&cache(&org.state()), "select object, rows from _load");
            let [load] = &under_way[..] else { return None };
            let held = told["rules"][0]["struck"] == 1 && load["rows"] == 4 * 500;
            held.then(|| load["object"].as_str().map(str::to_owned))?
        },
    )
    .await;
    let progress = || {
        let sql = format!("select rows, locator from _load where object = '{object}'");
        select(&cache(&org.state()), &sql).remove(0)
    };
    let (mut seen, all) = (Seen::default(), org.count(&object).await as f64);
    let told = format!("storesync_snapshot_progress_ratio{{object=\"{object}\"}}");
    let four = [(told.as_str(), Change::To(2_000.0 / all))];
    seen.since("", &daemon, "four pages are stored", &four).await;
    // That page goes on; all of the second list is held back.
    let replaced = org.http.put(&faults).json(&held_back(Value::Null)).send();
    assert!(replaced.await.unwrap().status().is_success());
    eventually("the first list is stored", async || {
        (progress()["rows"] == 5 * 500).then_some(())
    })
    .await;
    let five = [(told.as_str(), Change::To(2_500.0 / all))];
    seen.since("", &daemon, "five pages are stored", &five).await;
    seen.is_all_of(PAGES);
    let place = progress()["locator"].to_string();
    assert!(place.ends_with("/resultPages\""), "{place}");
    daemon.running.kill();
    let id = org.some("Product2", "").await;
    org.delete("Product2", &id).await;
    org.http.delete(&faults).send().await.unwrap();

    let daemon = org.daemon().await;
    daemon.live().await;
    converge(&org).await;
    let said = daemon.running.said();
    let goes_on = format!("the load of {object} goes on where it was");
    assert!(said.contains(&goes_on), "{said}");
    assert!(!said.contains("begins anew"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_may_be_mirrored_in_part() {
    let org = Sandbox::start(&[]).await;
    let rules = "\n[sync.object.Account]\nwhere = \"Site = 'shop' OR Site = 'store'\"\nfields = [\"Site\", \"Industry\"]\n\
                 [sync.object.Contact]\nwhere = \"Department = 'shop'\"\n";
    let config = std::fs::read_to_string(org.config()).unwrap();
    std::fs::write(org.config(), config + rules).unwrap();
    let made = org
        .create("Account", json!({"Name": "In", "Site": "shop", "Phone": "1"}))
        .await;
    let daemon = org.daemon().await;
    daemon.live().await;
    let rows = || select(&cache(&org.state()), "select id, site from account order by id");
    assert_eq!(rows().len(), 1);
    let columns = select(
        &cache(&org.state()),
        "select name from pragma_table_info('account')",
    );
    assert!(
        !columns.iter().any(|column| column["name"] == "phone"),
        "{columns:?}"
    );

    let other = org.some("Account", "WHERE Site = null").await;
    org.update("Account", &other, json!({"Site": "store"})).await;
    eventually("a record that comes in is here", async || {
        (rows().len() == 2).then_some(())
    })
    .await;
    org.update("Account", &made, json!({"Site": "elsewhere"})).await;
    eventually("a record that goes out is gone", async || {
        let rows = rows();
        (rows.len() == 1 && rows[0]["id"] == other.as_str()).then_some(())
    })
    .await;
    // The same where changes come by polling.
    let contacts = || select(&cache(&org.state()), "select id from contact");
    assert_eq!(contacts().len(), 0);
    let contact = org.some("Contact", "").await;
    org.update("Contact", &contact, json!({"Department": "shop"}))
        .await;
    eventually("a contact that comes in is here", async || {
        (contacts().len() == 1).then_some(())
    })
    .await;
    // Within the same second: its stamp stays.
    let update = json!({"attributes": {"type": "Contact"}, "Id": contact, "Department": null});
    org.control(
        "changes",
        json!({"told": "silently", "stamps": "none", "update": [update]}),
    )
    .await;
    eventually("a contact that goes out is gone", async || {
        contacts().is_empty().then_some(())
    })
    .await;
    let (code, report, _) = org
        .verb(&["verify", "--full", "--object", "Account", "--object", "Contact"])
        .await;
    assert_eq!(code, 0, "{report}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_too_wide_for_an_address_is_polled_all_the_same() {
    let org = Sandbox::start(&[]).await;
    for number in 0..95 {
        let name = format!("A_field_whose_name_is_as_long_as_they_get_{number}__c");
        let add = json!({"add": {"object": "Contact", "name": name, "type": "Text 20"}});
        org.control("schema", add).await;
    }
    let daemon = org.daemon().await;
    daemon.live().await;
    let id = org.some("Contact", "").await;
    let name = "A_field_whose_name_is_as_long_as_they_get_94__c";
    org.update("Contact", &id, json!({name: "polled"})).await;
    converge(&org).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_first_load_waits_for_no_position_and_misses_nothing() {
    let org = Sandbox::start(&["--products", "20", "--stores", "1"]).await;
    // The stream begins late, and knows nothing of what was before.
    org.fault(json!({"rpc": "Subscribe", "on": "call", "fault": {"delay_ms": 86_400_000}}))
        .await;
    let daemon = org.daemon_with(&[FEW_OBJECTS]).await;
    let products = org.query("SELECT Id FROM Product2 ORDER BY Id").await;
    eventually("products are loaded without a stream", async || {
        let status = daemon.status().await?;
        let mut objects = status["objects"].as_array()?.iter();
        let object = objects.find(|object| object["object"] == "Product2")?;
        (object["state"] == "live" && object["rows"] == products.len()).then_some(())
    })
    .await;
    let [renamed, deleted] = [0, 1].map(|at| products[at]["Id"].as_str().unwrap().to_owned());
    org.update("Product2", &renamed, json!({"Name": "Renamed unheard"}))
        .await;
    org.control("changes", json!({"delete": [deleted]})).await;
    org.no_faults().await;
    daemon.live().await;
    converge(&org).await;
    let sql = format!("select name from product2 where id = '{renamed}'");
    eventually("what changed unheard is here", async || {
        let rows = select(&cache(&org.state()), &sql);
        (rows[0]["name"] == "Renamed unheard").then_some(())
    })
    .await;
    let sql = format!("select id from product2 where id = '{deleted}'");
    assert!(select(&cache(&org.state()), &sql).is_empty());
}
