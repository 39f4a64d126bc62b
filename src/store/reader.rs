//! Read-only access to the cache, on a connection of each thread's own.

use std::cell::RefCell;
use std::path::PathBuf;
use std::sync::Arc;

use rusqlite::{Connection, OpenFlags};

thread_local! {
    static CONNECTIONS: RefCell<Vec<(PathBuf, Connection)>> = const { RefCell::new(Vec::new()) };
}

/// Reads `cache.db`; cheap to clone.
#[derive(Clone, Debug)]
pub struct Reader {
    path: Arc<PathBuf>,
}

impl Reader {
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self {
            path: Arc::new(dir.into().join("cache.db")),
        }
    }

    pub fn with<T>(&self, job: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> anyhow::Result<T> {
        CONNECTIONS.with_borrow_mut(|connections| {
            let known = connections.iter().position(|(path, _)| *path == *self.path);
            let index = match known {
                Some(index) => index,
                None => {
                    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
                    let connection = Connection::open_with_flags(&*self.path, flags)?;
                    connection.set_prepared_statement_cache_capacity(256);
                    connections.push((self.path.to_path_buf(), connection));
                    connections.len() - 1
                }
            };
            Ok(job(&connections[index].1)?)
        })
    }
}
