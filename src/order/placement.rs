//! Where an operator sends clients' requests: which instance is preferred, and which ones are drained.
//!
//! Decides only which instance comes first and which ones are spared. It does not affect what is in doubt, skipped or
//! diverged: a drained instance is as much in step as before. The board consults it (`board/placed.rs`). The
//! coordinator sets it, and decides for how long.

use crate::ids::InstanceId;

/// What an instance is used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Duty {
    /// Everything.
    #[default]
    Full,
    /// Replication only: the instance is kept in sync. Clients' requests go to it only if no other instance can take them.
    SyncOnly,
    /// Nothing, as if it were away.
    Stopped,
}

/// Whether writes wait for an instance that has just become the preferred one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Handover {
    Over,
    /// In each lane, the next open entry waits until it is that instance's head, if the instance is near.
    UnderWay,
}

/// Which instance is preferred, and which ones are drained.
#[derive(Clone, Debug)]
pub(super) struct Placement {
    primary: InstanceId,
    duties: Vec<Duty>,
    pub(super) handover: Handover,
}

impl Placement {
    /// Prefers the first instance and uses every instance for everything.
    pub(super) fn new(instances: usize) -> Placement {
        Placement { primary: InstanceId(0), duties: vec![Duty::Full; instances], handover: Handover::Over }
    }

    /// The preferred instance.
    pub(super) fn primary(&self) -> InstanceId {
        self.primary
    }

    /// Prefers this instance from now on.
    pub(super) fn prefer(&mut self, instance: InstanceId) {
        if self.primary != instance {
            self.primary = instance;
            self.handover = Handover::UnderWay;
        }
    }

    /// What the instance is used for.
    pub(super) fn duty(&self, instance: InstanceId) -> Duty {
        self.duties[instance.0]
    }

    /// Sets what the instance is used for. Returns what it was used for before.
    pub(super) fn assign(&mut self, instance: InstanceId, duty: Duty) -> Duty {
        std::mem::replace(&mut self.duties[instance.0], duty)
    }

    /// Returns whether every instance is used for everything and no write waits for one.
    pub(super) fn is_ordinary(&self) -> bool {
        self.handover == Handover::Over && self.duties.iter().all(|duty| *duty == Duty::Full)
    }

    /// Returns whether the instance is used for everything.
    pub(super) fn is_on_duty(&self, instance: InstanceId) -> bool {
        self.duty(instance) == Duty::Full
    }

    /// The instance's place in the order of preference; the lowest comes first.
    pub(super) fn rank(&self, instance: InstanceId) -> (bool, InstanceId) {
        (instance != self.primary, instance)
    }
}
