//! A transaction's profile as its row holds it, the same columns in both stores. What older versions did not write has the
//! value that they behaved by.

use crate::order::{Conditions, Encoding, Kind, Merge, Priority, Profile, Vouching};

/// The columns of a profile.
pub(super) struct StoredProfile {
    pub kind: Kind,
    pub bytes: u64,
    /// Both, or it is never merged.
    pub merge: (Option<u32>, Option<Encoding>),
    /// None in rows from before there were priorities.
    pub priority: Option<Priority>,
    /// None in rows from before there were quarantines, and of what most requests have.
    pub vouching: Option<Vouching>,
    pub conditions: Option<Conditions>,
}

impl StoredProfile {
    pub(super) fn read(self) -> Profile {
        let StoredProfile { kind, bytes, merge: (docs, encoding), priority, vouching, conditions } = self;
        Profile {
            kind,
            merge: docs.zip(encoding).map(|(docs, encoding)| Merge { docs, encoding }),
            bytes,
            priority: priority.unwrap_or_default(),
            vouching: vouching.unwrap_or_default(),
            conditions: conditions.unwrap_or_default(),
        }
    }
}
