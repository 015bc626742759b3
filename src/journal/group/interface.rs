//! What the group commit's handle, queue and task share with their callers: limits, where durable entries go, and how
//! an append fails. It decides nothing.

use std::time::Duration;

use crate::ids::{Seq, TransactionId};
use crate::journal::Draft;

/// The limits of the group commit.
#[derive(Clone, Debug)]
pub struct JournalOptions {
    /// The most bytes of bodies in one commit. A larger body has a commit of its own.
    pub max_batch_bytes: usize,
    /// The most appends, and the most facts, in one commit.
    pub max_batch_entries: usize,
    /// The most appends that may wait.
    pub queue_entries: usize,
    /// How long an append waits for its answer.
    pub timeout: Duration,
}

impl Default for JournalOptions {
    fn default() -> Self {
        JournalOptions {
            max_batch_bytes: 16 * 1024 * 1024,
            max_batch_entries: 1024,
            queue_entries: 16 * 1024,
            timeout: Duration::from_secs(5),
        }
    }
}

/// An append's position, and how many appends became durable with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Committed {
    pub seq: Seq,
    /// Appends in the same commit, this one included. 0 if unknown.
    pub batch: usize,
}

/// A write that is now durable.
#[derive(Clone, Debug)]
pub struct Appended {
    pub seq: Seq,
    pub draft: Draft,
}

/// A judge's decision about an append, at the append's place in the order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Judgement {
    Commit,
    /// Fail with [`AppendError::Declined`].
    Decline,
}

/// Decides about an append after everything before it is in its lane, and before it is committed itself. Must not
/// block.
pub type Judge = Box<dyn FnOnce() -> Judgement + Send + Sync>;

/// Where durable entries go: into their lanes (rule R6).
pub trait DurableSink: Send + Sync + 'static {
    /// Called after each commit, by one task, in `seq` order across all calls, before the callers of the appends are
    /// answered. Each entry that becomes durable is passed in exactly once, whether or not its caller still waits. Must
    /// not block.
    fn appended(&self, entries: Vec<Appended>);
}

/// An append that got no position, or whose position is unknown.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AppendError {
    /// The queue is full. Nothing is durable, or ever will be.
    #[error("the journal's queue is full")]
    Full,
    /// Nothing is durable, or ever will be.
    #[error("the journal is unavailable: {0}")]
    Unavailable(String),
    /// The append may be durable. If it is, the sink will receive it.
    #[error("the journal did not say whether the write is durable: {0}")]
    InDoubt(String),
    /// The client's key belongs to this earlier transaction. Nothing is durable, or ever will be.
    #[error("the transaction id is taken by transaction {0}")]
    Taken(TransactionId),
    /// The judge declined it. Nothing is durable, or ever will be.
    #[error("the write was declined at its place in the order")]
    Declined,
}
