//! What each kind of reading proves, once it commits.
//!
//! A poll and a load prove the time before their first request, less what a transaction may stay invisible after its
//! stamps were set; a response of a stream proves a time before it came, less what events take on the road. A load by
//! itself does not complete an object that is polled: what changed while it ran is read by the poll after it.

use std::collections::HashMap;
use std::sync::Arc;

use crate::inbound::apply::World;
use crate::inbound::apply::delay::Delay;
use crate::inbound::command::Events;
use crate::model::clock::{Millis, Moment};
use crate::store::cache::Batch;

/// A row may become visible so long after its stamp: 1 to 3 s were measured of orgs that are not under load.
pub(in crate::inbound) const SETTLE_MILLIS: Millis = 30_000;

/// What comes later says nothing of the road.
const LATE_MAX_MILLIS: Millis = 300_000;

/// A channel's proofs are stored at most so often.
const STORED_MILLIS: Millis = 1_000;

/// What the streams have proved so far.
#[derive(Default)]
pub(super) struct Proofs {
    channels: HashMap<Arc<str>, Channel>,
}

#[derive(Default)]
struct Channel {
    delay: Delay,
    /// By the machine's clock: when its newest stored proof was heard.
    stored: Option<Millis>,
}

impl World {
    /// A response came, and nothing before it is missing.
    pub(super) fn heard(
        &mut self,
        batch: &mut Batch<'_>,
        response: &Events,
        committed_at: Option<Millis>,
    ) -> rusqlite::Result<()> {
        let Some(heard) = response.heard else {
            return Ok(());
        };
        let channel = self
            .proofs
            .channels
            .entry(Arc::clone(&response.topic))
            .or_default();
        // What comes after a response with old events may be as old: of a backlog each is late by what is left of it.
        let late = match committed_at {
            Some(committed_at) => heard.wall + response.org_ahead_millis - committed_at,
            None if response.events.is_empty() => 0,
            None => return Ok(()),
        };
        if let Some(committed_at) = committed_at.filter(|_| late <= LATE_MAX_MILLIS) {
            channel.delay.received(committed_at, heard.wall);
        }
        if channel
            .stored
            .is_some_and(|stored| heard.boot - stored < STORED_MILLIS)
        {
            return Ok(());
        }
        channel.stored = Some(heard.boot);
        let proved = heard.before(channel.delay.millis().max(late));
        for object in response.objects.iter() {
            batch.prove(object, proved, false, self.moment)?;
        }
        Ok(())
    }

    /// A poll has ended.
    pub(super) fn polled(
        &mut self,
        batch: &mut Batch<'_>,
        object: &str,
        proved: Option<Moment>,
    ) -> rusqlite::Result<()> {
        match proved {
            Some(proved) => batch.prove(object, proved, true, self.moment),
            None => Ok(()),
        }
    }

    /// What changed while there was no position was read, from `asked` on: a load that had ended meanwhile is complete.
    pub(super) fn read_since(
        &mut self,
        batch: &mut Batch<'_>,
        object: &str,
        asked: Option<Moment>,
    ) -> rusqlite::Result<()> {
        let index = self.by_name.get(object);
        let completes = index.is_some_and(|index| !self.objects[*index].polled);
        match asked {
            Some(asked) => batch.prove(object, asked.before(SETTLE_MILLIS), completes, self.moment),
            None => Ok(()),
        }
    }

    /// A load that was begun by `asked` has ended.
    pub(super) fn loaded(
        &mut self,
        batch: &mut Batch<'_>,
        object: &str,
        asked: Option<Moment>,
    ) -> anyhow::Result<()> {
        let completes = !self.objects[self.index(object)?].polled;
        if let Some(asked) = asked {
            batch.prove(object, asked.before(SETTLE_MILLIS), completes, self.moment)?;
        }
        Ok(())
    }
}
