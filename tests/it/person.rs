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

use crate::forget::replays;
use crate::process::DATA_PATH;
use crate::world::{Daemon, Sandbox, a_store, cache, converge, eventually, mirrored, order};

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
    records_of(org).await
}

/// What the org has made of it, and a neighbour who reports to the person.
async fn records_of(org: &Sandbox) -> Person {
    let contact = org
        .some("Contact", &format!("WHERE External_ID__c = '{KEY}'"))
        .await;
    let account = org
        .some("Account", &format!("WHERE External_ID__c = '{KEY}'"))
        .await;
    let other =
        json!({"FirstName": "Bo", "LastName": OTHER_NAME, "Email": OTHER_MAIL, "ReportsToId": contact});
    let other = org.create("Contact", other).await;
    let mut records = Vec::new();
    for (object, which) in [
        (
            "s_c__Form_Answer__c",
            "s_c__Form_Submission_Id__r.s_c__sC_Id__c = 'FORM-1'".to_owned(),
        ),
        (
            "s_c__Form_Submission__c",
            format!("s_c__Contact_Id__c = '{contact}'"),
        ),
        ("CampaignMember", format!("ContactId = '{contact}'")),
        ("Asset", format!("ContactId = '{contact}'")),
        ("Case", format!("ContactId = '{contact}'")),
        ("Lead", format!("Email = '{MAIL}'")),
        ("Order", format!("BillToContactId = '{contact}'")),
        ("Contact", format!("Id = '{contact}'")),
        ("Account", format!("Id = '{account}'")),
    ] {
        records.push((
            object.to_owned(),
            org.some(object, &format!("WHERE {which}")).await,
        ));
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
    org.update(
        "Account",
        &person.account,
        json!({"Site": NAME, "Description": MAIL}),
    )
    .await;
    eventually("the event is parked", async || {
        let (_, parked, _) = org.verb(&["events", "parked", "--json"]).await;
        let parked: Value = serde_json::from_str(&parked).ok()?;
        (parked[0]["object"] == "Account").then_some(())
    })
    .await;
    let gap = json!([{"attributes": {"type": "Account"}, "Id": person.account, "Fax": PHONE}]);
    org.control("changes", json!({"told": "gaps", "update": gap}))
        .await;
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
    org.update("Contact", &person.other, json!({"ReportsToId": null}))
        .await;
    for (object, id) in &person.records {
        if object == "Order" {
            let draft = json!({"Status": "Draft"});
            org.call(Method::PATCH, &format!("sobjects/Order/{id}"), &draft)
                .await;
        }
        let (status, answer) = org
            .call(Method::DELETE, &format!("sobjects/{object}/{id}"), &Value::Null)
            .await;
        assert!(status == 204 || status == 404, "{object} {id}: {answer}");
    }
}

/// Objects that the profile leaves out, and storefronts write.
const BESIDES: (&str, &str) = (
    "STORESYNC__SYNC__OBJECTS",
    "Lead,CampaignMember,s_c__Form_Submission__c,s_c__Form_Answer__c",
);

/// An order that the neighbour is in too, and a person in every field.
async fn settle(org: &Sandbox, person: &Person) {
    let (_, ordered) = person
        .records
        .iter()
        .find(|(object, _)| object == "Order")
        .unwrap();
    let ships = json!({"ShipToContactId": person.other});
    let path = format!("sobjects/Order/{ordered}");
    assert_eq!(org.call(Method::PATCH, &path, &ships).await.0, 204);
    for (object, id) in &person.records {
        let planted = plant(org, object, id).await;
        assert!(planted > 0 || object == "CampaignMember", "{object}");
    }
    converge(org).await;
    park(org, person).await;
}

/// Every place in which the person must be found.
fn expected(org: &Sandbox, person: &Person) -> BTreeSet<String> {
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
        assert!(tables.contains(&table), "{object} is not mirrored");
        expected.insert(format!("cache.db {table}"));
    }
    expected
}

