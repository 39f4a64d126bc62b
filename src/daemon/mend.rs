//! What is done about the files of the state, so that the process need not end for them.
//!
//! A cache or journal that is damaged, or was replaced while it was open, is set aside and made again; so the stages end and
//! begin anew, and the listeners stay: who asks meanwhile waits for a moment. A disk that is full is waited for while what
//! is cached is served. Once is enough for damage: a disk that damages files again and again ends the process, and a person
//! has to look.

use std::fmt;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context as _;

use crate::model::clock::Clock;
use crate::store::database::{Kind, OpenError};
use crate::store::{cache, damage, files, journal, pairing};

/// Damage that is found again within this time is not mended again.
const AGAIN_MAX: Duration = Duration::from_secs(600);

/// The longest wait before the org is asked again after a disk was full.
const FULL_WAIT_MAX: Duration = Duration::from_secs(60);

/// Why the stages ended before they were stopped.
pub(super) struct Failed {
    pub(super) error: anyhow::Error,
    /// Nothing was opened yet, and nobody served.
    pub(super) is_at_start: bool,
    /// A stage did not end: it may still write.
    pub(super) is_running: bool,
}

/// What was mended in this process.
#[derive(Default)]
pub(super) struct Mender {
    mended_at: Option<Instant>,
    /// How often in a row the disk was full.
    pub(super) full_count: u32,
    /// Orders were refused for it when the stages ended.
    pub(super) is_outbox_full: bool,
    pub(super) set_aside: Vec<SetAside>,
}

/// A database that was set aside and is made again.
#[derive(Clone, Debug)]
pub(super) struct SetAside {
    pub(super) file: &'static str,
    /// Under which it is kept.
    pub(super) name: String,
    pub(super) reason: Reason,
}

/// Why a database is set aside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Reason {
    /// SQLite or a look found its content to be wrong.
    Damaged { cause: String },
    /// It lies beside the log of another file, which it was put in the place of while that was open.
    Replaced,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Damaged { .. } => "was damaged",
            Self::Replaced => "was replaced while it was in use",
        })
    }
}

impl Reason {
    /// Why a database has to be set aside, if it has to be.
    fn of(dir: &Path, kind: Kind) -> Option<Self> {
        if pairing::has_log_of_another(dir, kind) {
            return Some(Self::Replaced);
        }
        let found = damage::noted(dir).remove(kind.file_name)?;
        Some(Self::Damaged { cause: found.cause })
    }
}

impl Mender {
    /// Whether the stages begin anew; else the error that ends the process.
    pub(super) async fn judge(&mut self, dir: &Path, failed: Failed) -> anyhow::Result<()> {
        let Failed {
            error,
            is_at_start,
            is_running,
        } = failed;
        if is_running {
            return Err(error);
        }
        if files::is_full_for(&error) && !is_at_start {
            self.full_count += 1;
            tracing::warn!("{error:#}; what is cached is served meanwhile");
            return Ok(());
        }
        self.full_count = 0;
        let is_log_short = damage::is_log_short(&error) && !is_at_start;
        if !note_damage(dir, &error).await? && !is_log_short {
            return Err(error);
        }
        if damage::noted(dir).is_empty() {
            tracing::warn!("{error:#}; the databases themselves are sound, and are opened again");
        }
        if self.mended_at.is_some_and(|at| at.elapsed() < AGAIN_MAX) {
            return Err(error.context("a file is damaged again: check the disk of [state] dir"));
        }
        self.mended_at = Some(Instant::now());
        Ok(())
    }

    /// Sets aside what is noted to be damaged, by this process or one before, and what lies beside the log of another file.
    pub(super) fn mend(&mut self, dir: &Path, clock: &Clock) -> anyhow::Result<()> {
        for kind in [cache::KIND, journal::KIND] {
            let file = kind.file_name;
            let Some(reason) = Reason::of(dir, kind) else {
                continue;
            };
            let cannot = || format!("{file} {reason} and cannot be set aside");
            if reason == Reason::Replaced {
                damage::remove_log_of_another(dir, kind).with_context(cannot)?;
            }
            let kept = damage::set_aside(dir, kind, clock.now()).with_context(cannot)?;
            match &reason {
                Reason::Damaged { cause } => tracing::warn!(
                    file,
                    "{file} is damaged ({cause}): it is kept as {kept} and made again"
                ),
                Reason::Replaced => tracing::warn!(
                    file,
                    "{file} was replaced while it was in use, and what was written since is lost: the file that took its place is kept as {kept}, and {file} is made again"
                ),
            }
            if file == journal::KIND.file_name {
                let events = journal::cut::begin_anew(dir, &dir.join(&kept), clock.now())?;
                tracing::warn!("{events} events of {kept} can be read and are in the new journal");
            }
            self.set_aside.retain(|aside| aside.file != file);
            self.set_aside.push(SetAside {
                file,
                name: kept,
                reason,
            });
        }
        Ok(())
    }
}

