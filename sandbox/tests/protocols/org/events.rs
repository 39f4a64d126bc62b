//! What commits publish.

use reqwest::Method;
use serde_json::json;

use super::world::{Subscriber, control, create_all, start, start_with};

const ALL: &str = "/data/ChangeEvents";

#[tokio::test]
async fn records_that_change_alike_share_an_event_and_numbers_have_gaps() {
    let org = start_with(|options| options.keepalive = std::time::Duration::from_millis(200)).await;
    let account = |name: &str| json!({"attributes": {"type": "Account"}, "Name": name});
    let ids = create_all(&org, vec![account("A"), account("B"), account("C")]).await;
    let mut subscriber = Subscriber::new(&org, ALL).await;
    let change = |id: &String, industry: &str| json!({"attributes": {"type": "Account"}, "Id": id, "Industry": industry});
    let body = json!({"allOrNone": true, "records": [
        change(&ids[0], "Retail"), change(&ids[1], "Retail"), change(&ids[2], "Media"),
    ]});
    let (status, _) = org.send(Method::PATCH, "composite/sobjects", body).await;
    assert_eq!(status, 200);
    let events = subscriber.events(2).await;
    assert_eq!(events[0].told(), "UPDATE Account 1");
    assert_eq!(events[0].ids(), [&ids[0], &ids[1]]);
    assert_eq!(
        subscriber.names(&events[0], "changedFields"),
        ["Industry", "LastModifiedDate"]
    );
    assert_eq!(
        (events[1].told(), events[1].ids()),
        ("UPDATE Account 2".to_owned(), vec![ids[2].as_str()])
    );
    assert_eq!(
        events[0].header["transactionKey"],
        events[1].header["transactionKey"]
    );

    // Contacts are not selected: they take a number, and no event.
    let parts = json!({"allOrNone": true, "compositeRequest": [
        {"method": "POST", "url": "/services/data/v67.0/sobjects/Account", "referenceId": "a", "body": {"Name": "D"}},
        {"method": "POST", "url": "/services/data/v67.0/sobjects/Contact", "referenceId": "b", "body": {"LastName": "Lee"}},
        {"method": "POST", "url": "/services/data/v67.0/sobjects/Product2", "referenceId": "c", "body": {"Name": "P"}},
    ]});
    let (status, answer) = org.post("composite", parts).await;
    assert_eq!(status, 200, "{answer}");
    let events = subscriber.events(2).await;
    let told: Vec<String> = events.iter().map(super::world::Event::told).collect();
    assert_eq!(told, ["CREATE Account 1", "CREATE Product2 3"]);
    assert_eq!(events[0].header["commitNumber"], events[1].header["commitNumber"]);
    assert_eq!(events[0].header["changedFields"], json!([]));

    control(&org, "publishing", json!({"merge": false})).await;
    let (status, _) = org
        .send(
            Method::DELETE,
            &format!("composite/sobjects?ids={}", ids.join(",")),
            json!({}),
        )
        .await;
    assert_eq!(status, 200);
    let events = subscriber.events(3).await;
    assert!(
        events
            .iter()
            .all(|event| event.ids().len() == 1 && event.filled().is_empty())
    );
    org.stop().await;
}

