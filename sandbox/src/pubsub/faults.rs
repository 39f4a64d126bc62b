//! What staged faults do to calls of the Pub/Sub API.

use bytes::Bytes;
use tonic::{Code, Status};

use super::hub::Hub;
use super::reader::Batch;
use super::refusal::refuse;
use super::reset::Reset;
use crate::faults::{Fault, Moment, Named, Occasion, delay};
use storesync_proto::ProducerEvent;

/// A schema id of the right form that no schema has.
const NO_SCHEMA: &str = "AAAAAAAAAAAAAAAAAAAAAA";

/// What becomes of a response.
pub(super) enum Verdict {
    Respond(Batch),
    End,
    /// Nothing leaves any more.
    Silence,
}

/// Who is about to be struck.
pub(super) struct Target<'a> {
    pub rpc: &'static str,
    pub topic: &'a str,
    pub token: &'a str,
    pub reset: Option<&'a Reset>,
}

/// Lets the rules look at a call that answers once, as it begins.
pub(super) async fn strike_call(hub: &Hub, target: &Target<'_>) -> Result<(), Status> {
    let batch = Batch {
        events: Vec::new(),
        latest: Bytes::new(),
    };
    match strike(hub, target, Moment::Call, batch).await? {
        Verdict::Respond(_) => Ok(()),
        Verdict::Silence => std::future::pending().await,
        // A call that answers once cannot end without an answer or an error.
        Verdict::End => Err(Status::cancelled("the call ended")),
    }
}

/// Lets the rules look at a moment of a call, with the response that is about to leave.
pub(super) async fn strike(
    hub: &Hub,
    target: &Target<'_>,
    moment: Moment,
    mut batch: Batch,
) -> Result<Verdict, Status> {
    let Target { rpc, topic, .. } = *target;
    let occasion = Occasion::Call { rpc, topic, moment };
    let lifted = hub.org.faults().lifted();
    let named = match hub.org.faults().meet(&occasion, hub.org.clock().now()) {
        None | Some(Fault::Status(_) | Fault::CommitLater { .. } | Fault::Edit { .. }) => {
            return Ok(Verdict::Respond(batch));
        }
        Some(Fault::Delay { delay_ms }) => {
            delay(delay_ms, &lifted).await;
            return Ok(Verdict::Respond(batch));
        }
        Some(Fault::Named(named)) => named,
    };
    match named {
        Named::Silence => return Ok(Verdict::Silence),
        Named::End => return Ok(Verdict::End),
        Named::Reset => {
            if let Some(reset) = target.reset {
                reset.ask();
            }
            // What is said here is thrown away with the stream.
            return Err(Status::unavailable("the stream was reset"));
        }
        Named::RevokeToken => {
            hub.sessions.revoke(target.token);
            hub.check_token(rpc, target.token)?;
        }
        Named::Migrate => {
            hub.org.bus().reset();
            return Err(refusal(Named::ServiceUnavailable, rpc));
        }
        Named::Duplicate => {
            let replay_ids = batch.events.iter().map(|event| event.replay_id.as_ref());
            hub.org.bus().repeat(replay_ids);
        }
        Named::TruncatePayload | Named::UnknownSchema | Named::BlankEventId => {
            let events = batch.events.iter_mut().filter_map(|event| event.event.as_mut());
            events.for_each(|event| damage(named, event));
        }
        _ => return Err(refusal(named, rpc)),
    }
    Ok(Verdict::Respond(batch))
}

fn damage(fault: Named, event: &mut ProducerEvent) {
    match fault {
        Named::TruncatePayload => event.payload.truncate(event.payload.len() / 2),
        Named::UnknownSchema => NO_SCHEMA.clone_into(&mut event.schema_id),
        _ => event.id.clear(),
    }
}

fn refusal(fault: Named, rpc: &'static str) -> Status {
    match fault {
        Named::ServiceUnavailable => {
            let text = "The service is unavailable. Try again later.";
            refuse(Code::Internal, "service.unavailable", rpc, text)
        }
        Named::ResourceExhausted => {
            let text = "The service received too many connections and doesn't have the resources to accept new \
                        connections.";
            refuse(Code::ResourceExhausted, "service.protection.triggered", rpc, text)
        }
        Named::DeliveryLimit => {
            let text = "You have exceeded the event delivery limit for your org.";
            refuse(Code::ResourceExhausted, "subscription.limit.exceeded", rpc, text)
        }
        _ => Status::unavailable(
            "upstream connect error or disconnect/reset before headers. reset reason: remote reset",
        ),
    }
}
