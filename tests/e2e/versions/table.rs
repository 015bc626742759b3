//! The table of `docs/compatibility.md`: every version and pair, every check, on real servers.

use std::fmt::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind};

use serde_json::Value;

use testkit::chroma::Version::{self, Current, Older};
use testkit::place;

use super::checks::CHECKS;
use super::pair;

/// The version that everything else is tested with.
const CURRENT: &str = "1.5.9";

const PAIRS: [[Version; 2]; 12] = [
    [Older("1.0.20"); 2],
    [Older("1.1.1"); 2],
    [Older("1.2.2"); 2],
    [Older("1.3.7"); 2],
    [Older("1.4.1"); 2],
    [Older("1.5.0"); 2],
    [Older("1.5.6"); 2],
    [Current; 2],
    [Older("1.0.20"), Current],
    [Current, Older("1.0.20")],
    [Older("1.3.7"), Current],
    [Current, Older("1.3.7")],
];

const BEGIN: &str = "<!-- made by `make compatibility` -->\n";
const END: &str = "<!-- end -->";

fn name(version: Version) -> &'static str {
    match version {
        Current => CURRENT,
        Older(version) => version,
    }
}

fn row(versions: [Version; 2]) -> String {
    let [first, second] = versions.map(name);
    let mut row = if first == second { format!("| {first} ") } else { format!("| {first} and {second} ") };
    let mut cluster = pair(versions);
    let instances = cluster.edge.status()["instances"].as_array().cloned().unwrap_or_default();
    let shown = |say: &dyn Fn(&Value) -> String| {
        let mut said: Vec<String> = instances.iter().map(|one| say(&one["capabilities"])).collect();
        said.dedup();
        said.join(", ")
    };
    let yes = |value: &Value| if value == &Value::Bool(true) { "yes" } else { "no" }.to_owned();
    let by = |can: &Value| can["copied_by"].as_str().unwrap_or("-").to_owned();
    let by_id = shown(&|can| yes(&can["by_id"]));
    let arrays = shown(&|can| yes(&can["metadata_arrays"]));
    write!(row, "| {by_id} | {} | {arrays} ", shown(&by)).expect("a string");
    for (question, check) in CHECKS {
        // The remains of one check may fail the next one. The table shows it.
        let held = catch_unwind(AssertUnwindSafe(|| check(&mut cluster))).is_ok();
        println!("{first} and {second}: {question}: {held}");
        row.push_str(if held { "| yes " } else { "| **no** " });
    }
    row.push_str("|\n");
    row
}

#[test]
#[ignore = "minutes: run by make compatibility"]
fn compatibility() {
    let mut table = "| servers | route by id | copied by | arrays in metadata |".to_owned();
    CHECKS.iter().for_each(|(question, _)| write!(table, " {question} |").expect("a string"));
    table.push_str("\n|---|---|---|---|");
    table.push_str(&"---|".repeat(CHECKS.len()));
    table.push('\n');
    PAIRS.into_iter().for_each(|pair| table.push_str(&row(pair)));
    println!("{table}");
    let path = place::repository().join("docs/compatibility.md");
    let text = std::fs::read_to_string(&path).expect("the document");
    let (before, rest) = text.split_once(BEGIN).expect("where the table begins");
    let (_, after) = rest.split_once(END).expect("where the table ends");
    std::fs::write(&path, format!("{before}{BEGIN}{table}{END}{after}")).expect("the document");
    assert!(!table.contains("**no**"), "something does not hold: see docs/compatibility.md");
}