#[expect(clippy::too_many_lines, reason = "one story, told in its order")]
#[tokio::test]
async fn what_the_platforms_insides_do_is_told_otherwise_or_not_at_all() {
    let org = start_with(|options| options.keepalive = std::time::Duration::from_millis(200)).await;
    let ids = [org.account("A").await, org.account("B").await];
    let mut subscriber = Subscriber::new(&org, ALL).await;
    let update = |told: &str, phone: &str| {
        json!({"told": told, "internal": true, "update": [
            {"attributes": {"type": "Account"}, "Id": ids[0], "Phone": phone},
            {"attributes": {"type": "Account"}, "Id": ids[1], "Phone": phone},
        ]})
    };
    control(&org, "changes", update("silently", "1")).await;
    control(&org, "changes", update("gaps", "2")).await;
    control(&org, "changes", update("overflow", "3")).await;
    control(&org, "changes", update("wildcard", "4")).await;
    control(
        &org,
        "changes",
        json!({"told": "overflow", "announce": ["Product2"]}),
    )
    .await;
    let events = subscriber.events(4).await;
    let told: Vec<String> = events.iter().map(super::world::Event::told).collect();
    assert_eq!(
        told,
        [
            "GAP_UPDATE Account 1",
            "GAP_OVERFLOW Account 1",
            "UPDATE Account 1",
            "GAP_OVERFLOW Product2 1"
        ]
    );
    assert_eq!(events[0].ids(), ids.each_ref());
    assert_eq!(events[1].ids(), ["000000000000000AAA"]);
    assert_eq!(events[2].ids(), ["001*"]);
    assert!(events.iter().all(|event| event.filled().is_empty()));
    assert_eq!(events[0].header["changeOrigin"], "");
    let (_, row) = org
        .get(&format!("sobjects/Account/{}?fields=Phone", ids[0]))
        .await;
    assert_eq!(row["Phone"], "4", "the change itself happened");

    // Deleted, brought back, deleted, and gone for good: of the last nobody is told.
    let one = json!([ids[0]]);
    control(&org, "changes", json!({"delete": one})).await;
    control(&org, "changes", json!({"undelete": one})).await;
    control(&org, "changes", json!({"delete": one})).await;
    control(&org, "changes", json!({"hard_delete": one})).await;
    control(&org, "changes", json!({"told": "gaps", "delete": [ids[1]]})).await;
    control(&org, "changes", json!({"told": "gaps", "undelete": [ids[1]]})).await;
    let created = control(
        &org,
        "changes",
        json!({"told": "gaps", "create": [
        {"attributes": {"type": "Account"}, "Name": "C"}]}),
    )
    .await;
    let events = subscriber.events(6).await;
    let told: Vec<String> = events.iter().map(super::world::Event::told).collect();
    assert_eq!(
        told,
        [
            "DELETE Account 1",
            "UNDELETE Account 1",
            "DELETE Account 1",
            "GAP_DELETE Account 1",
            "GAP_UNDELETE Account 1",
            "GAP_CREATE Account 1"
        ]
    );
    assert_eq!(
        (&events[1].body["Name"], &events[1].body["Phone"]),
        (&json!("A"), &json!("4"))
    );
    assert_eq!(events[5].ids(), [created["created"][0].as_str().unwrap()]);
    let gone = org
        .get(&format!(
            "queryAll?q=SELECT+Id+FROM+Account+WHERE+Id='{}'",
            ids[0]
        ))
        .await
        .1;
    assert_eq!(gone["totalSize"], 0);
    org.stop().await;
}

#[tokio::test]
async fn a_transaction_of_many_changes_overflows() {
    let org = start_with(|options| options.keepalive = std::time::Duration::from_millis(200)).await;
    let mut subscriber = Subscriber::new(&org, ALL).await;
    control(&org, "publishing", json!({"overflow_after": 25})).await;
    let product =
        |at: usize| json!({"attributes": {"type": "Product2"}, "Name": format!("P{at}"), "IsActive": true});
    let mut records: Vec<_> = (0..20).map(product).collect();
    records.push(json!({"attributes": {"type": "Account"}, "Name": "last"}));
    create_all(&org, records).await;
    let mut told = Vec::new();
    while told
        .last()
        .is_none_or(|last: &String| !last.starts_with("GAP_OVERFLOW Product2"))
    {
        told.push(subscriber.event().await.told());
    }
    assert_eq!(told[0], "CREATE Product2 1");
    assert!((3..10).contains(&told.len()), "{told:?}");
    assert!(
        told[told.len() - 2].starts_with("GAP_OVERFLOW Account"),
        "{told:?}"
    );
    org.stop().await;
}

