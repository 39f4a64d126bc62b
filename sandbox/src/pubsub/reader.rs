//! What Subscribe and ManagedSubscribe have in common: reading a topic at the pace the subscriber sets.
//!
//! The subscriber asks for a number of events and is sent no more; requests add up, to a hundred at most. The bell
//! is armed before the log is read, so an event that arrives in between is not slept through. A response is looked
//! at by the staged faults just before it leaves.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use prost::Message;
use tokio::sync::watch;
use tokio::time::Instant;
use tonic::{Code, Status, Streaming};

use super::faults::{self, Target, Verdict};
use super::hub::{Channel, Hub};
use super::refusal::refuse;
use super::reset::Reset;
use super::tailor;
use crate::bus::{Event, Position};
use crate::faults::Moment;
use crate::value::RecordId;
use storesync_proto::{ConsumerEvent, ProducerEvent};

/// The most events a subscriber can have asked for.
const CREDIT_MAX: usize = 100;
/// The most payload bytes of one response.
const RESPONSE_BYTES_MAX: usize = 3 * 1024 * 1024;

/// Events on their way to the subscriber; none in a keep-alive.
#[derive(Debug)]
pub(super) struct Batch {
    pub events: Vec<ConsumerEvent>,
    /// A position at least as fresh as the last event.
    pub latest: Bytes,
}

/// What happens next on a call.
pub(super) enum Step<M> {
    Respond(Batch),
    Asked(M),
    End,
}

/// The channel and the place reached in it, known from the first request on.
struct Reading {
    channel: Channel,
    position: Position,
    epoch: u64,
    /// The call's number in the accounts.
    account: u64,
    user: RecordId,
}

/// Whether a staged fault has stopped the call.
#[derive(Clone, Copy)]
enum Flow {
    Running,
    Silent,
    Ended,
}

/// The reading half of a call.
pub(super) struct Reader {
    pub hub: Arc<Hub>,
    pub rpc: &'static str,
    pub token: String,
    reset: Option<Reset>,
    bell: watch::Receiver<Position>,
    fault_bell: watch::Receiver<()>,
    reading: Option<Reading>,
    credit: usize,
    /// Read from the log and not yet sent: one event can become several.
    ready: VecDeque<ConsumerEvent>,
    responded_at: Instant,
    flow: Flow,
}

impl Reader {
    pub fn new(hub: Arc<Hub>, rpc: &'static str, token: String, reset: Option<Reset>) -> Self {
        Self {
            bell: hub.org.bus().watch(),
            fault_bell: hub.org.faults().watch(),
            hub,
            rpc,
            token,
            reset,
            reading: None,
            credit: 0,
            ready: VecDeque::new(),
            responded_at: Instant::now(),
            flow: Flow::Running,
        }
    }

    /// Whether the first request was read.
    pub fn has_begun(&self) -> bool {
        self.reading.is_some()
    }

    pub fn topic(&self) -> &str {
        self.reading
            .as_ref()
            .map_or("", |reading| reading.channel.name.as_str())
    }

    /// Goes on strictly after a position of the log.
    pub async fn begin(&mut self, channel: Channel, position: Position, epoch: u64) -> Result<(), Status> {
        let account = self.hub.deliveries.open(self.rpc, &channel.name);
        self.reading = Some(Reading {
            channel,
            position,
            epoch,
            account,
            user: self.hub.user(&self.token),
        });
        let opening = Batch {
            events: Vec::new(),
            latest: Bytes::new(),
        };
        match self.strike(Moment::Call, opening).await? {
            Verdict::Respond(_) => {}
            Verdict::Silence => self.flow = Flow::Silent,
            Verdict::End => self.flow = Flow::Ended,
        }
        Ok(())
    }

    /// Adds to what the subscriber asked for; `refused` is the error for a number that is not positive.
    pub fn ask(&mut self, events: i32, refused: &str) -> Result<(), Status> {
        match usize::try_from(events) {
            Ok(wanted) if wanted > 0 => {
                self.credit = CREDIT_MAX.min(self.credit.saturating_add(wanted));
                Ok(())
            }
            _ => {
                let text = "The requested number of events in a fetch request must be greater than zero.";
                Err(refuse(Code::InvalidArgument, refused, self.rpc, text))
            }
        }
    }

    /// What the subscriber is still owed.
    pub fn pending(&self) -> i32 {
        self.credit as i32
    }

    /// The replay id of the place reached.
    pub fn position(&self) -> Bytes {
        let position = self.reading.as_ref().map(|reading| reading.position);
        position.unwrap_or_else(|| self.hub.org.bus().tip()).replay_id()
    }

    /// Waits until there is something to send, the subscriber says something, or the call ends.
    pub async fn step<M>(&mut self, requests: &mut Streaming<M>) -> Result<Step<M>, Status> {
        loop {
            match self.flow {
                Flow::Running => {}
                Flow::Silent => return self.stay_silent(requests).await,
                Flow::Ended => return Ok(Step::End),
            }
            self.bell.borrow_and_update();
            if let Some(batch) = self.read()?
                && let Some(step) = self.send(Moment::Events, batch).await?
            {
                return Ok(step);
            }
            let timings = self.hub.timings;
            let wait = if self.credit > 0 {
                timings.keepalive
            } else {
                timings.idle
            };
            tokio::select! {
                biased;
                request = requests.message() => return Ok(match request {
                    Ok(Some(request)) => Step::Asked(request),
                    // The subscriber is done, or gone.
                    Ok(None) | Err(_) => Step::End,
                }),
                changed = self.bell.changed(), if self.reading.is_some() => {
                    if changed.is_err() {
                        return Ok(Step::End);
                    }
                }
                Ok(()) = self.fault_bell.changed(), if self.reading.is_some() => {
                    if let Some(step) = self.strike_now().await? {
                        return Ok(step);
                    }
                }
                () = tokio::time::sleep_until(self.responded_at + wait) => {
                    self.hub.check_token(self.rpc, &self.token)?;
                    if self.credit == 0 || self.reading.is_none() {
                        return Ok(Step::End);
                    }
                    let empty = Batch { events: Vec::new(), latest: self.position() };
                    if let Some(step) = self.send(Moment::KeepAlive, empty).await? {
                        return Ok(step);
                    }
                }
            }
        }
    }

