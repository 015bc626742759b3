//! Log lines on standard error, one per event.
//!
//! Decides where lines go and which filter applies. Pingora logs through the `log` crate; the subscriber takes over
//! those lines, so that one filter applies to all.

use std::fmt::{self, Debug};
use std::io::IsTerminal;

use tracing::field::Field;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::{Writer, debug_fn};

use super::json_lines::JsonLines;
use super::shown;
use crate::config::{LogFormat, SetLog};

/// Starts logging with this filter, which is already validated. Returns a function that changes the filter. Does
/// nothing if logging has already been started.
pub(super) fn start(filter: &str, format: LogFormat) -> SetLog {
    // A file or a log collector must not receive color codes.
    let coloured = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let lines = tracing_subscriber::fmt().with_writer(std::io::stderr);
    let filter = EnvFilter::new(filter);
    match format {
        LogFormat::Text => {
            let lines = lines.fmt_fields(debug_fn(write_field)).with_ansi(coloured);
            let lines = lines.with_env_filter(filter).with_filter_reloading();
            let handle = lines.reload_handle();
            running(lines.try_init().is_ok(), move |filter| handle.reload(filter))
        }
        LogFormat::Json => {
            let lines = lines.event_format(JsonLines).with_env_filter(filter).with_filter_reloading();
            let handle = lines.reload_handle();
            running(lines.try_init().is_ok(), move |filter| handle.reload(filter))
        }
    }
}

/// Returns the function that changes the filter.
fn running(
    started: bool,
    set: impl Fn(EnvFilter) -> Result<(), tracing_subscriber::reload::Error> + Send + Sync + 'static,
) -> SetLog {
    if !started {
        tracing::debug!("logging has already been started");
    }
    Box::new(move |filter| {
        if let Err(error) = set(EnvFilter::new(filter)) {
            tracing::warn!(%error, "cannot change the log filter");
        }
    })
}

fn write_field(to: &mut Writer<'_>, field: &Field, value: &dyn Debug) -> fmt::Result {
    match field.name() {
        // The fields that the `log` crate adds are already in the line.
        name if name.starts_with("log.") => return Ok(()),
        "message" => {}
        name => write!(to, " {name}=")?,
    }
    shown::write(to, format_args!("{value:?}"))
}
