//! A real PostgreSQL server on its own folder and port: started, stopped, killed, and put back to an earlier state.
//!
//! `initdb` runs once per machine and version, and its result is copied. The server refuses to run as root. In that
//! case the server and its template belong to the first existing user of `postgres` and `nobody`.

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use nix::fcntl::{Flock, FlockArg};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, Uid, User};
use tempfile::TempDir;

use super::place::{self, Port, wait_for};

/// The oldest supported version.
const OLDEST: u32 = 15;
const START: Duration = Duration::from_secs(30);

/// Whether commits are flushed. Only tests that kill or measure the server need it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flush {
    Every,
    None,
}

/// A running, stopped or killed server. It is killed when dropped.
#[derive(Debug)]
pub struct Postgres {
    child: Option<Child>,
    bin: PathBuf,
    dir: TempDir,
    port: Port,
    flush: Flush,
}

/// A copy of a stopped server's data.
#[derive(Debug)]
pub struct Copied(TempDir);

impl Postgres {
    /// Starts a server on a fresh folder that does not flush.
    pub fn fresh() -> Postgres {
        Self::with(Flush::None)
    }

    /// Starts a server on a fresh folder that flushes its commits, as in production.
    pub fn durable() -> Postgres {
        Self::with(Flush::Every)
    }

    fn with(flush: Flush) -> Postgres {
        let bin = binaries();
        let dir = match flush {
            Flush::None => place::data_dir("postgres"),
            // A flush in memory has no effect.
            Flush::Every => tempfile::Builder::new().prefix("chroma-edge-postgres-").tempdir().expect("a folder"),
        };
        give(dir.path());
        copy(&template(&bin), &dir.path().join("data"));
        let mut server = Postgres { child: None, bin, dir, port: Port::take(), flush };
        server.start();
        server
    }

    /// Starts it, and waits until it accepts connections.
    pub fn start(&mut self) {
        assert!(self.child.is_none(), "the server runs");
        let log = self.dir.path().join("log");
        let log = OpenOptions::new().create(true).append(true).open(log).expect("the server's log");
        let mut command = unprivileged(&self.bin.join("postgres"));
        command.arg("-D").arg(self.data()).arg("-k").arg(self.dir.path());
        let flush = if self.flush == Flush::Every { "on" } else { "off" };
        let port = self.port.number;
        let settings = [
            "listen_addresses=127.0.0.1".to_owned(),
            format!("port={port}"),
            format!("fsync={flush}"),
            "shared_buffers=32MB".to_owned(),
            "max_connections=40".to_owned(),
            "log_min_messages=warning".to_owned(),
        ];
        for setting in settings {
            command.arg("-c").arg(setting);
        }
        let child = command.stdin(Stdio::null()).stdout(log.try_clone().expect("the log")).stderr(log).spawn();
        self.child = Some(child.expect("the server's process"));
        let (status, pid) = (self.data().join("postmaster.pid"), self.child.as_ref().map(Child::id));
        wait_for("the server's start", START, || {
            let exited = self.child.as_mut().and_then(|child| child.try_wait().ok().flatten());
            assert!(exited.is_none(), "the server ended at its start: {}", self.log());
            // A killed server leaves its own file behind.
            let status = std::fs::read_to_string(&status).ok()?;
            let own = status.lines().next()?.trim().parse().ok() == pid;
            (own && status.lines().nth(7)?.trim() == "ready").then_some(())
        });
    }

    /// Stops it in good order. Its clients' connections are cut.
    pub fn stop(&mut self) {
        self.end(Signal::SIGINT);
    }

    /// Kills it and all its processes, as a power cut would.
    pub fn kill(&mut self) {
        let Some(child) = &self.child else { return };
        let id = child.id();
        let children = std::fs::read_to_string(format!("/proc/{id}/task/{id}/children")).unwrap_or_default();
        let pids: Vec<i32> = children.split_whitespace().filter_map(|pid| pid.parse().ok()).collect();
        self.end(Signal::SIGKILL);
        for pid in &pids {
            // Most have ended with their parent.
            let _ = kill(Pid::from_raw(*pid), Signal::SIGKILL);
        }
        wait_for("the end of the server's processes", START, || {
            pids.iter().all(|pid| !Path::new(&format!("/proc/{pid}")).exists()).then_some(())
        });
    }

