//! `storesync events decode`, as someone with a capture uses it.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value as Json, json};
use storesync::model::clock::Clock;
use storesync::sandbox::avro::{Body, ChangeType, EventSchema, Header, Seen};
use storesync::sandbox::org::{DEFAULT_ENTITIES, Org, OrgOptions, Origin, RecordErrors};

use crate::world::storesync;

/// Exit status, standard output and standard error.
fn decode(schema: &Path, payload: &str) -> (Option<i32>, String, String) {
    let mut command: Command = storesync();
    command.args(["events", "decode", "--schema"]).arg(schema);
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(payload.as_bytes()).unwrap();
    let done = child.wait_with_output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (done.status.code(), text(done.stdout), text(done.stderr))
}

#[test]
fn a_payload_is_shown_by_the_names_of_its_schema() {
    let dir = tempfile::tempdir().unwrap();
    let org = Org::new(OrgOptions {
        seed: 1,
        products: 5,
        stores: 1,
        clock: Clock::System,
        selected_entities: DEFAULT_ENTITIES.map(str::to_owned).to_vec(),
    })
    .unwrap();
    let origin = Origin {
        client: "tests".to_owned(),
        user: org.user_id(),
    };
    let product = org.catalog().object("Product2").unwrap();
    let account = org.catalog().object("Account").unwrap();
    let (first, second) = org
        .transact(&origin, |tx| -> Result<_, RecordErrors> {
            let body = json!({"Name": "Tea", "IsActive": true, "ProductCode": "T"});
            let product = tx.create(product.index, body.as_object().unwrap())?;
            let body = json!({"Name": "Ana", "BillingCity": "Hobart", "AnnualRevenue": 12.5});
            Ok((product, tx.create(account.index, body.as_object().unwrap())?))
        })
        .unwrap();
    let before = org.read(|records| records.get(account.index, second).unwrap().clone());
    let change = json!({"BillingCity": "Perth", "AnnualRevenue": null});
    org.transact(&origin, |tx| {
        tx.update(account.index, second, change.as_object().unwrap())
    })
    .unwrap();
    let row = |object: usize, id| org.read(|records| records.get(object, id).unwrap().clone());
    let seen = |object: usize, write: &dyn Fn(&Seen<'_>) -> Body| {
        let (catalog, object) = (org.catalog(), &org.catalog().objects()[object]);
        org.read(|records| {
            write(&Seen {
                catalog,
                records,
                object,
                without_contacts: false,
            })
        })
    };
    let header = |change_type| Header {
        record_ids: vec![second.as_str()],
        change_type,
        change_origin: "com/salesforce/api/rest/67.0;client=tests",
        transaction_key: "00000000-0000-0000-0000-000000000000",
        sequence_number: 2,
        commit_timestamp: 1_790_000_000_000,
        commit_number: 11_520_000_000_000_001,
        commit_user: "005000000000000AAA",
    };
    let shown = |schema: &EventSchema, payload: &[u8]| -> Json {
        let file = dir.path().join("schema.avsc");
        std::fs::write(&file, &schema.json).unwrap();
        let (status, out, err) = decode(&file, &format!("{}\n", STANDARD.encode(payload)));
        assert_eq!((status, err.as_str()), (Some(0), ""));
        serde_json::from_str(&out).unwrap()
    };
    let schema = EventSchema::new(account);
    let row = row(account.index, second);
    let body = seen(account.index, &|seen| schema.updated(seen, &before, &row, true));
    let event = shown(&schema, &schema.payload(&header(ChangeType::Update), &body));
    assert_eq!(event["header"]["changeType"], "UPDATE");
    assert_eq!(event["header"]["recordIds"], json!([second.as_str()]));
    assert_eq!(event["header"]["commitNumber"], 11_520_000_000_000_001_i64);
    assert_eq!(event["header"]["changedFields"].as_array().unwrap().len(), 2);
    assert_eq!(event["fields"]["BillingAddress.City"], "Perth");
    assert_eq!(event["fields"].get("AnnualRevenue"), None, "nulls are not shown");
    let stamp = event["fields"]["LastModifiedDate"].as_i64().unwrap();
    assert_eq!(stamp % 1_000, 0, "as Avro has it: milliseconds");
    let mut changed: Vec<&str> = event["changed"]
        .as_array()
        .unwrap()
        .iter()
        .map(|name| name.as_str().unwrap())
        .collect();
    changed.sort_unstable();
    assert_eq!(
        changed,
        ["AnnualRevenue", "BillingAddress.City", "LastModifiedDate"]
    );
    assert_eq!(
        (&event["nulled"], &event["diff"]),
        (&json!(["AnnualRevenue"]), &json!([]))
    );
    let schema = EventSchema::new(product);
    let row = org.read(|records| records.get(product.index, first).unwrap().clone());
    let body = seen(product.index, &|seen| schema.created(seen, &row));
    let event = shown(&schema, &schema.payload(&header(ChangeType::Create), &body));
    assert_eq!(
        (&event["fields"]["IsActive"], &event["changed"]),
        (&json!(true), &json!([]))
    );
}

#[test]
fn what_cannot_be_decoded_is_told_in_a_sentence() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("schema.avsc");
    let catalog = storesync::sandbox::schema::Catalog::load().unwrap();
    std::fs::write(&file, EventSchema::new(catalog.object("Account").unwrap()).json).unwrap();
    let other = dir.path().join("other.avsc");
    std::fs::write(&other, r#"{"type": "string"}"#).unwrap();
    let table = [
        (file.as_path(), "AA==", "does not follow its schema"),
        (file.as_path(), "not base64!", "base64"),
        (other.as_path(), "AA==", "GetSchema"),
        (Path::new("/nowhere.avsc"), "AA==", "/nowhere.avsc"),
    ];
    for (schema, payload, word) in table {
        let (status, out, err) = decode(schema, payload);
        assert_eq!((status, out.as_str()), (Some(64), ""));
        assert!(err.contains(word) && err.lines().count() == 1, "{err}");
    }
}