async fn lists(org: &Sandbox, person: &Person) {
    let (exit, found, said) = told(org, &["person", "Contact", &person.contact[..15]]).await;
    assert_eq!(exit, 0, "{said}");
    let held = places(&found["held"]);
    let expected = expected(org, person);
    let missing: Vec<&String> = expected.difference(&held).collect();
    assert!(missing.is_empty(), "{missing:?} of {held:?}");
    let tokens = found["person"]["tokens"].to_string();
    for token in [
        &person.contact,
        &person.account,
        &MAIL.to_owned(),
        &KEY.to_lowercase(),
    ] {
        assert!(tokens.contains(token), "{token} is not in {tokens}");
    }
    assert!(
        !tokens.contains(&person.other) && !tokens.contains(OTHER_MAIL),
        "{tokens}"
    );
    // The same by the address, in whatever case.
    let (_, by_mail, _) = told(org, &["person", &MAIL.to_uppercase()]).await;
    assert_eq!(places(&by_mail["held"]), held);
    let (exit, said, _) = org.verb(&["person", MAIL]).await;
    assert!(
        exit == 0 && said.contains("exchanges") && !said.contains(STREET),
        "{said}"
    );
}

/// What is written out has the person's values, and of the neighbour nothing but where the person is found.
async fn exports(org: &Sandbox, person: &Person) {
    let file = org.dir.path().join("export.jsonl");
    let by_id = [
        "person",
        "Contact",
        &person.contact,
        "--export",
        file.to_str().unwrap(),
    ];
    let (exit, _, said) = org.verb(&by_id).await;
    assert_eq!(exit, 0, "{said}");
    let mode = std::fs::metadata(&file).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let text = std::fs::read_to_string(&file).unwrap();
    for canary in CANARIES {
        assert!(text.contains(canary), "{canary} is not in the export");
    }
    for other in [OTHER_NAME, OTHER_MAIL, &person.other[..15]] {
        let line = text.lines().find(|line| line.contains(other));
        assert_eq!(line, None, "{other} is in the export");
    }
    let lines: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(
        lines.last().unwrap()["places"].as_u64().unwrap() as usize,
        lines.len() - 2
    );
    let neighbours = lines
        .iter()
        .find(|line| line["table"] == "contact" && line["values"]["reportstoid"] == *person.contact);
    let neighbours = neighbours.expect("who reports to the person is told");
    assert_eq!(neighbours["values"]["lastname"], "[another person]");
    // What is there is left as it is, and who wrote it out is in the audit.
    assert_eq!(org.verb(&by_id).await.0, 64);
    let (_, audit, _) = org
        .verb(&["audit", "list", "--json", "--person", &person.contact])
        .await;
    assert!(audit.contains("\"what\":\"person\""), "{audit}");
}

/// Places that are held still, as the proof tells them.
async fn unerased(org: &Sandbox, person: &Person) -> (i32, Value, String) {
    let mut typed = vec!["person", "Account", &person.account, "--erased"];
    for text in CANARIES.iter().chain([&&*person.contact]) {
        typed.extend(["--text", text]);
    }
    told(org, &typed).await
}

