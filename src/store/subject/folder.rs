//! What lies in a state directory or a backup: which files are databases of which kind, and since when they are there.

use std::fs::File;
use std::io::{self, ErrorKind};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use crate::model::clock::Millis;
use crate::store::database::Kind;
use crate::store::{cache, journal, outbox};

/// The kinds of databases, the smallest first.
pub const KINDS: [Kind; 4] = [journal::index::KIND, outbox::KIND, cache::KIND, journal::KIND];

const MAGIC: &[u8; 16] = b"SQLite format 3\0";

/// Where SQLite has the application's id in the first page.
const APPLICATION_ID: std::ops::Range<usize> = 68..72;

/// A regular file of a folder.
#[derive(Clone, Debug)]
pub struct Held {
    pub path: PathBuf,
    pub name: String,
    /// Of a database of ours, whatever its name: copies and files that were set aside too.
    pub kind: Option<Kind>,
    pub is_database: bool,
    pub modified_at: Option<Millis>,
}

impl Held {
    /// Whether it is the write-ahead log of a database that is there: read together with it.
    fn is_log_of(&self, other: &Self) -> bool {
        other.is_database && self.name.strip_suffix("-wal") == Some(&other.name)
    }
}

/// What is in a folder and in those in it.
#[derive(Debug, Default)]
pub struct Beneath {
    /// Files, by their names from the folder on.
    pub files: Vec<Held>,
    /// What was not looked at, and why.
    pub passed: Vec<(String, &'static str)>,
}

/// How deep folders are looked into.
const DEPTH_MAX: usize = 16;

/// The files of a folder and of those in it. No link is followed: what it leads to may be anybody's.
pub fn beneath(dir: &Path) -> io::Result<Beneath> {
    let mut beneath = Beneath::default();
    let mut folders = vec![(dir.to_owned(), String::new(), 0)];
    while let Some((folder, within, depth)) = folders.pop() {
        let found = match files(&folder) {
            // It went meanwhile.
            Err(error) if depth > 0 && error.kind() == ErrorKind::NotFound => continue,
            found => found?,
        };
        beneath.files.extend(found.into_iter().map(|file| Held {
            name: format!("{within}{}", file.name),
            ..file
        }));
        for entry in std::fs::read_dir(&folder)? {
            let entry = entry?;
            let name = format!("{within}{}", entry.file_name().to_string_lossy());
            let sort = entry.file_type()?;
            if sort.is_symlink() {
                beneath.passed.push((name, "it is a link"));
            } else if sort.is_dir() && depth < DEPTH_MAX {
                folders.push((entry.path(), format!("{name}/"), depth + 1));
            } else if sort.is_dir() {
                beneath.passed.push((name, "it lies too deep"));
            }
        }
    }
    beneath.files.sort_by(|one, other| one.name.cmp(&other.name));
    beneath.passed.sort();
    Ok(beneath)
}

/// The files of a folder by name, but for logs, which belong to their databases.
pub fn files(dir: &Path) -> io::Result<Vec<Held>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        // One that went meanwhile is not there.
        if let Some(held) = look(&entry.path())? {
            found.push(held);
        }
    }
    found.sort_by(|one, other| one.name.cmp(&other.name));
    let logs: Vec<String> = found
        .iter()
        .filter(|file| found.iter().any(|other| file.is_log_of(other)))
        .map(|file| file.name.clone())
        .collect();
    found.retain(|file| !logs.contains(&file.name));
    Ok(found)
}

fn look(path: &Path) -> io::Result<Option<Held>> {
    let is_gone = |error: &io::Error| error.kind() == ErrorKind::NotFound;
    let meta = match std::fs::symlink_metadata(path) {
        Err(error) if is_gone(&error) => return Ok(None),
        meta => meta?,
    };
    if !meta.is_file() {
        return Ok(None);
    }
    let mut head = [0; 100];
    let is_database = match File::open(path) {
        Err(error) if is_gone(&error) => return Ok(None),
        file => file?.read_exact_at(&mut head, 0).is_ok() && head.starts_with(MAGIC),
    };
    let id = head[APPLICATION_ID]
        .first_chunk::<4>()
        .map(|id| i32::from_be_bytes(*id));
    let modified = meta.modified().ok();
    let modified = modified.and_then(|at| at.duration_since(std::time::UNIX_EPOCH).ok());
    Ok(Some(Held {
        name: path
            .file_name()
            .map(|name| name.to_string_lossy().into_owned())
            .unwrap_or_default(),
        path: path.to_owned(),
        kind: KINDS
            .into_iter()
            .find(|kind| is_database && id == Some(kind.application_id)),
        is_database,
        modified_at: modified.and_then(|since| Millis::try_from(since.as_millis()).ok()),
    }))
}
