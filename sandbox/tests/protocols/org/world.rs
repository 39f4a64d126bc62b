//! A served sandbox, a REST client, and a subscriber that decodes with another library than ours.

use std::collections::HashMap;
use std::time::Duration;

use serde_json::{Value as Json, json};
use storesync_proto::pub_sub_client::PubSubClient;
use storesync_proto::{FetchRequest, FetchResponse, ReplayPreset, SchemaRequest};
use storesync_sandbox::Options;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::metadata::MetadataValue;
use tonic::transport::Channel;
use tonic::{Request, Status, Streaming};

pub use crate::rest::client::Client;

/// Longer than anything takes that works.
const PATIENCE: Duration = Duration::from_secs(60);

pub async fn start() -> Client {
    Client::start().await
}

pub async fn start_with(change: impl FnOnce(&mut Options)) -> Client {
    let mut options = Options::default();
    change(&mut options);
    Client::start_with(options).await
}

/// An event as a subscriber reads it.
#[derive(Debug)]
pub struct Event {
    pub schema_id: String,
    pub replay_id: bytes::Bytes,
    pub header: Json,
    pub body: Json,
}

impl Event {
    /// `UPDATE Account 1`
    pub fn told(&self) -> String {
        let text = |name: &str| self.header[name].as_str().unwrap().to_owned();
        format!(
            "{} {} {}",
            text("changeType"),
            text("entityName"),
            self.header["sequenceNumber"]
        )
    }

    pub fn ids(&self) -> Vec<&str> {
        self.header["recordIds"]
            .as_array()
            .unwrap()
            .iter()
            .map(|id| id.as_str().unwrap())
            .collect()
    }

    /// Names of the fields whose values are there.
    pub fn filled(&self) -> Vec<&str> {
        let fields = self.body.as_object().unwrap();
        fields
            .iter()
            .filter(|(_, value)| !value.is_null())
            .map(|(name, _)| name.as_str())
            .collect()
    }
}

/// A subscription with credit for a hundred events.
pub struct Subscriber {
    client: PubSubClient<Channel>,
    metadata: Vec<(&'static str, String)>,
    ask: mpsc::Sender<FetchRequest>,
    responses: Streaming<FetchResponse>,
    schemas: HashMap<String, (apache_avro::Schema, Json)>,
    read: std::collections::VecDeque<Event>,
}

impl Subscriber {
    pub async fn new(org: &Client, topic: &str) -> Self {
        Self::from(org, topic, None).await
    }

    /// From a replay id on; from the tip where none is given.
    pub async fn from(org: &Client, topic: &str, replay_id: Option<&[u8]>) -> Self {
        let metadata = vec![
            ("accesstoken", org.token.clone()),
            ("instanceurl", org.base.clone()),
            ("tenantid", org.env("SANDBOX_ORG_ID")),
        ];
        let address = format!("http://{}", org.env("SANDBOX_GRPC"));
        let channel = Channel::from_shared(address).unwrap().connect().await.unwrap();
        let mut client = PubSubClient::new(channel).max_decoding_message_size(8 << 20);
        let (ask, asked) = mpsc::channel(8);
        let preset = match replay_id {
            Some([]) => ReplayPreset::Earliest,
            Some(_) => ReplayPreset::Custom,
            None => ReplayPreset::Latest,
        };
        let first = FetchRequest {
            topic_name: topic.to_owned(),
            replay_preset: preset.into(),
            replay_id: bytes::Bytes::copy_from_slice(replay_id.unwrap_or_default()),
            num_requested: 100,
            ..FetchRequest::default()
        };
        ask.send(first).await.unwrap();
        let responses = client
            .subscribe(signed(&metadata, ReceiverStream::new(asked)))
            .await
            .unwrap();
        let mut subscriber = Self {
            client,
            metadata,
            ask,
            responses: responses.into_inner(),
            schemas: HashMap::new(),
            read: std::collections::VecDeque::new(),
        };
        if replay_id.is_none() {
            // The first keep-alive says that the place in the log is taken.
            subscriber.take().await.unwrap();
        }
        subscriber
    }

    async fn take(&mut self) -> Result<bytes::Bytes, Status> {
        let response = tokio::time::timeout(PATIENCE, self.responses.message())
            .await
            .expect("a response in time")?
            .expect("the call goes on");
        for event in &response.events {
            let decoded = self.decode(event).await;
            self.read.push_back(decoded);
        }
        if response.pending_num_requested < 50 {
            let more = FetchRequest {
                num_requested: 50,
                ..FetchRequest::default()
            };
            self.ask.send(more).await.unwrap();
        }
        Ok(response.latest_replay_id)
    }

    /// The next event.
    pub async fn event(&mut self) -> Event {
        let next = async {
            loop {
                if let Some(event) = self.read.pop_front() {
                    return event;
                }
                self.take().await.unwrap();
            }
        };
        // Keep-alives alone are no answer.
        tokio::time::timeout(PATIENCE, next)
            .await
            .expect("an event in time")
    }

    pub async fn events(&mut self, count: usize) -> Vec<Event> {
        let mut events = Vec::new();
        for _ in 0..count {
            events.push(self.event().await);
        }
        events
    }

    /// The error that ends the call.
    pub async fn refusal(&mut self) -> Status {
        loop {
            if let Err(status) = self.take().await {
                return status;
            }
        }
    }

