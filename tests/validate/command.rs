//! The command as an operator runs it, and its output.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use serde_json::Value;

use testkit::cluster::TENANT;
use testkit::http::{Client, DEFAULT};
use testkit::place;
use testkit::{ChromaServer, Content};

/// Variables that a shell may have set.
const VARIABLES: [&str; 8] = [
    "CHROMA_EDGE_TOKEN",
    "HTTP_PROXY",
    "http_proxy",
    "HTTPS_PROXY",
    "https_proxy",
    "ALL_PROXY",
    "all_proxy",
    "SSL_CERT_FILE",
];

/// A finished run.
#[derive(Debug)]
pub struct Ran {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
    pub report: Value,
}

/// The patience of runs that should find a fault: what is wrong stays wrong.
const LITTLE: &str = "4";
/// The patience of runs that should pass, on a busy machine.
pub const MUCH: &str = "--patience=60";

/// Returns the command, ready to start.
pub fn command(url: &str, options: &[&str]) -> Command {
    let mut command = unhurried(url, options);
    if !options.contains(&MUCH) {
        command.args(["--patience", LITTLE]);
    }
    command
}

/// Returns the command with these options and no others.
pub fn unhurried(url: &str, options: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_chroma-edge"));
    for name in VARIABLES {
        command.env_remove(name);
    }
    command.args(["validate", "--url", url]).args(options);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Runs it to its end, with a report in JSON.
pub fn validate(url: &str, options: &[&str]) -> Ran {
    let folder = place::data_dir("validate");
    let report = folder.path().join("report.json");
    let mut command = command(url, options);
    command.arg("--output").arg(&report);
    ended(command.output().expect("the command"), &report)
}

/// Runs it without a report.
pub fn validate_plainly(url: &str, options: &[&str]) -> Ran {
    ended(command(url, options).output().expect("the command"), Path::new(""))
}

/// Waits for the end of a started run, and returns its output.
pub fn end_of(child: Child) -> Ran {
    ended(child.wait_with_output().expect("the command"), Path::new(""))
}

fn ended(output: Output, report: &Path) -> Ran {
    let report = std::fs::read(report).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok());
    Ran {
        code: output.status.code(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        report: report.unwrap_or_default(),
    }
}

impl Ran {
    /// Returns the outcome of this check.
    #[track_caller]
    pub fn check(&self, name: &str) -> &Value {
        let found = self.report["checks"].as_array().and_then(|list| list.iter().find(|one| one["check"] == name));
        found.unwrap_or_else(|| panic!("no outcome of {name}: {self:#?}"))
    }

    #[track_caller]
    pub fn assert_passed(&self) -> &Self {
        assert_eq!(self.code, Some(0), "{self:#?}");
        assert_eq!(self.report["passed"], true, "{self:#?}");
        self
    }

    /// Checks that the check failed with this message, which the table must show too.
    #[track_caller]
    pub fn assert_failed(&self, name: &str, why: &str) -> &Self {
        assert_eq!(self.code, Some(1), "{self:#?}");
        let outcome = self.check(name);
        assert_eq!(outcome["verdict"], "failed", "{self:#?}");
        let said = format!("{}{}", outcome["failures"], outcome["differences"]["shown"]);
        assert!(said.contains(why), "{why:?} is not why {name} failed: {self:#?}");
        let row = self.stdout.lines().find(|line| line.trim_start().starts_with(name));
        assert!(row.is_some_and(|row| row.contains("FAILED")), "{}", self.stdout);
        self
    }

    /// Returns how many collections it reports as left behind.
    pub fn left(&self) -> usize {
        self.report["left_behind"].as_array().map_or(0, Vec::len)
    }

    /// Runs every printed removal as an operator would paste it, and checks that all collections of this run are gone.
    #[track_caller]
    pub fn assert_removable(&self, from: &[&Client]) {
        let lines: Vec<&str> = self.said().filter(|line| line.starts_with("curl ")).collect();
        assert!(!lines.is_empty(), "nothing is said to be left: {self:#?}");
        for line in lines {
            let done = Command::new("sh").args(["-c", line]).output().expect("a shell");
            assert!(done.status.success(), "{line}: {done:?}");
        }
        from.iter().for_each(|client| assert_eq!(own(client), Vec::<String>::new()));
    }

    fn said(&self) -> impl Iterator<Item = &str> {
        self.stdout.lines().chain(self.stderr.lines()).map(str::trim)
    }
}

/// Returns the collections that runs have left, as this server lists them.
pub fn own(client: &Client) -> Vec<String> {
    let list = client.get(&format!("{DEFAULT}/collections?limit=1000")).expect(200).json();
    let names = list.as_array().expect("a list").iter().map(|one| one["name"].as_str().expect("a name").to_owned());
    names.filter(|name| name.starts_with("AUTOTEST_")).collect()
}

/// Returns everything that these servers hold.
pub fn held(servers: &[ChromaServer]) -> Vec<Content> {
    servers.iter().map(|server| Content::of(&server.client(), TENANT)).collect()
}

/// Writes a file with this text, in a folder that is removed with it.
pub fn file(name: &str, text: &str) -> (tempfile::TempDir, PathBuf) {
    let folder = place::data_dir("validate");
    let path = folder.path().join(name);
    std::fs::File::create(&path).and_then(|mut file| file.write_all(text.as_bytes())).expect("a file");
    (folder, path)
}
