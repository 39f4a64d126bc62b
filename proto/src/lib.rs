//! The messages and services of the Salesforce Pub/Sub API, generated from `pubsub_api.proto`.
//!
//! The generated code is checked in, so that a build needs no compiler for protobuf. A test makes it anew and
//! compares; `STORESYNC_WRITE_PROTO=1 cargo test --test it generated` writes it after a change of the interface.

#[allow(clippy::all, clippy::pedantic, clippy::too_many_lines, unused_qualifications, reason = "generated")]
#[rustfmt::skip]
mod eventbus_v1;

pub use eventbus_v1::*;
