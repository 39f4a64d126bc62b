//! The command line, and what the program's exit status says.

mod audit;
mod backup;
mod person;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand, ValueEnum};

pub use audit::AuditCommand;
pub use backup::{BackupArgs, RestoreArgs};
pub use person::PersonArgs;

/// Keeps storefronts and a Salesforce org in step: change events in, orders out, each exactly once.
#[derive(Debug, Parser)]
#[command(version, propagate_version = true, after_help = EXIT_CODES)]
pub struct Cli {
    /// Configuration file; without it ./config.toml, then /etc/storesync/config.toml
    #[arg(long, global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,

    /// How log lines are written to standard error; what is logged is set by log.level, and by STORESYNC_LOG above it
    #[arg(long, global = true, value_enum, default_value_t = LogFormat::Text, value_name = "FORMAT")]
    pub log: LogFormat,

    #[command(subcommand)]
    pub command: Command,
}

const EXIT_CODES: &str = "Exit status: 0 done, 1 an expectation did not hold, 64 wrong usage, 69 something needed is \
unavailable (org, port, state directory), 75 temporary failure such as a full disk: start again later, \
78 wrong configuration: starting again does not help.";

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    Text,
    Json,
    /// To journald, each value a field of its own
    Journal,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the daemon: mirror the org, serve storefronts, deliver their orders
    Run,
    /// Say whether this machine, the configuration and the org can work together, and what to do where not
    Check(CheckArgs),
    /// Say how everything stands: objects, channels, repairs, orders
    Status(StatusArgs),
    /// Compare the cache with the org, down to the rows and fields that differ; exits 1 where any does
    Verify(VerifyArgs),
    /// Look at what storefronts sent, and help what could not be delivered
    #[command(subcommand)]
    Orders(OrdersCommand),
    /// Look at what operators did and read, and whether anybody changed what was written of it
    #[command(subcommand)]
    Audit(AuditCommand),
    /// List all that the files hold of a person, write it out, or prove that nothing is held any more
    Person(PersonArgs),
    /// Decide about rows that were not found in the org: where they are many, they stay until a person does
    #[command(subcommand)]
    Removals(RemovalsCommand),
    /// Look at events as they came off the wire
    #[command(subcommand)]
    Events(EventsCommand),
    /// Show what happened to a record, or the row as it was at a time
    History(HistoryArgs),
    /// Find the event after which a field of a record first had a value (in about a second among 100,000 events)
    Bisect(BisectArgs),
    /// Send the journal, or a part of it, through the door again
    Replay(ReplayArgs),
    /// Print a link that lets a browser into the console once, within five minutes, where no token of operators is configured
    LoginUrl(LoginUrlArgs),
    /// Copy the three databases while the daemon runs, and check the copies
    Backup(BackupArgs),
    /// Put a backup into the state directory, with no daemon running
    Restore(RestoreArgs),
    /// Print completions for a shell
    Completions { shell: clap_complete::Shell },
    /// Write the man pages into a directory
    #[command(hide = true)]
    Man { dir: PathBuf },
    /// Run a local org that speaks Salesforce's protocols
    #[cfg(feature = "sandbox")]
    Sandbox(storesync_sandbox::command::Args),
    /// Run the whole tour on this machine: a sandbox org, the daemon and a storefront page
    #[cfg(feature = "sandbox")]
    Demo(DemoArgs),
}

#[derive(Debug, Subcommand)]
pub enum RemovalsCommand {
    /// List the removals that wait
    List {
        /// Print one JSON list instead of text
        #[arg(long)]
        json: bool,
    },
    /// Have an object read again as a whole, and let as many rows leave as it does not find then, up to a number
    Release {
        /// As `removals list` names it
        object: String,
        /// Most rows that may leave
        #[arg(long, value_name = "N")]
        rows: u64,
    },
    /// Keep the rows; a later load or comparison asks again
    Refuse {
        /// As `removals list` names it
        object: String,
    },
}

#[derive(Debug, Subcommand)]
pub enum EventsCommand {
    /// Decode one event's payload, base64 on standard input, and print it as JSON
    Decode {
        /// The writer schema, as GetSchema answers it
        #[arg(long, value_name = "FILE")]
        schema: PathBuf,
    },
    /// List the events that could not be decoded, with their bytes
    Parked {
        /// Print one JSON list instead of text
        #[arg(long)]
        json: bool,
    },
    /// List the newest events that pass the filters, the oldest of them first
    List(ListArgs),
    /// As list, and go on with what arrives until interrupted
    Tail(ListArgs),
    /// Show one event in full
    Show {
        /// Its number in the journal, or the bus's id of it
        #[arg(value_name = "EVENT")]
        event: String,
        /// With its bytes and the schema it was written by
        #[arg(long)]
        raw: bool,
        #[command(flatten)]
        look: Look,
    },
    /// Write events with their schemas to standard output, one JSON object a line; all of the journal where no filter is
    /// given, so that it can be replayed elsewhere
    Export {
        #[command(flatten)]
        filter: FilterArgs,
        #[arg(long, value_name = "DIR", help = STATE)]
        state: Option<PathBuf>,
    },
    /// Make a journal from an export, to look at with --state
    Import {
        /// What export wrote; `-` for standard input
        file: PathBuf,
        /// A folder that has no journal yet
        #[arg(long, value_name = "DIR")]
        state: PathBuf,
    },
}

