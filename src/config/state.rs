//! `[state]`: where the databases live, and how long the journal keeps what.

use std::path::{Path, PathBuf};

use serde::Deserialize;

/// `[state]`: where the databases live.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct State {
    pub dir: PathBuf,
    /// Whether the journal keeps the rows that the org answers, besides its events.
    #[serde(default = "yes")]
    pub keep_rows: bool,
    /// How long the journal keeps events and what the org answered; 0 for as long as there is room.
    #[serde(default = "journal_days")]
    pub journal_days: u32,
    /// How large the journal may become before the oldest goes.
    #[serde(default = "journal_bytes")]
    pub journal_bytes: u64,
    /// How long the audit keeps its entries; 0 for ever.
    #[serde(default = "audit_days")]
    pub audit_days: u32,
    /// What the operator says of the volume, where this machine cannot see it.
    #[serde(default)]
    pub encryption: Option<StatedEncryption>,
    /// The daemon does not start where the directory is neither seen nor stated to be encrypted.
    #[serde(default)]
    pub require_encrypted: bool,
}

impl State {
    /// The directory, where its volume is stated to be encrypted.
    pub fn stated_dir(&self) -> Option<&Path> {
        self.encryption.map(|StatedEncryption::Volume| &*self.dir)
    }
}

/// Encryption out of this machine's sight.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StatedEncryption {
    /// The provider, the disk or the hypervisor encrypts the volume.
    Volume,
}

fn yes() -> bool {
    true
}

pub(super) fn journal_days() -> u32 {
    90
}

/// A whole year, and time to look at it.
pub(super) fn audit_days() -> u32 {
    400
}

pub(super) fn journal_bytes() -> u64 {
    8 << 30
}
