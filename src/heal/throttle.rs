//! How fast records are copied, over all copies that are being made: `heal.rate`.

use std::num::NonZeroU32;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::clock;

/// Keeps all copies together within the rate.
#[derive(Debug, Default)]
pub(super) struct Throttle {
    /// When everything so far is within the rate.
    paid_at: Mutex<Option<Instant>>,
}

/// Records a second; `None`: as fast as the instances answer.
type Rate = Option<NonZeroU32>;

/// Returns the most records that a page should have: those of one second, so that a low rate does not become a series
/// of bursts.
pub(super) fn page_records(rate: Rate) -> usize {
    rate.map_or(usize::MAX, |rate| usize::try_from(rate.get()).unwrap_or(usize::MAX))
}

impl Throttle {
    /// Waits until these records, too, are within the rate.
    pub async fn pay(&self, records: u64, rate: Rate) {
        let now = clock::now();
        if let Some(until) = self.bill(records, rate, now) {
            tokio::time::sleep(until.saturating_duration_since(now)).await;
        }
    }

    fn bill(&self, records: u64, rate: Rate, now: Instant) -> Option<Instant> {
        let rate = rate?;
        let mut paid_at = self.paid_at.lock().unwrap_or_else(PoisonError::into_inner);
        let from = paid_at.map_or(now, |at| at.max(now));
        let until = from + Duration::from_secs_f64(records as f64 / f64::from(rate.get()));
        *paid_at = Some(until);
        (until > now).then_some(until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_copy_pays_into_the_same_rate_and_idle_time_is_not_saved_up() {
        let (throttle, rate) = (Throttle::default(), NonZeroU32::new(100));
        let start = clock::now();
        let at = |ms| start + Duration::from_millis(ms);
        assert_eq!(throttle.bill(50, rate, at(0)), Some(at(500)));
        assert_eq!(throttle.bill(50, rate, at(100)), Some(at(1000)), "another copy");
        assert_eq!(throttle.bill(10, rate, at(5000)), Some(at(5100)));
        assert_eq!(page_records(rate), 100);
        assert_eq!((throttle.bill(1_000_000, None, start), page_records(None)), (None, usize::MAX));
    }
}
