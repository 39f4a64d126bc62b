//! Where values of persons may lie besides the state directory: in swap, in files of SQLite's own, in backups.

use std::path::Path;

use crate::config::{self, Config};
use crate::inspect::check::{Area, Report};
use crate::store::backup::sealed::Recipients;
use crate::store::volume::beside;
use crate::store::volume::{self, Encryption};
use crate::store::{database, holders};

/// Of the daemon that runs on the directory, else of what is started from here.
pub(super) fn swap(report: &mut Report, dir: &Path) {
    let daemon = holders::owner(dir).filter(|_| database::is_held(dir));
    let who = daemon.map_or("what is started from here", |_| "the daemon");
    let (area, subject) = (Area::Files, "swap");
    let told = match beside::swap(daemon) {
        Encryption::Yes(how) => {
            report.ok(
                area,
                subject,
                &format!("nothing of {who} is swapped out in plain ({how})"),
            );
            return;
        }
        Encryption::No(why) => format!("{who} may be swapped out in plain ({why})"),
        Encryption::Unknown(why) => format!("{who} may be swapped out, not seen to be encrypted ({why})"),
    };
    let remedy = "encrypt the swap or turn it off, or run the daemon by its unit, which has MemorySwapMax=0";
    report.warn(area, subject, &told, remedy);
}

pub(super) fn spill(report: &mut Report, state: &config::State) {
    let (area, subject) = (Area::Files, "temporary files");
    let (dir, told) = beside::spill(state.stated_dir());
    let place = format!("SQLite's are in {} for what is started from here", dir.display());
    match told {
        Encryption::Yes(how) => {
            report.ok(area, subject, &format!("{place}, which is encrypted ({how})"));
        }
        Encryption::No(why) | Encryption::Unknown(why) => {
            let told = format!("{place}, which is not seen to be encrypted ({why})");
            let remedy = "set SQLITE_TMPDIR to the path of [state] dir, as the unit does";
            report.warn(area, subject, &told, remedy);
        }
    }
}

/// What is configured of backups.
pub(super) fn backups(report: &mut Report, config: &Config) {
    let (area, backup) = (Area::Files, &config.backup);
    let subject = "[backup] recipients";
    let recipients = match Recipients::parse(&backup.recipients) {
        Err(error) => {
            let remedy = "as it says; no backup is made before";
            report.fail(area, subject, &error.to_string(), remedy);
            return;
        }
        Ok(recipients) => recipients,
    };
    if let Some(recipients) = recipients {
        let told = format!("backups are encrypted to {}", recipients.count());
        report.ok(area, subject, &told);
        return;
    }
    let Some(dir) = &backup.dir else { return };
    let (subject, shown) = ("[backup] dir", dir.display());
    let why = match volume::encryption_beside(volume::existing(dir), config.state.stated_dir()) {
        Encryption::Yes(how) => {
            report.ok(area, subject, &format!("{shown} is encrypted ({how})"));
            return;
        }
        Encryption::No(why) | Encryption::Unknown(why) => why,
    };
    if backup.encryption.is_some() {
        let told = format!("{shown} is stated to be encrypted, which is not seen from here ({why})");
        report.ok(area, subject, &told);
        return;
    }
    let told = format!("{shown} is not seen to be encrypted ({why}), and backups are not either");
    let remedy = "name [backup] recipients, or say [backup] encryption = \"volume\" where the provider or the disk encrypts it";
    match config.state.require_encrypted {
        true => report.fail(area, subject, &told, remedy),
        false => report.warn(area, subject, &told, remedy),
    };
}
