//! How a call to the org can fail, told apart as far as callers act on the difference.

use serde::Deserialize;

/// One entry of Salesforce's error body.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct ApiError {
    /// `DUPLICATE_VALUE`, ... In collections it is named `statusCode`.
    #[serde(rename = "errorCode", alias = "statusCode")]
    pub code: String,
    #[serde(default)]
    pub message: String,
    #[serde(default)]
    pub fields: Vec<String>,
    /// What a duplicate rule found, as it tells it.
    #[serde(default, rename = "duplicateResult")]
    pub duplicate_result: Option<serde_json::Value>,
}

/// Why a call did not give its answer.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The request never reached the org: nothing can have been done.
    #[error("{url} cannot be reached ({reason}): check the address, DNS, the network and the certificates")]
    Unreachable { url: String, reason: String },
    /// The request may have reached the org, and its answer was lost: whether it was done is unknown.
    #[error("the answer of {url} was lost ({reason})")]
    AnswerLost { url: String, reason: String },
    /// The org answered with an error.
    #[error("the org answered {status} {}", summary(.errors))]
    Refused { status: u16, errors: Vec<ApiError> },
    /// The org refused the login.
    #[error(
        "the login was refused ({error}: {description}): check [org] auth, client_id, username and the secret files"
    )]
    Login { error: String, description: String },
    /// The login is for another org than the one before.
    #[error(
        "the login is for the org {now} now, and was for {before}: if that is meant, set another [state] dir and start again"
    )]
    OtherOrg { before: String, now: String },
    /// A secret that the login needs cannot be read.
    #[error("{0}")]
    Secret(String),
    /// A Pub/Sub call ended with a status.
    #[error("the Pub/Sub API answered {code:?}{}: {message}", .error_code.as_deref().map(|code| format!(" ({code})")).unwrap_or_default())]
    Stream {
        code: tonic::Code,
        /// The `error-code` trailer without `sfdc.platform.eventbus.grpc.`: `service.auth.error`, ...
        error_code: Option<String>,
        message: String,
    },
    /// The answer is not of the documented form.
    #[error("the answer of {url} cannot be read ({reason})")]
    Unreadable { url: String, reason: String },
}

impl Error {
    /// The first error code of the org's answer, where it gave one.
    pub fn api_code(&self) -> Option<&str> {
        match self {
            Self::Refused { errors, .. } => errors.first().map(|error| error.code.as_str()),
            _ => None,
        }
    }
}

fn summary(errors: &[ApiError]) -> String {
    match errors.first() {
        Some(error) => format!("{}: {}", error.code, error.message),
        None => "without a reason".to_owned(),
    }
}
