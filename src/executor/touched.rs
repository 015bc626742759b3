//! Compares what a write has left on the instances that all answered it with an unexplained failure (rule R12).
//!
//! It decides which instances agree with each other. The board decides what happens to the others and to the entry.

use std::time::Duration;

use http::Method;
use serde_json::{Value, json};

use super::collection_reader::{CollectionReader, PAGE, reader};
use super::resources::LaneFindings;
use crate::chroma;
use crate::clock;
use crate::coordinator::{Core, intent};
use crate::ids::{InstanceId, LaneId};
use crate::instance::{Answer, Client};
use crate::journal::Request;
use crate::order::{Kind, Touched, Traces};

const DEADLINE: Duration = Duration::from_secs(10);
const UNREADABLE: &str = "cannot read an instance for the comparison after a failed write";
const COMPARED: &str = "every instance that could be asked failed a write: contents compared";

/// Compares the records that the entry names and the number of all records, or the definition that it changes.
/// `Action::CheckWritable` ran just before, so that everything committed is visible.
pub(super) async fn compare(
    core: &Core,
    client: &Client,
    (lane, findings): (LaneId, &LaneFindings),
    request: &Request,
    instances: &[InstanceId],
    failure: Option<&Answer>,
) -> Touched {
    let seq = request.seq;
    let about = match lane {
        LaneId::Records(collection) => Some(collection),
        LaneId::Catalog => intent::about(core.board().catalog(), &request.method, &request.path),
    };
    let Some(collection) = about else { return Touched::default() };
    let ids = chroma::ids_in(&request.body);
    let mut held = Vec::new();
    for instance in instances {
        let Some(reader) = reader(core, client, collection, *instance, DEADLINE) else { continue };
        let content = match lane {
            LaneId::Records(_) => read(&reader, &ids).await,
            LaneId::Catalog => reader.definition().await,
        };
        match content {
            Ok(content) => held.push((*instance, content)),
            Err(error) => {
                if let Some(times) = findings.seen((lane, UNREADABLE), clock::now()).times() {
                    tracing::warn!(%lane, %seq, error, times, "{UNREADABLE}");
                }
            }
        }
    }
    let mut touched = of(&held);
    let agreed = touched.same.first().and_then(|first| held.iter().find(|(instance, _)| instance == first));
    let reading = failure.is_some_and(|answer| chroma::failed_while_reading(&answer.body));
    // A change of a collection is one transaction in Chroma: if it fails, it is rolled back.
    if reading
        || lane == LaneId::Catalog
        || agreed.is_some_and(|(_, content)| untouched(request.profile.kind, &ids, content))
    {
        touched.traces = Traces::None;
    }
    let (same, differ) = (touched.same.len(), touched.differ.len());
    if let Some(times) = findings.seen((lane, COMPARED), clock::now()).times() {
        tracing::info!(%lane, %seq, same, differ, times, "{COMPARED}");
    }
    touched
}

/// Returns whether the content shows that the entry was not executed: none of the records that it would have added
/// exist, or all of those that it would have deleted do.
fn untouched(kind: Kind, ids: &[String], content: &Value) -> bool {
    let pages = content.as_array().into_iter().flatten().filter_map(|page| page.get("ids")?.as_array());
    let found = pages.map(Vec::len).sum::<usize>();
    match kind {
        Kind::Add | Kind::Upsert => !ids.is_empty() && found == 0,
        Kind::Delete | Kind::DeleteLimited => !ids.is_empty() && found == ids.len(),
        _ => false,
    }
}

/// Finds the largest group of equal contents; among equally large ones, the one with the most preferred instance.
fn of(held: &[(InstanceId, Value)]) -> Touched {
    let group = |content: &Value| held.iter().filter(|(_, other)| other == content).count();
    let Some(largest) = held.iter().map(|(_, content)| group(content)).max() else { return Touched::default() };
    let Some((_, agreed)) = held.iter().find(|(_, content)| group(content) == largest) else {
        return Touched::default();
    };
    let (same, differ): (Vec<_>, Vec<_>) = held.iter().partition(|(_, content)| content == agreed);
    let names = |group: Vec<&(InstanceId, Value)>| group.into_iter().map(|(instance, _)| *instance).collect();
    Touched { same: names(same), differ: names(differ), traces: Traces::Possible }
}

async fn read(reader: &CollectionReader<'_>, ids: &[String]) -> Result<Value, String> {
    let count = reader.send(Method::GET, format!("{}/count", reader.path), Value::Null).await?;
    let mut all = vec![serde_json::from_slice::<Value>(&count.body).map_err(|error| error.to_string())?];
    for some in ids.chunks(PAGE) {
        let include = ["embeddings", "documents", "metadatas", "uris"];
        let body = json!({ "ids": some, "include": include });
        let answer = reader.send(Method::POST, format!("{}/get", reader.path), body).await?;
        all.push(serde_json::from_slice(&answer.body).map_err(|error| error.to_string())?);
    }
    Ok(Value::Array(all))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compared(contents: &[i32]) -> [Vec<usize>; 2] {
        let held: Vec<_> = contents.iter().enumerate().map(|(at, content)| (InstanceId(at), json!(content))).collect();
        let Touched { same, differ, .. } = of(&held);
        [same, differ].map(|group| group.iter().map(|instance: &InstanceId| instance.0).collect::<Vec<usize>>())
    }

    #[test]
    fn the_most_agree_and_of_two_the_preferred_one_stands() {
        assert_eq!(compared(&[]), [Vec::<usize>::new(), Vec::new()]);
        assert_eq!(compared(&[1, 1]), [vec![0, 1], vec![]]);
        assert_eq!(compared(&[1, 2]), [vec![0], vec![1]]);
        assert_eq!(compared(&[1, 2, 2]), [vec![1, 2], vec![0]]);
    }

    #[test]
    fn what_is_shown_to_be_untouched() {
        let ids = ["a".to_owned(), "b".to_owned()];
        let holds = |found: Value| json!([7, { "ids": found }]);
        assert!(untouched(Kind::Add, &ids, &holds(json!([]))));
        assert!(!untouched(Kind::Upsert, &ids, &holds(json!(["a"]))));
        assert!(untouched(Kind::Delete, &ids, &holds(json!(["a", "b"]))));
        assert!(!untouched(Kind::Delete, &ids, &holds(json!(["a"]))));
        assert!(!untouched(Kind::Delete, &[], &json!([7])), "a delete by condition");
        assert!(!untouched(Kind::Update, &ids, &holds(json!([]))));
    }
}
