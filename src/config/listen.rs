//! Where the listeners listen, with what certificate, and who may come in.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;

use serde::Deserialize;

use crate::config::ConfigError;

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
            return Ok(Self::Unix(path.into()));
        }
        text.parse().map(Self::Tcp).map_err(|_| {
            format!("{text} is no address to listen on: give ADDRESS:PORT as in 127.0.0.1:8080, or unix:/path/to/socket")
        })
    }
}

impl Listen {
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

/// Who may read what. Of the token itself only the hash is known.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Token {
    /// For people: who has it.
    pub name: String,
    /// SHA-256 of the token, in hexadecimal.
    pub sha256: String,
    /// Ids, codes or domains; all stores, and raw rows, where none is named.
    #[serde(default)]
    pub stores: Vec<String>,
    /// Whether data of customers may be read.
    #[serde(default)]
    pub customers: bool,
    /// Whether orders may be placed and followed.
    #[serde(default)]
    pub orders: bool,
}

impl Token {
    /// The hash as bytes; empty where it is not well formed, which reading the configuration refuses.
    pub fn hash(&self) -> Vec<u8> {
        let text = self.sha256.as_bytes();
        let digit = |byte: u8| {
            char::from(byte)
                .to_digit(16)
                .and_then(|digit| u8::try_from(digit).ok())
        };
        let byte = |pair: &[u8]| Some(digit(*pair.first()?)? << 4 | digit(*pair.get(1)?)?);
        let bytes: Option<Vec<u8>> = text.chunks(2).map(byte).collect();
        bytes.filter(|bytes| bytes.len() == 32).unwrap_or_default()
    }
}

/// A token of operators opens all of their listener: what narrows one for storefronts would narrow nothing.
pub(super) fn check_operators(tokens: &[Token]) -> Result<(), ConfigError> {
    let narrowed = |token: &&Token| !token.stores.is_empty() || token.customers || token.orders;
    match tokens.iter().find(narrowed) {
        None => Ok(()),
        Some(token) => Err(ConfigError(format!(
            "[admin] the token {} has stores, customers or orders, which only tokens under [serve] can have: it opens \
             everything for operators, so give it a name and sha256 alone",
            token.name
        ))),
    }
}

/// What reaches beyond this machine is encrypted and asks for a token.
pub(super) fn check_listener(
    section: &str,
    listen: &Listen,
    tls: bool,
    tokens: &[Token],
) -> Result<(), ConfigError> {
    if let Some(token) = tokens.iter().find(|token| token.hash().is_empty()) {
        return Err(ConfigError(format!(
            "[{section}] the token {} has no sha256 of 64 hexadecimal digits: make one with printf %s TOKEN | sha256sum",
            token.name
        )));
    }
    let lacks = match (listen.is_local(), tls, tokens.is_empty()) {
        (true, ..) | (false, true, false) => return Ok(()),
        (false, false, true) => "neither TLS nor tokens",
        (false, false, false) => "no TLS",
        (false, true, true) => "no tokens",
    };
    Err(ConfigError(format!(
        "[{section}] listen {listen} can be reached from other machines and has {lacks}: set [{section}.tls] and \
         [[{section}.tokens]], or listen on 127.0.0.1 or a unix: socket"
    )))
}
