//! Who may write to the journal: one edge at a time, and what one edge leaves for the next.
//!
//! A store says who holds it and for how long; it refuses the commits of everyone else. When to claim it, to renew it
//! and to give up is decided by the room that starts the edge.

use std::time::Duration;

use async_trait::async_trait;

use super::ReadError;
use crate::ids::{InstanceName, LaneId};

/// How long the journal is held, from the moment before it was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LeaseTerm {
    /// As long as this process lives: no other can have it.
    ForLife,
    /// This long, unless it is renewed.
    For(Duration),
}

/// Whether a request of the edge that held the journal before may still be on its way to an instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Predecessor {
    /// There was none, or it ended in good order, or its process is known to be gone.
    Gone,
    /// Its lease ran out: wait for the settle time before anything is sent.
    MayLinger,
}

/// What came of claiming the journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Claim {
    Granted {
        term: LeaseTerm,
        predecessor: Predecessor,
    },
    /// Another edge, by its own name, holds it.
    Held {
        by: String,
    },
}

/// Why the journal is not held, or no longer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LeadershipError {
    /// The store did not answer, or cannot say now: ask again.
    #[error("the journal is unavailable: {0}")]
    Unavailable(String),
    /// Another edge has it: this one must not send or commit anything more.
    #[error("another edge ({by}) has taken over the journal")]
    Superseded { by: String },
    /// It cannot be used before an operator has checked it: it lost what it had acknowledged, its schema is newer than
    /// this binary, or this edge may not log in.
    #[error("{0}")]
    Unusable(String),
}

/// Identifies a [`LateWrite`] in its store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LateWriteId(pub i64);

/// A request of an earlier edge that ended after its lease: it may have reached the instance behind the later edge's
/// back, so that the instance's copy is not trusted before it was compared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LateWrite {
    pub lane: LaneId,
    pub instance: InstanceName,
}

/// The right to write to the journal.
#[async_trait]
pub trait Leadership: Send + Sync + 'static {
    /// Takes the journal if no edge holds it, or if its holder's term is over. Asking again while holding it is a renewal.
    async fn claim(&self) -> Result<Claim, LeadershipError>;

    /// Goes on holding it, for another term from now. A term that ran out is renewed too, if no other edge took the journal.
    async fn renew(&self) -> Result<LeaseTerm, LeadershipError>;

    /// Leaves word of requests that ended after the lease. The only thing that an edge may still write when another has
    /// taken over.
    async fn report_late_writes(&self, late_writes: &[LateWrite]) -> Result<(), ReadError>;

    /// Late writes that earlier edges recorded and none has handled ([`super::Fact::LateWriteHandled`]).
    async fn late_writes(&self) -> Result<Vec<(LateWriteId, LateWrite)>, ReadError>;

    /// Gives the journal back in good order, after the last commit: the next edge need not wait.
    async fn release(&self);
}
