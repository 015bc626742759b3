//! Measures how far two copies that existed before the edge are apart, for the operator who decides between them.
//!
//! Decides nothing. It reads both copies once, within a limit, and keeps only the id and a hash of each record.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use http::Method;
use serde_json::Value;

use crate::clock;
use crate::coordinator::{Apart, Difference};
use crate::executor::{CollectionReader, PAGE};
use crate::ids::InstanceId;

/// The most records that are compared one by one. More are only counted.
const MOST: u64 = 100_000;
/// How long a result is valid.
const OFTEN: Duration = Duration::from_secs(60);

/// The two copies between which a comparison found a difference.
pub(super) struct Sides<'a> {
    pub served_by: InstanceId,
    pub served: &'a CollectionReader<'a>,
    pub other: &'a CollectionReader<'a>,
}

/// Returns how many records a copy has.
pub(super) async fn count(copy: &CollectionReader<'_>) -> Result<u64, String> {
    let answer = copy.send(Method::GET, format!("{}/count", copy.path), Value::Null).await?;
    serde_json::from_slice(&answer.body).map_err(|error| error.to_string())
}

/// Compares both copies. Returns the result from `before` instead if that is recent.
pub(super) async fn tally(sides: &Sides<'_>, before: Option<Difference>) -> Result<Difference, String> {
    // The comparison is repeated after each write.
    if let Some(before) = before.filter(|before| before.at.elapsed() < OFTEN) {
        return Ok(before);
    }
    let (served, records) = (count(sides.served).await?, count(sides.other).await?);
    let apart = match served.max(records) {
        ..=MOST => Some(apart(&hashes(sides.served).await?, hashes(sides.other).await?)),
        _ => None,
    };
    Ok(Difference { served_by: sides.served_by, served, records, apart, at: clock::now() })
}

fn apart(served: &HashMap<String, u64>, other: HashMap<String, u64>) -> Apart {
    let mut apart = Apart::default();
    let mut common = 0;
    for (id, hash) in other {
        match served.get(&id) {
            None => apart.only_here += 1,
            Some(same) => {
                common += 1;
                apart.different += u64::from(*same != hash);
            }
        }
    }
    apart.only_served = served.len() as u64 - common;
    apart
}

/// Returns a hash of each record, by its id.
async fn hashes(copy: &CollectionReader<'_>) -> Result<HashMap<String, u64>, String> {
    let mut found = HashMap::new();
    let mut offset = 0;
    loop {
        let page = copy.page(offset).await?;
        let ids = page["ids"].as_array().cloned().unwrap_or_default();
        for (at, id) in ids.iter().enumerate() {
            let mut hasher = DefaultHasher::new();
            for column in ["embeddings", "documents", "metadatas", "uris"] {
                page[column][at].to_string().hash(&mut hasher);
            }
            found.insert(id.as_str().unwrap_or_default().to_owned(), hasher.finish());
        }
        offset += ids.len();
        if ids.len() < PAGE {
            return Ok(found);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_told_apart_by_id_and_content() {
        let records = |list: &[(&str, u64)]| list.iter().map(|(id, hash)| ((*id).to_owned(), *hash)).collect();
        let served: HashMap<String, u64> = records(&[("a", 1), ("b", 2), ("c", 3)]);
        let found = apart(&served, records(&[("a", 1), ("b", 9), ("d", 4), ("e", 5)]));
        assert_eq!(found, Apart { only_served: 1, only_here: 2, different: 1 });
        assert_eq!(apart(&served, served.clone()), Apart::default());
    }
}
