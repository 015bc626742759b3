//! Timestamps as clients read and write them: RFC 3339, and in queries epoch seconds as well.

use crate::clock::Timestamp;

const DAY_MILLIS: i64 = 86_400_000;
/// The years 0000 to 9999, the range of RFC 3339.
const RANGE: std::ops::RangeInclusive<i64> = -62_167_219_200_000..=253_402_300_799_999;

/// Formats a timestamp like `2026-11-22T02:03:45.123Z`.
pub fn text(moment: Timestamp) -> String {
    let millis = moment.millis().clamp(*RANGE.start(), *RANGE.end());
    let (days, rest) = (millis.div_euclid(DAY_MILLIS), millis.rem_euclid(DAY_MILLIS));
    let (year, month, day) = date(days);
    let (hour, minute, second) = (rest / 3_600_000, rest / 60_000 % 60, rest / 1_000 % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{:03}Z", rest % 1_000)
}

/// Parses a client's timestamp. Returns `None` if it is not valid.
pub fn read(text: &str) -> Option<Timestamp> {
    let millis = if text.contains('T') || text.contains('t') { rfc3339(text)? } else { epoch_seconds(text)? };
    RANGE.contains(&millis).then(|| Timestamp::from_millis(millis))
}

fn epoch_seconds(text: &str) -> Option<i64> {
    if !text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.' || byte == b'-') {
        return None;
    }
    let seconds: f64 = text.parse().ok()?;
    // Outside the range the cast saturates, and the range check rejects the result.
    seconds.is_finite().then_some((seconds * 1_000.0).round() as i64)
}

fn rfc3339(text: &str) -> Option<i64> {
    let (date, time) = text.split_once(['T', 't'])?;
    let [year, month, day] = numbers(date, '-', [4, 2, 2])?;
    let split = time.find(['Z', 'z', '+', '-', ' '])?;
    let (clock, zone) = time.split_at(split);
    let (clock, fraction) = clock.split_once('.').map_or((clock, None), |(clock, fraction)| (clock, Some(fraction)));
    let [hour, minute, second] = numbers(clock, ':', [2, 2, 2])?;
    let valid = (1..=12).contains(&month) && (1..=month_days(year, month)).contains(&day);
    // 60 is a leap second, read as the first second of the next minute.
    if !valid || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let millis = fraction.map_or(Some(0), fraction_millis)?;
    let seconds = days(year, month, day) * 86_400 + hour * 3_600 + minute * 60 + second - offset(zone)?;
    Some(seconds * 1_000 + millis)
}

fn fraction_millis(text: &str) -> Option<i64> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| format!("{text:0<3}")).and_then(|text| text.get(..3)?.parse().ok())
}

/// Returns seconds east of UTC. A space is a `+` that was not escaped in a query.
fn offset(zone: &str) -> Option<i64> {
    let sign = match zone.chars().next()? {
        'Z' | 'z' => return (zone.len() == 1).then_some(0),
        '-' => -1,
        _ => 1,
    };
    let [hours, minutes] = numbers(zone.get(1..)?, ':', [2, 2])?;
    (hours <= 23 && minutes <= 59).then_some(sign * (hours * 3_600 + minutes * 60))
}

fn numbers<const N: usize>(text: &str, separator: char, lengths: [usize; N]) -> Option<[i64; N]> {
    let parts: Vec<&str> = text.split(separator).collect();
    let mut found = [0; N];
    if parts.len() != N {
        return None;
    }
    for ((part, length), number) in parts.iter().zip(lengths).zip(&mut found) {
        if part.len() != length || !part.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        *number = part.parse().ok()?;
    }
    Some(found)
}

fn month_days(year: i64, month: i64) -> i64 {
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    match month {
        2 => 28 + i64::from(leap),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Returns the days since 1970-01-01. Years begin in March, so that the leap day comes last (proleptic Gregorian).
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let (era, of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

/// The inverse of [`days`].
fn date(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let (era, of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let shifted = (5 * of_year + 2) / 153;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    (year + era * 400 + i64::from(month <= 2), month, of_year - (153 * shifted + 2) / 5 + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_written_and_read_back() {
        let known = [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_399_999, "2000-02-28T23:59:59.999Z"),
            (951_782_400_000, "2000-02-29T00:00:00.000Z"),
            (1_795_313_025_123, "2026-11-22T02:03:45.123Z"),
            (4_107_542_400_000, "2100-03-01T00:00:00.000Z"),
        ];
        for (millis, written) in known {
            assert_eq!(text(Timestamp::from_millis(millis)), written);
            assert_eq!(read(written), Some(Timestamp::from_millis(millis)), "{written}");
        }
        for day in (-700_000..2_900_000).step_by(97) {
            let (year, month, of_month) = date(day);
            assert_eq!(days(year, month, of_month), day);
        }
    }

    #[test]
    fn a_moment_has_many_spellings() {
        let moment = Some(Timestamp::from_millis(1_795_313_025_000));
        for spelling in [
            "2026-11-22T02:03:45Z",
            "2026-11-22t02:03:45.000z",
            "2026-11-22T04:03:45+02:00",
            "2026-11-22T04:03:45 02:00",
            "2026-11-21T21:33:45-04:30",
            "1795313025",
            "1795313025.0",
        ] {
            assert_eq!(read(spelling), moment, "{spelling}");
        }
        assert_eq!(read("1795313025.5"), Some(Timestamp::from_millis(1_795_313_025_500)));
        assert_eq!(read("2026-11-22T02:03:45.5Z"), Some(Timestamp::from_millis(1_795_313_025_500)));
        assert_eq!(read("-1"), Some(Timestamp::from_millis(-1_000)));
    }

    #[test]
    fn nonsense_is_none() {
        for nonsense in [
            "",
            "yesterday",
            "T",
            "2026-11-22",
            "2026-11-22T02:03:45",
            "2026-13-01T00:00:00Z",
            "2026-02-29T00:00:00Z",
            "2026-11-22T24:00:00Z",
            "2026-11-22T02:03:45.Z",
            "2026-11-22T02:03:45+2:00",
            "2026-11-22T02:03:45Zx",
            "1e9",
            "inf",
            "NaN",
            "1.2.3",
            "99999999999999999999",
            "+5",
            "2026-11-22T02:03:45\u{1f600}",
        ] {
            assert_eq!(read(nonsense), None, "{nonsense}");
        }
    }
}
