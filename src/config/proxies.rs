//! Proxies before a listener, and the header in which they say for whom they ask.

use std::net::IpAddr;

use ipnet::IpNet;
use serde::Deserialize;

use crate::config::ConfigError;

/// What stands for whoever comes by a socket in the file system.
const SOCKETS: &str = "unix:";

/// The header that a listener's proxies write.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ForwardedHeader {
    #[default]
    XForwardedFor,
    Forwarded,
}

impl ForwardedHeader {
    pub fn name(self) -> &'static str {
        match self {
            Self::XForwardedFor => "x-forwarded-for",
            Self::Forwarded => "forwarded",
        }
    }
}

/// The proxies of a listener.
#[derive(Clone, Debug, Default)]
pub struct Proxies {
    pub networks: Vec<IpNet>,
    /// Whoever comes by a socket in the file system is one.
    pub sockets: bool,
    pub header: ForwardedHeader,
}

impl Proxies {
    pub fn new(section: &str, named: &[String], header: ForwardedHeader) -> Result<Self, ConfigError> {
        let (sockets, networks): (Vec<_>, Vec<_>) = named.iter().partition(|named| *named == SOCKETS);
        let network = |named: &&String| {
            network(named).ok_or_else(|| {
                ConfigError(format!(
                    "[{section}] trusted_proxies has {named}, which is no address: give one as in 10.0.0.1 or 10.0.0.0/8, or unix:"
                ))
            })
        };
        Ok(Self {
            networks: networks.iter().map(network).collect::<Result<_, _>>()?,
            sockets: !sockets.is_empty(),
            header,
        })
    }
}

fn network(named: &str) -> Option<IpNet> {
    let address = || named.parse::<IpAddr>().ok().map(IpNet::from);
    named.parse().ok().or_else(address)
}
