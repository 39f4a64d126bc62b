//! Log lines, counters and traces: what the process tells of itself.
//!
//! Messages carry keys and ids, never bodies or personal data, and a failure is logged once, where it is
//! handled. What is logged is set by `[log] level`, and by `STORESYNC_LOG` above it, in the form
//! `info,storesync::inbound=debug`. Lines go to standard error as text or JSON, or to journald with their fields.

pub mod journald;
pub mod metrics;
pub mod pulse;
pub mod seldom;
pub mod traces;

use std::io::IsTerminal;
use std::path::Path;
use std::sync::OnceLock;

use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer, Registry, fmt, reload};

use crate::cli::LogFormat;
use crate::telemetry::journald::Journald;

/// Says what is logged, in the place of the configuration.
const VARIABLE: &str = "STORESYNC_LOG";

static LEVEL: OnceLock<reload::Handle<EnvFilter, Registry>> = OnceLock::new();

/// Sets up logging for the process. Called once, by `main`; a second call changes nothing.
pub fn init(format: LogFormat, default_filter: &str) {
    let filter = EnvFilter::try_from_env(VARIABLE).unwrap_or_else(|_| EnvFilter::new(quiet(default_filter)));
    let (filter, handle) = reload::Layer::new(filter);
    let done = tracing_subscriber::registry()
        .with(filter)
        .with(lines(format))
        .try_init();
    match done {
        // Set once: a second subscriber was refused above.
        Ok(()) => drop(LEVEL.set(handle)),
        Err(error) => tracing::debug!("logging was set up before ({error})"),
    }
}

fn lines<S>(format: LogFormat) -> Box<dyn Layer<S> + Send + Sync>
where
    S: tracing::Subscriber + for<'a> tracing_subscriber::registry::LookupSpan<'a>,
{
    let layer = fmt::layer().with_writer(std::io::stderr);
    match format {
        LogFormat::Json => layer.json().flatten_event(true).boxed(),
        LogFormat::Journal => match Journald::connect(Path::new(journald::SOCKET)) {
            Ok(journald) => journald.boxed(),
            // Better told elsewhere than not at all.
            Err(_) => layer.with_ansi(false).with_target(false).boxed(),
        },
        LogFormat::Text => layer
            .with_ansi(std::io::stderr().is_terminal())
            .with_target(false)
            .boxed(),
    }
}

/// The filter with the protocols' own warnings left out, unless it names them: strangers cause as many as they like.
fn quiet(filter: &str) -> String {
    format!("h2=error,hyper=error,hyper_util=error,rustls=error,{filter}")
}

/// Logs by another filter from now on, unless the variable says what is logged.
pub fn set_level(filter: &str) {
    if std::env::var_os(VARIABLE).is_some() {
        tracing::debug!("{VARIABLE} says what is logged");
        return;
    }
    let Some(handle) = LEVEL.get() else { return };
    let changed = EnvFilter::try_new(quiet(filter))
        .map_err(|error| error.to_string())
        .and_then(|filter| handle.reload(filter).map_err(|error| error.to_string()));
    if let Err(error) = changed {
        tracing::error!(
            "[log] level {filter:?} cannot be used ({error}): write it like info,storesync::inbound=debug"
        );
    }
}
