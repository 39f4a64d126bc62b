//! The sandbox's HTTP side over a real socket, as a client sees it.

mod bulk;
pub mod client;
mod composite;
mod login;
mod query;
mod race;
mod records;
mod resources;
