//! (story to come)

pub mod avro;
pub mod bus;
pub mod org;
pub mod pubsub;
pub mod schema;
pub mod seed;
pub mod value;
