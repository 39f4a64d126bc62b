//! The sandbox's HTTP side over a real socket, as a client sees it.

pub mod client;
mod composite;
mod login;
mod query;
mod records;
