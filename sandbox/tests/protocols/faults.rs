//! Staged faults, as clients of a sandbox process meet them.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use storesync_proto::TopicRequest;
use storesync_proto::pub_sub_client::PubSubClient;
use tonic::metadata::MetadataValue;

use crate::process::{PATIENCE, Sandbox, eventually, refused};
use crate::sandbox_command;

/// Logs in; gives token and instance.
async fn login(sandbox: &Sandbox) -> (String, String) {
    let form = [
        ("grant_type", "client_credentials"),
        ("client_id", sandbox.env["SANDBOX_CLIENT_ID"].as_str()),
        ("client_secret", sandbox.env["SANDBOX_CLIENT_SECRET"].as_str()),
    ];
    let url = format!("{}/services/oauth2/token", sandbox.env["SANDBOX_HTTP"]);
    let answer = sandbox.http.post(url).form(&form).send().await.unwrap();
    let answer: Value = answer.json().await.unwrap();
    let text = |key: &str| answer[key].as_str().unwrap().to_owned();
    (text("access_token"), text("instance_url"))
}

#[tokio::test]
async fn answers_take_the_place_of_real_ones() {
    let dir = tempfile::tempdir().unwrap();
    let plan = dir.path().join("plan.json");
    let rules = json!({"seed": 3, "rules": [
        {"path": "/limits", "times": 1, "fault": {"status": 503, "retry_after_seconds": 7}}]});
    std::fs::write(&plan, rules.to_string()).unwrap();
    let sandbox = Sandbox::start(&["--faults", plan.to_str().unwrap()]).await;
    let (token, _) = login(&sandbox).await;
    let limits = async || {
        let request = sandbox.http.get(sandbox.url("limits")).bearer_auth(&token);
        let answer = request.send().await.unwrap();
        let header = |name: &str| {
            let value = answer
                .headers()
                .get(name)
                .map(|value| value.to_str().unwrap().to_owned());
            value.unwrap_or_default()
        };
        let (retry, kind) = (header("retry-after"), header("content-type"));
        let status = answer.status().as_u16();
        (status, retry, kind.contains("html"), answer.text().await.unwrap())
    };
    let (status, retry, ..) = limits().await;
    assert_eq!(
        (status, retry.as_str()),
        (503, "7"),
        "the plan of the command line"
    );
    assert_eq!(limits().await.0, 200, "which is worn out");
    let table = [
        (json!({"status": 429}), 429, "", false, "REQUEST_LIMIT_EXCEEDED"),
        (
            json!({"status": 429, "retry_after_seconds": 1}),
            429,
            "1",
            false,
            "REQUEST_LIMIT_EXCEEDED",
        ),
        (json!({"status": 500}), 500, "", false, "UNKNOWN_EXCEPTION"),
        (json!({"status": 502}), 502, "", true, "maintenance"),
        (json!({"status": 503}), 503, "", false, "SERVER_UNAVAILABLE"),
        (json!({"status": 503, "html": true}), 503, "", true, "maintenance"),
        (
            json!({"status": 400, "code": "QUERY_TIMEOUT", "message": "too long"}),
            400,
            "",
            false,
            "QUERY_TIMEOUT",
        ),
        (json!("limit_exceeded"), 403, "", false, "REQUEST_LIMIT_EXCEEDED"),
        (json!("expire_sessions"), 401, "", false, "INVALID_SESSION_ID"),
    ];
    for (fault, status, retry, html, word) in table {
        sandbox
            .fault(json!({"path": "/limits", "times": 1, "fault": fault}))
            .await;
        let answer = limits().await;
        assert_eq!(
            (answer.0, answer.1.as_str(), answer.2),
            (status, retry, html),
            "{fault}"
        );
        assert!(answer.3.contains(word), "{fault}: {}", answer.3);
    }
}

#[tokio::test]
async fn connections_break_before_in_and_after_an_answer() {
    let sandbox = Sandbox::start(&[]).await;
    let account = |name: &str| json!({ "Name": name });
    let post = async |name: &str| {
        let request = sandbox.http.post(sandbox.url("sobjects/Account"));
        let (token, _) = login(&sandbox).await;
        let answer = request.bearer_auth(token).json(&account(name)).send().await?;
        answer.bytes().await
    };
    let count = async |name: &str| sandbox.count(&format!("Account WHERE Name = '{name}'")).await;
    for (fault, answered, executed) in [
        ("drop_before", false, 0),
        ("drop_after_commit", false, 1),
        ("drop_mid_body", false, 1),
    ] {
        sandbox
            .fault(json!({"path": "/sobjects/Account", "times": 1, "fault": fault}))
            .await;
        let answer = post(fault).await;
        assert_eq!(answer.is_ok(), answered, "{fault}: {answer:?}");
        assert_eq!(count(fault).await, executed, "{fault}");
    }
    sandbox
        .fault(json!({"path": "/sobjects/Account", "times": 1, "fault": "drop_mid_body"}))
        .await;
    // The headers arrive, and promise a body that does not come.
    let (token, _) = login(&sandbox).await;
    let request = sandbox
        .http
        .post(sandbox.url("sobjects/Account"))
        .bearer_auth(token);
    let answer = request.json(&account("half")).send().await.unwrap();
    assert_eq!(answer.status().as_u16(), 201);
    assert!(answer.content_length().unwrap() > 10);
    let error = answer.bytes().await.unwrap_err();
    assert!(error.is_body() || error.is_decode(), "{error:?}");
}

