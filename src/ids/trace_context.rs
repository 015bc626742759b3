//! A span's place in a distributed trace, as the header `traceparent` spells it (W3C Trace Context).

use std::fmt;
use std::num::{NonZeroU64, NonZeroU128};

/// A trace and one span in it.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct TraceContext {
    pub trace: NonZeroU128,
    pub span: NonZeroU64,
    pub sampling: Sampling,
}

/// Whether the spans of a trace are recorded, as decided where the trace began.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Sampling {
    Sampled,
    Unsampled,
}

impl TraceContext {
    /// Parses a `traceparent` of version 00, or the part of a later version that has the same form. `None` if it is
    /// invalid.
    pub fn parse(text: &str) -> Option<TraceContext> {
        let mut parts = text.trim().split('-');
        let mut part = |length: usize| parts.next().filter(|part| part.len() == length && is_lower_hex(part));
        let (version, trace, span, flags) = (part(2)?, part(32)?, part(16)?, part(2)?);
        // Only a later version may have more parts.
        if version == "ff" || (version == "00" && parts.next().is_some()) {
            return None;
        }
        let flags = u8::from_str_radix(flags, 16).ok()?;
        Some(TraceContext {
            trace: NonZeroU128::new(u128::from_str_radix(trace, 16).ok()?)?,
            span: NonZeroU64::new(u64::from_str_radix(span, 16).ok()?)?,
            sampling: if flags & 1 == 1 { Sampling::Sampled } else { Sampling::Unsampled },
        })
    }

    /// Returns whether the trace's spans are recorded.
    pub fn is_sampled(self) -> bool {
        self.sampling == Sampling::Sampled
    }
}

fn is_lower_hex(text: &str) -> bool {
    text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

impl fmt::Display for TraceContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let flags = match self.sampling {
            Sampling::Sampled => 1,
            Sampling::Unsampled => 0,
        };
        write!(f, "00-{:032x}-{:016x}-{flags:02x}", self.trace, self.span)
    }
}

impl fmt::Debug for TraceContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KNOWN: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn what_is_written_is_read() {
        let context = TraceContext::parse(KNOWN).unwrap();
        assert_eq!((context.span.get(), context.sampling), (0x00f0_67aa_0ba9_02b7, Sampling::Sampled));
        assert_eq!(context.to_string(), KNOWN);
        let unsampled = KNOWN.replace("-01", "-00");
        assert_eq!(TraceContext::parse(&unsampled).unwrap().to_string(), unsampled);
    }

    #[test]
    fn a_later_version_is_read_by_what_it_begins_with() {
        let later = KNOWN.replacen("00-", "42-", 1) + "-more";
        assert_eq!(TraceContext::parse(&later), TraceContext::parse(KNOWN));
    }

    #[test]
    fn what_is_none_is_refused() {
        let zeros = |count: usize| "0".repeat(count);
        for wrong in [
            String::new(),
            "00".to_owned(),
            KNOWN.to_uppercase(),
            format!("{KNOWN}-more"),
            KNOWN.replacen("00-", "ff-", 1),
            KNOWN.replace("4bf92f3577b34da6a3ce929d0e0e4736", &zeros(32)),
            KNOWN.replace("00f067aa0ba902b7", &zeros(16)),
            KNOWN.replace("00f067aa0ba902b7", "+0f067aa0ba902b7"),
            KNOWN.replace("-01", "-1"),
            KNOWN.replace('f', "é"),
        ] {
            assert_eq!(TraceContext::parse(&wrong), None, "{wrong:?}");
        }
    }
}
