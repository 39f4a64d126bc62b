//! The org on disk: a log of what it committed, from which it comes back.
//!
//! `DIR/org/org.log` begins with how the org was made; seeding is deterministic, so the seeded rows themselves are
//! not in it. Then come, in order, each transaction with its rows and events in one frame, and each change of
//! settings, schema and clock. A frame is written before its commit is answered, so what was answered is there after
//! a `kill -9`; a frame that was cut short was never answered, and is cut off at the next start. It is not fsynced:
//! this is a test org, and a power failure may take its last moments.
//!
//! When the log has grown to several times what it must hold, it is written anew beside itself and renamed into
//! place. A log that cannot be written ends the sandbox: nothing that was not written may be answered.

mod bytes;
mod frame;
mod journal;

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

pub(super) use frame::{EventFrame, RowFrame, Rows};
pub use frame::{Frame, Note};
pub use journal::Journal;

use super::org::{Org, OrgOptions};
use crate::clock::{Clock, Millis};

/// Of the form of the log.
const FORMAT: u32 = 1;

/// How the org was made, and what this program makes of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    format: u32,
    /// A hash of the built-in catalogue.
    catalogue: u64,
    seed: u64,
    products: usize,
    stores: usize,
    /// When it was seeded.
    now: Millis,
    /// Rows that the seed made: another program may make others.
    rows: usize,
}

/// Opens the org of `dir`, or makes one there.
pub fn open(mut options: OrgOptions, dir: &Path) -> Result<Org> {
    let dir = dir.join("org");
    fs::create_dir_all(&dir).with_context(|| format!("make the folder {}", dir.display()))?;
    let path = dir.join("org.log");
    let (journal, frames) = Journal::open(&path)?;
    let mut frames = frames.peekable();
    let origin = match frames.next() {
        None => None,
        Some(Frame::Note(Note::Origin(origin))) => Some(origin),
        Some(_) => bail!(
            "{} is no log of an org: give another folder with --data",
            path.display()
        ),
    };
    let wanted = (options.seed, options.products, options.stores);
    let seeded_at = match &origin {
        Some(origin) => {
            (options.seed, options.products, options.stores) = (origin.seed, origin.products, origin.stores);
            origin.now
        }
        None => options.clock.now(),
    };
    if (options.seed, options.products, options.stores) != wanted {
        tracing::warn!(
            "{} holds an org of seed {} with {} products and {} stores, which is what runs",
            path.display(),
            options.seed,
            options.products,
            options.stores
        );
    }
    let org = Org::seeded_at(options.clone(), seeded_at)?;
    let here = Origin {
        format: FORMAT,
        catalogue: bytes::hash(include_bytes!("objects.json")),
        seed: options.seed,
        products: options.products,
        stores: options.stores,
        now: seeded_at,
        rows: org.read(|records| records.total()),
    };
    match origin {
        Some(origin) if origin == here => {
            for frame in frames {
                org.take_back(&journal, frame)
                    .with_context(|| format!("read {}", path.display()))?;
            }
        }
        Some(_) => bail!(
            "the org in {} was made by another version of this program: delete the folder, or give another one with \
             --data",
            dir.display()
        ),
        None => drop(frames),
    }
    org.keep(journal, here)?;
    Ok(org)
}

/// A clock that stands still, for what is made as of a moment.
pub fn standing(now: Millis) -> Clock {
    Clock::Manual(std::sync::Arc::new(now.into()))
}
