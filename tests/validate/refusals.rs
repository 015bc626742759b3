//! Invalid requests to the command: exit code 2, before anything is written.

use std::os::unix::ffi::OsStrExt;

use super::command::{Ran, own, validate, validate_plainly};
use testkit::Cluster;

#[track_caller]
fn assert_mistake(ran: &Ran, why: &[&str]) {
    assert_eq!(ran.code, Some(2), "{ran:#?}");
    assert!(why.iter().all(|part| ran.stderr.contains(part)), "{why:?}: {ran:#?}");
    assert_eq!(ran.stdout, "");
}

#[test]
fn mistakes_in_words_are_told_before_anybody_is_asked() {
    let nobody = "http://127.0.0.1:1";
    let cases: [(&[&str], &[&str]); 15] = [
        (&["--only", "speed"], &["no check \"speed\"", "health", "collections", "transactions"]),
        (&["--instances", "primary"], &["NAME=URL"]),
        (&["--instances", "primary=ftp://a"], &["no address"]),
        (&["--output", "report.pdf"], &[".json or .txt"]),
        (&["--limit", "soon"], &["--limit"]),
        (&["--limit", "18446744073709551615"], &["--limit is at most 604800 seconds"]),
        (&["--wait", "18446744073709551615"], &["--wait is at most 604800 seconds"]),
        (&["--guided", "replica", "--wait", "604801"], &["--wait is at most 604800 seconds"]),
        (&["--instances", "a=http://a,a=http://b"], &["\"a\" twice"]),
        (&["--instances", "a=http://a,b=http://a:80/"], &["for a and for b"]),
        (&["--instances", "primary=http://127.0.0.1:99999"], &["a port is a number"]),
        (&["--token", "schlüssel"], &["visible ASCII", "--token", "CHROMA_EDGE_TOKEN"]),
        (&["--token", "two words"], &["visible ASCII"]),
        (&["--guided", "replica", "--only", "sync"], &["--only"]),
        (&["--colour"], &["--colour"]),
    ];
    for (options, why) in cases {
        assert_mistake(&validate_plainly(nobody, options), why);
    }
    assert_mistake(&validate_plainly("edge:8000", &[]), &["edge:8000"]);
    assert_mistake(&validate_plainly("http://127.0.0.1:99999", &[]), &["a port is a number from 1 to 65535"]);
    let endless = ["--patience", "18446744073709551615"];
    let mut command = super::command::unhurried(nobody, &endless);
    let ran = super::command::end_of(command.spawn().expect("the command"));
    assert_mistake(&ran, &["--patience is at most 604800 seconds"]);
    let mut command = super::command::command(nobody, &[]);
    command.env("CHROMA_EDGE_TOKEN", std::ffi::OsStr::from_bytes(b"s\xe9cret"));
    let ran = super::command::end_of(command.spawn().expect("the command"));
    assert_mistake(&ran, &["visible ASCII"]);
}

#[test]
fn an_unwritable_report_is_told_before_anything_is_written() {
    let cluster = Cluster::two();
    let ran = validate_plainly(&cluster.edge.url(), &["--output", "/proc/nowhere/report.json"]);
    assert_mistake(&ran, &["/proc/nowhere/report.json"]);
    assert_eq!(cluster.client().get("/wal/status").expect(200).json()["transactions"], 0);
}

#[test]
fn an_instance_that_is_none_is_told_with_those_there_are() {
    let cluster = Cluster::two();
    let address = format!("second={}", cluster.servers[1].url());
    let ran = validate(&cluster.edge.url(), &["--instances", &address]);
    assert_mistake(&ran, &["no instance \"second\"", "primary, replica"]);
    let ran = validate(&cluster.edge.url(), &["--guided", "third"]);
    assert_mistake(&ran, &["no instance \"third\"", "primary, replica"]);
    assert_eq!(own(&cluster.client()), Vec::<String>::new());
}

#[test]
fn an_older_report_survives_a_run_that_did_not_happen() {
    let (_folder, path) = super::command::file("report.txt", "of yesterday");
    let output = path.display().to_string();
    let cluster = Cluster::two();
    let ran = validate_plainly(&cluster.edge.url(), &["--output", &output, "--instances", "x=http://a"]);
    assert_mistake(&ran, &["no instance"]);
    assert_eq!(std::fs::read_to_string(&path).expect("the report"), "of yesterday");
}

#[test]
fn help_names_every_check_and_is_no_mistake() {
    let ran = validate_plainly("http://127.0.0.1:1", &["--help"]);
    assert_eq!(ran.code, Some(0), "{ran:#?}");
    for check in ["health", "documents", "transactions"] {
        assert!(ran.stdout.lines().any(|line| line.trim_start().starts_with(check)), "{check}: {}", ran.stdout);
    }
}
