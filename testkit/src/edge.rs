//! The real edge: its binary with its own configuration, journal and log. It is killed when dropped.
//!
//! A test fails on any ERROR line or panic in the edge's log that it did not announce.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Mutex;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use serde_json::Value;
use tempfile::TempDir;

use super::chroma::{ChromaServer, pid};
use super::http::Client;
use super::place::{self, Port, wait_for};

const START: Duration = Duration::from_secs(30);
const TAIL: usize = 60;
/// Variables that a shell may have set, and that would change what is tested.
const VARIABLES: [&str; 11] = [
    "PORT",
    "HOSTS",
    "PRIMARY_URL",
    "REPLICA_URL",
    "DATABASE_URL",
    "READ_REPLICA_RATIO",
    "CHECK_INTERVAL",
    "REQUEST_TIMEOUT",
    "MAX_CONCURRENT_REQUESTS",
    "REQUEST_QUEUE_SIZE",
    "OTEL_EXPORTER_OTLP_ENDPOINT",
];

#[derive(Clone, Copy, Debug, Default)]
enum Listen {
    #[default]
    ByFile,
    ByEnvironment,
}

#[derive(Clone, Copy, Debug, Default)]
enum FileSize {
    #[default]
    Unlimited,
    Limitable,
}

/// How to start an edge.
#[derive(Debug, Default)]
pub struct Builder {
    instances: Vec<(String, String)>,
    listen: Listen,
    program: Option<PathBuf>,
    file_size: FileSize,
    config: String,
    env: Vec<(String, String)>,
    journal: Option<PathBuf>,
    postgres: Option<String>,
    journal_keys: String,
}

impl Builder {
    /// Adds these servers as its instances: `primary`, `replica`, `third`, ...
    pub fn instances(mut self, servers: &[&ChromaServer]) -> Self {
        for server in servers {
            self = self.instance_url(&server.url());
        }
        self
    }

    /// Adds a server behind it, by URL.
    pub fn instance_url(mut self, url: &str) -> Self {
        let names = ["primary", "replica", "third", "fourth"];
        self.instances.push((names[self.instances.len()].to_owned(), format!("url: {url:?}")));
        self
    }

    /// Adds a server behind it, by URL, certified by the authority in this file.
    pub fn instance_trusting(mut self, url: &str, ca_file: &Path) -> Self {
        self = self.instance_url(url);
        if let Some((_, keys)) = self.instances.last_mut() {
            keys.push_str(&format!(", ca_file: {ca_file:?}"));
        }
        self
    }

    /// Adds a server behind it, by URL, with more keys, as in `headers: { A: b }`.
    pub fn instance_with(mut self, url: &str, keys: &str) -> Self {
        self = self.instance_url(url);
        if let Some((_, known)) = self.instances.last_mut() {
            known.push_str(&format!(", {keys}"));
        }
        self
    }

    /// Sets its port with the variable PORT, which overrides its file.
    pub fn listen_by_environment(mut self) -> Self {
        self.listen = Listen::ByEnvironment;
        self
    }

    /// Starts this file instead of the binary that was built.
    pub fn program(mut self, path: &Path) -> Self {
        self.program = Some(path.to_owned());
        self
    }

    /// Allows limiting the size of its files while it runs. A write beyond the limit fails and does not end the
    /// process.
    pub fn limitable_files(mut self) -> Self {
        self.file_size = FileSize::Limitable;
        self
    }

    /// Adds lines to the `edge:` section, already indented by two spaces.
    pub fn config(mut self, lines: &str) -> Self {
        self.config.push_str(lines);
        self.config.push('\n');
        self
    }

    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.env.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Uses another edge's journal file.
    pub fn journal(mut self, path: PathBuf) -> Self {
        self.journal = Some(path);
        self
    }

    /// Uses a journal in PostgreSQL, shared with every other edge that uses this address.
    pub fn postgres(mut self, url: &str) -> Self {
        self.postgres = Some(url.to_owned());
        self
    }

