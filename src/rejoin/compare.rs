//! Compares one collection on two instances, record by record, so that a diverged instance whose content is equal can
//! be admitted again. Nothing is copied.

use std::time::Duration;

use serde_json::Value;

use super::tally::{Sides, count, tally};
use crate::chroma::{definition_difference, name_difference};
use crate::coordinator::{Core, Difference};
use crate::executor::{CollectionReader, PAGE, reader};
use crate::instance::Client;
use crate::order::{Comparison, Origin};
use crate::proof::{self, Rule};

/// The result of a comparison.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Found {
    Equal {
        records: usize,
    },
    Different {
        why: String,
        /// Set for copies that existed before the edge.
        difference: Option<Difference>,
    },
    /// One of them did not answer as it should: try again later.
    Unclear(String),
}

/// Compares definition and content. The caller has made sure that neither is being written to.
pub(super) async fn compare(core: &Core, client: &Client, comparison: &Comparison, deadline: Duration) -> Found {
    if proof::broken(Rule::CompareFirst) {
        return Found::Equal { records: 0 };
    }
    let (Some(reference), Some(other)) = (
        reader(core, client, comparison.collection, comparison.reference, deadline),
        reader(core, client, comparison.collection, comparison.instance, deadline),
    ) else {
        return Found::Unclear("the collection is not mapped on both".to_owned());
    };
    let found = compare_sides(&reference, &other).await.unwrap_or_else(Found::Unclear);
    let Comparison { collection, instance, reference: served_by, .. } = *comparison;
    let origin = core.board().catalog().get(collection).map(|known| known.origin);
    match found {
        Found::Different { why, .. } if origin == Some(Origin::Adopted) => {
            let sides = Sides { served_by, served: &reference, other: &other };
            let before = core.discovery().differences().get(collection, instance);
            match tally(&sides, before).await {
                Ok(difference) => Found::Different { why, difference: Some(difference) },
                Err(why) => Found::Unclear(why),
            }
        }
        found => found,
    }
}

/// Returns whether every copy but this one is empty, including the one that is served. Then no operator has to decide.
pub(super) async fn is_the_only_full_one(
    core: &Core,
    client: &Client,
    comparison: &Comparison,
    deadline: Duration,
) -> bool {
    for other in core.registry().ids().filter(|other| *other != comparison.instance) {
        if core.board().catalog().mapping(comparison.collection, other).is_none() {
            continue;
        }
        let Some(copy) = reader(core, client, comparison.collection, other, deadline) else { return false };
        // A committed write may not be visible yet.
        if copy.flush().await.is_err() || count(&copy).await != Ok(0) {
            return false;
        }
    }
    true
}

async fn compare_sides(reference: &CollectionReader<'_>, other: &CollectionReader<'_>) -> Result<Found, String> {
    // Chroma may have committed a write that it shows only after the next one to that collection.
    other.flush().await?;
    let (ours, theirs) = (reference.shown().await?, other.shown().await?);
    // A server that came back older may have missed a renaming.
    if let Some(difference) = definition_difference(&ours, &theirs).or_else(|| name_difference(&ours, &theirs)) {
        return Ok(Found::Different { why: format!("definitions differ: {difference}"), difference: None });
    }
    let mut offset = 0;
    loop {
        let (ours, theirs) = (reference.page(offset).await?, other.page(offset).await?);
        if ours != theirs {
            let number = offset + common_records(&ours, &theirs);
            return Ok(Found::Different { why: format!("records differ from number {number} on"), difference: None });
        }
        let read = ours.get("ids").and_then(Value::as_array).map_or(0, Vec::len);
        offset += read;
        if read < PAGE {
            return Ok(Found::Equal { records: offset });
        }
    }
}

/// Returns how many records at the beginning of both pages are the same.
fn common_records(ours: &Value, theirs: &Value) -> usize {
    let columns = || ours.as_object().into_iter().flatten();
    let same = |index: &usize| columns().all(|(name, column)| column.get(*index) == theirs[name].get(*index));
    let read = ours.get("ids").and_then(Value::as_array).map_or(0, Vec::len);
    (0..read).take_while(same).count()
}
