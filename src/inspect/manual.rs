//! Man pages and completions, made from the definition of the command line.

use std::path::Path;

use anyhow::Context as _;
use clap::CommandFactory as _;
use clap_complete::Shell;

use crate::cli::{Cli, Exit};
use crate::inspect::print;

/// What the pages say beyond the options.
const FILES: &str = "/etc/storesync/config.toml, /etc/storesync/credentials, /var/lib/storesync/cache.db, \
/var/lib/storesync/journal.db, /var/lib/storesync/outbox.db";

/// A shell's completions, on standard output.
pub fn completions(shell: Shell) -> Exit {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "storesync", &mut text);
    print(&String::from_utf8_lossy(&text));
    Exit::Ok
}

/// One page for the program and one for each verb, into a directory.
pub fn pages(dir: &Path) -> anyhow::Result<Exit> {
    let write = || {
        std::fs::create_dir_all(dir)?;
        let command = Cli::command().after_long_help(format!("Files: {FILES}"));
        clap_mangen::generate_to(command, dir)
    };
    write().with_context(|| format!("the pages cannot be written into {}", dir.display()))?;
    Ok(Exit::Ok)
}
