//! Taking the events of one channel, for as long as the daemon runs.
//!
//! Promises that no event is passed over. The next subscription starts after the newest position known to be
//! complete among those handed to apply; what comes twice is recognised there. A schema that an event names is
//! fetched before the event is handed over, once, so that apply never waits for the network; if it can not be
//! had, neither is the event, and the stream starts again.
//!
//! A position that the org no longer knows is not jumped over in silence: the tip is taken first, then the ledger
//! gets an entry for each object of the channel to read again what changed since the newest event that was
//! applied, and the stream goes on from the tip.
//!
//! Each channel has a stage and a connection of its own: one that is stopped or starts again leaves the others
//! as they are. What stands in its way is told in the status.

mod verdict;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};

use crate::inbound::Wires;
use crate::inbound::apply::queue::Ended;
use crate::inbound::cadence::Cadence;
use crate::inbound::command::{Command, Events, Schema};
use crate::inbound::credit::{Credit, EVENTS_IN_FLIGHT_MAX};
use crate::inbound::prepare::Channel;
use crate::inbound::subscribe::verdict::{Verdict, is_schema_refusal, verdict};
use crate::model::change::{RawEvent, ReplayId};
use crate::model::clock::{Millis, Moment};
use crate::model::retry::Policy;
use crate::salesforce::Error;
use crate::salesforce::auth::Session;
use crate::salesforce::pubsub::{PubSub, Response, Start, Subscription};
use crate::store::cache::cursors;
use crate::telemetry::metrics;
use crate::telemetry::pulse::Pulse;

const RETRY: Policy = Policy {
    first: Duration::from_millis(500),
    longest: Duration::from_secs(60),
};

/// For an allowance that comes back within 24 hours: each attempt may spend of what has come back.
const ALLOWANCE: Policy = Policy {
    first: Duration::from_secs(5),
    longest: Duration::from_secs(900),
};

/// Longest time for a login or for fetching schemas, and until apply has taken a response.
const CALLS_MAX: Duration = Duration::from_secs(300);

/// After so many refusals of its schema an event is parked.
const REFUSALS_MAX: u32 = 8;

/// How often a wait looks at the clock.
const LOOK: Duration = Duration::from_secs(1);

/// Between attempts of what a person has to put right.
const STAND_STILL: Duration = Duration::from_secs(300);

/// Failures in a row after which the status tells of them.
const FAILURES_TOLD: u32 = 5;

/// A position that the org will have forgotten after so long is warned of.
const POSITION_LEFT_MILLIS: Millis = 24 * 3_600_000;

/// Why a stream ended.
enum End {
    Closed,
    /// For longer than its cadence allows.
    Silent(Duration),
    /// The org refuses the schema of an event for the so many-th time.
    NoSchema(Error, u32),
    Failed(Error),
    ApplyEnded,
}

impl End {
    /// As the metrics name it.
    fn name(&self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Silent(_) => "silent",
            Self::NoSchema(..) => "schema",
            Self::Failed(_) => "failed",
            Self::ApplyEnded => "stopping",
        }
    }
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
    pulse: Pulse,
    pubsub: PubSub,
    topic: Arc<str>,
    /// The newest position known to be complete, and the newest, of what was handed to apply.
    resume_after: Option<ReplayId>,
    last_seen: Option<ReplayId>,
    lost: bool,
    schemas: HashSet<String>,
    /// How often the org has refused a schema.
    refusals: HashMap<String, u32>,
    session: Option<Session>,
    /// Where the org answered from when the stream last began.
    instance_url: Option<String>,
    failures: u32,
    problem: Option<String>,
}

