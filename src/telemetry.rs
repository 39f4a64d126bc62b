//! Log lines, on standard error.
//!
//! Messages carry keys and ids, never bodies or personal data, and a failure is logged once, where it is
//! handled. `STORESYNC_LOG` chooses what is logged, in the form `info,storesync::inbound=debug`.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

use crate::cli::LogFormat;

/// Sets up logging for the process. Called once, by `main`; a second call changes nothing.
pub fn init(format: LogFormat, default_filter: &str) {
    let filter = EnvFilter::try_from_env("STORESYNC_LOG").unwrap_or_else(|_| EnvFilter::new(default_filter));
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    let done = match format {
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
        LogFormat::Text => builder
            .with_ansi(std::io::stderr().is_terminal())
            .with_target(false)
            .try_init(),
    };
    if let Err(error) = done {
        tracing::debug!("logging was set up before ({error})");
    }
}
