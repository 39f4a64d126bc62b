//! What people ask beside the running daemon: how things stand, and whether anything is missing.
//!
//! [`decode`] shows one event as the daemon reads it. Everything else reads the files that the daemon writes, and
//! never waits for it. Two things are written, each by a transaction of its own that the daemon finds: a list of
//! records to be read again, by [`verify`] and when asked, and what people decide about removals, by [`removals`], so that
//! mirrored rows are still changed by the daemon alone;
//! and what people do to single writes, by [`orders`]. [`replay`] writes where nobody else does. What of it is for the [`audit`]
//! is written down there before it is done.

pub mod audit;
pub mod backup;
pub mod check;
pub mod decode;
pub mod events;
pub mod export;
pub mod history;
pub mod listing;
pub mod login_url;
pub mod manual;
pub mod orders;
pub mod person;
pub mod removals;
pub mod replay;
pub mod status;
pub mod verify;

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use serde_json::Value;

use crate::config::{self, Config, ConfigError};
use crate::model::clock::Clock;
use crate::model::said;
use crate::salesforce::Org;
use crate::store::cache;
use crate::store::outbox::audit::Line;
use crate::store::outbox::desk::{Desk, DeskError};
use crate::store::reader::Reader;
use crate::store::volume;

/// There is nothing to look at.
#[derive(Debug, thiserror::Error)]
#[error(
    "there is no cache in {dir}: start the daemon first, or check [state] dir; where one runs, cache.db was removed under it, and /readyz says what to do"
)]
pub struct NoCache {
    dir: PathBuf,
}

/// What was typed cannot be understood.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Misused(String);

/// A reader of the cache in a directory that has one.
fn reader(dir: &Path) -> Result<Reader, NoCache> {
    match dir.join(cache::KIND.file_name).exists() {
        true => Ok(Reader::new(dir)),
        false => Err(NoCache { dir: dir.to_owned() }),
    }
}

/// The state directory: as given, else of the configuration.
fn state_dir(config: Option<&Path>, given: Option<&Path>) -> Result<PathBuf, ConfigError> {
    match given {
        Some(dir) => Ok(dir.to_owned()),
        None => Config::load(config).map(|config| config.state.dir),
    }
}

/// Who is at the keyboard, as far as the system tells, and that it is a keyboard: no token is taken for a user.
fn actor() -> Result<String, Misused> {
    let named = |variable: &&'static str| {
        let name = std::env::var(variable).ok()?;
        (!name.trim().is_empty()).then_some((*variable, name))
    };
    let Some((variable, name)) = ["SUDO_USER", "USER", "LOGNAME"].iter().find_map(named) else {
        return Ok("command line".to_owned());
    };
    match said::refusal(&format!("the variable {variable}"), &name) {
        Some(sentence) => Err(Misused(sentence)),
        None => Ok(format!("{name} (command line)")),
    }
}

/// Refuses to write values of persons into a folder where they would lie in plain, if the configuration does.
fn require_encrypted(state: &config::State, folder: &Path, remedy: &str) -> Result<(), Misused> {
    if !state.require_encrypted {
        return Ok(());
    }
    match volume::encryption_beside(volume::existing(folder), state.stated_dir()).doubt() {
        None => Ok(()),
        Some(why) => Err(Misused(format!(
            "[state] require_encrypted is set, and {} is not seen to be encrypted ({why}): {remedy}",
            folder.display()
        ))),
    }
}

/// Writes to the audit what is done next. A directory that never had an outbox is no daemon's, and has no audit.
fn write_down(dir: &Path, line: &Line) -> Result<(), DeskError> {
    match Desk::write(dir) {
        Err(DeskError::None(_)) => Ok(()),
        desk => desk?.write_down(line, Clock::System.now()),
    }
}

/// Why something could not be printed.
static UNPRINTED: OnceLock<io::Error> = OnceLock::new();

/// Prints to standard output. What the org or a storefront sent commands no terminal. That something could not be printed
/// is told at the end, by [`printed`].
fn print(text: &str) {
    note_printed(io::stdout().write_all(without_commands(text).as_bytes()));
}

fn note_printed(written: io::Result<()>) {
    match written {
        // Whoever closed it has read enough.
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => drop(UNPRINTED.set(error)),
        _ => {}
    }
}

/// Whether it failed because whoever reads has closed the pipe.
fn is_closed(error: &anyhow::Error) -> bool {
    let kind = |cause: &(dyn std::error::Error + 'static)| match cause.downcast_ref::<serde_json::Error>() {
        Some(error) => error.io_error_kind(),
        None => cause.downcast_ref().map(io::Error::kind),
    };
    error
        .chain()
        .any(|cause| kind(cause) == Some(io::ErrorKind::BrokenPipe))
}

/// Whether all that was printed is there.
pub fn printed() -> Result<(), &'static io::Error> {
    note_printed(io::stdout().flush());
    UNPRINTED.get().map_or(Ok(()), Err)
}

fn without_commands(text: &str) -> String {
    let commands = |c: char| c.is_control() && !matches!(c, '\n' | '\t');
    text.replace(commands, "\u{fffd}")
}

/// The same of a value.
pub fn print_json(value: &Value) {
    print(&format!("{value:#}\n"));
}

/// `used 12 of 15000`, as far as an answer of the org has told it.
fn usage(org: &Org) -> String {
    match org.api_usage() {
        Some(usage) => format!("{} of {} used in 24 hours", usage.used, usage.limit),
        None => "how many are used is not known yet".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_printed_commands_no_terminal() {
        let sent = "bad \u{1b}[31mred\u{7}\r\u{9b}0m\tcolumn\nline é";
        assert_eq!(
            without_commands(sent),
            "bad \u{fffd}[31mred\u{fffd}\u{fffd}\u{fffd}0m\tcolumn\nline é"
        );
    }
}
