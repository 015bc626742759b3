//! The two ways in which a copy is made whole. Plain data.

/// How a copy is made whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HealWay {
    /// The differences are written to the old copy, in place.
    Repair,
    /// Everything is written to a new copy beside the old one.
    Anew,
}

impl HealWay {
    /// Returns the name that operators see.
    pub const fn as_str(self) -> &'static str {
        match self {
            HealWay::Repair => "repair",
            HealWay::Anew => "anew",
        }
    }
}
