//! Which neighboring entries of a lane may share a request, and how many (rules R9 and R13).
//!
//! Pure functions of two profiles and a size. [`super::board`] decides when a request is sent, and where.

use super::entry::{Merge, Profile};
use super::vouching::Vouching;

/// The limits of one merged request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MergeLimits {
    pub documents: u32,
    pub bytes: u64,
}

impl MergeLimits {
    /// Every entry gets a request of its own.
    pub const SINGLE: MergeLimits = MergeLimits { documents: 1, bytes: 1 };

    /// Returns these limits, capped by the others.
    pub(super) fn within(self, others: MergeLimits) -> MergeLimits {
        MergeLimits { documents: self.documents.min(others.documents), bytes: self.bytes.min(others.bytes) }
    }
}

/// How full one merged request is.
pub(super) struct Room {
    pub documents: u32,
    pub bytes: u64,
}

impl Room {
    /// Adds this entry, and returns whether the request is still within the limits.
    pub fn take(&mut self, profile: &Profile, limits: MergeLimits) -> bool {
        self.documents = self.documents.saturating_add(profile.merge.map_or(0, |merge| merge.docs));
        self.bytes = self.bytes.saturating_add(profile.bytes);
        self.documents <= limits.documents && self.bytes <= limits.bytes
    }
}

/// Returns whether both may be in one request (rules R9 and R13).
pub(super) fn mergeable(head: &Profile, next: &Profile) -> bool {
    let same = |a: Option<Merge>, b: Option<Merge>| match (a, b) {
        (Some(a), Some(b)) => a.encoding == b.encoding,
        _ => false,
    };
    let vouched = |profile: &Profile| profile.vouching == Vouching::Vouched;
    head.kind == next.kind && same(head.merge, next.merge) && vouched(head) && vouched(next)
}
