//! Values that may not be kept, in every byte of the state directory: secrets of the org, and what is left out.

use serde_json::{Value, json};

use crate::forget::{replays, traces, untraced};
use crate::outbound::configure;
use crate::world::{Sandbox, converge, eventually};

/// Values of fields that are never kept, however they come.
const SECRETS: [&str; 3] = [
    "sk_live_Nyctosaurus",
    "https://reset.example/Dsungaripterus",
    "pk_Tapejara",
];
/// Of a field that the configuration leaves out.
const LEFT_OUT: &str = "Thalassodromeus";
/// Of fields that are mirrored.
const KEPT: [&str; 2] = ["Tupandactylus", "Caiuajara"];

const PROVIDER: &str = "s_c__Payment_Provider__c";
const LOGINS: &str = "s_c__Authentication_Provider__c";

/// Streams objects with secrets.
async fn select(org: &Sandbox) {
    let entities = [PROVIDER, LOGINS, "Product2", "Contact"];
    org.control("selection", json!({"entities": entities, "max": 10}))
        .await;
}

/// Events of records that are made and changed, with values that may not be kept and others.
async fn change(org: &Sandbox) -> String {
    let provider = org.some(PROVIDER, "").await;
    let logins = org.some(LOGINS, "").await;
    let secret = json!({"s_c__Api_Secret__c": SECRETS[0], "s_c__Api_Key__c": SECRETS[2], "s_c__Display_Name__c": KEPT[0]});
    org.update(PROVIDER, &provider, secret).await;
    org.update(LOGINS, &logins, json!({"s_c__Reset_Password_URL__c": SECRETS[1]}))
        .await;
    let person =
        json!({"LastName": KEPT[1], "Department": LEFT_OUT, "s_c__Reset_Password_URL__c": SECRETS[1]});
    let contact = org.create("Contact", person).await;
    converge(org).await;
    contact
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

/// What the journal holds of the newest event of an object.
async fn newest(org: &Sandbox, object: &str) -> Value {
    let (exit, listed, problem) = org
        .verb(&["events", "list", "--object", object, "--limit", "1", "--json"])
        .await;
    assert_eq!(exit, 0, "{problem}");
    let listed: Value = serde_json::from_str(&listed).unwrap();
    let number = listed.as_array().unwrap().last().unwrap()["number"].to_string();
    let (exit, shown, problem) = org.verb(&["events", "show", &number, "--json"]).await;
    assert_eq!(exit, 0, "{problem}");
    serde_json::from_str(&shown).unwrap()
}

fn value<'v>(event: &'v Value, field: &str) -> Option<&'v Value> {
    let fields = event["fields"].as_array().unwrap().iter();
    let found = fields.filter(|set| set["field"] == field);
    found.map(|set| &set["value"]).next()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_may_not_be_kept_is_in_no_byte_that_is_written() {
    let org = Sandbox::start(&["--products", "5", "--stores", "1"]).await;
    select(&org).await;
    configure(&org, "[sync.object.Contact]\nleave_out = [\"Department\"]\n");
    let mut daemon = org.daemon().await;
    daemon.live().await;
    change(&org).await;

    let denied = words(&[&SECRETS[..], &[LEFT_OUT]].concat());
    assert_eq!(traces(&org.state(), &denied), Vec::<String>::new());
    let kept = traces(&org.state(), &words(&KEPT));
    for word in KEPT {
        let in_journal = format!("{word} in journal.db");
        assert!(
            kept.iter().any(|trace| trace.starts_with(&in_journal)),
            "{kept:?}"
        );
    }
    let of_provider = newest(&org, PROVIDER).await;
    assert_eq!(
        of_provider["redacted"],
        json!(["s_c__Api_Key__c", "s_c__Api_Secret__c"])
    );
    assert_eq!(value(&of_provider, "s_c__Display_Name__c"), Some(&json!(KEPT[0])));
    // That it had a value is told, and no value.
    assert_eq!(value(&of_provider, "s_c__Api_Secret__c"), None);
    let id = of_provider["record_ids"][0].as_str().unwrap();
    let condition = "s_c__Api_Secret__c=null";
    let (exit, told, _) = org.verb(&["bisect", PROVIDER, id, condition]).await;
    assert_eq!(
        (exit, told.contains("its values are not kept")),
        (1, true),
        "{told}"
    );
    let of_field = ["events", "list", "--field", "s_c__Api_Secret__c"];
    let (_, told, _) = org.verb(&of_field).await;
    assert!(
        told.contains(PROVIDER) && !told.contains("Api_Secret__c ="),
        "{told}"
    );
    let of_contact = newest(&org, "Contact").await;
    assert_eq!(
        of_contact["redacted"],
        json!([
            "Department",
            "s_c__Reset_Password_URL__c",
            "s_c__Reset_Password__c"
        ])
    );
    assert_eq!(value(&of_contact, "LastName"), Some(&json!(KEPT[1])));
    let number = of_contact["number"].to_string();
    let (_, text, _) = org.verb(&["events", "show", &number]).await;
    let told = "values not kept of: Department, s_c__Reset_Password_URL__c, s_c__Reset_Password__c";
    assert!(text.contains(told), "{text}");
    let plain = newest(&org, LOGINS).await;
    assert_eq!(plain["redacted"], json!(["s_c__Reset_Password_URL__c"]));

    daemon.running.stop();
    assert_eq!(traces(&org.state(), &denied), Vec::<String>::new());
    replays(&org, "again.db").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_left_out_later_goes_from_what_was_kept_before() {
    let org = Sandbox::start(&["--products", "5", "--stores", "1"]).await;
    select(&org).await;
    let mut daemon = org.daemon().await;
    daemon.live().await;
    let contact = change(&org).await;
    // A page of records read again holds it too.
    let update = json!([{"attributes": {"type": "Contact"}, "Id": contact, "Phone": "0400 2"}]);
    org.control("changes", json!({"told": "gaps", "update": update}))
        .await;
    converge(&org).await;
    org.settled().await;
    let left_out = words(&[LEFT_OUT]);
    let before = traces(&org.state(), &left_out);
    for place in ["journal.db", "page"] {
        assert!(
            before.iter().any(|trace| trace.contains(place)),
            "{place}: {before:?}"
        );
    }
    daemon.running.kill();
    configure(&org, "[sync.object.Contact]\nleave_out = [\"Department\"]\n");
    let mut daemon = org.daemon().await;
    daemon.live().await;
    untraced(&org, &words(&[LEFT_OUT])).await;
    let kept = traces(&org.state(), &words(&KEPT));
    assert!(kept.iter().any(|trace| trace.contains("page")), "{kept:?}");
    let of_contact = eventually("the older event tells what it lost", async || {
        let (_, listed, _) = org
            .verb(&[
                "events", "list", "--object", "Contact", "--kind", "CREATE", "--json",
            ])
            .await;
        let listed: Value = serde_json::from_str(&listed).ok()?;
        let event = listed.as_array()?.last()?.clone();
        (event["redacted"].as_array()?.len() == 3).then_some(event)
    })
    .await;
    assert_eq!(
        of_contact["redacted"],
        json!([
            "s_c__Reset_Password_URL__c",
            "s_c__Reset_Password__c",
            "Department"
        ])
    );
    for told in ["of the journal are gone through", "holds no value any more"] {
        eventually(told, async || daemon.running.said().contains(told).then_some(())).await;
    }
    assert_eq!(daemon.status().await.unwrap()["journal"]["unredacted"], 0);
    daemon.running.stop();
    replays(&org, "again.db").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_an_event_with_secrets_that_cannot_be_read_nothing_is_kept() {
    let org = Sandbox::start(&["--products", "5", "--stores", "1"]).await;
    select(&org).await;
    let mut daemon = org.daemon().await;
    daemon.live().await;
    org.fault(json!({"rpc": "Subscribe", "on": "events", "times": 1, "fault": "truncate_payload"}))
        .await;
    let provider = org.some(PROVIDER, "").await;
    let secret = json!({"s_c__Api_Secret__c": SECRETS[0], "s_c__Api_Key__c": SECRETS[2], "s_c__Display_Name__c": KEPT[0]});
    org.update(PROVIDER, &provider, secret).await;
    // The object is read again, and so is what the event told.
    converge(&org).await;
    let (_, parked, _) = org.verb(&["events", "parked", "--json"]).await;
    let parked: Value = serde_json::from_str(&parked).unwrap();
    let event = &parked[0]["events"][0];
    assert_eq!(
        (&event["payload"], &event["redacted"]),
        (&json!(""), &json!(["*"])),
        "{parked}"
    );
    let reason = parked[0]["reason"].as_str().unwrap();
    assert!(reason.contains("its bytes were not kept"), "{reason}");
    daemon.running.stop();
    assert_eq!(traces(&org.state(), &words(&SECRETS)), Vec::<String>::new());
    replays(&org, "again.db").await;
}
