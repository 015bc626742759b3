//! How a marker is stored on a server (rule R16): as the metadata of one collection, in a database of the edge's own.
//!
//! Chroma keeps everything in one SQLite file and commits in order: wherever the marker is, so is everything committed
//! before it.

use serde::Deserialize;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::ids::{InstanceName, Seq};
use crate::order::{Generation, Marker};

/// The name of the marker's collection.
pub const MARKER_NAME: &str = "marker";

/// The name of a collection beside it that records who wipes the server. An edge that finds its own record continues the wipe.
pub const WIPE_NAME: &str = "wiped";

/// The owner of a wipe: an instance of this journal.
#[derive(Clone, Copy, Debug)]
pub struct Wiper<'a> {
    pub journal: Uuid,
    pub instance: &'a InstanceName,
}

#[derive(Deserialize)]
struct Shown {
    id: Uuid,
    metadata: Option<Value>,
}

#[derive(Deserialize)]
struct Metadata {
    journal: Uuid,
    instance: String,
    generation: u64,
    through: u64,
}

/// Reads the marker from this Collection object, and the collection's id on the server. Returns `None` if it is not a
/// marker of the edge.
///
/// # Errors
/// This is not a Collection object.
pub fn read_marker(object: &[u8]) -> Result<Option<(Uuid, Marker)>, serde_json::Error> {
    let Shown { id, metadata } = serde_json::from_slice(object)?;
    let Some(Ok(found)) = metadata.map(serde_json::from_value::<Metadata>) else { return Ok(None) };
    let Metadata { journal, instance, generation, through } = found;
    let (instance, through) = (InstanceName::new(&instance), Seq::new(through));
    Ok(Some((id, Marker { journal, instance, generation: Generation::new(generation), through })))
}

/// Returns the body that creates the collection with this marker.
pub fn marker_creation(marker: &Marker) -> String {
    json!({ "name": MARKER_NAME, "metadata": metadata(marker) }).to_string()
}

/// Returns the body that changes the collection to this marker.
pub fn marker_change(marker: &Marker) -> String {
    json!({ "new_metadata": metadata(marker) }).to_string()
}

/// Returns the body that creates the wipe record: `by` wipes the server that carries this marker.
pub fn wipe_creation(by: &Wiper<'_>, marker: &Marker) -> String {
    json!({ "name": WIPE_NAME, "metadata": wipe_metadata(by, marker) }).to_string()
}

/// Returns whether this Collection object is that wipe record.
pub fn is_wiped_by(by: &Wiper<'_>, marker: &Marker, object: &[u8]) -> bool {
    let shown = serde_json::from_slice::<Shown>(object).ok().and_then(|shown| shown.metadata);
    shown.is_some_and(|metadata| metadata == wipe_metadata(by, marker))
}

fn wipe_metadata(by: &Wiper<'_>, marker: &Marker) -> Value {
    json!({
        "journal": by.journal.to_string(),
        "instance": by.instance.as_str(),
        "of_journal": marker.journal.to_string(),
        "of_instance": marker.instance.as_str(),
        "of_generation": marker.generation.get(),
    })
}

fn metadata(marker: &Marker) -> Value {
    let Marker { journal, instance, generation, through } = marker;
    json!({
        "journal": journal.to_string(),
        "instance": instance.as_str(),
        "generation": generation.get(),
        "through": through.get(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_marker_is_read_as_it_was_written() {
        let (journal, instance) = (Uuid::from_u128(7), InstanceName::new("primary"));
        let marker = Marker { journal, instance, generation: Generation::new(3), through: Seq::new(9) };
        let created: Value = serde_json::from_str(&marker_creation(&marker)).unwrap();
        let changed: Value = serde_json::from_str(&marker_change(&marker)).unwrap();
        assert_eq!(created["metadata"], changed["new_metadata"]);
        let id = Uuid::from_u128(8);
        let shown = json!({ "id": id, "name": MARKER_NAME, "metadata": created["metadata"], "dimension": null });
        assert_eq!(read_marker(shown.to_string().as_bytes()).unwrap(), Some((id, marker)));
        for other in [json!({ "id": id, "metadata": null }), json!({ "id": id, "metadata": { "journal": 1 } })] {
            assert_eq!(read_marker(other.to_string().as_bytes()).unwrap(), None, "{other}");
        }
        assert!(read_marker(b"<html>").is_err() && read_marker(b"[]").is_err());
    }

    #[test]
    fn who_wipes_a_server_goes_on_and_nobody_else() {
        let [a, b] = ["a", "b"].map(InstanceName::new);
        let marker = |generation| Marker {
            journal: Uuid::from_u128(7),
            instance: a.clone(),
            generation: Generation::new(generation),
            through: Seq::new(9),
        };
        let by = Wiper { journal: Uuid::from_u128(7), instance: &b };
        let created: Value = serde_json::from_str(&wipe_creation(&by, &marker(3))).unwrap();
        let shown = json!({ "id": Uuid::from_u128(8), "metadata": created["metadata"] }).to_string();
        assert!(is_wiped_by(&by, &marker(3), shown.as_bytes()));
        assert!(!is_wiped_by(&by, &marker(4), shown.as_bytes()), "other data");
        assert!(!is_wiped_by(&Wiper { instance: &a, ..by }, &marker(3), shown.as_bytes()), "another instance");
        assert!(!is_wiped_by(&Wiper { journal: Uuid::from_u128(1), ..by }, &marker(3), shown.as_bytes()));
    }
}
