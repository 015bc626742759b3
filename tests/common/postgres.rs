//! A real PostgreSQL server with a data folder of its own; killed when dropped.

use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;

use super::place::{self, Port, wait_for};

/// `nobody`: the server refuses to run as root.
const NOBODY: u32 = 65_534;

/// A running or killed server.
#[derive(Debug)]
pub struct Postgres {
    child: Option<Child>,
    dir: TempDir,
    port: Port,
}

impl Postgres {
    /// A new, empty database server, ready for connections.
    pub fn start() -> Postgres {
        let dir = place::data_dir("postgres");
        if is_root() {
            chown(dir.path(), Some(NOBODY), Some(NOBODY)).expect("a folder for the server");
        }
        let data = dir.path().join("data");
        let mut initdb = command("initdb", dir.path());
        initdb.args(["--auth=trust", "--username=edge", "--encoding=UTF8", "--locale=C", "--no-sync", "-D"]).arg(&data);
        let made = initdb.stdout(Stdio::null()).stderr(Stdio::null()).status().expect("initdb");
        assert!(made.success(), "initdb: {made}");
        let mut server = Postgres { child: None, dir, port: Port::take() };
        server.restart();
        server
    }

    /// Starts it again on its data.
    pub fn restart(&mut self) {
        assert!(self.child.is_none(), "the server still runs");
        let log = std::fs::File::options().create(true).append(true).open(self.dir.path().join("log")).expect("a log");
        let mut server = command("postgres", self.dir.path());
        server.arg("-D").arg(self.dir.path().join("data")).args(["-p", &self.port.number.to_string()]);
        server.args(["-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories="]);
        server.stdout(log.try_clone().expect("a log")).stderr(log).stdin(Stdio::null());
        self.child = Some(server.spawn().expect("postgres"));
        wait_for("the database's first answer", Duration::from_secs(30), || self.ask("SELECT 1"));
    }

    /// SIGKILL, and its end awaited. (Its workers notice within the same moment.)
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().expect("our own child");
            child.wait().expect("our own child");
        }
    }

    /// Where edges find it.
    pub fn url(&self) -> String {
        format!("postgres://edge@127.0.0.1:{}/postgres", self.port.number)
    }

    /// The rows of a query, columns parted by `|`.
    pub fn query(&self, sql: &str) -> Vec<String> {
        self.ask(sql).unwrap_or_else(|| panic!("the database refused: {sql}"))
    }

    fn ask(&self, sql: &str) -> Option<Vec<String>> {
        let mut psql = command("psql", self.dir.path());
        psql.args(["-X", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-c", sql]).arg(self.url());
        let output = psql.stdin(Stdio::null()).stderr(Stdio::null()).output().expect("psql");
        let lines = || String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect();
        output.status.success().then(lines)
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.kill();
    }
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// A program of the newest installed server, run by someone whom the server accepts.
fn command(program: &str, dir: &Path) -> Command {
    let mut command = Command::new(newest().join(program));
    command.current_dir(dir);
    if is_root() {
        command.uid(NOBODY).gid(NOBODY);
    }
    command
}

/// Debian keeps the programs outside PATH, in a folder per version.
fn newest() -> PathBuf {
    let versions = std::fs::read_dir("/usr/lib/postgresql").expect("PostgreSQL is missing: run make setup");
    let number = |path: &PathBuf| path.file_name()?.to_str()?.parse::<u32>().ok();
    let newest = versions.filter_map(|entry| Some(entry.ok()?.path())).max_by_key(number);
    newest.expect("PostgreSQL is missing: run make setup").join("bin")
}
