//! Platform events: what is published is delivered, and each event has a result.

use storesync_proto::{ErrorCode, ProducerEvent, PublishRequest, PublishResponse};

use super::*;

const NOTICES: &str = "/event/Storesync_Notice__e";

impl World {
    async fn notice_schema(&self) -> (String, apache_avro::Schema) {
        let mut client = self.client.clone();
        let topic = TopicRequest {
            topic_name: NOTICES.to_owned(),
        };
        let topic = client.get_topic(self.signed(topic)).await.unwrap().into_inner();
        assert!(topic.can_publish && topic.can_subscribe);
        let request = SchemaRequest {
            schema_id: topic.schema_id.clone(),
        };
        let schema = client
            .get_schema(self.signed(request))
            .await
            .unwrap()
            .into_inner();
        let schema = apache_avro::Schema::parse_str(&schema.schema_json).unwrap();
        (topic.schema_id, schema)
    }

    async fn publish(&self, events: Vec<ProducerEvent>) -> Result<PublishResponse, Status> {
        let request = PublishRequest {
            topic_name: NOTICES.to_owned(),
            events,
            ..PublishRequest::default()
        };
        let answer = self.client.clone().publish(self.signed(request)).await;
        answer.map(tonic::Response::into_inner)
    }
}

/// As any Avro library writes it.
fn notice(schema: &apache_avro::Schema, message: &str) -> Bytes {
    use apache_avro::types::{Record, Value};
    let mut record = Record::new(schema).unwrap();
    record.put("CreatedDate", Value::Long(1_790_000_000_000));
    record.put("CreatedById", Value::String("005Sb0000000001AAA".to_owned()));
    record.put(
        "Message__c",
        Value::Union(1, Box::new(Value::String(message.to_owned()))),
    );
    let writer = apache_avro::writer::datum::GenericDatumWriter::builder(schema)
        .build()
        .unwrap();
    let mut bytes = Vec::new();
    writer.write_value(&mut bytes, record).unwrap();
    bytes.into()
}

fn event(id: &str, schema_id: &str, payload: Bytes) -> ProducerEvent {
    ProducerEvent {
        id: id.to_owned(),
        schema_id: schema_id.to_owned(),
        payload,
        headers: Vec::new(),
    }
}

#[tokio::test]
async fn published_events_reach_their_subscribers_and_bad_ones_are_told_apart() {
    let world = World::quick().await;
    let (schema_id, schema) = world.notice_schema().await;
    let payload = notice(&schema, "hello");
    let response = world
        .publish(vec![
            event("n-1", &schema_id, payload.clone()),
            event("n-2", "AAAAAAAAAAAAAAAAAAAAAA", payload.clone()),
            event("n-3", "", payload.clone()),
            event("n-4", &schema_id, Bytes::from(vec![0; (1 << 20) + 1])),
            event("", &schema_id, payload.clone()),
        ])
        .await
        .unwrap();
    assert_eq!(response.schema_id, schema_id);
    let told: Vec<(String, bool, usize)> = response
        .results
        .iter()
        .map(|result| {
            let refused = result.error.as_ref().map(|error| error.code) == Some(ErrorCode::Publish.into());
            (result.correlation_key.clone(), refused, result.replay_id.len())
        })
        .collect();
    let expected = [
        ("n-1", false, 10),
        ("n-2", true, 0),
        ("n-3", true, 0),
        ("n-4", true, 0),
        ("", false, 10),
    ];
    assert_eq!(
        told,
        expected.map(|(key, refused, id)| (key.to_owned(), refused, id))
    );
    world.change(1);
    let mut call = world
        .subscribe(fetch(NOTICES, ReplayPreset::Earliest, Bytes::new(), 10))
        .await;
    let response = call.response().await;
    let events: Vec<ProducerEvent> = response
        .events
        .iter()
        .map(|event| event.event.clone().unwrap())
        .collect();
    assert_eq!(events.len(), 2, "no change events among them");
    assert_eq!((events[0].id.as_str(), &events[0].payload), ("n-1", &payload));
    assert_eq!(events[1].id.len(), 36, "an event without an id gets one");
    let all = fetch("/data/ChangeEvents", ReplayPreset::Earliest, Bytes::new(), 10);
    assert_eq!(world.subscribe(all).await.response().await.events.len(), 1);
}

#[tokio::test]
async fn only_platform_events_can_be_published() {
    let world = World::quick().await;
    let publish = |topic: &str, events: usize| {
        let request = PublishRequest {
            topic_name: topic.to_owned(),
            events: vec![event("e", "s", Bytes::from_static(b"x")); events],
            ..PublishRequest::default()
        };
        let mut client = world.client.clone();
        let request = world.signed(request);
        async move { client.publish(request).await.unwrap_err() }
    };
    let table = [
        (ACCOUNTS, 1, Code::PermissionDenied, "topic.meta.permission"),
        ("/event/Nope__e", 1, Code::NotFound, "topic.not.found"),
        ("", 1, Code::InvalidArgument, "publish.topic.validation.empty"),
        (NOTICES, 0, Code::InvalidArgument, "publish.event.count.invalid"),
    ];
    for (topic, events, code, suffix) in table {
        let status = publish(topic, events).await;
        assert_eq!((status.code(), error_code(&status)), (code, suffix), "{topic}");
        assert_eq!(status.metadata().get("type").unwrap(), "Publish");
    }
}

#[tokio::test]
async fn a_publish_stream_answers_each_request_until_it_is_idle() {
    let timings = Timings {
        publish: Duration::from_millis(300),
        ..Timings::default()
    };
    let world = World::new(timings).await;
    let (schema_id, schema) = world.notice_schema().await;
    let (ask, asked) = mpsc::channel(8);
    let request = |topic: &str, id: &str| PublishRequest {
        topic_name: topic.to_owned(),
        events: vec![event(id, &schema_id, notice(&schema, id))],
        ..PublishRequest::default()
    };
    let call = world.signed(ReceiverStream::new(asked));
    let mut answers = world
        .client
        .clone()
        .publish_stream(call)
        .await
        .unwrap()
        .into_inner();
    for (topic, id) in [(NOTICES, "n-1"), ("", "n-2"), (NOTICES, "n-3")] {
        ask.send(request(topic, id)).await.unwrap();
        let answer = answers.message().await.unwrap().unwrap();
        assert_eq!(answer.results[0].correlation_key, id);
        assert_eq!(answer.results[0].error, None);
    }
    let ended = tokio::time::timeout(Duration::from_secs(10), answers.message()).await;
    let status = ended.expect("an end in time").unwrap_err();
    assert_eq!(error_code(&status), "publish.stream.sweeper.timeout");
    let (ask, asked) = mpsc::channel(8);
    let call = world.signed(ReceiverStream::new(asked));
    let mut answers = world
        .client
        .clone()
        .publish_stream(call)
        .await
        .unwrap()
        .into_inner();
    ask.send(request(NOTICES, "n-4")).await.unwrap();
    answers.message().await.unwrap().unwrap();
    ask.send(request(ACCOUNTS, "n-5")).await.unwrap();
    assert_eq!(
        error_code(&answers.message().await.unwrap_err()),
        "publish.topic.mismatch"
    );
}
