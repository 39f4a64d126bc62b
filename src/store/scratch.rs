//! A folder for what is thrown away or not yet whole: it holds values of persons, and lies where they lie anyway.
//!
//! It is closed to other users and removed when its maker is done. What a killed process left is removed by the next
//! that makes one there, and by the daemon when it starts.

use std::fs::{File, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

const PREFIX: &str = ".storesync-scratch-";

/// As versions before named theirs.
const PREFIX_BEFORE: &str = ".storesync-replay-";

/// Removed when it is dropped.
pub struct Scratch {
    dir: tempfile::TempDir,
    /// Held as long as it is in use.
    _lock: File,
}

impl Scratch {
    /// Makes one, once those that nobody uses are gone.
    pub fn in_dir(parent: &Path) -> io::Result<Self> {
        sweep(parent)?;
        let closed = Permissions::from_mode(0o700);
        let dir = tempfile::Builder::new()
            .prefix(PREFIX)
            .permissions(closed)
            .tempdir_in(parent)?;
        let lock = File::open(dir.path())?;
        lock.lock()?;
        Ok(Self { dir, _lock: lock })
    }

    pub fn path(&self) -> &Path {
        self.dir.path()
    }
}

/// Removes what killed processes left. So goes one that another process has made this very moment, which then fails.
pub fn sweep(parent: &Path) -> io::Result<()> {
    for entry in std::fs::read_dir(parent)?.flatten() {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        let is_ours = name.starts_with(PREFIX) || name.starts_with(PREFIX_BEFORE);
        let is_unused = || File::open(entry.path()).is_ok_and(|dir| dir.try_lock().is_ok());
        if is_ours && is_unused() {
            std::fs::remove_dir_all(entry.path())?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nobody_uses_is_removed_and_nothing_else() {
        let parent = tempfile::tempdir().unwrap();
        let used = Scratch::in_dir(parent.path()).unwrap();
        let left = [PREFIX, PREFIX_BEFORE].map(|prefix| parent.path().join(format!("{prefix}left")));
        let other = parent.path().join("other");
        for dir in left.iter().chain([&other]) {
            std::fs::create_dir(dir).unwrap();
            std::fs::write(dir.join("cache.db"), "values").unwrap();
        }
        let next = Scratch::in_dir(parent.path()).unwrap();
        assert!(left.iter().all(|dir| !dir.exists()));
        assert!(other.exists() && used.path().exists() && next.path() != used.path());
        let mode = std::fs::metadata(next.path()).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
        let path = next.path().to_owned();
        drop(next);
        assert!(!path.exists());
    }
}
