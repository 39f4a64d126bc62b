//! What the program's exit status says of an error: what was typed, what is set, what is away, or what may pass.

use crate::cli::Exit;
use crate::config::ConfigError;
use crate::inbound::history::NoJournal;
use crate::inbound::replay::ReplayError;
use crate::inspect::Misused;
use crate::inspect::NoCache;
use crate::salesforce::Error as OrgError;
use crate::store::cache::OtherOrg;
use crate::store::database::OpenError;

/// The exit status that an error calls for.
pub fn exit_of(error: &anyhow::Error) -> Exit {
    for cause in error.chain() {
        if cause.is::<ConfigError>() || cause.is::<OtherOrg>() {
            return Exit::Configuration;
        }
        if cause.is::<Misused>() {
            return Exit::Usage;
        }
        if cause.is::<NoCache>() || cause.is::<NoJournal>() || cause.is::<ReplayError>() {
            return Exit::Unavailable;
        }
        match cause.downcast_ref::<OpenError>() {
            Some(OpenError::Newer { .. } | OpenError::Foreign { .. }) => return Exit::Configuration,
            Some(OpenError::InUse { .. }) => return Exit::Unavailable,
            Some(OpenError::Directory { source, .. }) if !is_full(source) => return Exit::Unavailable,
            Some(OpenError::Directory { .. } | OpenError::Database { .. } | OpenError::Unkept { .. }) => {
                return Exit::Temporary;
            }
            None => {}
        }
        match cause.downcast_ref::<OrgError>() {
            Some(OrgError::Secret(_) | OrgError::Login { .. } | OrgError::OtherOrg { .. }) => {
                return Exit::Configuration;
            }
            Some(_) => return Exit::Unavailable,
            None => {}
        }
        if cause.downcast_ref::<std::io::Error>().is_some_and(|error| {
            matches!(
                error.kind(),
                std::io::ErrorKind::AddrInUse | std::io::ErrorKind::AddrNotAvailable
            )
        }) {
            return Exit::Unavailable;
        }
    }
    Exit::Temporary
}

/// Whether there was no room.
fn is_full(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{QuotaExceeded, StorageFull};
    matches!(error.kind(), StorageFull | QuotaExceeded)
}
