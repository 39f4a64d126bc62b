//! What engineers ask of the journal: events, a record's past, and the cache made again from it.

mod console;
mod journal;
pub mod replay;
mod time_travel;
