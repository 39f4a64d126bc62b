//! One Subscribe call.
//!
//! The subscriber asks for a number of events and is sent no more; requests add up, to a hundred at most. What
//! the first request says of topic and starting point holds for the call. The bell is armed before the log is
//! read, so an event that arrives in between is not slept through.

use futures_util::{Stream, stream};
use tokio::sync::watch;
use tokio::time::Instant;
use tonic::{Code, Status, Streaming};

use super::super::bus::{Event, Position, Topic};
use super::Service;
use super::refusal::{refuse, rpc_id};
use crate::proto::{ConsumerEvent, FetchRequest, FetchResponse, ProducerEvent, ReplayPreset};

const RPC: &str = "Subscribe";
/// The most events a subscriber can have asked for.
const CREDIT_MAX: usize = 100;
/// The most payload bytes of one response.
const RESPONSE_BYTES_MAX: usize = 3 * 1024 * 1024;

/// The topic and the place reached in it, known from the first request on.
struct Reading {
    name: String,
    topic: Topic,
    position: Position,
}

/// The state of the call.
pub(super) struct Subscription {
    service: Service,
    token: String,
    requests: Streaming<FetchRequest>,
    bell: watch::Receiver<Position>,
    reading: Option<Reading>,
    credit: usize,
    responded_at: Instant,
    ended: bool,
}

impl Subscription {
    pub(super) fn new(service: Service, token: String, requests: Streaming<FetchRequest>) -> Self {
        let bell = service.org.bus().watch();
        let responded_at = Instant::now();
        Self {
            service,
            token,
            requests,
            bell,
            reading: None,
            credit: 0,
            responded_at,
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
            call.responded_at = Instant::now();
            outcome.transpose().map(|response| (response, call))
        })
    }

    /// The next response; none ends the call.
    async fn next(&mut self) -> Result<Option<FetchResponse>, Status> {
        loop {
            self.bell.borrow_and_update();
            if self.credit > 0
                && let Some(response) = self.read()?
            {
                return Ok(Some(response));
            }
            let timings = self.service.timings;
            let wait = if self.credit > 0 {
                timings.keepalive
            } else {
                timings.idle
            };
            tokio::select! {
                biased;
                request = self.requests.message() => match request {
                    Ok(Some(request)) => self.take(&request)?,
                    // The subscriber is done, or gone.
                    Ok(None) | Err(_) => return Ok(None),
                },
                changed = self.bell.changed(), if self.credit > 0 => {
                    if changed.is_err() {
                        return Ok(None);
                    }
                }
                () = tokio::time::sleep_until(self.responded_at + wait) => {
                    self.check_token()?;
                    let Some(reading) = self.reading.as_ref().filter(|_| self.credit > 0) else { return Ok(None) };
                    return Ok(Some(self.response(Vec::new(), reading.position)));
                }
            }
        }
    }

    fn take(&mut self, request: &FetchRequest) -> Result<(), Status> {
        if self.reading.is_none() {
            self.reading = Some(self.start(request)?);
        }
        let topic_kept = request.topic_name.is_empty()
            || self
                .reading
                .as_ref()
                .is_some_and(|reading| reading.name == request.topic_name);
        if !topic_kept {
            let text = "The topic name can't be changed in a subscription.";
            return Err(refuse(
                Code::InvalidArgument,
                "subscription.fetch.topic.mismatch",
                RPC,
                text,
            ));
        }
        match usize::try_from(request.num_requested) {
            Ok(wanted) if wanted > 0 => {
                self.credit = CREDIT_MAX.min(self.credit.saturating_add(wanted));
                Ok(())
            }
            _ => {
                let text = "The requested number of events in a fetch request must be greater than zero.";
                Err(refuse(
                    Code::InvalidArgument,
                    "subscription.fetch.requested.events.invalid",
                    RPC,
                    text,
                ))
            }
        }
    }

    fn start(&self, request: &FetchRequest) -> Result<Reading, Status> {
        let topic = self.service.topic(RPC, &request.topic_name)?;
        let bus = self.service.org.bus();
        let position = match ReplayPreset::try_from(request.replay_preset) {
            Ok(ReplayPreset::Latest) => bus.tip(),
            Ok(ReplayPreset::Earliest) => bus.oldest(),
            Ok(ReplayPreset::Custom) if request.replay_id.is_empty() => {
                let text = "The Replay ID validation failed. A custom replay preset needs a Replay ID.";
                let suffix = "subscription.fetch.replayid.validation.failed";
                return Err(refuse(Code::InvalidArgument, suffix, RPC, text));
            }
            Ok(ReplayPreset::Custom) => bus.position(&request.replay_id).ok_or_else(|| {
                let text = "The Replay ID validation failed. Ensure that the Replay ID is valid.";
                refuse(
                    Code::InvalidArgument,
                    "subscription.fetch.replayid.corrupted",
                    RPC,
                    text,
                )
            })?,
            Err(_) => {
                let text = "The replay preset is not one of LATEST, EARLIEST and CUSTOM.";
                return Err(refuse(
                    Code::InvalidArgument,
                    "subscription.fetch.request.invalid",
                    RPC,
                    text,
                ));
            }
        };
        Ok(Reading {
            name: request.topic_name.clone(),
            topic,
            position,
        })
    }

    /// Events that are there already, within credit and size.
    fn read(&mut self) -> Result<Option<FetchResponse>, Status> {
        loop {
            let Some(reading) = &mut self.reading else {
                return Ok(None);
            };
            let bus = self.service.org.bus();
            let (events, reached) =
                bus.after(reading.topic, reading.position, self.credit, RESPONSE_BYTES_MAX);
            let moved = reached > reading.position;
            reading.position = reached;
            match events.last() {
                Some(last) => {
                    let position = last.position;
                    self.check_token()?;
                    self.credit -= events.len();
                    let events = events.iter().map(|event| consumer_event(event)).collect();
                    return Ok(Some(self.response(events, position)));
                }
                // Only other topics' events so far; there may be more of the log.
                None if moved => {}
                None => return Ok(None),
            }
        }
    }

    fn response(&self, events: Vec<ConsumerEvent>, position: Position) -> FetchResponse {
        FetchResponse {
            events,
            latest_replay_id: position.replay_id(),
            rpc_id: rpc_id(),
            pending_num_requested: self.credit as i32,
        }
    }

    /// A token that ended or was revoked ends the call.
    fn check_token(&self) -> Result<(), Status> {
        if self.service.sessions.is_valid(&self.token) {
            return Ok(());
        }
        let text = "An authentication exception occurred. Provide valid authentication via metadata headers.";
        Err(refuse(Code::Unauthenticated, "service.auth.error", RPC, text))
    }
}

fn consumer_event(event: &Event) -> ConsumerEvent {
    let producer_event = ProducerEvent {
        id: event.id.clone(),
        schema_id: event.schema_id.clone(),
        payload: event.payload.clone(),
        headers: Vec::new(),
    };
    ConsumerEvent {
        event: Some(producer_event),
        replay_id: event.position.replay_id(),
    }
}
