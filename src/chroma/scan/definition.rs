//! The index definition of a collection, in `configuration` and in `schema`: the one number that kills an instance.
//!
//! The walk follows the names that Chroma knows and skips everything else as Chroma skips it. Chroma reads each of
//! these objects from an array as well, by position; that is refused, since nothing in it can be told by name.

use serde::de::{Deserializer, IgnoredAny, MapAccess, SeqAccess};
use serde_json::Number;
use serde_json::value::RawValue;

use super::refusal::Refusal;
use super::visit::{Key, Look, Looking, skip_seq};
use crate::chroma::limits::{IndexFault, Limit, Measured};

/// Where the walk stands.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Level {
    /// `configuration`, `new_configuration`, and the `config` of a vector index in a schema.
    Configuration,
    Schema,
    /// The values by metadata key.
    Keys,
    ValueTypes,
    FloatList,
    VectorIndex,
    Hnsw,
}

impl Level {
    fn below(self, key: &str) -> Option<Level> {
        match (self, key) {
            (Level::Configuration, "hnsw") => Some(Level::Hnsw),
            (Level::Schema, "defaults") => Some(Level::ValueTypes),
            (Level::Schema, "keys" | "key_overrides") => Some(Level::Keys),
            (Level::Keys, _) => Some(Level::ValueTypes),
            (Level::ValueTypes, "float_list" | "#float_list") => Some(Level::FloatList),
            (Level::FloatList, "vector_index" | "$vector_index") => Some(Level::VectorIndex),
            (Level::VectorIndex, "config") => Some(Level::Configuration),
            _ => None,
        }
    }
}

/// Measures one definition.
pub(super) fn measure(level: Level, definition: Option<&RawValue>, measured: &mut Measured) -> Result<(), Refusal> {
    let Some(definition) = definition else { return Ok(()) };
    measured.note(Limit::CollectionDefinitionBytes, definition.get().len());
    let walk = Looking(Walk { level, measured });
    serde_json::Deserializer::from_str(definition.get())
        .deserialize_any(walk)
        .map_err(|error| Refusal::unreadable(&error))
}

/// Notes the number of neighbours of an index, wherever it stands.
pub(super) fn note_neighbors(number: &Number, measured: &mut Measured) {
    match number.as_u64() {
        Some(0) => measured.note_fault(IndexFault::NoNeighbors),
        Some(neighbors) => {
            measured.note(Limit::HnswMaxNeighbors, usize::try_from(neighbors).unwrap_or(usize::MAX));
        }
        // Not a whole number: Chroma refuses it.
        None => {}
    }
}

struct Walk<'a> {
    level: Level,
    measured: &'a mut Measured,
}

impl<'de> Look<'de> for Walk<'_> {
    type Output = ();
    fn on_null(self) {}
    fn on_text(self, _: &str) {}
    fn on_other(self) {}
    fn on_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<(), A::Error> {
        self.measured.note_fault(IndexFault::Positional);
        skip_seq(seq).map(|_| ())
    }
    fn on_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let Walk { level, measured } = self;
        while let Some(Key(key)) = map.next_key()? {
            if level == Level::Hnsw && key == "max_neighbors" {
                let value: Box<RawValue> = map.next_value()?;
                if let Ok(number) = serde_json::from_str::<Number>(value.get()) {
                    note_neighbors(&number, measured);
                }
            } else if let Some(level) = level.below(&key) {
                map.next_value_seed(Looking(Walk { level, measured: &mut *measured }))?;
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(())
    }
}
