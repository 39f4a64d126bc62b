//! The org's objects as push last saw them, for whoever takes or edits a write. Kept in a file of the state directory, so
//! that a start without the org knows them too.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use serde::{Deserialize, Serialize};

use crate::config::{Orders, Profile};
use crate::outbound::shape::Shape;
use crate::store::note::Note;

/// It can be lost: then the org is asked first.
const OBJECTS: Note<Kept> = Note::new("objects.json");

/// As it stands in the file.
#[derive(Serialize, Deserialize)]
struct Kept {
    made_for: String,
    shape: Shape,
}

/// Shared by push, which learns, and the door, which asks.
#[derive(Clone)]
pub struct Known(Arc<Inner>);

struct Inner {
    dir: PathBuf,
    /// What decides which objects push looks at.
    made_for: String,
    shape: RwLock<Option<Arc<Shape>>>,
    /// Something was refused by it since it was learned.
    doubted: AtomicBool,
}

impl Known {
    /// What was kept in a state directory, where anything was that can be read and was seen by the same configuration:
    /// another one looks at other objects. `profile` is that of `[sync]`.
    pub fn open(dir: &Path, policy: &Orders, profile: Profile) -> Self {
        let profile = policy.profile.unwrap_or(profile);
        let made_for = format!("{profile:?} {:?} {:?}", policy.external_id_field, policy.map);
        let kept = OBJECTS.read(dir).filter(|kept| kept.made_for == made_for);
        Self(Arc::new(Inner {
            dir: dir.to_owned(),
            made_for,
            shape: RwLock::new(kept.map(|kept| Arc::new(kept.shape))),
            doubted: AtomicBool::new(false),
        }))
    }

    /// The state directory.
    pub fn dir(&self) -> &Path {
        &self.0.dir
    }

    pub fn shape(&self) -> Option<Arc<Shape>> {
        self.0
            .shape
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// An administrator may have changed the org so that it takes what was just refused.
    pub fn doubt(&self) {
        self.0.doubted.store(true, Ordering::Relaxed);
    }

    pub fn is_doubted(&self) -> bool {
        self.0.doubted.load(Ordering::Relaxed)
    }

    /// Takes over what the org looks like now.
    pub fn learn(&self, shape: &Arc<Shape>) {
        self.0.doubted.store(false, Ordering::Relaxed);
        if self.shape().as_ref() == Some(shape) {
            return;
        }
        *self.0.shape.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(shape));
        let kept = Kept {
            made_for: self.0.made_for.clone(),
            shape: Shape::clone(shape),
        };
        if let Err(error) = OBJECTS.write(&self.0.dir, &kept) {
            tracing::warn!(%error, "what the org's objects look like cannot be kept: the next start asks the org first");
        }
    }
}
