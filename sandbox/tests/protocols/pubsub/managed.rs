//! Managed subscriptions: the org keeps the position, and one client at a time holds the slot.

use storesync_proto::{CommitReplayRequest, ManagedFetchRequest, ManagedFetchResponse};

use super::*;

const NAME: &str = "Storesync_Accounts";

struct ManagedCall {
    ask: mpsc::Sender<ManagedFetchRequest>,
    responses: Streaming<ManagedFetchResponse>,
}

fn by_name(events: i32) -> ManagedFetchRequest {
    ManagedFetchRequest {
        developer_name: NAME.to_owned(),
        num_requested: events,
        ..ManagedFetchRequest::default()
    }
}

fn commit(id: &str, replay_id: &Bytes) -> ManagedFetchRequest {
    ManagedFetchRequest {
        commit_replay_id_request: Some(CommitReplayRequest {
            commit_request_id: id.to_owned(),
            replay_id: replay_id.clone(),
        }),
        ..ManagedFetchRequest::default()
    }
}

impl World {
    async fn managed(&self, first: ManagedFetchRequest) -> ManagedCall {
        let (ask, asked) = mpsc::channel(8);
        ask.send(first).await.unwrap();
        let request = self.signed(ReceiverStream::new(asked));
        let responses = self.client.clone().managed_subscribe(request).await.unwrap();
        ManagedCall {
            ask,
            responses: responses.into_inner(),
        }
    }
}

impl ManagedCall {
    async fn next(&mut self) -> Result<Option<ManagedFetchResponse>, Status> {
        tokio::time::timeout(Duration::from_secs(15), self.responses.message())
            .await
            .expect("a response in time")
    }

    async fn events(&mut self, count: usize) -> Vec<Bytes> {
        let mut events = Vec::new();
        while events.len() < count {
            let response = self.next().await.unwrap().expect("the call goes on");
            events.extend(response.events.into_iter().map(|event| event.replay_id));
        }
        events
    }

    /// Says that the client is done, and waits until the org has heard it.
    async fn close(mut self) {
        drop(self.ask);
        while self.responses.message().await.unwrap().is_some() {}
    }
}

#[tokio::test]
async fn goes_on_after_what_was_committed() {
    let world = World::quick().await;
    // It begins at the tip as soon as the org has read the first request; the first event shows that it has.
    let mut call = world.managed(by_name(20)).await;
    let mut replay_ids = Vec::new();
    while replay_ids.is_empty() {
        world.change(1);
        if let Ok(response) = tokio::time::timeout(Duration::from_millis(50), call.responses.message()).await
        {
            let events = response.unwrap().unwrap().events;
            replay_ids.extend(events.into_iter().map(|event| event.replay_id));
        }
    }
    let seen = replay_ids.len();
    world.change(3);
    replay_ids.extend(call.events(3).await);
    call.ask.send(commit("c-1", &replay_ids[seen])).await.unwrap();
    let response = call.next().await.unwrap().unwrap();
    let answer = response.commit_response.unwrap();
    assert_eq!((answer.commit_request_id.as_str(), answer.error), ("c-1", None));
    assert_eq!(answer.replay_id, replay_ids[seen]);
    assert!(answer.process_time > 1_700_000_000_000);
    assert_eq!(response.latest_replay_id, replay_ids[replay_ids.len() - 1]);
    call.close().await;
    world.change(1);
    let mut call = world.managed(by_name(10)).await;
    assert_eq!(call.events(3).await[..2], replay_ids[seen + 1..]);
}

#[tokio::test]
async fn a_commit_that_cannot_be_kept_is_answered_and_the_call_goes_on() {
    let world = World::quick().await;
    let mut call = world.managed(by_name(5)).await;
    let nonsense = Bytes::from_static(b"nonsense!!");
    call.ask.send(commit("c-9", &nonsense)).await.unwrap();
    let answer = call.next().await.unwrap().unwrap().commit_response.unwrap();
    let error = answer.error.unwrap();
    assert_eq!((answer.commit_request_id.as_str(), error.code), ("c-9", 2));
    world.change(1);
    call.events(1).await;
}

#[tokio::test]
async fn one_client_at_a_time_and_known_subscriptions_alone() {
    let world = World::quick().await;
    let mut holder = world.managed(by_name(1)).await;
    let id = |id: &str| ManagedFetchRequest {
        subscription_id: id.to_owned(),
        num_requested: 1,
        ..ManagedFetchRequest::default()
    };
    let named = |name: &str| ManagedFetchRequest {
        developer_name: name.to_owned(),
        ..by_name(1)
    };
    // The holder has its slot once it is answered.
    holder
        .ask
        .send(commit("c", &Bytes::from_static(b"x")))
        .await
        .unwrap();
    holder.next().await.unwrap();
    let listed = world.hub.managed.list();
    let own_id = listed[0]["Id"].as_str().unwrap();
    let mut early = by_name(1);
    early.commit_replay_id_request = commit("c", &Bytes::from_static(b"x")).commit_replay_id_request;
    let table = [
        (by_name(1), Code::AlreadyExists, "already.active"),
        (id(own_id), Code::AlreadyExists, "already.active"),
        (named("Nope"), Code::NotFound, "developer.name.not.found"),
        (id("18xSb0000000099"), Code::NotFound, "subscription.id.not.found"),
        (id("nonsense"), Code::InvalidArgument, "subscription.id.invalid"),
        (named(""), Code::InvalidArgument, "id.or.developer.name.empty"),
        (
            early,
            Code::InvalidArgument,
            "fetch.request.commit.request.restricted",
        ),
        (by_name(0), Code::InvalidArgument, "fetch.request.events.invalid"),
    ];
    for (request, code, suffix) in table {
        let status = world.managed(request).await.next().await.expect_err(suffix);
        let suffix = format!("managed.subscription.{suffix}");
        assert_eq!((status.code(), error_code(&status)), (code, suffix.as_str()));
        assert_eq!(status.metadata().get("type").unwrap(), "ManagedSubscribe");
    }
    holder.close().await;
    let mut next = world.managed(id(own_id)).await;
    next.ask
        .send(commit("c", &Bytes::from_static(b"x")))
        .await
        .unwrap();
    assert!(next.next().await.unwrap().is_some(), "the slot is free at once");
    next.close().await;
    let stopped = json!({"developerName": NAME, "topicName": ACCOUNTS, "state": "STOP"});
    world
        .hub
        .managed
        .define(&world.hub, serde_json::from_value(stopped).unwrap())
        .unwrap();
    let status = world.managed(by_name(1)).await.next().await.unwrap_err();
    assert_eq!(error_code(&status), "managed.subscription.config.stopped");
}

#[tokio::test]
async fn a_call_that_never_commits_is_ended() {
    let timings = Timings {
        commit: Duration::from_millis(200),
        ..Timings::default()
    };
    let world = World::new(timings).await;
    let mut call = world.managed(by_name(5)).await;
    let status = call.next().await.unwrap_err();
    assert_eq!(status.code(), Code::DeadlineExceeded);
    assert!(
        status
            .message()
            .starts_with("No CommitReplayRequests sent in the last")
    );
    assert!(
        world.managed(by_name(5)).await.next().await.is_err(),
        "and the slot was free"
    );
}
