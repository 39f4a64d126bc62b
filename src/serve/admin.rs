//! What operators and their machines ask: does it run, is it of use, what is in it.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde_json::{Map, Value, json};

use crate::serve::problem::Problem;
use crate::serve::{World, reply};
use crate::store::storefront;

/// The process answers.
pub async fn livez(State(world): State<World>) -> Response {
    reply::json(&world, StatusCode::OK, br#"{"live":true}"#.to_vec())
}

/// Whether reads and orders are to be sent here, apart from each other.
pub async fn readyz(State(world): State<World>) -> Response {
    let health = world.health.borrow().clone();
    let readable = world.reader.with(storefront::object_states).is_ok();
    let writable = world.intake.counts().is_ok();
    let reads = readable && !health.initializing;
    let body = json!({
        "ready": reads && writable,
        "reads": {"ready": reads, "state": health.state(), "lag_seconds": health.lag_seconds(world.clock.now())},
        "orders": {"ready": writable, "sending": health.orders_problem.is_none(), "problem": health.orders_problem},
    });
    let status = if reads && writable {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    reply::json(&world, status, body.to_string().into_bytes())
}

/// Objects and orders, counted.
pub async fn status(State(world): State<World>) -> Result<Response, Problem> {
    let health = world.health.borrow().clone();
    let objects: Vec<Value> = world
        .reader
        .with(storefront::object_states)?
        .into_iter()
        .map(|object| {
            json!({
                "object": object.object,
                "state": object.state,
                "kept_by": if object.streamed { "stream" } else { "poll" },
                "rows": object.rows,
            })
        })
        .collect();
    let orders: Map<String, Value> = world
        .intake
        .counts()?
        .into_iter()
        .map(|(state, count)| (state, count.into()))
        .collect();
    let body = json!({
        "state": health.state(),
        "lag_seconds": health.lag_seconds(world.clock.now()),
        "objects": objects,
        "orders": orders,
        "orders_problem": health.orders_problem,
    });
    Ok(reply::json(&world, StatusCode::OK, body.to_string().into_bytes()))
}
