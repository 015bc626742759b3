//! The ids of the records in the body of a journaled write. Every instance refuses a body that cannot be read here.

use serde::Deserialize;

#[derive(Deserialize)]
struct Ids {
    #[serde(default)]
    ids: Option<Vec<String>>,
}

/// Returns the ids in the body, in order; none if it selects records in another way or cannot be read.
pub fn ids_in(body: &[u8]) -> Vec<String> {
    serde_json::from_slice::<Ids>(body).ok().and_then(|body| body.ids).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_come_from_the_body_whatever_else_it_holds() {
        assert_eq!(ids_in(br#"{"ids":["a","b"],"embeddings":[[1e400]]}"#), ["a", "b"]);
        for none in [&br#"{"ids":null}"#[..], br#"{"where":{"k":1}}"#, b"nonsense"] {
            assert!(ids_in(none).is_empty());
        }
    }
}
