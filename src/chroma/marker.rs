//! How a marker is written on a server (rule R16): as the metadata of one collection in a database of the edge's own.
//!
//! Chroma keeps everything in one SQLite file and commits it in order: what was committed before the marker is there
//! wherever the marker is.

use serde::Deserialize;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::ids::{InstanceName, Seq};
use crate::order::{Generation, Marker};

/// What the collection is called.
pub const MARKER_NAME: &str = "marker";

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

/// The marker in this Collection object, with the collection's id on the server. `None`: it is none of the edge's.
///
/// # Errors
/// When this is no Collection object.
pub fn read_marker(object: &[u8]) -> Result<Option<(Uuid, Marker)>, serde_json::Error> {
    let Shown { id, metadata } = serde_json::from_slice(object)?;
    let Some(Ok(found)) = metadata.map(serde_json::from_value::<Metadata>) else { return Ok(None) };
    let Metadata { journal, instance, generation, through } = found;
    let (instance, through) = (InstanceName::new(&instance), Seq::new(through));
    Ok(Some((id, Marker { journal, instance, generation: Generation::new(generation), through })))
}

/// The body of the creation of the collection with this marker.
pub fn marker_creation(marker: &Marker) -> String {
    json!({ "name": MARKER_NAME, "metadata": metadata(marker) }).to_string()
}

/// The body of the change to this marker.
pub fn marker_change(marker: &Marker) -> String {
    json!({ "new_metadata": metadata(marker) }).to_string()
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
}
