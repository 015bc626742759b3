//! The limits on one request: each has a name, a default, and a refusal that names both.
//!
//! The defaults are where Chroma 1.5.9 stops working, never below what it executes. Comparisons and regular expressions
//! are the exception, because Chroma executes them for minutes (`docs/chroma-limits.md` has the measurements).
//! `limits.rs` compares requests with the limits.

use super::setting::{GIB, KIB, MIB, Setting, Unit};

/// The quantities of a request that are limited.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Limit {
    NameBytes,
    CollectionMetadataKeys,
    CollectionMetadataBytes,
    CollectionDefinitionBytes,
    RecordMetadataKeys,
    RecordMetadataBytes,
    RecordMetadataItems,
    IdBytes,
    DocumentBytes,
    ConditionTerms,
    ConditionComparisons,
    ConditionDepth,
    ConditionBytes,
    ConditionValues,
    ConditionPatternBytes,
    ConditionRegexBytes,
    ConditionRegexWork,
    HnswMaxNeighbors,
}

/// One row of the table of limits.
struct Row {
    /// The key below `edge.limits`.
    setting: Setting,
    reason: &'static str,
    /// The counted quantity, as named in a refusal.
    what: &'static str,
}

const fn row(key: &'static str, reason: &'static str, what: &'static str, unit: Unit, default: u64, most: u64) -> Row {
    Row { setting: Setting { key, unit, default, most }, reason, what }
}

impl Limit {
    pub const ALL: [Limit; 18] = [
        Limit::NameBytes,
        Limit::CollectionMetadataKeys,
        Limit::CollectionMetadataBytes,
        Limit::CollectionDefinitionBytes,
        Limit::RecordMetadataKeys,
        Limit::RecordMetadataBytes,
        Limit::RecordMetadataItems,
        Limit::IdBytes,
        Limit::DocumentBytes,
        Limit::ConditionTerms,
        Limit::ConditionComparisons,
        Limit::ConditionDepth,
        Limit::ConditionBytes,
        Limit::ConditionValues,
        Limit::ConditionPatternBytes,
        Limit::ConditionRegexBytes,
        Limit::ConditionRegexWork,
        Limit::HnswMaxNeighbors,
    ];

    #[rustfmt::skip]
    const fn row(self) -> Row {
        use Unit::{Bytes, Count};
        match self {
            Limit::NameBytes => row("name_bytes", "limit_name_bytes", "bytes in a name", Bytes, 512, 64 * KIB),
            Limit::CollectionMetadataKeys => row("collection_metadata_keys", "limit_collection_metadata_keys",
                "keys in the metadata of a collection", Count, 5000, 100_000),
            Limit::CollectionMetadataBytes => row("collection_metadata_bytes", "limit_collection_metadata_bytes",
                "bytes of metadata of a collection", Bytes, MIB, GIB),
            Limit::CollectionDefinitionBytes => row("collection_definition_bytes", "limit_collection_definition_bytes",
                "bytes in the schema or the configuration of a collection", Bytes, MIB, GIB),
            Limit::RecordMetadataKeys => row("record_metadata_keys", "limit_record_metadata_keys",
                "keys in the metadata of a record", Count, 5400, 100_000),
            Limit::RecordMetadataBytes => row("record_metadata_bytes", "limit_record_metadata_bytes",
                "bytes of metadata of a record", Bytes, 32 * MIB, GIB),
            Limit::RecordMetadataItems => row("record_metadata_items", "limit_record_metadata_items",
                "items in the arrays in the metadata of a record", Count, 5400, 1_000_000),
            Limit::IdBytes => row("id_bytes", "limit_id_bytes", "bytes in the id of a record", Bytes, 64 * KIB, GIB),
            Limit::DocumentBytes => row("document_bytes", "limit_document_bytes",
                "bytes in a document or uri", Bytes, 32 * MIB, GIB),
            Limit::ConditionTerms => row("condition_terms", "limit_condition_terms",
                "terms that follow each other in a condition", Count, 1000, 100_000),
            Limit::ConditionComparisons => row("condition_comparisons", "limit_condition_comparisons",
                "comparisons in a condition", Count, 2000, 100_000),
            Limit::ConditionDepth => row("condition_depth", "limit_condition_depth",
                "levels of $and and $or in a condition", Count, 62, 120),
            Limit::ConditionBytes => row("condition_bytes", "limit_condition_bytes",
                "bytes in a condition", Bytes, 8 * MIB, GIB),
            Limit::ConditionValues => row("condition_values", "limit_condition_values",
                "values and ids in a condition", Count, 32_766, 10_000_000),
            Limit::ConditionPatternBytes => row("condition_pattern_bytes", "limit_condition_pattern_bytes",
                "bytes in $contains", Bytes, 49_998, GIB),
            Limit::ConditionRegexBytes => row("condition_regex_bytes", "limit_condition_regex_bytes",
                "bytes in $regex", Bytes, 100_000, GIB),
            Limit::ConditionRegexWork => row("condition_regex_work", "limit_condition_regex_work",
                "steps to compile all $regex of a condition", Count, 5_000_000, 1_000_000_000),
            Limit::HnswMaxNeighbors => row("hnsw_max_neighbors", "limit_hnsw_max_neighbors",
                "max_neighbors (hnsw:M)", Count, 1024, 4096),
        }
    }

    /// The key below `edge.limits`; the lowest value is 1.
    pub const fn setting(self) -> Setting {
        self.row().setting
    }

    /// The metric's label, and the `reason` of the answer.
    pub const fn reason(self) -> &'static str {
        self.row().reason
    }
}

/// An index definition that Chroma accepts, but that kills it or hides its own contents.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IndexFault {
    /// The process dies at the first add of a few records.
    #[error("max_neighbors (hnsw:M) must be at least 1; with 0 Chroma crashes at the first add")]
    NoNeighbors,
    /// Chroma reads the fields by position; the edge and every client read them by name.
    #[error("The configuration and the schema of a collection must be objects; the edge does not read arrays there")]
    Positional,
}

impl IndexFault {
    pub const fn reason(self) -> &'static str {
        match self {
            IndexFault::NoNeighbors => "index_no_neighbors",
            IndexFault::Positional => "index_positional",
        }
    }
}

/// A limit that a request exceeds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exceeded {
    pub limit: Limit,
    pub actual: u64,
    pub allowed: u64,
}

impl std::fmt::Display for Exceeded {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Exceeded { limit, actual, allowed } = self;
        let Row { what, setting: Setting { key, .. }, .. } = limit.row();
        write!(f, "Too many {what}: {actual}, and the limit is {allowed} (edge.limits.{key})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_limit_stands_at_its_own_index_with_a_name_of_its_own() {
        for (index, limit) in Limit::ALL.into_iter().enumerate() {
            assert_eq!(limit as usize, index, "{limit:?}");
            let setting = limit.setting();
            assert_eq!(limit.reason(), format!("limit_{}", setting.key));
            assert!(setting.default <= setting.most);
        }
    }
}