#[tokio::test]
async fn a_locked_row_is_refused_in_the_form_of_the_request() {
    let sandbox = Sandbox::start(&[]).await;
    let code = "UNABLE_TO_LOCK_ROW";
    let account = json!({"Name": "A"});
    sandbox
        .fault(json!({"object": "Account", "times": 3, "fault": "row_lock"}))
        .await;
    let (status, answer) = sandbox.call(Method::POST, "sobjects/Account", &account).await;
    assert_eq!((status, answer[0]["errorCode"].as_str()), (400, Some(code)));
    let composite = json!({"allOrNone": true, "compositeRequest": [
        {"method": "POST", "url": "/services/data/v67.0/sobjects/Account", "referenceId": "a", "body": account}]});
    let (status, answer) = sandbox.call(Method::POST, "composite", &composite).await;
    let part = &answer["compositeResponse"][0];
    assert_eq!((status, part["httpStatusCode"].as_u64()), (200, Some(400)));
    assert_eq!(part["body"][0]["errorCode"], code);
    let records = json!({"allOrNone": false, "records": [{"attributes": {"type": "Account"}, "Name": "B"}]});
    let (status, answer) = sandbox.call(Method::POST, "composite/sobjects", &records).await;
    assert_eq!(
        (status, answer[0]["errors"][0]["statusCode"].as_str()),
        (200, Some(code))
    );
    let (status, _) = sandbox.call(Method::POST, "sobjects/Account", &account).await;
    assert_eq!(status, 201);
    sandbox
        .fault(json!({"object": "Account", "for_ms": 300, "fault": "row_lock"}))
        .await;
    let begun = std::time::Instant::now();
    while sandbox.call(Method::POST, "sobjects/Account", &account).await.0 != 201 {}
    assert!(
        begun.elapsed() >= Duration::from_millis(250),
        "{:?}",
        begun.elapsed()
    );
}

#[tokio::test]
async fn an_org_that_moves_has_another_address() {
    let sandbox = Sandbox::start(&[]).await;
    let get = async |instance: &str, token: &str| {
        let url = format!("{instance}/services/data/v67.0/limits");
        let answer = sandbox.http.get(url).bearer_auth(token).send().await.unwrap();
        answer.status().as_u16()
    };
    let (old_token, old) = login(&sandbox).await;
    sandbox
        .fault(json!({"path": "/limits", "times": 1, "fault": "move_instance"}))
        .await;
    assert_eq!(get(&old, &old_token).await, 401);
    let (token, new) = login(&sandbox).await;
    assert_eq!(new, old.replace("127.0.0.1", "localhost"));
    assert_eq!(get(&new, &token).await, 200);
    assert_eq!(get(&old, &token).await, 401, "the old address takes no session");
}

#[tokio::test]
async fn maintenance_is_for_everything_for_a_while() {
    let sandbox = Sandbox::start(&[]).await;
    let (token, _) = login(&sandbox).await;
    let channel =
        tonic::transport::Channel::from_shared(format!("http://{}", sandbox.env["SANDBOX_GRPC"])).unwrap();
    let client = PubSubClient::new(channel.connect().await.unwrap());
    let topic = async || {
        let mut request = tonic::Request::new(TopicRequest {
            topic_name: "/data/AccountChangeEvent".to_owned(),
        });
        let headers = [
            ("accesstoken", token.as_str()),
            ("instanceurl", "x"),
            ("tenantid", &sandbox.env["SANDBOX_ORG_ID"]),
        ];
        for (name, value) in headers {
            request
                .metadata_mut()
                .insert(name, MetadataValue::try_from(value).unwrap());
        }
        client.clone().get_topic(request).await
    };
    topic().await.unwrap();
    sandbox
        .fault(json!({"for_ms": 1500, "fault": "maintenance"}))
        .await;
    let status = sandbox.call(Method::GET, "limits", &Value::Null).await.0;
    assert_eq!(status, 503);
    assert_eq!(topic().await.unwrap_err().code(), tonic::Code::Unavailable);
    while topic().await.is_err() {}
    assert_eq!(sandbox.call(Method::GET, "limits", &Value::Null).await.0, 200);
}

