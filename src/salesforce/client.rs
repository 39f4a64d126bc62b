//! The HTTP client that all REST calls share: how long it waits, whom it trusts, what is counted and
//! told of it.

use std::time::Duration;

use reqwest::header::{DATE, HeaderMap};

use crate::config;
use crate::model::clock::Millis;
use crate::salesforce::Error;
use crate::telemetry::metrics;

/// A request that has not been answered for this long counts as lost; the org may still finish it.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(120);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// With the certificates that the configuration adds to the system's.
pub(super) fn http(config: &config::Org) -> Result<reqwest::Client, Error> {
    let mut builder = reqwest::Client::builder()
        .user_agent(concat!("storesync/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(CONNECT_TIMEOUT)
        .timeout(ANSWER_TIMEOUT)
        .redirect(reqwest::redirect::Policy::none());
    if let Some(pem) = ca_pem(config)? {
        let certificates = reqwest::Certificate::from_pem_bundle(&pem)
            .map_err(|error| bad_certificates(config, &reason(&error)))?;
        builder = builder.tls_certs_merge(certificates);
    }
    builder
        .build()
        .map_err(|error| Error::Secret(format!("the HTTPS client cannot be set up ({})", reason(&error))))
}

/// The certificates of `ca_file`, where the configuration names one.
pub(super) fn ca_pem(config: &config::Org) -> Result<Option<Vec<u8>>, Error> {
    let read = |path: &std::path::PathBuf| {
        std::fs::read(path).map_err(|error| bad_certificates(config, &error.to_string()))
    };
    config.ca_file.as_ref().map(read).transpose()
}

fn bad_certificates(config: &config::Org, reason: &str) -> Error {
    let path = config.ca_file.clone().unwrap_or_default();
    Error::Secret(format!(
        "ca_file {} cannot be used ({reason}): it must hold PEM certificates",
        path.display()
    ))
}

/// When an answer says that it was made.
pub(super) fn date(headers: &HeaderMap) -> Option<Millis> {
    let text = headers.get(DATE)?.to_str().ok()?;
    let date = jiff::fmt::rfc2822::parse(text).ok()?;
    Some(date.timestamp().as_millisecond())
}

/// Which of the org's APIs a path belongs to, for counting.
fn api_of(path: &str) -> &'static str {
    let known = [
        ("/tooling/", "tooling"),
        ("/jobs/", "bulk"),
        ("/composite", "composite"),
        ("/query", "query"),
        ("/describe", "describe"),
        ("/sobjects", "sobjects"),
        ("/limits", "limits"),
    ];
    let found = known.iter().find(|(part, _)| without_query(path).contains(part));
    found.map_or("other", |(_, api)| api)
}

/// Counts a call, and the error that it ended with.
pub(super) fn count(path: &str, error: Option<&Error>) {
    let outcome = match error {
        None => "ok",
        Some(Error::Unreachable { .. }) => "unreachable",
        Some(Error::AnswerLost { .. }) => "lost",
        Some(_) => "refused",
    };
    metrics::API_REQUESTS.count([api_of(path), outcome]);
}

/// Queries may hold customers' keys, which logs must not.
pub(super) fn without_query(path: &str) -> &str {
    path.split_once('?').map_or(path, |(path, _)| path)
}

/// The innermost cause: reqwest's own text repeats the address and stops there.
pub(super) fn reason(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(next) = cause.source() {
        cause = next;
    }
    if error.is_timeout() {
        format!("no answer in time: {cause}")
    } else {
        cause.to_string()
    }
}
