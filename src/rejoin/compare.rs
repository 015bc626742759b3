//! Comparing one collection on two instances, record by record, so that a diverged instance whose content is equal
//! can be admitted again. Nothing is copied.

use std::time::Duration;

use serde_json::Value;

use crate::chroma::{definition_difference, name_difference};
use crate::coordinator::Core;
use crate::executor::{CollectionReader, PAGE, reader};
use crate::instance::Client;
use crate::order::Comparison;

/// What a comparison found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Found {
    Equal {
        records: usize,
    },
    Different(String),
    /// One of them did not answer as it should: try again later.
    Unclear(String),
}

/// Compares definition and content. The caller has made sure that neither is being written to.
pub(super) async fn compare(core: &Core, client: &Client, comparison: &Comparison, deadline: Duration) -> Found {
    let (Some(reference), Some(other)) = (
        reader(core, client, comparison.collection, comparison.reference, deadline),
        reader(core, client, comparison.collection, comparison.instance, deadline),
    ) else {
        return Found::Unclear("the collection is not mapped on both".to_owned());
    };
    compare_sides(&reference, &other).await.unwrap_or_else(Found::Unclear)
}

async fn compare_sides(reference: &CollectionReader<'_>, other: &CollectionReader<'_>) -> Result<Found, String> {
    // Chroma can have committed a write that it shows only after the next one to that collection.
    other.flush().await?;
    let (ours, theirs) = (reference.shown().await?, other.shown().await?);
    // A server that came back older may have missed a renaming.
    if let Some(difference) = definition_difference(&ours, &theirs).or_else(|| name_difference(&ours, &theirs)) {
        return Ok(Found::Different(format!("definitions differ: {difference}")));
    }
    let mut offset = 0;
    loop {
        let (ours, theirs) = (reference.page(offset).await?, other.page(offset).await?);
        if ours != theirs {
            return Ok(Found::Different(format!("records differ from number {offset} on")));
        }
        let read = ours.get("ids").and_then(Value::as_array).map_or(0, Vec::len);
        offset += read;
        if read < PAGE {
            return Ok(Found::Equal { records: offset });
        }
    }
}
