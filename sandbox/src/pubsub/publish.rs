//! Publishing: Publish for one request, PublishStream for many.
//!
//! The payload is taken as it is; the platform does not look into it either. Each event has a result of its own,
//! and one that is refused does not keep the others from being published.

use std::sync::Arc;

use futures_util::{Stream, stream};
use tonic::{Code, Status, Streaming};

use super::hub::{Channel, Hub};
use super::refusal::{refuse, rpc_id};
use crate::bus::{NewEvent, PLATFORM_EVENT};
use storesync_proto::{Error, ErrorCode, ProducerEvent, PublishRequest, PublishResponse, PublishResult};

/// The platform takes no larger event.
const EVENT_BYTES_MAX: usize = 1 << 20;

/// The channel, if events can be published to it: change events are the org's own.
pub(super) fn writable(hub: &Hub, rpc: &'static str, topic: &str) -> Result<Channel, Status> {
    if topic.is_empty() {
        let text = "Topic validation failed. The topic name can't be blank.";
        let suffix = "publish.topic.validation.empty";
        return Err(refuse(Code::InvalidArgument, suffix, rpc, text));
    }
    let channel = hub.channel(rpc, topic)?;
    if !channel.is_platform_event() {
        let text = format!("The user doesn't have permission to publish to the topic {topic}.");
        return Err(refuse(
            Code::PermissionDenied,
            "topic.meta.permission",
            rpc,
            &text,
        ));
    }
    Ok(channel)
}

/// Publishes the events of one request, in their order.
pub(super) fn publish(
    hub: &Hub,
    rpc: &'static str,
    channel: &Channel,
    events: Vec<ProducerEvent>,
) -> Result<PublishResponse, Status> {
    if events.is_empty() {
        let text = "The publish request must contain at least one event.";
        return Err(refuse(
            Code::InvalidArgument,
            "publish.event.count.invalid",
            rpc,
            text,
        ));
    }
    let schema_id = hub.schema_id(channel);
    let verdicts: Vec<Option<String>> = events.iter().map(|event| fault(event, &schema_id)).collect();
    let keys: Vec<String> = events.iter().map(|event| event.id.clone()).collect();
    let good = events
        .into_iter()
        .zip(&verdicts)
        .filter(|(_, verdict)| verdict.is_none());
    let new = good.map(|(event, _)| NewEvent {
        object: PLATFORM_EVENT,
        id: if event.id.is_empty() { rpc_id() } else { event.id },
        schema_id: event.schema_id,
        payload: event.payload,
    });
    let mut positions = hub.org.bus().append(new.collect()).into_iter();
    let results = verdicts.into_iter().zip(keys).map(|(verdict, correlation_key)| {
        let error = verdict.map(|msg| Error {
            code: ErrorCode::Publish.into(),
            msg,
        });
        let position = if error.is_none() { positions.next() } else { None };
        PublishResult {
            replay_id: position.map(|position| position.replay_id()).unwrap_or_default(),
            error,
            correlation_key,
        }
    });
    Ok(PublishResponse {
        results: results.collect(),
        schema_id,
        rpc_id: rpc_id(),
    })
}

/// Why an event is not taken.
fn fault(event: &ProducerEvent, schema_id: &str) -> Option<String> {
    if event.payload.len() > EVENT_BYTES_MAX {
        let size = event.payload.len();
        return Some(format!(
            "The event of {size} bytes exceeds the maximum of {EVENT_BYTES_MAX} bytes."
        ));
    }
    if event.payload.is_empty() {
        return Some("The event has no payload.".to_owned());
    }
    if event.schema_id.is_empty() {
        return Some("Schema validation failed. The schema ID can't be blank.".to_owned());
    }
    (event.schema_id != schema_id).then(|| {
        format!(
            "The schema {} is not the topic's: use {schema_id}.",
            event.schema_id
        )
    })
}

/// One PublishStream call.
pub(super) struct PublishCall {
    pub hub: Arc<Hub>,
    pub token: String,
    pub requests: Streaming<PublishRequest>,
    pub channel: Option<Channel>,
    pub ended: bool,
}

const STREAM: &str = "PublishStream";

impl PublishCall {
    pub(super) fn into_stream(self) -> impl Stream<Item = Result<PublishResponse, Status>> + Send {
        stream::unfold(self, |mut call| async move {
            if call.ended {
                return None;
            }
            let outcome = call.next().await;
            call.ended = !matches!(outcome, Ok(Some(_)));
            outcome.transpose().map(|response| (response, call))
        })
    }

    async fn next(&mut self) -> Result<Option<PublishResponse>, Status> {
        let patience = self.hub.timings.publish;
        let Ok(request) = tokio::time::timeout(patience, self.requests.message()).await else {
            let seconds = patience.as_secs();
            let text = format!("No publish request was received in the last {seconds} seconds.");
            let suffix = "publish.stream.sweeper.timeout";
            return Err(refuse(Code::DeadlineExceeded, suffix, STREAM, &text));
        };
        // The publisher is done, or gone.
        let Ok(Some(request)) = request else {
            return Ok(None);
        };
        self.hub.check_token(STREAM, &self.token)?;
        let channel = match &self.channel {
            None => writable(&self.hub, STREAM, &request.topic_name)?,
            Some(channel) if request.topic_name.is_empty() || request.topic_name == channel.name => {
                channel.clone()
            }
            Some(_) => {
                let text = "The topic name can't be changed in a publish stream.";
                let suffix = "publish.topic.mismatch";
                return Err(refuse(Code::InvalidArgument, suffix, STREAM, text));
            }
        };
        let response = publish(&self.hub, STREAM, &channel, request.events)?;
        self.channel = Some(channel);
        Ok(Some(response))
    }
}
