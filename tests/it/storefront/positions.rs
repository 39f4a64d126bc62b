//! Positions and tags: what is none is refused, and those of another cache are told apart.

use reqwest::StatusCode;
use serde_json::Value;

use crate::world::{Daemon, Sandbox, eventually};

async fn ask(daemon: &Daemon, path: &str, header: Option<(&str, &str)>) -> reqwest::Response {
    let mut request = reqwest::Client::new().get(format!("{}{path}", daemon.api));
    if let Some((name, value)) = header {
        request = request.header(name, value);
    }
    request.send().await.unwrap()
}

/// The first event of a stream: its id and name.
async fn first(daemon: &Daemon, query: &str, header: Option<(&str, &str)>) -> (String, String) {
    let mut answer = ask(daemon, &format!("/v1/changes{query}"), header).await;
    assert_eq!(answer.status(), 200, "{query}");
    let mut text = String::new();
    while !text.contains("\n\n") {
        let chunk = answer.chunk().await.unwrap().expect("the stream goes on");
        text.push_str(&String::from_utf8_lossy(&chunk));
    }
    let field = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        line.unwrap_or_default().to_owned()
    };
    (field("id: "), field("event: "))
}

/// All addresses that are read in pages, with what they are asked for in the path.
async fn lists(daemon: &Daemon) -> Vec<String> {
    let document: Value = ask(daemon, "/openapi.json", None).await.json().await.unwrap();
    let mut lists = Vec::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        let parameters = methods["get"]["parameters"].as_array();
        let has =
            |name: &str| parameters.is_some_and(|all| all.iter().any(|parameter| parameter["name"] == name));
        if has("cursor") {
            let path = path.replace("{customer}", "C-1").replace("{object}", "Product2");
            if has("category") {
                lists.push(format!("{path}?category={{category}}&"));
            }
            lists.push(format!("{path}?"));
        }
    }
    lists
}

