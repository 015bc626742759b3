//! Whether one request exceeds a limit: compares a scan's measurements with the limits in force.
//!
//! The scans measure; this file compares. `limit_table.rs` defines the limits. None of them applies to a write that is
//! already journaled.

use super::feature::Feature;
use super::limit_table::{Exceeded, IndexFault, Limit};
use super::scan::Refusal;
use super::sizes::{IndexShape, Sizes};

/// The limits in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestLimits([u64; Limit::ALL.len()]);

impl Default for RequestLimits {
    fn default() -> Self {
        RequestLimits::from_fn(|limit| limit.setting().default)
    }
}

impl RequestLimits {
    /// Limits with these values.
    pub fn from_fn(value: impl FnMut(Limit) -> u64) -> RequestLimits {
        RequestLimits(Limit::ALL.map(value))
    }

    pub fn get(&self, limit: Limit) -> u64 {
        self.0[limit as usize]
    }

    /// Refuses a request that exceeds a limit, or is outside the range in which Chroma works.
    ///
    /// # Errors
    /// The first limit that is exceeded.
    pub fn check(&self, measured: &Measured) -> Result<(), Refusal> {
        if let Some(fault) = measured.index {
            return Err(Refusal::Index(fault));
        }
        for limit in Limit::ALL {
            let (actual, allowed) = (measured.get(limit), self.get(limit));
            if actual > allowed {
                return Err(Refusal::Limit(Exceeded { limit, actual, allowed }));
            }
        }
        Ok(())
    }

    /// Refuses a name that is too long.
    ///
    /// # Errors
    /// The limit on names.
    pub fn check_name(&self, name: &str) -> Result<(), Refusal> {
        let mut measured = Measured::default();
        measured.note(Limit::NameBytes, name.len());
        self.check(&measured)
    }
}

/// The counts of a scan: the highest count in the request for each limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Measured {
    counts: [u64; Limit::ALL.len()],
    index: Option<IndexFault>,
    sizes: Sizes,
    uses: [bool; Feature::ALL.len()],
}

impl Measured {
    /// Returns the counts that are not limited.
    pub(super) fn sizes(&self) -> &Sizes {
        &self.sizes
    }

    pub(super) fn sizes_mut(&mut self) -> &mut Sizes {
        &mut self.sizes
    }

    /// Returns whether this is a query for no results at all. It makes Chroma's handler panic and close the connection.
    pub const fn asks_for_none(&self) -> bool {
        self.sizes.asks_for_none
    }

    /// Returns the index that the request defines.
    pub const fn index_shape(&self) -> IndexShape {
        self.sizes.index
    }

    /// Returns the fault of that index, if any.
    pub(super) const fn index_fault(&self) -> Option<IndexFault> {
        self.index
    }

    /// Keeps the higher count.
    pub(super) fn note(&mut self, limit: Limit, count: usize) {
        let count = u64::try_from(count).unwrap_or(u64::MAX);
        let held = &mut self.counts[limit as usize];
        *held = count.max(*held);
    }

    pub(super) fn note_fault(&mut self, fault: IndexFault) {
        self.index.get_or_insert(fault);
    }

    pub(super) fn note_use(&mut self, feature: Feature) {
        self.uses[feature as usize] = true;
    }

    pub fn get(&self, limit: Limit) -> u64 {
        self.counts[limit as usize]
    }

    /// Returns whether the request needs a server with this feature.
    pub fn uses(&self, feature: Feature) -> bool {
        self.uses[feature as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_is_allowed_and_one_more_is_not() {
        let limits = RequestLimits::default();
        for limit in Limit::ALL {
            let allowed = usize::try_from(limits.get(limit)).unwrap();
            let mut measured = Measured::default();
            measured.note(limit, allowed);
            measured.note(limit, 1);
            assert_eq!(limits.check(&measured), Ok(()));
            measured.note(limit, allowed + 1);
            let refusal = limits.check(&measured).unwrap_err();
            let text = refusal.to_string();
            let names =
                text.contains(&format!("edge.limits.{}", limit.setting().key)) && text.contains(&allowed.to_string());
            assert!(names && text.contains(&(allowed + 1).to_string()), "{text}");
            assert_eq!((refusal.answer().status, refusal.reason()), (400, limit.reason()));
        }
    }
}
