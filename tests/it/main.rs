//! Tests over real sockets.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

mod sandbox_rest;
mod sandbox_pubsub;
