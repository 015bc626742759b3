//! The files in `deploy/` name only metrics, runbooks, variables, keys, commands and ports that exist. A test of
//! `src/metrics.rs` checks that `docs/metrics.md` equals the code. `e2e::deploy_files` checks that the edge accepts the
//! configuration.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::documents::{anchor, keys};
use crate::none;
use crate::source::{files_below, read};

/// Returns every metric and its type, as documented.
pub fn metrics() -> BTreeMap<String, String> {
    let text = read("docs/metrics.md");
    let rows = text.lines().filter_map(|line| line.strip_prefix("| `"));
    let rows = rows.filter(|row| row.starts_with("chroma_edge_") || row.starts_with("process_"));
    let row = |row: &str| {
        let (name, rest) = row.split_once('`').expect("a name in backticks");
        (name.to_owned(), rest.split('|').nth(1).unwrap_or_default().trim().to_owned())
    };
    rows.map(row).collect()
}

/// Returns the names in an expression that are metrics, judging by their prefix.
fn named(text: &str) -> BTreeSet<&str> {
    let words = text.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_');
    words.filter(|word| word.starts_with("chroma_edge_") || word.starts_with("process_")).collect()
}

fn exists(metrics: &BTreeMap<String, String>, name: &str) -> bool {
    let part = ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end));
    let histogram = part.is_some_and(|whole| metrics.get(whole).is_some_and(|kind| kind == "histogram"));
    histogram || metrics.get(name).is_some_and(|kind| kind != "histogram")
}

#[test]
fn alerts_and_dashboards_use_metrics_that_exist() {
    let metrics = metrics();
    assert!(metrics.len() > 75, "{metrics:?}");
    let mut found = Vec::new();
    for path in ["deploy/prometheus/alerts.yml", "deploy/prometheus/alerts_test.yml", "deploy/grafana/chroma-edge.json"]
    {
        let text = read(path);
        let used = named(&text);
        assert!(used.len() > 10, "{path}: {used:?}");
        found.extend(used.into_iter().filter(|name| !exists(&metrics, name)).map(|name| format!("{path}: {name}")));
    }
    none("no such metric", found);
}

#[test]
fn a_histogram_is_used_by_its_parts_and_another_metric_by_its_name() {
    let metrics = BTreeMap::from([("chroma_edge_a".to_owned(), "gauge".to_owned())]);
    let metrics: BTreeMap<_, _> = metrics.into_iter().chain([("chroma_edge_h".into(), "histogram".into())]).collect();
    let there = ["chroma_edge_a", "chroma_edge_h_bucket", "chroma_edge_h_sum", "chroma_edge_h", "chroma_edge_a_sum"];
    assert_eq!(there.map(|name| exists(&metrics, name)), [true, true, true, false, false]);
    assert_eq!(named("rate(chroma_edge_x{a=\"b\"}[5m])"), BTreeSet::from(["chroma_edge_x"]));
}

/// Returns every value of this key in a file with one key per line.
fn values<'a>(text: &'a str, key: &str) -> Vec<&'a str> {
    let lines = text.lines().map(|line| line.trim_start().trim_start_matches("- "));
    lines
        .filter_map(|line| line.strip_prefix(key)?.strip_prefix(':').map(|value| value.trim().trim_matches('"')))
        .collect()
}

#[test]
fn every_alert_has_a_runbook_and_tests_of_when_it_fires_and_when_not() {
    let (alerts, tests) = (read("deploy/prometheus/alerts.yml"), read("deploy/prometheus/alerts_test.yml"));
    let (names, runbooks) = (values(&alerts, "alert"), values(&alerts, "runbook"));
    assert!(names.len() > 15 && names.len() == runbooks.len(), "{names:?} {runbooks:?}");
    let mut found = Vec::new();
    for (name, runbook) in names.iter().zip(runbooks) {
        let (path, heading) = runbook.split_once('#').unwrap_or((runbook, ""));
        if !read(path).lines().any(|line| line.starts_with("## ") && anchor(line) == heading) {
            found.push(format!("{name}: no runbook {runbook}"));
        }
        let told = values(&tests, "name");
        let tested = ["fires", "is silent"].map(|how| told.contains(&format!("{name} {how}").as_str()));
        if tested != [true, true] {
            found.push(format!("{name}: no test that it fires, or that it is silent"));
        }
    }
    none("an alert leaves its reader alone", found);
}

/// Checks every expression of the dashboard's panels.
#[test]
fn every_panel_of_the_dashboard_asks_for_something_and_none_overlaps() {
    let board: Value = serde_json::from_str(&read("deploy/grafana/chroma-edge.json")).expect("JSON");
    let panels = board["panels"].as_array().expect("panels");
    let mut found = Vec::new();
    let place = |panel: &Value| ["x", "y", "w", "h"].map(|key| panel["gridPos"][key].as_u64().expect("a place"));
    for (index, panel) in panels.iter().enumerate() {
        let title = panel["title"].as_str().unwrap_or_default();
        let targets = panel["targets"].as_array().map(Vec::as_slice).unwrap_or_default();
        let asks = targets.iter().all(|target| !named(target["expr"].as_str().unwrap_or_default()).is_empty());
        if title.is_empty() || (panel["type"] != "row" && (targets.is_empty() || !asks)) {
            found.push(format!("panel {index} {title} shows no metric"));
        }
        let [x, y, w, h] = place(panel);
        for other in &panels[..index] {
            let [ox, oy, ow, oh] = place(other);
            if x < ox + ow && ox < x + w && y < oy + oh && oy < y + h {
                found.push(format!("{title} covers {}", other["title"]));
            }
        }
    }
    assert!(panels.len() > 20);
    none("the dashboard is not whole", found);
}

