//! The answer to a delete: it contains the number of removed records, which only the first execution knows.
//!
//! It decides whether a repetition can know the number. `order/` decides which instance repeats what.

use bytes::Bytes;
use serde::Deserialize;
use serde::de::IgnoredAny;

/// The fields of a delete that make its number depend on what the collection holds.
#[derive(Deserialize)]
struct Conditions {
    #[serde(rename = "where")]
    metadata: Option<IgnoredAny>,
    where_document: Option<IgnoredAny>,
}

/// Returns whether the delete removes the records that match a condition. Its work is then bounded by the collection,
/// not by the request, and its number is that of the records found, so a repetition finds none. For a delete by ids
/// alone, Chroma counts the ids that were sent.
pub fn deletes_by_condition(body: &[u8]) -> bool {
    let object = body.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'{');
    match serde_json::from_slice::<Conditions>(body) {
        Ok(conditions) if object => conditions.metadata.is_some() || conditions.where_document.is_some(),
        // It could not be read, so it may be anything.
        Ok(_) | Err(_) => true,
    }
}

/// The answer to a delete without a number, as sent by every Chroma before 1.5. All clients accept it.
pub fn deleted_unknown() -> Bytes {
    Bytes::from_static(b"{}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_delete_by_ids_alone_is_bounded_and_known() {
        for ids in [r#"{"ids":["a","b"]}"#, r#" {"ids":["a"],"where":null,"where_document":null,"x":1e400}"#, "{}"] {
            assert!(!deletes_by_condition(ids.as_bytes()), "{ids}");
        }
        for by_condition in [
            r#"{"where":{"k":1}}"#,
            r#"{"ids":["a"],"where_document":{"$contains":"x"}}"#,
            r#"{"ids":["a"],"\u0077here":{"k":1}}"#,
            r#"[["a"],null,null]"#,
            "what is this",
            r#"{"where":null,"where":{"k":1}}"#,
        ] {
            assert!(deletes_by_condition(by_condition.as_bytes()), "{by_condition}");
        }
    }
}
