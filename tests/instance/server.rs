//! A server for tests: it listens on a free port, and the test decides what it does with each connection.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use chroma_edge::ids::{InstanceId, InstanceName};
use chroma_edge::instance::{
    Admission, Client, HealthOptions, InstanceOptions, InstanceUrl, Licence, Observation, Outgoing, Registry, Timeouts,
    Trust, UpstreamHeaders,
};
use http::Method;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::net::TcpListener;

pub const ONLY: InstanceId = InstanceId(0);
/// The time limit for things that must happen. A test that reaches it has failed.
pub const LONG: Duration = Duration::from_secs(10);

pub async fn listen() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

/// A lease that never ends, for tests that are only about sending.
pub const FREE: Licence<'static> = Licence::NotNeeded;

/// Returns a registry of one instance at this URL, admitted to traffic, and a client for it.
pub fn client(url: &str) -> (Arc<Registry>, Client) {
    client_with(url, Timeouts::default())
}

/// Does the same as [`client`], with these timeouts.
pub fn client_with(url: &str, timeouts: Timeouts) -> (Arc<Registry>, Client) {
    let registry = registry_with(url, timeouts);
    registry.observe(ONLY, Observation::ProbeOk);
    assert_eq!(registry.admit(ONLY, registry.generation(ONLY)), Admission::Admitted);
    (Arc::clone(&registry), Client::new(registry))
}

pub fn client_of(address: SocketAddr) -> (Arc<Registry>, Client) {
    client(&format!("http://{address}"))
}

pub fn registry(url: &str) -> Arc<Registry> {
    registry_with(url, Timeouts::default())
}

fn registry_with(url: &str, timeouts: Timeouts) -> Arc<Registry> {
    let url = InstanceUrl::parse(url).unwrap();
    let options = InstanceOptions {
        name: InstanceName::new("primary"),
        url,
        trust: Trust::default(),
        headers: UpstreamHeaders::default(),
    };
    Registry::new(vec![options], timeouts, HealthOptions::default()).unwrap()
}

pub fn post(body: impl Into<Bytes>) -> Outgoing {
    Outgoing { method: Method::POST, path: "/api/v2/add".to_owned(), headers: Vec::new(), body: body.into() }
}

pub fn get() -> Outgoing {
    Outgoing { method: Method::GET, path: "/api/v2/version".to_owned(), headers: Vec::new(), body: Bytes::new() }
}

/// Reads a request's header, up to and including the empty line, and nothing of its body.
pub async fn read_header(stream: &mut (impl AsyncRead + Unpin)) -> String {
    let mut header = Vec::new();
    while !header.ends_with(b"\r\n\r\n") {
        header.push(stream.read_u8().await.unwrap());
    }
    String::from_utf8(header).unwrap()
}

/// Reads a whole request, framed by Content-Length.
pub async fn read_request(stream: &mut (impl AsyncRead + Unpin)) -> (String, Vec<u8>) {
    let header = read_header(stream).await;
    let length = header.to_ascii_lowercase().lines().find_map(|l| l.strip_prefix("content-length: ")?.parse().ok());
    let mut body = vec![0; length.unwrap_or(0)];
    stream.read_exact(&mut body).await.unwrap();
    (header, body)
}
