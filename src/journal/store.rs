//! The contract of a store: what it makes durable, which queries it answers, and how each of them fails.

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
    /// The batch may or may not be durable.
    #[error("the journal's commit is in doubt: {0}")]
    InDoubt(String),
    /// Another edge has taken over the journal. Nothing of this batch or any later one is or will be durable.
    #[error("another edge has taken over the journal: {0}")]
    Superseded(String),
}

/// Counts for operators, as the store reports them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    pub by_status: Vec<(Status, u64)>,
    pub transactions: u64,
    /// Bytes that the store occupies.
    pub bytes: u64,
}

/// A durable store of the journal. Both stores pass `journal::contract`.
#[async_trait]
pub trait Store: Send + Sync + 'static {
    /// Makes the batch durable, all or nothing, and returns the positions of its appends: consecutive, in order.
    /// Durable means flushed: it survives `kill -9` and a power cut.
    async fn commit(&self, batch: Batch) -> Result<Vec<Seq>, CommitError>;

    /// Checks whether the journal takes writes now, with a commit that writes but records nothing.
    async fn probe(&self) -> Result<(), CommitError>;

    /// Returns everything needed to go on after a restart, for these configured instances.
    async fn load(&self, configured: &[InstanceName]) -> Result<Snapshot, ReadError>;

    /// Returns the requests at these positions, in order. Positions that are no longer stored are left out.
    async fn requests(&self, seqs: &[Seq]) -> Result<Vec<Request>, ReadError>;

    /// Returns up to `most` of the lane's entries after this position, and the lane's floor.
    async fn history(&self, lane: LaneId, after: Seq, most: u32) -> Result<History, ReadError>;

    /// Returns one transaction. "Absent" is final: after a commit in doubt, it is reported only once that commit can no
    /// longer become durable.
    async fn transaction(&self, lookup: &Lookup) -> Result<Option<TransactionRow>, ReadError>;

    /// Prepares the journal for these instances, in the configured order, which the views show. Called once, at start.
    ///
    /// Finishes the statuses of transactions that have a verdict but were cut off before their client's side was
    /// recorded: COMPLETED if the client was still waiting, RECOVERED or ABANDONED if it had been answered "pending".
    async fn begin(&self, configured: &[InstanceName], at: Timestamp) -> Result<(), CommitError>;

    /// Returns one transaction, and how far each instance is in its lane. "Absent" is as final as in
    /// [`Store::transaction`].
    async fn details(&self, lookup: &Lookup) -> Result<Option<Details>, ReadError>;

    /// Returns a page of the audit log, with the counts of everything that the filter matches. Both are read at the
    /// same moment.
    async fn audit(&self, query: &AuditQuery) -> Result<AuditPage, ReadError>;

    /// Returns a summary of every status, in the order of [`Status::ALL`]. The cost does not grow with the number of
    /// transactions.
    async fn summary(&self) -> Result<Vec<StatusSummary>, ReadError>;

    /// Returns counts of transactions created at or after `since`, and of timing gaps among those created at or after
    /// `gaps_since`.
    async fn recent(&self, since: Timestamp, gaps_since: Timestamp) -> Result<Recent, ReadError>;

    /// Returns up to `most` events of the scope after `after`, in their order.
    async fn events(&self, scope: &EventScope, after: EventId, most: u32) -> Result<EventPage, ReadError>;

    /// Returns when each existing collection was created and last changed.
    async fn collection_times(&self) -> Result<Vec<CollectionTimes>, ReadError>;

    /// Returns when each of these transactions was journaled. Transactions that are no longer stored are left out.
    async fn journaled_at(&self, seqs: &[Seq]) -> Result<Vec<(Seq, Timestamp)>, ReadError>;

    /// Returns the quarantined entries that are not lifted, in the order of the journal, without those whose collection
    /// is gone.
    async fn quarantines(&self) -> Result<Vec<QuarantineRow>, ReadError>;

    /// Returns counts for operators.
    async fn totals(&self) -> Result<Totals, ReadError>;

    /// Removes up to `most` transactions, and raises the lanes' floors accordingly in the same commit (rule R11).
    ///
    /// An application's own operation is removed if it ended before `before`. A write is removed if it has a verdict,
    /// was completed before `before`, and lies at or below the progress of every configured in-step instance in its
    /// lane. The lane needs as many such instances as `why` requires; in the lanes of deleted collections, progress
    /// does not matter. With [`Trimming::Applications`], no writes are removed, and no operations of clients that take
    /// little. Quarantined entries that are not lifted stay.
    async fn trim(
        &self,
        before: Timestamp,
        configured: &[InstanceName],
        why: Trimming,
        most: u32,
    ) -> Result<Trimmed, CommitError>;

    /// Returns the bytes that the stored transactions take, without the room that removed ones left behind. A larger
    /// number is allowed if it is cheaper to find and not above `limit`.
    async fn used_bytes(&self, limit: u64) -> Result<u64, ReadError>;

    /// Returns the bytes that applications' own operations take, open and ended. Each counts its body, its path, and,
    /// for its failure reason and answer together, at least [`APPLICATION_BYTES`](crate::journal::APPLICATION_BYTES).
    async fn application_use(&self) -> Result<ApplicationUse, ReadError>;

    /// Returns how many of these bytes this client's operations take, with everything that was committed before the
    /// call.
    async fn application_bytes_of(&self, client: &str) -> Result<u64, ReadError>;

    /// Counts one more fault of the lane, at once and without the connection that commits, because the process is about
    /// to end. If the last fault is long ago, counting starts again at one ([`Fault`]).
    async fn note_fault(&self, lane: LaneId, reason: &str, at: Timestamp) -> Result<(), ReadError>;

    /// Returns every lane that has faults.
    async fn faults(&self) -> Result<Vec<Fault>, ReadError>;

    /// Forgets the lane's faults.
    async fn forget_faults(&self, lane: LaneId) -> Result<(), ReadError>;

    /// Returns the catalog lane and the lanes of existing collections, if they have transactions, each with every
    /// configured instance's progress.
    async fn held(&self, configured: &[InstanceName]) -> Result<Vec<HeldLane>, ReadError>;
}