    /// Adds keys to the `journal:` section, as in `max_bytes: 1MiB`.
    pub fn journal_keys(mut self, keys: &str) -> Self {
        self.journal_keys.push_str(", ");
        self.journal_keys.push_str(keys);
        self
    }

    /// Starts the edge and waits until it answers.
    pub fn start(self) -> Edge {
        let edge = self.launch();
        edge.await_answer();
        edge
    }

    /// Starts the edge without waiting, for an edge that may refuse to start.
    pub fn launch(self) -> Edge {
        let dir = place::data_dir("edge");
        let port = Port::take();
        let journal = self.journal.unwrap_or_else(|| dir.path().join("journal.db"));
        let mut env = self.env;
        let elsewhere = match self.listen {
            Listen::ByFile => None,
            Listen::ByEnvironment => Some(Port::take()),
        };
        if elsewhere.is_some() {
            env.push(("PORT".to_owned(), port.number.to_string()));
        }
        let listen = elsewhere.as_ref().unwrap_or(&port).number;
        let mut text = format!("version: 1\nthreads: 2\nedge:\n  listen: 127.0.0.1:{listen}\n");
        let store = match &self.postgres {
            Some(url) => format!("postgres: {url:?}"),
            None => format!("path: {journal:?}"),
        };
        text.push_str(&format!("  journal: {{ {store}{} }}\n  instances:\n", self.journal_keys));
        for (name, keys) in &self.instances {
            text.push_str(&format!("    - {{ name: {name}, {keys} }}\n"));
        }
        if !self.config.contains("heal:") {
            // Diverged replicas stay diverged, unless the test is about healing.
            text.push_str("  heal: { enabled: false }\n");
        }
        text.push_str(&self.config);
        std::fs::write(dir.path().join("edge.yaml"), text).expect("the edge's configuration");
        let mut edge = Edge {
            child: None,
            dir,
            port,
            journal,
            env,
            program: self.program.unwrap_or_else(place::binary),
            configured_port: listen,
            file_size: self.file_size,
            announced: Mutex::default(),
        };
        edge.spawn();
        edge
    }
}

/// A running or killed edge.
#[derive(Debug)]
pub struct Edge {
    child: Option<Child>,
    dir: TempDir,
    port: Port,
    journal: PathBuf,
    env: Vec<(String, String)>,
    program: PathBuf,
    configured_port: u16,
    file_size: FileSize,
    announced: Mutex<Vec<String>>,
}

impl Edge {
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// Starts an edge in front of these servers, with defaults for everything else.
    pub fn over(servers: &[&ChromaServer]) -> Edge {
        Self::builder().instances(servers).start()
    }

    fn spawn(&mut self) {
        let log = File::options().create(true).append(true).open(self.log_path()).expect("the edge's log");
        let binary = &self.program;
        let mut command = match self.file_size {
            FileSize::Unlimited => Command::new(binary),
            FileSize::Limitable => {
                let mut shell = Command::new("sh");
                shell.args(["-c", "trap '' XFSZ; exec \"$0\" \"$@\""]).arg(binary);
                shell
            }
        };
        command.arg("serve").arg("--conf").arg(self.dir().join("edge.yaml"));
        for name in VARIABLES {
            command.env_remove(name);
        }
        command.envs(self.env.iter().map(|(name, value)| (name, value))).env("NO_COLOR", "1");
        command.stdin(Stdio::null()).stdout(log.try_clone().expect("the edge's log")).stderr(log);
        self.child = Some(command.spawn().expect("the edge"));
    }

    fn await_answer(&self) {
        let client = self.client().with_timeout(Duration::from_secs(2));
        wait_for("the edge's first answer", START, || client.send("GET", "/status", "", b"").ok());
    }

    /// Waits until it serves, for an edge that requires a token and shows only its health without one.
    pub fn wait_for_health(&self) {
        let client = self.client().with_timeout(Duration::from_secs(2));
        wait_for("the edge's health", START, || {
            client.send("GET", "/health", "", b"").ok().filter(|answer| answer.status == 200)
        });
    }

    /// Starts it again on the same configuration, journal and port.
    pub fn restart(&mut self) {
        self.relaunch();
        self.await_answer();
    }

