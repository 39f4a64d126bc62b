//! Taking the events of one channel, for as long as the daemon runs.
//!
//! Promises that no event is passed over. The next subscription starts after the newest position known to be
//! complete among those handed to apply; what comes twice is recognised there. A schema that an event names is
//! fetched before the event is handed over, once, so that apply never waits for the network; if it can not be
//! had, neither is the event, and the stream starts again.
//!
//! A position that the org no longer knows is not jumped over in silence: the tip is taken first, then every
//! object of the channel is read again as a whole, and the stream goes on from the tip.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{sleep, timeout};

use crate::inbound::Wires;
use crate::inbound::apply::Work;
use crate::inbound::apply::work::{Ended, Events, ask};
use crate::inbound::credit::{Credit, EVENTS_IN_FLIGHT_MAX};
use crate::inbound::prepare::Channel;
use crate::model::change::{RawEvent, ReplayId};
use crate::model::retry::Policy;
use crate::salesforce::Error;
use crate::salesforce::auth::Session;
use crate::salesforce::pubsub::{PubSub, Response, Start, Subscription};

/// The org says something at least every 270 seconds; a longer silence is a dead connection.
const SILENCE_MAX: Duration = Duration::from_secs(300);

const RETRY: Policy = Policy {
    first: Duration::from_millis(500),
    longest: Duration::from_secs(60),
};

/// What to do when a stream ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Retry,
    /// Log in again, then retry.
    Renew,
    /// The org no longer knows the position.
    PositionLost,
    /// Trying again changes nothing: a person has to.
    Stop,
}

/// Why a stream ended.
enum End {
    Closed,
    Silent,
    Failed(Error),
    ApplyEnded,
}

impl From<Error> for End {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

impl From<Ended> for End {
    fn from(_: Ended) -> Self {
        Self::ApplyEnded
    }
}

struct Stage {
    wires: Wires,
    pubsub: PubSub,
    topic: Arc<str>,
    objects: Vec<String>,
    position_told: bool,
    /// The newest position known to be complete, and the newest, of what was handed to apply.
    resume_after: Option<ReplayId>,
    last_seen: Option<ReplayId>,
    lost: bool,
    schemas: HashSet<String>,
    session: Option<Session>,
    failures: u32,
}

/// Keeps a channel's subscription going. `schema_ids` are those that apply knows.
///
/// Ends with an error only where a person has to act.
pub async fn run(
    wires: Wires,
    pubsub: PubSub,
    channel: Channel,
    schema_ids: HashSet<String>,
) -> anyhow::Result<()> {
    let stop = wires.stop.clone();
    let mut stage = Stage {
        wires,
        pubsub,
        topic: channel.topic.into(),
        objects: channel.objects,
        position_told: false,
        last_seen: channel.resume_after.clone(),
        resume_after: channel.resume_after,
        lost: false,
        schemas: schema_ids,
        session: None,
        failures: 0,
    };
    if stage.resume_after.is_some() {
        stage.tell_position();
    }
    tokio::select! {
        () = stop.cancelled() => Ok(()),
        result = stage.keep_going() => result,
    }
}

impl Stage {
    async fn keep_going(&mut self) -> anyhow::Result<()> {
        loop {
            let Err(end) = self.stream().await else { continue };
            self.failures += 1;
            let topic = &self.topic;
            match end {
                End::ApplyEnded => return Ok(()),
                End::Closed => {
                    tracing::info!(%topic, "the org ended the subscription to {topic}: subscribing again")
                }
                End::Silent => {
                    tracing::warn!(%topic, "nothing was heard on {topic} for {SILENCE_MAX:?}: subscribing again")
                }
                End::Failed(error) => self.after(error).await?,
            }
            sleep(RETRY.delay(self.failures)).await;
        }
    }

    async fn after(&mut self, error: Error) -> anyhow::Result<()> {
        let topic = &self.topic;
        match verdict(&error) {
            Verdict::Stop => {
                return Err(
                    anyhow::Error::new(error).context(format!("the subscription to {topic} cannot go on"))
                );
            }
            Verdict::PositionLost => {
                tracing::error!(%topic, "the org no longer knows the position on {topic}: its objects will be read again");
                self.lost = true;
            }
            Verdict::Renew => {
                tracing::info!(%topic, "the session of {topic} has ended: logging in again");
                if let Some(stale) = self.session.take()
                    && let Err(error) = self.wires.org.renew(&stale).await
                {
                    tracing::error!("logging in again failed, will be tried again: {error}");
                }
            }
            Verdict::Retry => {
                tracing::warn!(%topic, failures = self.failures, "the subscription to {topic} failed, will be tried again: {error}");
            }
        }
        Ok(())
    }

    /// One subscription, until it ends.
    async fn stream(&mut self) -> Result<(), End> {
        self.session = Some(self.wires.org.session().await?);
        let start = match &self.resume_after {
            Some(position) if !self.lost => Start::After(position.clone()),
            _ => Start::Latest,
        };
        let mut subscription = self
            .pubsub
            .subscribe(&self.topic, start, EVENTS_IN_FLIGHT_MAX)
            .await?;
        let mut credit = Credit::new();
        let mut resumed = true;
        loop {
            let response = next(&mut subscription).await?;
            self.failures = 0;
            credit.received(response.events.len(), response.pending);
            // Asked for before any work is done on what came: the org's answer takes its time anyway.
            ask_for(&subscription, credit.request(self.wires.work.capacity() > 0))?;
            self.deliver(response, resumed).await?;
            ask_for(&subscription, credit.request(true))?;
            resumed = false;
        }
    }

