//! Who may write to the journal: one edge at a time, and what one edge leaves for the next.
//!
//! A store reports which edge holds the journal and for how long, and refuses the commits of all others. The room that
//! starts the edge decides when to claim the journal, when to renew the lease, and when to give up.

use std::time::Duration;

use async_trait::async_trait;

use super::ReadError;
use crate::ids::{InstanceName, LaneId};

/// How long the journal is held, counted from just before the request for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LeaseTerm {
    /// As long as this process lives. No other process can take it.
    ForLife,
    /// For this long, unless it is renewed.
    For(Duration),
}

/// Whether a request of the edge that held the journal before may still be on its way to an instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Predecessor {
    /// There was no such edge, or it released the journal, or its process is known to be gone.
    Gone,
    /// Its lease ran out: nothing may be sent until the settle time has passed.
    MayLinger,
}

/// The outcome of claiming the journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Claim {
    Granted {
        term: LeaseTerm,
        predecessor: Predecessor,
    },
    /// Another edge holds it; `by` is that edge's own name.
    Held {
        by: String,
    },
}

/// Why this edge does not hold the journal, or holds it no longer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LeadershipError {
    /// The store did not answer, or cannot tell now: try again.
    #[error("the journal is unavailable: {0}")]
    Unavailable(String),
    /// Another edge holds the journal. This edge must not send or commit anything from now on.
    #[error("another edge ({by}) has taken over the journal")]
    Superseded { by: String },
    /// The journal cannot be used until an operator has checked it: it lost what it had acknowledged, its schema is
    /// newer than this binary, or this edge may not log in.
    #[error("{0}")]
    Unusable(String),
}

/// Identifies a [`LateWrite`] in its store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LateWriteId(pub i64);

/// A request of an earlier edge that ended after that edge's lease. It may have reached the instance without the later
/// edge noticing, so the instance's copy is not trusted until it has been compared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LateWrite {
    pub lane: LaneId,
    pub instance: InstanceName,
}

/// The right to write to the journal.
#[async_trait]
pub trait Leadership: Send + Sync + 'static {
    /// Takes the journal if no edge holds it, or if its holder's term is over. Claiming it again while holding it
    /// renews it.
    async fn claim(&self) -> Result<Claim, LeadershipError>;

    /// Renews the lease for another term from now. This also works after the term ran out, if no other edge has taken
    /// the journal.
    async fn renew(&self) -> Result<LeaseTerm, LeadershipError>;

    /// Records requests that ended after the lease. This is the only thing that an edge may still write after another
    /// one has taken over.
    async fn report_late_writes(&self, late_writes: &[LateWrite]) -> Result<(), ReadError>;

    /// Returns the late writes that earlier edges recorded and no edge has handled ([`super::Fact::LateWriteHandled`]).
    async fn late_writes(&self) -> Result<Vec<(LateWriteId, LateWrite)>, ReadError>;

    /// Releases the journal after the last commit, so that the next edge need not wait.
    async fn release(&self);
}
