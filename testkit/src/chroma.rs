//! A real Chroma server: started, killed, stopped and restarted on the same folder and port.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

use super::http::Client;
use super::place::{self, Port, wait_for, wait_until_stopped};

const START: Duration = Duration::from_secs(30);
const LAUNCH: &str = "import sys, chromadb_rust_bindings as server; server.cli(['chroma', 'run'] + sys.argv[1:])";

/// Whether `POST /reset` is allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reset {
    Allowed,
    Forbidden,
}

/// Which Chroma runs: the version that everything is measured on, or an older one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    Current,
    Older(&'static str),
}

/// A running, stopped or killed Chroma server. It is killed when dropped.
#[derive(Debug)]
pub struct ChromaServer {
    child: Option<Child>,
    dir: PathBuf,
    data: PathBuf,
    port: Port,
    reset: Reset,
    version: Version,
    /// Additional lines of its configuration.
    lines: String,
    _own: Option<TempDir>,
}

impl ChromaServer {
    /// Starts a server on a fresh folder that is removed with it.
    pub fn fresh() -> ChromaServer {
        Self::with_reset(Reset::Forbidden)
    }

    /// Starts a server on a fresh folder, with or without `POST /reset`.
    pub fn with_reset(reset: Reset) -> ChromaServer {
        let own = place::data_dir("server");
        let dir = own.path().to_owned();
        Self::launch(dir, Port::take(), reset, Some(own))
    }

    /// Starts a server of this version on a fresh folder that is removed with it.
    pub fn of_version(version: Version) -> ChromaServer {
        let own = place::data_dir("server");
        let mut server = Self::prepared(own.path().to_owned(), Port::take(), Reset::Forbidden, Some(own));
        server.version = version;
        server.restart();
        server
    }

    /// Runs another version from the next start on.
    pub fn becomes(&mut self, version: Version) {
        self.version = version;
    }

    /// Restarts it with this line added to its configuration.
    pub fn configured(mut self, line: &str) -> ChromaServer {
        self.kill();
        self.lines.push_str(line);
        self.lines.push('\n');
        self.restart();
        self
    }

    /// Starts a server on this folder, which stays.
    pub fn start(dir: &Path) -> ChromaServer {
        Self::start_on(dir, Port::take())
    }

    /// Starts a server on this folder, which stays, and this port.
    pub fn start_on(dir: &Path, port: Port) -> ChromaServer {
        Self::launch(dir.to_owned(), port, Reset::Forbidden, None)
    }

    fn launch(dir: PathBuf, port: Port, reset: Reset, own: Option<TempDir>) -> ChromaServer {
        let mut server = Self::prepared(dir, port, reset, own);
        server.restart();
        server
    }

    fn prepared(dir: PathBuf, port: Port, reset: Reset, own: Option<TempDir>) -> ChromaServer {
        let data = dir.join("data");
        ChromaServer { child: None, dir, data, port, reset, version: Version::Current, lines: String::new(), _own: own }
    }

    /// Starts it again on the same folder and port, and waits for its heartbeat.
    pub fn restart(&mut self) {
        self.start_again();
        self.await_heartbeat();
    }

