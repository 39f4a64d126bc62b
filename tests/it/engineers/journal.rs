//! Events as engineers look at them: listed, filtered, followed, carried to another machine, and searched.

use std::io::{BufRead as _, BufReader};
use std::process::Stdio;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde_json::{Value, json};
use storesync::model::change::{RawEvent, ReplayId};
use storesync::store::journal::Journal;

use crate::world::{Daemon, Sandbox, converge, storesync};

/// Events among which the planted one is searched.
const HAYSTACK: u32 = 100_000;

/// How long a search may take, the first time too, unoptimised and on a busy machine.
const FOUND_WITHIN: Duration = Duration::from_secs(20);

async fn json_of(org: &Sandbox, arguments: &[&str]) -> Value {
    let (exit, said, problem) = org.verb(arguments).await;
    assert_eq!(exit, 0, "{arguments:?}: {problem}");
    serde_json::from_str(&said).unwrap_or_else(|_| panic!("{arguments:?}: {said}"))
}

/// An org with a product whose name went from `First` to `Second`, by a client of its own.
async fn renamed() -> (Sandbox, Daemon, String) {
    let org = Sandbox::start(&[]).await;
    let daemon = org.daemon().await;
    daemon.live().await;
    let product = org.some("Product2", "").await;
    let account = org.some("Account", "").await;
    org.update(
        "Product2",
        &product,
        json!({"Name": "First", "Description": "a\nb"}),
    )
    .await;
    org.update("Product2", &product, json!({"Name": "Second"})).await;
    org.update("Account", &account, json!({"Phone": "1"})).await;
    converge(&org).await;
    (org, daemon, product)
}

#[tokio::test(flavor = "multi_thread")]
async fn events_are_listed_filtered_and_shown() {
    let (org, _daemon, product) = renamed().await;
    let all = json_of(&org, &["events", "list", "--json"]).await;
    let filtered = async |filter: &[&str]| {
        let found = json_of(&org, &[&["events", "list", "--json"], filter].concat()).await;
        found.as_array().unwrap().clone()
    };
    let of_product = filtered(&["--record", &product]).await;
    assert_eq!(of_product.len(), 2);
    let [first, second] = &of_product[..] else {
        unreachable!()
    };
    assert_eq!(
        (&second["object"], &second["kind"], &second["record_ids"]),
        (&json!("Product2"), &json!("UPDATE"), &json!([product]))
    );
    assert!(second["origin"].as_str().unwrap().contains("client="), "{second}");
    assert!(second["user"].as_str().unwrap().starts_with("005"), "{second}");
    let short = &product[..15];
    assert_eq!(filtered(&["--record", short]).await, of_product);
    let committed = second["committed_at"].as_str().unwrap();
    let transaction = second["transaction"].as_str().unwrap();
    let cases: [(&[&str], usize); 9] = [
        (&["--record", &product, "--field", "description"], 1),
        (&["--object", "product2", "--field", "Name"], 2),
        (&["--transaction", transaction], 1),
        (&["--object", "Account", "--kind", "update"], 1),
        (&["--kind", "DELETE"], 0),
        (&["--origin", "no such client"], 0),
        (&["--since", committed, "--object", "Product2", "--limit", "1"], 1),
        (&["--until", "2020-01-01T00:00:00Z"], 0),
        (&["--record", &product, "--limit", "1"], 1),
    ];
    for (filter, expected) in cases {
        assert_eq!(filtered(filter).await.len(), expected, "{filter:?}");
    }
    assert!(all.as_array().unwrap().len() >= 3);

    let changes = filtered(&["--record", &product, "--field", "Name", "--changes"]).await;
    let name = |event: &Value| {
        let fields = event["changes"][0]["fields"].as_array().unwrap().iter();
        fields
            .filter(|change| change["field"] == "Name")
            .cloned()
            .collect::<Vec<_>>()
    };
    assert_eq!(
        name(&changes[1]),
        [json!({"field": "Name", "before": "First", "after": "Second"})]
    );
    // What it was before the first event, the snapshot has told.
    assert!(name(&changes[0])[0]["before"].is_string(), "{changes:?}");

    let number = first["number"].to_string();
    let shown = json_of(&org, &["events", "show", &number, "--raw", "--json"]).await;
    assert_eq!(shown["schema"]["name"], "Product2ChangeEvent");
    let payload = STANDARD.decode(shown["payload"].as_str().unwrap()).unwrap();
    assert!(payload.windows(18).any(|window| window == product.as_bytes()));
    let by_id = first["event_id"].as_str().unwrap();
    let (exit, text, _) = org.verb(&["events", "show", by_id]).await;
    assert!(exit == 0 && text.contains("-> \"First\""), "{text}");
    let (exit, _, problem) = org.verb(&["events", "show", "999999"]).await;
    assert!(exit != 0 && problem.contains("999999"), "{problem}");
    let (exit, _, problem) = org.verb(&["events", "list", "--since", "noon"]).await;
    assert!(exit == 64 && problem.contains("noon"), "{problem}");
}