/// Keeps a channel's subscription going. `schema_ids` are those that apply knows.
///
/// Where a person has to act it says so and tries again at long intervals.
pub async fn run(
    wires: Wires,
    pubsub: PubSub,
    channel: Channel,
    schema_ids: HashSet<String>,
) -> anyhow::Result<()> {
    let stop = wires.stop.clone();
    let mut stage = Stage {
        wires,
        pulse: Pulse::new(format!("subscribe {}", channel.topic)),
        pubsub,
        topic: channel.topic.into(),
        last_seen: channel.resume_after.clone(),
        resume_after: channel.resume_after,
        lost: false,
        schemas: schema_ids,
        refusals: HashMap::new(),
        session: None,
        instance_url: None,
        failures: 0,
        problem: None,
    };
    stage.problem = stage.known_problem();
    if stage.resume_after.is_some() {
        stage.watch_position();
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
            let topic = Arc::clone(&self.topic);
            let mut pause = RETRY;
            metrics::STREAM_ENDS.count([&topic, end.name()]);
            self.pulse.quiet_for(CALLS_MAX);
            match end {
                End::ApplyEnded => return Ok(()),
                End::Closed => {
                    tracing::info!(%topic, "the org ended the subscription to {topic}: subscribing again")
                }
                End::Silent(silence) => {
                    tracing::warn!(%topic, "nothing was heard on {topic} for {silence:?}: subscribing again");
                    // The connection may be as dead as the stream, and others may still use it.
                    self.pubsub = PubSub::new(&self.wires.org)?;
                }
                End::NoSchema(error, refusals) => {
                    tracing::warn!(%topic, refusals, "an event on {topic} has a schema that the org refuses, will be tried again: {error}");
                    sleep(RETRY.delay(refusals)).await;
                }
                End::Failed(error) => match self.after(&error).await {
                    Verdict::Stop => {
                        self.stand_still(&error).await;
                        continue;
                    }
                    Verdict::WaitForAllowance => pause = ALLOWANCE,
                    Verdict::Renew => {
                        // A new session is used at once, however short its life; what fails again and again
                        // waits before it logs in.
                        if self.failures > 1 {
                            self.pause(RETRY.delay(self.failures - 1)).await;
                        }
                        if let Err(error) = self.renew().await {
                            self.stand_still(&error).await;
                        }
                        continue;
                    }
                    Verdict::Retry | Verdict::PositionLost => {}
                },
            }
            self.watch_position();
            self.pause(pause.delay(self.failures)).await;
        }
    }

    async fn pause(&self, pause: Duration) {
        self.pulse.rests_for(pause + CALLS_MAX);
        let mut login = self.wires.org.watch_login();
        let is_refused = login.borrow().is_some();
        tokio::select! {
            // A login that is accepted again is no reason to wait.
            _ = login.wait_for(Option::is_none), if is_refused => {}
            () = sleep(pause) => {}
        }
    }

    async fn after(&mut self, error: &Error) -> Verdict {
        let topic = Arc::clone(&self.topic);
        let verdict = verdict(error);
        match verdict {
            Verdict::Stop | Verdict::Renew => {}
            Verdict::PositionLost => {
                tracing::error!(%topic, "the org no longer knows the position on {topic}: what changed since will be read again");
                self.lost = true;
            }
            Verdict::WaitForAllowance => {
                tracing::warn!(%topic, "the org's daily allowance of event deliveries is spent: {topic} waits for it");
                self.tell_problem("the org's daily allowance of event deliveries is spent: waiting for it")
                    .await;
            }
            Verdict::Retry => {
                tracing::warn!(%topic, failures = self.failures, "the subscription to {topic} failed, will be tried again: {error}");
            }
        }
        if self.failures >= FAILURES_TOLD && self.problem.is_none() {
            self.tell_problem(&format!("the subscription fails again and again: {error}"))
                .await;
        }
        verdict
    }

    /// Logs in again. Fails where that gives another org: a person has to say which is meant.
    async fn renew(&mut self) -> Result<(), Error> {
        let topic = Arc::clone(&self.topic);
        tracing::info!(%topic, "the session of {topic} has ended: logging in again");
        let Some(stale) = self.session.take() else {
            return Ok(());
        };
        match self.wires.org.renew(&stale).await {
            Ok(_) => Ok(()),
            Err(error) if verdict(&error) == Verdict::Stop => Err(error),
            Err(error) => {
                tracing::error!("logging in again failed, will be tried again: {error}");
                Ok(())
            }
        }
    }

    /// Trying again soon changes nothing, and nothing is sure to last for ever. The other channels, reads and orders go on.
    async fn stand_still(&mut self, error: &Error) {
        let topic = Arc::clone(&self.topic);
        let minutes = STAND_STILL.as_secs() / 60;
        let problem = format!("stopped until this is put right, tried again each {minutes} min: {error}");
        if self.problem.as_ref() != Some(&problem) {
            tracing::error!(%topic, "the subscription to {topic} is {problem}");
            self.tell_problem(&problem).await;
        }
        self.pause(STAND_STILL).await;
    }

    /// What an earlier process told of the channel.
    fn known_problem(&self) -> Option<String> {
        let problems = self.wires.reader.with(cursors::problems).ok()?;
        let of_this = |(topic, ..): &(String, String, Millis)| **topic == *self.topic;
        problems.into_iter().find(of_this).map(|(_, problem, _)| problem)
    }

    async fn tell_problem(&mut self, problem: &str) {
        self.problem = Some(problem.to_owned());
        let (topic, problem) = (Arc::clone(&self.topic), Some(problem.to_owned()));
        // Apply that has ended is told of by itself.
        drop(
            self.wires
                .apply
                .send(Command::ChannelProblem { topic, problem })
                .await,
        );
    }

    /// Warns before the org forgets the stored position.
    fn watch_position(&self) {
        let cursor = self
            .wires
            .reader
            .with(|connection| cursors::cursor(connection, &self.topic));
        let Ok(Some(cursor)) = cursor else { return };
        let left = cursor.replay_window_left(self.wires.org.org_time());
        if left < POSITION_LEFT_MILLIS {
            let (topic, hours) = (&self.topic, left / 3_600_000);
            tracing::warn!(%topic, hours, "the position on {topic} can be resumed for {hours} more hours: the org forgets it then");
        }
    }

    /// One subscription, until it ends.
    async fn stream(&mut self) -> Result<(), End> {
        let session = self.wires.org.session().await?;
        if self.instance_url.as_ref() != Some(&session.instance_url) {
            let instance_url = session.instance_url.clone();
            self.instance_url = Some(instance_url.clone());
            let moved = Command::Moved { instance_url };
            self.wires.apply.send(moved).await?;
        }
        self.session = Some(session);
        let start = match &self.resume_after {
            Some(position) if !self.lost => Start::After(position.clone()),
            _ => Start::Latest,
        };
        let mut subscription = self
            .pubsub
            .subscribe(&self.topic, start, EVENTS_IN_FLIGHT_MAX)
            .await?;
        let mut credit = Credit::new();
        let mut cadence = Cadence::default();
        let mut resumed = true;
        loop {
            let waiting_since = Instant::now();
            self.pulse.rests_for(cadence.silence_max());
            let (response, heard) = self.next(&mut subscription, cadence.silence_max()).await?;
            cadence.heard(response.events.len(), waiting_since.elapsed());
            if let Some(session) = &self.session {
                self.wires.org.accepted(session);
            }
            let heard = credit.proof(heard);
            credit.received(response.events.len(), response.pending);
            // Handing over waits for apply, which the watchdog asks by itself.
            self.pulse.quiet_for(CALLS_MAX);
            crate::failpoint::stand("subscribe").await;
            // Asked for before any work is done on what came: the org's answer takes its time anyway.
            ask_for(&subscription, credit.request(self.wires.apply.has_room()))?;
            self.deliver(response, heard, resumed).await?;
            // Not before: a response whose schema cannot be had is no progress.
            self.failures = 0;
            ask_for(&subscription, credit.request(true))?;
            resumed = false;
        }
    }

    async fn deliver(&mut self, response: Response, heard: Option<Moment>, resumed: bool) -> Result<(), End> {
        let schemas = self.fetch_schemas(&response.events).await?;
        if !schemas.is_empty() {
            self.wires.bells.schemas.send_modify(|rung| *rung += 1);
        }
        if self.problem.take().is_some() {
            let (topic, problem) = (Arc::clone(&self.topic), None);
            let solved = Command::ChannelProblem { topic, problem };
            self.wires.apply.send(solved).await?;
        }
        // Without a position, events tell nothing of what changed since objects were read.
        if self.lost || self.resume_after.is_none() {
            let (topic, objects) = (Arc::clone(&self.topic), self.objects());
            self.wires.apply.apply(Command::Lost { topic, objects }).await?;
            (self.resume_after, self.last_seen) = (None, None);
        }
        let restart = std::mem::take(&mut self.lost);
        self.follow(&response);
        let latest = response.events.is_empty().then_some(response.latest);
        let topic = Arc::clone(&self.topic);
        let events = Events {
            topic,
            events: response.events.into(),
            schemas,
            resumed,
            restart,
            latest,
            heard,
            org_ahead_millis: self.wires.org.org_time() - self.wires.clock.now(),
            objects: self.objects().into(),
            runs: Vec::new(),
        };
        // Apply has a pulse of its own.
        self.pulse.idle();
        let sent = self.wires.apply.send(Command::Events(events)).await;
        sent.map_err(|_| End::ApplyEnded)
    }

    /// The next response, and when nothing had arrived before it: a moment at most [`LOOK`] before it came. One that is
    /// there at once may have been there for long, and so may what came while the process stood still.
    async fn next(
        &self,
        subscription: &mut Subscription,
        silence_max: Duration,
    ) -> Result<(Response, Option<Moment>), End> {
        let silent_at = Instant::now() + silence_max;
        let mut empty_at = None;
        let mut wait = Duration::ZERO;
        while Instant::now() < silent_at {
            match timeout(wait, subscription.next()).await {
                Err(_) => empty_at = Some(self.wires.clock.moment()),
                Ok(Ok(None)) => return Err(End::Closed),
                Ok(Ok(Some(response))) => return Ok((response, empty_at)),
                Ok(Err(error)) => return Err(End::Failed(error)),
            }
            wait = LOOK.min(silent_at - Instant::now());
        }
        Err(End::Silent(silence_max))
    }

    /// Fetches the schemas of a response that apply does not know yet, one after another. An event whose schema
    /// the org refuses again and again goes without, and apply parks it.
    async fn fetch_schemas(&mut self, events: &[RawEvent]) -> Result<Vec<Schema>, End> {
        let mut fetched: Vec<Schema> = Vec::new();
        for event in events {
            let id = &event.schema_id;
            if self.schemas.contains(id) || fetched.iter().any(|known| known.id == *id) {
                continue;
            }
            match self.pubsub.schema(id).await {
                Ok(json) => {
                    metrics::SCHEMA_FETCHES.count([]);
                    fetched.push(Schema { id: id.clone(), json });
                }
                Err(error) if is_schema_refusal(&error) => {
                    let refusals = self.refusals.entry(id.clone()).or_default();
                    *refusals += 1;
                    if *refusals < REFUSALS_MAX {
                        return Err(End::NoSchema(error, *refusals));
                    }
                    self.schemas.insert(id.clone());
                }
                Err(error) => return Err(error.into()),
            }
        }
        self.schemas
            .extend(fetched.iter().map(|schema| schema.id.clone()));
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

    /// The mirrored objects that the channel carries now.
    fn objects(&self) -> Vec<String> {
        let planned = self.wires.planned();
        let carried = planned
            .iter()
            .filter(|planned| planned.is_carried_by(&self.topic));
        carried.map(|planned| planned.table.object.clone()).collect()
    }
}

