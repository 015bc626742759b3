//! The index definition of a collection, in `configuration` and in `schema`: finds the one number that kills an instance.
//!
//! The walk follows the names that Chroma knows and skips everything else, as Chroma does. Chroma also reads each of
//! these objects from an array, by position. That is refused, since its fields cannot be identified by name.

use serde::de::{Deserializer, IgnoredAny, MapAccess, SeqAccess};
use serde_json::Number;
use serde_json::value::RawValue;

use super::refusal::Refusal;
use super::visit::{Key, Look, Looking, skip_seq};
use crate::chroma::limit_table::{IndexFault, Limit};
use crate::chroma::limits::Measured;

/// The position of the walk.
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

/// Index settings, each with its ordinary range.
const ORDINARY: [(&str, f64, f64); 7] = [
    ("ef_construction", 10.0, 1000.0),
    ("ef_search", 10.0, 1000.0),
    ("max_neighbors", 4.0, 128.0),
    ("num_threads", 1.0, 256.0),
    ("batch_size", 10.0, 10_000.0),
    ("sync_threshold", 10.0, 100_000.0),
    ("resize_factor", 1.0, 3.0),
];

/// Notes an index setting, by its name in a configuration, if it is out of the ordinary. Its effect on an instance is
/// then unknown, and its value becomes part of the index's identity.
pub(super) fn note_setting(name: &str, value: &RawValue, measured: &mut Measured) {
    let Some((_, least, most)) = ORDINARY.iter().find(|(known, ..)| *known == name) else { return };
    let number = serde_json::from_str::<f64>(value.get());
    let ordinary = value.get() == "null" || number.is_ok_and(|number| (*least..=*most).contains(&number));
    if !ordinary {
        note_odd(name, value, measured);
    }
}

fn note_odd(name: &str, value: &RawValue, measured: &mut Measured) {
    let sizes = measured.sizes_mut();
    sizes.index = sizes.index.and(name, value.get());
}

/// Notes an index's number of neighbors, wherever it appears.
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
            if level == Level::Hnsw {
                let value: Box<RawValue> = map.next_value()?;
                note_setting(&key, &value, measured);
                if key == "max_neighbors"
                    && let Ok(number) = serde_json::from_str::<Number>(value.get())
                {
                    note_neighbors(&number, measured);
                }
            } else if level == Level::Configuration && key == "spann" {
                let value: Box<RawValue> = map.next_value()?;
                if value.get() != "null" {
                    note_odd("spann", &value, measured);
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
