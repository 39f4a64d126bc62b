//! Where the listeners listen, with what certificate, and who may come in.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;

use aws_lc_rs::digest::{SHA256, digest};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};

use crate::config::ConfigError;

/// The name in audits of the token that the daemon makes where there are none.
const MACHINE_TOKEN: &str = "admin.token";

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

/// What a token of operators is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(try_from = "String")]
pub enum Role {
    /// Everything but values of persons.
    View,
    /// Values of persons too.
    Personal,
    /// Retries, gives up and reopens writes.
    Operate,
    /// Changes writes; reads their values and operates.
    Edit,
    /// Takes all writes with their values at once; reads values.
    Export,
}

impl TryFrom<String> for Role {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let named = Self::ALL.into_iter().find(|role| role.name() == text);
        named.ok_or_else(|| {
            let known = Self::ALL.map(Self::name).join(", ");
            let text: String = text.chars().take(40).collect();
            format!("the token's roles have {text:?}, which is none: give some of {known}")
        })
    }
}

impl Role {
    pub const ALL: [Self; 5] = [
        Self::View,
        Self::Personal,
        Self::Operate,
        Self::Edit,
        Self::Export,
    ];

    /// As the configuration names it.
    pub fn name(self) -> &'static str {
        match self {
            Self::View => "view",
            Self::Personal => "personal",
            Self::Operate => "operate",
            Self::Edit => "edit",
            Self::Export => "export",
        }
    }

    /// Whether who has this role may do what another is for.
    pub fn includes(self, other: Self) -> bool {
        match other {
            Self::View => true,
            Self::Personal => matches!(self, Self::Personal | Self::Edit | Self::Export),
            Self::Operate => matches!(self, Self::Operate | Self::Edit),
            Self::Edit | Self::Export => self == other,
        }
    }
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
    #[serde(default, deserialize_with = "some")]
    pub stores: Vec<String>,
    /// Whether data of customers may be read.
    #[serde(default)]
    pub customers: bool,
    /// Whether orders may be placed and followed.
    #[serde(default)]
    pub orders: bool,
    /// Of operators alone: what it is for; everything where none is named.
    #[serde(default, deserialize_with = "some")]
    pub roles: Vec<Role>,
}

/// A list that is written down names something: whoever takes the last out of it does not mean all.
fn some<'de, D: Deserializer<'de>, T: Deserialize<'de>>(list: D) -> Result<Vec<T>, D::Error> {
    let list = Vec::deserialize(list)?;
    match list.is_empty() {
        true => Err(D::Error::custom(
            "a list of the token is empty: leave the key out, which means everything, or take the token away",
        )),
        false => Ok(list),
    }
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

/// What is for the tokens of one listener would widen or narrow nothing at the other.
pub(super) fn check_kinds(storefronts: &[Token], operators: &[Token]) -> Result<(), ConfigError> {
    if let Some(token) = operators.iter().find(|token| token.customers || token.orders) {
        return Err(ConfigError(format!(
            "[admin] the token {} has customers or orders, which only tokens under [serve] can have: say under roles what it is for",
            token.name
        )));
    }
    match storefronts.iter().find(|token| !token.roles.is_empty()) {
        None => Ok(()),
        Some(token) => Err(ConfigError(format!(
            "[serve] the token {} has roles, which only tokens under [admin] can have: say by customers and orders what it is for",
            token.name
        ))),
    }
}

/// Whether a character is not seen, or turns around how others are read.
fn is_unreadable(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{feff}')
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}')
}

/// Tokens are told apart by their names, which audits have, and by their secrets.
fn check_tokens(section: &str, tokens: &[Token]) -> Result<(), ConfigError> {
    let empty = digest(&SHA256, b"");
    for (place, token) in tokens.iter().enumerate() {
        let name = &token.name;
        let before = &tokens[..place];
        let wrong = if name.trim().is_empty() || name.chars().any(is_unreadable) {
            "has no name that people can read: give it one".to_owned()
        } else if name.eq_ignore_ascii_case(MACHINE_TOKEN) {
            "has the name of the token that the daemon makes itself: give it another".to_owned()
        } else if token.hash() == empty.as_ref() {
            "is the empty text: make a long random one".to_owned()
        } else if token.stores.iter().any(|store| store.trim().is_empty()) {
            "is for a store without a name: take it out".to_owned()
        } else if before
            .iter()
            .any(|other| other.name.to_lowercase() == name.to_lowercase())
        {
            "has the name of another: give each its own".to_owned()
        } else if let Some(other) = before.iter().find(|other| other.hash() == token.hash()) {
            format!("is the same secret as {}: make one for each", other.name)
        } else {
            continue;
        };
        return Err(ConfigError(format!("[{section}] the token {name:?} {wrong}")));
    }
    Ok(())
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
    check_tokens(section, tokens)?;
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
