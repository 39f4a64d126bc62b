//! Whether the loops still turn.
//!
//! A stage says before each wait for how long it may be quiet: the next response of a stream, the next poll, a
//! call of the org. One that is quiet for longer stands still, however alive the process looks from outside: a
//! deadlock, a call without an end, a thread that died without a word. The watchdog is fed only while all of them
//! keep their word, never by a timer alone. A debug build with `STORESYNC_HURRY` set has no patience, so that a test
//! need not wait as long as a stage may work.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use crate::failpoint;

/// Beyond the time a stage has given itself: a busy machine, a suspended container.
const GRACE: Duration = Duration::from_secs(30);

static STARTED: LazyLock<Instant> = LazyLock::new(Instant::now);
static STAGES: Mutex<Vec<Weak<Stage>>> = Mutex::new(Vec::new());

#[derive(Debug)]
struct Stage {
    name: String,
    /// Milliseconds after the start of the process.
    quiet_until: AtomicU64,
    /// Others wait for its answers, and stand still with it.
    is_awaited: bool,
}

/// Held by a stage as long as it runs; dropping it is ending, which is no standstill.
#[derive(Debug)]
pub struct Pulse {
    stage: Arc<Stage>,
}

impl Pulse {
    /// `name` is for the log: what stands still.
    pub fn new(name: impl Into<String>) -> Self {
        Self::make(name, false)
    }

    /// Of a stage that others wait for: it is named before them.
    pub fn awaited(name: impl Into<String>) -> Self {
        Self::make(name, true)
    }

    fn make(name: impl Into<String>, is_awaited: bool) -> Self {
        let stage = Arc::new(Stage {
            name: name.into(),
            quiet_until: AtomicU64::new(0),
            is_awaited,
        });
        let mut stages = STAGES.lock().unwrap_or_else(PoisonError::into_inner);
        stages.retain(|stage| stage.strong_count() > 0);
        stages.push(Arc::downgrade(&stage));
        let pulse = Self { stage };
        pulse.quiet_for(Duration::ZERO);
        pulse
    }

    /// It waits for others to bring it work, for as long as they do not.
    pub fn idle(&self) {
        self.stage.quiet_until.store(u64::MAX, Ordering::Relaxed);
    }

    /// It rests on purpose, and comes back after this time.
    pub fn rests_for(&self, time: Duration) {
        self.until(time + GRACE.min(failpoint::patience()));
    }

    /// It turns, and comes back within this time.
    pub fn quiet_for(&self, time: Duration) {
        self.until((time + GRACE).min(failpoint::patience()));
    }

    fn until(&self, time: Duration) {
        let until = STARTED.elapsed() + time;
        let millis = u64::try_from(until.as_millis()).unwrap_or(u64::MAX);
        self.stage.quiet_until.store(millis, Ordering::Relaxed);
    }
}

/// The stage that was to come back and has not, and for how long: one that others wait for, else the one that has been
/// away for longest.
pub fn standing_still() -> Option<(String, Duration)> {
    let now = STARTED.elapsed();
    let stages = STAGES.lock().unwrap_or_else(PoisonError::into_inner);
    let still = stages.iter().filter_map(Weak::upgrade).filter_map(|stage| {
        let until = Duration::from_millis(stage.quiet_until.load(Ordering::Relaxed));
        let over = now.checked_sub(until).filter(|over| !over.is_zero())?;
        Some((stage.is_awaited, over, stage.name.clone()))
    });
    still.max().map(|(_, over, name)| (name, over))
}

/// When the threads that do the work of all stages last turned; cheap to clone. Whoever runs apart from them looks here
/// whether they stand still together.
#[derive(Clone, Debug)]
pub struct Heart(Arc<AtomicU64>);

impl Default for Heart {
    fn default() -> Self {
        let heart = Self(Arc::default());
        heart.beat();
        heart
    }
}

impl Heart {
    pub fn beat(&self) {
        let millis = u64::try_from(STARTED.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.0.store(millis, Ordering::Relaxed);
    }

    /// For how long it has not beaten.
    pub fn still_for(&self) -> Duration {
        let beat = Duration::from_millis(self.0.load(Ordering::Relaxed));
        STARTED.elapsed().saturating_sub(beat)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_heart_stands_still_until_it_beats() {
        let heart = Heart::default();
        std::thread::sleep(Duration::from_millis(20));
        assert!(heart.still_for() >= Duration::from_millis(19));
        heart.clone().beat();
        assert!(heart.still_for() < Duration::from_millis(19));
    }

    #[test]
    fn a_stage_that_does_not_come_back_is_named_until_it_ends() {
        let pulse = Pulse::new("test stage");
        pulse.quiet_for(Duration::from_secs(60));
        let is_named = || standing_still().is_some_and(|(name, _)| name == "test stage");
        assert!(!is_named());
        // As if its time had been over long ago.
        pulse.stage.quiet_until.store(0, Ordering::Relaxed);
        std::thread::sleep(Duration::from_millis(2));
        assert!(is_named());
        pulse.quiet_for(Duration::ZERO);
        assert!(!is_named());
        pulse.stage.quiet_until.store(0, Ordering::Relaxed);
        drop(pulse);
        assert!(!is_named());
    }
}