#[tokio::test]
async fn geocoding_names_members_of_an_address_alone() {
    let org = start_with(|options| options.keepalive = std::time::Duration::from_millis(200)).await;
    let id = org.account("A").await;
    let before = org
        .get(&format!(
            "sobjects/Account/{id}?fields=LastModifiedDate,SystemModstamp"
        ))
        .await
        .1;
    let mut subscriber = Subscriber::new(&org, "/data/AccountChangeEvent").await;
    control(&org, "clock", json!({"advance_ms": 5000})).await;
    control(&org, "changes", json!({"stamps": "system", "internal": true, "update": [
        {"attributes": {"type": "Account"}, "Id": id, "ShippingLatitude": -42.88, "ShippingLongitude": 147.33}]})).await;
    let event = subscriber.event().await;
    assert_eq!(
        subscriber.names(&event, "changedFields"),
        ["ShippingAddress.Latitude", "ShippingAddress.Longitude"]
    );
    assert_eq!(
        event.header["changedFields"].as_array().unwrap().len(),
        1,
        "no bitmap of the top level"
    );
    assert_eq!(event.body["ShippingAddress"]["Latitude"], -42.88);
    let after = org
        .get(&format!(
            "sobjects/Account/{id}?fields=LastModifiedDate,SystemModstamp"
        ))
        .await
        .1;
    assert_eq!(before["LastModifiedDate"], after["LastModifiedDate"]);
    assert_ne!(before["SystemModstamp"], after["SystemModstamp"]);
    org.stop().await;
}

#[tokio::test]
async fn long_texts_are_told_by_their_difference_and_huge_events_become_gaps() {
    let org = start_with(|options| options.keepalive = std::time::Duration::from_millis(200)).await;
    let lines = |changed: &str| {
        let line = |at: usize| {
            if at == 30 {
                changed.to_owned()
            } else {
                format!("line {at} of the description")
            }
        };
        (0..60).map(line).collect::<Vec<_>>().join("\n")
    };
    let (old, new) = (lines("as it was"), lines("as it is"));
    let body = json!({"Name": "P", "Description": old});
    let id = org.post("sobjects/Product2", body).await.1["id"]
        .as_str()
        .unwrap()
        .to_owned();
    let mut subscriber = Subscriber::new(&org, "/data/Product2ChangeEvent").await;
    let path = format!("sobjects/Product2/{id}");
    assert_eq!(
        org.send(Method::PATCH, &path, json!({"Description": new}))
            .await
            .0,
        204
    );
    let event = subscriber.event().await;
    assert_eq!(subscriber.names(&event, "diffFields"), ["Description"]);
    assert_eq!(
        subscriber.names(&event, "changedFields"),
        ["Description", "LastModifiedDate"]
    );
    let diff = event.body["Description"].as_str().unwrap();
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, new.as_bytes());
    let hash: String = digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    assert!(
        diff.starts_with(&format!("--- \n+++ {hash}\n@@ -28,7 +28,7 @@\n")),
        "{diff}"
    );
    assert!(diff.contains("\n-as it was\n+as it is\n"), "{diff}");

    let long = "word ".repeat(26_000);
    let texts = [
        "Features",
        "Specifications",
        "Support",
        "Summary",
        "Warranty",
        "Downloads",
        "Search_Description",
    ];
    let mut change: serde_json::Map<_, _> = texts
        .map(|name| (format!("s_c__{name}_Markdown__c"), json!(long)))
        .into_iter()
        .collect();
    change.insert("s_c__Search_Keywords__c".to_owned(), json!(long));
    change.insert("s_c__Meta_Description__c".to_owned(), json!(long));
    assert_eq!(org.send(Method::PATCH, &path, json!(change)).await.0, 204);
    let event = subscriber.event().await;
    assert_eq!(
        (event.told(), event.ids()),
        ("GAP_UPDATE Product2 1".to_owned(), vec![id.as_str()])
    );
    org.stop().await;
}