/// How long to wait, once there is room, until the org is asked again after the disk was full so many times in a row.
pub(super) fn wait_after(full_count: u32) -> Duration {
    let seconds = 1_u64.checked_shl(full_count.saturating_sub(1));
    seconds
        .map_or(FULL_WAIT_MAX, Duration::from_secs)
        .min(FULL_WAIT_MAX)
}

/// Notes which file an error is about. Whether there is one that can be made again.
async fn note_damage(dir: &Path, error: &anyhow::Error) -> anyhow::Result<bool> {
    let mut opened = error.chain().filter_map(|cause| cause.downcast_ref());
    if let Some(OpenError::Damaged { path, cause }) =
        opened.find(|error| matches!(error, OpenError::Damaged { .. }))
    {
        let file = path.file_name().unwrap_or_default().to_string_lossy();
        damage::note(dir, &file, cause);
        return Ok(damage::is_made_again(&file));
    }
    let is_noted = || damage::noted(dir).keys().any(|file| damage::is_made_again(file));
    if !damage::is_cause_of(error) || is_noted() {
        return Ok(is_noted());
    }
    // SQLite does not say in which file.
    for kind in [cache::KIND, journal::KIND] {
        let dir = dir.to_owned();
        let looked = tokio::task::spawn_blocking(move || {
            let found = damage::look(&dir, kind, || false)?;
            if let Some(cause) = found {
                damage::note(&dir, kind.file_name, &cause);
            }
            Ok::<_, OpenError>(())
        });
        looked.await??;
    }
    Ok(is_noted())
}

#[cfg(test)]
mod tests {
    use anyhow::anyhow;

    use super::*;

    fn sqlite(code: i32) -> anyhow::Error {
        rusqlite::Error::SqliteFailure(rusqlite::ffi::Error::new(code), None).into()
    }

    fn failed(error: anyhow::Error) -> Failed {
        Failed {
            error: error.context("the stage apply failed"),
            is_at_start: false,
            is_running: false,
        }
    }

    #[tokio::test]
    async fn what_can_be_mended_is_told_from_what_ends_the_process() {
        use rusqlite::ffi;
        let dir = tempfile::tempdir().unwrap();
        for file in ["cache.db", "journal.db", "outbox.db"] {
            std::fs::write(
                dir.path().join(file),
                "not a database at all, but long enough to be one",
            )
            .unwrap();
        }
        let opened = |file: &str| {
            anyhow::Error::from(OpenError::of(
                &dir.path().join(file),
                rusqlite::Error::SqliteFailure(ffi::Error::new(ffi::SQLITE_NOTADB), None),
            ))
        };
        let cases = [
            (failed(opened("cache.db")), true),
            (failed(opened("journal.db")), true),
            (failed(opened("outbox.db")), false),
            (failed(sqlite(ffi::SQLITE_CORRUPT)), true),
            (failed(sqlite(ffi::SQLITE_FULL)), true),
            (failed(sqlite(ffi::SQLITE_IOERR)), false),
            (failed(anyhow!("the stage push ended by itself")), false),
            (
                Failed {
                    is_at_start: true,
                    ..failed(sqlite(ffi::SQLITE_FULL))
                },
                false,
            ),
            (
                Failed {
                    is_running: true,
                    ..failed(opened("cache.db"))
                },
                false,
            ),
        ];
        for (number, (failed, expected)) in cases.into_iter().enumerate() {
            for file in ["cache.db", "journal.db", "outbox.db"] {
                damage::forget(dir.path(), file).unwrap();
            }
            let judged = Mender::default().judge(dir.path(), failed).await;
            assert_eq!(judged.is_ok(), expected, "case {number}");
        }
    }

    #[tokio::test]
    async fn a_disk_that_damages_again_and_again_ends_the_process() {
        let dir = tempfile::tempdir().unwrap();
        let mut mender = Mender::default();
        let damaged = || failed(damage::Damaged("cache.db".to_owned()).into());
        for expected in [true, false] {
            std::fs::write(dir.path().join("cache.db"), "garbage").unwrap();
            damage::note(dir.path(), "cache.db", "malformed");
            assert_eq!(mender.judge(dir.path(), damaged()).await.is_ok(), expected);
            mender.mend(dir.path(), &Clock::System).unwrap();
        }
        assert_eq!(mender.set_aside.len(), 1);
    }

    #[tokio::test]
    async fn a_log_that_was_cut_beside_sound_files_does_not_end_the_process() {
        let dir = tempfile::tempdir().unwrap();
        for kind in [cache::KIND, journal::KIND] {
            crate::store::database::open_writer(dir.path(), kind).unwrap();
        }
        let mut mender = Mender::default();
        let short = || failed(sqlite(rusqlite::ffi::SQLITE_IOERR_SHORT_READ));
        let corrupt = failed(sqlite(rusqlite::ffi::SQLITE_CORRUPT));
        assert!(mender.judge(dir.path(), corrupt).await.is_err());
        assert!(mender.judge(dir.path(), short()).await.is_ok());
        assert!(mender.judge(dir.path(), short()).await.is_err(), "but once");
        assert!(mender.set_aside.is_empty() && damage::noted(dir.path()).is_empty());
    }
}
