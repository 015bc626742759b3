//! How long an instance's recent outages took: from its departure until real traffic went to it again.
//!
//! Pure: the clock is passed in. Kept in memory only.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// The most outages that are remembered.
const KEPT: usize = 7;

/// An instance's recent outages.
#[derive(Clone, Debug, Default)]
pub(super) struct Outages {
    since: Option<Instant>,
    lengths: VecDeque<Duration>,
}

impl Outages {
    /// Records that it went away. Going away again before it is admitted belongs to the same outage.
    pub fn begins(&mut self, now: Instant) {
        self.since.get_or_insert(now);
    }

    /// Records that real traffic goes to it.
    pub fn ends(&mut self, now: Instant) {
        let Some(since) = self.since.take() else { return };
        if self.lengths.len() >= KEPT {
            self.lengths.pop_front();
        }
        self.lengths.push_back(now.saturating_duration_since(since));
    }

    /// Returns the median of the remembered outages, so that one long night changes little; `None` if there were none.
    pub fn typical(&self) -> Option<Duration> {
        let mut sorted: Vec<_> = self.lengths.iter().copied().collect();
        sorted.sort_unstable();
        sorted.get(sorted.len() / 2).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outages(seconds: &[u64]) -> Outages {
        let (mut outages, now) = (Outages::default(), Instant::now());
        for seconds in seconds {
            outages.begins(now);
            outages.ends(now + Duration::from_secs(*seconds));
        }
        outages
    }

    #[test]
    fn the_typical_outage_is_the_middle_of_the_last_few() {
        assert_eq!(outages(&[]).typical(), None);
        assert_eq!(outages(&[3]).typical(), Some(Duration::from_secs(3)));
        assert_eq!(outages(&[2, 3600, 4]).typical(), Some(Duration::from_secs(4)), "one long night");
        let old: Vec<u64> = [100; 7].into_iter().chain([1; 7]).collect();
        assert_eq!(outages(&old).typical(), Some(Duration::from_secs(1)), "the old ones are forgotten");
    }

    #[test]
    fn an_outage_lasts_until_it_is_admitted() {
        let (mut outages, now) = (Outages::default(), Instant::now());
        outages.ends(now);
        outages.begins(now);
        outages.begins(now + Duration::from_secs(5));
        outages.ends(now + Duration::from_secs(8));
        outages.ends(now + Duration::from_secs(99));
        assert_eq!(outages.typical(), Some(Duration::from_secs(8)));
    }
}
