//! The index of a collection, read from the Collection object that a server shows.
//!
//! A server may show an index several times, in the schema and in the configuration. All of them count: one definition
//! has one shape, and the same server always shows it in the same way.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::catalog::note_legacy_index;
use super::definition::{self, Level};
use crate::chroma::limits::Measured;
use crate::chroma::sizes::IndexShape;

/// The parts of a Collection object that define the index.
#[derive(Debug, Default, Deserialize)]
pub struct ShownDefinition {
    #[serde(default)]
    pub metadata: Option<Box<RawValue>>,
    #[serde(default)]
    pub configuration_json: Option<Box<RawValue>>,
    #[serde(default)]
    pub schema: Option<Box<RawValue>>,
}

impl ShownDefinition {
    /// Returns the index. A part that cannot be read counts as out of the ordinary.
    pub fn index(&self) -> IndexShape {
        let mut measured = Measured::default();
        let mut index = IndexShape::ORDINARY;
        for (level, part) in [(Level::Configuration, &self.configuration_json), (Level::Schema, &self.schema)] {
            if let Some(part) = part
                && definition::measure(level, Some(part), &mut measured).is_err()
            {
                index = index.and("unreadable", part.get());
            }
        }
        if let Some(fault) = measured.index_fault() {
            index = index.and("fault", fault.reason());
        }
        if let Some(metadata) = &self.metadata {
            note_legacy_index(metadata, &mut measured);
        }
        index.changed(measured.index_shape())
    }
}

/// Returns the index in a Collection object; `None` if this is none.
pub fn shown_index(collection: &[u8]) -> Option<IndexShape> {
    serde_json::from_slice::<ShownDefinition>(collection).ok().map(|shown| shown.index())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn index(collection: &str) -> IndexShape {
        shown_index(collection.as_bytes()).unwrap_or_else(|| panic!("{collection}"))
    }

    #[test]
    fn what_servers_show_of_an_ordinary_collection_is_ordinary() {
        for collection in [
            r#"{"id":"x","name":"n","metadata":null,"configuration_json":{},"schema":null}"#,
            r#"{"id":"x","name":"n"}"#,
            r#"{"metadata":{"owner":"me","hnsw:space":"l2","hnsw:M":16},"configuration_json":{"hnsw":{"space":"l2",
                "ef_construction":100,"ef_search":100,"max_neighbors":16,"resize_factor":1.2,"sync_threshold":1000},
                "spann":null,"embedding_function":{"type":"known","name":"default","config":{}}}}"#,
            r##"{"configuration_json":{"hnsw":null},"schema":{"defaults":{"string":{},"float_list":{"vector_index":
                {"enabled":false,"config":{"space":"l2"}}}},"keys":{"#document":{},"#embedding":{"float_list":
                {"vector_index":{"enabled":true,"config":{"source_key":"#document","hnsw":{"ef_construction":100,
                "max_neighbors":16,"ef_search":100,"num_threads":4,"batch_size":100,"sync_threshold":1000,
                "resize_factor":1.2}}}}}}}}"##,
        ] {
            assert_eq!(index(collection), IndexShape::ORDINARY, "{collection}");
        }
    }

    #[test]
    fn an_index_out_of_the_ordinary_shows_wherever_it_is_named() {
        let shown = [
            r#"{"configuration_json":{"hnsw":{"max_neighbors":1}}}"#,
            r#"{"configuration_json":{"spann":{"search_nprobe":0}}}"#,
            r##"{"schema":{"keys":{"#embedding":{"float_list":{"vector_index":{"config":{"hnsw":{"ef_search":0}}}}}}}}"##,
            r#"{"metadata":{"hnsw:search_ef":0}}"#,
            r#"{"configuration_json":{"hnsw":5"#,
            r#"{"configuration_json":{"hnsw":[1]}}"#,
        ];
        for (at, collection) in shown.iter().enumerate() {
            match shown_index(collection.as_bytes()) {
                Some(index) => assert_ne!(index, IndexShape::ORDINARY, "{at}: {collection}"),
                None => assert_eq!(at, 4, "{collection}"),
            }
        }
        assert_eq!(index(shown[0]), index(shown[0]), "the same definition is the same shape");
        assert_ne!(index(shown[0]), index(&shown[0].replace('1', "2")));
    }
}
