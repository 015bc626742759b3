//! The shape of a request: its operation, how it names its records, the index it uses, and every number that counts.
//! Two requests of one shape ask the same of an instance (rule R13).
//!
//! The scans count; this file names. [`envelope`](super::envelope) decides what follows from a shape.

use super::limit_table::Limit;
use super::limits::Measured;
use super::route::RecordReadKind;
use super::setting::{GIB, MIB, Setting, Unit};
use super::sizes::IndexShape;
use crate::order::{Conditions, Kind};

/// A number of a request that can overload an instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Number {
    Documents,
    Dimension,
    Bytes,
    Results,
    MetadataKeys,
    MetadataItems,
    ConditionTerms,
    ConditionDepth,
    ConditionValues,
    ConditionPatternBytes,
    ConditionRegexBytes,
}

const fn row(key: &'static str, unit: Unit, default: u64, most: u64) -> Setting {
    Setting { key, unit, default, most }
}

impl Number {
    pub const ALL: [Number; 11] = [
        Number::Documents,
        Number::Dimension,
        Number::Bytes,
        Number::Results,
        Number::MetadataKeys,
        Number::MetadataItems,
        Number::ConditionTerms,
        Number::ConditionDepth,
        Number::ConditionValues,
        Number::ConditionPatternBytes,
        Number::ConditionRegexBytes,
    ];

    /// The key below `edge.vouch`. Requests up to the default are vouched for; the lowest value is 0.
    pub const fn setting(self) -> Setting {
        use Unit::{Bytes, Count};
        match self {
            Number::Documents => row("documents", Count, 1000, 10_000_000),
            Number::Dimension => row("dimension", Count, 4096, 10_000_000),
            Number::Bytes => row("bytes", Bytes, 20 * MIB, GIB),
            Number::Results => row("results", Count, 10_000, 1_000_000_000),
            Number::MetadataKeys => row("metadata_keys", Count, 200, 100_000),
            Number::MetadataItems => row("metadata_items", Count, 1000, 1_000_000),
            Number::ConditionTerms => row("condition_terms", Count, 100, 100_000),
            Number::ConditionDepth => row("condition_depth", Count, 8, 1000),
            Number::ConditionValues => row("condition_values", Count, 5000, 10_000_000),
            Number::ConditionPatternBytes => row("condition_pattern_bytes", Bytes, 1000, GIB),
            Number::ConditionRegexBytes => row("condition_regex_bytes", Bytes, 0, GIB),
        }
    }
}

/// One value for each number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Numbers([u64; Number::ALL.len()]);

impl Numbers {
    /// Creates numbers with these values.
    pub fn from_fn(value: impl FnMut(Number) -> u64) -> Numbers {
        Numbers(Number::ALL.map(value))
    }

    pub fn get(&self, number: Number) -> u64 {
        self.0[number as usize]
    }

    /// Returns whether no number is above the other's.
    pub fn within(&self, most: &Numbers) -> bool {
        self.0.iter().zip(&most.0).all(|(here, there)| here <= there)
    }
}

/// The operation, as far as it determines the load on an instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Verb {
    Write(Kind),
    Read(RecordReadKind),
}

/// The shape of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    pub verb: Verb,
    pub conditions: Conditions,
    pub index: IndexShape,
    pub numbers: Numbers,
}

