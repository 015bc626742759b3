//! A restart in place under TLS: clients that share HTTP/2 connections see no error. No client tries anything twice. On
//! GOAWAY they follow the protocol: the next requests use a new connection.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use h2::client::SendRequest;
use http::Request;
use nix::sys::signal::Signal;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use serde_json::json;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use testkit::authority::Authority;
use testkit::cluster::{CATCH_UP, TENANT, ids_by_name};
use testkit::content::{Content, assert_equal};
use testkit::edge::is_in_sync;
use testkit::http::DEFAULT;
use testkit::place::{data_dir, wait_for};
use testkit::{ChromaServer, Edge};

const SOON: Duration = Duration::from_secs(60);
/// The number of connections, and of concurrent requests on each.
const CLIENTS: usize = 4;
const AT_ONCE: usize = 3;

/// The address of the edge, and what its clients trust.
#[derive(Clone)]
struct Door {
    address: std::net::SocketAddr,
    tls: TlsConnector,
}

impl Door {
    fn of(edge: &Edge, authority: &Authority) -> Door {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(authority.pem().as_bytes()).expect("a certificate")).expect("roots");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder =
            ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().expect("versions");
        let mut config = builder.with_root_certificates(roots).with_no_client_auth();
        config.alpn_protocols = vec![b"h2".to_vec()];
        Door { address: edge.client().address, tls: TlsConnector::from(Arc::new(config)) }
    }

    async fn connect(&self) -> Result<SendRequest<Bytes>, String> {
        let stream = TcpStream::connect(self.address).await.map_err(|error| format!("not let in: {error}"))?;
        let name = ServerName::try_from("localhost").expect("a name");
        let stream = self.tls.connect(name, stream).await.map_err(|error| format!("no TLS: {error}"))?;
        let (requests, connection) = h2::client::handshake(stream).await.map_err(|error| format!("no h2: {error}"))?;
        // The outcome of its requests shows how it ends.
        tokio::spawn(connection);
        Ok(requests)
    }
}

/// Sends one request. Returns its status and body.
async fn ask(
    requests: &mut SendRequest<Bytes>,
    method: &str,
    path: &str,
    body: String,
) -> Result<(u16, Vec<u8>), h2::Error> {
    let request = Request::builder().method(method).uri(format!("https://localhost{path}"));
    let request = request.header("content-type", "application/json").body(()).expect("a request");
    let (answer, mut sending) = requests.send_request(request, body.is_empty())?;
    if !body.is_empty() {
        sending.send_data(body.into(), true)?;
    }
    let (head, mut body) = answer.await?.into_parts();
    let mut whole = Vec::new();
    while let Some(piece) = body.data().await {
        let piece = piece?;
        body.flow_control().release_capacity(piece.len())?;
        whole.extend(piece);
    }
    Ok((head.status.as_u16(), whole))
}

/// What the clients have seen.
#[derive(Default)]
struct Seen {
    stop: AtomicBool,
    answers: AtomicUsize,
    connections: AtomicUsize,
}

impl Seen {
    fn await_more(&self, count: usize) {
        let target = self.answers.load(Ordering::Relaxed) + count;
        wait_for("answers", SOON, || (self.answers.load(Ordering::Relaxed) >= target).then_some(()));
    }
}