    /// Does the same as [`Edge::restart`] without waiting, for an edge that may refuse to start.
    pub fn relaunch(&mut self) {
        assert!(self.child.is_none(), "the edge still runs");
        self.spawn();
    }

    /// Sets or removes this environment variable, from the next start on.
    #[allow(dead_code, reason = "for those tests that tell a process where to end")]
    pub fn set_env(&mut self, name: &str, value: Option<&str>) {
        self.env.retain(|(known, _)| known != name);
        self.env.extend(value.map(|value| (name.to_owned(), value.to_owned())));
    }

    /// Replaces its instances by these servers, under these names, from the next start on.
    pub fn set_instances(&self, servers: &[(&str, &ChromaServer)]) {
        let path = self.dir().join("edge.yaml");
        let text = std::fs::read_to_string(&path).expect("the edge's configuration");
        let lines = servers.iter().map(|(name, server)| format!("    - {{ name: {name}, url: {:?} }}\n", server.url()));
        let listed: String = lines.collect();
        let others = text.lines().filter(|line| !line.starts_with("    - { name: "));
        let text: String = others.map(|line| format!("{line}\n")).collect();
        let text = text.replace("  instances:\n", &format!("  instances:\n{listed}"));
        std::fs::write(path, text).expect("the edge's configuration");
    }

    /// Changes the configuration file, which the edge reads at its next start or reload.
    pub fn rewrite(&self, change: impl FnOnce(&str) -> String) {
        let path = self.dir().join("edge.yaml");
        let text = std::fs::read_to_string(&path).expect("the edge's configuration");
        std::fs::write(path, change(&text)).expect("the edge's configuration");
    }

    /// Returns whether it has ended by itself. If so, it can be started again.
    #[allow(dead_code, reason = "asked by the chaos run")]
    pub fn has_ended(&mut self) -> bool {
        let ended = self.child.as_mut().is_none_or(|child| child.try_wait().expect("our own child").is_some());
        if ended {
            self.child = None;
        }
        ended
    }

    /// Returns its process id.
    pub fn process(&self) -> u32 {
        self.child.as_ref().expect("a running edge").id()
    }

    pub fn client(&self) -> Client {
        Client::new(self.port.number)
    }

    /// Returns the port in its file, which the environment may override.
    pub fn configured_port(&self) -> u16 {
        self.configured_port
    }

    pub fn url(&self) -> String {
        self.client().url()
    }

    pub fn journal_path(&self) -> PathBuf {
        self.journal.clone()
    }

    pub fn log_path(&self) -> PathBuf {
        self.dir().join("edge.log")
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(self.log_path()).unwrap_or_default()
    }

    /// Expects ERROR lines with this text: they belong to the scenario.
    pub fn announce(&self, text: &str) {
        self.announced.lock().expect("no test thread panics here").push(text.to_owned());
    }

    /// Sends SIGKILL and waits for its end.
    pub fn kill(&mut self) {
        self.signal(Signal::SIGKILL);
        self.wait_for_exit(Duration::from_secs(10));
    }

    /// Sends SIGTERM without waiting.
    pub fn term(&self) {
        self.signal(Signal::SIGTERM);
    }

    pub fn signal(&self, signal: Signal) {
        kill(pid(self.child.as_ref().expect("a running edge")), signal).expect("a signal to our own child");
    }

    /// Limits each of its files to this many bytes; `None` lifts the limit. Needs [`Builder::limitable_files`].
    pub fn limit_files(&self, bytes: Option<u64>) {
        use rustix::process::{Pid, Resource, Rlimit, prlimit};
        assert!(matches!(self.file_size, FileSize::Limitable), "it would be ended by a signal");
        let child = self.child.as_ref().expect("a running edge");
        let limit = Rlimit { current: bytes, maximum: None };
        prlimit(Some(Pid::from_child(child)), Resource::Fsize, limit).expect("a limit for our own child");
    }

    pub fn wait_for_exit(&mut self, timeout: Duration) -> ExitStatus {
        let child = self.child.as_mut().expect("a running edge");
        let status = wait_for("the edge's end", timeout, || child.try_wait().expect("our own child"));
        self.child = None;
        status
    }

