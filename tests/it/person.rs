//! What is held of a person is found wherever it is, told without what is others', and proved to be gone once it is erased.

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reqwest::Method;
use rusqlite::Connection;
use serde_json::{Value, json};
use storesync::store::journal::JournalReader;
use storesync::store::subject::classes::{class, is_mirrored, listed};
use storesync::store::subject::folder::KINDS;
use storesync::store::subject::rows::Database;

use crate::process::DATA_PATH;
use crate::world::{Daemon, Sandbox, a_store, cache, converge, eventually, mirrored, order, select};

const NAME: &str = "Quetzalcoatlus";
const MAIL: &str = "quetzal.7731@private.example";
const KEY: &str = "CANARY-KEY-7731";
const PHONE: &str = "0491 577 731";
const STREET: &str = "77 Hidden Hollow";

const OTHER_NAME: &str = "Neighbourly";
const OTHER_MAIL: &str = "bo.neighbour@other.example";

/// Everything by which the person can be told.
const CANARIES: [&str; 5] = [NAME, MAIL, KEY, PHONE, STREET];

/// Records of the person, by object, in an order in which they can be deleted.
struct Person {
    contact: String,
    account: String,
    other: String,
    records: Vec<(String, String)>,
}

async fn sent(daemon: &Daemon, path: &str, key: Option<&str>, body: &Value) {
    let (status, answer) = daemon.send(Method::POST, &daemon.api, path, key, body).await;
    assert_eq!(status, 202, "{path}: {answer}");
    let told = daemon
        .until(
            answer["status_url"].as_str().unwrap(),
            &["confirmed", "sent", "needs_attention"],
        )
        .await;
    assert_ne!(told["state"], "needs_attention", "{path}: {told}");
}

/// Everything that a storefront can send of a person.
async fn come(org: &Sandbox, daemon: &Daemon) -> Person {
    let (store, currency, products) = a_store(daemon).await;
    let customer =
        json!({"external_id": KEY, "email": MAIL, "first_name": "Ana", "last_name": NAME, "phone": PHONE});
    let mut placed = order("CANARY-ORDER", &currency, &[(&products[0], 1)]);
    placed["customer"] = customer.clone();
    placed["shipping_address"]["street"] = STREET.into();
    let (status, answer) = daemon.place(&store, &placed).await.unwrap();
    assert_eq!(status, 202, "{answer}");
    daemon
        .until(&format!("/v1/stores/{store}/orders/CANARY-ORDER"), &["confirmed"])
        .await;
    let base = format!("/v1/stores/{store}");
    let mut changed = customer.clone();
    changed["title"] = format!("Dr {NAME}").into();
    sent(daemon, &format!("{base}/customers"), Some("CHANGE-1"), &changed).await;
    let person = json!({"external_id": KEY});
    let form = org.some("s_c__Form__c", "").await;
    let campaign = org.some("Campaign", "").await;
    for (path, body) in [
        (
            "cases",
            json!({"external_id": "CASE-1", "subject": STREET, "customer": person}),
        ),
        (
            "leads",
            json!({"external_id": "LEAD-1", "last_name": NAME, "email": MAIL, "message": STREET}),
        ),
        (
            "assets",
            json!({"external_id": "ASSET-1", "name": format!("Drum of {NAME}"), "customer": person}),
        ),
        (
            "campaign-members",
            json!({"external_id": "MEMBER-1", "campaign_id": campaign, "customer": person}),
        ),
        (
            "form-submissions",
            json!({"external_id": "FORM-1", "form_id": form, "customer": person,
                "answers": [{"question": "Mail?", "answer": MAIL}]}),
        ),
    ] {
        sent(daemon, &format!("{base}/{path}"), None, &body).await;
    }
    let contact = org.some("Contact", &format!("WHERE External_ID__c = '{KEY}'")).await;
    let account = org.some("Account", &format!("WHERE External_ID__c = '{KEY}'")).await;
    let other = json!({"FirstName": "Bo", "LastName": OTHER_NAME, "Email": OTHER_MAIL, "ReportsToId": contact});
    let other = org.create("Contact", other).await;
    let mut records = Vec::new();
    for (object, which) in [
        (
            "s_c__Form_Answer__c",
            "s_c__Form_Submission_Id__r.s_c__sC_Id__c = 'FORM-1'".to_owned(),
        ),
        ("s_c__Form_Submission__c", format!("s_c__Contact_Id__c = '{contact}'")),
        ("CampaignMember", format!("ContactId = '{contact}'")),
        ("Asset", format!("ContactId = '{contact}'")),
        ("Case", format!("ContactId = '{contact}'")),
        ("Lead", format!("Email = '{MAIL}'")),
        ("Order", format!("BillToContactId = '{contact}'")),
        ("Contact", format!("Id = '{contact}'")),
        ("Account", format!("Id = '{account}'")),
    ] {
        records.push((object.to_owned(), org.some(object, &format!("WHERE {which}")).await));
    }
    Person {
        contact,
        account,
        other,
        records,
    }
}

