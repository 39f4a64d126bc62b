//! Serves connections over HTTP/1.1 and, where a client begins with it, HTTP/2.
//!
//! Names of headers are written with capitals over HTTP/1.1, as the platform's are: there are clients that look for
//! `Content-Type` as it is written, and take another path where they find `content-type`.

use std::sync::Arc;

use anyhow::Result;
use axum::Extension;
use axum::serve::Listener;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::super::tls::{Connection, Door};
use super::{App, router};

/// Serves until `stop`, then lets the requests at hand end.
pub async fn run(mut door: Door, app: Arc<App>, stop: CancellationToken) -> Result<()> {
    let router = router(app);
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            () = stop.cancelled() => break,
            (connection, _) = door.accept() => {
                let router = router.clone().layer(Extension(connection.cut()));
                connections.spawn(one(connection, router, stop.clone()));
            }
            // So that ended ones do not pile up.
            Some(_) = connections.join_next(), if !connections.is_empty() => {}
        }
    }
    while connections.join_next().await.is_some() {}
    Ok(())
}

/// A connection ends with an error whenever its client goes away, which is nothing to tell.
async fn one(connection: Connection, router: axum::Router, stop: CancellationToken) {
    let mut builder = Builder::new(TokioExecutor::new());
    builder.http1().title_case_headers(true);
    let serving = builder.serve_connection(TokioIo::new(connection), TowerToHyperService::new(router));
    let mut serving = std::pin::pin!(serving);
    let ended = tokio::select! {
        ended = serving.as_mut() => ended,
        () = stop.cancelled() => {
            serving.as_mut().graceful_shutdown();
            serving.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!("a connection of the sandbox ended: {error}");
    }
}
