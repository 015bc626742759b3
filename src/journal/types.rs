//! What goes into the journal and what comes out of it.

use async_trait::async_trait;
use bytes::Bytes;

use super::{AuditPage, AuditQuery, Details, EventId, EventPage, EventScope, LateWriteId, Recent, StatusSummary};
use crate::clock::Timestamp;
use crate::ids::{CollectionId, InstanceCollectionId, InstanceName, LaneId, Scope, Seq, TransactionId};
use crate::order::{AckPolicy, CatalogChange, Kind, LaneState, Origin, Profile, Verdict};

/// A write about to be journaled. Secrets (Authorization, X-Chroma-Token, cookies) are never part of it.
#[derive(Clone, Debug)]
pub struct Draft {
    pub transaction_id: TransactionId,
    /// The id the client brought, if it did: the same key with the same fingerprint is the same write (G6).
    pub client_key: Option<ClientKey>,
    pub lane: LaneId,
    pub profile: Profile,
    pub method: String,
    /// Path and query as the client sent them, but for the collection: its stable id stands wherever an id may.
    pub path: String,
    pub content_type: Option<String>,
    pub body: Bytes,
    pub created_at: Timestamp,
    pub client_session: Option<String>,
    pub client_ip: Option<String>,
    pub user_identifier: Option<String>,
}

/// An id that a client brought for its write, and what it brought it for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientKey {
    /// The tenant in the path: ids are scoped by it.
    pub tenant: String,
    /// Visible ASCII, up to 255 bytes.
    pub key: String,
    /// A digest of method, path and body.
    pub fingerprint: [u8; 32],
}

/// A transaction's status, as stored and shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Status {
    Attempting,
    /// A definite answer was given, 4xx included.
    Completed,
    /// The client was told 503, recovery pending: it will be retried.
    Failed,
    /// Finished after its client had been told "pending", or after a restart. Also what may have been acknowledged, and went
    /// with its collection before that was durable.
    Recovered,
    /// Rejected on recovery, or never acknowledged and shown absent, or below the deletion of its collection.
    Abandoned,
}

impl Status {
    /// Every status, in the order in which they are shown.
    pub const ALL: [Status; 5] =
        [Status::Attempting, Status::Completed, Status::Failed, Status::Recovered, Status::Abandoned];

    /// The name that is stored and shown.
    pub const fn as_str(self) -> &'static str {
        match self {
            Status::Attempting => "ATTEMPTING",
            Status::Completed => "COMPLETED",
            Status::Failed => "FAILED",
            Status::Recovered => "RECOVERED",
            Status::Abandoned => "ABANDONED",
        }
    }
}

/// An instance's own answer, ids already rewritten: what the client is told, now or on a replay.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredAnswer {
    pub status: u16,
    pub body: Bytes,
}

/// An instance's standing in a lane.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It executes the lane in order.
    InStep,
    /// It is neither sent to nor served from, until compared or rebuilt; the reason is for operators.
    Diverged { reason: String },
}

/// One fact to make durable. Facts handed over together become durable together, or not at all.
#[derive(Clone, Debug)]
pub enum Fact {
    /// Everything in the lane up to `through` is applied or skipped on the instance.
    Progress { lane: LaneId, instance: InstanceName, through: Seq },
    /// The instance's standing in the lane changed.
    Standing { lane: LaneId, instance: InstanceName, standing: Standing },
    /// The entry's verdict, by this instance, with the answer (kept for replays and copies).
    Verdict { seq: Seq, verdict: Verdict, by: Option<InstanceName>, answer: Option<StoredAnswer> },
    /// The ids that a limited delete resolved to: from now on `body` is what every instance executes.
    Resolved { seq: Seq, body: Bytes },
    /// A change of the catalog.
    Catalog(CatalogChange),
    /// The client's side of the transaction ended, or changed: shown to operators, no part in ordering.
    Status {
        seq: Seq,
        status: Status,
        response_status: Option<u16>,
        failure_reason: Option<String>,
        timing_gap: TimingGap,
        executed_on: Option<InstanceName>,
        at: Timestamp,
    },
    /// An attempt failed on an instance that was believed healthy, and will be repeated: there at `next_retry_at`, unless
    /// another instance has been asked already.
    Retried { seq: Seq, reason: String, next_retry_at: Option<Timestamp> },
    /// What an earlier edge feared has been acted upon.
    LateWriteHandled(LateWriteId),
    /// An application began an operation of its own. Nothing, if its id or its client key is taken.
    ApplicationBegan(Box<ApplicationDraft>),
    /// An application said how its operation went. Nothing, for any other transaction; the first final report stays.
    ApplicationReported { seq: Seq, report: ApplicationReport, at: Timestamp },
    /// The webhook has accepted every event up to this one.
    Delivered(EventId),
}

