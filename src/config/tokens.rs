//! Who may come in: tokens, of one form at both listeners and checked in one way. What differs is in [`Side`].

use aws_lc_rs::digest::{SHA256, digest};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};

use crate::config::ConfigError;

/// The name in audits of the token that the daemon makes where there are none.
const MACHINE_TOKEN: &str = "admin.token";
/// Longest name: longer ones are not taken into the audit, without which nothing is done.
const NAME_BYTES_MAX: usize = 4_000;

/// Whose listener it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    Storefronts,
    Operators,
}

/// What is particular to the tokens of a side.
struct Kind {
    section: &'static str,
    /// What would widen or narrow nothing here.
    has_foreign: fn(&Token) -> bool,
    foreign: &'static str,
    /// Where that belongs, and what says here what it would say there.
    foreign_section: &'static str,
    own: &'static str,
}

const STOREFRONTS: Kind = Kind {
    section: "serve",
    has_foreign: |token| !token.roles.is_empty(),
    foreign: "roles",
    foreign_section: "admin",
    own: "by customers and orders",
};
const OPERATORS: Kind = Kind {
    section: "admin",
    has_foreign: |token| token.customers || token.orders,
    foreign: "customers or orders",
    foreign_section: "serve",
    own: "under roles",
};

impl Side {
    fn kind(self) -> &'static Kind {
        match self {
            Self::Storefronts => &STOREFRONTS,
            Self::Operators => &OPERATORS,
        }
    }

    /// The section of the configuration.
    pub fn section(self) -> &'static str {
        self.kind().section
    }
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

/// Whether a character is not seen, or turns around how others are read.
fn is_unreadable(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{feff}')
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}')
}

/// Refuses what is no token, tokens that are not told apart by their names, which audits have, and by their secrets, and
/// rights that are for the other side.
pub(super) fn check(side: Side, tokens: &[Token]) -> Result<(), ConfigError> {
    let kind = side.kind();
    let section = kind.section;
    if let Some(token) = tokens.iter().find(|token| token.hash().is_empty()) {
        return Err(ConfigError(format!(
            "[{section}] the token {} has no sha256 of 64 hexadecimal digits: make one with printf %s TOKEN | sha256sum",
            token.name
        )));
    }
    for (place, token) in tokens.iter().enumerate() {
        if let Some(wrong) = wrong(token, &tokens[..place]) {
            let name = &token.name;
            return Err(ConfigError(format!("[{section}] the token {name:?} {wrong}")));
        }
    }
    match tokens.iter().find(|token| (kind.has_foreign)(token)) {
        None => Ok(()),
        Some(token) => Err(ConfigError(format!(
            "[{section}] the token {} has {}, which only tokens under [{}] can have: say {} what it is for",
            token.name, kind.foreign, kind.foreign_section, kind.own
        ))),
    }
}

/// What is wrong with a token behind others.
fn wrong(token: &Token, before: &[Token]) -> Option<String> {
    let name = &token.name;
    let is_named_so = |other: &&Token| other.name.to_lowercase() == name.to_lowercase();
    let wrong = if name.trim().is_empty() || name.chars().any(is_unreadable) {
        "has no name that people can read: give it one"
    } else if name.len() > NAME_BYTES_MAX {
        "has a name of more than 4,000 bytes: give it a shorter one"
    } else if name.eq_ignore_ascii_case(MACHINE_TOKEN) {
        "has the name of the token that the daemon makes itself: give it another"
    } else if token.hash() == digest(&SHA256, b"").as_ref() {
        "is the empty text: make a long random one"
    } else if token.stores.iter().any(|store| store.trim().is_empty()) {
        "is for a store without a name: take it out"
    } else if before.iter().any(|other| is_named_so(&other)) {
        "has the name of another: give each its own"
    } else {
        let other = before.iter().find(|other| other.hash() == token.hash())?;
        return Some(format!("is the same secret as {}: make one for each", other.name));
    };
    Some(wrong.to_owned())
}
