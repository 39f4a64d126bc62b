//! `storesync backup` and `storesync restore`.

use std::path::{Path, PathBuf};

use serde_json::json;

use crate::cli::{BackupArgs, Exit, RestoreArgs};
use crate::config::Config;
use crate::inspect::{Misused, actor, print, print_json, reader, require_encrypted};
use crate::model::clock::{Clock, format_datetime};
use crate::store::backup::sealed::{Identities, Recipients};
use crate::store::backup::{self, BackupError, Manifest, Restoring};
use crate::store::outbox::audit::Line;

/// Copies the state beside a daemon that may run.
pub fn make(config: &Config, args: &BackupArgs) -> anyhow::Result<Exit> {
    // One sentence for a directory without a daemon's state.
    drop(reader(&config.state.dir)?);
    let made_at = format_datetime(Clock::System.now());
    let to = folder(config, args, &made_at)?;
    let recipients = Recipients::parse(config.backup.recipients.iter().chain(&args.recipient));
    let recipients = recipients.map_err(|error| Misused(error.to_string()))?;
    if recipients.is_none() && config.backup.encryption.is_none() {
        let remedy = "name [backup] recipients or --recipient to have the backup encrypted, or say [backup] encryption = \
                      \"volume\" where the provider or the disk encrypts that folder";
        require_encrypted(&config.state, &to, remedy)?;
    }
    let manifest = backup::make(&config.state.dir, &to, made_at, recipients.as_ref()).map_err(told)?;
    let what = match &recipients {
        Some(recipients) if recipients.count() > 1 => {
            format!(
                "copied, checked and encrypted to {} recipients",
                recipients.count()
            )
        }
        Some(_) => "copied, checked and encrypted".to_owned(),
        None => "copied and checked".to_owned(),
    };
    tell(&to, &manifest, args.json, &what)?;
    Ok(Exit::Ok)
}

/// Where a backup goes.
fn folder(config: &Config, args: &BackupArgs, made_at: &str) -> Result<PathBuf, Misused> {
    match (&args.to, &config.backup.dir) {
        (Some(to), _) => Ok(to.clone()),
        // Programs that copy folders take what is before a colon for a host.
        (None, Some(dir)) => Ok(dir.join(made_at.replace(':', ""))),
        (None, None) => {
            let why = "no folder is named for the backup: give one that is new, or set [backup] dir";
            Err(Misused(why.to_owned()))
        }
    }
}

/// Puts a copy back, or only checks it.
pub fn restore(config: &Config, args: &RestoreArgs) -> anyhow::Result<Exit> {
    let identities = args.identity.as_deref().map(Identities::read).transpose();
    let identities = identities.map_err(|error| Misused(error.to_string()))?;
    let done = match args.check {
        true => backup::verify(&args.from, identities.as_ref()),
        false => put_back(config, args, identities.as_ref())?,
    };
    let manifest = match done {
        Err(error @ (BackupError::Damaged { .. } | BackupError::Incomplete(_))) => {
            eprintln!("storesync: {error}");
            return Ok(Exit::Failed);
        }
        done => done.map_err(told)?,
    };
    if args.check {
        let what = match (manifest.is_sealed(), &identities) {
            (false, _) => "whole",
            (true, Some(_)) => "whole, and opened by the identity",
            (true, None) => "as it was made, and not opened",
        };
        tell(&args.from, &manifest, args.json, what)?;
        return Ok(Exit::Ok);
    }
    tell(&args.from, &manifest, args.json, "restored")?;
    if !args.json {
        print(
            "Start the daemon: it reads what changed since. Orders that were sent since are recognised by their keys;\n",
        );
        print("orders that were accepted since the backup are not in it.\n");
        if identities.is_some() {
            print("Take the identity off this machine.\n");
        }
    }
    Ok(Exit::Ok)
}

fn put_back(
    config: &Config,
    args: &RestoreArgs,
    identities: Option<&Identities>,
) -> Result<Result<Manifest, BackupError>, Misused> {
    let state = &config.state;
    let remedy = "move [state] dir to an encrypted volume, or say [state] encryption = \"volume\" where the provider or the \
                  disk encrypts it";
    if state.encryption.is_none() {
        require_encrypted(state, &state.dir, remedy)?;
    }
    // As it is found by whoever reads the audit in another folder.
    let from = std::path::absolute(&args.from).unwrap_or_else(|_| args.from.clone());
    let restoring = Restoring {
        from: &from,
        replace: args.replace,
        identities,
        line: Line::new(actor()?, "restore"),
        now: Clock::System.now(),
    };
    Ok(backup::restore(&state.dir, restoring))
}

/// A database that cannot be opened decides the exit status by itself; a place that is taken was typed.
fn told(error: BackupError) -> anyhow::Error {
    match error {
        BackupError::Open(error) => error.into(),
        BackupError::NotEmpty(_)
        | BackupError::Present(_)
        | BackupError::Sealed(_)
        | BackupError::OtherRecipients(_) => Misused(error.to_string()).into(),
        other => other.into(),
    }
}

fn tell(dir: &Path, manifest: &Manifest, as_json: bool, what: &str) -> anyhow::Result<()> {
    let sha256 = backup::manifest_sha256(dir).map_err(told)?;
    if as_json {
        let mut whole = json!(manifest);
        whole["dir"] = json!(dir);
        whole["manifest_sha256"] = json!(sha256);
        print_json(&whole);
        return Ok(());
    }
    for file in &manifest.files {
        print(&format!(
            "{} {what}: {} bytes, schema {}\n",
            file.name, file.bytes, file.schema
        ));
    }
    print(&format!(
        "{} has the SHA-256 {sha256}\n",
        dir.join("manifest.json").display()
    ));
    Ok(())
}
