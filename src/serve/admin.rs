//! What operators and their machines ask: does it run, is it of use, what is in it.

use axum::extract;
use axum::http::StatusCode;
use axum::response::Response;
use serde_json::json;

use crate::model::freshness::State;
use crate::serve::freshness::Subject;
use crate::serve::problem::Problem;
use crate::serve::{World, reply};
use crate::store::note::{ALLOWANCE, CALLS, POLLS};
use crate::store::standing::Standing;
use crate::store::{holders, journal, storefront};

/// The process answers.
pub async fn livez() -> Response {
    reply::json(StatusCode::OK, br#"{"live":true}"#.to_vec())
}

/// Whether reads and orders are to be sent here, apart from each other.
pub async fn readyz(extract::State(world): extract::State<World>) -> Response {
    let health = world.health.borrow().clone();
    let readable = world.reader.with(storefront::object_states).is_ok();
    let writable = world.intake.counts().is_ok();
    let (standing, now) = (health.standing(), world.clock.moment());
    let state = standing.state(now);
    let reads = readable && state != State::Initializing;
    let writable = writable && !health.hindrances.refuses_orders();
    let taken = writable && !health.freshness.is_initializing(Subject::Orders, now);
    let unsent = health.hindrances.of_orders();
    let sending = unsent.is_none();
    let refused = (!taken && writable).then(|| world.initializing(Subject::Orders).detail().to_owned());
    let body = json!({
        "ready": reads && taken,
        "reads": {"ready": reads, "state": state.name(), "lag_seconds": standing.lag_seconds(now), "cause": standing.cause(now)},
        "orders": {"ready": taken, "sending": sending, "problem": unsent.or(refused)},
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