    /// Nothing leaves any more, not even the end, until the subscriber goes.
    async fn stay_silent<M>(&self, requests: &mut Streaming<M>) -> Result<Step<M>, Status> {
        while let Ok(Some(_)) = requests.message().await {}
        Ok(Step::End)
    }

    /// Events that are there already, within credit, size and allocation.
    fn read(&mut self) -> Result<Option<Batch>, Status> {
        let Some(reading) = &mut self.reading else {
            return Ok(None);
        };
        let bus = self.hub.org.bus();
        if bus.epoch() != reading.epoch {
            let text = "The service is unavailable. Try again later.";
            return Err(refuse(Code::Internal, "service.unavailable", self.rpc, text));
        }
        while self.credit > 0 && self.ready.is_empty() {
            let topic = &reading.channel.topic;
            let (events, reached) = bus.after(topic, reading.position, self.credit, RESPONSE_BYTES_MAX);
            // Only other topics' events so far; there may be more of the log.
            if reached == reading.position {
                return Ok(None);
            }
            reading.position = reached;
            for event in events {
                if !self.hub.channels.is_hidden(event.object) {
                    deliver(&self.hub, reading, &event, &mut self.ready);
                }
            }
        }
        let wanted = fitting(&self.ready, self.credit);
        if wanted == 0 {
            return Ok(None);
        }
        self.hub.check_token(self.rpc, &self.token)?;
        let granted = self.hub.deliveries.take(reading.account, wanted);
        if granted == 0 {
            let text = "You have exceeded the event delivery limit for your org.";
            let suffix = "subscription.limit.exceeded";
            return Err(refuse(Code::ResourceExhausted, suffix, self.rpc, text));
        }
        self.credit -= granted;
        let events: Vec<ConsumerEvent> = self.ready.drain(..granted).collect();
        let latest = events.last().map(|event| event.replay_id.clone());
        Ok(Some(Batch {
            events,
            latest: latest.unwrap_or_default(),
        }))
    }

    async fn strike(&self, moment: Moment, batch: Batch) -> Result<Verdict, Status> {
        let target = Target {
            rpc: self.rpc,
            topic: self.topic(),
            token: &self.token,
            reset: self.reset.as_ref(),
        };
        faults::strike(&self.hub, &target, moment, batch).await
    }

    /// Lets the staged faults look at a response; none where the call falls silent.
    async fn send<M>(&mut self, moment: Moment, batch: Batch) -> Result<Option<Step<M>>, Status> {
        let verdict = self.strike(moment, batch).await;
        self.conclude(verdict, moment)
    }

    async fn strike_now<M>(&mut self) -> Result<Option<Step<M>>, Status> {
        self.fault_bell.borrow_and_update();
        let batch = Batch {
            events: Vec::new(),
            latest: self.position(),
        };
        self.send(Moment::Now, batch).await
    }

    fn conclude<M>(
        &mut self,
        verdict: Result<Verdict, Status>,
        moment: Moment,
    ) -> Result<Option<Step<M>>, Status> {
        Ok(match verdict? {
            Verdict::Respond(_) if moment == Moment::Now => None,
            Verdict::Respond(batch) => {
                self.responded_at = Instant::now();
                Some(Step::Respond(batch))
            }
            Verdict::Silence => {
                self.flow = Flow::Silent;
                None
            }
            Verdict::End => Some(Step::End),
        })
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        if let Some(reading) = &self.reading {
            self.hub.deliveries.close(reading.account);
        }
    }
}

/// How many of the events fit into one response.
fn fitting(ready: &VecDeque<ConsumerEvent>, credit: usize) -> usize {
    let mut bytes = 0;
    let fits = |event: &&ConsumerEvent| {
        bytes += event.encoded_len();
        bytes <= RESPONSE_BYTES_MAX
    };
    let count = ready.iter().take(credit).take_while(fits).count();
    // One that alone is too large goes alone.
    count.max(credit.min(ready.len()).min(1))
}

/// Turns an event of the log into what the channel's subscribers get of it.
fn deliver(hub: &Hub, reading: &Reading, event: &Event, into: &mut VecDeque<ConsumerEvent>) {
    let enriched = reading.channel.enriched.get(&event.object);
    let enriched = enriched.map(Vec::as_slice).unwrap_or_default();
    let hidden = hub.hidden_fields(reading.user, event.object);
    let tailored = match (enriched, hidden.as_slice()) {
        ([], []) => None,
        (enriched, hidden) => tailor::payloads(hub, event, enriched, hidden),
    };
    let payloads = tailored.unwrap_or_else(|| vec![event.payload.clone()]);
    into.extend(payloads.into_iter().map(|payload| ConsumerEvent {
        event: Some(ProducerEvent {
            id: event.id.clone(),
            schema_id: event.schema_id.clone(),
            payload,
            headers: Vec::new(),
        }),
        replay_id: event.position.replay_id(),
    }));
}
