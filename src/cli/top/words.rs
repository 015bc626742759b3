//! Numbers as people read them in a terminal: short, and of a stable width.

/// Formats a duration in seconds: `5 s`, `12 min`, `3 h`, `9 d`.
pub(super) fn span(seconds: f64) -> String {
    let seconds = seconds.max(0.0).round();
    match seconds {
        _ if seconds < 120.0 => format!("{seconds} s"),
        _ if seconds < 7_200.0 => format!("{:.0} min", seconds / 60.0),
        _ if seconds < 172_800.0 => format!("{:.0} h", seconds / 3_600.0),
        _ => format!("{:.0} d", seconds / 86_400.0),
    }
}

/// Formats a size: `512 B`, `1.5 MB`.
pub(super) fn bytes(count: u64) -> String {
    const UNITS: [&str; 5] = ["B", "kB", "MB", "GB", "TB"];
    let (mut size, mut unit) = (count as f64, 0);
    while size >= 1000.0 && unit + 1 < UNITS.len() {
        size /= 1000.0;
        unit += 1;
    }
    if unit == 0 { format!("{count} B") } else { format!("{size:.1} {}", UNITS[unit]) }
}

/// Formats a duration in milliseconds, if known.
pub(super) fn millis(value: Option<f64>) -> String {
    match value {
        Some(value) if value < 10.0 => format!("{value:.1} ms"),
        Some(value) if value < 10_000.0 => format!("{value:.0} ms"),
        Some(value) => format!("{:.0} s", value / 1000.0),
        None => "-".to_owned(),
    }
}

/// Formats requests per second, if known.
pub(super) fn rate(value: Option<f64>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| format!("{value:.0}"))
}

/// Formats the time of day in UTC, from milliseconds since 1970.
pub(super) fn time_of_day(millis: i64) -> String {
    let seconds = millis.div_euclid(1000).rem_euclid(86_400);
    format!("{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60)
}

/// Draws a bar of ten characters, which is readable without color.
pub(super) fn bar(percent: f64) -> String {
    let full = (percent.clamp(0.0, 100.0) / 10.0) as usize;
    format!("[{}{}]", "#".repeat(full), ".".repeat(10 - full))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short() {
        assert_eq!(
            [span(1.4), span(119.0), span(120.0), span(9_100.0), span(900_000.0)],
            ["1 s", "119 s", "2 min", "3 h", "10 d"]
        );
        assert_eq!([bytes(999), bytes(1_500), bytes(2_000_000_000)], ["999 B", "1.5 kB", "2.0 GB"]);
        assert_eq!(
            [millis(Some(1.23)), millis(Some(12.3)), millis(Some(12_345.0)), millis(None)],
            ["1.2 ms", "12 ms", "12 s", "-"]
        );
        assert_eq!(time_of_day(86_400_000 + 3_661_000), "01:01:01");
        assert_eq!([bar(0.0), bar(55.0), bar(100.0)], ["[..........]", "[#####.....]", "[##########]"]);
    }
}
