//! `[backup]`: where copies go, and who can read them.

use std::path::PathBuf;

use serde::Deserialize;

use crate::config::{ConfigError, StatedEncryption};

/// `[backup]`: where copies go, and who can read them. The daemon itself makes none.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Backup {
    /// Where `storesync backup` makes a folder where none is named.
    pub dir: Option<PathBuf>,
    /// Public keys of age; without any, copies are not encrypted.
    pub recipients: Vec<String>,
    /// What the operator says of the volume that copies go to, where this machine cannot see it.
    pub encryption: Option<StatedEncryption>,
}

impl Backup {
    /// What can be told without knowing what a key is.
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        for recipient in &self.recipients {
            // It is not told again: it opens every backup.
            if recipient
                .trim()
                .to_ascii_uppercase()
                .starts_with("AGE-SECRET-KEY-")
            {
                return Err(ConfigError(
                    "[backup] recipients has an identity of age: take it off this machine, and give what `age-keygen -y` \
                     prints of it, which begins with age1"
                        .to_owned(),
                ));
            }
            if !recipient.starts_with("age1") {
                return Err(ConfigError(format!(
                    "[backup] recipients has {recipient:?}: give public keys of age, which begin with age1"
                )));
            }
        }
        Ok(())
    }
}
