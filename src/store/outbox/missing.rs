//! An outbox that is gone: its accepted orders must not be lost without a word.
//!
//! A state directory notes that it has an outbox. Where the note is there and the file is not, no other file is made in
//! its place until a person removes the note.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::model::clock::{Millis, format_datetime};
use crate::store::database::OpenError;
use crate::store::note::Note;
use crate::store::outbox::KIND;

/// Removed by whoever wants to go on without the orders.
pub const NOTE: Note<Made> = Note::new("outbox.json");

/// When the directory was first seen to have an outbox.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Made {
    pub at: String,
}

/// Fails where the directory has had an outbox that is gone.
pub fn refuse(dir: &Path) -> Result<(), OpenError> {
    let path = dir.join(KIND.file_name);
    let note = dir.join(NOTE.file_name());
    match note.exists() && !path.exists() {
        true => Err(OpenError::Missing { path, note }),
        false => Ok(()),
    }
}

/// Notes that the directory has one. On a full disk that is left to the next start.
pub(super) fn note(dir: &Path, now: Millis) {
    if dir.join(NOTE.file_name()).exists() {
        return;
    }
    let at = format_datetime(now);
    if let Err(error) = NOTE.write(dir, &Made { at }) {
        tracing::warn!("that there is an outbox cannot be noted for the next start ({error})");
    }
}