/// Puts the person into every field of text that a record has and that takes it; gives how many that were.
async fn plant(org: &Sandbox, object: &str, id: &str) -> usize {
    let request = |base: &str, token: &str| {
        let describe = format!("{base}{DATA_PATH}/sobjects/{object}/describe");
        org.http.get(describe).bearer_auth(token)
    };
    let describe: Value = org.send(request).await.json().await.unwrap();
    let fields = describe["fields"].as_array().unwrap().iter();
    let is_free = |field: &&Value| {
        field["updateable"] == true && field["externalId"] != true && field["unique"] != true
    };
    let mut planted = 0;
    for field in fields.filter(is_free) {
        let length = usize::try_from(field["length"].as_u64().unwrap_or(0)).unwrap();
        let value = match field["type"].as_str().unwrap() {
            "string" if length >= NAME.len() => NAME.to_owned(),
            "textarea" if length >= 200 => format!("{NAME} of {STREET}, {MAIL}; not {OTHER_MAIL}"),
            "textarea" => STREET.to_owned(),
            "email" => MAIL.to_owned(),
            "phone" => PHONE.to_owned(),
            "url" => format!("https://private.example/{NAME}"),
            _ => continue,
        };
        let named = json!({ field["name"].as_str().unwrap(): value });
        let patched = org
            .call(Method::PATCH, &format!("sobjects/{object}/{id}"), &named)
            .await;
        planted += usize::from(patched.0 == 204);
    }
    planted
}

async fn told(org: &Sandbox, arguments: &[&str]) -> (i32, Value, String) {
    let (exit, said, problem) = org.verb(&[arguments, &["--json"]].concat()).await;
    let told = serde_json::from_str(&said).unwrap_or(Value::Null);
    (exit, told, format!("{said}{problem}"))
}

/// The places that are told: file and table.
fn places(held: &Value) -> BTreeSet<String> {
    let groups = held.as_array().unwrap().iter();
    let text = |group: &Value, member: &str| group[member].as_str().unwrap().to_owned();
    groups
        .map(|group| format!("{} {}", text(group, "file"), text(group, "table")))
        .collect()
}

/// An event about the person that cannot be read, and the records read again for it.
async fn park(org: &Sandbox, person: &Person) {
    org.fault(json!({"rpc": "Subscribe", "on": "events", "times": 1, "fault": "truncate_payload"}))
        .await;
    org.update("Contact", &person.contact, json!({"Department": NAME, "Description": MAIL}))
        .await;
    eventually("the event is parked", async || {
        let (_, parked, _) = org.verb(&["events", "parked", "--json"]).await;
        let parked: Value = serde_json::from_str(&parked).ok()?;
        (parked[0]["object"] == "Contact").then_some(())
    })
    .await;
    let gap = json!([{"attributes": {"type": "Contact"}, "Id": person.contact, "Fax": PHONE}]);
    org.control("changes", json!({"told": "gaps", "update": gap})).await;
    converge(org).await;
    org.settled().await;
}

