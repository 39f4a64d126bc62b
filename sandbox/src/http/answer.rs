//! Answers and refusals in the platform's forms, before they become HTTP.
//!
//! The same [`Reply`] is a response of its own or one part of a composite answer.

use serde_json::{Map, Value as Json, json};

use super::super::org::RecordErrors;
use super::super::soql::QueryError;

/// What a reply carries.
#[derive(Clone, Debug)]
pub enum Content {
    Empty,
    Json(Json),
    Csv(Vec<u8>),
    Html(&'static str),
    Xml(String),
    /// A body as it stands, in whatever form.
    Text(String),
    /// Bytes of this media type.
    Raw(&'static str, Vec<u8>),
}

/// An answer.
#[derive(Clone, Debug)]
pub struct Reply {
    pub status: u16,
    pub content: Content,
    /// Path of a created record.
    pub location: Option<String>,
    pub headers: Vec<(&'static str, String)>,
    /// Something inside went wrong although the reply itself did not: a row of a collection.
    pub partly_failed: bool,
}

impl Reply {
    pub fn json(status: u16, json: Json) -> Self {
        Self {
            status,
            content: Content::Json(json),
            location: None,
            headers: Vec::new(),
            partly_failed: false,
        }
    }

    pub fn ok(json: Json) -> Self {
        Self::json(200, json)
    }

    pub fn empty(status: u16) -> Self {
        Self {
            content: Content::Empty,
            ..Self::json(status, Json::Null)
        }
    }

    pub fn html(status: u16, page: &'static str) -> Self {
        Self {
            content: Content::Html(page),
            ..Self::json(status, Json::Null)
        }
    }

    pub fn xml(status: u16, document: String) -> Self {
        Self {
            content: Content::Xml(document),
            ..Self::json(status, Json::Null)
        }
    }

    pub fn text(status: u16, text: String) -> Self {
        Self {
            content: Content::Text(text),
            ..Self::json(status, Json::Null)
        }
    }

    pub fn csv(bytes: Vec<u8>) -> Self {
        Self {
            content: Content::Csv(bytes),
            ..Self::json(200, Json::Null)
        }
    }

    /// The body as a composite answer shows it.
    pub fn body(&self) -> Json {
        match &self.content {
            Content::Json(json) => json.clone(),
            Content::Empty
            | Content::Csv(_)
            | Content::Html(_)
            | Content::Xml(_)
            | Content::Text(_)
            | Content::Raw(..) => Json::Null,
        }
    }
}

/// One item of an error body: `{"message", "errorCode", "fields"}`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    pub code: String,
    pub message: String,
    /// Left out of the body where none.
    pub fields: Option<Vec<String>>,
    /// What a duplicate rule found; left out where none.
    pub duplicates: Option<Json>,
}

/// A refused request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    pub status: u16,
    pub problems: Vec<Problem>,
}

impl Refusal {
    pub fn new(status: u16, code: &str, message: impl Into<String>) -> Self {
        let problem = Problem {
            code: code.to_owned(),
            message: message.into(),
            fields: None,
            duplicates: None,
        };
        Self {
            status,
            problems: vec![problem],
        }
    }

    pub fn not_found() -> Self {
        Self::new(404, "NOT_FOUND", "The requested resource does not exist")
    }

    pub fn method_not_allowed(method: &str) -> Self {
        let message =
            format!("HTTP Method '{method}' not allowed. Allowed are those of the resource's documentation");
        Self::new(405, "METHOD_NOT_ALLOWED", message)
    }

    pub fn session() -> Self {
        Self::new(401, "INVALID_SESSION_ID", "Session expired or invalid")
    }

    pub fn parser(message: impl Into<String>) -> Self {
        Self::new(400, "JSON_PARSER_ERROR", message)
    }

    pub fn body(&self) -> Json {
        let items = self.problems.iter().map(|problem| {
            let mut item = Map::new();
            if let Some(duplicates) = &problem.duplicates {
                item.insert("duplicateResult".to_owned(), duplicates.clone());
            }
            item.insert("message".to_owned(), Json::from(problem.message.as_str()));
            item.insert("errorCode".to_owned(), Json::from(problem.code.as_str()));
            if let Some(fields) = &problem.fields {
                item.insert("fields".to_owned(), json!(fields));
            }
            Json::Object(item)
        });
        Json::Array(items.collect())
    }

    /// The items of a collection's result, which name the code otherwise.
    pub fn collection_errors(&self) -> Json {
        let items = self.problems.iter().map(|problem| {
            let fields = problem.fields.clone().unwrap_or_default();
            let mut item =
                json!({ "statusCode": problem.code, "message": problem.message, "fields": fields });
            if let Some(duplicates) = &problem.duplicates {
                item["duplicateResult"] = duplicates.clone();
            }
            item
        });
        Json::Array(items.collect())
    }
}

impl From<Refusal> for Reply {
    fn from(refusal: Refusal) -> Self {
        Self::json(refusal.status, refusal.body())
    }
}

impl From<QueryError> for Refusal {
    fn from(error: QueryError) -> Self {
        Self::new(400, error.code, error.message)
    }
}

impl From<RecordErrors> for Refusal {
    fn from(errors: RecordErrors) -> Self {
        let status = errors.first().map_or(500, |error| error.http);
        let problems = errors.into_iter().map(|error| Problem {
            code: error.status_code.into_owned(),
            message: error.message,
            fields: Some(error.fields).filter(|_| error.duplicates.is_none()),
            duplicates: error.duplicates,
        });
        Self {
            status,
            problems: problems.collect(),
        }
    }
}

pub type Answer = Result<Reply, Refusal>;
