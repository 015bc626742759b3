//! One metadata object: its keys, and the values that an instance must not see.
//!
//! Every occurrence of a key is looked at, so that a duplicate cannot hide one.

use serde::de::{IgnoredAny, MapAccess, SeqAccess};

use super::refusal::Refusal;
use super::visit::{Key, Look, Looking, skip_map, skip_seq};

/// Whose metadata it is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Owner {
    /// Arrays of scalars are fine; Chroma refuses every object but a sparse vector without a trace.
    Record,
    /// Arrays, and sparse vectors, make Chroma's handler panic.
    Collection,
}

/// What a metadata position holds.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Holds {
    Object {
        legacy_hnsw: bool,
    },
    Null,
    /// Chroma refuses it: wrong type.
    Wrong,
}

/// Looks at a metadata object; the first refusal found stays in `refusal`.
pub(super) struct Metadata<'a> {
    pub(super) owner: Owner,
    pub(super) refusal: &'a mut Option<Refusal>,
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
        let mut legacy_hnsw = false;
        while let Some(Key(key)) = map.next_key()? {
            legacy_hnsw |= key.starts_with("hnsw:");
            let value = map.next_value_seed(Looking(Value))?;
            if self.refusal.is_some() {
                continue;
            }
            if key.starts_with("chroma:") {
                *self.refusal = Some(Refusal::ReservedKey { key: shown(&key) });
            } else if let Some(refusal) = refused(self.owner, value, &key) {
                *self.refusal = Some(refusal);
            }
        }
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

/// A key can be as long as a body; its beginning is enough to recognise it.
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

struct Value;

impl<'de> Look<'de> for Value {
    type Output = ValueKind;
    fn on_null(self) -> ValueKind {
        ValueKind::Plain
    }
    fn on_text(self, _: &str) -> ValueKind {
        ValueKind::Plain
    }
    fn on_other(self) -> ValueKind {
        ValueKind::Plain
    }
    fn on_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<ValueKind, A::Error> {
        skip_seq(seq).map(|_| ValueKind::Array)
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
