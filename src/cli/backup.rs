//! `storesync backup` and `storesync restore`, as they are typed.

use std::path::PathBuf;

use clap::Args;

#[derive(Debug, Args)]
#[command(after_help = KEYS)]
pub struct BackupArgs {
    /// A directory that is new or empty; without it, one that is named by the time in backup.dir
    #[arg(value_name = "DIR")]
    pub to: Option<PathBuf>,
    /// Encrypt the files, by age, to the holder of this key (age1...), besides those of backup.recipients; may be given
    /// several times
    #[arg(long, value_name = "KEY")]
    pub recipient: Vec<String>,
    /// Print one JSON object instead of text
    #[arg(long)]
    pub json: bool,
}

const KEYS: &str = "Keys are made on another machine: `age-keygen -o identity.txt` prints the recipient, which is for this \
one. Each of several recipients can open the files alone. `age -d -i identity.txt outbox.db.age` opens one by hand. Who has lost all \
identities has no backup.";

#[derive(Debug, Args)]
#[command(after_help = IDENTITY)]
pub struct RestoreArgs {
    /// A directory that storesync backup has made
    #[arg(value_name = "DIR")]
    pub from: PathBuf,
    /// Check the backup, and restore nothing
    #[arg(long)]
    pub check: bool,
    /// Move the files that are there aside, as NAME.before-restore
    #[arg(long)]
    pub replace: bool,
    /// The file with the identity of a recipient, as age-keygen writes it; /dev/stdin for one that stays off this disk
    #[arg(long, value_name = "FILE")]
    pub identity: Option<PathBuf>,
    /// Print one JSON object instead of text
    #[arg(long)]
    pub json: bool,
}

const IDENTITY: &str = "Encrypted files are opened twice: to their end before anything in the state directory is touched, \
and then into a closed folder of it. --check without --identity compares them with the manifest alone. Take the identity off this \
machine afterwards.";
