//! The org, as its documented APIs show it: login, REST, Bulk 2.0, describe and the Pub/Sub API.
//!
//! The only part that talks to an org. It carries no policy: what to retry and what to store is for those who
//! call it. A call is repeated here in one case alone, once after a new login where the session had expired
//! before the org did anything.

pub mod auth;
pub mod bulk;
pub mod changed;
mod circuit;
mod client;
pub mod composite;
pub mod describe;
pub mod download;
pub mod error;
mod host;
pub mod login;
pub mod pages;
mod pieces;
pub mod pubsub;
pub mod rest;
pub mod setup;
pub mod soql;
mod token_file;

pub use error::{ApiError, Error};
pub use rest::Org;
