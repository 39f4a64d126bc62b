//! Refusals of a record operation, in the platform's codes and words.

use std::borrow::Cow;

use serde_json::Value as Json;

/// Why one record operation was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordError {
    /// `DUPLICATE_VALUE` and its like: `errorCode` of row answers, `statusCode` of collections.
    pub status_code: Cow<'static, str>,
    pub message: String,
    pub fields: Vec<String>,
    /// The HTTP status of a row answer.
    pub http: u16,
    /// The `duplicateResult` of a refusal by a duplicate rule.
    pub duplicates: Option<Json>,
}

/// All reasons of one refusal; never empty.
pub type RecordErrors = Vec<RecordError>;

impl RecordError {
    pub fn new(status_code: impl Into<Cow<'static, str>>, message: impl Into<String>) -> Self {
        let status_code = status_code.into();
        let http = match &*status_code {
            "NOT_FOUND" | "ENTITY_IS_DELETED" => 404,
            "DUPLICATE_EXTERNAL_ID" => 300,
            _ => 400,
        };
        Self {
            status_code,
            message: message.into(),
            fields: Vec::new(),
            http,
            duplicates: None,
        }
    }

    pub fn with_fields(mut self, fields: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.fields = fields.into_iter().map(Into::into).collect();
        self
    }
}
