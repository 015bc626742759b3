//! What a scan records of a request besides the limited numbers: how many records it concerns, how it names them, and
//! which index it defines. [`shape`](super::shape) combines all of it.

use uuid::Uuid;

use crate::order::Conditions;

/// The out-of-the-ordinary part of a collection's index definition. Equal definitions compare equal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct IndexShape(u64);

impl IndexShape {
    pub const ORDINARY: IndexShape = IndexShape(0);

    /// Adds one more setting out of the ordinary. The order of settings does not matter.
    pub(in crate::chroma) fn and(self, name: &str, value: &str) -> IndexShape {
        // FNV-1a. The sum is never 0, and an even number of equal settings still differs from none.
        let bytes = name.bytes().chain([0]).chain(value.bytes());
        let hash = bytes
            .fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
        IndexShape(self.0.wrapping_add(hash).max(1))
    }

    /// The index of a collection that was never seen: not ordinary, and like no other.
    pub fn unknown(collection: Uuid) -> IndexShape {
        IndexShape::ORDINARY.and("unknown", &collection.to_string())
    }

    /// A definition changed by another.
    #[must_use]
    pub fn changed(self, by: IndexShape) -> IndexShape {
        IndexShape(self.0.wrapping_add(by.0))
    }
}

/// What a scan has found in a request besides the limited numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Sizes {
    pub documents: u64,
    pub dimension: u64,
    pub results: u64,
    /// A query for no results at all.
    pub asks_for_none: bool,
    pub conditions: Conditions,
    /// The index that the request defines, in part or whole.
    pub index: IndexShape,
}

impl Sizes {
    pub(super) fn note_dimension(&mut self, dimension: usize) {
        self.dimension = self.dimension.max(u64::try_from(dimension).unwrap_or(u64::MAX));
    }
}
