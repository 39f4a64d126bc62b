//! Streams that die in every way there is; the place in them is never lost.

use serde_json::{Value, json};

use crate::monitoring::metrics;
use crate::monitoring::moving::{ALLOWANCE, Change, STREAMS, Seen};
use crate::world::{Sandbox, converge, eventually};

const TWO: (&str, &str) = (
    "STORESYNC__SYNC__CHANNELS",
    "/data/AccountChangeEvent,/data/Product2ChangeEvent",
);

async fn channel(org: &Sandbox, topic: &str) -> Value {
    let channels = [("STORESYNC__SYNC__CHANNELS", topic)];
    let (_, status, _) = org.verb_with(&channels, &["status", "--json"]).await;
    let status: Value = serde_json::from_str(&status).unwrap();
    let channels = status["channels"].as_array().unwrap();
    let found = channels.iter().find(|channel| channel["topic"] == topic);
    found.cloned().unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_ends_in_any_way_goes_on_where_it_was() {
    let org = Sandbox::start(&[]).await;
    let daemon = org.daemon().await;
    daemon.live().await;
    let id = org.some("Account", "").await;
    let before = metrics(&daemon).await;
    for (number, fault) in [
        "end",
        "reset",
        "service_unavailable",
        "unavailable",
        "resource_exhausted",
        "revoke_token",
        "duplicate",
        "blank_event_id",
    ]
    .into_iter()
    .enumerate()
    {
        org.fault(json!({"rpc": "Subscribe", "on": "events", "times": 1, "fault": fault}))
            .await;
        org.update("Account", &id, json!({"Site": format!("{fault} {number}")}))
            .await;
        converge(&org).await;
    }
    assert_eq!(org.settled().await, [], "nothing had to be repaired");
    let ends = |reason: &str| {
        format!("storesync_stream_reconnects_total{{topic=\"/data/ChangeEvents\",reason=\"{reason}\"}}")
    };
    let (mut seen, closed, failed) = (Seen::default(), ends("closed"), ends("failed"));
    let expected = [(closed.as_str(), Change::By(1.0)), (&failed, Change::Up(5.0))];
    seen.since(&before, &daemon, "streams that end", &expected).await;
    seen.is_all_of(STREAMS);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_dies_in_silence_is_noticed_and_the_others_go_on() {
    let org = Sandbox::start(&[]).await;
    let daemon = org.daemon_with(&[TWO]).await;
    daemon.live().await;
    let (account, product) = (org.some("Account", "").await, org.some("Product2", "").await);
    // Its cadence is known by the third keep-alive.
    eventually("some keep-alives have come", async || {
        let deliveries = channel(&org, "/data/AccountChangeEvent").await;
        (deliveries["heard_seconds_ago"] == 0).then_some(())
    })
    .await;
    org.fault(json!({"rpc": "Subscribe", "topic": "/data/AccountChangeEvent", "on": "now", "times": 1, "fault": "silence"}))
        .await;
    org.update("Account", &account, json!({"Site": "into the silence"}))
        .await;
    org.update("Product2", &product, json!({"Description": "heard"}))
        .await;
    converge(&org).await;
    let said = daemon.running.said();
    assert!(
        said.contains("nothing was heard on /data/AccountChangeEvent for 10s"),
        "{said}"
    );
    assert!(
        !said.contains("nothing was heard on /data/Product2ChangeEvent"),
        "{said}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn however_many_notice_that_the_session_ended_one_logs_in() {
    let org = Sandbox::start(&[]).await;
    let daemon = org.daemon_with(&[TWO]).await;
    daemon.live().await;
    let logins = async || {
        let url = format!("{}/sandbox/stats", org.env["SANDBOX_HTTP"]);
        let stats: Value = org.http.get(url).send().await.unwrap().json().await.unwrap();
        stats["paths"]["services/oauth2"].as_u64().unwrap()
    };
    let before = logins().await;
    // The streams and the polls share the token.
    org.fault(json!({"rpc": "Subscribe", "on": "now", "times": 2, "fault": "revoke_token"}))
        .await;
    let (account, product) = (org.some("Account", "").await, org.some("Product2", "").await);
    org.update("Account", &account, json!({"Site": "after the session"}))
        .await;
    org.update("Product2", &product, json!({"Description": "after the session"}))
        .await;
    let contact = org.some("Contact", "").await;
    org.update("Contact", &contact, json!({"Department": "polled"}))
        .await;
    converge(&org).await;
    assert_eq!(logins().await - before, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn channels_of_every_form_are_followed_together() {
    let org = Sandbox::start(&[]).await;
    let members = json!([{"object": "Product2"}, {"object": "PricebookEntry"}]);
    org.control(
        "pubsub/channels",
        json!({"name": "Shop__chn", "members": members}),
    )
    .await;
    let channels = "/data/AccountChangeEvent,/data/Shop__chn";
    let daemon = org.daemon_with(&[("STORESYNC__SYNC__CHANNELS", channels)]).await;
    daemon.live().await;
    let (account, product) = (org.some("Account", "").await, org.some("Product2", "").await);
    org.update("Account", &account, json!({"Site": "by its own channel"}))
        .await;
    org.update(
        "Product2",
        &product,
        json!({"Description": "by one of the org's own"}),
    )
    .await;
    converge(&org).await;
    for topic in channels.split(',') {
        let committed = channel(&org, topic).await["last_commit_at"].clone();
        assert!(committed.is_string(), "{topic} brought its event");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_spent_allowance_is_waited_out_and_told_of() {
    let org = Sandbox::start(&[]).await;
    let daemon = org.daemon().await;
    daemon.live().await;
    let (mut seen, before) = (Seen::default(), metrics(&daemon).await);
    let told = "storesync_stream_problem{topic=\"/data/ChangeEvents\"}";
    org.control("pubsub/deliveries", json!({"daily_max": 0})).await;
    let id = org.some("Account", "").await;
    org.update("Account", &id, json!({"Site": "not delivered today"}))
        .await;
    let problem = eventually("the status tells of it", async || {
        let problem = channel(&org, "/data/ChangeEvents").await["problem"].clone();
        problem.as_str().map(str::to_owned)
    })
    .await;
    assert!(problem.contains("allowance"), "{problem}");
    seen.since(&before, &daemon, "it is spent", &[(told, Change::To(1.0))])
        .await;
    let spent = metrics(&daemon).await;
    org.control("pubsub/deliveries", json!({"daily_max": null})).await;
    converge(&org).await;
    eventually("the status tells that it is over", async || {
        channel(&org, "/data/ChangeEvents").await["problem"]
            .is_null()
            .then_some(())
    })
    .await;
    seen.since(&spent, &daemon, "it is over", &[(told, Change::To(0.0))])
        .await;
    seen.is_all_of(ALLOWANCE);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_channel_that_cannot_go_on_is_told_of_and_leaves_the_others_alone() {
    let org = Sandbox::start(&[]).await;
    let daemon = org.daemon_with(&[TWO]).await;
    daemon.live().await;
    org.control("pubsub/permissions", json!({"hidden": ["Account"]}))
        .await;
    org.fault(json!({"rpc": "Subscribe", "topic": "/data/AccountChangeEvent", "on": "now", "times": 1, "fault": "end"}))
        .await;
    let problem = eventually("the status tells of it", async || {
        let problem = channel(&org, "/data/AccountChangeEvent").await["problem"].clone();
        problem.as_str().map(str::to_owned)
    })
    .await;
    assert!(problem.contains("stopped"), "{problem}");
    let product = org.some("Product2", "").await;
    org.update("Product2", &product, json!({"Description": "streams on"}))
        .await;
    converge(&org).await;
}
