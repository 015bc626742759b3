//! What the journal holds at start: enough to restore the board and the catalog.

use super::Status;
use crate::clock::Timestamp;
use crate::ids::{CollectionId, InstanceCollectionId, InstanceName, LaneId, Scope, Seq, TransactionId};
use crate::order::{AckPolicy, Generation, LaneState, Origin, Profile, RequestClass, Verdict};

/// An entry with what the rules need after a restart.
#[derive(Clone, Debug)]
pub struct EntryRow {
    pub seq: Seq,
    pub transaction_id: TransactionId,
    pub lane: LaneId,
    pub profile: Profile,
    pub verdict: Option<Verdict>,
    pub status: Status,
    pub ack_policy: AckPolicy,
    /// The instance that died while it had the entry (rule R13).
    pub suspect_on: Option<InstanceName>,
}

/// How far an instance is in a lane.
#[derive(Clone, Debug)]
pub struct ProgressRow {
    pub lane: LaneId,
    pub instance: InstanceName,
    pub through: Seq,
    pub state: LaneState,
    /// Why the instance is diverged, for operators. `None` while it is in step.
    pub reason: Option<String>,
}

/// A collection of the catalog.
#[derive(Clone, Debug)]
pub struct CollectionRow {
    pub collection: CollectionId,
    pub scope: Scope,
    pub name: String,
    pub created: Seq,
    pub origin: Origin,
    pub dimensioned: bool,
    /// A position at or after the collection's deletion, or `None` while it exists.
    pub deleted: Option<Seq>,
    pub mappings: Vec<(InstanceName, InstanceCollectionId)>,
}

/// When a collection was created and last changed, as far as the journal has recorded it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CollectionTimes {
    pub collection: CollectionId,
    pub created_at: Option<Timestamp>,
    pub updated_at: Option<Timestamp>,
}

/// Everything needed to go on after a restart.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// The journal's own identity, assigned when it was created.
    pub journal_id: uuid::Uuid,
    /// The last position assigned.
    pub last: Seq,
    /// The floor of each lane: at or below it, nothing is left in the journal (rule R11).
    pub floors: Vec<(LaneId, Seq)>,
    /// All entries above the lowest progress of the `configured` in-step instances in their lane, and all entries
    /// without a verdict. Ordered by `seq`.
    pub entries: Vec<EntryRow>,
    pub progress: Vec<ProgressRow>,
    /// Entries that are quarantined and not lifted, with their lanes (rule R13).
    pub quarantined: Vec<(LaneId, Seq, RequestClass)>,
    /// The last marker that each instance's server is known to carry (rule R16).
    pub marked: Vec<(InstanceName, Generation)>,
    pub tenants: Vec<String>,
    pub databases: Vec<(Scope, uuid::Uuid)>,
    pub collections: Vec<CollectionRow>,
    /// Deleted collections whose deletion may still have to be executed on some instance. Retention removes them once
    /// every instance has.
    pub departed: Vec<CollectionRow>,
}
