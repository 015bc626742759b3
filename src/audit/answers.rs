//! Checks whether a copy answers queries. A damaged index shows in nothing else: records, counts and heartbeats are
//! fine.

use http::Method;
use serde::Deserialize;
use serde_json::json;
use serde_json::value::RawValue;

use crate::chroma::{self, Call, Class};
use crate::heal::Place;
use crate::instance::Answer;

/// How a copy answers a query for one of its own records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Answers {
    Yes,
    /// It has no record to query for, which proves nothing.
    Empty,
    /// It fails, with this error.
    Fails(String),
    /// It could not be queried, for this reason.
    Unknown(String),
}

#[derive(Deserialize)]
struct Sample<'a> {
    #[serde(borrow, default)]
    embeddings: Vec<Option<&'a RawValue>>,
}

/// Queries the copy for the nearest neighbor of one of its own records.
pub(super) async fn to_a_query(copy: &Place<'_>) -> Answers {
    match asked(copy).await {
        Ok(answers) => answers,
        Err(why) => Answers::Unknown(why),
    }
}

async fn asked(copy: &Place<'_>) -> Result<Answers, String> {
    let get = format!("{}/get", copy.path);
    let found = copy.read(Method::POST, get, json!({ "limit": 1, "include": ["embeddings"] })).await?;
    // A get also adds to the index what is not in it yet, so it can fail, too.
    if let Some(failed) = failed(&found) {
        return Ok(failed);
    }
    let sample: Sample<'_> = serde_json::from_slice(&found.body).map_err(|error| error.to_string())?;
    let Some(vector) = sample.embeddings.into_iter().flatten().next() else { return Ok(Answers::Empty) };
    let query = json!({ "query_embeddings": [vector], "n_results": 1, "include": [] });
    let answer = copy.read(Method::POST, format!("{}/query", copy.path), query).await?;
    Ok(failed(&answer).unwrap_or(Answers::Yes))
}

/// Returns what a failure shows about the copy. Failures that pass by themselves, or that affect the whole server, show
/// nothing.
fn failed(answer: &Answer) -> Option<Answers> {
    match chroma::classify(Call::RecordRead, answer.status, &answer.body) {
        Class::Applied => None,
        Class::Failed => Some(Answers::Fails(text(answer))),
        _ => Some(Answers::Unknown(text(answer))),
    }
}

fn text(answer: &Answer) -> String {
    String::from_utf8_lossy(&answer.body).chars().take(200).collect()
}
