//! The org's secrets, kept beside it, so that a client that was configured once can log in after a restart.

use std::fs;
use std::io::Write as _;
use std::path::Path;

use anyhow::{Context, Result};

use super::oauth::Credentials;

/// The credentials of the org of `dir`, made where there are none yet.
pub fn credentials(dir: &Path) -> Result<Credentials> {
    let path = dir.join("org").join("credentials.json");
    if path.exists() {
        let text = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
        return serde_json::from_str(&text).with_context(|| format!("read {}", path.display()));
    }
    let credentials = Credentials::generate()?;
    let draft = path.with_extension("new");
    let write = || -> Result<()> {
        let mut options = fs::OpenOptions::new();
        options.write(true).create(true).truncate(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        options
            .open(&draft)?
            .write_all(&serde_json::to_vec(&credentials)?)?;
        Ok(fs::rename(&draft, &path)?)
    };
    write().with_context(|| format!("write {}", path.display()))?;
    Ok(credentials)
}
