//! A real Chroma server under the probes: stopped, continued, killed.
//!
//! `CHROMA_EDGE_CACHE` (default `.cache`) holds the server, as `make setup` installs it.

use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use chroma_edge::instance::{Admission, Client, Health, Observation, Phase, Refused, Registry, SendError};
use pingora::services::background::BackgroundService;
use tempfile::TempDir;
use testkit::place::wait_until_stopped;
use tokio::sync::watch;

use crate::server::{FREE, LONG, ONLY, get, registry};

const LAUNCH: &str = "import sys, chromadb_rust_bindings as b; b.cli(['chroma', 'run'] + sys.argv[1:])";

struct Chroma {
    process: Child,
    port: u16,
    _dir: TempDir,
}

impl Chroma {
    fn start() -> Chroma {
        let cache = std::env::var_os("CHROMA_EDGE_CACHE")
            .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(".cache"), PathBuf::from);
        let python = cache.join("venv/bin/python");
        assert!(python.exists(), "{} is missing: run make setup", python.display());
        let dir = tempfile::tempdir().unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let process = Command::new(python)
            .args(["-c", LAUNCH, "--path"])
            .arg(dir.path())
            .args(["--host", "127.0.0.1", "--port", &port.to_string()])
            .current_dir(dir.path())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Chroma { process, port, _dir: dir }
    }

    fn signal(&self, name: &str) {
        let sent = Command::new("kill").args([name, &self.process.id().to_string()]).status().unwrap();
        assert!(sent.success());
    }

    fn stop(&self) {
        self.signal("-STOP");
        wait_until_stopped(self.process.id());
    }
}

impl Drop for Chroma {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

async fn await_phase(registry: &Registry, phase: Phase, limit: Duration) {
    let mut changes = registry.changes();
    let reached = async {
        while registry.phase(ONLY) != phase {
            changes.changed().await.unwrap();
        }
    };
    let waited = tokio::time::timeout(limit, reached).await;
    assert!(waited.is_ok(), "not {phase:?} within {limit:?}: {:?}", registry.last_error(ONLY));
}

fn admit(registry: &Registry) {
    assert_eq!(registry.admit(ONLY, registry.generation(ONLY)), Admission::Admitted);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_server_is_down_a_continued_one_returns_a_killed_one_is_down_at_the_first_send() {
    let mut chroma = Chroma::start();
    let registry = registry(&format!("http://127.0.0.1:{}", chroma.port));
    let health = Health::new(Arc::clone(&registry)).unwrap();
    let (stop, shutdown) = watch::channel(false);
    let probes = tokio::spawn(async move { health.start(shutdown).await });
    let client = Client::new(Arc::clone(&registry));

    await_phase(&registry, Phase::Returned, LONG).await;
    admit(&registry);
    assert_eq!(client.send(ONLY, &get(), LONG, FREE).await.unwrap().status, 200);

    chroma.stop();
    let stopped = Instant::now();
    let request = get();
    // It still accepts connections and requests: only the probes end this wait.
    let error = client.send(ONLY, &request, LONG * 10, FREE).await.unwrap_err();
    assert_eq!(error, SendError::InDoubt { reason: "the instance is down".to_owned() });
    assert!(stopped.elapsed() < Duration::from_millis(3500), "{:?}", stopped.elapsed());
    let before = registry.generation(ONLY);

    chroma.signal("-CONT");
    await_phase(&registry, Phase::Returned, LONG).await;
    assert!(registry.generation(ONLY) > before && !registry.usable(ONLY));
    admit(&registry);
    assert_eq!(client.send(ONLY, &get(), LONG, FREE).await.unwrap().status, 200);

    // Without probes, so that real traffic is the first to notice.
    stop.send(true).unwrap();
    probes.await.unwrap();
    chroma.process.kill().unwrap();
    chroma.process.wait().unwrap();
    let error = Client::new(Arc::clone(&registry)).send(ONLY, &get(), LONG, FREE).await.unwrap_err();
    assert!(matches!(error, SendError::NotSent { refused: Refused::Yes, .. }), "{error}");
    assert_eq!(registry.phase(ONLY), Phase::Down);
}

#[tokio::test]
async fn a_refused_probe_is_enough() {
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let registry = registry(&format!("http://{closed}"));
    registry.observe(ONLY, Observation::ProbeOk);
    admit(&registry);
    let health = Health::new(Arc::clone(&registry)).unwrap();
    let (_keep, shutdown) = watch::channel(false);
    let started = Instant::now();
    let probes = tokio::spawn(async move { health.start(shutdown).await });
    await_phase(&registry, Phase::Down, LONG).await;
    assert!(started.elapsed() < registry.health().interval, "the first round is enough");
    assert!(registry.last_error(ONLY).unwrap().starts_with("probe: "));
    probes.abort();
}

#[tokio::test]
async fn one_that_is_down_is_seen_to_return_before_the_next_round() {
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let registry = registry(&format!("http://{address}"));
    let health = Health::new(Arc::clone(&registry)).unwrap();
    let (_keep, shutdown) = watch::channel(false);
    let probes = tokio::spawn(async move { health.start(shutdown).await });
    await_phase(&registry, Phase::Down, LONG).await;
    let begun = Instant::now();
    let listener = tokio::net::TcpListener::bind(address).await.unwrap();
    let server = tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            // The request does not matter.
            stream.readable().await.unwrap();
            let _ = stream.try_write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}");
        }
    });
    await_phase(&registry, Phase::Returned, LONG).await;
    assert!(begun.elapsed() < registry.health().interval / 2, "{:?}", begun.elapsed());
    probes.abort();
    server.abort();
}
