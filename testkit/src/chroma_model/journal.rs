//! The journal of a real edge, as the checker reads it: which write each transaction is, and which collection has which
//! name after all of them.
//!
//! Decides from stored data alone: paths, bodies, stored answers and verdicts. Identifies a collection by its lane.

use std::collections::BTreeMap;

use percent_encoding::percent_decode_str;
use serde_json::Value;

use super::{ChromaState, ChromaWrite, Definition};
use crate::checker::history::{Entry, Status, Verdict};
use crate::content::{Content, Key};
use crate::fold::Transaction;
use crate::model::Verb;

/// The lane of all entries that create, change or delete collections.
pub const CATALOG: &str = "catalog";

/// The existing collections, by scope and name, with their lanes.
#[derive(Clone, Debug, Default)]
pub struct Names {
    lanes: BTreeMap<Key, String>,
}

/// Returns the journal's entries in the order of `seq`, and the names in effect after them. `token` names a
/// transaction's write.
///
/// Returns `Err` with the transaction if one was applied but cannot be parsed.
pub fn entries(
    transactions: &[Transaction],
    token: impl Fn(&Transaction) -> String,
) -> Result<(Vec<Entry<ChromaWrite>>, Names), String> {
    let mut names = Names::default();
    let mut entries = Vec::new();
    for transaction in transactions {
        let write = match (names.read(transaction), transaction.is_applied()) {
            (Ok(write), true) => {
                names.fold(&write);
                write
            }
            (Ok(write), false) => write,
            (Err(why), true) => return Err(format!("{why}: {transaction:?}")),
            (Err(_), false) => other(transaction),
        };
        entries.push(Entry {
            seq: transaction.seq.unsigned_abs(),
            token: token(transaction),
            lane: transaction.lane.clone(),
            verdict: verdict(transaction)?,
            status: status(transaction)?,
            write,
        });
    }
    Ok((entries, names))
}

fn verdict(transaction: &Transaction) -> Result<Verdict, String> {
    Ok(match transaction.verdict.as_deref() {
        Some("applied") => Verdict::Applied,
        Some("rejected") => Verdict::Rejected,
        Some("void" | "abandoned") => Verdict::Void,
        Some("quarantined") => Verdict::Quarantined,
        None => Verdict::Open,
        Some(verdict) => return Err(format!("an unknown verdict, {verdict}")),
    })
}

fn status(transaction: &Transaction) -> Result<Status, String> {
    Ok(match transaction.status.as_str() {
        "COMPLETED" | "RECOVERED" => Status::Done,
        "ABANDONED" => Status::Abandoned,
        "ATTEMPTING" | "FAILED" => Status::Pending,
        status => return Err(format!("an unknown status, {status}")),
    })
}

fn other(transaction: &Transaction) -> ChromaWrite {
    ChromaWrite::Other { request: format!("{} {}", transaction.method, transaction.path) }
}

/// Returns the decoded segments of a path after `/api/v2`.
fn segments(path: &str) -> Vec<String> {
    let path = path.split('?').next().unwrap_or_default();
    let decode = |segment: &str| percent_decode_str(segment).decode_utf8_lossy().into_owned();
    path.trim_start_matches("/api/v2").split('/').filter(|segment| !segment.is_empty()).map(decode).collect()
}

fn json(bytes: &[u8]) -> Result<Value, String> {
    serde_json::from_slice(bytes).map_err(|error| error.to_string())
}

