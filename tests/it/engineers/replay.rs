//! The journal, through the door again.

use std::io::Write as _;
use std::path::Path;
use std::process::{Output, Stdio};

use rusqlite::Connection;
use serde_json::{Value, json};

use crate::world::{Sandbox, cache, converge, eventually, select, storesync};

/// What the storefront's views keep for themselves: made of the rows, by triggers that the daemon sets up. And when
/// something was proved of the org, which a replay does not ask.
const DERIVED: [&str; 6] = [
    "_proof",
    "_store_product",
    "_store_dirty",
    "_departed",
    "_book_store",
    "_gap",
];

/// Everything else that a cache holds, value by value with its type.
pub fn everything(path: &Path) -> Vec<String> {
    let connection = Connection::open(path).unwrap();
    let tables = select(
        &connection,
        "select name from sqlite_schema where type = 'table' and name not like 'sqlite%' order by name",
    );
    let mut all = Vec::new();
    for table in tables {
        let table = table["name"].as_str().unwrap().to_owned();
        if DERIVED.contains(&table.as_str()) {
            continue;
        }
        let columns = select(
            &connection,
            &format!("select name from pragma_table_info('{table}')"),
        );
        let list: Vec<String> = columns
            .iter()
            .map(
                |column| match (table.as_str(), column["name"].as_str().unwrap()) {
                    // Of a record: when what it shows of another was last proved.
                    ("_repair", "since") => "case when kind <> 'record' then quote(since) end".to_owned(),
                    (_, name) => format!("quote(\"{name}\")"),
                },
            )
            .collect();
        let sql = format!(
            "select concat_ws('|', {}) as row from \"{table}\"",
            list.join(", ")
        );
        let mut rows: Vec<String> = select(&connection, &sql)
            .into_iter()
            .map(|row| format!("{table}: {}", row["row"].as_str().unwrap()))
            .filter(|row| !row.starts_with("_meta: 'views'") && !row.starts_with("_meta: 'life'"))
            .collect();
        rows.sort();
        all.extend(rows);
    }
    all
}

