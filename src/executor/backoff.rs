//! How long the edge pauses after a failed attempt before it tries a reachable instance again.
//!
//! Pure: the caller passes the random part. The board decides what to send after the pause, if anything.

use std::time::Duration;

/// The pause after the first failure; each further one in a row doubles it.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
/// The longest pause for an instance without a known outage.
const LONGEST_AT_FIRST: Duration = Duration::from_secs(5);
/// The longest pause is the instance's typical outage divided by this. Noticing that the instance is back takes at most
/// that much longer.
const PART_OF_AN_OUTAGE: u32 = 4;
/// The bounds of the longest pause, however short or long the outages are.
const BOUNDS: [Duration; 2] = [Duration::from_millis(500), Duration::from_secs(30)];

/// Returns the longest pause for an instance whose outages typically last this long.
pub(super) fn longest_pause(typical_outage: Option<Duration>) -> Duration {
    let [shortest, longest] = BOUNDS;
    typical_outage.map_or(LONGEST_AT_FIRST, |outage| (outage / PART_OF_AN_OUTAGE).clamp(shortest, longest))
}

/// Returns the pause after this many failures in a row. Half of it is fixed, so that no instance is hammered. The other
/// half is random (`chance` is between 0 and 1), so that lanes that failed together do not retry together.
pub(super) fn pause(in_a_row: u32, longest: Duration, chance: f64) -> Duration {
    if in_a_row == 0 {
        return Duration::ZERO;
    }
    let whole = FIRST_PAUSE.saturating_mul(2u32.saturating_pow((in_a_row - 1).min(20))).min(longest);
    whole / 2 + (whole / 2).mul_f64(chance.clamp(0.0, 1.0))
}

/// The pause after the first death beyond the limit. Each further one doubles it.
const FIRST_AFTER_DEATHS: Duration = Duration::from_secs(5);
const LONGEST_AFTER_DEATHS: Duration = Duration::from_secs(600);

/// Returns how long to keep an entry from an instance that has died of it this many times beyond the limit.
pub(super) fn pause_after_deaths(in_a_row: u32) -> Duration {
    let doublings = in_a_row.saturating_sub(1).min(20);
    FIRST_AFTER_DEATHS.saturating_mul(2u32.saturating_pow(doublings)).min(LONGEST_AFTER_DEATHS)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn pauses_double_up_to_the_longest_and_half_of_each_is_chance() {
        let longest = 5000 * MS;
        assert_eq!(pause(0, longest, 1.0), Duration::ZERO);
        assert_eq!([1, 2, 3, 4].map(|failures| pause(failures, longest, 1.0)), [50, 100, 200, 400].map(|ms| ms * MS));
        assert_eq!([1, 2, 3, 4].map(|failures| pause(failures, longest, 0.0)), [25, 50, 100, 200].map(|ms| ms * MS));
        assert_eq!(pause(1, longest, 0.5), Duration::from_micros(37_500));
        for failures in [8, 20, u32::MAX] {
            assert_eq!(pause(failures, longest, 1.0), longest);
            assert_eq!(pause(failures, longest, 0.0), longest / 2);
        }
    }

    #[test]
    fn an_instance_is_spared_what_it_dies_of_for_longer_each_time() {
        assert_eq!(
            [1, 2, 3, 7, 8, u32::MAX].map(|deaths| pause_after_deaths(deaths).as_secs()),
            [5, 10, 20, 320, 600, 600]
        );
    }

    #[test]
    fn the_longest_pause_follows_the_outages_within_bounds() {
        assert_eq!(longest_pause(None), LONGEST_AT_FIRST);
        assert_eq!(longest_pause(Some(Duration::from_secs(40))), Duration::from_secs(10));
        assert_eq!(longest_pause(Some(Duration::from_millis(3))), BOUNDS[0]);
        assert_eq!(longest_pause(Some(Duration::from_secs(86_400))), BOUNDS[1]);
    }
}
