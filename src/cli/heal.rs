//! `heal`: shows what is being healed at a live edge, and passes on an operator's actions.
//!
//! Decides the output and the table. The edge decides what is healed, and when.

use std::fmt::Write;
use std::process::ExitCode;

use clap::Subcommand;
use serde_json::{Value, json};

use super::operator::{Edge, columns};

#[derive(Debug, clap::Args)]
pub(super) struct Asked {
    #[command(subcommand)]
    word: Word,
}

#[derive(Debug, Subcommand)]
enum Word {
    /// Show what is being healed, how far it is, and what waits for whom.
    Status(Edge),
    /// Copy nothing more until `resume`, or until the edge starts again.
    Pause(Edge),
    /// Go on.
    Resume(Edge),
    /// DELETE everything on the server of this instance, which holds somebody else's data, and make it anew from the others.
    Rebuild(Rebuild),
}

#[derive(Debug, clap::Args)]
struct Rebuild {
    /// The instance's name.
    #[arg(long, value_name = "NAME")]
    instance: String,
    #[command(flatten)]
    edge: Edge,
}

/// Runs the command.
pub(super) fn run(asked: Asked) -> ExitCode {
    match asked.word {
        Word::Status(edge) => edge.ask(|operator| Ok(table(&operator.page("/admin/heal")?))),
        Word::Pause(edge) => edge.ask(|operator| Ok(table(&operator.say("heal", &json!({ "action": "pause" }))?))),
        Word::Resume(edge) => edge.ask(|operator| Ok(table(&operator.say("heal", &json!({ "action": "resume" }))?))),
        Word::Rebuild(Rebuild { instance, edge }) => edge.ask(|operator| {
            let word = json!({ "instance": instance, "action": "rebuild", "confirm": instance });
            let said = operator.say("foreign", &word)?;
            let foreign = said["foreign"].as_str().unwrap_or_default();
            Ok(format!("{instance} is to be wiped and made anew ({foreign}); see `heal status`\n"))
        }),
    }
}

const COLUMNS: [&str; 9] = ["COLLECTION", "INSTANCE", "SOURCE", "STATE", "DONE", "RECORDS/S", "ETA", "SINCE", "WHY"];

/// Formats the page for people.
fn table(page: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
    let rounded =
        |value: &Value, unit: &str| value.as_f64().map_or("-".to_owned(), |number| format!("{number:.0}{unit}"));
    let row = |one: &Value| {
        let named = one["collection_name"].as_str().or(one["collection_id"].as_str()).unwrap_or("-").to_owned();
        let why = one["last_error"].as_str().or(one["why"].as_str()).unwrap_or("-").to_owned();
        let [instance, source, state] = ["instance", "source", "state"].map(|key| text(&one[key]));
        let (done, rate) = (rounded(&one["percent"], " %"), rounded(&one["records_per_second"], ""));
        let (eta, since) = (rounded(&one["eta_seconds"], " s"), rounded(&one["seconds"], " s"));
        [named, instance, source, state, done, rate, eta, since, why]
    };
    let none = Vec::new();
    let mut rows: Vec<[String; 9]> = vec![COLUMNS.map(str::to_owned)];
    rows.extend(page["healing"].as_array().unwrap_or(&none).iter().map(row));
    let mut out = String::new();
    let paused = if page["paused"] == true { "paused: nothing is copied until `heal resume`" } else { "on" };
    // Writing to a String cannot fail.
    let _ = writeln!(out, "healing: {paused}");
    for one in page["foreign"].as_array().unwrap_or(&none) {
        let (instance, whose) = (text(&one["instance"]), text(&one["foreign"]));
        let stage = text(&one["rebuild"]["stage"]);
        let why = one["rebuild"]["why"].as_str().map_or(String::new(), |why| format!(": {why}"));
        let _ = writeln!(out, "{instance} holds somebody else's data ({whose}); {stage}{why}");
    }
    if rows.len() == 1 {
        out.push_str("nothing is being healed\n");
        return out;
    }
    out.push_str(&columns(&rows));
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_says_what_heals_and_what_waits() {
        let page = json!({
            "paused": true,
            "foreign": [{ "instance": "b", "foreign": "of a", "rebuild": { "stage": "refused", "why": "a is away" } }],
            "healing": [{ "collection_name": "docs", "instance": "b", "source": "a", "state": "healing", "percent": 41.7,
                "records_per_second": 1500.2, "eta_seconds": 12.0, "seconds": 9.0, "why": "diverged", "last_error": null }],
        });
        let shown = table(&page);
        assert!(shown.starts_with("healing: paused"), "{shown}");
        assert!(shown.contains("b holds somebody else's data (of a); refused: a is away"), "{shown}");
        let row = shown.lines().last().unwrap_or_default();
        let cells: Vec<&str> = row.split("  ").map(str::trim).filter(|cell| !cell.is_empty()).collect();
        assert_eq!(cells, ["docs", "b", "a", "healing", "42 %", "1500", "12 s", "9 s", "diverged"]);
        let nothing = table(&json!({ "paused": false, "healing": [], "foreign": [] }));
        assert_eq!(nothing, "healing: on\nnothing is being healed\n");
    }
}
