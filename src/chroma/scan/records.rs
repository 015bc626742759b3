//! The bodies of add, update, upsert and delete.

use serde::de::{Deserializer, IgnoredAny, MapAccess, SeqAccess};

use super::column::{Column, ColumnState, Item, Items};
use super::condition::{Condition, Conditions, Field};
use super::metadata::Findings;
use super::refusal::Refusal;
use super::visit::{Key, Look, Looking, is_array, skip_map, skip_seq};
use crate::chroma::limits::Measured;
use crate::order::{Conditions as ConditionClass, Encoding, Kind, Merge, Profile};

/// The contents of a record write's body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scan {
    /// The kind of the path, or `DeleteLimited` for a delete with a limit.
    pub kind: Kind,
    /// Rule R9. Also `None` for a body that Chroma will refuse.
    pub merge: Option<Merge>,
    pub dimension: Dimension,
    /// For the limits.
    pub measured: Measured,
}

impl Scan {
    /// Returns the entry's profile for a body of this length: with normal priority, and vouched for.
    pub const fn profile(&self, bytes: u64) -> Profile {
        Profile { merge: self.merge, ..Profile::of(self.kind, bytes) }
    }
}

/// Whether the write sets its collection's dimension, if it is applied and the collection has none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Dimension {
    Sets,
    Leaves,
}

/// Scans the body of a record write; `kind` is the path's.
///
/// A body that cannot be read to its end is refused: the unread part may contain anything. A complete body that Chroma
/// refuses by itself, without a trace, gets a scan that is not mergeable. The headers matter only for merging: Chroma
/// looks at the content type, never at the encoding.
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
    let deletes = matches!(kind, Kind::Delete | Kind::DeleteLimited);
    let mut found = Found::default();
    let fields = if deletes { Fields::Delete } else { Fields::Records };
    let mut json = serde_json::Deserializer::from_slice(body);
    let read = json.deserialize_any(Looking(Body { found: &mut found, fields })).and_then(|()| json.end());
    // A delete may name an empty id, which no record has.
    if let Some(refusal) = found.findings.refusal.take().filter(|_| !deletes) {
        return Err(refusal);
    }
    read.map_err(|error| Refusal::unreadable(&error))?;
    if let Some(found) = found.no_object {
        return Err(Refusal::WrongType { error: format!("invalid type: {found}, expected struct {payload}") });
    }
    if deletes {
        // Chroma refuses a limit without a condition, without a trace: let it answer.
        let conditional = found.conditions.any();
        let kind = if found.limit && conditional { Kind::DeleteLimited } else { Kind::Delete };
        let mut measured = found.findings.measured;
        let ids = found.columns[IDS].items;
        // Without a condition the ids are not looked up, so SQLite does not limit their number.
        found.conditions.measure(if conditional { ids } else { 0 }, &mut measured);
        let sizes = measured.sizes_mut();
        sizes.documents = ids as u64;
        if !conditional && ids > 0 {
            sizes.conditions = ConditionClass::Ids;
        }
        return Ok(Scan { kind, merge: None, dimension: Dimension::Leaves, measured });
    }
    if found.is_inconsistent(kind) {
        return Err(Refusal::Inconsistent);
    }
    let plain = content_type.is_none_or(is_json) && content_encoding.is_none_or(|coding| coding.trim().is_empty());
    let merge = if plain { found.merge(kind) } else { None };
    let mut measured = found.findings.measured;
    measured.sizes_mut().documents = found.columns.iter().map(|column| column.items as u64).max().unwrap_or(0);
    Ok(Scan { kind, merge, dimension: found.dimension(), measured })
}

fn is_json(content_type: &str) -> bool {
    let essence = content_type.split_once(';').map_or(content_type, |(essence, _)| essence);
    essence.trim().eq_ignore_ascii_case("application/json")
}

/// The arrays of a body, as indexes of [`Found::columns`].
const IDS: usize = 0;
const EMBEDDINGS: usize = 1;
const DOCUMENTS: usize = 2;
const METADATAS: usize = 3;
const URIS: usize = 4;

#[derive(Default)]
struct Found {
    columns: [Column; 5],
    seen: [bool; 5],
    /// A known field appears twice, so Chroma refuses the body.
    repeated: bool,
    /// The type of the body, if it is no object.
    no_object: Option<&'static str>,
    limit: bool,
    conditions: Conditions,
    findings: Findings,
}

impl Found {
    /// Returns whether Chroma accepts the type of every field.
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
            && !self.repeated
            && self.columns[IDS].state == ColumnState::Present
            && self.columns.iter().all(|column| column.state != ColumnState::Wrong)
    }

    fn is_inconsistent(&self, kind: Kind) -> bool {
        let ids = self.columns[IDS].items;
        self.is_well_typed(kind)
            && self.columns.iter().any(|column| column.state == ColumnState::Present && column.items != ids)
    }

    /// Returns what rule R9 needs to know of a complete body whose lengths agree.
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

/// The fields of a body that Chroma knows. All others are skipped, as Chroma skips them: their values are not checked,
/// however deep, long or wrong they are.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fields {
    /// Of add, update and upsert.
    Records,
    Delete,
}

/// The outermost value.
struct Body<'a> {
    found: &'a mut Found,
    fields: Fields,
}

impl<'de> Look<'de> for Body<'_> {
    type Output = ();
    fn on_null(self) {
        self.found.no_object = Some("null");
    }
    fn on_text(self, _: &str) {
        self.found.no_object = Some("string");
    }
    fn on_other(self) {
        self.found.no_object = Some("number or boolean");
    }
    fn on_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<(), A::Error> {
        self.found.no_object = Some("sequence");
        skip_seq(seq).map(|_| ())
    }
    fn on_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let Body { found, fields } = self;
        while let Some(Key(key)) = map.next_key()? {
            let (field, item) = match (fields, key.as_ref()) {
                (_, "ids") => (IDS, Item::Id),
                (Fields::Records, "embeddings") => (EMBEDDINGS, Item::Embedding),
                (Fields::Records, "documents") => (DOCUMENTS, Item::Text),
                (Fields::Records, "metadatas") => (METADATAS, Item::Metadata),
                (Fields::Records, "uris") => (URIS, Item::Text),
                (Fields::Delete, "limit") => {
                    found.limit |= map.next_value_seed(Looking(IsSomething))?;
                    continue;
                }
                (Fields::Delete, key @ ("where" | "where_document")) => {
                    let field = if key == "where" { Field::Where } else { Field::WhereDocument };
                    map.next_value_seed(Looking(Condition { field, found: &mut found.conditions }))?;
                    continue;
                }
                _ => {
                    map.next_value::<IgnoredAny>()?;
                    continue;
                }
            };
            found.repeated |= std::mem::replace(&mut found.seen[field], true);
            found.columns[field] = map.next_value_seed(Looking(Items { item, findings: &mut found.findings }))?;
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
