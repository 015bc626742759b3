//! The bodies of add, update, upsert and delete.

use serde::de::{Deserializer, IgnoredAny, MapAccess, SeqAccess};

use super::column::{Column, ColumnState, Item, Items};
use super::refusal::Refusal;
use super::visit::{Key, Look, Looking, is_array, skip_map, skip_seq};
use crate::order::{Encoding, Kind, Merge, Priority, Profile};

/// What a record write's body says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scan {
    /// The kind asked for; `DeleteLimited` when a delete has a limit.
    pub kind: Kind,
    /// Rule R9. `None` also for a body that Chroma will refuse.
    pub merge: Option<Merge>,
    pub dimension: Dimension,
}

impl Scan {
    /// The entry's profile, for a body of this length, of normal priority.
    pub const fn profile(&self, bytes: u64) -> Profile {
        Profile { kind: self.kind, merge: self.merge, bytes, priority: Priority::Normal }
    }
}

/// Whether the write gives its collection a dimension, if applied and the collection has none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Dimension {
    Sets,
    Leaves,
}

/// Scans the body of a record write; `kind` is the path's.
///
/// Nothing is refused here that Chroma refuses by itself without a trace: such a body gets a scan that is not
/// mergeable. The headers matter only for merging: Chroma looks at the content type, never at the encoding.
pub fn scan_records(
    kind: Kind,
    body: &[u8],
    content_type: Option<&str>,
    content_encoding: Option<&str>,
) -> Result<Scan, Refusal> {
    let payload = match kind {
        Kind::Add => "AddCollectionRecordsPayload",
        Kind::Update => "UpdateCollectionRecordsPayload",
        Kind::Upsert => "UpsertCollectionRecordsPayload",
        _ => "DeleteCollectionRecordsPayload",
    };
    if is_array(body) {
        return Err(Refusal::ArrayBody { payload });
    }
    let mut found = Found::default();
    let mut json = serde_json::Deserializer::from_slice(body);
    let complete = json.deserialize_any(Looking(Body(&mut found))).and_then(|()| json.end()).is_ok();
    if kind == Kind::Delete || kind == Kind::DeleteLimited {
        // A limit without a condition is refused by Chroma, without a trace: let it answer.
        let kind = if found.limit && found.condition { Kind::DeleteLimited } else { Kind::Delete };
        return Ok(Scan { kind, merge: None, dimension: Dimension::Leaves });
    }
    if let Some(refusal) = found.refusal.take() {
        return Err(refusal);
    }
    if complete && found.is_inconsistent(kind) {
        return Err(Refusal::Inconsistent);
    }
    let plain = content_type.is_none_or(is_json) && content_encoding.is_none_or(|coding| coding.trim().is_empty());
    let merge = if complete && plain { found.merge(kind) } else { None };
    Ok(Scan { kind, merge, dimension: found.dimension() })
}

fn is_json(content_type: &str) -> bool {
    let essence = content_type.split_once(';').map_or(content_type, |(essence, _)| essence);
    essence.trim().eq_ignore_ascii_case("application/json")
}

/// The arrays of a body, as indices of [`Found::columns`].
const IDS: usize = 0;
const EMBEDDINGS: usize = 1;
const DOCUMENTS: usize = 2;
const METADATAS: usize = 3;
const URIS: usize = 4;

#[derive(Default)]
struct Found {
    columns: [Column; 5],
    seen: [bool; 5],
    /// Chroma refuses the body's shape: a known field twice, or no object at all.
    misshapen: bool,
    limit: bool,
    condition: bool,
    refusal: Option<Refusal>,
}

impl Found {
    /// Chroma reads the body without complaint about any field's type.
    fn is_well_typed(&self, kind: Kind) -> bool {
        let embeddings = &self.columns[EMBEDDINGS];
        let embeddings_fit = match embeddings.state {
            ColumnState::Absent => kind == Kind::Update,
            ColumnState::Present => {
                (embeddings.arrays == 0 || embeddings.texts == 0) && (embeddings.nulls == 0 || kind == Kind::Update)
            }
            ColumnState::Wrong => false,
        };
        embeddings_fit
            && !self.misshapen
            && self.columns[IDS].state == ColumnState::Present
            && self.columns.iter().all(|column| column.state != ColumnState::Wrong)
    }

    fn is_inconsistent(&self, kind: Kind) -> bool {
        let ids = self.columns[IDS].items;
        self.is_well_typed(kind)
            && self.columns.iter().any(|column| column.state == ColumnState::Present && column.items != ids)
    }

    /// Rule R9, for a complete body whose lengths agree.
    fn merge(&self, kind: Kind) -> Option<Merge> {
        let (ids, embeddings) = (&self.columns[IDS], &self.columns[EMBEDDINGS]);
        if !self.is_well_typed(kind) || ids.items == 0 || embeddings.nulls > 0 {
            return None;
        }
        let encoding = match (embeddings.state, embeddings.texts) {
            (ColumnState::Present, 0) => Encoding::Floats,
            (ColumnState::Present, _) => Encoding::Base64,
            _ => Encoding::Absent,
        };
        Some(Merge { docs: u32::try_from(ids.items).ok()?, encoding })
    }

    fn dimension(&self) -> Dimension {
        let embeddings = &self.columns[EMBEDDINGS];
        if embeddings.items > embeddings.nulls { Dimension::Sets } else { Dimension::Leaves }
    }
}

/// The outermost value.
struct Body<'a>(&'a mut Found);

impl<'de> Look<'de> for Body<'_> {
    type Output = ();
    fn on_null(self) {
        self.0.misshapen = true;
    }
    fn on_text(self, _: &str) {
        self.0.misshapen = true;
    }
    fn on_other(self) {
        self.0.misshapen = true;
    }
    fn on_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<(), A::Error> {
        self.0.misshapen = true;
        skip_seq(seq).map(|_| ())
    }
    fn on_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let found = self.0;
        while let Some(Key(key)) = map.next_key()? {
            let (field, item) = match key.as_ref() {
                "ids" => (IDS, Item::Id),
                "embeddings" => (EMBEDDINGS, Item::Embedding),
                "documents" => (DOCUMENTS, Item::Text),
                "metadatas" => (METADATAS, Item::Metadata),
                "uris" => (URIS, Item::Text),
                "limit" => {
                    found.limit |= map.next_value_seed(Looking(IsSomething))?;
                    continue;
                }
                "where" | "where_document" => {
                    found.condition |= map.next_value_seed(Looking(IsSomething))?;
                    continue;
                }
                _ => {
                    map.next_value::<IgnoredAny>()?;
                    continue;
                }
            };
            found.misshapen |= std::mem::replace(&mut found.seen[field], true);
            found.columns[field] = map.next_value_seed(Looking(Items { item, refusal: &mut found.refusal }))?;
        }
        Ok(())
    }
}

/// Whether a value is anything but null.
struct IsSomething;

impl<'de> Look<'de> for IsSomething {
    type Output = bool;
    fn on_null(self) -> bool {
        false
    }
    fn on_text(self, _: &str) -> bool {
        true
    }
    fn on_other(self) -> bool {
        true
    }
    fn on_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<bool, A::Error> {
        skip_seq(seq).map(|_| true)
    }
    fn on_map<A: MapAccess<'de>>(self, map: A) -> Result<bool, A::Error> {
        skip_map(map).map(|()| true)
    }
}

#[cfg(test)]
#[path = "records_tests.rs"]
mod tests;
