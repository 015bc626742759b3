//! The guided outage, with a test as its operator: it does what standard output asks for, and nothing else.

use std::io::{BufRead, BufReader, Read};
use std::process::Child;
use std::time::Duration;

use serde_json::{Value, json};

use super::command::{command, held, own};
use testkit::cluster::{CATCH_UP, add};
use testkit::http::{DEFAULT, record_path};
use testkit::workload::{Plan, Workload};
use testkit::{ChromaServer, Cluster, place};

/// What the operator is asked to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Request {
    Suspend,
    Resume,
}

/// How a guided run ended.
#[derive(Debug)]
struct Walked {
    code: Option<i32>,
    said: Vec<String>,
    report: Value,
}

/// Runs the guided mode. `operate` does what is asked.
fn walk(url: &str, options: &[&str], mut operate: impl FnMut(Request)) -> Walked {
    let folder = place::data_dir("validate");
    let report = folder.path().join("report.json");
    let mut command = command(url, options);
    let mut child: Child = command.arg("--output").arg(&report).spawn().expect("the command");
    let mut said = Vec::new();
    for line in BufReader::new(child.stdout.take().expect("its output")).lines() {
        let line = line.expect("text");
        if line.starts_with("Now suspend ") {
            operate(Request::Suspend);
        } else if line.starts_with("Now resume ") {
            operate(Request::Resume);
        }
        said.push(line);
    }
    let code = child.wait().expect("our own child").code();
    let mut errors = String::new();
    child.stderr.take().expect("its errors").read_to_string(&mut errors).expect("text");
    said.push(errors);
    let report = std::fs::read(report).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default();
    Walked { code, said, report }
}

impl Walked {
    fn verdicts(&self) -> Vec<String> {
        let checks = self.report["checks"].as_array().cloned().unwrap_or_default();
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        checks.iter().map(|one| format!("{} {}", text(&one["check"]), text(&one["verdict"]))).collect()
    }

    fn step(&self, name: &str) -> Value {
        let checks = self.report["checks"].as_array().cloned().unwrap_or_default();
        checks.into_iter().find(|one| one["check"] == name).unwrap_or_default()
    }
}

const PASSED: [&str; 5] = ["before passed", "outage passed", "operations passed", "recovery passed", "content passed"];

fn inhabited() -> Cluster {
    let cluster = Cluster::two();
    let customers = cluster.create("customers");
    add(&cluster.client(), &customers, "one").expect(201);
    cluster.edge.wait_until_in_sync(CATCH_UP);
    cluster
}

#[track_caller]
fn assert_walked(cluster: &Cluster, walked: &Walked) {
    assert_eq!((walked.code, walked.verdicts()), (Some(0), PASSED.map(str::to_owned).to_vec()), "{walked:#?}");
    for step in ["outage", "recovery"] {
        assert_eq!(walked.step(step)["figures"]["errors"], 0, "{walked:#?}");
    }
    let figures = walked.step("operations")["figures"].clone();
    for operation in ["health", "create", "add", "query", "update", "delete", "list", "get", "delete_by_where"] {
        assert!(figures[format!("{operation}_seconds")].is_f64(), "{operation}: {walked:#?}");
    }
    assert_eq!(own(&cluster.client()), Vec::<String>::new());
}

#[test]
fn the_replica_hangs_and_goes_on() {
    let cluster = inhabited();
    let before = held(&cluster.servers);
    let walked = walk(&cluster.edge.url(), &["--guided", "replica", "--wait", "120"], |asked| match asked {
        Request::Suspend => cluster.servers[1].stop(),
        Request::Resume => cluster.servers[1].cont(),
    });
    assert_walked(&cluster, &walked);
    let states: Vec<&str> = walked.said.iter().filter_map(|line| line.strip_prefix("  replica is ")).collect();
    assert!(states.contains(&"down") && states.last() == Some(&"up"), "{walked:#?}");
    assert_ne!(states[0], "catching_up", "no news while it is up");
    cluster.edge.wait_until_in_sync(CATCH_UP);
    assert_eq!(held(&cluster.servers), before);
}

/// As docs/go-live.md requires: under load.
#[test]
fn clients_never_stop_writing() {
    let mut cluster = inhabited();
    let url = cluster.edge.url();
    let plan = Plan { workers: 4, ..Plan::unique_adds() };
    let workload = Workload::start(&cluster.client(), 5, &plan);
    workload.await_more(50, CATCH_UP);
    let walked = walk(&url, &["--guided", "replica", "--wait", "60"], |asked| match asked {
        Request::Suspend => cluster.replica().kill(),
        Request::Resume => cluster.replica().restart(),
    });
    workload.finish();
    assert_walked(&cluster, &walked);
    cluster.edge.wait_until_in_sync(CATCH_UP);
}

#[test]
fn the_primary_is_killed_and_started_again() {
    let mut cluster = inhabited();
    let url = cluster.edge.url();
    let addresses = format!("primary={},replica={}", cluster.servers[0].url(), cluster.servers[1].url());
    let options = ["--guided", "primary", "--wait", "120", "--instances", &addresses];
    let walked = walk(&url, &options, |asked| match asked {
        Request::Suspend => cluster.primary().kill(),
        Request::Resume => cluster.primary().restart(),
    });
    assert_walked(&cluster, &walked);
}