    /// Starts it again without waiting.
    pub fn start_again(&mut self) {
        assert!(self.child.is_none(), "the server on port {} still runs", self.port.number);
        let config = self.dir.join("server.yaml");
        let text = format!(
            "port: {}\nlisten_address: 127.0.0.1\npersist_path: {:?}\nallow_reset: {}\n{}",
            self.port.number,
            self.data,
            self.reset == Reset::Allowed,
            self.lines,
        );
        std::fs::write(&config, text).expect("the server's configuration");
        let log = File::options().create(true).append(true).open(self.log_path()).expect("the log");
        let mut python = Command::new(place::installed("venv/bin/python"));
        if let Version::Older(version) = self.version {
            python.env("PYTHONPATH", place::installed(&format!("versions/{version}")));
        }
        let child = python
            .args(["-c", LAUNCH])
            .arg(&config)
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("the log"))
            .stderr(log)
            .spawn();
        self.child = Some(child.expect("a Chroma server"));
    }

    pub fn await_heartbeat(&self) {
        let client = self.client().with_timeout(Duration::from_secs(1));
        wait_for("the server's heartbeat", START, || {
            client.send("GET", "/api/v2/heartbeat", "", b"").ok().filter(|answer| answer.status == 200)
        });
    }

    pub fn url(&self) -> String {
        self.client().url()
    }

    pub fn client(&self) -> Client {
        Client::new(self.port.number)
    }

    pub fn log_path(&self) -> PathBuf {
        self.dir.join("server.log")
    }

    /// Sends SIGKILL and waits for its end.
    pub fn kill(&mut self) {
        self.signal(Signal::SIGKILL);
        self.reap();
    }

    /// Sends SIGKILL without waiting, if it runs.
    pub fn shoot(&mut self) {
        if self.child.is_some() {
            self.signal(Signal::SIGKILL);
        }
    }

    /// Returns whether it has ended. If so, it can be started again.
    pub fn has_ended(&mut self) -> bool {
        let ended = self.child.as_mut().is_none_or(|child| child.try_wait().expect("our own child").is_some());
        if ended {
            self.child = None;
        }
        ended
    }

    /// Sends SIGTERM and waits for its end.
    pub fn term(&mut self) -> ExitStatus {
        self.signal(Signal::SIGTERM);
        self.reap()
    }

    /// Sends SIGSTOP: the server hangs, but connections to it are still accepted.
    pub fn stop(&self) {
        self.signal(Signal::SIGSTOP);
        wait_until_stopped(self.child.as_ref().expect("a running server").id());
    }

    /// Sends SIGCONT.
    pub fn cont(&self) {
        self.signal(Signal::SIGCONT);
    }

    fn signal(&self, signal: Signal) {
        let child = self.child.as_ref().expect("a running server");
        kill(pid(child), signal).expect("a signal to our own child");
    }

    fn reap(&mut self) -> ExitStatus {
        self.child.take().expect("a running server").wait().expect("the end of our own child")
    }

    /// Locks its database against writes until the returned connection is dropped. Every write hangs, while reads and
    /// the heartbeat go on.
    pub fn hold_writes(&self) -> rusqlite::Connection {
        let store = rusqlite::Connection::open(self.dir.join("data/chroma.sqlite3")).expect("the server's database");
        store.busy_timeout(Duration::from_secs(10)).expect("a timeout");
        store.execute_batch("BEGIN IMMEDIATE").expect("the server's write lock");
        store
    }

    /// Returns a copy of its data.
    pub fn save(&self) -> tempfile::TempDir {
        assert!(self.child.is_none(), "kill it first");
        self.snapshot()
    }

    /// Returns a copy of its data as it is now. Stop the server first, and the copy is as after a power failure.
    pub fn snapshot(&self) -> tempfile::TempDir {
        let saved = tempfile::tempdir().expect("a folder");
        copy(&self.dir.join("data"), &saved.path().join("data"));
        saved
    }

    /// From its next start on, runs it as a second process on another server's data folder, or on its own again.
    pub fn shares_the_folder_of(&mut self, other: Option<&ChromaServer>) {
        self.data = other.map_or_else(|| self.dir.join("data"), |other| other.data.clone());
    }

    /// Replaces its data with this copy of some server's data.
    pub fn put_back(&mut self, saved: &tempfile::TempDir) {
        self.wipe();
        copy(&saved.path().join("data"), &self.dir.join("data"));
    }

    /// Overwrites the header of every index that it has written to a file with zeros. Returns how many there were.
    pub fn damage_indexes(&self) -> usize {
        assert!(self.child.is_none(), "kill it first");
        let folders = std::fs::read_dir(self.dir.join("data")).expect("the server's data");
        let headers = folders.map(|entry| entry.expect("an entry").path().join("header.bin"));
        headers.filter(|file| file.exists()).map(|file| std::fs::write(file, [0; 100]).expect("an index")).count()
    }

    /// Deletes its data: the server comes back blank.
    pub fn wipe(&mut self) {
        assert!(self.child.is_none(), "kill it first");
        std::fs::remove_dir_all(self.dir.join("data")).expect("the server's data");
    }
}

impl Drop for ChromaServer {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            // It may have ended by itself. Either way no process is left behind.
            let _ = child.kill();
            let _ = child.wait();
        }
        if std::thread::panicking() {
            let log = std::fs::read_to_string(self.log_path()).unwrap_or_default();
            let errors: Vec<&str> = log.lines().filter(|line| line.contains("panicked")).collect();
            eprintln!(
                "--- Chroma on port {}: {} lines of log, panics: {errors:?}",
                self.port.number,
                log.lines().count()
            );
        }
    }
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("a folder");
    for entry in std::fs::read_dir(from).expect("a folder").map(|entry| entry.expect("an entry")) {
        let target = to.join(entry.file_name());
        if entry.file_type().expect("its type").is_dir() {
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).expect("a copy");
        }
    }
}

/// Returns the process id, for a signal.
pub fn pid(child: &Child) -> Pid {
    Pid::from_raw(i32::try_from(child.id()).expect("a process id"))
}
