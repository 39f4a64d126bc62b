//! `storesync audit`, as it is typed.

use std::path::PathBuf;

use clap::Subcommand;

use crate::cli::{Look, STATE};

/// Deeds on writes, exports, reads of personal data, reloads, replays, repairs and releases, who logged in to the console, and
/// what was refused. Each entry has the hash of the one before in its own. Those older than state.audit_days are removed.
#[derive(Debug, Subcommand)]
pub enum AuditCommand {
    /// List the entries, the oldest first; with --json one object a line, to be kept elsewhere
    List {
        /// Only those after this number
        #[arg(long, default_value_t = 0, value_name = "SEQ")]
        after: i64,
        /// Only those about the person with this key, address or record id, as the write or the command named them
        #[arg(long, value_name = "TEXT")]
        person: Option<String>,
        /// With --json: reasons, changed values and whom actors name too, which may be of persons and are not erased where they are kept
        #[arg(long, requires = "json")]
        details: bool,
        #[command(flatten)]
        look: Look,
    },
    /// Say whether the entries are as they were written: 0, or 1 with the first that is not
    #[command(after_help = VERIFIED)]
    Verify {
        /// The number and hash of an entry that was the last when somebody kept them: as the log, a metric or a backup's
        /// manifest has it
        #[arg(long, value_name = "SEQ:HASH")]
        head: Option<String>,
        #[arg(long, value_name = "DIR", help = STATE)]
        state: Option<PathBuf>,
    },
}

const VERIFIED: &str = "An entry that was changed, taken out or moved is found. Whoever may write the file, which is the daemon's user \
and root, can also make all entries from one on anew, or cut off the end: that is found only with a head that was kept where \
they cannot change it. A detail that was taken out looks like one that was erased. What was removed because of its age is named by \
the number and hash of the last, and an entry has to tell of that. It is also said from which entry on persons are hashed with \
another key, as where somebody has put another into the file; that the key was read is seen by nobody.";
