//! The contract of a store: what it makes durable, what it can be asked, and how either fails.

use async_trait::async_trait;

use super::{
    ApplicationUse, AuditPage, AuditQuery, CollectionTimes, Details, Draft, EventId, EventPage, EventScope, Fact,
    Fault, HeldLane, History, Lookup, QuarantineRow, ReadError, Recent, Request, Snapshot, Status, StatusSummary,
    TransactionRow, Trimmed, Trimming,
};
use crate::clock::Timestamp;
use crate::ids::{InstanceName, LaneId, Seq, TransactionId};

/// What one commit makes durable: appends get consecutive positions, in this order.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    pub appends: Vec<Draft>,
    pub facts: Vec<Fact>,
}

/// A commit that did not succeed.
#[derive(Debug, Clone, thiserror::Error)]
pub enum CommitError {
    /// Nothing of the batch is or will be durable.
    #[error("the journal refused the write: {0}")]
    Refused(String),
    /// An append's client key is taken by an earlier transaction; nothing of the batch is durable.
    #[error("the transaction id is taken by transaction {0}")]
    Taken(TransactionId),
    /// It may or may not be durable.
    #[error("the journal's commit is in doubt: {0}")]
    InDoubt(String),
    /// Another edge has taken the journal over; nothing of the batch is or will be durable, nor of any later one.
    #[error("another edge has taken over the journal: {0}")]
    Superseded(String),
}

/// Counts for operators, taken from the store itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    pub by_status: Vec<(Status, u64)>,
    pub transactions: u64,
    /// Bytes the store occupies.
    pub bytes: u64,
}

/// A durable store of the journal. Both stores pass `journal::contract`.
#[async_trait]
pub trait Store: Send + Sync + 'static {
    /// Makes the batch durable, all or nothing, and returns the positions of its appends, in order, consecutive.
    /// Durable means flushed: it survives `kill -9` and a power cut.
    async fn commit(&self, batch: Batch) -> Result<Vec<Seq>, CommitError>;

    /// Shows whether a commit would be taken now: makes one that writes, and means nothing.
    async fn probe(&self) -> Result<(), CommitError>;

    /// Everything needed to go on, for these configured instances.
    async fn load(&self, configured: &[InstanceName]) -> Result<Snapshot, ReadError>;

    /// The requests of these positions, in order; positions no longer stored are left out.
    async fn requests(&self, seqs: &[Seq]) -> Result<Vec<Request>, ReadError>;

    /// Up to `most` of the lane's entries after this position, and where what is kept of the lane begins.
    async fn history(&self, lane: LaneId, after: Seq, most: u32) -> Result<History, ReadError>;

    /// One transaction. "Absent" is final: after a commit in doubt it is not said before that commit can no longer
    /// become durable.
    async fn transaction(&self, lookup: &Lookup) -> Result<Option<TransactionRow>, ReadError>;

    /// Begins to work with these instances, in the configured order, which the views show. At start, once.
    ///
    /// Finishes the statuses of transactions that have a verdict and were cut off before their client's side was
    /// recorded: COMPLETED if it was being answered, RECOVERED or ABANDONED if it had been answered "pending".
    async fn begin(&self, configured: &[InstanceName], at: Timestamp) -> Result<(), CommitError>;

    /// One transaction with how far the instances are in its lane. "Absent" is as final as in [`Store::transaction`].
    async fn details(&self, lookup: &Lookup) -> Result<Option<Details>, ReadError>;

    /// A page of the audit log with the counts of all that the filter matches, both of one moment.
    async fn audit(&self, query: &AuditQuery) -> Result<AuditPage, ReadError>;

    /// Every status with what there is of it, in the order of [`Status::ALL`]. Cheap however many there are.
    async fn summary(&self) -> Result<Vec<StatusSummary>, ReadError>;

    /// What was created at or after `since`, and timing gaps of what was created at or after `gaps_since`.
    async fn recent(&self, since: Timestamp, gaps_since: Timestamp) -> Result<Recent, ReadError>;

    /// Up to `most` events of the scope after `after`, in their order.
    async fn events(&self, scope: &EventScope, after: EventId, most: u32) -> Result<EventPage, ReadError>;

    /// When each existing collection was created and last changed.
    async fn collection_times(&self) -> Result<Vec<CollectionTimes>, ReadError>;

    /// When each of these transactions was journaled; those that are no longer stored are left out.
    async fn journaled_at(&self, seqs: &[Seq]) -> Result<Vec<(Seq, Timestamp)>, ReadError>;

    /// What is quarantined and not lifted, in the order of the journal; not what went with its collection.
    async fn quarantines(&self) -> Result<Vec<QuarantineRow>, ReadError>;

    /// Counts, for operators.
    async fn totals(&self) -> Result<Totals, ReadError>;

    /// Removes up to `most` transactions: an application's own operations that ended before `before`, and writes that have
    /// a verdict, are completed before `before`, and lie at or below the progress of every configured in-step instance in
    /// their lane, of which there are as many as `why` asks for (with [`Trimming::Applications`] no write goes, nor what is of a client that takes little; lanes of
    /// deleted collections are asked no progress); raises the lanes' floors accordingly, in the same commit (rule R11). What is quarantined and not lifted stays.
    async fn trim(
        &self,
        before: Timestamp,
        configured: &[InstanceName],
        why: Trimming,
        most: u32,
    ) -> Result<Trimmed, CommitError>;

    /// The bytes that what is stored takes, room that removed transactions left behind not counted. If it is cheaper
    /// to say, and not above `limit`, a number that counts more.
    async fn used_bytes(&self, limit: u64) -> Result<u64, ReadError>;

    /// What applications' own operations take, open ones and ended ones: each its body and path, and, for why it failed and
    /// its answer, [`APPLICATION_BYTES`](crate::journal::APPLICATION_BYTES) or what is more.
    async fn application_use(&self) -> Result<ApplicationUse, ReadError>;

    /// What this client's take of it, with everything that was committed before.
    async fn application_bytes_of(&self, client: &str) -> Result<u64, ReadError>;

    /// Counts one more fault of the lane, at once and without the connection that commits: the process is about to end.
    /// The first of a row, if the last one is long ago ([`Fault`]).
    async fn note_fault(&self, lane: LaneId, reason: &str, at: Timestamp) -> Result<(), ReadError>;

    /// Every lane with faults.
    async fn faults(&self) -> Result<Vec<Fault>, ReadError>;

    /// Forgets the lane's faults.
    async fn forget_faults(&self, lane: LaneId) -> Result<(), ReadError>;

    /// The catalog lane and the lanes of existing collections, where they have transactions, with every configured
    /// instance's place.
    async fn held(&self, configured: &[InstanceName]) -> Result<Vec<HeldLane>, ReadError>;
}