/// Where any of the words is, in any file as it is, in UTF-16 or base64, and in what the journal has packed.
fn grep(state: &Path, words: &[&str]) -> Vec<String> {
    let mut places: Vec<(String, Vec<u8>)> = Vec::new();
    for entry in std::fs::read_dir(state).unwrap() {
        let path = entry.unwrap().path();
        let bytes = std::fs::read(&path).unwrap_or_default();
        places.push((path.display().to_string(), bytes));
    }
    let journal = JournalReader::open(state).unwrap();
    for page in journal.pages(0, usize::MAX).unwrap() {
        places.push((format!("page {}", page.number), page.unpack().unwrap()));
    }
    let mut found = Vec::new();
    for (place, bytes) in &places {
        let folded = bytes.to_ascii_lowercase();
        for word in words {
            let lower = word.to_lowercase();
            let utf16: Vec<u8> = lower.encode_utf16().flat_map(u16::to_le_bytes).collect();
            let in_base64 = (0..3).any(|before| {
                let text = STANDARD.encode(format!("{}{word}", "x".repeat(before)));
                let inner = &text.as_bytes()[4..text.len() - 4];
                bytes.windows(inner.len()).any(|window| window == inner)
            });
            let has = |part: &[u8]| folded.windows(part.len()).any(|window| window == part);
            if has(lower.as_bytes()) || has(&utf16) || in_base64 {
                found.push(format!("{word} in {place}"));
            }
        }
    }
    found
}

/// Takes the person out of the org, with all that is the person's.
async fn leave(org: &Sandbox, person: &Person) {
    // What remains of the neighbour, and of what the neighbour is in, names the person no more.
    org.update("Contact", &person.other, json!({"ReportsToId": null})).await;
    for (object, id) in &person.records {
        if object == "Order" {
            let draft = json!({"Status": "Draft"});
            org.call(Method::PATCH, &format!("sobjects/Order/{id}"), &draft).await;
        }
        let (status, answer) = org
            .call(Method::DELETE, &format!("sobjects/{object}/{id}"), &Value::Null)
            .await;
        assert!(status == 204 || status == 404, "{object} {id}: {answer}");
    }
}

#[tokio::test(flavor = "multi_thread")]
#[allow(clippy::too_many_lines, reason = "one story, told in its order")]
async fn who_is_held_is_told_and_exported_and_after_an_erasure_nothing_is_held() {
    let org = Sandbox::start(&["--products", "12", "--stores", "1"]).await;
    let mut daemon = org.daemon().await;
    daemon.live().await;
    let person = come(&org, &daemon).await;
    let ordered = person.records.iter().find(|(object, _)| object == "Order").unwrap();
    org.call(
        Method::PATCH,
        &format!("sobjects/Order/{}", ordered.1),
        &json!({"ShipToContactId": person.other}),
    )
    .await;
    for (object, id) in &person.records {
        let planted = plant(&org, object, id).await;
        println!("{planted} fields of {object} have the person");
    }
    converge(&org).await;
    park(&org, &person).await;

    // By the record and by the address the same is found.
    let by_id = ["person", "Contact", &person.contact[..15]];
    let (exit, found, said) = told(&org, &by_id).await;
    assert_eq!(exit, 0, "{said}");
    let (_, by_mail, _) = told(&org, &["person", &MAIL.to_uppercase()]).await;
    assert_eq!(places(&found["held"]), places(&by_mail["held"]));
    let held = places(&found["held"]);
    println!("{found:#}");
    let mut expected: BTreeSet<String> = [
        "cache.db _change",
        "journal.db event",
        "journal.db body",
        "journal.db page",
        "outbox.db writes",
        "outbox.db bodies",
        "outbox.db exchanges",
        "outbox.db persons",
    ]
    .map(str::to_owned)
    .into();
    let tables = mirrored(&cache(&org.state()));
    for (object, _) in &person.records {
        let table = object.to_lowercase();
        if tables.contains(&table) {
            expected.insert(format!("cache.db {table}"));
        }
    }
    let missing: Vec<&String> = expected.difference(&held).collect();
    assert!(missing.is_empty(), "{missing:?} of {held:?}");
    let tokens = found["person"]["tokens"].to_string();
    for token in [&person.contact, &person.account, &MAIL.to_owned(), &KEY.to_lowercase()] {
        assert!(tokens.contains(token), "{token} is not in {tokens}");
    }
    assert!(!tokens.contains(&person.other) && !tokens.contains(OTHER_MAIL), "{tokens}");
    daemon.running.stop();
}
