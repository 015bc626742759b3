//! The formats of the files in `/proc` and of the control groups. Pure: text in, numbers out.

use std::time::Duration;

/// Returns the number of bytes after `name:` in a file with lines such as `VmRSS:   123 kB`.
pub(super) fn kilobytes(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    let count: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    count.checked_mul(1024)
}

/// Parses a limit in bytes. Returns `None` for `max`, and for the huge numbers that mean the same in version 1 of
/// control groups.
pub(super) fn limit(text: &str) -> Option<u64> {
    let bytes: u64 = text.trim().parse().ok()?;
    (bytes < 1 << 60).then_some(bytes)
}

/// Returns the processors in a quota of so many microseconds per period; `None` if the quota is negative or `max`.
pub(super) fn quota(quota: &str, period: &str) -> Option<f64> {
    let (quota, period): (f64, f64) = (quota.trim().parse().ok()?, period.trim().parse().ok()?);
    (quota > 0.0 && period > 0.0).then(|| quota / period)
}

/// Returns the used share of this many processors over a span, in percent.
pub(super) fn share(spent: Duration, span: Duration, processors: f64) -> Option<f64> {
    let all = span.as_secs_f64() * processors;
    (all > 0.0).then(|| 100.0 * spent.as_secs_f64() / all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kilobytes_are_those_of_the_whole_name() {
        let text = "VmPeak:\t  900 kB\nVmRSS:\t  12 kB\nThreads:\t7\n";
        assert_eq!(
            [kilobytes(text, "VmRSS"), kilobytes(text, "Vm"), kilobytes(text, "Threads")],
            [Some(12_288), None, None]
        );
    }

    #[test]
    fn no_limit_is_none() {
        assert_eq!([limit("max\n"), limit("9223372036854771712\n"), limit("1048576\n")], [None, None, Some(1_048_576)]);
        assert_eq!([quota("max", "100000"), quota("-1", "100000"), quota("150000", "100000")], [None, None, Some(1.5)]);
        assert_eq!(quota("1", "0"), None);
    }

    #[test]
    fn a_share_is_of_all_processors() {
        let (half, second) = (Duration::from_millis(500), Duration::from_secs(1));
        assert_eq!([share(half, second, 1.0), share(half, second, 2.0)], [Some(50.0), Some(25.0)]);
        assert_eq!(share(half, Duration::ZERO, 2.0), None);
    }
}
