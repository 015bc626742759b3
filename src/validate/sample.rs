//! Records to write: deterministic, with awkward values that are most easily lost.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::content::Record;

pub const DIMENSION: u16 = 8;

/// Returns the n-th plain record of a document group.
pub fn chunk(group: &str, n: u16) -> Record {
    let metadata = [("document_id", json!(group)), ("chunk", json!(n)), ("even", json!(n.is_multiple_of(2)))];
    Record {
        id: format!("{group}::{n}"),
        document: Some(format!("chunk {n} of {group}")),
        metadata: metadata.map(|(key, value)| (key.to_owned(), value)).into(),
        uri: None,
        embedding: vector(n),
    }
}

/// Returns the first `count` records of a group.
pub fn chunks(group: &str, count: u16) -> Vec<Record> {
    (0..count).map(|n| chunk(group, n)).collect()
}

/// Returns a different vector for every number.
pub fn vector(n: u16) -> Vec<f32> {
    let tenth = |k: u16| f32::from((n * 7 + k * 13) % 101) / 10.0;
    (0..DIMENSION).map(|k| tenth(k) + if k == n % DIMENSION { 1.0 } else { 0.0 }).collect()
}

/// Returns metadata with every type that a record can have.
pub fn every_type() -> BTreeMap<String, Value> {
    let values = [
        ("text", json!("plain")),
        ("unicode", json!("zażółć 日本語 🌑 \"quoted\"\nline")),
        ("empty", json!("")),
        ("integer", json!(-7)),
        ("large", json!(9_007_199_254_740_993_i64)),
        ("float", json!(0.1)),
        ("whole", json!(2.0)),
        ("yes", json!(true)),
        ("no", json!(false)),
    ];
    values.map(|(key, value)| (key.to_owned(), value)).into()
}

/// Returns records with different fields, and with values that are easily rounded, trimmed or lost.
pub fn awkward() -> Vec<Record> {
    let extremes = vec![-0.0, f32::MIN_POSITIVE, 1.0e-45, 1.0e18, 0.1, 1.0 / 3.0, -1.0e-7, 16_777_217.0];
    vec![
        Record { id: "bare".into(), embedding: vector(50), ..Record::default() },
        Record { id: "typed".into(), metadata: every_type(), embedding: vector(51), ..Record::default() },
        Record { id: "extremes".into(), embedding: extremes, ..Record::default() },
        Record { id: "unicode ✓ / % ?".into(), document: Some("тест 🌑\u{0}end".into()), ..chunk("u", 52) },
        Record { id: "uri".into(), uri: Some("file:///a%20b?c#d".into()), ..chunk("u", 53) },
        Record { id: "empty".into(), document: Some(String::new()), embedding: vector(54), ..Record::default() },
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_vectors_are_equal() {
        let mut all: Vec<String> = (0..100).map(|n| format!("{:?}", vector(n))).collect();
        all.sort();
        all.dedup();
        assert_eq!(all.len(), 100);
    }
}
