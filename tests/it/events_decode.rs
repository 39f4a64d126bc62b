//! `storesync events decode`, as someone with a capture uses it.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value as Json, json};
use storesync_sandbox::avro::{Body, ChangeType, EventSchema, Header, Seen};
use storesync_sandbox::clock::Clock;
use storesync_sandbox::org::{DEFAULT_ENTITIES, Org, OrgOptions, Origin, Record, RecordErrors, Transaction};
use storesync_sandbox::value::RecordId;

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

/// An org, and its rows as events.
struct World {
    org: Org,
    dir: tempfile::TempDir,
}

impl World {
    fn new() -> Self {
        let org = Org::new(OrgOptions {
            seed: 1,
            products: 5,
            stores: 1,
            clock: Clock::System,
            selected_entities: DEFAULT_ENTITIES.map(str::to_owned).to_vec(),
        });
        Self {
            org: org.unwrap(),
            dir: tempfile::tempdir().unwrap(),
        }
    }

    fn object(&self, name: &str) -> usize {
        self.org.catalog().object(name).unwrap().index
    }

    fn write<T>(&self, work: impl FnOnce(&mut Transaction<'_>) -> Result<T, RecordErrors>) -> T {
        let origin = Origin {
            client: "tests".to_owned(),
            user: self.org.user_id(),
        };
        self.org.transact(&origin, work).unwrap()
    }

    fn row(&self, object: usize, id: RecordId) -> Record {
        self.org.read(|records| records.get(object, id).unwrap().clone())
    }

    /// What the command prints of an event that is written by `body`.
    fn shown(
        &self,
        object: usize,
        id: RecordId,
        change_type: ChangeType,
        body: impl Fn(&EventSchema, &Seen<'_>) -> Body,
    ) -> Json {
        let object = &self.org.catalog().objects()[object];
        let schema = EventSchema::new(object);
        let header = Header {
            record_ids: vec![id.as_str()],
            change_type,
            change_origin: "com/salesforce/api/rest/67.0;client=tests",
            transaction_key: "00000000-0000-0000-0000-000000000000",
            sequence_number: 2,
            commit_timestamp: 1_790_000_000_000,
            commit_number: 11_520_000_000_000_001,
            commit_user: "005000000000000AAA",
        };
        let catalog = self.org.catalog();
        let payload = self.org.read(|records| {
            let seen = Seen {
                catalog,
                records,
                object,
                without_contacts: false,
            };
            schema.payload(&header, &body(&schema, &seen))
        });
        let file = self.dir.path().join("schema.avsc");
        std::fs::write(&file, &schema.json).unwrap();
        let (status, out, err) = decode(&file, &format!("{}\n", STANDARD.encode(payload)));
        assert_eq!((status, err.as_str()), (Some(0), ""));
        serde_json::from_str(&out).unwrap()
    }
}

#[test]
fn a_payload_is_shown_by_the_names_of_its_schema() {
    let world = World::new();
    let account = world.object("Account");
    let body = json!({"Name": "Ana", "BillingCity": "Hobart", "AnnualRevenue": 12.5});
    let id = world.write(|tx| tx.create(account, body.as_object().unwrap()));
    let before = world.row(account, id);
    let change = json!({"BillingCity": "Perth", "AnnualRevenue": null});
    world.write(|tx| tx.update(account, id, change.as_object().unwrap()));
    let after = world.row(account, id);
    let event = world.shown(account, id, ChangeType::Update, |schema, seen| {
        schema.updated(seen, &before, &after, true)
    });
    assert_eq!(event["header"]["changeType"], "UPDATE");
    assert_eq!(event["header"]["recordIds"], json!([id.as_str()]));
    assert_eq!(event["header"]["commitNumber"], 11_520_000_000_000_001_i64);
    assert_eq!(event["header"]["changedFields"].as_array().unwrap().len(), 2);
    assert_eq!(event["fields"]["BillingAddress.City"], "Perth");
    assert_eq!(event["fields"].get("AnnualRevenue"), None, "nulls are not shown");
    let stamp = event["fields"]["LastModifiedDate"].as_i64().unwrap();
    assert_eq!(stamp % 1_000, 0, "as Avro has it: milliseconds");
    let changed = event["changed"].as_array().unwrap().iter();
    let mut changed: Vec<&str> = changed.map(|name| name.as_str().unwrap()).collect();
    changed.sort_unstable();
    assert_eq!(
        changed,
        ["AnnualRevenue", "BillingAddress.City", "LastModifiedDate"]
    );
    assert_eq!(
        (&event["nulled"], &event["diff"]),
        (&json!(["AnnualRevenue"]), &json!([]))
    );

    let product = world.object("Product2");
    let body = json!({"Name": "Tea", "IsActive": true});
    let id = world.write(|tx| tx.create(product, body.as_object().unwrap()));
    let row = world.row(product, id);
    let event = world.shown(product, id, ChangeType::Create, |schema, seen| {
        schema.created(seen, &row)
    });
    assert_eq!(
        (&event["fields"]["IsActive"], &event["changed"]),
        (&json!(true), &json!([]))
    );
}

#[test]
fn what_cannot_be_decoded_is_told_in_a_sentence() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("schema.avsc");
    let catalog = storesync_sandbox::schema::Catalog::load().unwrap();
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
