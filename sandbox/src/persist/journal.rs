//! The file that frames are appended to.
//!
//! A frame stands behind its length and a hash of its bytes: four and eight bytes. The first one that is cut short or
//! does not fit its hash is where the log ends.

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io::{BufReader, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::{Context, Result, anyhow, bail};
use tokio_util::sync::CancellationToken;

use super::bytes::hash;
use super::frame::{Frame, Note, Rows};
use crate::bus::Event;
use crate::schema::change::FieldChange;
use crate::value::RecordId;

/// A log is not written anew below this size.
const REWRITE_BYTES_MIN: u64 = 256 << 20;
/// Nor before it is so many times as large as it was after the last time.
const REWRITE_GROWTH: u64 = 4;
/// Larger frames are no frames.
const FRAME_BYTES_MAX: usize = 1 << 30;

/// The log, open for appending.
pub struct Journal {
    path: PathBuf,
    inside: Mutex<Inside>,
    /// Cancelled when the log could not be written.
    broken: CancellationToken,
}

struct Inside {
    file: File,
    bytes: u64,
    /// The size after the log was last written anew.
    least_bytes: u64,
    /// What a log written anew must hold beside the settings.
    touched: BTreeSet<(usize, RecordId)>,
    schema: Vec<FieldChange>,
}

impl Journal {
    /// Opens the log and gives its frames. The file is locked until the process ends.
    pub fn open(path: &Path) -> Result<(Self, Frames)> {
        let opened = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path);
        let file = opened.with_context(|| format!("open {}", path.display()))?;
        if file.try_lock().is_err() {
            bail!(
                "another sandbox runs the org in {}: stop it, or give another folder with --data",
                path.display()
            );
        }
        let reading = File::open(path).with_context(|| format!("read {}", path.display()))?;
        let (end, frames) = Frames::new(reading)?;
        file.set_len(end)
            .with_context(|| format!("cut off the unfinished end of {}", path.display()))?;
        let mut file = file;
        file.seek(SeekFrom::End(0))
            .with_context(|| format!("read {}", path.display()))?;
        let journal = Self {
            path: path.to_owned(),
            inside: Mutex::new(Inside {
                file,
                bytes: end,
                least_bytes: 0,
                touched: BTreeSet::new(),
                schema: Vec::new(),
            }),
            broken: CancellationToken::new(),
        };
        Ok((journal, frames))
    }

    fn inside(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn broken(&self) -> &CancellationToken {
        &self.broken
    }

    /// Whether there is nothing in the log yet.
    pub fn is_empty(&self) -> bool {
        self.inside().bytes == 0
    }

    /// Notes what a frame read from the log must be kept for.
    pub fn note(&self, frame: &Frame) {
        let mut inside = self.inside();
        match frame {
            Frame::Commit { rows, .. } => {
                let touched = rows.iter().map(|row| (row.object, row.id));
                inside.touched.extend(touched);
            }
            Frame::Note(Note::Schema(change)) => inside.schema.push(change.clone()),
            _ => {}
        }
    }

    pub fn append(&self, note: &Note) {
        if let Note::Schema(change) = note {
            self.inside().schema.push(change.clone());
        }
        match note.encode() {
            Ok(bytes) => self.write(&bytes),
            Err(error) => self.fail(&error),
        }
    }

    /// Writes one commit.
    pub fn commit<'e>(&self, rows: Option<Rows>, events: impl ExactSizeIterator<Item = &'e Arc<Event>>) {
        let rows = rows.unwrap_or_else(|| Rows::new(0));
        if rows.is_empty() && events.len() == 0 {
            return;
        }
        self.inside().touched.extend(rows.touched.iter().copied());
        self.write(&rows.finish(events));
    }

    fn write(&self, body: &[u8]) {
        let mut inside = self.inside();
        match write_frame(&mut inside.file, body) {
            Ok(written) => inside.bytes += written,
            Err(error) => self.fail(&error),
        }
    }

    fn fail(&self, error: &dyn std::error::Error) {
        if !self.broken.is_cancelled() {
            tracing::error!("the org's log {} cannot be written: {error}", self.path.display());
        }
        self.broken.cancel();
    }

    /// Whether the log has grown so much that it is worth writing anew.
    pub fn is_due(&self) -> bool {
        let inside = self.inside();
        inside.bytes > REWRITE_BYTES_MIN.max(inside.least_bytes * REWRITE_GROWTH)
    }

    /// Writes the log anew. `state` is given the schema changes and the rows that a log must hold, and hands over the
    /// frames. The caller holds all locks under which frames are appended.
    pub fn rewrite(&self, state: impl FnOnce(&[FieldChange], &BTreeSet<(usize, RecordId)>, &mut Draft)) {
        let mut inside = self.inside();
        let draft_path = self.path.with_extension("new");
        let work = || -> Result<(File, u64)> {
            let file = File::create(&draft_path)?;
            file.try_lock()
                .map_err(|error| anyhow!("lock {}: {error}", draft_path.display()))?;
            let mut draft = Draft {
                file: std::io::BufWriter::new(file),
                bytes: 0,
                outcome: Ok(()),
            };
            let (schema, touched) = (std::mem::take(&mut inside.schema), &inside.touched);
            state(&schema, touched, &mut draft);
            inside.schema = schema;
            draft.outcome?;
            let file = draft.file.into_inner().context("write the end")?;
            file.sync_all()?;
            fs::rename(&draft_path, &self.path)?;
            Ok((file, draft.bytes))
        };
        match work() {
            Ok((file, bytes)) => {
                (inside.file, inside.bytes, inside.least_bytes) = (file, bytes, bytes);
            }
            Err(error) => {
                // The old log is whole and goes on.
                tracing::warn!(
                    "the org's log {} was not written anew: {error:#}",
                    self.path.display()
                );
                inside.least_bytes = inside.bytes;
            }
        }
    }
}