/// Variables of other programs that deployments set.
const FOREIGN: &[&str] = &[
    "POSTGRES_DB",
    "POSTGRES_PASSWORD",
    "POSTGRES_USER",
    "IS_PERSISTENT",
    "PERSIST_DIRECTORY",
    "ANONYMIZED_TELEMETRY",
    "PGDATA",
    // Used by deploy/patroni/journal-database.
    "EDGE_PASSWORD",
];
/// The prefix of another program's variables.
const FOREIGN_PREFIX: &str = "PATRONI_";

/// Returns words in capitals, with or without an underscore, that are set as variables: `NAME:`, `NAME=`, `name: NAME`.
fn variables(text: &str) -> BTreeSet<&str> {
    let mut found = BTreeSet::new();
    for line in text.lines().map(str::trim).filter(|line| !line.starts_with('#')) {
        let line = line.trim_start_matches("- ").trim_start_matches("Environment=").trim_start_matches("ENV ");
        let line = line.strip_prefix("name: ").map_or(line, |name| name.trim_matches('"'));
        let end = line.find(|letter: char| !letter.is_ascii_uppercase() && letter != '_').unwrap_or(line.len());
        let (name, rest) = line.split_at(end);
        let sets = rest.is_empty() || rest.starts_with(':') || rest.starts_with('=') || rest.starts_with('"');
        if name.len() > 3 && sets {
            found.insert(name);
        }
    }
    found
}

/// Returns the files that define how the edge is started.
fn deployments() -> Vec<String> {
    let mut files =
        files_below("deploy", &[".yaml", ".yml", ".service", ".tpl", ".txt", ".env", "postinst", "default"]);
    files.retain(|path| !path.starts_with("deploy/prometheus/alerts"));
    files.push("Dockerfile".to_owned());
    files
}

#[test]
fn deployments_set_variables_that_exist() {
    let documented = read("docs/configuration.md");
    let (mut found, mut seen) = (Vec::new(), 0);
    for path in deployments() {
        for name in variables(&read(&path)) {
            seen += 1;
            let foreign = FOREIGN.contains(&name) || name.starts_with(FOREIGN_PREFIX);
            if !foreign && !documented.contains(&format!("| `{name}` |")) {
                found.push(format!("{path}: {name}"));
            }
        }
    }
    assert!(seen > 5, "{seen}");
    none("no such variable", found);
}

#[test]
fn a_variable_is_found_however_it_is_set() {
    let text = "  PRIMARY_URL: http://a\nENV PORT=8000\nEnvironment=DATABASE_URL=x\n  - name: REPLICA_URL\n# NOT_THIS: 1\nkind: Service";
    assert_eq!(variables(text), BTreeSet::from(["DATABASE_URL", "PORT", "PRIMARY_URL", "REPLICA_URL"]));
}

#[test]
fn deployments_run_commands_that_exist() {
    let cli = read("src/cli/mod.rs");
    let commands = cli.split("enum Command {").nth(1).and_then(|rest| rest.split("\n}").next()).unwrap_or_default();
    let variants = commands.lines().map(str::trim).filter(|line| line.starts_with(char::is_uppercase));
    let commands: BTreeSet<String> = variants
        .map(|line| line.split(|letter: char| !letter.is_alphanumeric()).next().unwrap_or_default().to_lowercase())
        .collect();
    assert!(commands.contains("serve") && commands.contains("validate"), "{commands:?}");
    let mut found = Vec::new();
    for path in deployments().into_iter().chain(files_below("docs", &[".md"])).chain(["README.md".to_owned()]) {
        for after in read(&path).split("chroma-edge ").skip(1) {
            let word: String = after.chars().take_while(char::is_ascii_lowercase).collect();
            let next = after[word.len()..].chars().next().unwrap_or(' ');
            // Only a word that is followed by an option is certainly a command.
            let option = after[word.len()..].trim_start().starts_with("--");
            if option && next == ' ' && !word.is_empty() && !commands.contains(&word) {
                found.push(format!("{path}: chroma-edge {word}"));
            }
        }
    }
    none("no such command", found);
}

#[test]
fn configurations_in_deployments_have_keys_that_exist() {
    let known = keys(&read("conf/production.yaml"));
    let mut found = Vec::new();
    let files = files_below("deploy", &["config.yaml"]);
    assert!(!files.is_empty());
    for path in files {
        let unknown = keys(&read(&path)).into_iter().filter(|key| !known.contains(key));
        found.extend(unknown.map(|key| format!("{path}: {key}")));
    }
    none("no such key", found);
}
