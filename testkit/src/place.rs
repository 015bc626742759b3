//! Where tests put things: the installed tools, data folders, and ports that no other test takes.

use std::fs::{File, OpenOptions};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use nix::fcntl::{Flock, FlockArg};
use tempfile::TempDir;

/// Returns the root of the repository.
pub fn repository() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

/// Returns the edge's binary, which cargo builds beside the tests that run it. `CHROMA_EDGE_BIN` overrides it.
pub fn binary() -> PathBuf {
    if let Some(chosen) = std::env::var_os("CHROMA_EDGE_BIN") {
        return chosen.into();
    }
    let test = std::env::current_exe().expect("the path of this test");
    let profile = test.parent().and_then(Path::parent).expect("target/PROFILE/deps/TEST");
    let binary = profile.join("chroma-edge");
    assert!(binary.exists(), "{} is missing: only integration tests have it built", binary.display());
    binary
}

/// Returns the path of a file installed by `make setup`.
pub fn installed(relative: &str) -> PathBuf {
    let cache = std::env::var_os("CHROMA_EDGE_CACHE").map_or_else(|| repository().join(".cache"), PathBuf::from);
    let path = cache.join(relative);
    assert!(path.exists(), "{} is missing: run make setup", path.display());
    path
}

/// Creates a data folder, in memory if the machine supports it: Chroma flushes eight times for each write.
pub fn data_dir(purpose: &str) -> TempDir {
    let mut builder = tempfile::Builder::new();
    let prefix = format!("chroma-edge-{purpose}-");
    builder.prefix(&prefix);
    let memory = PathBuf::from("/dev/shm");
    let made = if memory.is_dir() { builder.tempdir_in(memory) } else { builder.tempdir() };
    made.expect("a data folder")
}

/// A port that stays reserved for this test while its server is down. It is below the range that the kernel assigns to
/// connections, and locked against other test processes until this process ends.
#[derive(Debug)]
pub struct Port {
    pub number: u16,
    _lock: Flock<File>,
}

const FIRST_PORT: u16 = 10_240;
const PORTS: u16 = 20_000;

impl Port {
    /// Takes a free port.
    pub fn take() -> Port {
        let locks = std::env::temp_dir().join("chroma-edge-test-ports");
        std::fs::create_dir_all(&locks).expect("the folder of port locks");
        let clock = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock after 1970").subsec_nanos();
        let start = clock.wrapping_add(process::id().wrapping_mul(7919));
        for step in 0..u32::from(PORTS) {
            let offset = start.wrapping_add(step) % u32::from(PORTS);
            let number = FIRST_PORT + u16::try_from(offset).expect("below PORTS");
            let path = locks.join(number.to_string());
            let lock = OpenOptions::new().create(true).truncate(false).write(true).open(path).expect("a port lock");
            let Ok(lock) = Flock::lock(lock, FlockArg::LockExclusiveNonblock) else { continue };
            if TcpListener::bind(("127.0.0.1", number)).is_ok() {
                return Port { number, _lock: lock };
            }
        }
        panic!("no free port");
    }
}

/// Polls until `ask` returns something. Panics with `what` after the timeout.
pub fn wait_for<T>(what: &str, timeout: Duration, mut ask: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + timeout;
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(Instant::now() < deadline, "{what}: not within {timeout:?}");
        // The other side is another process: there is nothing to await but its next answer.
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Waits until every thread of the process has stopped. A stop signal reaches them one by one.
pub fn wait_until_stopped(process: u32) {
    let tasks = format!("/proc/{process}/task");
    let is_stopped = |task: std::io::Result<std::fs::DirEntry>| {
        let stat = task.and_then(|task| std::fs::read_to_string(task.path().join("stat"))).unwrap_or_default();
        stat.rsplit_once(") ").is_none_or(|(_, rest)| rest.starts_with('T'))
    };
    wait_for("a stopped process", Duration::from_secs(10), || {
        std::fs::read_dir(&tasks).ok()?.all(is_stopped).then_some(())
    });
}