/// Adds and reads until it is stopped. Returns what was acknowledged, and every error.
async fn client(number: usize, door: Door, seen: Arc<Seen>) -> (Vec<String>, Vec<String>) {
    let (mut acknowledged, mut errors) = (Vec::new(), Vec::new());
    let mut round = 0;
    'connection: while !seen.stop.load(Ordering::Relaxed) {
        let requests = match door.connect().await {
            Ok(requests) => requests,
            Err(error) => {
                errors.push(format!("client {number}: {error}"));
                continue;
            }
        };
        seen.connections.fetch_add(1, Ordering::Relaxed);
        while !seen.stop.load(Ordering::Relaxed) {
            let mut requests = match requests.clone().ready().await {
                Ok(requests) => requests,
                Err(error) if error.is_go_away() && error.reason() == Some(h2::Reason::NO_ERROR) => {
                    continue 'connection;
                }
                Err(error) => {
                    errors.push(format!("client {number}, between requests: {error}"));
                    continue 'connection;
                }
            };
            round += 1;
            let ids: Vec<String> = (0..AT_ONCE - 1).map(|at| format!("{number}-{round}-{at}")).collect();
            let adds = ids.iter().map(|id| {
                let body = json!({ "ids": [id], "embeddings": [[number, round, 1]], "documents": [id] }).to_string();
                let mut requests = requests.clone();
                async move { ask(&mut requests, "POST", &format!("{DEFAULT}/collections/things/add"), body).await }
            });
            let path = format!("{DEFAULT}/collections/things/count");
            let (added, counted) =
                futures::join!(futures::future::join_all(adds), ask(&mut requests, "GET", &path, String::new()));
            for (what, answer) in ids.iter().map(Some).chain([None]).zip(added.into_iter().chain([counted])) {
                match (answer, what) {
                    (Ok((201, _)), Some(id)) => acknowledged.push(id.clone()),
                    (Ok((200, _)), None) => {}
                    (Ok((status, text)), _) => {
                        errors.push(format!("client {number}: {status} {}", String::from_utf8_lossy(&text)));
                    }
                    (Err(error), _) => errors.push(format!("client {number}, {what:?}: {error}")),
                }
                seen.answers.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
    (acknowledged, errors)
}

fn starts(edge: &Edge) -> usize {
    edge.log().lines().filter(|line| line.contains("serving") && line.contains("listen=")).count()
}

#[test]
fn clients_of_http_2_see_nothing() {
    let (authority, folder) = (Authority::new(), data_dir("certificates"));
    let files = authority.issue("localhost", folder.path());
    let servers = [ChromaServer::fresh(), ChromaServer::fresh()];
    let config = format!("  tls: {{ cert: {:?}, key: {:?} }}\n  handover_linger: 3s", files.cert, files.key);
    let edge = Edge::builder().instances(&servers.iter().collect::<Vec<_>>()).config(&config).launch();
    let door = Door::of(&edge, &authority);
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
    wait_for("the edge", SOON, || runtime.block_on(door.connect()).ok());
    let ask_once = |method: &str, path: &str, body: String| {
        runtime.block_on(async { ask(&mut door.connect().await.expect("a connection"), method, path, body).await })
    };
    let created = json!({ "name": "things" }).to_string();
    assert_eq!(ask_once("POST", &format!("{DEFAULT}/collections"), created).expect("an answer").0, 200);

    let seen = Arc::<Seen>::default();
    let clients: Vec<_> =
        (0..CLIENTS).map(|number| runtime.spawn(client(number, door.clone(), Arc::clone(&seen)))).collect();
    for restarts in 1..=3 {
        seen.await_more(60);
        edge.signal(Signal::SIGUSR2);
        wait_for("the new edge", SOON, || (starts(&edge) > restarts).then_some(()));
    }
    seen.await_more(60);
    seen.stop.store(true, Ordering::Relaxed);
    let (mut acknowledged, mut errors) = (Vec::new(), Vec::new());
    for client in clients {
        let (written, failed) = runtime.block_on(client).expect("a client");
        acknowledged.extend(written);
        errors.extend(failed);
    }
    assert!(errors.is_empty(), "{} errors: {:#?}", errors.len(), &errors[..errors.len().min(20)]);
    assert!(seen.connections.load(Ordering::Relaxed) >= CLIENTS * 4, "each restart ends each connection");
    wait_for("both servers in step", CATCH_UP, || {
        let (_, status) = ask_once("GET", "/status", String::new()).expect("an answer");
        is_in_sync(&serde_json::from_slice(&status).expect("JSON")).then_some(())
    });
    let [primary, replica] = &servers;
    let held = ids_by_name(primary, "things");
    let lost: Vec<&String> = acknowledged.iter().filter(|id| !held.contains(id)).collect();
    assert!(lost.is_empty(), "acknowledged and lost: {lost:?}");
    assert_equal("the servers", &Content::of(&primary.client(), TENANT), &Content::of(&replica.client(), TENANT));
}

/// Port scanners and health checks of load balancers do this: an error in the log for each would hide those that
/// matter.
#[test]
fn a_client_that_goes_away_while_http_2_begins_is_no_error() {
    let (authority, folder) = (Authority::new(), data_dir("certificates"));
    let files = authority.issue("localhost", folder.path());
    let server = ChromaServer::fresh();
    let edge = Edge::builder()
        .instance_url(&server.url())
        .config(&format!("  tls: {{ cert: {:?}, key: {:?} }}", files.cert, files.key))
        .launch();
    let door = Door::of(&edge, &authority);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    wait_for("the edge", SOON, || runtime.block_on(door.connect()).ok());
    runtime.block_on(async {
        for _ in 0..100 {
            let stream = TcpStream::connect(door.address).await.expect("let in");
            let name = ServerName::try_from("localhost").expect("a name");
            let mut stream = door.tls.connect(name, stream).await.expect("TLS");
            // Reset, not closed, so that the edge's next write fails.
            stream.get_ref().0.set_zero_linger().expect("a socket");
            stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.expect("taken");
            stream.flush().await.expect("taken");
        }
        let mut requests = door.connect().await.expect("a connection");
        let answer = ask(&mut requests, "GET", "/api/v2/heartbeat", String::new()).await;
        assert_eq!(answer.expect("an answer").0, 200);
    });
    assert_eq!(edge.surprises(), Vec::<String>::new());
}
