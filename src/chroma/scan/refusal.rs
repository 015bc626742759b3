//! The refusals of writes before the journal, each with the answer to its client.

use crate::chroma::answer::EdgeAnswer;
use crate::chroma::error::{ErrorBody, ErrorName};
use crate::chroma::limit_table::{Exceeded, IndexFault};
use crate::chroma::reserved::RESERVED_PREFIX;

/// Why a body must not reach an instance. The texts are Chroma's own wherever Chroma has one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// A metadata key beginning with `chroma:`. In a record it kills Chroma's compactor for good.
    #[error("Metadata key '{key}' is reserved: keys must not begin with 'chroma:'")]
    ReservedKey { key: String },
    /// Chroma refuses it, yet sets the collection's dimension.
    #[error("Empty ID, ID must have at least one character")]
    EmptyId,
    /// Chroma refuses it, yet sets the collection's dimension.
    #[error("Inconsistent number of IDs, embeddings, documents, URIs and metadatas")]
    Inconsistent,
    /// Chroma answers 501, yet sets the collection's dimension.
    #[error("Unimplemented: Sparse vector is not supported for local chroma: {key}")]
    SparseVector { key: String },
    /// Chroma's handler panics and the connection closes without an answer.
    #[error("Collection metadata value of '{key}' must be a string, a number, a boolean or null")]
    CollectionMetadataValue { key: String },
    /// Chroma would read the fields by position. No client sends that, and the edge reads fields by name.
    #[error(
        "Failed to deserialize the JSON body into the target type: invalid type: sequence, expected struct {payload} at line 1 column 0"
    )]
    ArrayBody { payload: &'static str },
    /// The name of a collection of the edge's own, which no client sees.
    #[error("Collection names that begin with '{RESERVED_PREFIX}' are reserved")]
    ReservedName,
    /// Not a whole JSON object that the edge could read to its end. The unread part may harm an instance.
    #[error("Failed to parse the request body as JSON: {error}")]
    NotJson { error: String },
    /// A limit is exceeded.
    #[error("{0}")]
    Limit(Exceeded),
    /// An index with which Chroma does not work.
    #[error("{0}")]
    Index(IndexFault),
    /// A known field of the wrong type, missing, or twice.
    #[error("Failed to deserialize the JSON body into the target type: {error}")]
    WrongType { error: String },
}

/// The most characters of an error text in an answer or a log line: error texts quote the client's input.
const ERROR_CHARS: usize = 400;

impl Refusal {
    /// Returns the refusal of a body that serde could not read. The text is Chroma's, which uses the same parser.
    pub(crate) fn unreadable(error: &serde_json::Error) -> Refusal {
        let text = error.to_string();
        let error_text = match text.char_indices().nth(ERROR_CHARS) {
            Some((end, _)) => format!("{}...", &text[..end]),
            None => text,
        };
        match error.is_data() {
            true => Refusal::WrongType { error: error_text },
            false => Refusal::NotJson { error: error_text },
        }
    }

    /// Returns a short machine-readable cause, for metrics and the log.
    pub const fn reason(&self) -> &'static str {
        match self {
            Refusal::ReservedKey { .. } => "reserved_metadata_key",
            Refusal::ReservedName => "reserved_name",
            Refusal::EmptyId => "empty_id",
            Refusal::Inconsistent => "inconsistent_lengths",
            Refusal::SparseVector { .. } => "sparse_vector",
            Refusal::CollectionMetadataValue { .. } => "collection_metadata_value",
            Refusal::ArrayBody { .. } => "array_body",
            Refusal::NotJson { .. } => "not_json",
            Refusal::Limit(exceeded) => exceeded.limit.reason(),
            Refusal::Index(fault) => fault.reason(),
            Refusal::WrongType { .. } => "wrong_type",
        }
    }

    /// Returns whether this is a limit or an index fault of the edge's own. The answer then contains the reason.
    pub const fn is_ours(&self) -> bool {
        matches!(self, Refusal::Limit(_) | Refusal::Index(_))
    }

    /// The answer to the client.
    pub fn answer(&self) -> EdgeAnswer {
        let (status, name) = match self {
            Refusal::ReservedKey { .. }
            | Refusal::ReservedName
            | Refusal::EmptyId
            | Refusal::Inconsistent
            | Refusal::NotJson { .. }
            | Refusal::Limit(_)
            | Refusal::Index(_)
            | Refusal::CollectionMetadataValue { .. } => (400, ErrorName::InvalidArgumentError),
            Refusal::SparseVector { .. } => (501, ErrorName::ChromaError),
            Refusal::ArrayBody { .. } | Refusal::WrongType { .. } => (422, ErrorName::ChromaError),
        };
        let body = ErrorBody::new(name, self.to_string());
        EdgeAnswer::error(status, &if self.is_ours() { body.with_reason(self.reason()) } else { body })
    }
}
