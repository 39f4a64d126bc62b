//! How the Pub/Sub API refuses: a status whose trailers say which error, which call and which rpc.

use tonic::metadata::{MetadataMap, MetadataValue};
use tonic::{Code, Status};

use super::super::org::uuid;

/// The id a call is traced by in the platform's logs.
pub fn rpc_id() -> String {
    uuid(&mut fastrand::Rng::new())
}

/// A refusal of `rpc`; `suffix` is what follows `sfdc.platform.eventbus.grpc.` in the error code.
pub fn refuse(code: Code, suffix: &str, rpc: &'static str, text: &str) -> Status {
    let rpc_id = rpc_id();
    let mut trailers = MetadataMap::new();
    let error_code = format!("sfdc.platform.eventbus.grpc.{suffix}");
    for (name, value) in [
        ("error-code", error_code.as_str()),
        ("rpc-id", rpc_id.as_str()),
        ("type", rpc),
    ] {
        if let Ok(value) = MetadataValue::try_from(value) {
            trailers.insert(name, value);
        }
    }
    Status::with_metadata(code, format!("{text} rpcId: {rpc_id}"), trailers)
}
