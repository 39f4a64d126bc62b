//! Custom channels, enrichment, permissions, and the allocation.

use super::*;
use crate::process::eventually;

fn reader(schema_json: &str) -> apache_avro::Schema {
    apache_avro::Schema::parse_str(schema_json).unwrap()
}

impl World {
    fn define(&self, channel: serde_json::Value) -> Result<String, String> {
        let definition = serde_json::from_value(channel).unwrap();
        self.hub.channels.define(&self.org, definition)
    }

    fn write<T>(
        &self,
        work: impl FnOnce(&mut storesync_sandbox::org::Transaction<'_>) -> Result<T, RecordErrors>,
    ) -> T {
        let origin = Origin {
            client: "tests".to_owned(),
            user: self.org.user_id(),
        };
        self.org.transact(&origin, work).unwrap()
    }

    fn object(&self, name: &str) -> usize {
        self.org.catalog().object(name).unwrap().index
    }

    /// An event as the reference reader reads it.
    fn decoded(&self, event: &storesync_proto::ConsumerEvent) -> serde_json::Value {
        let event = event.event.as_ref().unwrap();
        let schema = reader(&self.hub.schema_json(&event.schema_id).unwrap());
        let mut bytes = &event.payload[..];
        let value = apache_avro::reader::datum::GenericDatumReader::builder(&schema)
            .build()
            .unwrap()
            .read_value(&mut bytes)
            .unwrap();
        assert!(bytes.is_empty());
        value.try_into().unwrap()
    }
}

#[tokio::test]
async fn a_custom_channel_carries_its_members_with_their_enrichment() {
    let world = World::quick().await;
    let topic = world
        .define(json!({"name": "Shop__chn", "members": [
            {"object": "Account", "enriched": ["Industry", "Phone", "NumberOfEmployees"]}, {"object": "Product2"}]}))
        .unwrap();
    assert_eq!(topic, "/data/Shop__chn");
    let ask = TopicRequest {
        topic_name: topic.clone(),
    };
    let told = world.client.clone().get_topic(world.signed(ask)).await.unwrap();
    assert_eq!(
        told.into_inner().schema_id,
        "",
        "a channel of several objects has no schema"
    );
    let account = world.object("Account");
    let body = json!({"Name": "Ana", "Industry": "Retail", "NumberOfEmployees": 7, "BillingCity": "Hobart",
        "ShippingCity": "Perth"});
    let id = world.write(|tx| tx.create(account, body.as_object().unwrap()));
    world.write(|tx| {
        tx.update(
            account,
            id,
            json!({"ShippingCity": "Cairns"}).as_object().unwrap(),
        )
    });
    world.write(|tx| {
        tx.create(
            world.object("Product2"),
            json!({"Name": "Tea"}).as_object().unwrap(),
        )
    });
    world.write(|tx| tx.create(world.object("Order"), order(id).as_object().unwrap()));
    let mut call = world
        .subscribe(fetch(&topic, ReplayPreset::Earliest, Bytes::new(), 10))
        .await;
    let events: Vec<serde_json::Value> = call
        .response()
        .await
        .events
        .iter()
        .map(|event| world.decoded(event))
        .collect();
    let told: Vec<String> = events
        .iter()
        .map(|event| {
            let header = &event["ChangeEventHeader"];
            format!("{} {}", header["changeType"], header["entityName"]).replace('"', "")
        })
        .collect();
    assert_eq!(told, ["CREATE Account", "UPDATE Account", "CREATE Product2"]);
    let update = &events[1];
    assert_eq!(update["Industry"], "Retail", "sent though it did not change");
    assert_eq!(update["NumberOfEmployees"], 7);
    assert_eq!(update["Phone"], serde_json::Value::Null);
    assert_eq!(update["ShippingAddress"]["City"], "Cairns");
    assert_eq!(update["BillingAddress"], serde_json::Value::Null);
    assert_eq!(update["ChangeEventHeader"]["recordIds"], json!([id.as_str()]));
    // On the object's own channel the same event is bare.
    let mut call = world
        .subscribe(fetch(ACCOUNTS, ReplayPreset::Earliest, Bytes::new(), 10))
        .await;
    assert_eq!(
        world.decoded(&call.response().await.events[1])["Industry"],
        serde_json::Value::Null
    );
}

fn order(account: storesync_sandbox::value::RecordId) -> serde_json::Value {
    json!({"AccountId": account.as_str(), "EffectiveDate": "2026-11-22", "Status": "Draft"})
}

#[tokio::test]
async fn channels_are_refused_with_a_reason() {
    let world = World::quick().await;
    let table = [
        (json!({"name": "Shop", "members": []}), "Shop__chn"),
        (json!({"name": "A__chn", "members": [{"object": "Nope"}]}), "Nope"),
        (
            json!({"name": "A__chn", "members": [{"object": "Contact"}]}),
            "not selected",
        ),
        (
            json!({"name": "A__chn", "members": [{"object": "Account", "enriched": ["Nope"]}]}),
            "no field Nope",
        ),
        (
            json!({"name": "A__chn", "members": [{"object": "Account", "enriched": ["BillingCity"]}]}),
            "enrichment",
        ),
    ];
    for (channel, word) in table {
        let error = world.define(channel).unwrap_err();
        assert!(error.contains(word), "{error}");
    }
}

#[tokio::test]
async fn what_the_user_may_not_see_is_refused_alone_and_left_out_among_others() {
    let world = World::quick().await;
    world
        .hub
        .channels
        .hide(&world.org, &["Account".to_owned()])
        .unwrap();
    let status = world.subscribe(latest(1)).await.next().await.unwrap_err();
    assert_eq!(status.code(), Code::PermissionDenied);
    assert_eq!(error_code(&status), "subscription.topic.cannot.subscribe");
    assert_eq!(status.metadata().get("type").unwrap(), "Subscribe");
    let ask = TopicRequest {
        topic_name: ACCOUNTS.to_owned(),
    };
    let told = world.client.clone().get_topic(world.signed(ask)).await.unwrap();
    assert!(!told.into_inner().can_subscribe);
    world.change(2);
    world.write(|tx| {
        tx.create(
            world.object("Product2"),
            json!({"Name": "Tea"}).as_object().unwrap(),
        )
    });
    world.change(1);
    let mut call = world
        .subscribe(fetch(
            "/data/ChangeEvents",
            ReplayPreset::Earliest,
            Bytes::new(),
            5,
        ))
        .await;
    let response = call.response().await;
    assert_eq!((response.events.len(), response.pending_num_requested), (1, 4));
    assert_eq!(
        world.decoded(&response.events[0])["ChangeEventHeader"]["entityName"],
        "Product2"
    );
}

#[tokio::test]
async fn fields_the_user_may_not_see_are_left_out_of_events_and_not_of_their_schema() {
    let world = World::quick().await;
    let account = world.object("Account");
    let body =
        json!({"Name": "Ana", "Phone": "1", "Fax": "2", "ShippingStreet": "x", "ShippingCity": "Perth"});
    world.write(|tx| tx.create(account, body.as_object().unwrap()));
    let hidden = ["Phone", "ShippingStreet"].map(str::to_owned).to_vec();
    let permissions = storesync_sandbox::schema::change::Permissions {
        hidden,
        ..Default::default()
    };
    world
        .org
        .permit(world.org.user_id(), "Account", permissions)
        .unwrap();
    let mut call = world
        .subscribe(fetch(ACCOUNTS, ReplayPreset::Earliest, Bytes::new(), 5))
        .await;
    let event = world.decoded(&call.response().await.events[0]);
    assert_eq!(event["Phone"], serde_json::Value::Null);
    assert_eq!(
        (&event["Fax"], &event["ShippingAddress"]["City"]),
        (&json!("2"), &json!("Perth"))
    );
    assert!(event.as_object().unwrap().contains_key("Phone"));
    // Another user sees them.
    let other = storesync_sandbox::value::RecordId::new(*b"005", 900);
    let mut world = world;
    world.token = world.sessions.issue_for(other).unwrap();
    let mut call = world
        .subscribe(fetch(ACCOUNTS, ReplayPreset::Earliest, Bytes::new(), 5))
        .await;
    assert_eq!(world.decoded(&call.response().await.events[0])["Phone"], "1");
}

#[tokio::test]
async fn deliveries_are_counted_for_each_subscriber_and_run_out() {
    let world = World::quick().await;
    world.hub.deliveries.limit(Some(5));
    world.change(3);
    let earliest = || fetch(ACCOUNTS, ReplayPreset::Earliest, Bytes::new(), 10);
    let mut one = world.subscribe(earliest()).await;
    assert_eq!(one.response().await.events.len(), 3);
    let mut other = world.subscribe(earliest()).await;
    assert_eq!(
        other.response().await.events.len(),
        2,
        "as many as there are left"
    );
    let status = other.next().await.unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted);
    assert_eq!(error_code(&status), "subscription.limit.exceeded");
    let listed = world.hub.deliveries.list();
    assert_eq!(listed["delivered_24h"], 5);
    assert_eq!(listed["subscribers"][1]["delivered"], 2);
    world.hub.deliveries.limit(Some(6));
    let mut again = world.subscribe(earliest()).await;
    assert_eq!(again.response().await.events.len(), 1, "replays count too");
    // Two calls have ended by a refusal, the first ends with its subscriber.
    let open = || {
        let listed = world.hub.deliveries.list();
        let calls = listed["subscribers"].as_array().unwrap().iter();
        calls.map(|call| call["open"] == true).collect::<Vec<_>>()
    };
    eventually("the refused calls are over", async || {
        (open() == [true, false, false]).then_some(())
    })
    .await;
    drop(one);
    eventually("so is the first", async || (open() == [false; 3]).then_some(())).await;
}

#[tokio::test]
async fn a_response_holds_no_more_than_three_megabytes() {
    let world = World::quick().await;
    let account = world.object("Account");
    let text = "x".repeat(32_000);
    world.write(|tx| {
        for at in 0..200 {
            let body = json!({"Name": format!("A {at}"), "Description": text});
            tx.create(account, body.as_object().unwrap())?;
        }
        Ok(())
    });
    let mut call = world
        .subscribe(fetch(ACCOUNTS, ReplayPreset::Earliest, Bytes::new(), 100))
        .await;
    let (mut owed, mut responses, mut received) = (100, 0, 0);
    while received < 200 {
        let response = call.response().await;
        let bytes: usize = response
            .events
            .iter()
            .map(|event| event.event.as_ref().unwrap().payload.len())
            .sum();
        assert!(bytes <= 3 << 20, "{bytes}");
        (owed, responses, received) = (
            owed - response.events.len(),
            responses + 1,
            received + response.events.len(),
        );
        assert_eq!(response.pending_num_requested as usize, owed);
        if owed == 0 {
            call.more(100).await;
            owed = 100;
        }
    }
    assert_eq!(responses, 4, "a hundred of them take two responses");
}
