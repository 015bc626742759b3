//! Whether a copy answers queries. A damaged index shows in nothing else: records, counts and heartbeats are well.

use http::Method;
use serde::Deserialize;
use serde_json::json;
use serde_json::value::RawValue;

use crate::chroma::{self, Call, Class};
use crate::heal::Place;
use crate::instance::Answer;

/// What a copy makes of a query for one of its own records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Answers {
    Yes,
    /// It has no record to ask for: that proves nothing.
    Empty,
    /// It fails, and says this.
    Fails(String),
    /// It could not be asked.
    Unknown(String),
}

#[derive(Deserialize)]
struct Sample<'a> {
    #[serde(borrow, default)]
    embeddings: Vec<Option<&'a RawValue>>,
}

/// Asks the copy for the neighbour of one of its own records.
pub(super) async fn to_a_query(copy: &Place<'_>) -> Answers {
    match asked(copy).await {
        Ok(answers) => answers,
        Err(why) => Answers::Unknown(why),
    }
}

async fn asked(copy: &Place<'_>) -> Result<Answers, String> {
    let get = format!("{}/get", copy.path);
    let found = copy.read(Method::POST, get, json!({ "limit": 1, "include": ["embeddings"] })).await?;
    // What is not in the index yet is put into it for a get, too.
    if let Some(failed) = failed(&found) {
        return Ok(failed);
    }
    let sample: Sample<'_> = serde_json::from_slice(&found.body).map_err(|error| error.to_string())?;
    let Some(vector) = sample.embeddings.into_iter().flatten().next() else { return Ok(Answers::Empty) };
    let query = json!({ "query_embeddings": [vector], "n_results": 1, "include": [] });
    let answer = copy.read(Method::POST, format!("{}/query", copy.path), query).await?;
    Ok(failed(&answer).unwrap_or(Answers::Yes))
}

/// What an answer that is none says of the copy. What passes by itself, and what the whole server suffers from, say nothing.
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