#[test]
fn an_operator_who_does_nothing_is_not_waited_for_for_ever() {
    let cluster = Cluster::two();
    let mut asked = Vec::new();
    let walked = walk(&cluster.edge.url(), &["--guided", "replica", "--wait", "3"], |request| asked.push(request));
    assert_eq!((walked.code, asked), (Some(1), vec![Request::Suspend]), "{walked:#?}");
    let verdicts = ["before passed", "outage failed", "operations skipped", "recovery skipped", "content skipped"];
    assert_eq!(walked.verdicts(), verdicts, "{walked:#?}");
    let advice = "replica was not seen down within 3 s. If you have suspended it, resume it.";
    assert!(walked.said.iter().any(|line| line == advice), "{walked:#?}");
    assert!(!own(&cluster.client()).is_empty(), "kept, since it failed");
}

#[test]
fn another_instance_that_goes_away_instead_is_told_at_once_by_name() {
    let mut cluster = Cluster::two();
    let url = cluster.edge.url();
    let mut asked = Vec::new();
    let walked = walk(&url, &["--guided", "replica", "--wait", "120"], |request| {
        asked.push(request);
        cluster.primary().kill();
    });
    assert_eq!((walked.code, asked), (Some(1), vec![Request::Suspend]), "{walked:#?}");
    assert_eq!(walked.verdicts()[1..3], ["outage failed", "operations skipped"], "{walked:#?}");
    let why = walked.step("outage")["failures"].to_string();
    assert!(why.contains("primary (") && why.contains("and it is replica that was to be suspended"), "{walked:#?}");
    let advice = |line: &String| line.ends_with("Resume what you have suspended. Not healthy: primary.");
    assert!(walked.said.iter().any(advice), "{walked:#?}");
    let seconds = walked.step("outage")["seconds"].as_f64().expect("a time");
    assert!(seconds < 60.0, "not waited for to the end: {walked:#?}");
}

#[test]
fn an_instance_that_stays_away_fails_the_recovery() {
    let mut cluster = Cluster::two();
    let url = cluster.edge.url();
    let walked = walk(&url, &["--guided", "replica", "--wait", "8"], |asked| match asked {
        Request::Suspend => cluster.replica().kill(),
        Request::Resume => {}
    });
    assert_eq!(walked.code, Some(1), "{walked:#?}");
    assert_eq!(walked.verdicts()[3..], ["recovery failed", "content skipped"], "{walked:#?}");
    assert!(walked.step("recovery").to_string().contains("was not seen again within 8 s"), "{walked:#?}");
    assert_eq!(walked.step("recovery")["figures"]["errors"], 0, "clients go on");
    let advice = "replica was not seen again within 8 s. Resume what you have suspended. Not healthy: replica.";
    assert!(walked.said.iter().any(|line| line == advice), "{walked:#?}");
}

#[test]
fn content_that_differs_afterwards_is_found() {
    let mut cluster = Cluster::two();
    let url = cluster.edge.url();
    let walked = walk(&url, &["--guided", "replica", "--wait", "15"], |asked| match asked {
        Request::Suspend => {
            stray(&cluster.servers[1]);
            cluster.replica().kill();
        }
        Request::Resume => cluster.replica().restart(),
    });
    assert_eq!(walked.code, Some(1), "{walked:#?}");
    assert_eq!(walked.verdicts()[..4], PASSED[..4], "{walked:#?}");
    let differences = walked.step("content")["differences"].clone();
    assert_eq!(differences["total"], 1, "{walked:#?}");
    assert!(differences["shown"][0]["place"].as_str().is_some_and(|place| place.ends_with("record \"stray\"")));
}

/// Adds a record that the edge does not know to the collection from before the outage.
fn stray(server: &ChromaServer) {
    let name = own(&server.client()).into_iter().find(|name| name.ends_with("_before")).expect("the collection");
    let found = server.client().get(&format!("{DEFAULT}/collections/{name}")).expect(200).json();
    let id = found["id"].as_str().expect("an id").to_owned();
    let body = json!({ "ids": ["stray"], "embeddings": [[1, 2, 3, 4, 5, 6, 7, 8]] });
    server.client().post(&record_path(&id, "add"), &body).expect(201);
}

#[test]
fn an_outage_is_not_begun_while_something_is_down() {
    let mut cluster = Cluster::two();
    cluster.primary().kill();
    cluster.edge.wait_until_healthy("primary", false, Duration::from_secs(30));
    let walked = walk(&cluster.edge.url(), &["--guided", "replica"], |asked| panic!("asked for {asked:?}"));
    assert_eq!((walked.code, walked.verdicts().first().map(String::as_str)), (Some(1), Some("before failed")));
    assert!(walked.step("before").to_string().contains("needs a whole deployment"), "{walked:#?}");
    assert_eq!(own(&cluster.client()), Vec::<String>::new());
}
