//! `storesync person`, as it is typed.

use std::path::PathBuf;

use clap::Args;

use crate::cli::Look;

#[derive(Debug, Args)]
#[command(after_help = HELD)]
pub struct PersonArgs {
    /// An object and the id of the person's record (Contact 003...), or an e-mail address
    #[arg(required = true, num_args = 1..=2, value_name = "OBJECT ID|EMAIL")]
    pub who: Vec<String>,
    /// What else is the person's, such as a name, a number, a key or a further address; may be given several times
    #[arg(long, value_name = "TEXT")]
    pub text: Vec<String>,
    /// Write what is held to this file, one JSON object a line, for its owner alone to read; - for standard output
    #[arg(long, value_name = "FILE", conflicts_with = "erased")]
    pub export: Option<PathBuf>,
    /// Say whether nothing is held any more, in the bytes of every file too: 0, or 1 with where something is
    #[arg(long)]
    pub erased: bool,
    /// Look through this backup too; may be given several times
    #[arg(long, value_name = "DIR")]
    pub backup: Vec<PathBuf>,
    #[command(flatten)]
    pub look: Look,
}

const HELD: &str = "Who it is, is told by ids, e-mail addresses and keys that belong together: a contact and the account that \
nobody else is in, a lead and the contact that it became, the record that another was merged into, the keys of storefronts. Records that refer to the person \
are looked for too. After an erasure nothing leads from an id to addresses any more: give them with --text. In an export \
others are masked: rows of others leave out all but where the person is found, and of others who stand in a row of the person's, ids, addresses, names and \
numbers are replaced.";
