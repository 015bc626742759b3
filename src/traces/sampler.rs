//! New ids, and which new traces are recorded.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::num::{NonZeroU64, NonZeroU128};
use std::sync::atomic::{AtomicU64, Ordering};

/// Ids may be guessable: a keyed hash of a counter is as good as random, and needs no source of randomness.
#[derive(Debug)]
pub(super) struct Sampler {
    /// A trace is recorded if the upper 63 bits of its id's lower half are below this. OpenTelemetry's `traceidratio`
    /// does the same, so every service with the same ratio makes the same decision.
    below: u64,
    count: AtomicU64,
    keys: [RandomState; 2],
}

impl Sampler {
    pub fn new(ratio: f64) -> Sampler {
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "within 0 and 2^63")]
        let below = (ratio.clamp(0.0, 1.0) * (1_u64 << 63) as f64) as u64;
        Sampler { below, count: AtomicU64::new(0), keys: [RandomState::new(), RandomState::new()] }
    }

    /// Returns the id of a new trace, if it is to be recorded.
    pub fn begin(&self) -> Option<NonZeroU128> {
        if self.below == 0 {
            return None;
        }
        Some(self.trace()).filter(|trace| ((trace.get() as u64) >> 1) < self.below)
    }

    /// Returns the id of a new trace.
    pub fn trace(&self) -> NonZeroU128 {
        let id = u128::from(self.number(0)) << 64 | u128::from(self.number(1));
        NonZeroU128::new(id).unwrap_or(NonZeroU128::MIN)
    }

    /// Returns the id of a new span.
    pub fn span(&self) -> NonZeroU64 {
        NonZeroU64::new(self.number(0)).unwrap_or(NonZeroU64::MIN)
    }

    fn number(&self, key: usize) -> u64 {
        self.keys[key].hash_one(self.count.fetch_add(1, Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_are_recorded_as_the_ratio_says() {
        let recorded = |ratio| {
            let sampler = Sampler::new(ratio);
            (0..10_000).filter(|_| sampler.begin().is_some()).count()
        };
        assert_eq!((recorded(0.0), recorded(1.0)), (0, 10_000));
        // Ten standard deviations.
        let few = recorded(0.1);
        assert!((700..1300).contains(&few), "{few}");
    }

    #[test]
    fn ids_are_all_different() {
        let sampler = Sampler::new(1.0);
        let traces: std::collections::HashSet<_> = (0..1000).map(|_| sampler.trace()).collect();
        let spans: std::collections::HashSet<_> = (0..1000).map(|_| sampler.span()).collect();
        assert_eq!((traces.len(), spans.len()), (1000, 1000));
    }
}
