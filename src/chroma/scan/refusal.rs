//! The writes that are refused before the journal, each with the answer its client gets.

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
    /// Chroma would read the fields by position; no client writes that, and the edge reads fields by name.
    #[error(
        "Failed to deserialize the JSON body into the target type: invalid type: sequence, expected struct {payload} at line 1 column 0"
    )]
    ArrayBody { payload: &'static str },
    /// The edge's own collections, which no client sees.
    #[error("Collection names that begin with '{RESERVED_PREFIX}' are reserved")]
    ReservedName,
    /// No whole JSON object that the edge could read to its end: what it did not read may harm an instance.
    #[error("Failed to parse the request body as JSON: {error}")]
    NotJson { error: String },
    /// More than a limit allows.
    #[error("{0}")]
    Limit(Exceeded),
    /// An index in which Chroma does not work.
    #[error("{0}")]
    Index(IndexFault),
    /// A known field of the wrong type, missing, or twice.
    #[error("Failed to deserialize the JSON body into the target type: {error}")]
    WrongType { error: String },
}

/// Error texts quote what the client sent; an answer or a log line holds no more of it than this many characters.
const ERROR_CHARS: usize = 400;

impl Refusal {
    /// The refusal of a body that serde could not read, in the words of Chroma, which uses the same parser.
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

    /// A short machine-readable cause, for metrics and the log.
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

    /// Whether Chroma would not have refused it: the answer says why the edge does.
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