impl Names {
    /// Returns what this transaction writes, given the names before it.
    fn read(&self, transaction: &Transaction) -> Result<ChromaWrite, String> {
        let segments = segments(&transaction.path);
        let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
        let key = |tenant: &str, database: &str, name: &str| Key {
            tenant: tenant.to_owned(),
            database: database.to_owned(),
            name: name.to_owned(),
        };
        match (transaction.method.as_str(), &segments[..]) {
            ("POST", ["tenants", _, "databases", _, "collections", _, verb]) => {
                let verbs = [Verb::Add, Verb::Upsert, Verb::Update, Verb::Delete];
                let verb = verbs.into_iter().find(|known| known.as_str() == *verb).ok_or("an unknown verb")?;
                Ok(ChromaWrite::Records { verb, body: json(&transaction.body)? })
            }
            ("POST", ["tenants", tenant, "databases", database, "collections"]) => {
                let mut body = json(&transaction.body)?;
                let name = body["name"].as_str().ok_or("no name")?;
                let key = key(tenant, database, name);
                let metadata = body["metadata"].take();
                let answer = json(transaction.answer.as_deref().ok_or("no stored answer")?)?;
                let lane = answer["id"].as_str().ok_or("no id in the stored answer")?.to_owned();
                Ok(ChromaWrite::Create { lane, key, metadata })
            }
            ("PUT", ["tenants", _, "databases", _, "collections", id]) => {
                let mut body = json(&transaction.body)?;
                let lane = uuid::Uuid::try_parse(id).map_err(|error| error.to_string())?.hyphenated().to_string();
                let name = body["new_name"].as_str().map(str::to_owned);
                let metadata = Some(body["new_metadata"].take()).filter(|metadata| !metadata.is_null());
                Ok(ChromaWrite::Modify { lane, name, metadata })
            }
            ("DELETE", ["tenants", tenant, "databases", database, "collections", name]) => {
                let lane = self.lanes.get(&key(tenant, database, name)).ok_or("a delete of no collection")?;
                Ok(ChromaWrite::Delete { lanes: vec![lane.clone()] })
            }
            ("DELETE", ["tenants", tenant, "databases", database]) => {
                let inside = |key: &&Key| key.tenant == *tenant && key.database == *database;
                let lanes = self.lanes.keys().filter(inside).map(|key| self.lanes[key].clone()).collect();
                Ok(ChromaWrite::Delete { lanes })
            }
            ("POST", ["reset"]) => Ok(ChromaWrite::Delete { lanes: self.lanes.values().cloned().collect() }),
            ("POST", ["tenants"] | ["tenants", _, "databases"]) | ("PATCH", ["tenants", _]) => Ok(other(transaction)),
            _ => Err("not a write that is known here".to_owned()),
        }
    }

    fn fold(&mut self, write: &ChromaWrite) {
        match write {
            ChromaWrite::Create { lane, key, .. } => {
                self.lanes.insert(key.clone(), lane.clone());
            }
            ChromaWrite::Modify { lane, name: Some(name), .. } => {
                let Some(key) = self.lanes.iter().find(|(_, one)| *one == lane).map(|(key, _)| key.clone()) else {
                    return;
                };
                self.lanes.remove(&key);
                self.lanes.insert(Key { name: name.clone(), ..key }, lane.clone());
            }
            ChromaWrite::Delete { lanes } => self.lanes.retain(|_, lane| !lanes.contains(lane)),
            ChromaWrite::Modify { name: None, .. } | ChromaWrite::Records { .. } | ChromaWrite::Other { .. } => {}
        }
    }

    /// Returns what a server holds, by lane, for [`crate::checker::history::Run::instances`]: its collections under
    /// their lanes in the journal, collections that the journal does not contain under another name, and the
    /// definitions.
    pub fn held(&self, content: &Content) -> BTreeMap<String, ChromaState> {
        let mut held = BTreeMap::new();
        let mut definitions = BTreeMap::new();
        for (key, collection) in &content.collections {
            let lane = self.lanes.get(key).cloned().unwrap_or_else(|| format!("not in the journal: {key}"));
            let metadata = collection.definition.metadata.clone();
            definitions.insert(lane.clone(), Definition { key: key.clone(), metadata });
            held.insert(lane, ChromaState::of(collection.records.clone()));
        }
        held.insert(CATALOG.to_owned(), ChromaState { definitions, ..ChromaState::default() });
        held
    }
}