/// An operation that an application executes itself: journaled and shown like a write, in no lane.
#[derive(Clone, Debug)]
pub struct ApplicationDraft {
    pub transaction_id: TransactionId,
    /// The id that the application brought, or the transaction's own.
    pub client_key: ClientKey,
    pub method: String,
    pub path: String,
    /// What the application wants to find again: JSON.
    pub body: Bytes,
    pub created_at: Timestamp,
    pub client_session: Option<String>,
    pub client_ip: Option<String>,
    pub user_identifier: Option<String>,
}

/// How an application's operation went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ApplicationReport {
    /// It is done: RECOVERED if an attempt had met a timing gap, else COMPLETED.
    Done { answer: StoredAnswer },
    /// An attempt failed; it may be reported done later.
    Failed { reason: String, timing_gap: TimingGap },
    /// It failed for good: ABANDONED.
    GivenUp { reason: String, timing_gap: TimingGap },
}

/// Whether an attempt failed on an instance then believed healthy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimingGap {
    Yes,
    No,
}

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

/// A read of the journal that did not succeed.
#[derive(Debug, Clone, thiserror::Error)]
#[error("cannot read the journal: {0}")]
pub struct ReadError(pub String);

/// An entry as the rules need it after a restart.
#[derive(Clone, Debug)]
pub struct EntryRow {
    pub seq: Seq,
    pub transaction_id: TransactionId,
    pub lane: LaneId,
    pub profile: Profile,
    pub verdict: Option<Verdict>,
    pub status: Status,
    pub ack_policy: AckPolicy,
}

/// Whether a transaction goes by the id that the edge gave it: its client brought none of its own.
pub fn is_given(key: &str, id: TransactionId) -> bool {
    key == id.to_string()
}

/// When the client of a transaction with this key may be answered: one that brought no id of its own goes by the one that
/// the edge gave it, and is answered before its outcome is durable. Catalog writes never are, whatever this says.
pub(super) fn ack_policy(client_key: Option<&str>, given: TransactionId) -> AckPolicy {
    match client_key {
        Some(key) if is_given(key, given) => AckPolicy::Applied,
        Some(_) | None => AckPolicy::Durable,
    }
}

/// An entry as an executor needs it.
#[derive(Clone, Debug)]
pub struct Request {
    pub seq: Seq,
    pub lane: LaneId,
    pub profile: Profile,
    pub method: String,
    pub path: String,
    pub content_type: Option<String>,
    /// The resolved body, where there is one.
    pub body: Bytes,
    /// Whether `body` is the resolution of a limited delete.
    pub resolved: Resolution,
    pub answer: Option<StoredAnswer>,
}

/// Whether a limited delete's ids are durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resolution {
    AsReceived,
    Resolved,
}

/// How far an instance is in a lane.
#[derive(Clone, Debug)]
pub struct ProgressRow {
    pub lane: LaneId,
    pub instance: InstanceName,
    pub through: Seq,
    pub standing: Standing,
}

/// A collection of the catalog, deleted ones left out.
#[derive(Clone, Debug)]
pub struct CollectionRow {
    pub collection: CollectionId,
    pub scope: Scope,
    pub name: String,
    pub created: Seq,
    pub origin: Origin,
    pub dimensioned: bool,
    /// At or after its deletion; `None` while it exists.
    pub deleted: Option<Seq>,
    pub mappings: Vec<(InstanceName, InstanceCollectionId)>,
}

/// Everything needed to go on after a restart.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// The journal's own identity, given at its creation.
    pub journal_id: uuid::Uuid,
    /// The last position given out.
    pub last: Seq,
    /// Below it nothing is left in the journal, per lane (rule R11).
    pub floors: Vec<(LaneId, Seq)>,
    /// Entries, by `seq`, above the lowest progress of the `configured` in-step instances in their lane, and every
    /// entry without a verdict.
    pub entries: Vec<EntryRow>,
    pub progress: Vec<ProgressRow>,
    pub tenants: Vec<String>,
    pub databases: Vec<(Scope, uuid::Uuid)>,
    pub collections: Vec<CollectionRow>,
    /// Deleted collections whose deletion some instance has yet to execute, as far as retention has looked.
    pub departed: Vec<CollectionRow>,
}

/// One transaction, for people and for replays.
#[derive(Clone, Debug)]
pub struct TransactionRow {
    pub seq: Seq,
    pub transaction_id: TransactionId,
    pub client_key: Option<ClientKey>,
    pub operation: OperationType,
    /// `None`: an application's own operation.
    pub lane: Option<LaneId>,
    pub method: String,
    pub path: String,
    pub status: Status,
    pub verdict: Option<Verdict>,
    pub answer: Option<StoredAnswer>,
    pub response_status: Option<u16>,
    pub failure_reason: Option<String>,
    pub timing_gap: TimingGap,
    pub executed_on: Option<InstanceName>,
    /// Attempts that failed on instances believed healthy, and were repeated. Unreachable ones never count.
    pub retry_count: u32,
    /// When it is tried again, while it waits for that. Waiting for an instance to return has no such moment.
    pub next_retry_at: Option<Timestamp>,
    pub created_at: Timestamp,
    pub completed_at: Option<Timestamp>,
    pub client_session: Option<String>,
    pub client_ip: Option<String>,
    pub user_identifier: Option<String>,
}

