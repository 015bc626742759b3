//! Log lines on standard error, one per event.
//!
//! Decides where lines go, which filter applies, and how much of one value a line shows. Pingora writes through the
//! `log` crate; the subscriber takes those lines over, so that one filter rules all.

use std::fmt::{self, Debug, Write};
use std::io::IsTerminal;

use tracing::field::Field;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::{Writer, debug_fn};

/// A line shows this much of each value: names and errors can hold as much as a client has sent.
const VALUE_BYTES: usize = 1024;

/// Starts logging with this filter, known to parse. Does nothing when logging runs already.
pub(super) fn start(filter: &str) {
    // A file or a log collector must not get the codes of colours.
    let coloured = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let started = tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::new(filter))
        .fmt_fields(debug_fn(write_field))
        .with_ansi(coloured)
        .with_writer(std::io::stderr)
        .try_init();
    if started.is_err() {
        tracing::debug!("logging runs already");
    }
}

fn write_field(to: &mut Writer<'_>, field: &Field, value: &dyn Debug) -> fmt::Result {
    match field.name() {
        // What the `log` crate adds is in the line already.
        name if name.starts_with("log.") => return Ok(()),
        "message" => {}
        name => write!(to, " {name}=")?,
    }
    let mut shown = Shown { to: &mut *to, bytes: 0 };
    write!(shown, "{value:?}")?;
    let bytes = shown.bytes;
    if bytes > VALUE_BYTES { write!(to, "... ({bytes} bytes)") } else { Ok(()) }
}

/// Passes on the first bytes, without control characters, and counts the others.
struct Shown<'a, W: Write> {
    to: &'a mut W,
    bytes: usize,
}

impl<W: Write> Write for Shown<'_, W> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for character in text.chars() {
            self.bytes += character.len_utf8();
            if self.bytes > VALUE_BYTES {
                continue;
            }
            if character.is_control() && !matches!(character, '\n' | '\t') {
                write!(self.to, "{}", character.escape_default())?;
            } else {
                self.to.write_char(character)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> (String, usize) {
        let mut to = String::new();
        let mut shown = Shown { to: &mut to, bytes: 0 };
        write!(shown, "{text}").unwrap();
        let bytes = shown.bytes;
        (to, bytes)
    }

    #[test]
    fn a_long_value_is_cut_off_and_control_characters_are_escaped() {
        assert_eq!(shown("plain \u{1b}[31m\n"), ("plain \\u{1b}[31m\n".to_owned(), 12));
        let (text, bytes) = shown(&"ä".repeat(33_000));
        assert_eq!((text.len(), bytes), (VALUE_BYTES, 66_000));
    }
}
