//! Where the listeners listen, and with what certificate.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;

use serde::Deserialize;

use crate::config::ConfigError;
use crate::config::tokens::{self, Side, Token};

/// Bytes in the path of a socket; one more ends it.
const SOCKET_PATH_MAX: usize = 107;

/// Where a listener listens.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub enum Listen {
    Tcp(SocketAddr),
    /// `unix:/run/storesync/serve.sock`
    Unix(PathBuf),
}

impl TryFrom<String> for Listen {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        if let Some(path) = text.strip_prefix("unix:") {
            return match path.len() {
                0 => Err("unix: names no path: give unix:/path/to/socket".to_owned()),
                1..=SOCKET_PATH_MAX => Ok(Self::Unix(path.into())),
                length => Err(format!(
                    "the path of a socket has {length} bytes, and the system takes {SOCKET_PATH_MAX}: give a shorter one"
                )),
            };
        }
        text.parse().map(Self::Tcp).map_err(|_| {
            format!("{text} is no address to listen on: give ADDRESS:PORT as in 127.0.0.1:8080, or unix:/path/to/socket")
        })
    }
}

impl Listen {
    /// One socket in the file system is one listener's.
    pub(super) fn check_apart_from(&self, operators: &Self) -> Result<(), ConfigError> {
        match self {
            Self::Unix(_) if self == operators => Err(ConfigError(format!(
                "[serve] listen and [admin] listen are both {self}: give each a socket of its own"
            ))),
            Self::Unix(_) | Self::Tcp(_) => Ok(()),
        }
    }

    /// Whether only this machine can reach it.
    fn is_local(&self) -> bool {
        match self {
            Self::Tcp(address) => address.ip().is_loopback(),
            Self::Unix(_) => true,
        }
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// Certificate chain and key of a listener.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tls {
    pub cert_file: PathBuf,
    pub key_file: PathBuf,
}

/// What reaches beyond this machine is encrypted and asks for a token.
pub(super) fn check_listener(
    side: Side,
    listen: &Listen,
    tls: bool,
    tokens: &[Token],
) -> Result<(), ConfigError> {
    tokens::check(side, tokens)?;
    let lacks = match (listen.is_local(), tls, tokens.is_empty()) {
        (true, ..) | (false, true, false) => return Ok(()),
        (false, false, true) => "neither TLS nor tokens",
        (false, false, false) => "no TLS",
        (false, true, true) => "no tokens",
    };
    let section = side.section();
    Err(ConfigError(format!(
        "[{section}] listen {listen} can be reached from other machines and has {lacks}: set [{section}.tls] and \
         [[{section}.tokens]], or listen on 127.0.0.1 or a unix: socket"
    )))
}
