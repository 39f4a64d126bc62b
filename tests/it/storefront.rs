//! What a storefront gets from the daemon over HTTP, against an org of several stores.

mod approvals;
pub mod customers;
mod edges;
mod headers;
mod listeners;
mod merged;
mod oracle;
mod positions;
mod profiles;
mod rules;
mod stream;
pub mod tokens;
mod unfinished;
mod visitors;