    fn end(&mut self, signal: Signal) {
        let Some(mut child) = self.child.take() else { return };
        let pid = Pid::from_raw(i32::try_from(child.id()).expect("a pid"));
        kill(pid, signal).expect("the server's process");
        wait_for("the server's end", START, || child.try_wait().expect("its status"));
    }

    /// Sends this signal to the server and all its processes, to suspend or resume them.
    pub fn signal_all(&self, signal: Signal) {
        let Some(child) = &self.child else { return };
        let id = child.id();
        let children = std::fs::read_to_string(format!("/proc/{id}/task/{id}/children")).unwrap_or_default();
        let children = children.split_whitespace().filter_map(|pid| pid.parse().ok());
        for pid in children.chain(i32::try_from(id).ok()) {
            let _ = kill(Pid::from_raw(pid), signal);
        }
    }

    /// Configures a stopped server to offer TLS with this certificate from its next start on.
    pub fn use_certificate(&self, certificate: &str, key: &str) {
        let (certificate_file, key_file) = (self.data().join("server.crt"), self.data().join("server.key"));
        std::fs::write(&certificate_file, certificate).expect("the certificate");
        std::fs::write(&key_file, key).expect("its key");
        std::fs::set_permissions(&key_file, PermissionsExt::from_mode(0o600)).expect("its mode");
        give(&certificate_file);
        give(&key_file);
        let config = OpenOptions::new().append(true).open(self.data().join("postgresql.conf"));
        config.and_then(|mut config| config.write_all(b"ssl = on\n")).expect("its configuration");
    }

    /// Copies the data of a stopped server.
    pub fn copy(&self) -> Copied {
        assert!(self.child.is_none(), "the server runs");
        let copied = place::data_dir("postgres-copy");
        give(copied.path());
        copy(&self.data(), &copied.path().join("data"));
        Copied(copied)
    }

    /// Puts a stopped server's data back to this copy.
    pub fn put_back(&self, copied: &Copied) {
        assert!(self.child.is_none(), "the server runs");
        std::fs::remove_dir_all(self.data()).expect("the server's data");
        copy(&copied.0.path().join("data"), &self.data());
    }

    /// Returns its data folder.
    pub fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    pub fn port(&self) -> u16 {
        self.port.number
    }

    /// Returns the connection string of its database.
    pub fn url(&self) -> String {
        self.url_at(self.port.number)
    }

    /// Returns the same connection string, through another port.
    pub fn url_at(&self, port: u16) -> String {
        format!("postgres://postgres@127.0.0.1:{port}/postgres")
    }

    /// Returns the connection string of another database.
    pub fn url_of(&self, database: &str) -> String {
        format!("postgres://postgres@127.0.0.1:{}/{database}", self.port.number)
    }

    /// Returns the output of `psql`, one row per line, columns separated by `|`. Panics with its error output if it
    /// fails.
    pub fn sql(&self, sql: &str) -> String {
        let output = self.psql(sql);
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{sql}: {error}");
        String::from_utf8(output.stdout).expect("text").trim_end().to_owned()
    }

    /// Runs `psql` with this statement.
    pub fn psql(&self, sql: &str) -> Output {
        let mut command = Command::new(self.psql_path());
        command.args(["-X", "-A", "-t", "-q", "-v", "ON_ERROR_STOP=1", "-h", "127.0.0.1", "-U", "postgres", "-p"]);
        command.arg(self.port.number.to_string()).arg("-c").arg(sql).arg("postgres").output().expect("psql")
    }

    /// Returns the path of `psql`.
    pub fn psql_path(&self) -> PathBuf {
        let own = self.bin.join("psql");
        if own.exists() { own } else { PathBuf::from("psql") }
    }

