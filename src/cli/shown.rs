//! How much of a value a log line shows, and which characters.

use std::fmt::{self, Write};

/// The most bytes of a value in a line: names and errors can contain as much as a client sent.
const VALUE_BYTES: usize = 1024;

/// Returns the value as a line shows it.
pub(super) fn text(value: fmt::Arguments<'_>) -> String {
    let mut text = String::new();
    // Writing to a String cannot fail.
    let _ = write(&mut text, value);
    text
}

/// Writes the value as a line shows it.
pub(super) fn write(to: &mut impl Write, value: fmt::Arguments<'_>) -> fmt::Result {
    let mut shown = Shown { to: &mut *to, bytes: 0 };
    write!(shown, "{value}")?;
    let bytes = shown.bytes;
    if bytes > VALUE_BYTES { write!(to, "... ({bytes} bytes)") } else { Ok(()) }
}

/// Passes on the first bytes, with control characters escaped, and counts all of them.
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

    fn cut(text: &str) -> (String, usize) {
        let mut to = String::new();
        let mut shown = Shown { to: &mut to, bytes: 0 };
        write!(shown, "{text}").unwrap();
        let bytes = shown.bytes;
        (to, bytes)
    }

    #[test]
    fn a_long_value_is_cut_off_and_control_characters_are_escaped() {
        assert_eq!(cut("plain \u{1b}[31m\n"), ("plain \\u{1b}[31m\n".to_owned(), 12));
        let (text, bytes) = cut(&"ä".repeat(33_000));
        assert_eq!((text.len(), bytes), (VALUE_BYTES, 66_000));
    }
}
