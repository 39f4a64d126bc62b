//! Staged faults of the Pub/Sub API, as a client meets them.

use storesync_sandbox::faults::Plan;

use super::*;

impl World {
    fn fault(&self, rule: serde_json::Value) {
        self.org.faults().add(Plan::read(rule).unwrap());
    }

    async fn schema(&self, id: &str) -> Result<String, Status> {
        let request = self.signed(SchemaRequest {
            schema_id: id.to_owned(),
        });
        let answer = self.client.clone().get_schema(request).await;
        answer.map(|answer| answer.into_inner().schema_json)
    }

    async fn read_all(&self, events: i32) -> Call {
        self.subscribe(fetch(ACCOUNTS, ReplayPreset::Earliest, Bytes::new(), events))
            .await
    }
}

#[tokio::test]
async fn a_stream_ends_by_each_status_the_platform_knows() {
    let world = World::quick().await;
    world.change(3);
    let table = [
        ("service_unavailable", Code::Internal, "service.unavailable"),
        ("unavailable", Code::Unavailable, ""),
        ("maintenance", Code::Unavailable, ""),
        (
            "resource_exhausted",
            Code::ResourceExhausted,
            "service.protection.triggered",
        ),
        (
            "delivery_limit",
            Code::ResourceExhausted,
            "subscription.limit.exceeded",
        ),
    ];
    for (fault, code, suffix) in table {
        world.fault(json!({"rpc": "Subscribe", "on": "events", "skip": 1, "times": 1, "fault": fault}));
        let mut call = world.read_all(1).await;
        let first = call.response().await;
        call.more(1).await;
        let status = call.next().await.expect_err(fault);
        assert_eq!((status.code(), error_code(&status)), (code, suffix), "{fault}");
        let again = world.subscribe(custom(&first.latest_replay_id, 5)).await;
        assert_eq!({ again }.response().await.events.len(), 2, "{fault} is over");
        world.org.faults().clear();
    }
}

#[tokio::test]
async fn a_reset_stream_has_no_status_and_an_ended_one_no_error() {
    let world = World::quick().await;
    world.change(2);
    world.fault(json!({"rpc": "Subscribe", "skip": 1, "times": 1, "fault": "reset"}));
    let mut call = world.read_all(1).await;
    call.response().await;
    call.more(1).await;
    let status = call.next().await.unwrap_err();
    assert!(format!("{status:?}").contains("Reset("), "{status:?}");
    assert_eq!(error_code(&status), "");
    world.fault(json!({"rpc": "Subscribe", "times": 1, "fault": "end"}));
    assert!(world.read_all(5).await.next().await.unwrap().is_none());
    world.fault(json!({"rpc": "Subscribe", "on": "call", "times": 1, "fault": "end"}));
    assert!(world.read_all(5).await.next().await.unwrap().is_none());
    // Calls that answer once can be reset too.
    world.fault(json!({"rpc": "GetTopic", "times": 1, "fault": "reset"}));
    let topic = TopicRequest {
        topic_name: ACCOUNTS.to_owned(),
    };
    let status = world
        .client
        .clone()
        .get_topic(world.signed(topic))
        .await
        .unwrap_err();
    assert!(format!("{status:?}").contains("Reset("), "{status:?}");
    assert_eq!(world.read_all(5).await.response().await.events.len(), 2);
}

#[tokio::test]
async fn a_silent_stream_says_nothing_any_more() {
    let timings = Timings {
        keepalive: Duration::from_millis(50),
        ..Timings::default()
    };
    let world = World::new(timings).await;
    let mut silent = world.read_all(5).await;
    assert!(silent.response().await.events.is_empty(), "a keep-alive");
    world.fault(json!({"rpc": "Subscribe", "on": "now", "times": 1, "fault": "silence"}));
    let mut other = world.read_all(20).await;
    world.change(1);
    // What was on its way before the rule was set may still come.
    let mut rest = 0;
    while let Ok(response) =
        tokio::time::timeout(Duration::from_millis(400), silent.responses.message()).await
    {
        response.unwrap().unwrap();
        rest += 1;
        assert!(rest < 5, "the stream goes on");
    }
    // Ten keep-alives of another stream later it is as silent.
    for _ in 0..10 {
        other.response().await;
    }
    let late = tokio::time::timeout(Duration::from_millis(1), silent.responses.message()).await;
    assert!(late.is_err(), "{late:?}");
}