    /// Returns its log.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            if let Ok(pid) = i32::try_from(child.id()) {
                // Without a last checkpoint, since its data is not used again.
                let _ = kill(Pid::from_raw(pid), Signal::SIGQUIT);
            }
            let _ = child.wait();
        }
    }
}

/// Returns the folder of the newest server's programs. Panics if there is none.
fn binaries() -> PathBuf {
    let missing = || panic!("no PostgreSQL server, version {OLDEST} or newer, is installed: run make setup");
    installed().unwrap_or_else(missing)
}

/// Returns the folder of the newest server's programs, or `None` if no installed version is new enough.
pub fn installed() -> Option<PathBuf> {
    let on_path = std::env::var_os("PATH").unwrap_or_default();
    let mut candidates: Vec<PathBuf> = std::env::split_paths(&on_path).collect();
    // Debian keeps them outside PATH, in a folder per version.
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    candidates.extend(versions.map(|version| version.path().join("bin")));
    let whole = |bin: &PathBuf| ["initdb", "postgres", "psql"].iter().all(|program| bin.join(program).exists());
    let known = candidates.into_iter().filter(whole);
    let newest = known.filter_map(|bin| Some((version(&bin)?, bin))).max();
    newest.filter(|(found, _)| *found >= OLDEST).map(|(_, bin)| bin)
}

/// Parses the major version: `postgres (PostgreSQL) 15.14 (Debian ...)` is 15.
fn version(bin: &Path) -> Option<u32> {
    let output = Command::new(bin.join("postgres")).arg("--version").output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let number = text.split_whitespace().find(|word| word.starts_with(|c: char| c.is_ascii_digit()))?;
    number.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

/// Returns the user that runs the server when the tests run as root.
fn substitute() -> Option<User> {
    if !Uid::effective().is_root() {
        return None;
    }
    let known = ["postgres", "nobody"].into_iter().find_map(|name| User::from_name(name).ok().flatten());
    Some(known.expect("a user postgres or nobody, to run the server as"))
}

fn unprivileged(program: &Path) -> Command {
    let mut command = Command::new(program);
    if let Some(user) = substitute() {
        command.uid(user.uid.as_raw()).gid(user.gid.as_raw());
    }
    // Not the caller's folder, which the substitute may not be allowed to enter.
    command.current_dir("/").env("LC_ALL", "C");
    command
}

/// Gives the path to the server's user.
fn give(path: &Path) {
    if let Some(user) = substitute() {
        chown(path, Some(user.uid.as_raw()), Some(user.gid.as_raw())).expect("a folder of its own for the server");
    }
}

/// Returns the template of every server's data. The first test that needs it creates it.
fn template(bin: &Path) -> PathBuf {
    let name = format!("chroma-edge-test-postgres-{}-{}", Uid::effective(), version(bin).expect("its version"));
    let dir = std::env::temp_dir().join(name);
    std::fs::create_dir_all(&dir).expect("the template's folder");
    let lock = OpenOptions::new().create(true).truncate(false).write(true).open(dir.join("lock")).expect("its lock");
    let _lock = Flock::lock(lock, FlockArg::LockExclusive).map_err(|(_, error)| error).expect("its lock");
    let template = dir.join("data");
    if !template.exists() {
        give(&dir);
        let making = dir.join("making");
        let _ = std::fs::remove_dir_all(&making);
        let mut initdb = unprivileged(&bin.join("initdb"));
        initdb.arg("-D").arg(&making).args(["-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C"]);
        let output = initdb.args(["--no-sync", "--wal-segsize=1"]).output().expect("initdb");
        assert!(output.status.success(), "initdb: {}", String::from_utf8_lossy(&output.stderr));
        std::fs::rename(&making, &template).expect("the template");
    }
    template
}

/// Copies a folder with its owners and modes.
fn copy(from: &Path, to: &Path) {
    let status = Command::new("cp").arg("-a").arg(from).arg(to).status().expect("cp");
    assert!(status.success(), "copy {} to {}", from.display(), to.display());
}
