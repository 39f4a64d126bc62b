//! What a change event says, apart from the values it carries.
//!
//! Facts about the header are those of the Change Data Capture guide, "Change Event Header Fields"; replay
//! ids are opaque bytes and are never computed with.

use std::fmt;

use bytes::Bytes;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A position in a topic's stream, as Salesforce gave it. Only equality means anything.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct ReplayId(pub Bytes);

impl fmt::Debug for ReplayId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl fmt::Display for ReplayId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl ReplayId {
    /// Reads what its `Display` writes.
    pub fn from_hex(hex: &str) -> Option<Self> {
        if !hex.len().is_multiple_of(2) {
            return None;
        }
        let byte = |at: usize| u8::from_str_radix(hex.get(at..at + 2)?, 16).ok();
        let bytes: Option<Vec<u8>> = (0..hex.len()).step_by(2).map(byte).collect();
        Some(Self(Bytes::from(bytes?)))
    }
}

/// As hex.
impl Serialize for ReplayId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ReplayId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let hex = String::deserialize(deserializer)?;
        Self::from_hex(&hex).ok_or_else(|| D::Error::custom(format!("{hex} is no replay id in hex")))
    }
}

/// One event as it came off the wire, not yet decoded: what the journal keeps.
#[derive(Clone, Debug)]
pub struct RawEvent {
    pub replay_id: ReplayId,
    /// The bus's own id of the event (a UUID); a duplicate keeps it under another replay id.
    pub event_id: String,
    /// Names the writer schema of the payload.
    pub schema_id: String,
    /// One bare Avro datum.
    pub payload: Bytes,
    /// Fields whose values were taken out of the payload, by describe's names; [`ALL`] where nothing is left of it.
    pub redacted: Vec<String>,
}

/// Stands for all fields among those that were taken out of an event.
pub const ALL: &str = "*";

/// What happened to the records an event names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChangeKind {
    Create,
    Update,
    Delete,
    Undelete,
    /// The org could not say what changed, only that these records did.
    Gap(GapKind),
    /// So much changed in one transaction that the whole object has to be read again.
    Overflow,
    /// Reserved by Salesforce; treated like a gap.
    Snapshot,
}

/// Which change a gap event stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GapKind {
    Create,
    Update,
    Delete,
    Undelete,
}

impl ChangeKind {
    /// Reads the symbol of the header's `changeType`; `None` for one this version does not know.
    pub fn from_symbol(symbol: &str) -> Option<Self> {
        Some(match symbol {
            "CREATE" => Self::Create,
            "UPDATE" => Self::Update,
            "DELETE" => Self::Delete,
            "UNDELETE" => Self::Undelete,
            "GAP_CREATE" => Self::Gap(GapKind::Create),
            "GAP_UPDATE" => Self::Gap(GapKind::Update),
            "GAP_DELETE" => Self::Gap(GapKind::Delete),
            "GAP_UNDELETE" => Self::Gap(GapKind::Undelete),
            "GAP_OVERFLOW" => Self::Overflow,
            "SNAPSHOT" => Self::Snapshot,
            _ => return None,
        })
    }

    /// The symbol that [`ChangeKind::from_symbol`] reads.
    pub fn symbol(self) -> &'static str {
        match self {
            Self::Create => "CREATE",
            Self::Update => "UPDATE",
            Self::Delete => "DELETE",
            Self::Undelete => "UNDELETE",
            Self::Gap(GapKind::Create) => "GAP_CREATE",
            Self::Gap(GapKind::Update) => "GAP_UPDATE",
            Self::Gap(GapKind::Delete) => "GAP_DELETE",
            Self::Gap(GapKind::Undelete) => "GAP_UNDELETE",
            Self::Overflow => "GAP_OVERFLOW",
            Self::Snapshot => "SNAPSHOT",
        }
    }
}
