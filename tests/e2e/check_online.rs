//! `check --online` against real servers, and against what people put in their place.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::process::{Command, Output};

use testkit::{ChromaServer, place};

/// Returns the command's output, with these two servers and this journal.
fn check(primary: &str, replica: &str, database: Option<&str>) -> (Output, String) {
    let folder = place::data_dir("check-online");
    let mut command = Command::new(env!("CARGO_BIN_EXE_chroma-edge"));
    for variable in chroma_edge::config::VARIABLES {
        command.env_remove(variable);
    }
    command.args(["check", "--online"]).current_dir(folder.path());
    command.env("PRIMARY_URL", primary).env("REPLICA_URL", replica);
    if let Some(url) = database {
        command.env("DATABASE_URL", url);
    }
    let output = command.output().expect("the program");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    (output, text)
}

#[track_caller]
fn assert_problem(primary: &str, replica: &str, database: Option<&str>, words: &str) {
    let (output, text) = check(primary, replica, database);
    assert_eq!(output.status.code(), Some(1), "{text}");
    let problems: Vec<&str> = text.lines().filter(|line| line.starts_with("problem: ")).collect();
    assert!(problems.len() == 1 && problems[0].contains(words), "{words}: {text}");
}

/// Starts a web server that answers everything with a page.
fn some_web_server() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let url = format!("http://{}", listener.local_addr().expect("its address"));
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let _ = stream.read(&mut [0; 4096]);
            let _ = stream
                .write_all(b"HTTP/1.1 200 OK\r\nserver: apache\r\ncontent-length: 2\r\nconnection: close\r\n\r\nhi");
        }
    });
    url
}

#[test]
fn what_is_there_is_said_in_words() {
    let (first, second) = (ChromaServer::fresh(), ChromaServer::fresh());
    let (primary, replica) = (first.client().url(), second.client().url());
    let (output, text) = check(&primary, &replica, None);
    assert!(output.status.success(), "{text}");
    assert_eq!(text.lines().filter(|line| line.contains("is a Chroma server")).count(), 2, "{text}");
    assert!(text.contains("serve makes it"), "{text}");
    assert_problem(&primary, &some_web_server(), None, "a web server (apache), but no Chroma");
    assert_problem(&primary, "http://127.0.0.1:1", None, "cannot be reached: the connection was refused");
    let words = "/none: cannot connect to 127.0.0.1:1: error connecting to server: Connection refused";
    assert_problem(&primary, &replica, Some("postgres://nobody@127.0.0.1:1/none"), words);
    #[cfg(feature = "tls")]
    assert_problem(&primary, &replica.replace("http:", "https:"), None, "speaks plain HTTP");
}

#[test]
fn a_journal_that_could_not_be_made_is_a_problem() {
    let (server, folder) = (ChromaServer::fresh(), place::data_dir("no-journal"));
    let file = folder.path().join("file");
    std::fs::write(&file, "in the way").expect("a file");
    let url = server.client().url();
    for (path, problem) in
        [(folder.path().join("new/journal.db"), None), (file.join("new/journal.db"), Some("serve cannot make it"))]
    {
        let config = folder.path().join("edge.yaml");
        let text =
            format!("edge:\n  instances: [{{ name: primary, url: {url:?} }}]\n  journal: {{ path: {path:?} }}\n");
        std::fs::write(&config, text).expect("a file");
        let output =
            Command::new(place::binary()).env_clear().args(["check", "--online", "--conf"]).arg(&config).output();
        let output = output.expect("the program");
        let said = String::from_utf8_lossy(&output.stdout);
        let found = said.lines().find_map(|line| line.strip_prefix("problem: "));
        assert_eq!(
            (found.is_some(), output.status.code()),
            (problem.is_some(), Some(i32::from(problem.is_some()))),
            "{said}"
        );
        assert!(found.unwrap_or_default().contains(problem.unwrap_or_default()), "{said}");
    }
    assert!(!folder.path().join("new").exists(), "a check makes nothing");
}

#[cfg(feature = "tls")]
#[test]
fn tls_where_http_is_configured_is_said_in_words() {
    let (first, second) = (ChromaServer::fresh(), ChromaServer::fresh());
    let certified = testkit::authority::certified("localhost");
    let relay = testkit::relay::Relay::tls(&second, &certified.server);
    assert_problem(&first.client().url(), &relay.url().replace("https:", "http:"), None, "speaks TLS");
}
