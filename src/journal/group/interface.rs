//! What the handle, the queue and the task of the group commit share with their callers: its limits, where durable entries
//! go, and how an append fails. It decides nothing.

use std::time::Duration;

use crate::ids::{Seq, TransactionId};
use crate::journal::Draft;

/// The limits of the group commit.
#[derive(Clone, Debug)]
pub struct JournalOptions {
    /// Bytes of bodies in one commit; a larger body has a commit of its own.
    pub max_batch_bytes: usize,
    /// Appends in one commit, and facts in one commit.
    pub max_batch_entries: usize,
    /// Appends that may wait.
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

/// Where an append is, and how many became durable with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Committed {
    pub seq: Seq,
    /// Appends in the same commit, this one included; 0: that is not known.
    pub batch: usize,
}

/// A write that is now durable.
#[derive(Clone, Debug)]
pub struct Appended {
    pub seq: Seq,
    pub draft: Draft,
}

/// What is to become of an append, at its place in the order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Judgement {
    Commit,
    /// [`AppendError::Declined`].
    Decline,
}

/// Judges an append when everything before it is in its lane, and before it is committed itself. It must not block.
pub type Judge = Box<dyn FnOnce() -> Judgement + Send + Sync>;

/// Where durable entries go: into their lanes (rule R6).
pub trait DurableSink: Send + Sync + 'static {
    /// Called after each commit, by one task, in `seq` order over all calls, before any append's caller is answered.
    /// Every entry that became durable comes here exactly once, whether its caller still waits or not. Must not block.
    fn appended(&self, entries: Vec<Appended>);
}

/// An append without a position.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AppendError {
    /// As many appends wait as may. Nothing is durable, or ever will be.
    #[error("the journal's queue is full")]
    Full,
    /// Nothing is durable, or ever will be.
    #[error("the journal is unavailable: {0}")]
    Unavailable(String),
    /// It may be durable. If it is, the sink will receive it.
    #[error("the journal did not say whether the write is durable: {0}")]
    InDoubt(String),
    /// The client's key belongs to this earlier transaction. Nothing is durable, or ever will be.
    #[error("the transaction id is taken by transaction {0}")]
    Taken(TransactionId),
    /// Its judge said so. Nothing is durable, or ever will be.
    #[error("the write was declined at its place in the order")]
    Declined,
}
