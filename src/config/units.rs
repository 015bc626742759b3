//! Durations and sizes as people write them.
//!
//! Decides which spellings are accepted: `500ms`, `5s`, `2m`, `12h`, `7d`; `40MiB`, `512MB`, plain bytes. In the file,
//! a duration without a unit is refused: a reader cannot tell whether 5 means seconds or milliseconds.

use std::fmt;
use std::time::Duration;

/// A number of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ByteSize(u64);

const SIZE_UNITS: [(&str, u64); 8] = [
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("KB", 1_000),
    ("kB", 1_000),
    ("B", 1),
];

impl ByteSize {
    /// Creates a size of `count` bytes.
    pub const fn bytes(count: u64) -> Self {
        ByteSize(count)
    }

    /// Creates a size of `count` mebibytes.
    pub const fn mib(count: u64) -> Self {
        ByteSize(count << 20)
    }

    /// Returns the number of bytes.
    pub const fn get(self) -> u64 {
        self.0
    }

    /// Returns the number of bytes as a `usize`.
    pub fn as_usize(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Of the units that divide it exactly, use the one with the smallest number: 512MB rather than 500000KiB.
        let exact = SIZE_UNITS.iter().filter(|(_, factor)| self.0 >= *factor && self.0.is_multiple_of(*factor));
        match exact.min_by_key(|(_, factor)| self.0 / factor) {
            Some((unit, factor)) => write!(f, "{}{unit}", self.0 / factor),
            None => write!(f, "{}B", self.0),
        }
    }
}

/// Parses a size such as `40MiB`, `512MB` or `1024`.
pub(super) fn size(text: &str) -> Result<ByteSize, String> {
    let wrong = || format!("{text:?} is not a size; write it as 40MiB, 512MB or a number of bytes");
    let (digits, unit) = split(text).ok_or_else(wrong)?;
    let factor = match unit {
        "" => 1,
        unit => SIZE_UNITS.iter().find(|(name, _)| *name == unit).ok_or_else(wrong)?.1,
    };
    digits.parse::<u64>().ok().and_then(|count| count.checked_mul(factor)).map(ByteSize).ok_or_else(wrong)
}

/// Parses a duration such as `500ms`, `5s`, `2m`, `12h` or `7d`.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("{text:?} is not a span of time; write it as 500ms, 5s, 2m, 12h or 7d");
    let (digits, unit) = split(text).ok_or_else(wrong)?;
    let millis: u64 = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return Err(wrong()),
    };
    digits.parse::<u64>().ok().and_then(|n| n.checked_mul(millis)).map(Duration::from_millis).ok_or_else(wrong)
}

/// Formats a duration as the file would write it, in the largest unit that divides it exactly.
pub fn show_duration(span: Duration) -> String {
    let millis = span.as_millis();
    for (unit, factor) in [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000)] {
        if millis >= factor && millis.is_multiple_of(factor) {
            return format!("{}{unit}", millis / factor);
        }
    }
    if millis == 0 { "0s".to_owned() } else { format!("{millis}ms") }
}

fn split(text: &str) -> Option<(&str, &str)> {
    let text = text.trim();
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (digits, unit) = text.split_at(end);
    (!digits.is_empty()).then(|| (digits, unit.trim_start()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_in_binary_and_decimal_units() {
        assert_eq!(size("40MiB"), Ok(ByteSize(40 * 1024 * 1024)));
        assert_eq!(size("512MB"), Ok(ByteSize(512_000_000)));
        assert_eq!(size("1024"), Ok(ByteSize(1024)));
        assert_eq!(size("2 GiB"), Ok(ByteSize(2 << 30)));
        for wrong in ["", "MiB", "-1", "1.5MiB", "40 mib", "99999999999GiB", "40M"] {
            assert!(size(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn spans_need_a_unit() {
        assert_eq!(duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(duration("7d"), Ok(Duration::from_secs(7 * 86_400)));
        for wrong in ["5", "", "s", "5 sec", "-5s", "1.5s", "18446744073709551615d"] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_is_shown_can_be_read_again() {
        for text in ["500ms", "5s", "2m", "12h", "7d", "1500ms", "90s", "0s"] {
            assert_eq!(show_duration(duration(text).unwrap()), text);
        }
        for text in ["40MiB", "512MB", "1001B", "3KiB", "2GiB", "0B"] {
            assert_eq!(size(text).unwrap().to_string(), text);
        }
    }
}
