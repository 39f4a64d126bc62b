//! What the journal is good for: the history of a record, applying again, and forgetting.
//!
//! The journal holds what the apply stage was given, in its order ([`crate::inbound::command`]), with the events and the
//! rows that the org answered. [`history`] tells from it how a record came to be what it is, [`replay`] makes a cache
//! from it, and [`forget`] takes out of it what may not be kept any longer. Nothing here talks to the org.

pub mod forget;
pub mod history;
pub mod replay;