#[tokio::test(flavor = "multi_thread")]
async fn tail_follows_what_arrives() {
    let (org, _daemon, product) = renamed().await;
    let mut command = storesync();
    command.args(["events", "tail", "--json", "--limit", "1", "--object", "Product2"]);
    command.arg("--config").arg(org.config()).stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut next = move || -> Option<Value> { Some(serde_json::from_str(&lines.next()?.unwrap()).unwrap()) };
    // Those that were there tell that it has begun.
    let (mut next, before) = tokio::task::spawn_blocking(move || {
        let before = [next(), next()].map(Option::unwrap);
        (next, before)
    })
    .await
    .unwrap();
    assert_eq!(before[1]["record_ids"], json!([product]));
    // Two at once, of which one is within the limit.
    let other = org.some("Product2", &format!("WHERE Id != '{product}'")).await;
    let renamed = |id: &str, name: &str| json!({"attributes": {"type": "Product2"}, "id": id, "Name": name});
    let both = json!({"allOrNone": true, "records": [renamed(&product, "Third"), renamed(&other, "Other")]});
    let (status, answer) = org
        .call(reqwest::Method::PATCH, "composite/sobjects", &both)
        .await;
    assert_eq!(status, 200, "{answer}");
    let arrived = tokio::task::spawn_blocking(move || {
        let arrived = next().unwrap();
        assert_eq!(next(), None, "no more than the limit");
        assert!(child.wait().unwrap().success());
        arrived
    })
    .await
    .unwrap();
    let named = json!({"field": "Name", "value": "Third", "diff": false});
    assert!(
        arrived["fields"].as_array().unwrap().contains(&named),
        "{arrived}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_incident_travels_to_another_machine() {
    let (org, mut daemon, product) = renamed().await;
    daemon.running.stop();
    let (exit, file, problem) = org.verb(&["events", "export"]).await;
    assert_eq!(exit, 0, "{problem}");
    let away = tempfile::tempdir().unwrap();
    let exported = away.path().join("incident.jsonl");
    std::fs::write(&exported, &file).unwrap();
    let state = away.path().join("state");
    let there = |arguments: &[&str]| {
        let mut command = storesync();
        command
            .args(arguments)
            .arg("--state")
            .arg(&state)
            .current_dir(&away);
        let output = command.output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        (
            output.status.code(),
            text,
            String::from_utf8(output.stderr).unwrap(),
        )
    };
    let import = ["events", "import", exported.to_str().unwrap()];
    let (exit, _, problem) = there(&import);
    assert_eq!(exit, Some(0), "{problem}");
    assert_eq!(there(&import).0, Some(64), "a journal is not written over");
    for verb in [
        &["events", "list", "--json", "--raw", "--changes"][..],
        &["history", "Product2", &product, "--json"],
        &["bisect", "Product2", &product, "Name=Second", "--json"],
    ] {
        let (_, here, _) = org.verb(verb).await;
        assert_eq!(there(verb).1, here, "{verb:?}");
        assert!(here.contains("Second"), "{verb:?}: {here}");
    }
    let scratch = away.path().join("scratch.db");
    let (exit, _, problem) = there(&["replay", "--into", scratch.to_str().unwrap()]);
    assert_eq!(exit, Some(0), "{problem}");

    // A part of it: its events and no more.
    let (_, file, _) = org.verb(&["events", "export", "--record", &product]).await;
    let kinds = |kind: &str| file.lines().filter(|line| line.starts_with(kind)).count();
    assert_eq!((kinds("{\"event\""), kinds("{\"batch\"")), (2, 0));
    std::fs::write(&exported, "{\"event\":{}}\n").unwrap();
    let other = away.path().join("other");
    let mut command = storesync();
    command.args(import).arg("--state").arg(&other);
    assert_eq!(command.output().unwrap().status.code(), Some(64));
}

/// Puts bytes in place of others of the same length.
fn patched(payload: &[u8], from: &str, to: &str) -> Vec<u8> {
    assert_eq!(from.len(), to.len());
    let mut bytes = payload.to_vec();
    let places: Vec<usize> = (0..=bytes.len() - from.len())
        .filter(|at| bytes[*at..].starts_with(from.as_bytes()))
        .collect();
    assert!(!places.is_empty(), "{from}");
    for at in places {
        bytes[at..at + to.len()].copy_from_slice(to.as_bytes());
    }
    bytes
}

#[tokio::test(flavor = "multi_thread")]
async fn bisect_finds_the_planted_event_among_a_hundred_thousand() {
    let org = Sandbox::start(&[]).await;
    let mut daemon = org.daemon().await;
    daemon.live().await;
    let product = org.some("Product2", "").await;
    org.update("Product2", &product, json!({"Name": "Value-000000"}))
        .await;
    converge(&org).await;
    let event = json_of(&org, &["events", "list", "--record", &product, "--raw", "--json"]).await;
    daemon.running.stop();
    let event = &event[0];
    let payload = STANDARD.decode(event["payload"].as_str().unwrap()).unwrap();
    let topic = event["topic"].as_str().unwrap();
    let before = event["number"].as_i64().unwrap();

    // The same event, over and over: a hundred for each of a thousand records; one value stands out.
    let planted = 73_210;
    let mut journal = Journal::open(&org.state()).unwrap();
    let mut append = journal.append(0).unwrap();
    let events: Vec<RawEvent> = (1..=HAYSTACK)
        .map(|number| {
            let record = match number % 1_000 {
                210 => product.clone(),
                other => format!("01tH{other:011}AAA"),
            };
            let value = match number {
                _ if number == planted => "Value-BROKEN".to_owned(),
                _ => format!("Value-{:06}", number / 1_000),
            };
            let payload = patched(&payload, &product, &record);
            RawEvent {
                replay_id: ReplayId(Bytes::copy_from_slice(&(u64::from(number) << 20).to_be_bytes())),
                event_id: format!("planted-{number}"),
                schema_id: event["schema_id"].as_str().unwrap().to_owned(),
                payload: patched(&payload, "Value-000000", &value).into(),
                redacted: Vec::new(),
            }
        })
        .collect();
    append.events(topic, true, &events).unwrap();
    append.commit().unwrap();
    drop(journal);

    let search = ["bisect", "Product2", &product, "Name=Value-BROKEN", "--json"];
    for what in ["the first search", "the next one"] {
        let started = Instant::now();
        let found = json_of(&org, &search).await;
        let took = started.elapsed();
        println!("{what} among {HAYSTACK} events took {took:?}");
        assert_eq!(found["source"]["event"]["event_id"], "planted-73210");
        assert_eq!(found["source"]["event"]["number"], before + i64::from(planted));
        assert!(took < FOUND_WITHIN, "{what} took {took:?}");
    }
    let (exit, said, _) = org.verb(&["bisect", "Product2", &product, "Name=Never"]).await;
    assert!(exit == 1 && said.contains("never was"), "{said}");
    assert_eq!(org.verb(&["bisect", "Product2", &product, "Name"]).await.0, 64);
}
