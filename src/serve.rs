//! What storefronts and operators reach over HTTP: two listeners, one for each.
//!
//! Reads come from the cache, on the thread that handles the request, and go on while the org is away; every
//! answer says how fresh it is. Orders are answered once they are on the disk. Nothing here calls the org.

mod admin;
mod catalogue;
mod orders;
mod problem;
mod reply;

use std::time::Duration;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::http::StatusCode;
use axum::routing::get;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tower_http::timeout::TimeoutLayer;

use crate::model::clock::{Clock, Millis};
use crate::outbound::outbox::Intake;
use crate::serve::problem::Problem;
use crate::store::reader::Reader;

/// Largest body taken: an order of 497 items is a tenth of it.
const BODY_BYTES_MAX: usize = 256 * 1024;
/// Longest time for one request.
const REQUEST_MAX: Duration = Duration::from_secs(30);

/// What the listeners work with; cheap to clone.
#[derive(Clone)]
pub struct World {
    pub reader: Reader,
    pub intake: Intake,
    pub health: watch::Receiver<Health>,
    pub clock: Clock,
}

/// How well the cache follows the org, as the daemon sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Health {
    /// An object that storefronts need has never been loaded.
    pub initializing: bool,
    /// Since when the org has not been heard.
    pub stale_since: Option<Millis>,
    /// From the newest change's commit in the org to its being visible here.
    pub lag_millis: Option<i64>,
    /// Why no orders are sent, as one sentence. They are taken all the same.
    pub orders_problem: Option<String>,
}

impl Health {
    /// The value of `Storesync-State`.
    fn state(&self) -> &'static str {
        match self {
            Self { initializing: true, .. } => "initializing",
            Self { stale_since: Some(_), .. } => "stale",
            _ => "live",
        }
    }

    /// How old the cache may be; it grows while the org is not heard.
    fn lag_seconds(&self, now: Millis) -> Option<i64> {
        let unheard = self.stale_since.map(|since| (now - since).max(0));
        match (self.lag_millis, unheard) {
            (None, None) => None,
            (lag, unheard) => Some((lag.unwrap_or(0).max(0) + unheard.unwrap_or(0)) / 1_000),
        }
    }
}

/// Serves storefronts until it is stopped; requests under way are answered.
pub async fn run(listener: TcpListener, world: World, stop: CancellationToken) -> anyhow::Result<()> {
    serve(listener, storefront(world), stop).await
}

/// Serves operators until it is stopped.
pub async fn run_admin(listener: TcpListener, world: World, stop: CancellationToken) -> anyhow::Result<()> {
    serve(listener, operators(world), stop).await
}

async fn serve(listener: TcpListener, router: Router, stop: CancellationToken) -> anyhow::Result<()> {
    axum::serve(listener, router).with_graceful_shutdown(stop.cancelled_owned()).await?;
    Ok(())
}

/// The storefronts' routes. Others may be merged with it: a page on top of this interface.
pub fn storefront(world: World) -> Router {
    let routes = Router::new()
        .route("/v1/stores", get(catalogue::stores))
        .route("/v1/stores/{store}", get(catalogue::store))
        .route("/v1/stores/{store}/products", get(catalogue::products))
        .route("/v1/stores/{store}/products/{product}", get(catalogue::product))
        .route("/v1/stores/{store}/orders", axum::routing::post(orders::place))
        .route("/v1/stores/{store}/orders/{external_id}", get(orders::status))
        .route("/v1/objects/{object}", get(catalogue::objects))
        .route("/v1/objects/{object}/{id}", get(catalogue::object))
        .with_state(world);
    limited(routes)
}

/// The operators' routes.
pub fn operators(world: World) -> Router {
    let routes = Router::new()
        .route("/livez", get(admin::livez))
        .route("/readyz", get(admin::readyz))
        .route("/status", get(admin::status))
        .with_state(world);
    limited(routes)
}

fn limited(routes: Router) -> Router {
    routes
        .fallback(|| async { Problem::not_found("there is nothing at this address") })
        .method_not_allowed_fallback(|| async {
            Problem::new(StatusCode::METHOD_NOT_ALLOWED, "method-not-allowed", "this address takes another method")
        })
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .layer(TimeoutLayer::with_status_code(StatusCode::SERVICE_UNAVAILABLE, REQUEST_MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_says_how_old_it_may_be() {
        let live = Health { lag_millis: Some(1_500), ..Health::default() };
        assert_eq!((live.state(), live.lag_seconds(9_000)), ("live", Some(1)));
        let stale = Health { stale_since: Some(4_000), ..live.clone() };
        assert_eq!((stale.state(), stale.lag_seconds(9_000)), ("stale", Some(6)));
        let new = Health { initializing: true, ..Health::default() };
        assert_eq!((new.state(), new.lag_seconds(9_000)), ("initializing", None));
    }
}
