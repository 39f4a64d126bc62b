//! Parses the command line, runs the command, and says how it ended.

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use clap::Parser;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use storesync::cli::{Cli, Command, EventsCommand, Exit};
use storesync::config::Config;
use storesync::model::clock::Clock;
use storesync::{daemon, failpoint, inspect, telemetry};
use tokio_util::sync::CancellationToken;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // A closed standard output is no reason to fail on a call for help.
            let _ = error.print();
            if let Some(ContextValue::String(verb)) = error.get(ContextKind::InvalidSubcommand)
                && cfg!(not(feature = "sandbox"))
                && ["sandbox", "demo"].contains(&verb.as_str())
            {
                eprintln!(
                    "storesync was built without the sandbox org, which {verb} needs: build it with its default features"
                );
            }
            let asked = matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion);
            return if asked {
                Exit::Ok.into()
            } else {
                Exit::Usage.into()
            };
        }
    };
    telemetry::init(cli.log, if serves(&cli.command) { "info" } else { "warn" });
    match run(cli) {
        Ok(exit) => match inspect::printed() {
            Ok(()) => exit.into(),
            Err(error) => {
                eprintln!(
                    "storesync: not all could be printed ({error}): make room where standard output leads to, and ask again"
                );
                Exit::Temporary.into()
            }
        },
        Err(error) => {
            eprintln!("storesync: {error:#}");
            daemon::exit_of(&error).into()
        }
    }
}

/// Whether a command serves until it is stopped, so that its log is what it has to say.
fn serves(command: &Command) -> bool {
    match command {
        Command::Run => true,
        #[cfg(feature = "sandbox")]
        Command::Sandbox(_) => true,
        _ => false,
    }
}

/// Whether a command has something to finish when it is stopped.
fn is_stopped(command: &Command) -> bool {
    match command {
        Command::Status(_) | Command::Events(EventsCommand::Tail(_)) => true,
        #[cfg(feature = "sandbox")]
        Command::Demo(_) => true,
        command => serves(command),
    }
}

fn run(cli: Cli) -> anyhow::Result<Exit> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let config = cli.config.as_deref();
    let ended = runtime.block_on(async {
        let stop = match is_stopped(&cli.command) {
            true => daemon::stop_on_signals()?,
            // Ended by the first signal, as programs are that have nothing to finish.
            false => CancellationToken::new(),
        };
        match cli.command {
            Command::Run => {
                let config = Config::load(config)?;
                telemetry::set_level(&config.log.level);
                let listeners = daemon::Listeners::bind(&config).await?;
                let ahead = failpoint::clock_ahead_millis();
                let clock = ahead.map_or(Clock::System, |millis| Clock::Moved(Arc::new(millis.into())));
                daemon::run(config, clock, listeners, stop)
                    .await
                    .map(|()| Exit::Ok)
            }
            Command::Events(EventsCommand::Decode { schema }) => Ok(decode_event(&schema)),
            Command::Check(args) => inspect::check::run(config, &args).await,
            Command::Audit(command) => inspect::audit::run(config, &command),
            Command::Person(args) => inspect::person::run(config, &args),
            Command::Removals(command) => inspect::removals::run(&Config::load(config)?, &command),
            Command::Status(args) => inspect::status::run(&Config::load(config)?, &args, stop).await,
            Command::Verify(args) => inspect::verify::run(&Config::load(config)?, &args).await,
            Command::Events(EventsCommand::Parked { json }) => {
                inspect::events::parked(&Config::load(config)?, json)
            }
            Command::Events(EventsCommand::List(args)) => inspect::listing::list(config, &args),
            Command::Events(EventsCommand::Tail(args)) => inspect::listing::tail(config, &args, stop).await,
            Command::Events(EventsCommand::Show { event, raw, look }) => {
                inspect::listing::show(config, &event, raw, &look)
            }
            Command::Events(EventsCommand::Export { filter, state }) => {
                inspect::export::export(config, &filter, state.as_deref())
            }
            Command::Events(EventsCommand::Import { file, state }) => inspect::export::import(&file, &state),
            Command::History(args) => inspect::history::run(config, &args),
            Command::Bisect(args) => inspect::history::bisect(config, &args),
            Command::Replay(args) => inspect::replay::run(config, &args),
            Command::LoginUrl(args) => inspect::login_url::run(&Config::load(config)?, &args),
            Command::Backup(args) => inspect::backup::make(&Config::load(config)?, &args),
            Command::Restore(args) => inspect::backup::restore(&Config::load(config)?, &args),
            Command::Completions { shell } => Ok(inspect::manual::completions(shell)),
            Command::Man { dir } => inspect::manual::pages(&dir),
            Command::Orders(command) => inspect::orders::run(&Config::load(config)?, command),
            #[cfg(feature = "sandbox")]
            Command::Sandbox(args) => storesync_sandbox::command::run(args, stop)
                .await
                .map(|()| Exit::Ok),
            #[cfg(feature = "sandbox")]
            Command::Demo(args) => Box::pin(storesync::demo::run(args, stop)).await,
        }
    });
    // A stage that did not end in time must not keep the process.
    runtime.shutdown_timeout(Duration::from_secs(1));
    ended
}

/// What cannot be decoded was given wrongly.
fn decode_event(schema: &Path) -> Exit {
    let payload = std::io::read_to_string(std::io::stdin()).context("read the payload from standard input");
    match payload.and_then(|payload| inspect::decode::run(schema, &payload)) {
        Ok(event) => {
            inspect::print_json(&event);
            Exit::Ok
        }
        Err(error) => {
            eprintln!("storesync: {error:#}");
            Exit::Usage
        }
    }
}
