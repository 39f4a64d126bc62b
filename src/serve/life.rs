//! The life of the cache, which every position and every tag names.
//!
//! Revisions are counted by the cache. One that was made anew, or put back from a copy, counts again from where it
//! stands: a position from before would skip changes, and a tag would stand for other content. So both name the life that
//! they are of, and those of another are told apart.

use std::fmt::{self, Display};
use std::ops::Deref;
use std::sync::{Arc, OnceLock};

/// The life of the cache that is served; cheap to clone.
#[derive(Clone, Debug)]
pub struct Life(Arc<str>);

/// The life, once it has been read: the file is the same as long as the process runs.
#[derive(Debug, Default)]
pub struct Known(OnceLock<Life>);

impl Known {
    /// Reads it, where that was not done yet.
    pub fn get<E>(&self, read: impl FnOnce() -> Result<String, E>) -> Result<Life, E> {
        match self.0.get() {
            Some(life) => Ok(life.clone()),
            None => {
                let life = Life(read()?.into());
                Ok(self.0.get_or_init(|| life).clone())
            }
        }
    }
}

impl Deref for Life {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl Display for Life {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// A life and what stands behind it: `LIFE.REST`.
pub fn split(text: &str) -> Option<(&str, &str)> {
    let (life, rest) = text.split_once('.')?;
    let is_life = life.len() == 12 && life.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    is_life.then_some((life, rest))
}