const STATE: &str = "Look at this state directory instead of the configuration's";

/// Where to look and how to answer.
#[derive(Debug, Args)]
pub struct Look {
    #[arg(long, value_name = "DIR", help = STATE)]
    pub state: Option<PathBuf>,
    /// Print JSON instead of text
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct ListArgs {
    #[command(flatten)]
    pub filter: FilterArgs,
    /// Only the fields that an event changed, each with the value it had before
    #[arg(long)]
    pub changes: bool,
    /// With bytes and schema
    #[arg(long)]
    pub raw: bool,
    /// At most so many events; tail ends after as many new ones, where given
    #[arg(long, value_name = "N")]
    pub limit: Option<usize>,
    #[command(flatten)]
    pub look: Look,
}

/// Which events. All that is given has to hold.
#[derive(Clone, Debug, Default, Args)]
pub struct FilterArgs {
    /// Of this object
    #[arg(long, value_name = "NAME")]
    pub object: Option<String>,
    /// Of the record with this id, of 15 or 18 characters
    #[arg(long, value_name = "ID")]
    pub record: Option<String>,
    /// That say something of this field
    #[arg(long, value_name = "NAME")]
    pub field: Option<String>,
    /// Of this kind: CREATE, UPDATE, DELETE, UNDELETE, GAP_UPDATE, ...
    #[arg(long, value_name = "KIND")]
    pub kind: Option<String>,
    /// Committed in the org at or after this time, 2026-11-22T09:30:00Z
    #[arg(long, value_name = "TIME")]
    pub since: Option<String>,
    /// Committed in the org at or before this time
    #[arg(long, value_name = "TIME")]
    pub until: Option<String>,
    /// Of the transaction with this key
    #[arg(long, value_name = "KEY")]
    pub transaction: Option<String>,
    /// Whose origin, the client that made the change, contains this
    #[arg(long, value_name = "TEXT")]
    pub origin: Option<String>,
}

#[derive(Debug, Args)]
pub struct HistoryArgs {
    /// The object, as the org names it
    pub object: String,
    /// The record's id, of 15 or 18 characters
    pub id: String,
    /// The row as it was then, by the org's commit times: 2026-11-22T09:30:00Z
    #[arg(long, value_name = "TIME")]
    pub at: Option<String>,
    #[command(flatten)]
    pub look: Look,
}

#[derive(Debug, Args)]
pub struct BisectArgs {
    /// The object, as the org names it
    pub object: String,
    /// The record's id, of 15 or 18 characters
    pub id: String,
    /// The value to find, as FIELD=VALUE; `null` for none
    #[arg(value_name = "FIELD=VALUE")]
    pub condition: String,
    #[command(flatten)]
    pub look: Look,
}

#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("way").required(true).args(["into", "dry_run", "live"]))]
pub struct ReplayArgs {
    /// Begin at this event's number, replay id or time of receipt; without it, with the first load
    #[arg(long, value_name = "POINT")]
    pub from: Option<String>,
    /// End with this event's number, replay id or time of receipt
    #[arg(long, value_name = "POINT")]
    pub to: Option<String>,
    /// Only this object
    #[arg(long, value_name = "NAME")]
    pub object: Option<String>,
    /// Only the record with this id of 18 characters
    #[arg(long, value_name = "ID")]
    pub record: Option<String>,
    /// Make a cache of its own, in this file
    #[arg(long, value_name = "FILE")]
    pub into: Option<PathBuf>,
    /// Say how the cache differs from what the replay gives, and change nothing; exits 1 where it does
    #[arg(long)]
    pub dry_run: bool,
    /// Apply the events to the cache once more and move the positions to their end; asks before, and wants the daemon
    /// stopped
    #[arg(long)]
    pub live: bool,
    #[arg(long, value_name = "DIR", help = STATE)]
    pub state: Option<PathBuf>,
    /// Print one JSON object instead of text
    #[arg(long)]
    pub json: bool,
}

/// A write is named by its order's key (WEB-1001), by kind and key (case:K-1), or by number (#17). Everything works
/// beside a running daemon, and without one.
#[derive(Debug, Subcommand)]
pub enum OrdersCommand {
    /// List writes: those that need attention, unless another state is asked for
    List {
        #[command(flatten)]
        filter: OrdersFilter,
        /// Most that are listed
        #[arg(long, default_value_t = 100, value_name = "N")]
        limit: u32,
        /// Only those after this number
        #[arg(long, default_value_t = 0, value_name = "NUMBER")]
        after: i64,
        /// Print one JSON object instead of text
        #[arg(long)]
        json: bool,
    },
    /// Show one write: what it holds, every attempt with request and answer, and what people did
    Show {
        reference: String,
        /// Print one JSON object instead of text
        #[arg(long)]
        json: bool,
    },
    /// Send again: one write, or all that a filter takes; each is looked up in the org first
    Retry {
        /// One write; without it all that the filter takes
        reference: Option<String>,
        #[command(flatten)]
        filter: OrdersFilter,
        /// All of them, whatever the reason
        #[arg(long)]
        all: bool,
        /// How many of them a second
        #[arg(long, default_value_t = 10, value_name = "N")]
        per_second: u32,
    },
    /// Change what a write holds before it is sent again; prints what changed
    Edit {
        reference: String,
        /// A value to set, as JSON or as text: customer.email=ana@example.com, lines.0.quantity=2; null takes a member
        /// away
        #[arg(long, value_name = "PATH=VALUE")]
        set: Vec<String>,
        /// A JSON merge patch over the body; - for standard input
        #[arg(long, value_name = "FILE")]
        patch: Option<PathBuf>,
    },
    /// Give a write up; its history stays
    Discard {
        reference: String,
        /// Why, for whoever asks later: a line of up to 4,000 bytes
        #[arg(long, value_name = "TEXT")]
        reason: String,
    },
    /// Take up again what was given up
    Reopen { reference: String },
    /// Print writes with bodies, attempts and deeds, one JSON object a line
    Export {
        #[command(flatten)]
        filter: OrdersFilter,
    },
    /// List every value that is written and the field of the org that it goes into
    Map,
}

/// Which writes are meant; all that is given has to hold.
#[derive(Clone, Debug, Default, Args)]
pub struct OrdersFilter {
    /// order, order_update, customer, case, lead, campaign_member, asset or form_submission
    #[arg(long, value_name = "KIND")]
    pub kind: Option<String>,
    /// queued, sending, waiting, sent, confirmed, needs_attention, discarded, or any
    #[arg(long, value_name = "STATE")]
    pub state: Option<String>,
    /// The code of the last error: REQUIRED_FIELD_MISSING
    #[arg(long, value_name = "CODE")]
    pub code: Option<String>,
    /// The id of a store
    #[arg(long, value_name = "ID")]
    pub store: Option<String>,
    /// The key of a customer
    #[arg(long, value_name = "KEY")]
    pub customer: Option<String>,
    /// A part of the key, the error or the body
    #[arg(long, value_name = "TEXT")]
    pub text: Option<String>,
    /// Accepted at this time or later: 2026-11-22T09:30:00Z
    #[arg(long, value_name = "TIME")]
    pub since: Option<String>,
    /// Accepted before this time
    #[arg(long, value_name = "TIME")]
    pub until: Option<String>,
}

#[derive(Debug, Args)]
pub struct CheckArgs {
    /// Leave the org alone: look at the configuration, files, permissions and space only
    #[arg(long)]
    pub offline: bool,
    /// Print one JSON object instead of text
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct LoginUrlArgs {
    /// Where the console is reached from the browser, if not at admin.listen of the configuration
    #[arg(long, value_name = "URL")]
    pub at: Option<String>,
}

#[derive(Debug, Args)]
pub struct StatusArgs {
    /// Show it again every two seconds, until Ctrl-C
    #[arg(long)]
    pub watch: bool,
    /// Print one JSON object instead of text
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct VerifyArgs {
    /// Compare only this object; may be given several times
    #[arg(long, value_name = "NAME")]
    pub object: Vec<String>,
    /// Read every field of every row, not only counts and stamps; takes one API call for 2,000 rows
    #[arg(long)]
    pub full: bool,
    /// Have the rows that differ read again: by the daemon where it runs, else when it next starts
    #[arg(long)]
    pub repair: bool,
    /// Print one JSON object instead of text
    #[arg(long)]
    pub json: bool,
}

#[cfg(feature = "sandbox")]
#[derive(Debug, Args)]
pub struct DemoArgs {
    /// Run the scripted tour once, print a report, and exit 0 only if every expectation held
    #[arg(long)]
    pub once: bool,
    /// With --once: how long a change may take from the org's answer until a storefront reads it
    #[arg(long, default_value_t = 1_000, value_name = "MILLISECONDS")]
    pub visible_within_ms: u64,
    /// With --once: how many prices are changed
    #[arg(long, default_value_t = 50, value_name = "N")]
    pub changes: usize,
    /// With --once: how many orders are placed
    #[arg(long, default_value_t = 20, value_name = "N")]
    pub orders: usize,
    #[command(flatten)]
    pub size: storesync_sandbox::command::Size,
}

/// What the exit status says. The numbers are those of sysexits.h, and systemd is told which of them not to
/// restart after.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    Ok = 0,
    /// An expectation of a check did not hold.
    Failed = 1,
    Usage = 64,
    /// The org, a port or the state directory is not to be had.
    Unavailable = 69,
    /// Such as a full disk: starting again later may help.
    Temporary = 75,
    /// Starting again does not help.
    Configuration = 78,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }
}
