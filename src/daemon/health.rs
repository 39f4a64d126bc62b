//! What readers are told of the cache's freshness, looked at once a second.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::daemon::World;
use crate::inbound::budget::Limits;
use crate::model::clock::Clock;
use crate::model::freshness::Truth;
use crate::model::trouble::{Failing, Hindrances};
use crate::salesforce::Org;
use crate::serve::{Freshness, Health};
use crate::store::cache::{cursors, proofs};
use crate::store::note::HINDRANCES;
use crate::store::reader::Reader;

/// How often the health that readers are told is looked at.
const HEALTH_INTERVAL: Duration = Duration::from_secs(1);

/// What the health is made of.
pub(super) struct Watched {
    reader: Reader,
    clock: Clock,
    limits: Limits,
    topics: Vec<String>,
    org: Org,
    failing: watch::Sender<BTreeMap<String, Failing>>,
    dir: PathBuf,
    health: Arc<watch::Sender<Health>>,
    stop: CancellationToken,
}

impl Watched {
    pub(super) fn of(world: &World) -> Self {
        Self {
            reader: world.reader.clone(),
            clock: world.clock.clone(),
            limits: world.limits.clone(),
            topics: world.config.sync.channels.clone(),
            org: world.org.clone(),
            failing: world.bells.failing.clone(),
            dir: world.config.state.dir.clone(),
            health: Arc::clone(&world.health),
            stop: world.stop.clone(),
        }
    }

    /// Tells `storesync status`, which is another process.
    fn tell_others(&self, told: &mut Option<Hindrances>) {
        let now = self.health.borrow().hindrances.clone();
        if told.as_ref() == Some(&now) {
            return;
        }
        match HINDRANCES.write(&self.dir, &now) {
            Ok(()) => *told = Some(now),
            // A full disk is told of by those who must write.
            Err(error) => tracing::debug!("what stands in the way cannot be written ({error})"),
        }
    }

    pub(super) fn look(&self) -> anyhow::Result<()> {
        let now = self.clock.moment();
        let known = self
            .reader
            .with(|cache| proofs::known(cache, &self.topics, now))?;
        let heard = self.reader.with(cursors::cursors)?;
        // A channel that is no longer followed may have left its position.
        let followed = heard.iter().filter(|cursor| self.topics.contains(&cursor.topic));
        let window_left = followed.map(|cursor| cursor.replay_window_left(now.wall)).min();
        self.health.send_modify(|health| {
            health.hindrances.trouble = self.org.trouble();
            health.hindrances.failing.clone_from(&self.failing.borrow());
            let truth = Truth::new(&known, &self.limits.freshness(), &health.hindrances, now);
            health.freshness = Freshness::new(truth);
            health.replay_window_left_millis = window_left;
        });
        Ok(())
    }
}

/// Keeps what readers are told of the cache's freshness, from the first moment on.
pub(super) async fn watch(watched: Watched) -> anyhow::Result<()> {
    let mut told = None;
    while !watched.stop.is_cancelled() {
        watched.look()?;
        watched.tell_others(&mut told);
        tokio::select! {
            () = watched.stop.cancelled() => {}
            () = tokio::time::sleep(HEALTH_INTERVAL) => {}
        }
    }
    Ok(())
}
