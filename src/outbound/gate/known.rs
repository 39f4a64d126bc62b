//! The org's objects as push last saw them, for whoever takes or edits a write. Kept in a file of the state directory, so
//! that a start without the org knows them too.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use crate::outbound::shape::Shape;
use crate::store::seen;

/// Shared by push, which learns, and the door, which asks.
#[derive(Clone)]
pub struct Known(Arc<Inner>);

struct Inner {
    dir: PathBuf,
    shape: RwLock<Option<Arc<Shape>>>,
    /// Something was refused by it since it was learned.
    doubted: AtomicBool,
}

impl Known {
    /// What was kept in a state directory, where anything was that can be read.
    pub fn open(dir: &Path) -> Self {
        let kept = seen::read(dir).and_then(|text| serde_json::from_str(&text).ok());
        Self(Arc::new(Inner {
            dir: dir.to_owned(),
            shape: RwLock::new(kept.map(Arc::new)),
            doubted: AtomicBool::new(false),
        }))
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
        let kept = serde_json::to_string(&**shape)
            .map_err(std::io::Error::other)
            .and_then(|text| seen::write(&self.0.dir, &text));
        if let Err(error) = kept {
            tracing::warn!(%error, "what the org's objects look like cannot be kept: the next start asks the org first");
        }
    }
}