/// Writes to a database as nothing of ours does: what is deleted is not overwritten.
fn tamper(org: &Sandbox, file: &str, sql: &str) {
    let connection = Connection::open(org.state().join(file)).unwrap();
    connection.pragma_update(None, "secure_delete", false).unwrap();
    connection.execute_batch(sql).unwrap();
    connection
        .query_row("pragma wal_checkpoint(truncate)", [], |_| Ok(()))
        .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_held_is_told_and_exported_and_after_an_erasure_nothing_is_held() {
    let org = Sandbox::start(&["--products", "12", "--stores", "1"]).await;
    let mut daemon = org.daemon_with(&[BESIDES]).await;
    daemon.live().await;
    let person = come(&org, &daemon).await;
    settle(&org, &person).await;
    lists(&org, &person).await;
    exports(&org, &person).await;
    let backup = org.dir.path().join("backup");
    let backup = backup.to_str().unwrap();
    assert_eq!(org.verb(&["backup", backup]).await.0, 0);
    let (exit, before, _) = unerased(&org, &person).await;
    assert!(exit == 1 && before["erased"] == false, "{before}");

    leave(&org, &person).await;
    let started = std::time::Instant::now();
    loop {
        let (exit, left, said) = unerased(&org, &person).await;
        if exit == 0 {
            break;
        }
        assert!(started.elapsed().as_secs() < 60, "{left:#} {said}");
        tokio::time::sleep(std::time::Duration::from_millis(500)).await;
    }
    assert_eq!(grep(&org.state(), &CANARIES[..2]), Vec::<String>::new());
    daemon.running.stop();
    assert_eq!(grep(&org.state(), &CANARIES[..2]), Vec::<String>::new());
    let (exit, told_of, said) = unerased(&org, &person).await;
    assert_eq!(exit, 0, "{said}");
    let stays = told_of["stays"].to_string();
    assert!(
        stays.contains("change feed") && stays.contains("stand-ins"),
        "{stays}"
    );
    assert!(told_of["audit_entries"].as_u64() > Some(0), "{told_of}");
    // A backup is told of, and is not what is proved.
    let typed = ["person", MAIL, "--erased", "--backup", backup];
    let (exit, told_of, said) = told(&org, &typed).await;
    assert_eq!(exit, 0, "{said}");
    assert!(
        places(&told_of["backups"][0]["held"]).contains("cache.db contact"),
        "{told_of}"
    );
    replays(&org, "again.db").await;
    broken(&org, &person).await;
}

/// An erasure that leaves something is told of, with the file.
async fn broken(org: &Sandbox, person: &Person) {
    let insert = format!(
        "insert into contact (id, _rev, _base, lastname) values ('003000000000009AAA', 1, 0, '{NAME}')"
    );
    let utf16: String = MAIL
        .encode_utf16()
        .map(|unit| format!("{:04x}", unit.swap_bytes()))
        .collect();
    let base64 = STANDARD.encode(format!("?{MAIL}"));
    let scratch = |value: &str| {
        format!("create table scratch (a); insert into scratch values ({value}); drop table scratch")
    };
    let noted = |value: &str| format!("insert into mark values ({value}, 1)");
    for (file, put, within) in [
        ("cache.db", insert.as_str(), "contact.lastname"),
        ("journal.db", &scratch(&format!("'{MAIL}'")), "bytes"),
        ("outbox.db", &scratch(&format!("x'{utf16}'")), "bytes"),
        ("journal.db", &noted(&format!("'{base64}'")), "mark.name"),
    ] {
        // One after the other, each upon what was whole.
        let (path, whole) = (org.state().join(file), org.dir.path().join("whole.db"));
        std::fs::copy(&path, &whole).unwrap();
        tamper(org, file, put);
        let (exit, told_of, said) = unerased(org, person).await;
        let held = &told_of["held"][0];
        assert!(
            exit == 1 && held["file"] == file && held["within"] == within,
            "{put}: {said}"
        );
        for log in ["-wal", "-shm"] {
            drop(std::fs::remove_file(org.state().join(format!("{file}{log}"))));
        }
        std::fs::copy(&whole, &path).unwrap();
    }
    std::fs::write(org.state().join("left.txt"), format!("for {MAIL}")).unwrap();
    let (exit, told_of, _) = unerased(org, person).await;
    assert!(exit == 1 && told_of["held"][0]["file"] == "left.txt", "{told_of}");
}

/// Every column of every file has been decided about, and nothing is listed that is not there.
#[test]
fn what_each_column_holds_is_decided() {
    let dir = tempfile::tempdir().unwrap();
    let state = dir.path();
    drop(storesync::store::cache::Cache::open(state).unwrap());
    drop(storesync::store::journal::Journal::open(state).unwrap());
    drop(storesync::store::journal::index::Index::open(state).unwrap());
    drop(storesync::store::outbox::open(state, 0).unwrap());
    for kind in KINDS {
        let database = Database::open(&state.join(kind.file_name), kind).unwrap();
        let mut there = BTreeSet::new();
        for table in &database.tables {
            assert!(
                !is_mirrored(kind.file_name, &table.name),
                "{} is not an object",
                table.name
            );
            for column in &table.columns {
                there.insert((table.name.clone(), column.name.clone()));
            }
        }
        assert!(!there.is_empty(), "{}", kind.file_name);
        let undecided: Vec<_> = there
            .iter()
            .filter(|(table, column)| class(kind.file_name, table, column).is_none())
            .collect();
        assert!(
            undecided.is_empty(),
            "decide in classes.rs what {undecided:?} of {} hold",
            kind.file_name
        );
        let gone: Vec<_> = listed(kind.file_name)
            .filter(|(table, column)| !there.contains(&((*table).to_owned(), (*column).to_owned())))
            .collect();
        assert!(gone.is_empty(), "{gone:?} of {} are no more", kind.file_name);
    }
}