#[tokio::test]
async fn what_cannot_be_staged_is_refused_with_a_reason() {
    let dir = tempfile::tempdir().unwrap();
    let plan = dir.path().join("plan.json");
    std::fs::write(&plan, r#"[{"rpc": "Subscribe", "fault": "explode"}]"#).unwrap();
    let mut command = sandbox_command();
    command.args(["--http", "127.0.0.1:0", "--grpc", "127.0.0.1:0", "--faults"]);
    command.arg(&plan);
    let (status, said) = refused(command);
    assert!(status.is_some_and(|status| status != 0));
    assert!(said.contains("explode") && said.contains("plan.json"), "{said}");
    let sandbox = Sandbox::start(&[]).await;
    let post = async |path: &str, body: Value| {
        let url = format!("{}/sandbox/{path}", sandbox.env["SANDBOX_HTTP"]);
        let answer = sandbox.http.post(url).json(&body).send().await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    };
    let (status, text) = post("faults", json!({"rpc": "Subscribe", "fault": "drop_before"})).await;
    assert_eq!(status, 400);
    assert!(text.contains("drop_before"), "{text}");
    // The controls of the Pub/Sub side, once each.
    let channel = json!({"name": "Shop__chn", "members": [{"object": "Account", "enriched": ["Phone"]}]});
    assert_eq!(post("pubsub/channels", channel).await.0, 201);
    let (status, text) = post("pubsub/channels", json!({"name": "Shop", "members": []})).await;
    assert!(status == 400 && text.contains("Shop__chn"), "{text}");
    assert_eq!(
        post("pubsub/permissions", json!({"hidden": ["Account"]})).await.0,
        204
    );
    assert_eq!(post("pubsub/deliveries", json!({"daily_max": 10})).await.0, 204);
    let managed =
        json!({"developerName": "Shop", "topicName": "/data/Shop__chn", "defaultReplay": "EARLIEST"});
    assert_eq!(post("pubsub/managed", managed).await.0, 204);
    assert_eq!(post("pubsub/migrate", json!({})).await.0, 204);
    let get = async |path: &str| -> Value {
        let url = format!("{}/sandbox/pubsub/{path}", sandbox.env["SANDBOX_HTTP"]);
        sandbox.http.get(url).send().await.unwrap().json().await.unwrap()
    };
    let channels = get("channels").await;
    assert_eq!(
        channels["channels"][0]["members"][0]["enriched"],
        json!(["Phone"])
    );
    assert_eq!(channels["hidden"], json!(["Account"]));
    assert_eq!(get("deliveries").await["daily_max"], 10);
    let subscriptions = get("managed").await;
    assert_eq!(subscriptions["subscriptions"].as_array().unwrap().len(), 2);
    sandbox
        .fault(json!({"path": "/limits", "fault": "drop_before"}))
        .await;
    let url = format!("{}/sandbox/faults", sandbox.env["SANDBOX_HTTP"]);
    sandbox.http.delete(&url).send().await.unwrap();
    let left: Value = sandbox.http.get(&url).send().await.unwrap().json().await.unwrap();
    assert_eq!(left, json!({"rules": [], "pending": 0}));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_delayed_goes_on_when_its_rule_is_replaced() {
    let sandbox = Sandbox::start(&[]).await;
    sandbox
        .fault(json!({"path": "/sobjects/Account", "fault": {"delay_ms": 3_600_000}}))
        .await;
    let url = format!("{}/sandbox/faults", sandbox.env["SANDBOX_HTTP"]);
    let lift = async {
        eventually("the call is delayed", async || {
            let told: Value = sandbox.http.get(&url).send().await.ok()?.json().await.ok()?;
            (told["rules"][0]["struck"] == 1).then_some(())
        })
        .await;
        let other = json!({"path": "/limits", "fault": "drop_before"});
        let told = sandbox.http.put(&url).json(&other).send().await.unwrap();
        let told: Value = told.json().await.unwrap();
        assert_eq!(told["rules"].as_array().unwrap().len(), 1, "{told}");
        assert_eq!(told["rules"][0]["path"], "/limits", "{told}");
    };
    let delayed = sandbox.create("Account", json!({"Name": "Late"}));
    let (id, ()) = tokio::time::timeout(PATIENCE, async { tokio::join!(delayed, lift) })
        .await
        .unwrap();
    assert!(id.starts_with("001"), "{id}");
}
