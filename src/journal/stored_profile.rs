//! A transaction's profile as it is stored, in the same columns in both stores. A column that an older version did not
//! write gets the value that matches how that version behaved.

use crate::order::{Conditions, Encoding, Kind, Merge, Priority, Profile, Vouching};

/// The columns of a profile.
pub(super) struct StoredProfile {
    pub kind: Kind,
    pub bytes: u64,
    /// Both are set, or the write is never merged.
    pub merge: (Option<u32>, Option<Encoding>),
    /// `None` in rows written before priorities existed.
    pub priority: Option<Priority>,
    /// Like `conditions`, `None` in rows written before quarantines existed, and for the value that most requests have.
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
