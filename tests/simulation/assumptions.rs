//! What the rules rely on and cannot enforce (docs/rules.md, "What cannot be had"). The run that must break nothing
//! keeps all assumptions. Other runs break one at a time, and show exactly what follows.

/// Whether the world behaves as assumed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holds {
    Always,
    NotAlways,
}

/// The assumptions about shell and world that the board depends on.
#[derive(Clone, Copy, Debug)]
pub struct Assumptions {
    /// When a settle time that began after a request is over, the request can no longer be executed: no network and no
    /// instance holds it back for longer, and no clock lets the settle time end early.
    pub quiescence_is_real: Holds,
    /// An edge notices what it sent after its lease: its clock counts the time that the machine was suspended.
    pub lateness_is_noticed: Holds,
    /// What it noticed reaches the journal: the edge is not killed before, and reaches the database.
    pub late_writes_are_recorded: Holds,
    /// Memory is never short: requests may hold as much as is configured. No rule relies on it.
    pub memory_suffices: Holds,
}

impl Assumptions {
    pub const KEPT: Assumptions = Assumptions {
        quiescence_is_real: Holds::Always,
        lateness_is_noticed: Holds::Always,
        late_writes_are_recorded: Holds::Always,
        memory_suffices: Holds::Always,
    };

    pub fn kept(&self) -> bool {
        [self.quiescence_is_real, self.lateness_is_noticed, self.late_writes_are_recorded] == [Holds::Always; 3]
    }
}
