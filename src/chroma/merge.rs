//! Merges several requests of one kind into one request.
//!
//! Chroma applies the contents of a request in order, so the concatenation means the same as the requests one after
//! another. Elements are copied as text, so no number changes. Rule R9, which the scan checks before, decides which
//! requests may share one.

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::order::Kind;

type Column<'a> = Option<Vec<&'a RawValue>>;

#[derive(Deserialize)]
struct Records<'a> {
    #[serde(borrow)]
    ids: Vec<&'a RawValue>,
    #[serde(borrow, default)]
    embeddings: Column<'a>,
    #[serde(borrow, default)]
    documents: Column<'a>,
    #[serde(borrow, default)]
    metadatas: Column<'a>,
    #[serde(borrow, default)]
    uris: Column<'a>,
}

/// Returns the body of one request equivalent to these in this order. If some lack an array, their part of it becomes a
/// run of nulls, which Chroma reads as absent. Returns `None` for bodies that the scan would not call mergeable, for a
/// kind that is never merged, and for text that is not UTF-8: send those one by one.
pub fn merge(kind: Kind, bodies: &[&[u8]]) -> Option<Vec<u8>> {
    if !matches!(kind, Kind::Add | Kind::Update | Kind::Upsert) || bodies.is_empty() {
        return None;
    }
    let requests: Vec<Records<'_>> =
        bodies.iter().map(|body| serde_json::from_slice(body).ok()).collect::<Option<_>>()?;
    if kind != Kind::Update && requests.iter().any(|request| request.embeddings.is_none()) {
        return None;
    }
    let mut merged = Vec::with_capacity(bodies.iter().map(|body| body.len() + 64).sum());
    merged.extend_from_slice(b"{\"ids\":[");
    let ids: Vec<&RawValue> = requests.iter().flat_map(|request| request.ids.iter().copied()).collect();
    push_items(&mut merged, ids.into_iter().map(RawValue::get));
    merged.push(b']');
    push_column(&mut merged, "embeddings", &requests, |request| &request.embeddings)?;
    push_column(&mut merged, "documents", &requests, |request| &request.documents)?;
    push_column(&mut merged, "metadatas", &requests, |request| &request.metadatas)?;
    push_column(&mut merged, "uris", &requests, |request| &request.uris)?;
    merged.push(b'}');
    Some(merged)
}

fn push_column<'r, 'a>(
    merged: &mut Vec<u8>,
    name: &str,
    requests: &'r [Records<'a>],
    column: impl Fn(&'r Records<'a>) -> &'r Column<'a>,
) -> Option<()> {
    if requests.iter().all(|request| column(request).is_none()) {
        return Some(());
    }
    let mut items: Vec<&str> = Vec::new();
    for request in requests {
        match column(request) {
            Some(values) if values.len() == request.ids.len() => items.extend(values.iter().map(|value| value.get())),
            Some(_) => return None,
            None => items.extend(std::iter::repeat_n("null", request.ids.len())),
        }
    }
    merged.extend_from_slice(b",\"");
    merged.extend_from_slice(name.as_bytes());
    merged.extend_from_slice(b"\":[");
    push_items(merged, items.into_iter());
    merged.push(b']');
    Some(())
}

fn push_items<'a>(merged: &mut Vec<u8>, items: impl Iterator<Item = &'a str>) {
    for (index, item) in items.enumerate() {
        if index > 0 {
            merged.push(b',');
        }
        merged.extend_from_slice(item.as_bytes());
    }
}

#[cfg(test)]
#[path = "merge_tests.rs"]
mod tests;
