//! What the files hold, looked through for a person: every table as it really is, and the bytes of every page.
//!
//! [`classes`] says of each column what it may hold, and whether that goes with the person. [`rows`] reads whole tables
//! some rows at a time, so that the memory is bounded and no read keeps a write-ahead log from being begun anew for
//! long. [`bytes`] goes through the bytes of the files with no database open: rows, what lies between them and in free
//! pages, and what the logs still have of versions before. [`folder`] says what lies in a state directory or a backup.
//!
//! Nothing here writes. Who is looked for, and what is made of what is found, is for whoever asks.

pub mod bytes;
pub mod classes;
pub mod folder;
pub mod rows;
