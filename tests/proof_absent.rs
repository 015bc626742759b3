//! An ordinary build has no proof points: it does not read their variables, and does not contain their names.
#![cfg(not(feature = "proof"))]
#![allow(clippy::expect_used, reason = "a test may fail by panic")]

use chroma_edge::proof::{CrashPoint, Rule, broken};
use testkit::Cluster;
use testkit::cluster::{add, ids};

#[test]
fn an_ordinary_edge_serves_on_whatever_the_proofs_variables_say() {
    let cluster = Cluster::with(2, |edge| {
        edge.env("CHROMA_EDGE_CRASH_AT", "before_append:1").env("CHROMA_EDGE_BREAK_RULE", "no such rule")
    });
    let collection = cluster.create("things");
    add(&cluster.client(), &collection, "one").expect(201);
    assert_eq!(ids(&cluster.client(), &collection), ["one"]);
    cluster.assert_converged();
}

#[test]
fn an_ordinary_binary_holds_no_name_of_the_proof() {
    let binary = std::fs::read(env!("CARGO_BIN_EXE_chroma-edge")).expect("the binary");
    let holds = |text: &str| binary.windows(text.len()).any(|bytes| bytes == text.as_bytes());
    assert!(holds("READ_REPLICA_RATIO"), "a variable that it knows is found");
    for name in ["CHROMA_EDGE_CRASH_AT", "CHROMA_EDGE_BREAK_RULE", "CHROMA_EDGE_PANIC_AT_BYTES", "crash point: "] {
        assert!(!holds(name), "{name}");
    }
}

#[test]
fn no_rule_is_broken() {
    assert!(Rule::ALL.into_iter().all(|rule| !broken(rule)));
    CrashPoint::ALL.into_iter().for_each(chroma_edge::proof::pass);
}
