//! What only the running daemon knows of what stands in the way, for `storesync status`, which is another process.
//!
//! A small file of its own: it changes when the disk of a database may be full, and is worth nothing without the daemon.

use std::io::Write as _;
use std::path::Path;

use crate::model::trouble::Hindrances;

const FILE_NAME: &str = "hindrances.json";

/// Replaces what was told before.
pub fn write(dir: &Path, hindrances: &Hindrances) -> std::io::Result<()> {
    let mut file = tempfile::Builder::new().prefix(".hindrances").tempfile_in(dir)?;
    file.write_all(&serde_json::to_vec(hindrances)?)?;
    file.persist(dir.join(FILE_NAME))
        .map(drop)
        .map_err(|error| error.error)
}

/// What was told last; `None` where nothing was, or nothing that can be read.
pub fn read(dir: &Path) -> Option<Hindrances> {
    let text = std::fs::read(dir.join(FILE_NAME)).ok()?;
    serde_json::from_slice(&text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::clock::Moment;
    use crate::model::trouble::{Failing, Kind, Trouble};

    #[test]
    fn is_read_as_it_was_written() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(read(dir.path()), None);
        let failing = Failing {
            cause: "refused".to_owned(),
            is_lasting: true,
        };
        let told = Hindrances {
            trouble: Some(Trouble {
                kind: Kind::LoginRefused,
                since: Moment { wall: 7, boot: 5 },
                cause: "the login was refused".to_owned(),
            }),
            start: Some("not yet".to_owned()),
            failing: [("Contact".to_owned(), failing)].into(),
            orders: None,
        };
        for hindrances in [Hindrances::default(), told] {
            write(dir.path(), &hindrances).unwrap();
            assert_eq!(read(dir.path()), Some(hindrances));
        }
        std::fs::write(dir.path().join(FILE_NAME), "{").unwrap();
        assert_eq!(read(dir.path()), None);
    }
}
