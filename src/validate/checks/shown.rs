//! What a deployment shows, as several checks read it: complete records, and the list of collections. The checks judge
//! it.

use serde_json::Value;

use crate::validate::client::{By, CallError, OwnCollection, Question};
use crate::validate::content::{self, Record};
use crate::validate::findings::Stop;
use crate::validate::run::Run;

/// Returns the complete records that a `get` with this body shows.
pub fn whole(run: &Run, collection: &OwnCollection, by: By, body: &Value) -> Result<Vec<Record>, Stop> {
    let mut body = body.clone();
    body["include"] = serde_json::json!(content::INCLUDED);
    let answer = run.edge.ask(collection, by, Question::Get, &body)?;
    content::records(&answer.body).map_err(|why| CallError::nonsense(&answer, &why).into())
}

/// Returns name and id of every collection. Of other clients' collections, only these are read.
pub fn listed(run: &Run) -> Result<Vec<(String, String)>, Stop> {
    const PAGE: usize = 1000;
    let mut all = Vec::new();
    loop {
        let path = format!("{}?limit={PAGE}&offset={}", run.edge.place().collections(), all.len());
        let page = run.edge.page(&path)?;
        let list = page.as_array().ok_or_else(|| Stop(format!("GET {path} answered no list")))?;
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        all.extend(list.iter().map(|one| (text(&one["name"]), text(&one["id"]))));
        if list.len() < PAGE {
            return Ok(all);
        }
    }
}
