//! storesync keeps storefronts and a Salesforce org in step.

pub mod config;
pub mod inbound;
pub mod model;
pub mod outbound;
pub mod salesforce;
pub mod sandbox;
pub mod serve;
pub mod store;

/// The Pub/Sub API's messages, generated from `proto/pubsub_api.proto`.
#[allow(clippy::all, clippy::pedantic, unused_qualifications, missing_docs)]
pub mod proto {
    tonic::include_proto!("eventbus.v1");
}
