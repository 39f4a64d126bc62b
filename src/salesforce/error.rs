//! How a call to the org can fail, told apart as far as callers act on the difference.

use serde::{Deserialize, Deserializer};
use serde_json::Value;

/// One entry of Salesforce's error body.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct ApiError {
    /// `DUPLICATE_VALUE`, ... In collections it is named `statusCode`.
    #[serde(rename = "errorCode", alias = "statusCode")]
    pub code: String,
    #[serde(default, deserialize_with = "null_as_default")]
    pub message: String,
    #[serde(default, deserialize_with = "null_as_default")]
    pub fields: Vec<String>,
    /// What a duplicate rule found, as it tells it. Versions 48 to 51 spell the name without its l.
    #[serde(default, rename = "duplicateResult", alias = "duplicateResut")]
    pub duplicate_result: Option<Value>,
}

fn null_as_default<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(
    value: D,
) -> Result<T, D::Error> {
    Ok(Option::deserialize(value)?.unwrap_or_default())
}

/// The longest code of the org's, with room, and what stands for one that is no word.
const CODE_CHARS_MAX: usize = 100;
const UNKNOWN_CODE: &str = "UNKNOWN_CODE";

impl ApiError {
    /// The entries of an error body, in any of Salesforce's forms; none where the body is not one.
    pub fn all_of(body: &Value) -> Vec<Self> {
        let entries = match body {
            Value::Array(entries) => entries.as_slice(),
            entry => std::slice::from_ref(entry),
        };
        let read = |entry: &Value| {
            let mut error = Self::deserialize(entry).ok()?;
            let is_word = |code: &str| code.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
            // The org's codes are words. Anything else may be about a person, and codes are shown to everybody.
            if error.code.len() > CODE_CHARS_MAX || !is_word(&error.code) {
                UNKNOWN_CODE.clone_into(&mut error.code);
            }
            (!error.code.is_empty()).then_some(error)
        };
        entries.iter().filter_map(read).collect()
    }
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
    /// The org answered with its own error body, which has at least one entry.
    #[error("the org answered {status} {}", summary(.errors))]
    Refused { status: u16, errors: Vec<ApiError> },
    /// The answer is not one of the org's API: a proxy, a gateway, a sign-in or maintenance page. Whether the
    /// request was done is unknown.
    #[error(
        "{url} was answered with {status} and {body}, which is not the org's API: check proxies and gateways on the way, and whether the org is in maintenance"
    )]
    NotTheApi {
        url: String,
        status: u16,
        body: BodyKind,
    },
    /// Several records have the external id that was asked for.
    #[error("several records have one external id ({})", records.join(", "))]
    SeveralRecords { records: Vec<String> },
    /// The org refused the login.
    #[error(
        "the login was refused ({error}: {description}): check [org] auth, client_id, username and the secret files"
    )]
    Login { error: String, description: String },
    /// No login is tried now, since the last one failed or there were many. It was told when it failed.
    #[error("no login is tried for a while: {cause}")]
    LoginPaused {
        /// Whether the org refused the last one; else it was not reached.
        is_refused: bool,
        cause: String,
    },
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

/// What an answer holds that is not the org's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyKind {
    Nothing,
    Page,
    Text,
    /// Without an error code of Salesforce's.
    Json,
}

impl std::fmt::Display for BodyKind {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(match self {
            Self::Nothing => "no body",
            Self::Page => "a page",
            Self::Text => "a text",
            Self::Json => "JSON without an error code",
        })
    }
}

impl BodyKind {
    fn of(body: &[u8]) -> Self {
        match body.trim_ascii_start().first() {
            None => Self::Nothing,
            Some(b'<') => Self::Page,
            Some(b'{' | b'[') => Self::Json,
            Some(_) => Self::Text,
        }
    }
}

impl Error {
    /// Of an answer with another status than 2xx. Who wrote it is told from its body alone: proxies and gateways
    /// use every status that the org uses.
    pub fn of_answer(url: &str, status: u16, body: &[u8]) -> Self {
        let json: Value = serde_json::from_slice(body).unwrap_or(Value::Null);
        let errors = ApiError::all_of(&json);
        if !errors.is_empty() {
            return Self::Refused { status, errors };
        }
        let records = record_ids(&json);
        if status == 300 && !records.is_empty() {
            return Self::SeveralRecords { records };
        }
        Self::not_the_api(url, status, body)
    }

    /// Of an answer of 2xx whose body is not what was asked for: JSON of the org's that was cut, or a page.
    pub fn of_body(url: &str, body: &[u8], error: &serde_json::Error) -> Self {
        match BodyKind::of(body) {
            BodyKind::Json => Self::Unreadable {
                url: url.to_owned(),
                reason: error.to_string(),
            },
            _ => Self::not_the_api(url, 200, body),
        }
    }

