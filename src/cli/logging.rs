//! Log lines on standard error, one per event.
//!
//! Decides where lines go and which filter applies. Pingora writes through the `log` crate; the subscriber
//! takes those lines over, so that one filter rules all.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

/// Starts logging with this filter, known to parse. Does nothing when logging runs already.
pub(super) fn start(filter: &str) {
    // A file or a log collector must not get the codes of colours.
    let coloured = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let started = tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::new(filter))
        .with_ansi(coloured)
        .with_writer(std::io::stderr)
        .try_init();
    if started.is_err() {
        tracing::debug!("logging runs already");
    }
}
