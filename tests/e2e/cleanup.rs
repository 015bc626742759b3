//! `cleanup` and `status`, as an operator or a script runs them against a live edge.

use std::collections::BTreeSet;
use std::io::Write;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use testkit::cluster::{CATCH_UP, Cluster, add};
use testkit::http::DEFAULT;
use testkit::place;

struct Ran {
    code: i32,
    stdout: String,
    stderr: String,
}

fn run(url: &str, words: &[&str], typed: &str) -> Ran {
    let mut command = Command::new(place::binary());
    command.args(words).args(["--url", url]).env_remove("CHROMA_EDGE_TOKEN");
    let piped = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = piped.spawn().expect("the program");
    // It may end without reading.
    let _ = child.stdin.take().expect("stdin").write_all(typed.as_bytes());
    let output = child.wait_with_output().expect("an end");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Ran { code: output.status.code().expect("a code"), stdout: text(&output.stdout), stderr: text(&output.stderr) }
}

const NAMES: [&str; 8] = ["AUTOTEST_a", "test_b", "UC3_c", "docs", "global", "my_test_d", "Test_e", "trial_f"];

fn names(cluster: &Cluster) -> BTreeSet<String> {
    let list = cluster.client().get(&format!("{DEFAULT}/collections")).expect(200).json();
    list.as_array().expect("a list").iter().map(|one| one["name"].as_str().expect("a name").to_owned()).collect()
}

fn but(gone: &[&str]) -> BTreeSet<String> {
    NAMES.iter().filter(|name| !gone.contains(name)).map(|name| (*name).to_owned()).collect()
}

#[test]
fn only_what_tests_have_left_is_removed_and_only_with_a_yes() {
    let cluster = Cluster::with(2, |edge| {
        edge.config("  protection: { collections: [global, docs, \"trial*\"], test_prefixes: [trial_] }")
    });
    for name in NAMES {
        let id = cluster.create(name);
        add(&cluster.client(), &id, "one").expect(201);
    }
    let url = cluster.edge.url();
    let clean = |words: &[&str], typed: &str| run(&url, &[&["cleanup"], words].concat(), typed);
    let listed = clean(&["--dry-run"], "");
    assert_eq!((listed.code, listed.stdout.as_str()), (0, "AUTOTEST_a\nUC3_c\ntest_b\ntrial_f\n"), "{}", listed.stderr);
    assert!(listed.stderr.contains("4 of 8 collections"), "{}", listed.stderr);
    for typed in ["", "no\n", "y\n", "YES\n"] {
        let asked = clean(&[], typed);
        assert_eq!((asked.code, names(&cluster)), (1, but(&[])), "{typed:?}: {}", asked.stderr);
        assert!(asked.stderr.contains("nothing was removed"), "{}", asked.stderr);
    }
    // The configuration protects `docs`, as the edge reports.
    for prefix in ["", "g", "global", "do", "docs"] {
        let refused = clean(&["--yes", "--prefix", "test_", "--prefix", prefix], "");
        assert_eq!((refused.code, names(&cluster)), (64, but(&[])), "{prefix:?}: {}", refused.stderr);
    }
    let some = clean(&["--yes", "--prefix", "UC3_"], "");
    assert_eq!((some.code, names(&cluster)), (0, but(&["UC3_c"])), "{}", some.stderr);
    let all = clean(&[], "yes\n");
    assert_eq!((all.code, names(&cluster)), (0, but(&["UC3_c", "AUTOTEST_a", "test_b", "trial_f"])), "{}", all.stderr);
    assert!(
        all.stderr.contains("1/3 removed AUTOTEST_a") && all.stderr.contains("3 removed, 0 left"),
        "{}",
        all.stderr
    );
    assert_eq!(clean(&["--yes"], "").code, 0, "nothing is left to do");
    let content = cluster.assert_converged();
    assert_eq!(content.collections.len(), 4, "gone from both servers");
}

/// More than one page of the list.
#[test]
fn what_does_not_fit_on_one_page_is_found() {
    let cluster = Cluster::two();
    let client = cluster.client();
    for number in 0..520 {
        let name = if number % 2 == 0 { format!("test_{number:03}") } else { format!("kept_{number:03}") };
        client.post(&format!("{DEFAULT}/collections"), &json!({ "name": name })).expect(200);
    }
    let listed = run(&cluster.edge.url(), &["cleanup", "--dry-run"], "");
    assert_eq!((listed.code, listed.stdout.lines().count()), (0, 260), "{}", listed.stderr);
}

#[test]
fn the_exit_code_of_status_says_whether_all_is_well() {
    let mut cluster = Cluster::two();
    let id = cluster.create("things");
    cluster.edge.wait_until_in_sync(CATCH_UP);
    let url = cluster.edge.url();
    let well = run(&url, &["status"], "");
    assert_eq!(well.code, 0, "{}{}", well.stdout, well.stderr);
    assert!(
        well.stdout.starts_with("healthy: 2 of 2 servers in use, 0 writes to apply, 0 in doubt\n"),
        "{}",
        well.stdout
    );
    cluster.replica().kill();
    cluster.edge.wait_until_healthy("replica", false, CATCH_UP);
    add(&cluster.client(), &id, "one").expect(201);
    let half = run(&url, &["status", "--json"], "");
    let shown: Value = serde_json::from_str(&half.stdout).expect("JSON");
    assert_eq!((half.code, &shown["verdict"]), (1, &json!("degraded")), "{shown}");
    assert_eq!((&shown["status"]["pending_writes"], &shown["health"]["healthy_instances"]), (&json!(1), &json!("1/2")));
    let told = run(&url, &["status"], "");
    let line = told.stdout.lines().find(|line| line.starts_with("replica")).unwrap_or_default();
    assert!(line.contains("down") && line.split_whitespace().nth(3) == Some("1"), "{}", told.stdout);
    cluster.primary().kill();
    cluster.edge.wait_until_healthy("primary", false, CATCH_UP);
    assert_eq!(run(&url, &["status"], "").code, 2, "it answers, and serves nobody");
    cluster.edge.kill();
    let away = run(&url, &["status", "--json"], "");
    let shown: Value = serde_json::from_str(&away.stdout).expect("JSON");
    assert_eq!((away.code, &shown["verdict"]), (2, &json!("unavailable")), "{shown}");
    assert_eq!(run("nonsense", &["status"], "").code, 64);
}
