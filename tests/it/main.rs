//! One binary for all tests that go over sockets, so that the dependencies are linked once.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

mod audit;
mod backups;
mod chaos;
mod check;
mod day_of_faults;
mod doors;
mod engineers;
mod events_decode;
mod events_encode;
mod exits;
mod fault_matrix;
mod files;
mod forget;
mod freshness;
mod fuzzed;
mod generated;
mod inbound;
mod journeys;
mod login;
mod monitoring;
mod outbound;
mod own_token;
mod person;
mod person_files;
mod privacy;
#[path = "../../sandbox/tests/protocols/process.rs"]
mod process;
mod redacted;
mod refusals;
mod roles;
mod rounds;
mod service;
mod settings;
mod simulate;
mod state;
mod storefront;
mod tidy;
mod world;

/// What starts a sandbox.
fn sandbox_command() -> std::process::Command {
    let mut command = world::storesync();
    command.arg("sandbox");
    command
}
