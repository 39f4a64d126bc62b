//! Secrets that systemd hands over.
//!
//! `LoadCredential=storesync:FOLDER` puts each file of the folder as `storesync_NAME` into a directory that only
//! this process may read, and names it in `CREDENTIALS_DIRECTORY`. A secret that the configuration names by a file
//! name alone is looked for there first; one named by a path is that path.

use std::path::{Component, Path, PathBuf};

/// What `LoadCredential=` calls the folder.
const FOLDER: &str = "storesync_";

/// The directory that systemd made for this process.
pub fn directory() -> Option<PathBuf> {
    std::env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from)
}

/// Where the secret is: in `directory` where that has it, else where it was said to be.
pub fn resolve(path: &Path, directory: Option<&Path>) -> PathBuf {
    let mut parts = path.components();
    let (Some(Component::Normal(name)), None, Some(directory)) = (parts.next(), parts.next(), directory)
    else {
        return path.to_owned();
    };
    let mut of_folder = std::ffi::OsString::from(FOLDER);
    of_folder.push(name);
    let places = [directory.join(of_folder), directory.join(name)];
    places
        .into_iter()
        .find(|place| place.exists())
        .unwrap_or_else(|| path.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_alone_is_looked_for_among_the_credentials() {
        let dir = tempfile::tempdir().unwrap();
        // A file of that name beside the process is not the one that was handed over.
        let besides = "Cargo.toml";
        assert!(Path::new(besides).exists());
        for name in ["storesync_jwt.pem", "jwt.pem", "client_secret", besides] {
            std::fs::write(dir.path().join(name), name).unwrap();
        }
        let cases = [
            ("jwt.pem", Some("storesync_jwt.pem")),
            ("client_secret", Some("client_secret")),
            (besides, Some(besides)),
            ("password", None),
            ("/etc/jwt.pem", None),
            ("keys/jwt.pem", None),
            ("../jwt.pem", None),
        ];
        for (named, expected) in cases {
            let expected = expected.map_or(PathBuf::from(named), |name| dir.path().join(name));
            assert_eq!(resolve(Path::new(named), Some(dir.path())), expected, "{named}");
        }
        assert_eq!(resolve(Path::new("jwt.pem"), None), PathBuf::from("jwt.pem"));
    }
}
