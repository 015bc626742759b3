//! What a scan notes of a request besides the limited numbers: how many records it concerns, how it names them, and which
//! index it defines. [`shape`](super::shape) puts all of it together.

use uuid::Uuid;

use crate::order::Conditions;

/// The index definition of a collection, as far as it is out of the ordinary: equal definitions are equal here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct IndexShape(u64);

impl IndexShape {
    pub const ORDINARY: IndexShape = IndexShape(0);

    /// With one more setting out of the ordinary, whatever their order.
    pub(in crate::chroma) fn and(self, name: &str, value: &str) -> IndexShape {
        // FNV-1a. Never 0 together: an even number of equal settings still differs from none.
        let bytes = name.bytes().chain([0]).chain(value.bytes());
        let hash = bytes
            .fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
        IndexShape(self.0.wrapping_add(hash).max(1))
    }

    /// The index of a collection that nobody has seen yet: not ordinary, and like no other.
    pub fn unknown(collection: Uuid) -> IndexShape {
        IndexShape::ORDINARY.and("unknown", &collection.to_string())
    }

    /// A definition changed by another.
    #[must_use]
    pub fn changed(self, by: IndexShape) -> IndexShape {
        IndexShape(self.0.wrapping_add(by.0))
    }
}

/// What a scan has seen of a request besides what is limited.
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