/// A log being written anew.
pub struct Draft {
    file: std::io::BufWriter<File>,
    bytes: u64,
    outcome: Result<()>,
}

impl Draft {
    pub fn put(&mut self, note: &Note) {
        match note.encode() {
            Ok(bytes) => self.put_bytes(&bytes),
            Err(error) => self.outcome = Err(error.into()),
        }
    }

    pub fn put_bytes(&mut self, body: &[u8]) {
        if self.outcome.is_ok() {
            match write_frame(&mut self.file, body) {
                Ok(written) => self.bytes += written,
                Err(error) => self.outcome = Err(error.into()),
            }
        }
    }
}

fn write_frame(file: &mut impl Write, body: &[u8]) -> std::io::Result<u64> {
    let mut frame = Vec::with_capacity(body.len() + 12);
    frame.extend((body.len() as u32).to_le_bytes());
    frame.extend(hash(body).to_le_bytes());
    frame.extend(body);
    // In one write, so that a process killed in between leaves little to cut off.
    file.write_all(&frame)?;
    Ok(frame.len() as u64)
}

/// The frames of a log, up to its end.
pub struct Frames {
    file: BufReader<File>,
    end: u64,
    at: u64,
}

impl Frames {
    /// Finds the end of what is whole.
    fn new(file: File) -> Result<(u64, Self)> {
        let mut frames = Self {
            file: BufReader::with_capacity(1 << 20, file),
            end: u64::MAX,
            at: 0,
        };
        while frames.body().is_some() {}
        let end = frames.at;
        frames.file.seek(SeekFrom::Start(0)).context("read the log")?;
        (frames.end, frames.at) = (end, 0);
        Ok((end, frames))
    }

    fn body(&mut self) -> Option<Vec<u8>> {
        if self.at >= self.end {
            return None;
        }
        let mut head = [0; 12];
        self.file.read_exact(&mut head).ok()?;
        let (length, expected) = head.split_first_chunk::<4>()?;
        let length = u32::from_le_bytes(*length) as usize;
        if length > FRAME_BYTES_MAX {
            return None;
        }
        let mut body = Vec::with_capacity(length.min(1 << 20));
        let read = self
            .file
            .by_ref()
            .take(length as u64)
            .read_to_end(&mut body)
            .ok()?;
        let whole = read == length && hash(&body).to_le_bytes() == expected;
        whole.then(|| {
            self.at += 12 + length as u64;
            body
        })
    }
}

impl Iterator for Frames {
    type Item = Frame;

    fn next(&mut self) -> Option<Frame> {
        Frame::decode(&self.body()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clocks(path: &Path) -> Vec<i64> {
        let (_, frames) = Journal::open(path).unwrap();
        frames
            .map(|frame| match frame {
                Frame::Note(Note::Clock(millis)) => millis,
                _ => -1,
            })
            .collect()
    }

    #[test]
    fn a_log_ends_where_it_was_cut_short_or_corrupted() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("org.log");
        let (journal, _) = Journal::open(&path).unwrap();
        (1..=3).for_each(|millis| journal.append(&Note::Clock(millis)));
        assert!(Journal::open(&path).is_err(), "one process at a time");
        drop(journal);
        let whole = fs::read(&path).unwrap();
        assert_eq!(clocks(&path), [1, 2, 3]);
        fs::write(&path, &whole[..whole.len() - 1]).unwrap();
        assert_eq!(clocks(&path), [1, 2]);
        assert_eq!(
            fs::read(&path).unwrap().len(),
            whole.len() / 3 * 2,
            "the rest is cut off"
        );
        let mut corrupt = whole.clone();
        corrupt[whole.len() / 3 + 14] ^= 1;
        fs::write(&path, &corrupt).unwrap();
        assert_eq!(clocks(&path), [1]);
    }
}
