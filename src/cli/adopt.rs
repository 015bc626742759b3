//! `adopt`: an operator decides which server's copy to keep of collections that existed before the edge and differ.
//!
//! Decides the output. The edge decides whether a copy can be kept.

use std::fmt::Write;
use std::process::ExitCode;

use serde_json::{Value, json};

use super::operator::Edge;
use crate::validate::{CallError, Operator};

#[derive(Debug, clap::Args)]
#[command(group(clap::ArgGroup::new("which").required(true).args(["collection", "all"])))]
pub(super) struct Asked {
    /// The instance whose copy is kept; the others' copies are DELETED and made like it.
    #[arg(long, value_name = "NAME")]
    from: String,
    /// This collection, by its name or its id.
    #[arg(long, value_name = "NAME")]
    collection: Option<String>,
    /// Every collection that differs.
    #[arg(long)]
    all: bool,
    /// The tenant of the collection that is named.
    #[arg(long, default_value = "default_tenant")]
    tenant: String,
    /// The database of the collection that is named.
    #[arg(long, default_value = "default_database")]
    database: String,
    #[command(flatten)]
    edge: Edge,
}

/// Runs the command.
pub(super) fn run(asked: Asked) -> ExitCode {
    let Asked { from, collection, tenant, database, edge, .. } = asked;
    edge.ask_all(|operator| match &collection {
        Some(collection) => {
            let word = json!({ "collection": collection, "from": from, "tenant": tenant, "database": database });
            Ok((told(collection, &operator.say("adopt", &word)?), ExitCode::SUCCESS))
        }
        None => every(operator, &from),
    })
}

fn told(name: &str, said: &Value) -> String {
    let names = |list: &Value| {
        let names: Vec<&str> = list.as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        names.join(", ")
    };
    let from = said["from"].as_str().unwrap_or_default();
    format!("{name}: the copy of {from} is kept; made like it: {}\n", names(&said["condemned"]))
}

/// Decides for every differing collection; a refusal does not stop the rest.
fn every(operator: &Operator, from: &str) -> Result<(String, ExitCode), CallError> {
    let (mut text, mut code) = (String::new(), ExitCode::SUCCESS);
    for (id, name) in differing(&operator.page("/status")?) {
        match operator.say("adopt", &json!({ "collection": id, "from": from })) {
            Ok(said) => text.push_str(&told(&name, &said)),
            Err(error @ CallError::Refused { .. }) => {
                // Writing to a String cannot fail.
                let _ = writeln!(text, "{name}: {error}");
                code = ExitCode::FAILURE;
            }
            Err(error) => return Err(error),
        }
    }
    if text.is_empty() {
        text.push_str("no collection waits for a decision\n");
    }
    Ok((text, code))
}

/// Lists the collections whose copies differ, each once: id and name.
fn differing(status: &Value) -> Vec<(String, String)> {
    let mut found: Vec<(String, String)> = Vec::new();
    for one in status["diverged"].as_array().into_iter().flatten().filter(|one| one["difference"].is_object()) {
        let text = |key: &str| one[key].as_str().unwrap_or_default().to_owned();
        let (id, name) = (text("collection_id"), text("collection_name"));
        if !found.iter().any(|(known, _)| *known == id) {
            found.push((id, name));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_waits_for_a_decision_is_asked_about_once() {
        let one = |id: &str, difference: Value| json!({ "collection_id": id, "collection_name": "n", "difference": difference });
        let diverged = [one("1", json!({})), one("1", json!({})), one("2", Value::Null), one("3", json!({}))];
        let found = differing(&json!({ "diverged": diverged }));
        assert_eq!(found.iter().map(|(id, _)| id.as_str()).collect::<Vec<_>>(), ["1", "3"]);
    }
}
