//! One binary for all tests that go over sockets, so that the dependencies are linked once.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

mod chaos;
mod check;
mod engineers;
mod events_decode;
mod fault_matrix;
mod forget;
mod fuzzed;
mod inbound;
mod journeys;
mod monitoring;
mod outbound;
mod privacy;
mod refusals;
mod sandbox_avro;
mod sandbox_faults;
mod sandbox_org;
mod sandbox_pubsub;
mod sandbox_rest;
mod service;
mod simulate;
mod state;
mod storefront;
mod tidy;
mod world;
