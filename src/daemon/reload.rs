//! SIGHUP: the configuration and its secrets are read again.
//!
//! What can take effect while it runs does: the log level, secrets, the certificates of `ca_file`, tokens, limits. What
//! cannot is named, one line for each key, and takes effect with the next start. A configuration that cannot be read
//! changes nothing.

use std::sync::Arc;

use sd_notify::NotifyState;
use tokio::signal::unix::Signal;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::config::Config;
use crate::daemon::supervise::notify;
use crate::inbound::budget::Limits;
use crate::model::clock::Clock;
use crate::salesforce::Org;
use crate::salesforce::login::Taken;
use crate::salesforce::pubsub::PubSub;
use crate::serve::{Tokens, audit};
use crate::store::outbox::Outbox;
use crate::store::outbox::audit::Line;
use crate::telemetry;

/// Keys that take effect at once.
const TAKEN: [&str; 6] = [
    "admin.tokens",
    "log.level",
    "serve.tokens",
    "sync.api_share_percent",
    "sync.poll_seconds",
    "sync.verify_hours",
];

/// Who sent the signal is not told.
const ACTOR: &str = "SIGHUP";

/// What a reload reaches.
pub(super) struct World {
    /// As it was loaded last.
    pub(super) config: Arc<watch::Sender<Config>>,
    pub(super) org: Org,
    pub(super) pubsub: PubSub,
    pub(super) limits: Limits,
    pub(super) tokens: Tokens,
    pub(super) outbox: Outbox,
    pub(super) clock: Clock,
    /// Rung to have the org's objects described again: a field may have been made visible.
    pub(super) schemas: watch::Sender<u64>,
}

/// Reloads with each signal until it is stopped.
pub(super) async fn run(world: World, mut hangup: Signal, stop: CancellationToken) -> anyhow::Result<()> {
    loop {
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            _ = hangup.recv() => {}
        }
        // systemd tells by the time which reload this answers.
        match NotifyState::monotonic_usec_now() {
            Ok(now) => notify(&[NotifyState::Reloading, now]),
            Err(error) => tracing::warn!("the monotonic clock cannot be read ({error})"),
        }
        world.reload().await;
        notify(&[NotifyState::Ready]);
    }
}

impl World {
    async fn reload(&self) {
        let known = self.config.borrow().clone();
        let mut fresh = match Config::load(known.origin.as_deref()) {
            Ok(fresh) => fresh,
            Err(error) => {
                tracing::error!("the configuration was not reloaded, all goes on as before: {error}");
                return self
                    .note(Line::new(ACTOR, "reload").about("refused", Some(true)))
                    .await;
            }
        };
        let changed = known.differences(&fresh);
        for key in &changed {
            // Copies are made by other processes, which read it themselves.
            if TAKEN.contains(&key.as_str()) || key.starts_with("backup.") {
                tracing::info!(%key, "reloaded: {key} has changed");
            } else {
                tracing::warn!(%key, "{key} has changed, which takes effect when the daemon is started again");
            }
        }
        if fresh.serve.tokens.is_empty() && !known.serve.tokens.is_empty() {
            tracing::warn!(
                "[serve] has no tokens any more, which would let everybody of this machine in: those from before are asked for until the daemon is started again"
            );
            fresh.serve.tokens.clone_from(&known.serve.tokens);
        }
        telemetry::set_level(&fresh.log.level);
        self.limits.set(&fresh.sync);
        self.tokens.set(&fresh);
        if let Err(error) = self.pubsub.take_certificates() {
            tracing::error!("the certificates were not reloaded, those from before are kept: {error}");
        }
        match self.org.take_secrets().await {
            Ok(Taken::Same) => tracing::info!("reloaded: the secrets were read again and are the same"),
            Ok(Taken::New) => tracing::info!("reloaded: the secrets were read again and have logged in"),
            Ok(Taken::Failing) => {
                tracing::warn!("reloaded: the secrets were read again, and the login fails still")
            }
            Err(error) => {
                tracing::error!("the secrets were not reloaded, those from before are kept: {error}")
            }
        }
        self.schemas.send_modify(|rung| *rung += 1);
        // The lock is on the directory of the start.
        fresh.state.dir = known.state.dir;
        self.config.send_replace(fresh);
        self.note(Line::new(ACTOR, "reload").about("changed", Some(changed)))
            .await;
    }

    /// A reload goes on without its entry in the audit: it may take a token away.
    async fn note(&self, line: Line) {
        audit::note(&self.outbox, line, self.clock.now()).await;
    }
}
