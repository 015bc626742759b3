//! The writes that are refused before the journal, each with the answer its client gets.

use crate::chroma::answer::EdgeAnswer;
use crate::chroma::error::{ErrorBody, ErrorName};

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
}

impl Refusal {
    /// A short machine-readable cause, for metrics and the log.
    pub const fn reason(&self) -> &'static str {
        match self {
            Refusal::ReservedKey { .. } => "reserved_metadata_key",
            Refusal::EmptyId => "empty_id",
            Refusal::Inconsistent => "inconsistent_lengths",
            Refusal::SparseVector { .. } => "sparse_vector",
            Refusal::CollectionMetadataValue { .. } => "collection_metadata_value",
            Refusal::ArrayBody { .. } => "array_body",
        }
    }

    /// The answer to the client.
    pub fn answer(&self) -> EdgeAnswer {
        let (status, name) = match self {
            Refusal::ReservedKey { .. }
            | Refusal::EmptyId
            | Refusal::Inconsistent
            | Refusal::CollectionMetadataValue { .. } => (400, ErrorName::InvalidArgumentError),
            Refusal::SparseVector { .. } => (501, ErrorName::ChromaError),
            Refusal::ArrayBody { .. } => (422, ErrorName::ChromaError),
        };
        EdgeAnswer::error(status, &ErrorBody::new(name, self.to_string()))
    }
}
