//! What is asked in a query: each name once, nothing unknown, with limits.
//!
//! An unknown name is refused: a filter that is misspelt and silently ignored shows too much.

use axum::extract::{FromRequestParts, Path, Query};
use axum::http::request::Parts;
use serde::de::DeserializeOwned;

use crate::serve::life::Life;
use crate::serve::partial::{self, Partial};
use crate::serve::problem::Problem;
use crate::serve::{World, cursor};

pub const LIMIT_DEFAULT: usize = 50;
pub const LIMIT_MAX: usize = 500;

/// The longest value taken.
const VALUE_BYTES_MAX: usize = 400;
/// The longest cursor taken: it may hold a name of the org's.
const CURSOR_BYTES_MAX: usize = 2_000;

/// How many items a page may have, of what was asked for.
fn limit(asked: Option<usize>) -> Result<usize, Problem> {
    asked
        .filter(|limit| (1..=LIMIT_MAX).contains(limit))
        .ok_or_else(|| {
            Problem::bad_request(format!("limit must be a number from 1 to {LIMIT_MAX}")).on_field("limit")
        })
}

/// The same for operators' lists, whose rows are counted by the database.
pub fn limit_of_rows(asked: Option<usize>) -> Result<u32, Problem> {
    let limit = asked.map_or(Ok(LIMIT_DEFAULT), |asked| limit(Some(asked)))?;
    Ok(u32::try_from(limit).unwrap_or(u32::MAX))
}

/// Names and values of a query, taken one by one.
pub struct Asked {
    pairs: Vec<(String, String)>,
    life: Life,
    /// What is there is to be answered, though it may be a part.
    pub is_partial: bool,
}

impl FromRequestParts<World> for Asked {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, world: &World) -> Result<Self, Problem> {
        let Query(pairs) = Query::<Vec<(String, String)>>::from_request_parts(parts, world)
            .await
            .map_err(|_| Problem::bad_request("the query is not well formed"))?;
        let bytes_max = |name: &str| {
            if name == "cursor" {
                CURSOR_BYTES_MAX
            } else {
                VALUE_BYTES_MAX
            }
        };
        if let Some((name, _)) = pairs.iter().find(|(name, value)| value.len() > bytes_max(name)) {
            let detail = format!("{name} is longer than {} bytes", bytes_max(name));
            return Err(Problem::bad_request(detail).on_field(name));
        }
        if let Some((name, _)) = pairs.iter().find(|(_, value)| value.contains('\0')) {
            return Err(Problem::bad_request(format!("{name} holds a NUL")).on_field(name));
        }
        let mut asked = Self {
            pairs,
            life: world.life()?,
            is_partial: false,
        };
        if parts.extensions.get::<Partial>().is_some() {
            asked.is_partial = asked.take_flag(partial::NAME)?;
        }
        Ok(asked)
    }
}

impl Asked {
    /// The value of a name; given twice it is refused.
    pub fn take(&mut self, name: &str) -> Result<Option<String>, Problem> {
        let Some(at) = self.pairs.iter().position(|(given, _)| given == name) else {
            return Ok(None);
        };
        let (_, value) = self.pairs.remove(at);
        if self.pairs.iter().any(|(given, _)| given == name) {
            return Err(Problem::bad_request(format!("{name} is given twice")).on_field(name));
        }
        Ok(Some(value).filter(|value| !value.is_empty()))
    }

    /// Values separated by commas.
    pub fn take_list(&mut self, name: &str) -> Result<Vec<String>, Problem> {
        let text = self.take(name)?.unwrap_or_default();
        let items = text.split(',').map(str::trim).filter(|item| !item.is_empty());
        Ok(items.map(str::to_owned).collect())
    }

    /// A number that is not negative.
    pub fn take_number(&mut self, name: &str) -> Result<Option<f64>, Problem> {
        let Some(text) = self.take(name)? else {
            return Ok(None);
        };
        let number = text
            .parse::<f64>()
            .ok()
            .filter(|number| number.is_finite() && *number >= 0.0);
        let wrong = || Problem::bad_request(format!("{name} must be a number from 0")).on_field(name);
        number.map(Some).ok_or_else(wrong)
    }

    pub fn take_flag(&mut self, name: &str) -> Result<bool, Problem> {
        match self.take(name)?.as_deref() {
            None | Some("false" | "0") => Ok(false),
            Some("true" | "1") => Ok(true),
            Some(_) => Err(Problem::bad_request(format!("{name} must be true or false")).on_field(name)),
        }
    }

    pub fn limit(&mut self) -> Result<usize, Problem> {
        match self.take("limit")? {
            Some(text) => limit(text.parse().ok()),
            None => Ok(LIMIT_DEFAULT),
        }
    }

    /// The key after which the page begins; empty for the first.
    pub fn cursor(&mut self, form: cursor::Form) -> Result<String, Problem> {
        match self.take("cursor")? {
            Some(text) => cursor::read(&text, &self.life, form),
            None => Ok(String::new()),
        }
    }

    /// Nothing else may have been asked.
    pub fn end(self) -> Result<(), Problem> {
        match self.pairs.into_iter().next() {
            None => Ok(()),
            Some((name, _)) => Err(Problem::bad_request(format!("{name} is not known here")).on_field(name)),
        }
    }

    /// What is left.
    pub fn rest(self) -> Vec<(String, String)> {
        self.pairs
    }
}

/// Parts of the path, as [`Path`] gives them, refused as every other mistake is.
pub struct At<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned + Send> FromRequestParts<S> for At<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        match Path::<T>::from_request_parts(parts, state).await {
            Ok(Path(found)) => Ok(Self(found)),
            Err(_) => Err(Problem::bad_request("the address is not well formed")),
        }
    }
}
