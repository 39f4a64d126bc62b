//! What operators and their machines ask: does it run, is it of use, what is in it.

use std::time::{Duration, Instant};

use axum::extract;
use axum::http::StatusCode;
use axum::response::Response;
use serde_json::json;
use tokio::time::timeout;

use crate::failpoint;
use crate::model::freshness::State;
use crate::serve::freshness::Subject;
use crate::serve::problem::Problem;
use crate::serve::{World, reply};
use crate::store::note::{ALLOWANCE, CALLS, POLLS};
use crate::store::standing::Standing;
use crate::store::{holders, journal, storefront};

/// How long the threads that serve storefronts may stand still.
const STILL_MAX: Duration = Duration::from_secs(10);
/// How often the files are looked at, and how old the last look may be.
const LOOK_EVERY: Duration = Duration::from_secs(1);
const LOOK_AGE_MAX: Duration = Duration::from_secs(2);
/// How long the writer of orders may take to answer.
const ANSWER_MAX: Duration = Duration::from_millis(800);

/// What is said of orders while their writer does not answer.
const WRITER_STILL: &str = "the writer of orders does not answer: another process holds outbox.db locked, or its disk stands still; \
     orders that are sent meanwhile are answered when it goes on";

/// The process answers, and the threads that do its work turn. Nothing is read for it.
pub async fn livez(extract::State(world): extract::State<World>) -> Response {
    let bound = failpoint::bound("STILL_MILLIS", STILL_MAX.as_millis() as u64);
    let still = world.heart.still_for();
    if still <= Duration::from_millis(bound) {
        return reply::json(StatusCode::OK, br#"{"live":true}"#.to_vec());
    }
    let problem = format!(
        "the threads that serve storefronts have stood still for {} s: restart storesync",
        still.as_secs()
    );
    let body = json!({"live": false, "problem": problem}).to_string();
    reply::json(StatusCode::SERVICE_UNAVAILABLE, body.into_bytes())
}

/// What a look at the files found.
#[derive(Clone, Copy, Debug)]
pub struct Seen {
    at: Instant,
    readable: bool,
    writable: bool,
    /// The writer of orders does what it is given.
    answers: bool,
}

impl Seen {
    /// What was found lately; nothing can be used where a look does not come back.
    fn lately(seen: Option<Self>) -> Self {
        let nothing = Self {
            at: Instant::now(),
            readable: false,
            writable: false,
            answers: true,
        };
        seen.filter(|seen| seen.at.elapsed() <= LOOK_AGE_MAX)
            .unwrap_or(nothing)
    }
}

/// Looks whether the files can be read and written, on a thread that may have to wait for the disk.
pub async fn look(world: &World) {
    let (at, looked) = (Instant::now(), World::clone(world));
    let files = tokio::task::spawn_blocking(move || {
        (
            looked.reader.with(storefront::object_states).is_ok(),
            looked.intake.counts().is_ok(),
        )
    });
    let probed = timeout(ANSWER_MAX, world.intake.outbox().probe());
    let (files, probed) = tokio::join!(files, probed);
    if let Ok((readable, writable)) = files {
        world.seen.send_replace(Some(Seen {
            at,
            readable,
            writable,
            answers: probed.is_ok(),
        }));
    }
}

/// Looks again and again until it is stopped.
pub async fn keep_looking(world: &World) {
    let looking = async {
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            look(world).await;
        }
    };
    tokio::select! {
        () = world.stop.cancelled() => {}
        () = looking => {}
    }
}

/// Whether reads and orders are to be sent here, apart from each other. Nothing is read for it: it tells of the last look.
pub async fn readyz(extract::State(world): extract::State<World>) -> Response {
    let health = world.health.borrow().clone();
    let Seen {
        readable,
        writable,
        answers,
        ..
    } = Seen::lately(*world.seen.borrow());
    let (standing, now) = (health.standing(), world.clock.moment());
    let state = standing.state(now);
    let reads = readable && state != State::Initializing;
    let writable = writable && answers && !health.hindrances.refuses_orders();
    let taken = writable && !health.freshness.is_initializing(Subject::Orders, now);
    let unsent = health.hindrances.of_orders();
    let sending = unsent.is_none();
    let refused = (!taken && writable).then(|| world.initializing(Subject::Orders).detail().to_owned());
    let still = (!answers).then(|| WRITER_STILL.to_owned());
    let body = json!({
        "ready": reads && taken,
        "reads": {"ready": reads, "state": state.name(), "lag_seconds": standing.lag_seconds(now), "cause": standing.cause(now)},
        "orders": {"ready": taken, "sending": sending, "problem": still.or(unsent).or(refused)},
        "files": health.hindrances.files_as_json(),
    });
    let status = if reads && taken {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    reply::json(status, body.to_string().into_bytes())
}

/// How everything stands, as `storesync status --json` tells it.
pub async fn status(extract::State(world): extract::State<World>) -> Result<Response, Problem> {
    let (health, now) = (world.health.borrow().clone(), world.clock.moment());
    let mut standing = world.reader.with(Standing::read)?;
    standing.truth = health.freshness.truth().clone();
    standing.follow_only(&world.topics);
    standing.orders = world.intake.standing()?;
    standing.allowance = ALLOWANCE.read(&world.dir);
    standing.calls = CALLS.read(&world.dir);
    standing.logs = holders::logs(&world.dir);
    standing.polls = POLLS.read(&world.dir);
    standing.journal = journal::forget::standing_in(&world.dir).map_err(anyhow::Error::from)?;
    standing.hindrances = health.hindrances;
    let body = standing.as_json(true, now);
    Ok(reply::json(StatusCode::OK, body.to_string().into_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_old_look_says_nothing_good() {
        let seen = |age| Seen {
            at: Instant::now().checked_sub(age).unwrap(),
            readable: true,
            writable: false,
            answers: true,
        };
        let files = |seen| {
            let Seen {
                readable, writable, ..
            } = Seen::lately(seen);
            (readable, writable)
        };
        assert_eq!(files(Some(seen(LOOK_EVERY))), (true, false));
        assert_eq!(files(Some(seen(LOOK_AGE_MAX * 2))), (false, false));
        assert_eq!(files(None), (false, false));
    }
}