    async fn decode(&mut self, event: &storesync_proto::ConsumerEvent) -> Event {
        let produced = event.event.clone().unwrap();
        if !self.schemas.contains_key(&produced.schema_id) {
            let wanted = SchemaRequest {
                schema_id: produced.schema_id.clone(),
            };
            let schema = self
                .client
                .get_schema(signed(&self.metadata, wanted))
                .await
                .unwrap();
            let json = schema.into_inner().schema_json;
            let parsed = apache_avro::Schema::parse_str(&json).unwrap();
            let json = serde_json::from_str(&json).unwrap();
            self.schemas.insert(produced.schema_id.clone(), (parsed, json));
        }
        let (schema, _) = &self.schemas[&produced.schema_id];
        let mut payload = &produced.payload[..];
        let value = apache_avro::reader::datum::GenericDatumReader::builder(schema)
            .build()
            .unwrap()
            .read_value(&mut payload)
            .unwrap();
        assert!(payload.is_empty(), "the payload is read to its last byte");
        let mut body = Json::try_from(value).unwrap();
        let header = body
            .as_object_mut()
            .unwrap()
            .shift_remove("ChangeEventHeader")
            .unwrap();
        Event {
            schema_id: produced.schema_id,
            replay_id: event.replay_id.clone(),
            header,
            body,
        }
    }

    /// The names that a header's list of bitmaps stands for, by the event's own schema.
    pub fn names(&self, event: &Event, list: &str) -> Vec<String> {
        let fields = self.schemas[&event.schema_id].1["fields"].as_array().unwrap();
        let mut names = Vec::new();
        for entry in event.header[list].as_array().unwrap() {
            let entry = entry.as_str().unwrap();
            match entry.split_once('-') {
                None => names.extend(
                    bits(entry)
                        .into_iter()
                        .map(|bit| fields[bit]["name"].as_str().unwrap().to_owned()),
                ),
                Some((parent, entry)) => {
                    let parent = &fields[parent.parse::<usize>().unwrap()];
                    let members = self.members(&event.schema_id, &parent["type"]);
                    let name = |bit: usize| format!("{}.{}", parent["name"].as_str().unwrap(), members[bit]);
                    names.extend(bits(entry).into_iter().map(name));
                }
            }
        }
        names
    }

    /// The members of the record type in a union, which may be defined elsewhere in the schema.
    fn members(&self, schema_id: &str, union: &Json) -> Vec<String> {
        fn defined<'a>(json: &'a Json, name: &str) -> Option<&'a Json> {
            match json {
                Json::Object(object) if json["type"] == "record" && json["name"] == name => {
                    object.get("fields")
                }
                Json::Object(object) => object.values().find_map(|value| defined(value, name)),
                Json::Array(items) => items.iter().find_map(|item| defined(item, name)),
                _ => None,
            }
        }
        let schema = &self.schemas[schema_id].1;
        let branches = union.as_array().unwrap();
        let record = branches.iter().find(|branch| branch["type"] == "record");
        let fields = match record {
            Some(record) => &record["fields"],
            None => defined(schema, branches.last().unwrap().as_str().unwrap()).unwrap(),
        };
        let names = fields.as_array().unwrap().iter();
        names
            .map(|field| field["name"].as_str().unwrap().to_owned())
            .collect()
    }
}

fn bits(entry: &str) -> Vec<usize> {
    let digits = entry.strip_prefix("0x").unwrap();
    assert!(digits.len().is_multiple_of(2) && digits == digits.to_uppercase());
    let bytes: Vec<u8> = (0..digits.len() / 2)
        .map(|at| u8::from_str_radix(&digits[at * 2..at * 2 + 2], 16).unwrap())
        .rev()
        .collect();
    (0..bytes.len() * 8)
        .filter(|bit| bytes[bit / 8] >> (bit % 8) & 1 == 1)
        .collect()
}

fn signed<T>(metadata: &[(&'static str, String)], message: T) -> Request<T> {
    let mut request = Request::new(message);
    for (name, value) in metadata {
        request
            .metadata_mut()
            .insert(*name, MetadataValue::try_from(value).unwrap());
    }
    request
}

/// What the org's controls answer.
pub async fn control(org: &Client, path: &str, body: Json) -> Json {
    let (status, json) = org.post(&format!("/sandbox/{path}"), body).await;
    assert_eq!(status, 200, "{path}: {json}");
    json
}

/// Several records of one type in one transaction.
pub async fn create_all(org: &Client, records: Vec<Json>) -> Vec<String> {
    let body = json!({"allOrNone": true, "records": records});
    let (status, json) = org.post("composite/sobjects", body).await;
    assert_eq!(status, 200, "{json}");
    let rows = json.as_array().unwrap().iter();
    rows.map(|row| row["id"].as_str().unwrap_or_else(|| panic!("{json}")).to_owned())
        .collect()
}

/// A sandbox process over a folder, with the lines of its environment.
pub fn kept(dir: &std::path::Path) -> (crate::process::Running, Vec<(&'static str, String)>) {
    let mut command = crate::sandbox_command();
    let dir = dir.to_str().unwrap();
    let ports = [
        "--http",
        "127.0.0.1:0",
        "--grpc",
        "127.0.0.1:0",
        "--keepalive-ms",
        "200",
    ];
    command.args(ports).args(["--products", "20", "--data", dir]);
    let (running, line) = crate::process::Running::with_first_line(command);
    let env: HashMap<String, String> =
        serde_json::from_str(&line).unwrap_or_else(|_| panic!("{line}\n{}", running.said()));
    let env = env
        .into_iter()
        .map(|(key, value)| (&*key.leak(), value))
        .collect();
    (running, env)
}
