//! What the run needs to know about each crash point besides its name: how often it is passed.
//!
//! The names are the edge's own.

use std::fmt;

use chroma_edge::proof::CrashPoint as Named;

/// A crash point of the edge.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct CrashPoint(pub Named);

/// All crash points.
pub const POINTS: [CrashPoint; Named::ALL.len()] = {
    let mut all = [CrashPoint(Named::ALL[0]); Named::ALL.len()];
    let mut index = 0;
    while index < all.len() {
        all[index] = CrashPoint(Named::ALL[index]);
        index += 1;
    }
    all
};

impl CrashPoint {
    pub fn as_str(self) -> &'static str {
        self.0.as_str()
    }

    /// Returns whether only an edge that takes over from another one passes it.
    pub fn needs_two_edges(self) -> bool {
        self.0 == Named::DuringTakeover
    }

    /// Returns whether only an edge that makes a copy anew, or repairs one, passes it.
    pub fn is_in_a_copy(self) -> bool {
        self.0.is_in_a_copy()
    }

    /// Returns whether only an edge that repairs a copy passes it.
    pub fn is_in_a_repair(self) -> bool {
        self.0.is_in_a_repair()
    }

    /// Returns how often it is passed soon after a start, at least, so that it is reached within the fault's time.
    pub fn most_passes(self) -> u64 {
        match self.0 {
            copy if copy.is_in_a_copy() => 1,
            Named::DuringTakeover | Named::BetweenTwoRequests | Named::BeforeMapping | Named::BeforeResolved => 1,
            Named::BeforeRepeat => 2,
            Named::DuringSync => 8,
            _ => 20,
        }
    }
}

impl fmt::Display for CrashPoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
