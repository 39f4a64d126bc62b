//! What readers are told of the cache's freshness, looked at once a second.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::daemon::World;
use crate::inbound::budget::Limits;
use crate::model::clock::Clock;
use crate::model::freshness::Truth;
use crate::serve::{Freshness, Health};
use crate::store::cache::{cursors, proofs};
use crate::store::reader::Reader;

/// How often the health that readers are told is looked at.
const HEALTH_INTERVAL: Duration = Duration::from_secs(1);

/// What the health is made of.
pub(super) struct Watched {
    reader: Reader,
    clock: Clock,
    limits: Limits,
    topics: Vec<String>,
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
            health: Arc::clone(&world.health),
            stop: world.stop.clone(),
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
        let freshness = Freshness::new(Truth::new(&known, &self.limits.freshness(), now));
        self.health.send_modify(|health| {
            health.freshness = freshness;
            health.replay_window_left_millis = window_left;
        });
        Ok(())
    }
}

/// Keeps what readers are told of the cache's freshness, from the first moment on.
pub(super) async fn watch(watched: Watched) -> anyhow::Result<()> {
    while !watched.stop.is_cancelled() {
        watched.look()?;
        tokio::select! {
            () = watched.stop.cancelled() => {}
            () = tokio::time::sleep(HEALTH_INTERVAL) => {}
        }
    }
    Ok(())
}
