//! What the sandbox org does by itself, as a client over HTTP and gRPC meets it.

mod events;
mod persistence;
mod rules;
mod schema;
mod world;