fn encoded(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

#[tokio::test(flavor = "multi_thread")]
#[allow(clippy::too_many_lines, reason = "one story, told in its order")]
async fn a_position_of_another_cache_is_never_taken_for_one_of_this() {
    let org = Sandbox::start(&["--products", "30", "--stores", "1"]).await;
    let store = org.some("s_c__Store__c", "").await;
    let product = org.some("Product2", "").await;
    let category = org
        .some(
            "s_c__Products_Product_Categories__c",
            "WHERE s_c__Active__c = true",
        )
        .await;
    let category = org
        .query(&format!(
            "SELECT s_c__Category_Id__c FROM s_c__Products_Product_Categories__c WHERE Id = '{category}'"
        ))
        .await
        .remove(0)["s_c__Category_Id__c"]
        .as_str()
        .unwrap()
        .to_owned();
    let daemon = org.daemon().await;
    daemon.live().await;
    let lists: Vec<String> = lists(&daemon)
        .await
        .iter()
        .map(|path| path.replace("{store}", &store).replace("{category}", &category))
        .collect();
    assert!(lists.len() > 12, "{lists:?}");
    let mut cursors = Vec::new();
    for list in &lists {
        for cursor in [
            "abc",
            "0",
            "..",
            "0123456789ab.",
            "0123456789ab.abc",
            "0123456789ab.01t",
            &product,
        ] {
            let answer = ask(&daemon, &format!("{list}cursor={cursor}"), None).await;
            assert_eq!(answer.status(), StatusCode::BAD_REQUEST, "{list}cursor={cursor}");
            let problem: Value = answer.json().await.unwrap();
            assert_eq!(problem["field"], "cursor", "{list}: {problem}");
        }
        let answer = ask(&daemon, &format!("{list}limit=1"), None).await;
        assert_eq!(answer.status(), 200, "{list}");
        let page: Value = answer.json().await.unwrap();
        if let Some(next) = page["next"].as_str() {
            let path = format!("{list}limit=1&cursor={}", encoded(next));
            let answer = ask(&daemon, &path, None).await;
            assert_eq!(answer.status(), 200, "{path}");
            let second: Value = answer.json().await.unwrap();
            assert_ne!(second["items"][0], page["items"][0], "{list}");
            cursors.push(path);
        }
    }
    assert!(cursors.len() > 4, "{cursors:?}");
    for position in ["abc", "-1", "0123456789ab.x", "1.5"] {
        for (query, header) in [
            (format!("?since={position}"), None),
            (String::new(), Some(("last-event-id", position))),
        ] {
            let answer = ask(&daemon, &format!("/v1/changes{query}"), header).await;
            assert_eq!(answer.status(), 400, "{position}");
            let problem: Value = answer.json().await.unwrap();
            let field = header.map_or("since", |_| "Last-Event-ID");
            assert_eq!(problem["field"], field, "{problem}");
        }
    }

    // The same content has another tag in another life.
    let tagged = [
        format!("/v1/objects/Product2/{product}"),
        "/v1/objects/Product2".to_owned(),
        "/v1/stores".to_owned(),
        format!("/v1/stores/{store}/products"),
        format!("/v1/stores/{store}/taxes"),
    ];
    let mut tags = Vec::new();
    for path in &tagged {
        let answer = ask(&daemon, path, None).await;
        let tag = answer.headers()["etag"].to_str().unwrap().to_owned();
        let again = ask(&daemon, path, Some(("if-none-match", &tag))).await;
        assert_eq!(again.status(), 304, "{path}");
        tags.push(tag);
    }
    let (position, _) = first(&daemon, "", None).await;
    let (life, rev) = position.split_once('.').unwrap();
    let resumed = [
        position.clone(),
        format!("{life}.{}", rev.parse::<i64>().unwrap() - 1),
    ];
    for position in &resumed {
        assert_eq!(
            first(&daemon, &format!("?since={position}"), None).await.1,
            "ready"
        );
    }
    let backup = org.dir.path().join("backup");
    let backup = backup.to_str().unwrap();
    let (status, _, said) = org.verb(&["backup", backup]).await;
    assert_eq!(status, 0, "{said}");

    // Made anew, then put back from a copy twice: each is another.
    let mut daemon = daemon;
    let mut lives = vec![life.to_owned()];
    for way in ["anew", "restored", "restored again"] {
        daemon.running.kill();
        match way {
            "anew" => {
                for file in ["cache.db", "cache.db-wal", "cache.db-shm"] {
                    let _ = std::fs::remove_file(org.state().join(file));
                }
            }
            _ => {
                let (status, _, said) = org.verb(&["restore", backup, "--replace"]).await;
                assert_eq!(status, 0, "{said}");
            }
        }
        daemon = org.daemon().await;
        daemon.live().await;
        // Whatever numbers the new cache has reached.
        for position in &resumed {
            for (query, header) in [
                (format!("?since={position}"), None),
                (String::new(), Some(("last-event-id", position.as_str()))),
            ] {
                let (_, event) = first(&daemon, &query, header).await;
                assert_eq!(event, "reset", "{way}: {position}");
            }
        }
        for path in &cursors {
            let answer = ask(&daemon, path, None).await;
            assert_eq!(answer.status(), StatusCode::GONE, "{way}: {path}");
            let problem: Value = answer.json().await.unwrap();
            assert_eq!(problem["type"], "urn:storesync:problem:other-life", "{problem}");
            assert_eq!(problem["field"], "cursor", "{problem}");
        }
        for (path, tag) in tagged.iter().zip(&tags) {
            let answer = ask(&daemon, path, Some(("if-none-match", tag))).await;
            assert_eq!(answer.status(), 200, "{way}: {path}");
        }
        let (position, _) = first(&daemon, "", None).await;
        let life = position.split_once('.').unwrap().0.to_owned();
        assert!(!lives.contains(&life), "{way}: {lives:?}");
        lives.push(life);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_position_is_kept_over_a_start_of_the_same_cache() {
    let org = Sandbox::start(&["--products", "12", "--stores", "1"]).await;
    let daemon = org.daemon().await;
    daemon.live().await;
    let (position, _) = first(&daemon, "", None).await;
    let mut daemon = daemon;
    daemon.running.kill();
    let daemon = org.daemon().await;
    eventually("the stream goes on", async || {
        let (_, event) = first(&daemon, &format!("?since={position}"), None).await;
        (event == "ready").then_some(())
    })
    .await;
}
