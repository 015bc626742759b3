//! Import cycles between files are forbidden, except for those listed here, each inside one folder and with its reason.

use std::collections::{BTreeMap, BTreeSet};

use crate::imports::Crate;
use crate::none;

/// A folder whose `mod.rs` defines what its files share, and calls them. They may import it.
const SHARED_MOD: &[(&str, &str)] = &[
    ("src/order/board", "each rule is an `impl` of the board, whose private fields `mod.rs` defines"),
    ("src/proof", "`proof.rs` chooses between the armed build and constants"),
];

/// Two files of one folder that import each other: the import that closes the cycle, and why it is allowed.
const PAIRS: &[(&str, &str, &str)] = &[
    ("src/chroma/error.rs", "src/chroma/answer.rs", "an error is one of the answers that the edge itself gives"),
    ("src/config/outside.rs", "src/config/check.rs", "both read files that the configuration names"),
    ("src/journal/sqlite/schema.rs", "src/journal/sqlite/open.rs", "a migration that fails is a failure to open"),
    ("src/validate/client/error.rs", "src/validate/client/wire.rs", "an error holds the answer that was refused"),
];

type Graph = BTreeMap<String, BTreeSet<String>>;

/// Returns which production file imports which. What a `mod.rs` only re-exports does not count as an import of its own.
fn graph() -> Graph {
    let mut graph = Graph::new();
    for import in Crate::of_source().imports().into_iter().filter(|import| !import.offered) {
        let Some(to) = import.to.filter(|to| *to != import.from && to != "src/lib.rs") else { continue };
        graph.entry(import.from).or_default().insert(to);
    }
    graph
}

/// Returns the folder that a file is a member of, or whose table of contents it is.
fn folder(graph: &Graph, file: &str) -> String {
    let own = file.trim_end_matches(".rs");
    let is_contents = graph.keys().any(|other| other.strip_prefix(own).is_some_and(|rest| rest.starts_with('/')));
    if is_contents { own.to_owned() } else { file.rsplit_once('/').map_or(file, |(folder, _)| folder).to_owned() }
}

fn is_contents(graph: &Graph, file: &str) -> bool {
    file.ends_with("/mod.rs") || !file.starts_with(&format!("{}/", folder(graph, file)))
}

fn reach(graph: &Graph, from: &str) -> BTreeSet<String> {
    let (mut seen, mut open) = (BTreeSet::new(), vec![from.to_owned()]);
    while let Some(file) = open.pop() {
        let next = graph.get(&file).into_iter().flatten();
        open.extend(next.filter(|next| seen.insert((*next).clone())).cloned());
    }
    seen
}

/// Returns the imports that lie on a cycle.
fn circular(graph: &Graph) -> BTreeSet<(String, String)> {
    let reached: BTreeMap<&String, BTreeSet<String>> = graph.keys().map(|file| (file, reach(graph, file))).collect();
    let edges = graph.iter().flat_map(|(from, all)| all.iter().map(move |to| (from, to)));
    let closed = edges.filter(|(from, to)| reached.get(to).is_some_and(|all| all.contains(*from)));
    closed.map(|(from, to)| (from.clone(), to.clone())).collect()
}

#[test]
fn files_import_each_other_in_no_circle() {
    let graph = graph();
    assert!(graph.len() > 100, "the imports were not read: {}", graph.len());
    let all = circular(&graph);
    let shared = |from: &str, to: &str| {
        is_contents(&graph, to)
            && folder(&graph, from) == folder(&graph, to)
            && SHARED_MOD.iter().any(|(listed, _)| *listed == folder(&graph, to))
    };
    let paired = |from: &str, to: &str| PAIRS.iter().any(|(a, b, _)| *a == from && *b == to);
    let mut cut = graph.clone();
    for (from, to) in &all {
        if shared(from, to) || paired(from, to) {
            cut.get_mut(from).map(|files| files.remove(to));
        }
    }
    let mut found: Vec<String> = circular(&cut).iter().map(|(from, to)| format!("{from} -> {to}")).collect();
    for (from, to, _) in PAIRS {
        if !all.contains(&((*from).to_owned(), (*to).to_owned())) {
            found.push(format!("{from} -> {to} closes no circle any more: remove it from its list"));
        }
    }
    for (from, to, _) in PAIRS.iter().filter(|(from, to, _)| folder(&graph, from) != folder(&graph, to)) {
        found.push(format!("{from} -> {to}: a pair is of one folder"));
    }
    for (listed, _) in SHARED_MOD {
        let circle = |(from, to): &(String, String)| shared(from, to) && folder(&graph, to) == *listed;
        if !all.iter().any(circle) {
            found.push(format!("{listed}: no circle with its mod.rs any more: remove it from SHARED_MOD"));
        }
    }
    none("a circle of imports", found);
}

#[test]
fn a_circle_is_found_through_others() {
    let edge = |from: &str, to: &str| (from.to_owned(), BTreeSet::from([to.to_owned()]));
    let graph = Graph::from([edge("a", "b"), edge("b", "c"), edge("c", "a"), edge("d", "a")]);
    let found: Vec<String> = circular(&graph).into_iter().map(|(from, _)| from).collect();
    assert_eq!(found, ["a", "b", "c"]);
}
