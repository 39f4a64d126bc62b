//! Going through the bytes of a file, and of a database page by page: what is in rows, and what only was.
//!
//! SQLite's own reading shows live rows alone. Here each page is taken apart by the format of the file: the records of
//! its cells, what lies between them, free pages, and the versions of pages that the write-ahead log, or the file behind it,
//! has besides the one that counts. No database is open meanwhile in this process: to close a file gives up the locks
//! that SQLite has on it.
//!
//! Accepted: beside a writer, a page may be read while it is written, or be in the log by then and in the file no more. What
//! that shows wrongly is right again at the next look. The end of a page that holds the end of a long value counts as
//! that value's.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::{self, ErrorKind};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

/// Bytes of a file that is no database read at once, and how many of them are read again with the next: a token may
/// begin in one part and end in the other.
const PART_BYTES: usize = 1 << 20;
const OVERLAP_BYTES: usize = 32 << 10;

const FILE_HEADER_BYTES: usize = 100;
const LOG_HEADER_BYTES: u64 = 32;
const FRAME_HEADER_BYTES: u64 = 24;

/// What a piece of a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// In a row, or the continuation of one.
    Row,
    /// In no row: a free page, or between the rows of a page.
    Free,
    /// In a row of a version of a page that counts no more.
    Before,
    /// In a file that is no database.
    Plain,
}

/// A piece, whole: what is looked for lies in one.
#[derive(Debug)]
pub struct Piece<'b> {
    pub part: Part,
    /// Of a database, from 1.
    pub page: u32,
    pub in_log: bool,
    pub bytes: &'b [u8],
}