/// Changes of every sort: some make events, some are polled, some have to be read again.
async fn a_busy_day(org: &Sandbox) {
    let products: Vec<String> = org
        .query("SELECT Id FROM Product2 ORDER BY Id LIMIT 12")
        .await
        .iter()
        .map(|row| row["Id"].as_str().unwrap().to_owned())
        .collect();
    for (number, id) in products.iter().enumerate() {
        org.update(
            "Product2",
            id,
            json!({"Description": format!("written {number}")}),
        )
        .await;
    }
    org.control(
        "changes",
        json!({"told": "gaps", "update": [{"attributes": {"type": "Product2"}, "Id": products[0], "Name": "Gap"}]}),
    )
    .await;
    org.control(
        "changes",
        json!({"told": "silently", "update": [{"attributes": {"type": "Product2"}, "Id": products[1], "Name": "Silent"}]}),
    )
    .await;
    org.delete("Product2", &products[2]).await;
    org.create(
        "Product2",
        json!({"Name": "New", "ProductCode": "NEW-1", "IsActive": true}),
    )
    .await;
    let contact = org.some("Contact", "").await;
    org.update("Contact", &contact, json!({"LastName": "Polled"}))
        .await;
    org.control("changes", json!({"told": "overflow", "announce": ["Pricebook2"]}))
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_whole_journal_gives_the_cache_twice() {
    let org = Sandbox::start(&["--products", "120"]).await;
    let mut daemon = org.daemon().await;
    daemon.live().await;
    a_busy_day(&org).await;
    org.settled().await;
    // Killed, not stopped: a batch may have been written down that the cache never saw.
    daemon.running.kill();
    let mut daemon = org.daemon().await;
    daemon.live().await;
    let id = org.some("Product2", "WHERE Name = 'Silent'").await;
    org.update("Product2", &id, json!({"Name": "After the crash"}))
        .await;
    let verify = ["verify", "--repair", "--object", "Product2"];
    eventually("nothing differs", async || {
        (org.verb(&verify).await.0 == 0).then_some(())
    })
    .await;
    org.settled().await;
    converge(&org).await;
    daemon.running.stop();

    let there = everything(&org.state().join("cache.db"));
    let mut bytes = Vec::new();
    for name in ["one.db", "two.db"] {
        let file = org.dir.path().join(name);
        let (exit, said, problem) = org
            .verb(&["replay", "--into", file.to_str().unwrap(), "--json"])
            .await;
        assert_eq!(exit, 0, "{problem}");
        let counts: Value = serde_json::from_str(&said).unwrap();
        assert!(counts["events"].as_u64().unwrap() > 15, "{counts}");
        let again = everything(&file);
        let differing: Vec<_> = there
            .iter()
            .filter(|row| again.binary_search(row).is_err())
            .chain(again.iter().filter(|row| there.binary_search(row).is_err()))
            .take(10)
            .collect();
        assert!(differing.is_empty(), "{differing:#?}");
        assert_eq!(there.len(), again.len());
        bytes.push(std::fs::read(&file).unwrap());
    }
    assert!(bytes[0] == bytes[1], "the two files differ");
    let (exit, said, _) = org.verb(&["replay", "--dry-run"]).await;
    assert_eq!(exit, 0, "{said}");
}

/// Beside the running daemon. Its scratch cache holds personal data: nothing of it stays.
async fn dry_runs_leave_nothing(org: &Sandbox) {
    let scratch = tempfile::tempdir().unwrap();
    let beside = [("TMPDIR", scratch.path().to_str().unwrap())];
    for arguments in [
        &["replay", "--dry-run"][..],
        &["replay", "--dry-run", "--from", "1"],
    ] {
        let (exit, said, _) = org.verb_with(&beside, arguments).await;
        assert_eq!(exit, 0, "{said}");
        let left: Vec<_> = std::fs::read_dir(scratch.path()).unwrap().collect();
        assert!(left.is_empty(), "{left:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_tells_what_differs_and_a_live_one_asks_first() {
    let org = Sandbox::start(&[]).await;
    let mut daemon = org.daemon().await;
    daemon.live().await;
    let product = org.some("Product2", "").await;
    for name in ["First", "Second", "Third"] {
        org.update("Product2", &product, json!({ "Name": name })).await;
    }
    converge(&org).await;
    dry_runs_leave_nothing(&org).await;
    let (exit, _, refusal) = org.verb(&["replay", "--live", "--from", "1"]).await;
    assert_eq!(exit, 69, "{refusal}");
    daemon.running.stop();

    let numbers: Vec<i64> = listed(&org, &["--object", "Product2", "--record", &product])
        .await
        .iter()
        .map(|event| event["number"].as_i64().unwrap())
        .collect();
    let [.., first, second, _] = numbers[..] else {
        panic!("{numbers:?}")
    };
    let part = ["--from", &first.to_string(), "--to", &second.to_string()].map(str::to_owned);
    let part: Vec<&str> = part.iter().map(String::as_str).collect();
    let command = [
        &["replay", "--dry-run", "--json", "--record", &product],
        &part[..],
    ]
    .concat();
    let (exit, said, _) = org.verb(&command).await;
    let said: Value = serde_json::from_str(&said).unwrap();
    assert_eq!((exit, &said["events"]), (1, &json!(2)), "{said}");
    let named = json!({"cache": "Third", "replay": "Second"});
    assert_eq!(differing(&said)["rows"][0]["fields"]["name"], named);

    spoil_and_tell(&org, &product).await;

    let state = || {
        let name = format!("select name from product2 where id = '{product}'");
        let position = "select hex(last_seen) as at from _cursor";
        let connection = cache(&org.state());
        (
            select(&connection, &name)[0]["name"].clone(),
            select(&connection, position)[0]["at"].clone(),
        )
    };
    let before = state();
    assert_eq!(live(&org, first, second, "yes\n").status.code(), Some(64));
    assert_eq!(state(), before);
    let done = live(&org, first, second, &format!("{}\n", org.env["SANDBOX_ORG_ID"]));
    assert_eq!(
        done.status.code(),
        Some(0),
        "{}",
        String::from_utf8_lossy(&done.stderr)
    );
    let after = state();
    assert_eq!(after.0, "Second");
    assert_ne!(after.1, before.1);
    a_killed_replay_leaves_nothing_to_the_next(&org).await;
    // What came after is asked of the org again, and the journal still tells how the cache came about.
    let mut daemon = org.daemon().await;
    daemon.live().await;
    converge(&org).await;
    daemon.running.stop();
    let file = org.dir.path().join("again.db");
    let (exit, _, problem) = org.verb(&["replay", "--into", file.to_str().unwrap()]).await;
    assert_eq!(exit, 0, "{problem}");
    assert_eq!(everything(&file), everything(&org.state().join("cache.db")));
}

/// What a replay makes beside the state directory's files: it holds values of persons.
fn scratches(org: &Sandbox) -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(org.state()).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    paths
        .filter(|path| path.to_string_lossy().contains(".storesync-scratch-"))
        .collect()
}

async fn a_killed_replay_leaves_nothing_to_the_next(org: &Sandbox) {
    use std::os::unix::fs::PermissionsExt as _;
    let (exit, _, problem) = org.verb(&["replay", "--dry-run", "--object", "Nope"]).await;
    assert!(
        exit == 64 && problem.contains("Nope is not mirrored"),
        "{exit} {problem}"
    );
    for name in ["TERM", "INT", "KILL"] {
        let mut command = storesync();
        command
            .args(["replay", "--dry-run", "--config"])
            .arg(org.config());
        let mut child = command.spawn().unwrap();
        let before = scratches(org);
        eventually("it has begun", async || (scratches(org) != before).then_some(())).await;
        for scratch in scratches(org) {
            let mode = scratch.metadata().unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o700, "{}", scratch.display());
        }
        // It may have ended by itself.
        let kill = std::process::Command::new("kill")
            .args([&format!("-{name}"), &child.id().to_string()])
            .status();
        drop(kill);
        let ended = tokio::task::spawn_blocking(move || child.wait().unwrap());
        assert!(ended.await.is_ok());
    }
    let (exit, said, problem) = org.verb(&["replay", "--dry-run"]).await;
    assert!(exit <= 1, "{exit} {said} {problem}");
    assert_eq!(scratches(org), Vec::<std::path::PathBuf>::new());
}

/// Of a record that a repair found gone, a replay of that record alone tells so too.
#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_a_repair_took_away_is_gone_in_its_replay() {
    let org = Sandbox::start(&[]).await;
    let mut daemon = org.daemon().await;
    daemon.live().await;
    let id = org.create("Account", json!({"Name": "Soon gone"})).await;
    converge(&org).await;
    org.control("changes", json!({"told": "silently", "hard_delete": [id]}))
        .await;
    org.verb(&["verify", "--object", "Account", "--repair"]).await;
    converge(&org).await;
    daemon.running.stop();
    let (exit, said, problem) = org
        .verb(&["replay", "--dry-run", "--json", "--record", &id])
        .await;
    assert_eq!(exit, 0, "{said} {problem}");
}

