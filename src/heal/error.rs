//! Why a copy was not made.

/// Why a copy was not made.
#[derive(Debug, thiserror::Error)]
pub(super) enum HealError {
    #[error("the source: {0}")]
    Source(String),
    #[error("the target: {0}")]
    Target(String),
    /// The target may have died of the request.
    #[error("the target did not answer: {0}")]
    Unanswered(String),
    #[error("the definition of the new copy differs from the source's")]
    Definition,
    #[error("the definition cannot be copied")]
    NotCopyable,
    #[error("{differing} of {total} records have to be written: it is cheaper to make the copy anew")]
    TooDifferent { differing: u64, total: u64 },
    #[error("the collection changes faster than it can be copied")]
    TooBusy,
    #[error("the target did not exchange the names within heal.hold")]
    HeldTooLong,
    #[error(
        "a collection of that name is there that the edge did not make: it is left alone until an operator decides"
    )]
    Foreign,
    #[error("the instances or the collection have changed meanwhile")]
    Overtaken,
    #[error("a request of the journal cannot be read: {0}")]
    Journal(String),
}