#[tokio::test]
async fn events_are_damaged_and_repeated() {
    let world = World::quick().await;
    world.change(1);
    let whole = world.read_all(1).await.response().await.events.remove(0);
    let whole_event = whole.event.clone().unwrap();
    let mut seen = Vec::new();
    for fault in ["truncate_payload", "unknown_schema", "blank_event_id"] {
        world.fault(json!({"rpc": "Subscribe", "times": 1, "fault": fault}));
        let event = world.read_all(1).await.response().await.events.remove(0);
        assert_eq!(event.replay_id, whole.replay_id);
        seen.push(event.event.unwrap());
    }
    assert_eq!(
        seen[0].payload,
        whole_event.payload[..whole_event.payload.len() / 2]
    );
    assert_eq!(seen[1].payload, whole_event.payload);
    let status = world.schema(&seen[1].schema_id).await.unwrap_err();
    assert_eq!(error_code(&status), "schema.meta.permission");
    assert_eq!(
        (seen[2].id.as_str(), &seen[2].payload),
        ("", &whole_event.payload)
    );
    world.fault(json!({"rpc": "Subscribe", "times": 1, "fault": "duplicate"}));
    let mut call = world.read_all(10).await;
    let first = call.response().await.events.remove(0);
    let second = call.response().await.events.remove(0);
    assert_eq!(first, whole);
    assert_eq!(second.event, whole.event, "the same event");
    assert!(second.replay_id > first.replay_id, "under a new replay id");
}

#[tokio::test]
async fn after_a_migration_no_replay_id_is_valid_and_counting_begins_anew() {
    let world = World::quick().await;
    world.change(2);
    let mut call = world.read_all(10).await;
    let before = call.response().await.latest_replay_id;
    world.fault(json!({"rpc": "Subscribe", "on": "now", "times": 1, "fault": "migrate"}));
    let status = call.next().await.unwrap_err();
    assert_eq!(error_code(&status), "service.unavailable");
    let status = world
        .subscribe(custom(&before, 1))
        .await
        .next()
        .await
        .unwrap_err();
    assert_eq!(error_code(&status), "subscription.fetch.replayid.corrupted");
    world.change(1);
    let response = world.read_all(10).await.response().await;
    assert_eq!(response.events.len(), 1, "what was before is gone");
    assert!(response.latest_replay_id < before);
}

#[tokio::test]
async fn a_revoked_token_takes_its_stream_with_it() {
    let world = World::quick().await;
    world.change(1);
    let mut call = world.read_all(10).await;
    call.response().await;
    world.fault(json!({"rpc": "Subscribe", "times": 1, "fault": "revoke_token"}));
    world.change(1);
    let status = call.next().await.unwrap_err();
    assert_eq!(
        (status.code(), error_code(&status)),
        (Code::Unauthenticated, "service.auth.error")
    );
    assert!(!world.sessions.is_valid(&world.token));
}

#[tokio::test]
async fn get_schema_fails_for_a_while_or_is_slow() {
    let world = World::quick().await;
    let id = world.org.event_schema(0).id.clone();
    world.fault(json!({"rpc": "GetSchema", "for_ms": 400, "fault": "service_unavailable"}));
    let begun = Instant::now();
    let mut refused = 0;
    while let Err(status) = world.schema(&id).await {
        assert_eq!(error_code(&status), "service.unavailable");
        assert_eq!(status.metadata().get("type").unwrap(), "GetSchema");
        refused += 1;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(refused > 1 && begun.elapsed() >= Duration::from_millis(400));
    world.fault(json!({"rpc": "GetSchema", "times": 1, "fault": {"delay_ms": 300}}));
    let begun = Instant::now();
    world.schema(&id).await.unwrap();
    assert!(begun.elapsed() >= Duration::from_millis(300));
}
