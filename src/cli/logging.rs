//! Log lines on standard error, one per event.
//!
//! Decides where lines go and which filter applies. Pingora writes through the `log` crate; the subscriber takes those lines
//! over, so that one filter rules all.

use std::fmt::{self, Debug};
use std::io::IsTerminal;

use tracing::field::Field;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::{Writer, debug_fn};

use super::json_lines::JsonLines;
use super::shown;
use crate::config::{LogFormat, SetLog};

/// Starts logging with this filter, known to parse; returned is what sets another one. Does nothing when logging runs already.
pub(super) fn start(filter: &str, format: LogFormat) -> SetLog {
    // A file or a log collector must not get the codes of colours.
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

/// What sets another filter.
fn running(
    started: bool,
    set: impl Fn(EnvFilter) -> Result<(), tracing_subscriber::reload::Error> + Send + Sync + 'static,
) -> SetLog {
    if !started {
        tracing::debug!("logging runs already");
    }
    Box::new(move |filter| {
        if let Err(error) = set(EnvFilter::new(filter)) {
            tracing::warn!(%error, "the log keeps its filter");
        }
    })
}

fn write_field(to: &mut Writer<'_>, field: &Field, value: &dyn Debug) -> fmt::Result {
    match field.name() {
        // What the `log` crate adds is in the line already.
        name if name.starts_with("log.") => return Ok(()),
        "message" => {}
        name => write!(to, " {name}=")?,
    }
    shown::write(to, format_args!("{value:?}"))
}
