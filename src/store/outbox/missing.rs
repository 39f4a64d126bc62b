//! An outbox that is gone, or in whose place another lies: its accepted orders must not be lost without a word.
//!
//! A state directory notes which outbox it has. Where the note is there and that file is not, no other is made or used in
//! its place until a person removes the note. An older copy of the same file is not told from it: restoring a backup is
//! no mistake.

use std::path::Path;

use rusqlite::{Connection, OptionalExtension};
use serde::{Deserialize, Serialize};

use crate::model::clock::{Millis, format_datetime};
use crate::store::database::{self, OpenError};
use crate::store::note::Note;
use crate::store::outbox::KIND;
use crate::store::pairing;

/// Removed by whoever wants to go on without the orders.
pub const NOTE: Note<Made> = Note::new("outbox.json");

/// When the directory was first seen to have an outbox, and which.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Made {
    pub at: String,
    /// Notes of versions before have none.
    #[serde(default)]
    pub id: Option<String>,
}

/// Fails where the directory has had an outbox that is gone, or another than is there, and where an older copy lies beside
/// the log of the file that it replaced.
pub fn refuse(dir: &Path) -> Result<(), OpenError> {
    let path = dir.join(KIND.file_name);
    let note = dir.join(NOTE.file_name());
    if !path.exists() {
        return match note.exists() {
            true => Err(OpenError::Missing { path, note }),
            false => Ok(()),
        };
    }
    if pairing::has_log_of_another(dir, KIND) {
        let log = dir.join(format!("{}-wal", KIND.file_name));
        return Err(OpenError::LogOfAnother { path, log });
    }
    let Some(noted) = NOTE.read(dir).and_then(|made| made.id) else {
        return Ok(());
    };
    // What else may be wrong with the file is told by who opens it.
    let found = database::open_reader(dir, KIND)
        .and_then(|connection| identity(&connection).map_err(|source| OpenError::of(&path, source)));
    let is_empty = std::fs::metadata(&path).is_ok_and(|file| file.len() == 0);
    match found {
        Ok(Some(found)) if found != noted => Err(OpenError::Another { path, note }),
        Ok(None) if is_empty => Err(OpenError::Another { path, note }),
        Ok(_) | Err(_) => Ok(()),
    }
}

/// Which file it is; none of an empty file, and of one that a version before has written: that is brought up to date.
fn identity(connection: &Connection) -> rusqlite::Result<Option<String>> {
    let has_any = connection
        .prepare("select 1 from sqlite_schema where name = 'identity'")?
        .exists([])?;
    if !has_any {
        return Ok(None);
    }
    connection
        .query_row("select id from identity", [], |row| row.get(0))
        .optional()
}

/// Notes which one the directory has. On a full disk that is left to the next start.
pub(super) fn note(dir: &Path, connection: &Connection, now: Millis) -> Result<(), OpenError> {
    let id = identity(connection).map_err(|source| OpenError::of(&dir.join(KIND.file_name), source))?;
    let noted = NOTE.read(dir);
    if noted.as_ref().is_some_and(|made| made.id == id) {
        return Ok(());
    }
    let at = noted.map_or_else(|| format_datetime(now), |made| made.at);
    if let Err(error) = NOTE.write(dir, &Made { at, id }) {
        tracing::warn!("that there is an outbox cannot be noted for the next start ({error})");
    }
    Ok(())
}