    /// Of an answer whose body is not the org's, whatever its status.
    pub fn not_the_api(url: &str, status: u16, body: &[u8]) -> Self {
        Self::NotTheApi {
            url: url.to_owned(),
            status,
            body: BodyKind::of(body),
        }
    }

    /// Whether the org says that the user may not see what was asked for. One that cannot answer just now does not.
    pub fn is_hidden(&self) -> bool {
        let refused = matches!(
            self,
            Self::Refused {
                status: 400 | 403 | 404,
                ..
            }
        );
        refused && self.api_code() != Some("REQUEST_LIMIT_EXCEEDED")
    }

    /// Whether this way of asking is refused, by the org or by a proxy before it: another may be open.
    pub fn is_way_refused(&self) -> bool {
        self.is_hidden()
            || matches!(
                self,
                Self::NotTheApi {
                    status: 403..=405,
                    ..
                }
            )
    }

    /// The first error code of the org's answer, where it gave one.
    pub fn api_code(&self) -> Option<&str> {
        match self {
            Self::Refused { errors, .. } => errors.first().map(|error| error.code.as_str()),
            _ => None,
        }
    }
}

/// The ids of the records that an answer of 300 names: `["/services/data/v67.0/sobjects/Order/801..", ..]`.
pub fn record_ids(body: &Value) -> Vec<String> {
    let paths = body.as_array().into_iter().flatten().filter_map(Value::as_str);
    let ids = paths.filter_map(|path| path.rsplit('/').next());
    ids.map(str::to_owned).collect()
}

fn summary(errors: &[ApiError]) -> String {
    match errors.first() {
        Some(error) => format!("{}: {}", error.code, error.message),
        None => "without a reason".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_that_is_no_word_is_not_told() {
        let code = |code: &str| {
            ApiError::all_of(&serde_json::json!([{"errorCode": code, "message": "m"}]))[0]
                .code
                .clone()
        };
        assert_eq!(code("FIELD_INTEGRITY_EXCEPTION"), "FIELD_INTEGRITY_EXCEPTION");
        assert_eq!(code("ana@shop.example"), "UNKNOWN_CODE");
        assert_eq!(code("TWO WORDS"), "UNKNOWN_CODE");
        assert_eq!(code(&"A".repeat(101)), "UNKNOWN_CODE");
    }

    #[test]
    fn an_error_body_is_read_in_each_of_its_forms() {
        for (body, code) in [
            (r#"[{"message":"m","errorCode":"A","fields":["F"]}]"#, Some("A")),
            (r#"[{"message":"m","errorCode":"A"}]"#, Some("A")),
            (r#"[{"message":null,"errorCode":"A","fields":null}]"#, Some("A")),
            (r#"[{"statusCode":"A","message":"m","fields":[]}]"#, Some("A")),
            (r#"{"errorCode":"A","message":"m"}"#, Some("A")),
            (r#"[{"oops":1},{"errorCode":"A","message":"m"}]"#, Some("A")),
            (r#"{"statusCode":403,"message":"Forbidden"}"#, None),
            (r#"{"error":"invalid_grant","error_description":"d"}"#, None),
            (r#"{"message":"no Route matched with those values"}"#, None),
            (r#"[{"errorCode":"","message":"m"}]"#, None),
            (r#"["errorCode"]"#, None),
            ("[]", None),
            ("null", None),
        ] {
            let errors = ApiError::all_of(&serde_json::from_str(body).unwrap());
            assert_eq!(errors.first().map(|error| error.code.as_str()), code, "{body}");
        }
    }

    #[test]
    fn a_spent_allowance_hides_nothing() {
        for (status, code, expected) in [
            (400, "INVALID_FIELD", true),
            (403, "INSUFFICIENT_ACCESS", true),
            (404, "NOT_FOUND", true),
            (403, "REQUEST_LIMIT_EXCEEDED", false),
            (401, "INVALID_SESSION_ID", false),
            (503, "SERVER_UNAVAILABLE", false),
        ] {
            let body = format!(r#"[{{"message":"m","errorCode":"{code}"}}]"#);
            let error = Error::of_answer("https://org.example/query", status, body.as_bytes());
            assert_eq!(error.is_hidden(), expected, "{code}");
        }
    }

    #[test]
    fn both_spellings_of_a_duplicate_rule_s_result_are_read() {
        for name in ["duplicateResult", "duplicateResut"] {
            let body = serde_json::json!([{name: {"allowSave": true}, "errorCode": "DUPLICATES_DETECTED", "message": "m"}]);
            let errors = ApiError::all_of(&body);
            assert!(errors[0].duplicate_result.is_some(), "{name}");
        }
    }
}
