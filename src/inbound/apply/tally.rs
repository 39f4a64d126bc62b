//! What a batch of events was, for those who watch.
//!
//! Counted in plain numbers while events are applied, and told once for each batch: a lock for every event would
//! cost more than applying it.

use std::time::Duration;

use crate::model::change::ChangeKind;
use crate::model::clock::Millis;
use crate::store::cache::Batch;
use crate::telemetry::metrics;

/// What was applied since it was last told.
#[derive(Default)]
pub(super) struct Tally {
    kinds: Vec<(ChangeKind, u64)>,
    /// By object's index: events that only say that something changed, and commit of the newest event.
    objects: Vec<(u64, Option<Millis>)>,
    newest: Option<Millis>,
}

impl Tally {
    /// An event of an object was applied.
    pub(super) fn event(&mut self, object: usize, kind: ChangeKind, committed_at: Millis) {
        match self.kinds.iter_mut().find(|(counted, _)| *counted == kind) {
            Some((_, count)) => *count += 1,
            None => self.kinds.push((kind, 1)),
        }
        if self.objects.len() <= object {
            self.objects.resize(object + 1, (0, None));
        }
        let (gaps, newest) = &mut self.objects[object];
        *gaps += u64::from(matches!(kind, ChangeKind::Gap(_) | ChangeKind::Overflow));
        *newest = (*newest).max(Some(committed_at));
        self.newest = self.newest.max(Some(committed_at));
    }

    /// How many events were applied.
    pub(super) fn events(&self) -> u64 {
        self.kinds.iter().map(|(_, count)| count).sum()
    }

    /// Stores when each object last had an event. `name` is that of an object's index.
    pub(super) fn store(
        &self,
        batch: &mut Batch<'_>,
        name: impl Fn(usize) -> String,
    ) -> rusqlite::Result<()> {
        for (object, (_, newest)) in self.objects.iter().enumerate() {
            if let Some(newest) = newest {
                batch.set_last_event(&name(object), *newest)?;
            }
        }
        Ok(())
    }

    /// Tells what was applied, now that it is visible, and begins anew.
    pub(super) fn tell(&mut self, now: Millis, name: impl Fn(usize) -> String) {
        for (kind, count) in self.kinds.drain(..) {
            metrics::EVENTS_RECEIVED.add([kind.symbol()], count);
        }
        for (object, (gaps, _)) in self.objects.drain(..).enumerate() {
            if gaps > 0 {
                metrics::GAP_EVENTS.add([&name(object)], gaps);
            }
        }
        if let Some(newest) = self.newest.take() {
            let lag = u64::try_from(now - newest).unwrap_or(0);
            metrics::APPLY_LAG.observe([], Duration::from_millis(lag));
        }
    }
}
