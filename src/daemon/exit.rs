//! What the program's exit status says of an error: what was typed, what is set, what is away, or what may pass.

use crate::cli::Exit;
use crate::config::ConfigError;
use crate::inbound::prepare::OtherRegion;
use crate::inspect::Misused;
use crate::inspect::NoCache;
use crate::journal::history::NoJournal;
use crate::journal::replay::ReplayError;
use crate::salesforce::Error as OrgError;
use crate::store::admin_token::Unusable;
use crate::store::cache::OtherOrg;
use crate::store::database::OpenError;
use crate::store::outbox::desk::DeskError;

/// The exit status that an error calls for.
pub fn exit_of(error: &anyhow::Error) -> Exit {
    for cause in error.chain() {
        if cause.is::<ConfigError>() || cause.is::<OtherOrg>() || cause.is::<OtherRegion>() {
            return Exit::Configuration;
        }
        if cause.is::<Misused>() {
            return Exit::Usage;
        }
        if cause.is::<Unusable>()
            || cause.is::<NoCache>()
            || cause.is::<NoJournal>()
            || cause.is::<ReplayError>()
        {
            return Exit::Unavailable;
        }
        let open = match cause.downcast_ref() {
            Some(DeskError::None(_) | DeskError::OtherVersion | DeskError::OlderVersion) => {
                return Exit::Unavailable;
            }
            Some(DeskError::Open(error)) => Some(error),
            Some(DeskError::Sql(_)) | None => cause.downcast_ref::<OpenError>(),
        };
        match open {
            Some(OpenError::Newer { .. } | OpenError::Foreign { .. }) => return Exit::Configuration,
            Some(
                OpenError::InUse { .. }
                | OpenError::Missing { .. }
                | OpenError::Another { .. }
                | OpenError::LogOfAnother { .. },
            ) => return Exit::Unavailable,
            Some(OpenError::Directory { source, .. }) if !is_full(source) => return Exit::Unavailable,
            Some(
                OpenError::Directory { .. }
                | OpenError::Database { .. }
                | OpenError::NoFile { .. }
                | OpenError::Damaged { .. }
                | OpenError::Unkept { .. },
            ) => {
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

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use anyhow::anyhow;

    use super::*;

    fn path() -> PathBuf {
        "/state".into()
    }

    fn disk(kind: std::io::ErrorKind) -> std::io::Error {
        kind.into()
    }

    fn database(code: i32) -> OpenError {
        OpenError::Database {
            path: path(),
            source: rusqlite::Error::SqliteFailure(rusqlite::ffi::Error::new(code), None),
        }
    }

    #[test]
    fn a_database_that_cannot_be_opened_is_a_temporary_failure_and_a_foreign_one_is_not() {
        let cases = [
            (database(rusqlite::ffi::SQLITE_CANTOPEN), Exit::Temporary),
            (database(rusqlite::ffi::SQLITE_FULL), Exit::Temporary),
            (
                OpenError::Directory {
                    dir: path(),
                    source: disk(std::io::ErrorKind::StorageFull),
                },
                Exit::Temporary,
            ),
            (
                OpenError::Unkept {
                    path: path(),
                    reason: "the disk is full".to_owned(),
                },
                Exit::Temporary,
            ),
            (OpenError::InUse { dir: path() }, Exit::Unavailable),
            (
                OpenError::Missing {
                    path: path(),
                    note: path(),
                },
                Exit::Unavailable,
            ),
            (
                OpenError::Another {
                    path: path(),
                    note: path(),
                },
                Exit::Unavailable,
            ),
            (
                OpenError::LogOfAnother {
                    path: path(),
                    log: path(),
                },
                Exit::Unavailable,
            ),
            (OpenError::Foreign { path: path() }, Exit::Configuration),
            (
                OpenError::Newer {
                    path: path(),
                    found: 9,
                    known: 1,
                },
                Exit::Configuration,
            ),
        ];
        for (error, expected) in cases {
            let told = error.to_string();
            assert_eq!(
                exit_of(&anyhow::Error::from(error).context("start")),
                expected,
                "{told}"
            );
        }
    }

    #[test]
    fn wrong_settings_and_an_org_that_is_away_have_statuses_of_their_own() {
        let org = |error: OrgError| anyhow::Error::from(error);
        let url = || "https://shop.example".to_owned();
        let login = OrgError::Login {
            error: "invalid_client".to_owned(),
            description: String::new(),
        };
        let away = OrgError::Unreachable {
            url: url(),
            reason: "no route".to_owned(),
        };
        let refused = OrgError::Refused {
            status: 503,
            errors: Vec::new(),
        };
        let cases = [
            (ConfigError("misspelt".to_owned()).into(), Exit::Configuration),
            (org(login), Exit::Configuration),
            (
                org(OrgError::Secret("no such file".to_owned())),
                Exit::Configuration,
            ),
            (org(away), Exit::Unavailable),
            (org(refused), Exit::Unavailable),
            (disk(std::io::ErrorKind::AddrInUse).into(), Exit::Unavailable),
            (disk(std::io::ErrorKind::StorageFull).into(), Exit::Temporary),
            (anyhow!("the stage push ended by itself"), Exit::Temporary),
        ];
        for (error, expected) in cases {
            let error: anyhow::Error = error;
            let told = format!("{error:#}");
            assert_eq!(exit_of(&error.context("start")), expected, "{told}");
        }
    }
}
