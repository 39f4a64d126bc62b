//! The two listeners: systemd's where it hands them over, else our own.
//!
//! With socket activation systemd holds the socket, and connections made while the daemon restarts wait for the
//! new process. Sockets are told apart by `FileDescriptorName=`: `storefront` and `admin`. One without a name of
//! ours is the storefronts', as with a socket unit that does not say.

use std::sync::Arc;

use anyhow::Context as _;
use listenfd::ListenFd;
use rustix::net::sockopt::socket_acceptconn;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::sync::watch;

use crate::config::{self, Config, ConfigError};
use crate::daemon::World;
use crate::outbound::outbox::Intake;
use crate::serve::console::Console;
use crate::serve::{self, Feed, Listener, Pools};
use crate::telemetry::pulse::Heart;

/// What sockets are for, and how systemd calls them.
const STOREFRONT: &str = "storefront";
const ADMIN: &str = "admin";

/// Bound before anything else is done; cheap to clone.
#[derive(Clone)]
pub struct Listeners {
    pub storefront: Listener,
    pub admin: Listener,
}

impl Listeners {
    pub async fn bind(config: &Config) -> anyhow::Result<Self> {
        raise_open_files();
        let mut given = Given::take()?;
        let (serve, admin) = (&config.serve, &config.admin);
        // A socket that is handed over may be reached from elsewhere than what is configured.
        for (role, socket) in &given.sockets {
            let at = socket.local_addr().with_context(|| {
                format!("the socket {role} that systemd hands over does not tell where it listens")
            })?;
            match role.as_str() {
                ADMIN => admin.check_reach(&config::Listen::Tcp(at))?,
                _ => serve.check_reach(&config::Listen::Tcp(at))?,
            }
        }
        Ok(Self {
            storefront: given
                .or_bind(STOREFRONT, "[serve] listen", &serve.listen, serve.tls.as_ref())
                .await?,
            admin: given
                .or_bind(ADMIN, "[admin] listen", &admin.listen, admin.tls.as_ref())
                .await?,
        })
    }
}

/// What both listeners show.
pub(super) fn shown(world: &World) -> anyhow::Result<serve::World> {
    Ok(Arc::new(serve::Parts {
        reader: world.reader.within(serve::read_max()),
        intake: intake(world),
        health: world.health.subscribe(),
        revisions: world.bells.rev.subscribe(),
        feed: Feed::default(),
        tokens: world.tokens.clone(),
        clock: world.clock.clone(),
        console: Arc::new(Console::new(&world.config)),
        audit: serve::Audit::new(world.config.state.audit_days),
        dir: world.config.state.dir.as_path().into(),
        topics: world.config.sync.channels.clone().into(),
        account_history: world.config.serve.account_history,
        life: serve::KnownLife::default(),
        reached: serve::Reached {
            serve: serve::Ways {
                hosts: world.config.serve.hosts.clone(),
                proxies: world.config.serve.proxies()?,
            },
            admin: serve::Ways {
                hosts: world.config.admin.hosts.clone(),
                proxies: world.config.admin.proxies()?,
            },
        },
        receiving: Arc::default(),
        pools: Pools::start()
            .context("no threads can be started to read with: allow this process more of them")?,
        heart: Heart::default(),
        seen: watch::Sender::default(),
        stop: world.stop.clone(),
    }))
}

/// The door of the outbox. Of a mapping that cannot be meant push tells, which then sends nothing.
fn intake(world: &World) -> Intake {
    Intake::new(
        world.outbox.clone(),
        world.config.orders.clone(),
        world.known.clone(),
        world.config.sync.profile,
        world.clock.clone(),
    )
}

/// Takes as many open files as this process may have: the limit that shells and old service managers set is for
/// programs that wait for one descriptor at a time by `select`, which this one does not.
fn raise_open_files() {
    let limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum {
        let raised = Rlimit {
            current: limit.maximum,
            ..limit
        };
        if let Err(error) = setrlimit(Resource::Nofile, raised) {
            tracing::warn!("the limit of open files cannot be raised ({error})");
        }
    }
    let seats = serve::seats();
    if seats < serve::CONNECTIONS_MAX {
        tracing::info!(
            seats,
            "{seats} storefront connections are taken at a time: the limit of open files allows no more"
        );
    }
}

/// The sockets that systemd has handed over, by name.
#[derive(Debug, Default)]
struct Given {
    sockets: Vec<(String, std::net::TcpListener)>,
}

impl Given {
    fn take() -> anyhow::Result<Self> {
        let names = std::env::var("LISTEN_FDNAMES").unwrap_or_default();
        let mut names = names.split(':');
        // Empty where the sockets are for another process.
        let mut handed = ListenFd::from_env();
        let mut sockets = Vec::new();
        for place in 0..handed.len() {
            let name = names.next().unwrap_or_default();
            let unfit = |why: &dyn std::fmt::Display| {
                ConfigError(format!(
                    "the socket {name:?} that systemd hands over cannot be used ({why}): it must be a ListenStream= of TCP"
                ))
            };
            let socket = handed.take_tcp_listener(place).map_err(|error| unfit(&error))?;
            let socket = socket.ok_or_else(|| unfit(&"it came twice"))?;
            if !socket_acceptconn(&socket).is_ok_and(|listens| listens) {
                return Err(unfit(&"nobody listens on it").into());
            }
            sockets.push((role(name).to_owned(), socket));
        }
        Ok(Self { sockets })
    }

    async fn or_bind(
        &mut self,
        role: &str,
        key: &str,
        listen: &config::Listen,
        tls: Option<&config::Tls>,
    ) -> anyhow::Result<Listener> {
        let Some(place) = self.sockets.iter().position(|(of, _)| of == role) else {
            let bound = Listener::bind(listen, tls).await;
            return bound.map_err(|error| match error.is::<ConfigError>() {
                true => error,
                false => error.context(format!(
                    "{key} {listen} cannot be listened on: stop what uses it, or set another address"
                )),
            });
        };
        let (_, socket) = self.sockets.swap_remove(place);
        Listener::new(socket, tls)
    }
}

/// What a socket is for.
fn role(name: &str) -> &'static str {
    if name == ADMIN || name.starts_with("storesync-admin") {
        ADMIN
    } else {
        STOREFRONT
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sockets_are_told_apart_by_name() {
        let cases = [
            ("storefront", "storefront"),
            ("admin", "admin"),
            ("storesync.socket", "storefront"),
            ("storesync-admin.socket", "admin"),
            ("unknown", "storefront"),
        ];
        for (name, expected) in cases {
            assert_eq!(role(name), expected, "{name}");
        }
    }
}
