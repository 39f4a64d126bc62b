//! The sandbox org over sockets, as its clients meet it. No daemon takes part.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

mod faults;
mod org;
#[allow(dead_code, reason = "the daemon's tests use the rest")]
mod process;
mod pubsub;
mod rest;

/// What starts a sandbox.
fn sandbox_command() -> std::process::Command {
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_storesync-sandbox"));
    command.env_remove("STORESYNC_LOG");
    command
}
