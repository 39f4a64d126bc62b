//! A socket in the file system. It takes the place of one on which nobody listens any more, never of one that another
//! process listens on, and only the process that made it removes it.

use std::fs::Permissions;
use std::io;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::net::{UnixListener, UnixStream};
use tokio::time::timeout;

/// For the user and the group of the daemon.
const MODE: u32 = 0o660;

/// How long another process may take to accept a connection, where one listens.
const ANSWER_MAX: Duration = Duration::from_secs(1);

/// A socket that is bound to a path; the path is removed with it.
pub(super) struct Bound {
    pub socket: std::os::unix::net::UnixListener,
    pub path: PathBuf,
    file: (u64, u64),
}

impl Bound {
    pub async fn bind(path: &Path) -> io::Result<Self> {
        if std::fs::symlink_metadata(path).is_ok_and(|found| found.file_type().is_socket()) {
            if is_listened_on(path).await {
                return Err(io::Error::new(
                    io::ErrorKind::AddrInUse,
                    "another process listens on this socket",
                ));
            }
            std::fs::remove_file(path)?;
        }
        let socket = UnixListener::bind(path)?.into_std()?;
        // Whatever the mask of new files is here.
        std::fs::set_permissions(path, Permissions::from_mode(MODE))?;
        Ok(Self {
            socket,
            file: identity(path)?,
            path: path.to_owned(),
        })
    }
}

impl Drop for Bound {
    /// Whoever comes now is refused at once, and not kept waiting for a process that ends.
    fn drop(&mut self) {
        let is_ours = identity(&self.path).is_ok_and(|found| found == self.file);
        if is_ours && let Err(error) = std::fs::remove_file(&self.path) {
            tracing::warn!("the socket {} cannot be removed ({error})", self.path.display());
        }
    }
}

/// Which file a path is.
fn identity(path: &Path) -> io::Result<(u64, u64)> {
    let found = std::fs::symlink_metadata(path)?;
    Ok((found.dev(), found.ino()))
}

/// Whether somebody accepts connections. Only a refusal says that nobody does.
async fn is_listened_on(path: &Path) -> bool {
    match timeout(ANSWER_MAX, UnixStream::connect(path)).await {
        Ok(Err(error)) => error.kind() != io::ErrorKind::ConnectionRefused,
        Ok(Ok(_)) | Err(_) => true,
    }
}
