//! The traffic between two moments, from counters that only grow.

use crate::metrics::Traffic;

impl Traffic {
    /// Returns the traffic after `before`.
    pub(super) fn since(&self, before: &Traffic) -> Traffic {
        let earlier = |at: usize| before.within.get(at).map_or(0, |(_, count)| *count);
        let within =
            self.within.iter().enumerate().map(|(at, (bound, count))| (*bound, count.saturating_sub(earlier(at))));
        Traffic {
            answered: self.answered.saturating_sub(before.answered),
            failed: self.failed.saturating_sub(before.failed),
            within: within.collect(),
            sent_requests: self.sent_requests.saturating_sub(before.sent_requests),
            sent_writes: self.sent_writes.saturating_sub(before.sent_writes),
        }
    }

    /// Estimates the quantile of durations in milliseconds, interpolated between two bounds. `None` if nothing was
    /// answered; the last bound if the quantile lies beyond it.
    pub(super) fn quantile_millis(&self, share: f64) -> Option<f64> {
        if self.answered == 0 {
            return None;
        }
        let rank = share * self.answered as f64;
        let mut below = (0.0, 0);
        for (bound, count) in &self.within {
            if *count as f64 >= rank && *count > below.1 {
                let part = (rank - below.1 as f64) / (count - below.1) as f64;
                return Some(1000.0 * (below.0 + part * (bound - below.0)));
            }
            below = (*bound, *count);
        }
        Some(1000.0 * below.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn traffic(answered: u64, within: &[(f64, u64)]) -> Traffic {
        Traffic { answered, within: within.to_vec(), ..Traffic::default() }
    }

    #[test]
    fn a_quantile_lies_between_the_bounds_of_its_bucket() {
        let some = traffic(100, &[(0.01, 50), (0.02, 90), (0.04, 100)]);
        assert_eq!(some.quantile_millis(0.5), Some(10.0));
        assert_eq!(some.quantile_millis(0.7), Some(15.0));
        assert_eq!(traffic(0, &[]).quantile_millis(0.5), None);
        assert_eq!(traffic(10, &[(0.01, 0)]).quantile_millis(0.99), Some(10.0), "all took longer than any bound");
    }

    #[test]
    fn a_difference_is_of_each_bucket() {
        let before = traffic(10, &[(0.01, 10), (0.02, 10)]);
        let now = traffic(12, &[(0.01, 10), (0.02, 12)]);
        assert_eq!(now.since(&before), traffic(2, &[(0.01, 0), (0.02, 2)]));
        assert_eq!(now.since(&Traffic::default()), now);
    }
}