/// Visits every byte of a file; of a database with its log, the pages that count first.
pub fn each(path: &Path, is_database: bool, visit: &mut dyn FnMut(&Piece<'_>)) -> io::Result<()> {
    match is_database {
        true => Pages::open(path)?.each(visit),
        false => plain(&File::open(path)?, visit),
    }
}

fn plain(file: &File, visit: &mut dyn FnMut(&Piece<'_>)) -> io::Result<()> {
    let mut buffer = vec![0; PART_BYTES + OVERLAP_BYTES];
    let mut at = 0;
    loop {
        let read = read_up_to(file, &mut buffer, at)?;
        visit(&Piece {
            part: Part::Plain,
            page: 0,
            in_log: false,
            bytes: &buffer[..read],
        });
        if read < buffer.len() {
            return Ok(());
        }
        at += PART_BYTES as u64;
    }
}

fn read_up_to(file: &File, buffer: &mut [u8], at: u64) -> io::Result<usize> {
    let mut done = 0;
    while done < buffer.len() {
        match file.read_at(&mut buffer[done..], at + done as u64) {
            Ok(0) => break,
            Ok(read) => done += read,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(done)
}

/// A database's file and its log.
struct Pages {
    file: File,
    log: Option<File>,
    page_bytes: usize,
    /// Of a page, what cells may use.
    usable: usize,
    pages: u32,
    frames: Vec<u32>,
    /// The frame that has the version of a page that counts.
    newest: HashMap<u32, usize>,
}

impl Pages {
    fn open(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        let mut head = [0; FILE_HEADER_BYTES];
        file.read_exact_at(&mut head, 0)?;
        let page_bytes = match u16::from_be_bytes([head[16], head[17]]) {
            1 => 65_536,
            bytes => usize::from(bytes).max(512),
        };
        let mut log = path.as_os_str().to_owned();
        log.push("-wal");
        let log = match File::open(PathBuf::from(log)) {
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            log => Some(log?),
        };
        let pages = file.metadata()?.len() / page_bytes as u64;
        let mut pages = Self {
            usable: page_bytes - usize::from(head[20]),
            pages: u32::try_from(pages).unwrap_or(u32::MAX),
            file,
            log,
            page_bytes,
            frames: Vec::new(),
            newest: HashMap::new(),
        };
        pages.read_frames()?;
        Ok(pages)
    }

    fn frame_at(&self, frame: usize) -> u64 {
        LOG_HEADER_BYTES + frame as u64 * (FRAME_HEADER_BYTES + self.page_bytes as u64)
    }

    /// Learns which page each frame of the log has, and up to which frame they count.
    fn read_frames(&mut self) -> io::Result<()> {
        let mut head = [0; LOG_HEADER_BYTES as usize];
        let Some(log) = &self.log else { return Ok(()) };
        if read_up_to(log, &mut head, 0)? < head.len() {
            return Ok(());
        }
        let (mut counts, mut uncommitted) = (true, Vec::new());
        loop {
            let mut frame = [0; FRAME_HEADER_BYTES as usize];
            let at = self.frame_at(self.frames.len());
            if read_up_to(log, &mut frame, at)? < frame.len() {
                return Ok(());
            }
            let page = number(&frame, 0);
            // The log's salt; another is of what the log held before it was begun anew.
            counts &= frame[8..16] == head[16..24];
            if counts {
                uncommitted.push((page, self.frames.len()));
                let is_commit = number(&frame, 4) != 0;
                if is_commit {
                    self.newest.extend(uncommitted.drain(..));
                }
            }
            self.frames.push(page);
        }
    }

    fn of_file(&self, page: u32, into: &mut [u8]) -> io::Result<bool> {
        let at = u64::from(page - 1) * self.page_bytes as u64;
        Ok(read_up_to(&self.file, into, at)? == self.page_bytes)
    }

    fn of_frame(&self, frame: usize, into: &mut [u8]) -> io::Result<bool> {
        let Some(log) = &self.log else { return Ok(false) };
        let at = self.frame_at(frame) + FRAME_HEADER_BYTES;
        Ok(read_up_to(log, into, at)? == self.page_bytes)
    }

    /// The version of a page that counts.
    fn current(&self, page: u32, into: &mut [u8]) -> io::Result<bool> {
        match self.newest.get(&page) {
            Some(frame) => self.of_frame(*frame, into),
            None if page <= self.pages => self.of_file(page, into),
            None => Ok(false),
        }
    }

    fn each(&self, visit: &mut dyn FnMut(&Piece<'_>)) -> io::Result<()> {
        let free = self.free_pages()?;
        let last = self.newest.keys().copied().max().unwrap_or(0).max(self.pages);
        let mut bytes = vec![0; self.page_bytes];
        for page in 1..=last {
            if self.current(page, &mut bytes)? {
                let part = if free.contains(&page) {
                    Part::Free
                } else {
                    Part::Row
                };
                self.take_apart(&bytes, (part, page, self.newest.contains_key(&page)), visit);
            }
        }
        let mut newest = vec![0; self.page_bytes];
        for (page, frame) in &self.newest {
            // Mostly the log was moved into the file already.
            let was_moved = self.of_frame(*frame, &mut newest)?;
            if *page <= self.pages && self.of_file(*page, &mut bytes)? && !(was_moved && bytes == newest) {
                self.take_apart(&bytes, (Part::Before, *page, false), visit);
            }
        }
        for (frame, page) in self.frames.iter().enumerate() {
            let counts = self.newest.get(page) == Some(&frame);
            if *page > 0 && !counts && self.of_frame(frame, &mut bytes)? {
                self.take_apart(&bytes, (Part::Before, *page, true), visit);
            }
        }
        Ok(())
    }

    /// The pages that no table uses, by the list that begins in the first.
    fn free_pages(&self) -> io::Result<HashSet<u32>> {
        let mut free = HashSet::new();
        let mut bytes = vec![0; self.page_bytes];
        if !self.current(1, &mut bytes)? {
            return Ok(free);
        }
        let mut trunk = number(&bytes, 32);
        while trunk > 0 && free.insert(trunk) && self.current(trunk, &mut bytes)? {
            trunk = number(&bytes, 0);
            let count = (number(&bytes, 4) as usize).min(self.usable / 4 - 2);
            free.extend((0..count).map(|at| number(&bytes, 8 + at * 4)));
        }
        Ok(free)
    }

    /// The records of a page, each whole, and what lies between them.
    fn take_apart(
        &self,
        bytes: &[u8],
        (part, page, in_log): (Part, u32, bool),
        visit: &mut dyn FnMut(&Piece<'_>),
    ) {
        let mut told = |part, bytes: &[u8]| {
            visit(&Piece {
                part,
                page,
                in_log,
                bytes,
            });
        };
        let start = if page == 1 { FILE_HEADER_BYTES } else { 0 };
        let records = match part {
            Part::Free => None,
            _ => self.records(bytes, start),
        };
        let Some(mut records) = records else {
            return told(part, bytes);
        };
        records.sort_unstable_by_key(|record| record.start);
        let mut at = start;
        for record in records {
            if record.start > at {
                told(Part::Free, &bytes[at..record.start]);
            }
            told(part, &bytes[record.clone()]);
            at = at.max(record.end);
        }
        told(Part::Free, &bytes[at..]);
    }

    /// Where a page of a tree has its records; `None` for another page.
    fn records(&self, bytes: &[u8], start: usize) -> Option<Vec<std::ops::Range<usize>>> {
        let kind = bytes[start];
        let (is_leaf, is_table) = match kind {
            2 => (false, false),
            5 => (false, true),
            10 => (true, false),
            13 => (true, true),
            _ => return None,
        };
        let cells = usize::from(u16::from_be_bytes([bytes[start + 3], bytes[start + 4]]));
        let pointers = start + if is_leaf { 8 } else { 12 };
        let mut records = Vec::new();
        for cell in 0..cells {
            let at = pointers + cell * 2;
            let mut at = usize::from(u16::from_be_bytes([*bytes.get(at)?, *bytes.get(at + 1)?]));
            at += if is_leaf { 0 } else { 4 };
            if !is_leaf && is_table {
                continue;
            }
            let length = varint(bytes, &mut at)?;
            if is_table {
                varint(bytes, &mut at)?;
            }
            let end = at + self.local(usize::try_from(length).ok()?, is_table);
            // What is no cell is no page of a tree either.
            if end > bytes.len() {
                return None;
            }
            records.push(at..end);
        }
        Some(records)
    }

    /// How much of a record of so many bytes lies in its cell; the rest is in pages of its own.
    fn local(&self, length: usize, is_table: bool) -> usize {
        let most = match is_table {
            true => self.usable - 35,
            false => (self.usable - 12) * 64 / 255 - 23,
        };
        if length <= most {
            return length;
        }
        let least = (self.usable - 12) * 32 / 255 - 23;
        let local = least + (length - least) % (self.usable - 4);
        if local <= most { local } else { least }
    }
}

fn number(bytes: &[u8], at: usize) -> u32 {
    let four = bytes.get(at..).and_then(|bytes| bytes.first_chunk::<4>());
    four.map_or(0, |four| u32::from_be_bytes(*four))
}

fn varint(bytes: &[u8], at: &mut usize) -> Option<u64> {
    let mut value = 0;
    for count in 0..9 {
        let byte = *bytes.get(*at)?;
        *at += 1;
        if count == 8 {
            return Some(value << 8 | u64::from(byte));
        }
        value = value << 7 | u64::from(byte & 0x7f);
        if byte < 0x80 {
            break;
        }
    }
    Some(value)
}

#[cfg(test)]
mod tests {
    use rusqlite::Connection;
    use tempfile::TempDir;

    use super::*;

    /// Where a text is, once for each piece that has it.
    fn places(dir: &TempDir, text: &str) -> Vec<Part> {
        let mut found = Vec::new();
        each(&dir.path().join("a.db"), true, &mut |piece| {
            let has = piece
                .bytes
                .windows(text.len())
                .any(|part| part == text.as_bytes());
            found.extend(has.then_some(piece.part));
        })
        .unwrap();
        found.sort_unstable();
        found.dedup();
        found
    }

    fn database(secure_delete: bool) -> (TempDir, Connection) {
        let dir = tempfile::tempdir().unwrap();
        let connection = Connection::open(dir.path().join("a.db")).unwrap();
        connection.pragma_update(None, "journal_mode", "wal").unwrap();
        connection.pragma_update(None, "synchronous", "off").unwrap();
        connection
            .pragma_update(None, "secure_delete", secure_delete)
            .unwrap();
        connection
            .execute_batch("create table t (a text); create index i on t (a)")
            .unwrap();
        (dir, connection)
    }

    fn fill(connection: &Connection) {
        for number in 0..400 {
            let text = format!("row {number} {}", "x".repeat(number % 300));
            connection.execute("insert into t values (?1)", [text]).unwrap();
        }
        connection
            .execute_batch(
                "insert into t values ('canary'); insert into t values ('canary' || hex(zeroblob(5000)))",
            )
            .unwrap();
    }

    #[test]
    fn what_is_in_a_row_is_told_from_what_was() {
        for secure_delete in [false, true] {
            let (dir, connection) = database(secure_delete);
            fill(&connection);
            connection
                .execute_batch("pragma wal_checkpoint(truncate)")
                .unwrap();
            assert_eq!(places(&dir, "canary"), [Part::Row]);
            connection
                .execute_batch("delete from t where a like 'canary%'")
                .unwrap();
            let log = places(&dir, "canary");
            assert!(
                log.contains(&Part::Before) && !log.contains(&Part::Row),
                "{log:?}"
            );
            connection
                .execute_batch("pragma wal_checkpoint(truncate)")
                .unwrap();
            let expected: &[Part] = if secure_delete { &[] } else { &[Part::Free] };
            assert_eq!(places(&dir, "canary"), expected);
        }
    }

    #[test]
    fn free_pages_and_logs_that_were_begun_anew_are_looked_through() {
        let (dir, connection) = database(false);
        fill(&connection);
        connection
            .execute_batch("pragma wal_checkpoint(truncate); drop table t; pragma wal_checkpoint(truncate)")
            .unwrap();
        assert_eq!(places(&dir, "canary"), [Part::Free]);
        let (dir, connection) = database(true);
        fill(&connection);
        connection
            .execute_batch("delete from t; pragma wal_checkpoint(restart); create table u (a)")
            .unwrap();
        assert!(places(&dir, "canary").contains(&Part::Before));
    }
}