/// What a load does not find any more is gone in the record's history too.
#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_a_load_took_away_is_gone_in_its_history() {
    let org = Sandbox::start(&["--products", "5", "--stores", "1"]).await;
    let few_objects = ("STORESYNC__SYNC__PROFILE", "standard");
    let daemon = org.daemon_with(&[few_objects]).await;
    daemon.live().await;
    let id = org.create("Account", json!({"Name": "Soon gone"})).await;
    converge(&org).await;
    org.control("changes", json!({"told": "silently", "hard_delete": [id]}))
        .await;
    org.control("changes", json!({"told": "overflow", "announce": ["Account"]}))
        .await;
    converge(&org).await;
    let (exit, told, problem) = org.verb(&["history", "Account", &id, "--json"]).await;
    assert_eq!(exit, 0, "{problem}");
    let told: Vec<Value> = serde_json::from_str(&told).unwrap();
    assert_eq!(told[0]["source"]["event"]["kind"], "CREATE", "{told:#?}");
    let present: Vec<&Value> = told.iter().map(|moment| &moment["present"]).collect();
    let (last, before) = present.split_last().unwrap();
    assert!(before.iter().all(|present| **present == true), "{told:#?}");
    assert_eq!(**last, false, "{told:#?}");
    assert_eq!(told[told.len() - 1]["source"], json!({"read": "load_ended"}));
    let (_, words, _) = org.verb(&["history", "Account", &id]).await;
    let last: Vec<&str> = words.lines().rev().take(2).map(str::trim).collect();
    assert!(
        last[0] == "it is not there any more" && last[1].contains("load ended"),
        "{words}"
    );
    let address = format!("{}/records/Account/{id}", daemon.admin);
    let page = daemon.operator().get(address).send().await;
    let page = page.unwrap().text().await.unwrap();
    assert!(page.contains("It is not there any more."), "{page}");
}

/// The cache is spoilt by hand, as a fault of the program would.
async fn spoil_and_tell(org: &Sandbox, product: &str) {
    let spoilt = Connection::open(org.state().join("cache.db")).unwrap();
    spoilt
        .execute("update product2 set name = 'Spoilt' where id = ?1", [product])
        .unwrap();
    drop(spoilt);
    let (exit, said, _) = org.verb(&["replay", "--dry-run", "--json"]).await;
    let said: Value = serde_json::from_str(&said).unwrap();
    assert_eq!(exit, 1);
    let named = json!({"cache": "Spoilt", "replay": "Third"});
    assert_eq!(differing(&said)["rows"][0]["fields"]["name"], named);
}

/// Runs a live replay with these words typed.
fn live(org: &Sandbox, first: i64, second: i64, typed: &str) -> Output {
    let mut command = storesync();
    command.args(["replay", "--live", "--from", &first.to_string()]);
    command
        .args(["--to", &second.to_string(), "--config"])
        .arg(org.config());
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(typed.as_bytes()).unwrap();
    child.wait_with_output().unwrap()
}

/// The object of which rows differ.
fn differing(said: &Value) -> &Value {
    let mut objects = said["objects"].as_array().unwrap().iter();
    objects
        .find(|table| table["differing"] != 0)
        .expect("a difference")
}

async fn listed(org: &Sandbox, filter: &[&str]) -> Vec<Value> {
    let (exit, said, problem) = org.verb(&[&["events", "list", "--json"], filter].concat()).await;
    assert_eq!(exit, 0, "{problem}");
    serde_json::from_str(&said).unwrap()
}
