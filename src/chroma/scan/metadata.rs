//! One metadata object: its keys, and any values that must not reach an instance.
//!
//! Every occurrence of a key is checked, so that a duplicate cannot hide one.

use serde::de::{IgnoredAny, MapAccess, SeqAccess};

use super::refusal::Refusal;
use super::visit::{Key, Look, Looking, skip_map, skip_seq};
use crate::chroma::feature::Feature;
use crate::chroma::limit_table::Limit;
use crate::chroma::limits::Measured;

/// Whose metadata it is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Owner {
    /// Arrays of scalars are fine. Chroma refuses any object, other than a sparse vector, without a trace.
    Record,
    /// Arrays, and sparse vectors, make Chroma's handler panic.
    Collection,
}

/// The value in a metadata position.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Holds {
    Object {
        legacy_hnsw: bool,
    },
    Null,
    /// Chroma refuses it: wrong type.
    Wrong,
}

/// The findings about a body so far.
#[derive(Default)]
pub(super) struct Findings {
    /// The first reason to refuse it.
    pub(super) refusal: Option<Refusal>,
    pub(super) measured: Measured,
}

/// Looks at a metadata object.
pub(super) struct Metadata<'a> {
    pub(super) owner: Owner,
    pub(super) findings: &'a mut Findings,
}

impl<'de> Look<'de> for Metadata<'_> {
    type Output = Holds;
    fn on_null(self) -> Holds {
        Holds::Null
    }
    fn on_text(self, _: &str) -> Holds {
        Holds::Wrong
    }
    fn on_other(self) -> Holds {
        Holds::Wrong
    }
    fn on_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<Holds, A::Error> {
        skip_seq(seq).map(|_| Holds::Wrong)
    }
    fn on_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Holds, A::Error> {
        let Findings { refusal, measured } = self.findings;
        let (mut legacy_hnsw, mut keys, mut size) = (false, 0, Size::default());
        while let Some(Key(key)) = map.next_key()? {
            legacy_hnsw |= key.starts_with("hnsw:");
            keys += 1;
            size.bytes += key.len();
            let value = map.next_value_seed(Looking(Value(&mut size)))?;
            if matches!(value, ValueKind::Array) {
                measured.note_use(Feature::MetadataArrays);
            }
            if refusal.is_some() {
                continue;
            }
            if key.starts_with("chroma:") {
                *refusal = Some(Refusal::ReservedKey { key: shown(&key) });
            } else if let Some(refused) = refused(self.owner, value, &key) {
                *refusal = Some(refused);
            }
        }
        let (of_keys, of_bytes) = match self.owner {
            Owner::Record => (Limit::RecordMetadataKeys, Limit::RecordMetadataBytes),
            Owner::Collection => (Limit::CollectionMetadataKeys, Limit::CollectionMetadataBytes),
        };
        measured.note(of_keys, keys);
        measured.note(of_bytes, size.bytes);
        measured.note(Limit::RecordMetadataItems, size.items);
        Ok(Holds::Object { legacy_hnsw })
    }
}

fn refused(owner: Owner, value: ValueKind, key: &str) -> Option<Refusal> {
    match (value, owner) {
        (ValueKind::Plain, _) | (ValueKind::Array | ValueKind::Object, Owner::Record) => None,
        (ValueKind::Sparse, Owner::Record) => Some(Refusal::SparseVector { key: key.to_owned() }),
        (ValueKind::Array | ValueKind::Object | ValueKind::Sparse, Owner::Collection) => {
            Some(Refusal::CollectionMetadataValue { key: shown(key) })
        }
    }
}

/// Shortens a key for an error. A key can be as long as the body; its beginning is enough to recognize it.
fn shown(key: &str) -> String {
    key.chars().take(100).collect()
}

#[derive(Clone, Copy)]
enum ValueKind {
    Plain,
    Array,
    Object,
    /// An object with `indices` and `values`: Chroma reads it as a sparse vector, with or without `#type`.
    Sparse,
}

/// The size of one metadata object.
#[derive(Default)]
struct Size {
    /// The size of its keys and values as an instance stores them: a number counts eight bytes.
    bytes: usize,
    /// The items of all its arrays, which Chroma writes with one statement.
    items: usize,
}

struct Value<'a>(&'a mut Size);

/// The bytes of a number or a boolean.
const SCALAR_BYTES: usize = 8;

impl<'de> Look<'de> for Value<'_> {
    type Output = ValueKind;
    fn on_null(self) -> ValueKind {
        ValueKind::Plain
    }
    fn on_text(self, text: &str) -> ValueKind {
        self.0.bytes += text.len();
        ValueKind::Plain
    }
    fn on_other(self) -> ValueKind {
        self.0.bytes += SCALAR_BYTES;
        ValueKind::Plain
    }
    fn on_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<ValueKind, A::Error> {
        while seq.next_element_seed(Looking(ArrayItem(&mut *self.0)))?.is_some() {
            self.0.items += 1;
        }
        Ok(ValueKind::Array)
    }
    fn on_map<A: MapAccess<'de>>(self, mut map: A) -> Result<ValueKind, A::Error> {
        let (mut indices, mut values) = (false, false);
        while let Some(Key(key)) = map.next_key()? {
            indices |= key == "indices";
            values |= key == "values";
            if indices && values {
                map.next_value::<IgnoredAny>()?;
                skip_map(map)?;
                return Ok(ValueKind::Sparse);
            }
            map.next_value::<IgnoredAny>()?;
        }
        Ok(ValueKind::Object)
    }
}

/// An item of an array. A value that Chroma refuses here is only skipped.
struct ArrayItem<'a>(&'a mut Size);

impl<'de> Look<'de> for ArrayItem<'_> {
    type Output = ();
    fn on_null(self) {}
    fn on_text(self, text: &str) {
        self.0.bytes += text.len();
    }
    fn on_other(self) {
        self.0.bytes += SCALAR_BYTES;
    }
    fn on_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<(), A::Error> {
        skip_seq(seq).map(|_| ())
    }
    fn on_map<A: MapAccess<'de>>(self, map: A) -> Result<(), A::Error> {
        skip_map(map)
    }
}