impl Shape {
    /// Returns the shape of a measured request with a body of this length, to a collection with this index.
    pub fn of(verb: Verb, measured: &Measured, bytes: usize, index: IndexShape) -> Shape {
        let sizes = measured.sizes();
        let limit = |limit| measured.get(limit);
        let numbers = Numbers::from_fn(|number| match number {
            Number::Documents => sizes.documents,
            Number::Dimension => sizes.dimension,
            Number::Bytes => u64::try_from(bytes).unwrap_or(u64::MAX),
            Number::Results => sizes.results,
            Number::MetadataKeys => limit(Limit::RecordMetadataKeys).max(limit(Limit::CollectionMetadataKeys)),
            Number::MetadataItems => limit(Limit::RecordMetadataItems),
            Number::ConditionTerms => limit(Limit::ConditionTerms),
            Number::ConditionDepth => limit(Limit::ConditionDepth),
            Number::ConditionValues => limit(Limit::ConditionValues),
            Number::ConditionPatternBytes => limit(Limit::ConditionPatternBytes),
            Number::ConditionRegexBytes => limit(Limit::ConditionRegexBytes),
        });
        Shape { verb, conditions: sizes.conditions, index: index.changed(sizes.index), numbers }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chroma::scan::{Scanned, scan_create_collection, scan_read, scan_records};

    fn read(verb: RecordReadKind, body: &str) -> Shape {
        let measured = scan_read(body.as_bytes()).unwrap();
        Shape::of(Verb::Read(verb), &measured, body.len(), IndexShape::ORDINARY)
    }

    fn write(kind: Kind, body: &str) -> Shape {
        let scan = scan_records(kind, body.as_bytes(), None, None).unwrap();
        Shape::of(Verb::Write(scan.kind), &scan.measured, body.len(), IndexShape::ORDINARY)
    }

    fn index(body: &str) -> IndexShape {
        match scan_create_collection(body.as_bytes()) {
            Ok(Scanned::Read(scan)) => scan.measured.index_shape(),
            other => panic!("{body}: {other:?}"),
        }
    }

    #[test]
    fn every_number_stands_at_its_own_index_below_what_can_be_configured() {
        for (at, number) in Number::ALL.into_iter().enumerate() {
            assert_eq!(number as usize, at, "{number:?}");
            assert!(number.setting().default <= number.setting().most);
        }
    }

    #[test]
    fn what_a_write_amounts_to() {
        let shape = write(Kind::Add, r#"{"ids":["a","b"],"embeddings":[[1,2,3],[4,5,6]],"metadatas":[{"k":1},null]}"#);
        let numbers = |shape: Shape| [Number::Documents, Number::Dimension].map(|number| shape.numbers.get(number));
        assert_eq!((numbers(shape), shape.conditions), ([2, 3], Conditions::None));
        assert_eq!(shape.numbers.get(Number::MetadataKeys), 1);
        // Three floats of four bytes, in base64.
        let shape = write(Kind::Upsert, r#"{"ids":["a"],"embeddings":["AACAPwAAAEAAAEBA"]}"#);
        assert_eq!(numbers(shape), [1, 3]);
        for (body, conditions) in [
            (r#"{"ids":["a"]}"#, Conditions::Ids),
            (r#"{"ids":["a"],"where":{"k":1}}"#, Conditions::Metadata),
            (r#"{"where":null,"where_document":{"$contains":"x"}}"#, Conditions::Document),
            (r#"{"where":{"k":1},"where_document":{"$contains":"x"}}"#, Conditions::Both),
            (r"{}", Conditions::None),
        ] {
            assert_eq!(write(Kind::Delete, body).conditions, conditions, "{body}");
        }
    }

    #[test]
    fn what_a_read_amounts_to() {
        let results = |verb, body| read(verb, body).numbers.get(Number::Results);
        let query = r#"{"query_embeddings":[[1,2],[3,4]],"n_results":7}"#;
        assert_eq!(results(RecordReadKind::Query, query), 14);
        assert_eq!(read(RecordReadKind::Query, query).numbers.get(Number::Dimension), 2);
        assert_eq!(results(RecordReadKind::Query, r#"{"query_embeddings":[[1,2]]}"#), 10);
        assert_eq!(results(RecordReadKind::Get, r#"{"limit":1000000}"#), 1_000_000);
        assert_eq!(results(RecordReadKind::Get, r#"{"ids":["a","b"],"limit":null}"#), 2);
        assert_eq!(read(RecordReadKind::Get, r#"{"ids":["a"]}"#).conditions, Conditions::Ids);
        assert_eq!(read(RecordReadKind::Get, r#"{"where":{"k":1}}"#).conditions, Conditions::Metadata);
    }

    #[test]
    fn an_ordinary_index_is_one_shape_and_every_other_one_of_its_own() {
        for body in [
            r#"{"name":"n"}"#,
            r#"{"name":"n","configuration":{"hnsw":{"space":"cosine","max_neighbors":32,"ef_search":200},"spann":null,
                "embedding_function":{"type":"known","name":"default","config":{}}}}"#,
            r#"{"name":"n","metadata":{"hnsw:space":"l2","hnsw:M":16,"owner":"me"}}"#,
            r##"{"name":"n","schema":{"defaults":{"float_list":{"vector_index":{"enabled":true,"config":{"space":"l2","hnsw":
                {"ef_construction":100,"max_neighbors":16,"ef_search":100,"num_threads":4,"batch_size":100,
                "sync_threshold":1000,"resize_factor":1.2},"spann":null}}}},"keys":{}}}"##,
        ] {
            assert_eq!(index(body), IndexShape::ORDINARY, "{body}");
        }
        let odd = [
            r#"{"name":"n","configuration":{"hnsw":{"max_neighbors":1}}}"#,
            r#"{"name":"n","configuration":{"hnsw":{"max_neighbors":1000}}}"#,
            r#"{"name":"n","configuration":{"hnsw":{"resize_factor":0.5}}}"#,
            r#"{"name":"n","configuration":{"hnsw":{"ef_construction":0}}}"#,
            r#"{"name":"n","configuration":{"hnsw":{"sync_threshold":9223372036854775807}}}"#,
            r#"{"name":"n","configuration":{"spann":{"search_nprobe":0}}}"#,
            r#"{"name":"n","metadata":{"hnsw:search_ef":0}}"#,
        ]
        .map(index);
        for (at, shape) in odd.iter().enumerate() {
            assert!(*shape != IndexShape::ORDINARY && odd[..at].iter().all(|other| other != shape), "{at}");
        }
        let spelled = |body: &str| index(&body.replace("hnsw", "\\u0068nsw"));
        assert_eq!(spelled(r#"{"name":"n","configuration":{"hnsw":{"max_neighbors":1}}}"#), odd[0]);
    }
}
