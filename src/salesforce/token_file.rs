//! The file of a refresh token that the org may replace with each login.
//!
//! Several processes may log in with it: a daemon, and `check` or `verify` beside it. Each takes the newest token from the
//! file and writes the one that replaces it under one lock, since a token that was replaced is dead, and an org may
//! revoke them all when it is used. The lock is on the file's directory, so nothing is left beside it.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::salesforce::Error;
use crate::salesforce::auth::read_secret;

/// Longer than a login takes.
const WAIT_MAX: Duration = Duration::from_secs(40);
const LOOK: Duration = Duration::from_millis(50);

pub(super) struct TokenFile {
    path: PathBuf,
    /// As read or written last.
    seen: Option<String>,
}

/// No other process logs in with the token.
pub(super) struct Held {
    _directory: File,
}

impl TokenFile {
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path, seen: None }
    }

    /// Waits for the lock and takes the token that another process may have written.
    pub(super) async fn take(&mut self, token: &mut String) -> Result<Held, Error> {
        let held = self.lock().await?;
        let read = read_secret(&self.path)?;
        // What could not be written is newer than what is read.
        if self.seen.as_ref() != Some(&read) {
            token.clone_from(&read);
            self.seen = Some(read);
        }
        Ok(held)
    }

    async fn lock(&self) -> Result<Held, Error> {
        let unusable = |reason: String| {
            let path = self.path.display();
            Error::Secret(format!(
                "refresh_token_file {path} cannot be locked ({reason}): put it in a directory that storesync may read"
            ))
        };
        let directory = File::open(directory(&self.path)).map_err(|error| unusable(error.to_string()))?;
        let mut waited = Duration::ZERO;
        loop {
            match directory.try_lock() {
                Ok(()) => {
                    return Ok(Held {
                        _directory: directory,
                    });
                }
                Err(TryLockError::WouldBlock) if waited < WAIT_MAX => {
                    tokio::time::sleep(LOOK).await;
                    waited += LOOK;
                }
                Err(TryLockError::WouldBlock) => return Err(unusable("another process holds it".to_owned())),
                Err(TryLockError::Error(error)) => return Err(unusable(error.to_string())),
            }
        }
    }

    /// The token that replaces the one in the file. Where it cannot be written it is used all the same: no other is good.
    pub(super) fn write(&mut self, token: &str) {
        match replace(&self.path, token) {
            Ok(()) => self.seen = Some(token.to_owned()),
            Err(error) => tracing::error!(
                "the org gave a new refresh token and {} cannot be written ({error}): make it writable before storesync is started again, or turn rotation off in the connected app",
                self.path.display()
            ),
        }
    }
}

fn directory(path: &Path) -> &Path {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    parent.unwrap_or(Path::new("."))
}

/// For its owner alone, and whole on the disk before it takes the old one's place.
fn replace(path: &Path, token: &str) -> std::io::Result<()> {
    let beside = path.with_extension("new");
    match std::fs::remove_file(&beside) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut options = OpenOptions::new();
    let mut file = options.write(true).create_new(true).mode(0o600).open(&beside)?;
    file.write_all(token.as_bytes())?;
    file.sync_all()?;
    std::fs::rename(&beside, path)?;
    File::open(directory(path))?.sync_all()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[tokio::test]
    async fn a_token_that_replaces_another_is_its_owner_s_alone_and_whoever_comes_next_takes_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("refresh_token");
        std::fs::write(&path, "first\n").unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
        let (mut one, mut other) = (TokenFile::new(path.clone()), TokenFile::new(path.clone()));
        let (mut ours, mut theirs) = ("first".to_owned(), "first".to_owned());
        for number in 0..3 {
            let held = one.take(&mut ours).await.unwrap();
            assert!(
                File::open(dir.path()).unwrap().try_lock().is_err(),
                "one at a time"
            );
            ours = format!("of one {number}");
            one.write(&ours);
            drop(held);
            let _held = other.take(&mut theirs).await.unwrap();
            assert_eq!(theirs, ours);
            theirs = format!("of the other {number}");
            other.write(&theirs);
        }
        drop(one.take(&mut ours).await.unwrap());
        assert_eq!(ours, "of the other 2");
        let mode = std::fs::metadata(&path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o600);
        let files = std::fs::read_dir(dir.path()).unwrap();
        assert_eq!(files.count(), 1, "nothing is left beside it");
    }

    #[tokio::test]
    async fn a_token_that_cannot_be_written_is_used_all_the_same() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("refresh_token");
        std::fs::write(&path, "first").unwrap();
        // What is to be written beside it is in the way of a directory.
        std::fs::create_dir(path.with_extension("new")).unwrap();
        let (mut file, mut token) = (TokenFile::new(path.clone()), "first".to_owned());
        drop(file.take(&mut token).await.unwrap());
        token = "second".to_owned();
        file.write(&token);
        drop(file.take(&mut token).await.unwrap());
        assert_eq!(token, "second");
    }
}