fn ask_for(subscription: &Subscription, events: Option<u32>) -> Result<(), Error> {
    events.map_or(Ok(()), |events| subscription.request(events))
}

#[cfg(test)]
mod tests {
    use super::verdict::by_error_code;
    use super::*;

    #[test]
    fn every_error_code_has_a_policy_and_an_unknown_one_stops_and_tells() {
        let policies: [(Verdict, &[&str]); 5] = [
            (
                Verdict::Renew,
                &["service.auth.error", "service.auth.refresh.invalid"],
            ),
            (
                Verdict::PositionLost,
                &[
                    "subscription.fetch.replayid.corrupted",
                    "subscription.fetch.replayid.validation.failed",
                ],
            ),
            (Verdict::WaitForAllowance, &["subscription.limit.exceeded"]),
            (
                Verdict::Retry,
                &[
                    "service.unavailable",
                    "service.protection.triggered",
                    "service.protection.stream.limit.triggered",
                    "concurrent.client.limit.exceeded",
                    "topic.api.unavailable",
                    "schema.api.unavailable",
                    "subscription.fetch.request.invalid",
                    "subscription.fetch.requested.events.invalid",
                    "subscription.fetch.overflow",
                    "subscription.fetch.replay.repeated",
                    "subscription.internal.error",
                ],
            ),
            (
                Verdict::Stop,
                &[
                    "service.auth.headers.invalid",
                    "service.tenant.license",
                    "topic.not.found",
                    "topic.meta.permission",
                    "topic.validation.empty",
                    "subscription.topic.cannot.subscribe",
                    "something.new",
                ],
            ),
        ];
        for (expected, codes) in policies {
            for code in codes {
                assert_eq!(by_error_code(code), expected, "{code}");
            }
        }
    }

    #[test]
    fn judges_by_error_code_before_status() {
        use tonic::Code;
        let cases = [
            (Code::Internal, Some("service.unavailable"), Verdict::Retry),
            (Code::Internal, Some("something.new"), Verdict::Stop),
            (Code::Internal, None, Verdict::Retry),
            (Code::Unavailable, None, Verdict::Retry),
            (Code::Unauthenticated, None, Verdict::Renew),
            (Code::PermissionDenied, None, Verdict::Stop),
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

    #[test]
    fn a_schema_that_is_refused_is_told_from_one_that_cannot_be_had_now() {
        let error = |code, error_code: Option<&str>| Error::Stream {
            code,
            error_code: error_code.map(str::to_owned),
            message: String::new(),
        };
        assert!(is_schema_refusal(&error(
            tonic::Code::NotFound,
            Some("schema.meta.permission")
        )));
        assert!(is_schema_refusal(&error(tonic::Code::NotFound, None)));
        assert!(!is_schema_refusal(&error(
            tonic::Code::Internal,
            Some("schema.api.unavailable")
        )));
        assert!(!is_schema_refusal(&error(tonic::Code::Unavailable, None)));
    }
}
