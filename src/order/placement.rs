//! Where clients' requests go by an operator's word: which instance is preferred, and which ones are drained.
//!
//! It decides only who comes first and who is spared. What is in doubt, skipped or diverged is none of its business: a
//! drained instance is as much in step as before. The board asks it (`board/placed.rs`); who sets it, and for how long, is
//! the coordinator's.

use crate::ids::InstanceId;

/// What an instance is used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Duty {
    /// Everything.
    #[default]
    Full,
    /// Replication: it is kept in sync. Clients' requests go there only where no other instance can take them.
    SyncOnly,
    /// Nothing, as if it were away.
    Stopped,
}

/// Whether writes wait for the instance that has just become the preferred one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Handover {
    Over,
    /// In each lane, the next open entry waits until that instance stands before it, if it is near.
    UnderWay,
}

/// Who is preferred, and who is drained.
#[derive(Clone, Debug)]
pub(super) struct Placement {
    primary: InstanceId,
    duties: Vec<Duty>,
    pub(super) handover: Handover,
}

impl Placement {
    /// The first instance is preferred, and all are used for everything.
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

    /// Sets what the instance is used for; returned is what it was used for before.
    pub(super) fn assign(&mut self, instance: InstanceId, duty: Duty) -> Duty {
        std::mem::replace(&mut self.duties[instance.0], duty)
    }

    /// Whether every instance is used for everything, and no write waits for one.
    pub(super) fn is_ordinary(&self) -> bool {
        self.handover == Handover::Over && self.duties.iter().all(|duty| *duty == Duty::Full)
    }

    /// Whether the instance is used for everything.
    pub(super) fn is_on_duty(&self, instance: InstanceId) -> bool {
        self.duty(instance) == Duty::Full
    }

    /// The place in the order of preference: the lowest comes first.
    pub(super) fn rank(&self, instance: InstanceId) -> (bool, InstanceId) {
        (instance != self.primary, instance)
    }
}
