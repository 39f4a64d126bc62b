//! What storesync keeps on disk: three SQLite databases in one directory, and all the SQL there is.
//!
//! - `cache.db`: mirrored rows, change feed, cursors, repairs; rebuilt from the org if lost.
//! - `journal.db`: raw events and the schemas they were written by.
//! - `outbox.db`: accepted orders and every attempt to send them, and the audit of what operators do; the only file that
//!   must not be lost.
//!
//! Three files, so that a bulk load never makes an order wait for a writer lock and each has its own
//! permissions. Each has one writer connection, owned by one stage; readers open their own and never block.

pub mod admin_token;
pub mod allowance;
pub mod backup;
pub mod cache;
pub mod checkpoint;
pub mod damage;
pub mod database;
pub mod files;
pub mod holders;
pub mod journal;
pub mod note;
pub mod outbox;
pub mod pairing;
mod plain;
pub mod polls;
pub mod priority;
pub mod reader;
pub mod scratch;
pub mod scrub;
pub mod standing;
pub mod storefront;
pub mod subject;
pub mod volume;