/// What a transaction does, as shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OperationType {
    Write(Kind),
    Application,
}

/// How a transaction is looked up.
#[derive(Clone, Debug)]
pub enum Lookup {
    Id(TransactionId),
    ClientKey {
        tenant: String,
        key: String,
    },
    /// The newest one with this key, whatever its tenant.
    Key {
        key: String,
    },
}

/// Counts for operators, taken from the store itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    pub by_status: Vec<(Status, u64)>,
    pub transactions: u64,
    /// Bytes the store occupies.
    pub bytes: u64,
}

/// What retention removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Trimmed {
    pub transactions: u64,
    /// About how many bytes they took.
    pub bytes: u64,
}

/// Why transactions are removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trimming {
    /// They have been kept long enough: one instance in step is enough for a lane to be trimmed.
    Age,
    /// The journal is over its byte limit: only where at least two configured instances are in step.
    Capacity,
}

impl Trimming {
    /// How many configured instances must be in step in a lane that is trimmed.
    pub(super) const fn least_in_step(self) -> usize {
        match self {
            Trimming::Age => 1,
            Trimming::Capacity => 2,
        }
    }
}

/// What a transaction takes besides its body and its answer, about: rows and indices.
pub(super) const ROW_BYTES: u64 = 600;

/// A lane that takes new entries, and how far its configured instances are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeldLane {
    pub lane: LaneId,
    pub places: Vec<HeldProgress>,
}

/// How far an instance is in a lane, and what of the lane it has, in bytes of what is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeldProgress {
    pub instance: InstanceName,
    pub through: Seq,
    /// About what the transactions at or below `through` take.
    pub bytes_through: u64,
    pub state: LaneState,
}

/// A durable store of the journal. Both stores pass `journal::contract`.
#[async_trait]
pub trait Store: Send + Sync + 'static {
    /// Makes the batch durable, all or nothing, and returns the positions of its appends, in order, consecutive.
    /// Durable means flushed: it survives `kill -9` and a power cut.
    async fn commit(&self, batch: Batch) -> Result<Vec<Seq>, CommitError>;

    /// Everything needed to go on, for these configured instances.
    async fn load(&self, configured: &[InstanceName]) -> Result<Snapshot, ReadError>;

    /// The requests of these positions, in order; positions no longer stored are left out.
    async fn requests(&self, seqs: &[Seq]) -> Result<Vec<Request>, ReadError>;

    /// One transaction. "Absent" is final: after a commit in doubt it is not said before that commit can no longer
    /// become durable.
    async fn transaction(&self, lookup: &Lookup) -> Result<Option<TransactionRow>, ReadError>;

    /// Begins to work with these instances, in the configured order, of which operators are told. At start, once.
    ///
    /// Finishes the statuses of transactions that have a verdict and were cut off before their client's side was marked:
    /// COMPLETED if it was being answered, RECOVERED or ABANDONED if it had been told "pending".
    async fn begin(&self, configured: &[InstanceName], at: Timestamp) -> Result<(), CommitError>;

    /// One transaction with how far the instances are in its lane. "Absent" is as final as in [`Store::transaction`].
    async fn details(&self, lookup: &Lookup) -> Result<Option<Details>, ReadError>;

    /// A page of the audit trail with the counts of all that the filter matches, both of one moment.
    async fn audit(&self, query: &AuditQuery) -> Result<AuditPage, ReadError>;

    /// Every status with what there is of it, in the order of [`Status::ALL`]. Cheap however many there are.
    async fn summary(&self) -> Result<Vec<StatusSummary>, ReadError>;

    /// What was created at or after `since`, and timing gaps of what was created at or after `gaps_since`.
    async fn recent(&self, since: Timestamp, gaps_since: Timestamp) -> Result<Recent, ReadError>;

    /// Up to `most` events of the scope after `after`, in their order.
    async fn events(&self, scope: &EventScope, after: EventId, most: u32) -> Result<EventPage, ReadError>;

    /// Counts, for operators.
    async fn totals(&self) -> Result<Totals, ReadError>;

    /// Removes up to `most` transactions: an application's own operations that ended before `before`, and writes that have
    /// a verdict, are completed before `before`, and lie at or below the progress of every configured in-step instance in
    /// their lane, of which there are as many as `why` asks for (lanes of deleted collections are asked no progress);
    /// raises the lanes' floors accordingly, in the same commit (rule R11).
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

    /// The catalog lane and the lanes of existing collections, where they have transactions, with every configured
    /// instance's place.
    async fn held(&self, configured: &[InstanceName]) -> Result<Vec<HeldLane>, ReadError>;
}
