//! The words that every other part speaks: changes, rows, orders, times, delays.
//!
//! Plain values without I/O. Nothing here reads a clock, a file or a socket, so every decision that is
//! written in these words can be tested as a table.

pub mod body;
pub mod brake;
pub mod calls;
pub mod change;
pub mod clock;
pub mod freshness;
pub mod id;
pub mod order;
pub mod org_clock;
pub mod retry;
pub mod row;
pub mod said;
pub mod schedule;
pub mod shown;
pub mod state;
pub mod text;
pub mod trouble;
pub mod write;