    /// Returns its peak memory so far, in bytes.
    pub fn peak_memory(&self) -> u64 {
        let id = self.child.as_ref().expect("a running edge").id();
        let status = std::fs::read_to_string(format!("/proc/{id}/status")).expect("our own child's status");
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("its peak");
        let kilobytes: u64 = line.trim().trim_end_matches(" kB").parse().expect("a number");
        kilobytes * 1024
    }

    /// Returns `/status`.
    pub fn status(&self) -> Value {
        self.client().get("/status").expect(200).json()
    }

    /// Waits until nothing is pending, every instance is healthy, and none has diverged.
    pub fn wait_until_in_sync(&self, timeout: Duration) {
        let mut last = Value::Null;
        let client = self.client().with_timeout(Duration::from_secs(5));
        let deadline = std::time::Instant::now() + timeout;
        while !is_in_sync(&last) {
            assert!(std::time::Instant::now() < deadline, "not in sync within {timeout:?}: {last:#}");
            std::thread::sleep(Duration::from_millis(20));
            let answer = client.send("GET", "/status", "", b"");
            last = answer.ok().and_then(|answer| serde_json::from_slice(&answer.body).ok()).unwrap_or_default();
        }
    }

    /// Waits until `/status` shows this instance (un)healthy.
    pub fn wait_until_healthy(&self, name: &str, healthy: bool, timeout: Duration) {
        wait_for(&format!("{name} healthy: {healthy}"), timeout, || {
            let status = self.status();
            let instances = status["instances"].as_array().cloned().unwrap_or_default();
            instances.iter().any(|one| one["name"] == name && one["healthy"] == healthy).then_some(())
        });
    }

    /// Returns the folder of its configuration, its log and, unless configured otherwise, its journal.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Returns the ERROR lines and panics in its log that no test has announced.
    pub fn surprises(&self) -> Vec<String> {
        let announced = self.announced.lock().map(|list| list.clone()).unwrap_or_default();
        let log = self.log();
        let bad = |line: &&str| line.contains("panicked at") || level(line) == Some("ERROR");
        let unannounced = |line: &&str| !announced.iter().any(|text| line.contains(text.as_str()));
        log.lines().filter(bad).filter(unannounced).map(str::to_owned).collect()
    }
}

/// Returns the level of a log line, which is among its first words in the usual formats.
fn level(line: &str) -> Option<&str> {
    let levels = ["ERROR", "WARN", "INFO", "DEBUG", "TRACE"];
    if line.contains("\"level\":\"ERROR\"") {
        return Some("ERROR");
    }
    line.split([' ', '[', ']']).take(4).find(|word| levels.contains(word))
}

/// Returns whether this status shows nothing pending, every instance healthy, and none diverged.
pub fn is_in_sync(status: &Value) -> bool {
    let healthy = |one: &Value| one["healthy"] == true && is_nothing(&one["diverged"]);
    let instances = status["instances"].as_array();
    status["pending_writes"] == 0
        && is_nothing(&status["diverged"])
        && instances.is_some_and(|list| !list.is_empty() && list.iter().all(healthy))
}

fn is_nothing(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::Number(number) => number.as_u64() == Some(0),
        Value::Array(list) => list.is_empty(),
        Value::Object(map) => map.is_empty(),
        Value::Bool(true) | Value::String(_) => false,
    }
}

impl Drop for Edge {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            // It may have ended by itself. Either way no process is left behind.
            let _ = child.kill();
            let _ = child.wait();
        }
        let surprises = self.surprises();
        if std::thread::panicking() {
            let log = self.log();
            let lines: Vec<&str> = log.lines().collect();
            eprintln!("--- the edge's log, its end:\n{}", lines[lines.len().saturating_sub(TAIL)..].join("\n"));
            eprintln!("--- its errors: {surprises:#?}");
        } else {
            assert!(surprises.is_empty(), "unannounced errors in the edge's log: {surprises:#?}");
        }
    }
}
