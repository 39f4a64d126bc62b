//! The Pub/Sub API's service over an org.