    async fn deliver(&mut self, response: Response, resumed: bool) -> Result<(), End> {
        let schemas = self.fetch_schemas(&response.events).await?;
        if self.lost {
            let objects = self.objects.clone();
            ask(&self.wires.work, |done| Work::Lost { objects, done }).await?;
            (self.resume_after, self.last_seen) = (None, None);
        }
        let restart = std::mem::take(&mut self.lost);
        self.follow(&response);
        let latest = response.events.is_empty().then_some(response.latest);
        let topic = Arc::clone(&self.topic);
        let events = Events {
            topic,
            events: response.events,
            schemas,
            resumed,
            restart,
            latest,
            done: None,
        };
        if self.position_told {
            return self
                .wires
                .work
                .send(Work::Events(events))
                .await
                .map_err(|_| End::ApplyEnded);
        }
        ask(&self.wires.work, |done| {
            Work::Events(Events {
                done: Some(done),
                ..events
            })
        })
        .await?;
        self.tell_position();
        Ok(())
    }

    /// Fetches the schemas of a response that apply does not know yet, one after another.
    async fn fetch_schemas(&mut self, events: &[RawEvent]) -> Result<Vec<(String, String)>, Error> {
        let mut fetched: Vec<(String, String)> = Vec::new();
        for event in events {
            let id = &event.schema_id;
            if self.schemas.contains(id) || fetched.iter().any(|(known, _)| known == id) {
                continue;
            }
            fetched.push((id.clone(), self.pubsub.schema(id).await?));
        }
        self.schemas.extend(fetched.iter().map(|(id, _)| id.clone()));
        Ok(fetched)
    }

    /// Moves the positions as apply will move the stored ones.
    fn follow(&mut self, response: &Response) {
        for event in &response.events {
            if self.last_seen.as_ref() != Some(&event.replay_id) {
                let before = self.last_seen.replace(event.replay_id.clone());
                self.resume_after = Some(before.unwrap_or_else(|| event.replay_id.clone()));
            }
        }
        if response.events.is_empty() {
            self.resume_after = Some(response.latest.clone());
            self.last_seen = Some(response.latest.clone());
        }
    }

    fn tell_position(&mut self) {
        self.position_told = true;
        self.wires.positions.send_modify(|known| *known += 1);
    }
}

async fn next(subscription: &mut Subscription) -> Result<Response, End> {
    match timeout(SILENCE_MAX, subscription.next()).await {
        Err(_) => Err(End::Silent),
        Ok(Ok(None)) => Err(End::Closed),
        Ok(Ok(Some(response))) => Ok(response),
        Ok(Err(error)) => Err(End::Failed(error)),
    }
}

fn ask_for(subscription: &Subscription, events: Option<u32>) -> Result<(), Error> {
    events.map_or(Ok(()), |events| subscription.request(events))
}

/// What a failure means. An error code that is not known stops the channel and is told.
fn verdict(error: &Error) -> Verdict {
    match error {
        Error::Stream {
            code,
            error_code: None,
            ..
        } => match code {
            tonic::Code::Unauthenticated => Verdict::Renew,
            tonic::Code::NotFound
            | tonic::Code::PermissionDenied
            | tonic::Code::InvalidArgument
            | tonic::Code::Unimplemented => Verdict::Stop,
            _ => Verdict::Retry,
        },
        Error::Stream {
            error_code: Some(code),
            ..
        } => by_error_code(code),
        Error::Refused { status: 401, .. } => Verdict::Renew,
        Error::Secret(_) => Verdict::Stop,
        // A login that is refused now may have been changed in the org meanwhile: it is tried on, slowly.
        Error::Login { .. }
        | Error::Refused { .. }
        | Error::Unreachable { .. }
        | Error::AnswerLost { .. }
        | Error::Unreadable { .. } => Verdict::Retry,
    }
}

fn by_error_code(code: &str) -> Verdict {
    match code {
        "service.auth.error" | "service.auth.refresh.invalid" => Verdict::Renew,
        "subscription.fetch.replayid.corrupted" | "subscription.fetch.replayid.validation.failed" => {
            Verdict::PositionLost
        }
        "service.unavailable"
        | "service.protection.triggered"
        | "service.protection.stream.limit.triggered"
        | "concurrent.client.limit.exceeded"
        | "topic.api.unavailable"
        | "schema.api.unavailable"
        | "subscription.fetch.request.invalid"
        | "subscription.fetch.requested.events.invalid"
        | "subscription.fetch.overflow"
        | "subscription.fetch.replay.repeated"
        | "subscription.limit.exceeded"
        | "subscription.internal.error" => Verdict::Retry,
        _ => Verdict::Stop,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn judges_by_error_code_before_status() {
        let cases = [
            (
                tonic::Code::Unauthenticated,
                Some("service.auth.error"),
                Verdict::Renew,
            ),
            (tonic::Code::Internal, Some("service.unavailable"), Verdict::Retry),
            (
                tonic::Code::InvalidArgument,
                Some("subscription.fetch.replayid.corrupted"),
                Verdict::PositionLost,
            ),
            (tonic::Code::NotFound, Some("topic.not.found"), Verdict::Stop),
            (
                tonic::Code::ResourceExhausted,
                Some("subscription.limit.exceeded"),
                Verdict::Retry,
            ),
            (tonic::Code::Internal, Some("something.new"), Verdict::Stop),
            (tonic::Code::Internal, None, Verdict::Retry),
            (tonic::Code::Unavailable, None, Verdict::Retry),
            (tonic::Code::Unauthenticated, None, Verdict::Renew),
            (tonic::Code::PermissionDenied, None, Verdict::Stop),
        ];
        for (code, error_code, expected) in cases {
            let error = Error::Stream {
                code,
                error_code: error_code.map(str::to_owned),
                message: String::new(),
            };
            assert_eq!(verdict(&error), expected, "{code:?} {error_code:?}");
        }
    }
}
