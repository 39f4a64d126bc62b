//! `storesync backup` and `storesync restore`.

use serde_json::json;

use crate::cli::{BackupArgs, Exit, RestoreArgs};
use crate::config::Config;
use crate::inspect::{Misused, print, print_json, reader};
use crate::model::clock::{Clock, format_datetime};
use crate::store::backup::{self, BackupError, Manifest};

/// Copies the state beside a daemon that may run.
pub fn make(config: &Config, args: &BackupArgs) -> anyhow::Result<Exit> {
    // One sentence for a directory without a daemon's state.
    drop(reader(&config.state.dir)?);
    let manifest =
        backup::make(&config.state.dir, &args.to, format_datetime(Clock::System.now())).map_err(told)?;
    tell(&manifest, args.json, "copied and checked");
    Ok(Exit::Ok)
}

/// Puts a copy back, or only checks it.
pub fn restore(config: &Config, args: &RestoreArgs) -> anyhow::Result<Exit> {
    let done = match args.check {
        true => backup::verify(&args.from),
        false => backup::restore(&args.from, &config.state.dir, args.replace),
    };
    let manifest = match done {
        Err(error @ (BackupError::Damaged { .. } | BackupError::Incomplete(_))) => {
            eprintln!("storesync: {error}");
            return Ok(Exit::Failed);
        }
        done => done.map_err(told)?,
    };
    if args.check {
        tell(&manifest, args.json, "whole");
        return Ok(Exit::Ok);
    }
    tell(&manifest, args.json, "restored");
    if !args.json {
        print(
            "Start the daemon: it reads what changed since. Orders that were sent since are recognised by their keys;\n",
        );
        print("orders that were accepted since the backup are not in it.\n");
    }
    Ok(Exit::Ok)
}

/// A database that cannot be opened decides the exit status by itself; a place that is taken was typed.
fn told(error: BackupError) -> anyhow::Error {
    match error {
        BackupError::Open(error) => error.into(),
        BackupError::NotEmpty(_) | BackupError::Present(_) => Misused(error.to_string()).into(),
        other => other.into(),
    }
}

fn tell(manifest: &Manifest, as_json: bool, what: &str) {
    if as_json {
        print_json(&json!(manifest));
        return;
    }
    for file in &manifest.files {
        print(&format!(
            "{} {what}: {} bytes, schema {}\n",
            file.name, file.bytes, file.schema
        ));
    }
}
