//! What the org's objects looked like when they were last seen, as text.
//!
//! A file of its own: it can be lost, and then the org is asked first.

use std::io::Write as _;
use std::path::Path;

const FILE_NAME: &str = "objects.json";

/// What was kept; `None` where nothing was, or it cannot be read.
pub fn read(dir: &Path) -> Option<String> {
    std::fs::read_to_string(dir.join(FILE_NAME)).ok()
}

/// Replaces what was kept before.
pub fn write(dir: &Path, text: &str) -> std::io::Result<()> {
    let mut file = tempfile::Builder::new().prefix(".objects").tempfile_in(dir)?;
    file.write_all(text.as_bytes())?;
    file.persist(dir.join(FILE_NAME))
        .map(drop)
        .map_err(|error| error.error)
}
