//! A TLS end on loopback, with its own authority: what the edge's connections trust, and the name that they send.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use chroma_edge::ids::InstanceName;
use chroma_edge::instance::{
    Client, Health, HealthOptions, InstanceOptions, InstanceUrl, Observation, Phase, Refused, Registry, SendError,
    Timeouts, Trust, UpstreamHeaders,
};
use pingora::services::background::BackgroundService;
use tempfile::TempDir;
use tokio::io::AsyncWriteExt;
use tokio::sync::{mpsc, watch};
use tokio_rustls::TlsAcceptor;

use crate::server::{FREE, LONG, ONLY, listen, post, read_request};
use testkit::authority::certified;

/// What a client showed: the server name it sent, and its request's header.
type Seen = (Option<String>, String);

struct Server {
    address: SocketAddr,
    seen: mpsc::UnboundedReceiver<Seen>,
    ca_file: PathBuf,
    _dir: TempDir,
}

async fn serve(name: &str) -> Server {
    let certified = certified(name);
    let dir = tempfile::tempdir().unwrap();
    let ca_file = dir.path().join("ca.pem");
    std::fs::write(&ca_file, certified.authority).unwrap();
    let (listener, address) = listen().await;
    let (report, seen) = mpsc::unbounded_channel();
    let acceptor = TlsAcceptor::from(certified.server);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let Ok(mut stream) = acceptor.accept(stream).await else { continue };
            let name = stream.get_ref().1.server_name().map(str::to_owned);
            let (header, _) = read_request(&mut stream).await;
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}").await.unwrap();
            stream.flush().await.unwrap();
            report.send((name, header.to_ascii_lowercase())).unwrap();
        }
    });
    Server { address, seen, ca_file, _dir: dir }
}

fn registry(url: &str, ca_file: Option<PathBuf>) -> Arc<Registry> {
    let url = InstanceUrl::parse(url).unwrap();
    let trust = Trust { ca_file, ..Trust::default() };
    let options =
        InstanceOptions { name: InstanceName::new("primary"), url, trust, headers: UpstreamHeaders::default() };
    let health = HealthOptions { timeout: LONG, ..HealthOptions::default() };
    Registry::new(vec![options], Timeouts::default(), health).unwrap()
}

/// Runs the probes until the instance has this phase.
async fn probe_until(registry: &Arc<Registry>, phase: Phase) {
    let health = Health::new(Arc::clone(registry)).unwrap();
    let (_keep, shutdown) = watch::channel(false);
    let probes = tokio::spawn(async move { health.start(shutdown).await });
    let mut changes = registry.changes();
    while registry.phase(ONLY) != phase {
        tokio::time::timeout(LONG, changes.changed()).await.expect("a change of phase").unwrap();
    }
    probes.abort();
}

#[tokio::test]
async fn probes_and_requests_use_the_name_and_the_authority_of_the_url() {
    let mut server = serve("localhost").await;
    let port = server.address.port();
    let registry = registry(&format!("https://localhost:{port}"), Some(server.ca_file.clone()));
    assert!(registry.peer(ONLY).is_none(), "the name is not resolved before the probes run");
    probe_until(&registry, Phase::Returned).await;
    let (name, header) = server.seen.recv().await.unwrap();
    assert_eq!(name.as_deref(), Some("localhost"));
    assert!(header.starts_with("get /api/v2/heartbeat http/1.1\r\n"), "{header}");
    assert!(header.contains(&format!("\r\nhost: localhost:{port}\r\n")), "{header}");

    let client = Client::new(Arc::clone(&registry));
    let answer = client.send(ONLY, &post("{}"), LONG, FREE).await.unwrap();
    assert_eq!((answer.status, &answer.body[..]), (200, &b"{}"[..]));
    let (name, header) = server.seen.recv().await.unwrap();
    assert_eq!(name.as_deref(), Some("localhost"));
    assert!(header.starts_with("post ") && header.contains(&format!("\r\nhost: localhost:{port}\r\n")), "{header}");
}

#[tokio::test]
async fn an_unknown_authority_or_another_name_is_never_sent_to() {
    let own = serve("localhost").await;
    let other = serve("elsewhere.example").await;
    let stranger = serve("localhost").await;
    for (server, ca_file) in [(&own, None), (&own, Some(&stranger.ca_file)), (&other, Some(&other.ca_file))] {
        // A literal address needs no probe first. The certificate does not contain it either.
        let registry = registry(&format!("https://127.0.0.1:{}", server.address.port()), ca_file.cloned());
        registry.observe(ONLY, Observation::ProbeOk);
        let error = Client::new(Arc::clone(&registry)).send(ONLY, &post("{}"), LONG, FREE).await.unwrap_err();
        assert!(matches!(error, SendError::NotSent { refused: Refused::No, .. }), "{error}");
        assert!(error.to_string().contains("certificate"), "{error}");
    }
}
