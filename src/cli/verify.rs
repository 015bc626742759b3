//! `verify`: compares the servers behind a live edge now, record by record.
//!
//! Decides the output, the table and the exit code: 1 if copies differ, or if one could not be compared. The edge
//! decides what is compared and what is healed.

use std::process::ExitCode;
use std::time::Duration;

use serde_json::{Value, json};

use super::operator::{Edge, columns};
use crate::validate::{CallError, Operator};

/// The pause between two polls of the progress.
const LOOK: Duration = Duration::from_millis(500);
/// Polls between two lines about the progress.
const TELL_EVERY: u32 = 10;

#[derive(Debug, clap::Args)]
pub(super) struct Asked {
    /// Only this collection, by its name or its id.
    #[arg(long, value_name = "NAME")]
    collection: Option<String>,
    /// The tenant of the collection that is named.
    #[arg(long, default_value = "default_tenant")]
    tenant: String,
    /// The database of the collection that is named.
    #[arg(long, default_value = "default_database")]
    database: String,
    /// Make copies anew that the journal shows to be wrong.
    #[arg(long)]
    repair: bool,
    #[command(flatten)]
    edge: Edge,
}

/// Runs the command.
pub(super) fn run(asked: Asked) -> ExitCode {
    let Asked { collection, tenant, database, repair, edge } = asked;
    let word = match &collection {
        Some(collection) => {
            json!({ "collection": collection, "tenant": tenant, "database": database, "repair": repair })
        }
        None => json!({ "repair": repair }),
    };
    edge.ask_all(|operator| {
        let said = operator.say("audit", &word)?;
        let report = ended(operator, said["request"].as_u64().unwrap_or_default())?;
        Ok(told(&report, said["collection_id"].as_str()))
    })
}

/// Waits for the end of this request; an operator may interrupt the wait. Returns null if another edge serves now,
/// which does not know the request.
fn ended(operator: &Operator, request: u64) -> Result<Value, CallError> {
    for look in 0_u32.. {
        let report = operator.page("/admin/audit")?;
        if report["last_finished_request"].as_u64().is_some_and(|ended| ended >= request) {
            return Ok(report);
        }
        if report["last_request"].as_u64().is_none_or(|last| last < request) {
            break;
        }
        if look % TELL_EVERY == TELL_EVERY - 1
            && let Some(line) = progress(&report["running"])
        {
            eprintln!("{line}");
        }
        std::thread::sleep(LOOK);
    }
    Ok(Value::Null)
}

fn progress(running: &Value) -> Option<String> {
    let name = running["collection_name"].as_str()?;
    let (records, rate) = (running["records"].as_u64()?, running["records_per_second"].as_f64()?);
    Some(format!("comparing {name}: {records} records, {rate:.0} a second"))
}

const COLUMNS: [&str; 5] = ["COLLECTION", "STATE", "RECORDS", "DIFFERING", "WHY"];

/// Formats the table of the requested comparisons, with the exit code.
fn told(report: &Value, only: Option<&str>) -> (String, ExitCode) {
    if report.is_null() {
        return ("the edge has begun anew meanwhile: ask again\n".to_owned(), ExitCode::FAILURE);
    }
    let all = report["collections"].as_array().map(Vec::as_slice).unwrap_or_default();
    let asked = || all.iter().filter(|one| only.is_none_or(|only| one["collection_id"] == only));
    let mut rows: Vec<[String; 5]> = vec![COLUMNS.map(str::to_owned)];
    rows.extend(asked().map(row));
    // A single server has one copy of each collection, and nothing is left out.
    let sound = |one: &Value| matches!(one["state"].as_str(), Some("equal" | "one_copy")) && left_out(one).is_none();
    let code = if asked().all(sound) { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    if rows.len() == 1 {
        return ("there is nothing to compare\n".to_owned(), code);
    }
    (columns(&rows), code)
}

fn row(one: &Value) -> [String; 5] {
    let name = one["collection_name"].as_str().or(one["collection_id"].as_str()).unwrap_or("-").to_owned();
    let state = one["state"].as_str().unwrap_or("-").to_owned();
    let differing = &one["differing"];
    let number = |value: &Value| value.as_u64().map_or("-".to_owned(), |number| number.to_string());
    let why = match (one["wrong_on"].as_str(), one["why"].as_str()) {
        (Some(instance), _) => format!("the copy of {instance} is not what was written{}", first(differing)),
        (None, Some(why)) => why.to_owned(),
        (None, None) if differing["order_alone"] == true => "the same records in another order".to_owned(),
        (None, None) if differing["more"] == true => "many records: an operator decides".to_owned(),
        (None, None) if differing.is_object() => format!("an operator decides{}", first(differing)),
        (None, None) => left_out(one).unwrap_or_else(|| "-".to_owned()),
    };
    [name, state, number(&one["records"]), number(&differing["records"]), why]
}

/// Lists the servers that were not compared.
fn left_out(one: &Value) -> Option<String> {
    let names: Vec<&str> = one["left_out"].as_array()?.iter().filter_map(Value::as_str).collect();
    (!names.is_empty()).then(|| format!("not compared with {}: away, or not in step", names.join(", ")))
}

fn first(differing: &Value) -> String {
    differing["first"][0].as_str().map_or(String::new(), |id| format!(", first in {id}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_says_what_differs_and_the_exit_code_follows() {
        let equal = json!({ "collection_id": "1", "collection_name": "docs", "state": "equal", "records": 7 });
        let wrong = json!({ "collection_id": "2", "collection_name": "more", "state": "wrong", "records": 0,
            "wrong_on": "replica", "differing": { "records": 1, "first": ["a"], "order_alone": false } });
        let report = json!({ "collections": [equal, wrong] });
        let (text, code) = told(&report, None);
        assert_eq!(code, ExitCode::FAILURE);
        let cells = |line: &str| {
            line.split("  ").map(str::trim).filter(|cell| !cell.is_empty()).map(str::to_owned).collect::<Vec<_>>()
        };
        let rows: Vec<Vec<String>> = text.lines().map(cells).collect();
        assert_eq!(rows[1], ["docs", "equal", "7", "-", "-"]);
        assert_eq!(rows[2], ["more", "wrong", "0", "1", "the copy of replica is not what was written, first in a"]);
        let (text, code) = told(&report, Some("1"));
        assert_eq!((text.lines().count(), code), (2, ExitCode::SUCCESS), "nobody asked for the other one");
        let of_one = json!({ "collection_id": "1", "collection_name": "docs", "state": "one_copy", "left_out": [] });
        assert_eq!(told(&json!({ "collections": [of_one] }), None).1, ExitCode::SUCCESS, "there is one server");
        for state in ["equal", "one_copy"] {
            let away =
                json!({ "collection_id": "1", "collection_name": "docs", "state": state, "left_out": ["b", "c"] });
            let (text, code) = told(&json!({ "collections": [away] }), None);
            assert!(text.contains("not compared with b, c: away, or not in step"), "{text}");
            assert_eq!(code, ExitCode::FAILURE, "{state}: what they hold is not known");
        }
        assert_eq!(told(&json!({ "collections": [] }), None).0, "there is nothing to compare\n");
    }
}
