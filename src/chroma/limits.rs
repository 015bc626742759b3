//! How much one request may ask for: every limit has a name, a default, and a refusal that names both.
//!
//! The scans measure, this file compares. The defaults lie where Chroma 1.5.9 stops working, never below what it
//! executes, but for comparisons and regular expressions, which it executes for minutes (`docs/chroma-limits.md` has the
//! measurements). Nothing here
//! is applied to what is journaled already.

use super::feature::Feature;
use super::scan::Refusal;
use super::sizes::{IndexShape, Sizes};

/// What is counted of a request.
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

/// What a limit counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    Bytes,
    Count,
}

/// One row of the table of limits.
struct Row {
    key: &'static str,
    reason: &'static str,
    /// What is counted, as a refusal says it.
    what: &'static str,
    unit: Unit,
    default: u64,
    /// The highest value that can be configured.
    most: u64,
}

const fn row(key: &'static str, reason: &'static str, what: &'static str, unit: Unit, default: u64, most: u64) -> Row {
    Row { key, reason, what, unit, default, most }
}

const KIB: u64 = 1024;
const MIB: u64 = 1024 * KIB;
const GIB: u64 = 1024 * MIB;

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

    /// The key below `edge.limits`.
    pub const fn key(self) -> &'static str {
        self.row().key
    }

    /// The metric's label, and the `reason` of the answer.
    pub const fn reason(self) -> &'static str {
        self.row().reason
    }

    pub const fn unit(self) -> Unit {
        self.row().unit
    }

    pub const fn default_value(self) -> u64 {
        self.row().default
    }

    /// The highest value that can be configured; the lowest is 1.
    pub const fn most(self) -> u64 {
        self.row().most
    }
}

/// The limits in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestLimits([u64; Limit::ALL.len()]);

impl Default for RequestLimits {
    fn default() -> Self {
        RequestLimits::from_fn(Limit::default_value)
    }
}

impl RequestLimits {
    /// Limits with these values.
    pub fn from_fn(value: impl FnMut(Limit) -> u64) -> RequestLimits {
        RequestLimits(Limit::ALL.map(value))
    }

    pub fn get(&self, limit: Limit) -> u64 {
        self.0[limit as usize]
    }

    /// Refuses what is over a limit, or outside the range in which Chroma works.
    ///
    /// # Errors
    /// The first limit that is exceeded.
    pub fn check(&self, measured: &Measured) -> Result<(), Refusal> {
        if let Some(fault) = measured.index {
            return Err(Refusal::Index(fault));
        }
        for limit in Limit::ALL {
            let (actual, allowed) = (measured.get(limit), self.get(limit));
            if actual > allowed {
                return Err(Refusal::Limit(Exceeded { limit, actual, allowed }));
            }
        }
        Ok(())
    }

    /// Refuses a name that is too long.
    ///
    /// # Errors
    /// The limit on names.
    pub fn check_name(&self, name: &str) -> Result<(), Refusal> {
        let mut measured = Measured::default();
        measured.note(Limit::NameBytes, name.len());
        self.check(&measured)
    }
}

/// What a scan has counted: of each limit the highest count in the request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Measured {
    counts: [u64; Limit::ALL.len()],
    index: Option<IndexFault>,
    sizes: Sizes,
    uses: [bool; Feature::ALL.len()],
}

impl Measured {
    /// What is counted and not limited.
    pub(super) fn sizes(&self) -> &Sizes {
        &self.sizes
    }

    pub(super) fn sizes_mut(&mut self) -> &mut Sizes {
        &mut self.sizes
    }

    /// The index that the request defines.
    pub const fn index_shape(&self) -> IndexShape {
        self.sizes.index
    }

    /// Keeps the higher count.
    pub(super) fn note(&mut self, limit: Limit, count: usize) {
        let count = u64::try_from(count).unwrap_or(u64::MAX);
        let held = &mut self.counts[limit as usize];
        *held = count.max(*held);
    }

    pub(super) fn note_fault(&mut self, fault: IndexFault) {
        self.index.get_or_insert(fault);
    }

    pub(super) fn note_use(&mut self, feature: Feature) {
        self.uses[feature as usize] = true;
    }

    pub fn get(&self, limit: Limit) -> u64 {
        self.counts[limit as usize]
    }

    /// Whether the request needs a server that has this.
    pub fn uses(&self, feature: Feature) -> bool {
        self.uses[feature as usize]
    }
}

/// An index definition that Chroma accepts, and that kills it or hides what is in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IndexFault {
    /// The process dies at the first add of a few records.
    #[error("max_neighbors (hnsw:M) must be at least 1; with 0 Chroma crashes at the first add")]
    NoNeighbors,
    /// Chroma reads fields by their position; the edge, and every client, by name.
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
        let Row { key, what, .. } = limit.row();
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
            assert_eq!(limit.reason(), format!("limit_{}", limit.key()));
            assert!(limit.default_value() <= limit.most());
        }
    }

    #[test]
    fn the_limit_is_allowed_and_one_more_is_not() {
        let limits = RequestLimits::default();
        for limit in Limit::ALL {
            let allowed = usize::try_from(limits.get(limit)).unwrap();
            let mut measured = Measured::default();
            measured.note(limit, allowed);
            measured.note(limit, 1);
            assert_eq!(limits.check(&measured), Ok(()));
            measured.note(limit, allowed + 1);
            let refusal = limits.check(&measured).unwrap_err();
            let text = refusal.to_string();
            let names = text.contains(&format!("edge.limits.{}", limit.key())) && text.contains(&allowed.to_string());
            assert!(names && text.contains(&(allowed + 1).to_string()), "{text}");
            assert_eq!((refusal.answer().status, refusal.reason()), (400, limit.reason()));
        }
    }
}
