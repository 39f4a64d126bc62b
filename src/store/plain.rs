//! Small files of the state directory, under whose names anything may lie.

use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::{FileTypeExt as _, OpenOptionsExt as _};
use std::path::Path;

use rustix::fs::OFlags;

/// Opens a file to read it; anything else is an error, and no link is followed. Of a pipe, which nobody may ever write
/// to, a plain open would not end.
pub(super) fn open(path: &Path) -> io::Result<File> {
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let mut options = File::options();
    options.read(true).custom_flags(flags.bits().cast_signed());
    let file = options.open(path).map_err(|error| match error.raw_os_error() {
        Some(code) if code == rustix::io::Errno::LOOP.raw_os_error() => io::Error::other("it is a link"),
        _ => error,
    })?;
    match file.metadata()?.is_file() {
        true => Ok(file),
        false => Err(io::Error::other("it is no file")),
    }
}

/// What lies there in the place of a file; `None` of a file.
pub(super) fn sort(meta: &Metadata) -> Option<&'static str> {
    let sort = meta.file_type();
    match () {
        () if sort.is_file() => None,
        () if sort.is_fifo() => Some("a pipe"),
        () if sort.is_dir() => Some("a folder"),
        () if sort.is_socket() => Some("a socket"),
        () => Some("a device"),
    }
}
