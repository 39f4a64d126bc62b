//! One Subscribe call.
//!
//! What the first request says of topic and starting point holds for the call; later ones only add to what the
//! subscriber asked for, and may repeat the rest.

use std::sync::Arc;

use futures_util::{Stream, stream};
use tonic::{Code, Status, Streaming};

use super::hub::Hub;
use super::reader::{Reader, Step};
use super::refusal::{refuse, rpc_id};
use super::reset::Reset;
use crate::bus::Position;
use storesync_proto::{FetchRequest, FetchResponse, ReplayPreset};

const RPC: &str = "Subscribe";

/// The state of the call.
pub(super) struct Subscription {
    reader: Reader,
    requests: Streaming<FetchRequest>,
    ended: bool,
}

impl Subscription {
    pub(super) fn new(
        hub: Arc<Hub>,
        token: String,
        reset: Option<Reset>,
        requests: Streaming<FetchRequest>,
    ) -> Self {
        Self {
            reader: Reader::new(hub, RPC, token, reset),
            requests,
            ended: false,
        }
    }

    pub(super) fn into_stream(self) -> impl Stream<Item = Result<FetchResponse, Status>> + Send {
        stream::unfold(self, |mut call| async move {
            if call.ended {
                return None;
            }
            let outcome = call.next().await;
            call.ended = !matches!(outcome, Ok(Some(_)));
            outcome.transpose().map(|response| (response, call))
        })
    }

    /// The next response; none ends the call.
    async fn next(&mut self) -> Result<Option<FetchResponse>, Status> {
        loop {
            match self.reader.step(&mut self.requests).await? {
                Step::Asked(request) => self.take(&request).await?,
                Step::End => return Ok(None),
                Step::Respond(batch) => {
                    return Ok(Some(FetchResponse {
                        events: batch.events,
                        latest_replay_id: batch.latest,
                        rpc_id: rpc_id(),
                        pending_num_requested: self.reader.pending(),
                    }));
                }
            }
        }
    }

    async fn take(&mut self, request: &FetchRequest) -> Result<(), Status> {
        let first = !self.reader.has_begun();
        if !first && !request.topic_name.is_empty() && request.topic_name != self.reader.topic() {
            let text = "The topic name can't be changed in a subscription.";
            let suffix = "subscription.fetch.topic.mismatch";
            return Err(refuse(Code::InvalidArgument, suffix, RPC, text));
        }
        if first {
            let hub = Arc::clone(&self.reader.hub);
            let channel = hub.readable(RPC, &request.topic_name)?;
            // Read first: a log begun anew in between is then noticed.
            let epoch = hub.org.bus().epoch();
            let position = start(&hub, request)?;
            self.ask(request)?;
            return self.reader.begin(channel, position, epoch).await;
        }
        self.ask(request)
    }

    fn ask(&mut self, request: &FetchRequest) -> Result<(), Status> {
        let refused = "subscription.fetch.requested.events.invalid";
        self.reader.ask(request.num_requested, refused)
    }
}

/// Where a call's first request wants to begin.
fn start(hub: &Hub, request: &FetchRequest) -> Result<Position, Status> {
    let bus = hub.org.bus();
    let invalid = |suffix: &str, text: &str| refuse(Code::InvalidArgument, suffix, RPC, text);
    match ReplayPreset::try_from(request.replay_preset) {
        Ok(ReplayPreset::Latest) => Ok(bus.tip()),
        Ok(ReplayPreset::Earliest) => Ok(bus.oldest()),
        Ok(ReplayPreset::Custom) if request.replay_id.is_empty() => Err(invalid(
            "subscription.fetch.replayid.validation.failed",
            "The Replay ID validation failed. A custom replay preset needs a Replay ID.",
        )),
        Ok(ReplayPreset::Custom) => bus.position(&request.replay_id).ok_or_else(|| {
            invalid(
                "subscription.fetch.replayid.corrupted",
                "The Replay ID validation failed. Ensure that the Replay ID is valid.",
            )
        }),
        Err(_) => Err(invalid(
            "subscription.fetch.request.invalid",
            "The replay preset is not one of LATEST, EARLIEST and CUSTOM.",
        )),
    }
}
