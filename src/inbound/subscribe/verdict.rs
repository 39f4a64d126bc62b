//! What a stream's end means: a pure table from the org's error codes to what is done.

use crate::salesforce::Error;

/// What to do when a stream ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Retry,
    /// The org delivers no more events today: wait, they are kept for 72 hours.
    WaitForAllowance,
    /// Log in again, then retry.
    Renew,
    /// The org no longer knows the position.
    PositionLost,
    /// Trying again soon changes nothing: a person has to act.
    Stop,
}

/// The org has no such schema, or does not show it.
pub(super) fn is_schema_refusal(error: &Error) -> bool {
    match error {
        Error::Stream {
            error_code: Some(code),
            ..
        } => code == "schema.meta.permission",
        Error::Stream { code, .. } => *code == tonic::Code::NotFound,
        _ => false,
    }
}

/// What a failure means. An error code that is not known stops the channel and is told.
pub(super) fn verdict(error: &Error) -> Verdict {
    match error {
        Error::Stream {
            code,
            error_code: None,
            ..
        } => match code {
            tonic::Code::Unauthenticated => Verdict::Renew,
            tonic::Code::NotFound
            | tonic::Code::PermissionDenied
            | tonic::Code::InvalidArgument
            | tonic::Code::Unimplemented => Verdict::Stop,
            _ => Verdict::Retry,
        },
        Error::Stream {
            error_code: Some(code),
            ..
        } => by_error_code(code),
        Error::Refused { status: 401, .. } => Verdict::Renew,
        Error::Secret(_) | Error::OtherOrg { .. } => Verdict::Stop,
        // A login that is refused now may have been changed in the org meanwhile: it is tried on, slowly.
        Error::Login { .. }
        | Error::LoginPaused { .. }
        | Error::Refused { .. }
        | Error::NotTheApi { .. }
        | Error::SeveralRecords { .. }
        | Error::Unreachable { .. }
        | Error::AnswerLost { .. }
        | Error::Unreadable { .. } => Verdict::Retry,
    }
}

pub(super) fn by_error_code(code: &str) -> Verdict {
    match code {
        "service.auth.error" | "service.auth.refresh.invalid" => Verdict::Renew,
        "subscription.fetch.replayid.corrupted" | "subscription.fetch.replayid.validation.failed" => {
            Verdict::PositionLost
        }
        "subscription.limit.exceeded" => Verdict::WaitForAllowance,
        "service.unavailable"
        | "service.protection.triggered"
        | "service.protection.stream.limit.triggered"
        | "concurrent.client.limit.exceeded"
        | "topic.api.unavailable"
        | "schema.api.unavailable"
        | "subscription.fetch.request.invalid"
        | "subscription.fetch.requested.events.invalid"
        | "subscription.fetch.overflow"
        | "subscription.fetch.replay.repeated"
        | "subscription.internal.error" => Verdict::Retry,
        _ => Verdict::Stop,
    }
}
