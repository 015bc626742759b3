//! The bodies of get and query, measured before they are sent: a condition can kill a server in a read as well as in a delete.

use serde::de::{Deserializer, IgnoredAny, MapAccess, SeqAccess};
use serde_json::value::RawValue;

use super::condition::{Condition, Conditions, Field, Items};
use super::refusal::Refusal;
use super::visit::{Key, Look, Looking, skip_map, skip_seq};
use crate::chroma::limits::Measured;

/// Measures the body of a get or a query.
///
/// # Errors
/// The body cannot be read to its end. Chroma uses the same parser, so it refuses the body too.
pub fn scan_read(body: &[u8]) -> Result<Measured, Refusal> {
    let mut found = Found::default();
    let mut json = serde_json::Deserializer::from_slice(body);
    let read = json.deserialize_any(Looking(Body(&mut found))).and_then(|()| json.end());
    read.map_err(|error| Refusal::unreadable(&error))?;
    let mut measured = Measured::default();
    found.conditions.measure(found.ids, &mut measured);
    let sizes = measured.sizes_mut();
    // A get without a limit returns everything it finds, and every client sends such gets.
    let limit = found.limit.unwrap_or(if found.vectors > 0 { QUERY_RESULTS } else { found.ids as u64 });
    sizes.results = limit.saturating_mul(found.vectors.max(1) as u64);
    sizes.asks_for_none = found.none;
    sizes.note_dimension(found.dimension);
    Ok(measured)
}

/// Chroma's default for `n_results`.
const QUERY_RESULTS: u64 = 10;

#[derive(Default)]
struct Found {
    conditions: Conditions,
    ids: usize,
    /// The highest `limit` or `n_results`.
    limit: Option<u64>,
    /// Whether `n_results` is 0.
    none: bool,
    vectors: usize,
    dimension: usize,
}

struct Body<'a>(&'a mut Found);

impl<'de> Look<'de> for Body<'_> {
    type Output = ();
    fn on_null(self) {}
    fn on_text(self, _: &str) {}
    fn on_other(self) {}
    fn on_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<(), A::Error> {
        skip_seq(seq).map(|_| ())
    }
    fn on_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let found = self.0;
        while let Some(Key(key)) = map.next_key()? {
            let field = match key.as_ref() {
                "ids" => {
                    found.ids += map.next_value_seed(Looking(Items))?;
                    continue;
                }
                name @ ("limit" | "n_results") => {
                    let value: Box<RawValue> = map.next_value()?;
                    let value: Option<u64> = serde_json::from_str(value.get()).ok();
                    found.none |= name == "n_results" && value == Some(0);
                    found.limit = found.limit.max(value);
                    continue;
                }
                "query_embeddings" => {
                    map.next_value_seed(Looking(Vectors(&mut *found)))?;
                    continue;
                }
                "where" => Field::Where,
                "where_document" => Field::WhereDocument,
                _ => {
                    map.next_value::<IgnoredAny>()?;
                    continue;
                }
            };
            map.next_value_seed(Looking(Condition { field, found: &mut found.conditions }))?;
        }
        Ok(())
    }
}

/// The vectors of a query: their number and length.
struct Vectors<'a>(&'a mut Found);

impl<'de> Look<'de> for Vectors<'_> {
    type Output = ();
    fn on_null(self) {}
    fn on_text(self, _: &str) {}
    fn on_other(self) {}
    fn on_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        while let Some(dimension) = seq.next_element_seed(Looking(Items))? {
            self.0.vectors += 1;
            self.0.dimension = self.0.dimension.max(dimension);
        }
        Ok(())
    }
    fn on_map<A: MapAccess<'de>>(self, map: A) -> Result<(), A::Error> {
        skip_map(map)
    }
}
