//! The recipes of docs/recipes/, run as they stand on their pages: the primary is killed under each and comes back, and
//! both servers hold what the program believes to be stored.
//!
//! Recipes with heavy packages are run by `make recipes`, which installs them.

#![allow(clippy::expect_used, reason = "a test may fail by panic")]

use std::process::Command;

use testkit::cluster::{CATCH_UP, Cluster};
use testkit::place::{installed, repository};
use testkit::scripts::Dialogue;

/// Runs the recipe with this Python. At the end, the servers must hold this many records.
fn recipe(page: &str, python: &str, records: usize) {
    let mut cluster = Cluster::two();
    let mut command = Command::new(installed(python));
    command.arg(repository().join("tests/recipes/run.py")).arg(repository().join("docs/recipes").join(page));
    let mut program = Dialogue::of(command.args(["--url", &cluster.edge.url()]), page);
    program.until("kill");
    cluster.primary().kill();
    program.until("restart");
    cluster.edge.wait_until_healthy("primary", false, CATCH_UP);
    cluster.primary().restart();
    cluster.edge.wait_until_in_sync(CATCH_UP);
    program.answer();
    program.until("done");
    program.end();
    assert_eq!(cluster.assert_converged().record_count(), records);
}

#[test]
fn curl() {
    recipe("curl.md", "client/bin/python", 62);
}

#[test]
fn cms() {
    recipe("cms.md", "client/bin/python", 52);
}

#[test]
fn open_webui() {
    recipe("openwebui.md", "client/bin/python", 73);
}

#[test]
#[ignore = "its packages are heavy: make recipes"]
fn haystack() {
    recipe("haystack.md", "recipes/bin/python", 30);
}

#[test]
#[ignore = "its packages are heavy: make recipes"]
fn langchain() {
    recipe("langchain.md", "recipes/bin/python", 31);
}

#[test]
#[ignore = "its packages are heavy: make recipes"]
fn llamaindex() {
    recipe("llamaindex.md", "recipes/bin/python", 32);
}
