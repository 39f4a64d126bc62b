//! An org that is kept in a folder: killed, and started again.

use std::path::Path;

use reqwest::Method;
use serde_json::{Value as Json, json};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::world::{Client, Subscriber, control, kept, start_with};
use crate::process::Running;
use crate::rest::client::shown;

/// A sandbox process over a folder, and a client of it.
struct Process {
    running: Running,
    client: Client,
}

impl Process {
    async fn start(dir: &Path) -> Self {
        let (running, env) = kept(dir);
        let base = env
            .iter()
            .find(|(key, _)| *key == "SANDBOX_HTTP")
            .unwrap()
            .1
            .clone();
        let server: JoinHandle<anyhow::Result<()>> = tokio::spawn(async { Ok(()) });
        let mut client = Client {
            http: reqwest::Client::new(),
            base,
            token: String::new(),
            env,
            stop: CancellationToken::new(),
            server,
        };
        let answer = client.login(&client.client_form()).await;
        client.token = answer["access_token"].as_str().unwrap().to_owned();
        Self { running, client }
    }
}

async fn row(org: &Client, path: &str) -> Json {
    let (status, json) = org.get(path).await;
    assert_eq!(status, 200, "{path}: {json}");
    json
}

#[expect(clippy::too_many_lines, reason = "one story, told in its order")]
#[tokio::test]
async fn what_was_answered_is_there_after_a_kill() {
    let dir = tempfile::tempdir().unwrap();
    let mut process = Process::start(dir.path()).await;
    let org = &process.client;
    control(org, "clock", json!({"advance_ms": 3_600_000})).await;
    control(org, "selection", json!({"entities": ["Account", "Lead"]})).await;
    assert_eq!(
        org.post(
            "/sandbox/schema",
            json!({"add": {"object": "Account", "name": "Tier__c", "type": "Text 20"}})
        )
        .await
        .0,
        204
    );
    let (_, seeded) = org
        .get("query?q=SELECT+Id,Name+FROM+Account+ORDER+BY+Id+LIMIT+1")
        .await;
    let seeded = seeded["records"][0].clone();
    let seeded_path = format!("sobjects/Account/{}", seeded["Id"].as_str().unwrap());
    assert_eq!(
        org.send(
            Method::PATCH,
            &seeded_path,
            json!({"Tier__c": "gold", "AnnualRevenue": 0.1})
        )
        .await
        .0,
        204
    );
    let gone = org.account("gone").await;
    control(org, "changes", json!({"hard_delete": [gone]})).await;
    let mut subscriber = Subscriber::from(org, "/data/ChangeEvents", Some(&[])).await;
    let seen = subscriber.events(2).await;
    let before = row(org, &seeded_path).await;

    // Writes go on while the process is killed; each that was answered counts.
    let (http, url, token) = (
        org.http.clone(),
        format!("{}/services/data/v67.0/sobjects/Account", org.base),
        org.token.clone(),
    );
    let writes = tokio::spawn(async move {
        let mut answered = Vec::new();
        loop {
            let body = json!({"Name": "during", "External_ID__c": format!("K-{}", answered.len())});
            let Ok(response) = http.post(&url).bearer_auth(&token).json(&body).send().await else {
                return answered;
            };
            let (status, json) = shown(response).await;
            if status != 201 {
                return answered;
            }
            answered.push(json["id"].as_str().unwrap().to_owned());
        }
    });
    crate::process::eventually("writes are under way", async || {
        let done = org
            .query("SELECT COUNT() FROM Account WHERE Name = 'during'")
            .await;
        (done["totalSize"].as_u64() > Some(30)).then_some(())
    })
    .await;
    process.running.kill();
    let answered = writes.await.unwrap();
    assert!(answered.len() > 20);

    let process = Process::start(dir.path()).await;
    let org = &process.client;
    assert_eq!(row(org, &seeded_path).await, before);
    for (at, id) in answered.iter().enumerate() {
        assert_eq!(
            row(org, &format!("sobjects/Account/External_ID__c/K-{at}")).await["Id"],
            id.as_str()
        );
    }
    assert_eq!(org.get(&format!("sobjects/Account/{gone}")).await.0, 404);
    assert_ne!(org.account("new").await, gone, "an id is not given twice");
    let told = row(org, "/sandbox/selection").await;
    assert_eq!(told["entities"], json!(["Account", "Lead"]));
    // The place in the event log is still one, and what follows it is all there, once each.
    let mut subscriber = Subscriber::from(org, "/data/ChangeEvents", Some(&seen[0].replay_id)).await;
    assert_eq!(subscriber.event().await.replay_id, seen[1].replay_id);
    let mut created = Vec::new();
    while created.len() < answered.len() {
        let event = subscriber.event().await;
        if event.body["Name"] == "during" {
            created.push(event.ids()[0].to_owned());
        }
    }
    assert_eq!(created, answered);
    assert!(row(org, "/sandbox/clock").await["now"].as_str() > before["LastModifiedDate"].as_str());
}

#[tokio::test]
async fn a_second_sandbox_of_one_folder_is_refused_and_a_stop_is_no_loss() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().to_owned();
    let org = start_with(|options| options.data = Some(path.clone())).await;
    let second = storesync_sandbox::start(storesync_sandbox::Options {
        data: Some(path.clone()),
        ..Default::default()
    })
    .await;
    let error = second.err().unwrap();
    assert!(format!("{error:#}").contains("another sandbox"), "{error:#}");
    let (client_id, id) = (org.env("SANDBOX_CLIENT_ID"), org.account("A").await);
    org.stop().await;
    let org = start_with(|options| {
        options.data = Some(path.clone());
        options.products = 5;
    })
    .await;
    assert_eq!(
        org.env("SANDBOX_CLIENT_ID"),
        client_id,
        "clients need not be told anew"
    );
    assert_eq!(
        row(&org, &format!("sobjects/Account/{id}?fields=Name")).await["Name"],
        "A"
    );
    let products = org.query("SELECT COUNT() FROM Product2").await;
    assert!(
        products["totalSize"].as_u64() >= Some(60),
        "the org is the one that was kept"
    );
    org.stop().await;
}
