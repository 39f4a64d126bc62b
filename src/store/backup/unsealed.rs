//! In the place of `sealed` where storesync was built without age: nothing is encrypted and nothing opened.

use std::io::{self, BufRead, Read, Write};
use std::path::Path;

/// No key can be used.
#[derive(Debug, thiserror::Error)]
#[error("this storesync was built without age and encrypts no backup: build it with its default features")]
pub struct KeyError;

/// There are none.
pub enum Recipients {}

impl Recipients {
    pub fn parse<'t>(texts: impl IntoIterator<Item = &'t String>) -> Result<Option<Self>, KeyError> {
        match texts.into_iter().next() {
            Some(_) => Err(KeyError),
            None => Ok(None),
        }
    }

    pub fn count(&self) -> usize {
        match *self {}
    }

    pub(super) fn seal(&self, _: &mut impl Read, _: impl Write) -> io::Result<()> {
        match *self {}
    }
}

/// There are none.
pub enum Identities {}

/// Why a file is not opened.
#[derive(Debug)]
#[expect(
    dead_code,
    reason = "nothing is opened here, and whoever opens tells these apart"
)]
pub(super) enum Unopened {
    OtherRecipients,
    Damaged(&'static str),
    Unwritten(io::Error),
}

impl Identities {
    pub fn read(_: &Path) -> Result<Self, KeyError> {
        Err(KeyError)
    }

    pub(super) fn open(&self, _: impl BufRead, _: &mut impl Write) -> Result<(), Unopened> {
        match *self {}
    }
}
