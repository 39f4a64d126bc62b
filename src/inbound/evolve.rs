//! Following the org's schema while the daemon runs.
//!
//! Every object is described again now and then, and at once when an event names a schema that was not known:
//! that is how a new field announces itself. One that hides a field is described again more often. What becomes of fields is said in [`crate::store::cache::fields`].
//! An object that the org hides keeps its rows, is told of in the status, and is taken up again when it is back.
//! Whether an object publishes change events is asked again too.

use std::collections::HashSet;
use std::time::Duration;

use tokio::time::{Instant, timeout};

use crate::config;
use crate::failpoint;
use crate::inbound::apply::queue::Ended;
use crate::inbound::command::Command;
use crate::inbound::prepare::{HIDDEN, Planned, look, own_members, plan_of, tell};
use crate::inbound::{Wires, mapping};
use crate::salesforce::Error;
use crate::salesforce::pubsub::PubSub;
use crate::store::cache::fields;
use crate::store::cache::repairs::reason;
use crate::telemetry::pulse::Pulse;

/// How often every object is described again. What stands in the way of reading rings before: a field that is gone, a
/// schema that is unknown.
const INTERVAL: Duration = Duration::from_secs(3_600);

/// How often objects are described again of which the org hides a field: that it is shown again, nothing else tells.
const INTERVAL_HIDDEN_SECONDS: u64 = 300;

/// Longest time for a round: some questions to the org for each object.
const ROUND_MAX: Duration = Duration::from_secs(3_600);

/// Keeps what is mirrored in step with what the org shows.
pub async fn run(wires: Wires, pubsub: PubSub, config: config::Sync) -> anyhow::Result<()> {
    let keep_going = async {
        let mut bell = wires.bells.schemas.subscribe();
        let pulse = Pulse::new("evolve");
        let mut described_at = Instant::now();
        loop {
            pulse.rests_for(INTERVAL);
            let hidden = objects_with_hidden_fields(&wires)?;
            let interval = match hidden.is_empty() {
                true => INTERVAL,
                false => Duration::from_secs(failpoint::bound("HIDDEN_SECONDS", INTERVAL_HIDDEN_SECONDS)),
            };
            // Whichever comes first: an unknown schema, a reload, or the time to look anyway.
            let is_rung = timeout(interval, bell.changed()).await.is_ok();
            bell.borrow_and_update();
            pulse.quiet_for(ROUND_MAX);
            let only = (!is_rung && described_at.elapsed() < INTERVAL).then_some(&hidden);
            if only.is_none() {
                described_at = Instant::now();
            }
            match round(&wires, &pubsub, &config, only).await {
                Ok(()) => {}
                Err(error) if error.is::<Ended>() => return Ok(()),
                Err(error) => {
                    tracing::warn!(
                        "the org's objects could not be described again, will be tried again: {error:#}"
                    );
                }
            }
        }
    };
    tokio::select! {
        () = wires.stop.cancelled() => Ok(()),
        result = keep_going => result,
    }
}

fn objects_with_hidden_fields(wires: &Wires) -> anyhow::Result<HashSet<String>> {
    let missing = wires.reader.with(fields::missing)?;
    Ok(missing.into_iter().map(|missing| missing.object).collect())
}

/// Describes all objects again, or only some.
async fn round(
    wires: &Wires,
    pubsub: &PubSub,
    config: &config::Sync,
    only: Option<&HashSet<String>>,
) -> anyhow::Result<()> {
    let members = own_members(&wires.org, config).await?;
    if only.is_none() {
        look_for_more(wires, pubsub, config, &members).await?;
    }
    let is_asked = |planned: &&Planned| only.is_none_or(|only| only.contains(&planned.table.object));
    let all: Vec<Planned> = wires.planned().iter().filter(is_asked).cloned().collect();
    let names: Vec<&str> = all.iter().map(|planned| planned.table.object.as_str()).collect();
    let described = wires.org.describes(&names).await?;
    for (before, described) in all.iter().zip(described) {
        let object = &before.table.object;
        let now = match described.map(|described| described.filter(|described| described.queryable)) {
            Ok(Some(described)) => plan_of(pubsub, config, &members, &described).await.map(Some),
            Ok(None) => Ok(None),
            Err(error) => Err(error),
        };
        match now {
            Ok(Some(now)) if now == *before => {
                let (object, problem) = (object.clone(), None);
                wires
                    .apply
                    .send(Command::ObjectProblem { object, problem })
                    .await?;
            }
            Ok(Some(now)) => take_over(wires, before, now).await?,
            Ok(None) => {
                tracing::warn!(%object, "{object} is no longer shown by the org: its rows stay as they are");
                let problem = Some(HIDDEN.to_owned());
                let object = object.clone();
                wires
                    .apply
                    .send(Command::ObjectProblem { object, problem })
                    .await?;
            }
            Err(error @ (Error::Unreachable { .. } | Error::AnswerLost { .. } | Error::NotTheApi { .. })) => {
                return Err(error.into());
            }
            Err(error) => {
                tracing::warn!(%object, "{object} could not be described again, will be tried again: {error}");
            }
        }
    }
    Ok(())
}

/// Takes up objects that the org did not show when the daemon started. One that cannot be described is left to the
/// next round.
async fn look_for_more(
    wires: &Wires,
    pubsub: &PubSub,
    config: &config::Sync,
    members: &[String],
) -> anyhow::Result<()> {
    let shown = wires.org.object_names().await?;
    for name in mapping::objects(config) {
        let listed = shown.iter().any(|shown| shown.eq_ignore_ascii_case(&name));
        if listed
            && wires.find_any(&name).is_none()
            && let Ok(Some(planned)) = look(&wires.org, pubsub, config, members, &name).await
        {
            take_up(wires, planned).await?;
        }
    }
    Ok(())
}

async fn take_up(wires: &Wires, shown: Planned) -> anyhow::Result<()> {
    let object = shown.table.object.clone();
    tracing::info!(%object, "{object} is shown by the org now: it is mirrored from here on");
    let planned = shown.clone();
    wires.apply.change(Command::Changed { planned }).await?;
    wires.planned.send_modify(|all| {
        let with_it = all.iter().cloned().chain([shown]);
        *all = with_it.collect::<Vec<_>>().into();
    });
    // Rung once more: a look for what is to be loaded may have come before the line above.
    wires.bells.ledger.send_modify(|rung| *rung += 1);
    Ok(())
}

async fn take_over(wires: &Wires, before: &Planned, now: Planned) -> anyhow::Result<()> {
    let object = &now.table.object;
    if before.streamed != now.streamed {
        let way = if now.streamed { "change events" } else { "polling" };
        tracing::warn!(%object, "{object} is kept current by {way} from now on, as the org has it");
    }
    let planned = now.clone();
    let evolved = wires.apply.change(Command::Changed { planned }).await?;
    tell(object, &evolved);
    wires.planned.send_modify(|all| {
        let replaced = all.iter().map(|planned| {
            if planned.table.object == *object {
                now.clone()
            } else {
                planned.clone()
            }
        });
        *all = replaced.collect::<Vec<_>>().into();
    });
    let reason = match before.filter != now.filter {
        true => Some(reason::CONDITION_CHANGED),
        false => evolved.wants_values().then_some(reason::FIELDS_CHANGED),
    };
    if let Some(reason) = reason {
        // Marked by the apply stage already; but a load that began before the line above has not asked for it.
        let (object, reason) = (object.clone(), reason.into());
        wires.apply.send(Command::Reload { object, reason }).await?;
    }
    Ok(())
}