#[tokio::test]
async fn the_selection_can_be_changed_up_to_its_limit() {
    let org = start().await;
    let six = json!({"entities": ["Account", "Contact", "Order", "OrderItem", "Product2", "Lead"]});
    let (status, refusal) = org.post("/sandbox/selection", six.clone()).await;
    assert_eq!(
        (status, &refusal[0]["errorCode"]),
        (400, &json!("LIMIT_EXCEEDED"))
    );
    let mut raised = six;
    raised["max"] = json!(10);
    let told = control(&org, "selection", raised).await;
    assert_eq!(
        (told["entities"].as_array().unwrap().len(), &told["max"]),
        (6, &json!(10))
    );
    let (_, lead) = org
        .post("sobjects/Lead", json!({"LastName": "Lee", "Company": "Tea"}))
        .await;
    let mut subscriber = Subscriber::from(&org, "/data/LeadChangeEvent", Some(&[])).await;
    assert_eq!(subscriber.event().await.ids(), [lead["id"].as_str().unwrap()]);
    org.stop().await;
}

#[tokio::test]
async fn events_are_kept_for_three_days_of_the_orgs_clock() {
    let org = start().await;
    org.account("A").await;
    org.account("A2").await;
    let mut subscriber = Subscriber::from(&org, ALL, Some(&[])).await;
    let first = subscriber.event().await;
    let before = control(&org, "clock", json!({"advance_ms": 71 * 3_600_000})).await;
    let mut again = Subscriber::from(&org, ALL, Some(&first.replay_id)).await;
    org.account("B").await;
    assert_eq!(again.event().await.body["Name"], "A2");
    assert_eq!(again.event().await.body["Name"], "B");
    let after = control(&org, "clock", json!({"advance_ms": 2 * 3_600_000})).await;
    assert!(before["now"].as_str() < after["now"].as_str());
    let mut late = Subscriber::from(&org, ALL, Some(&first.replay_id)).await;
    let status = late.refusal().await;
    let code = status.metadata().get("error-code").unwrap().to_str().unwrap();
    assert!(
        code.ends_with("subscription.fetch.replayid.corrupted"),
        "{status:?}"
    );
    let mut earliest = Subscriber::from(&org, ALL, Some(&[])).await;
    assert_eq!(
        earliest.event().await.body["Name"],
        "B",
        "what is younger is still there"
    );
    assert_eq!(org.post("/sandbox/clock", json!({"advance_ms": -1})).await.0, 400);
    org.stop().await;
}

#[tokio::test]
async fn a_script_plays_its_phases_over_the_org() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("day.toml");
    let phase = "rate_per_second = 500\ntransactions = 20\n";
    let text = format!(
        "seed = 7\n[[phase]]\nname = \"prices\"\n{phase}prices = 1\npercent = 50.0\n[[phase]]\nname = \"season\"\n{phase}imports = 1\nbatch = 2"
    );
    std::fs::write(&path, text).unwrap();
    let org = start_with(|options| options.script = Some(path)).await;
    let mut subscriber = Subscriber::from(&org, ALL, Some(&[])).await;
    for _ in 0..20 {
        let event = subscriber.event().await;
        assert_eq!(event.told(), "UPDATE PricebookEntry 1");
        assert_eq!(
            subscriber.names(&event, "changedFields"),
            ["UnitPrice", "LastModifiedDate"]
        );
    }
    assert_eq!(subscriber.event().await.told(), "CREATE Product2 1");
    std::fs::write(dir.path().join("empty.toml"), "").unwrap();
    let wrong = storesync_sandbox::Options {
        script: Some(dir.path().join("empty.toml")),
        ..Default::default()
    };
    let error = storesync_sandbox::start(wrong).await.err().unwrap();
    assert!(format!("{error:#}").contains("read the script"), "{error:#}");
    org.stop().await;
}
