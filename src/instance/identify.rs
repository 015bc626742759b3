//! What listens at an instance's address, for a person checking a configuration.
//!
//! It tells a Chroma server from another web server, and TLS from plain HTTP. It changes nothing on the server, and
//! decides nothing for a serving edge: probes and inspection do.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, header};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::client::Client;
use super::message::{Answer, Outgoing};
use super::options::{HealthOptions, InstanceOptions, Timeouts};
use super::peer::SetupError;
use super::registry::Registry;
use super::resolve::resolve;
use super::sent::{Licence, SendError};
use super::url::Tls;
use crate::ids::InstanceId;

const HEARTBEAT: &str = "/api/v2/heartbeat";
/// The key in Chroma's heartbeat answer.
const HEARTBEAT_KEY: &str = "nanosecond heartbeat";

/// What was found at an instance's address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// A Chroma server that answers its heartbeat.
    Chroma,
    /// A web server that is not Chroma, or a gateway without Chroma behind it.
    OtherServer { status: u16, server: Option<String> },
    /// The configured URL is http, but the server speaks TLS.
    SpeaksTls,
    /// The configured URL is https, but the server speaks plain HTTP.
    SpeaksPlainHttp,
    /// No answer, for this reason.
    Unreachable(String),
}

/// Identifies the server with one request, within about twice `limit`.
///
/// # Errors
/// The instance's CA file cannot be used.
pub async fn identify(options: &InstanceOptions, limit: Duration) -> Result<Found, SetupError> {
    const ONLY: InstanceId = InstanceId(0);
    let timeouts = Timeouts { connect: limit, read: limit, ..Timeouts::default() };
    let registry = Registry::new(vec![options.clone()], timeouts, HealthOptions::default())?;
    resolve(&registry, limit).await;
    let Some(address) = registry.address(ONLY) else {
        let reason = registry.last_error(ONLY).unwrap_or_else(|| "its name has no address".to_owned());
        return Ok(Found::Unreachable(reason));
    };
    let request = Outgoing { method: Method::GET, path: HEARTBEAT.to_owned(), headers: Vec::new(), body: Bytes::new() };
    let client = Client::new(registry);
    let sent = client.send(ONLY, &request, limit, Licence::NotNeeded).await;
    if let Ok(answer) = &sent
        && is_chroma(answer)
    {
        return Ok(Found::Chroma);
    }
    let spoken = timeout(limit, spoken_at(address)).await.unwrap_or(Spoken::Unknown);
    Ok(match (options.url.tls(), spoken, sent) {
        (Tls::No, Spoken::Tls, _) => Found::SpeaksTls,
        (Tls::Yes, Spoken::PlainHttp, _) => Found::SpeaksPlainHttp,
        (_, _, Ok(answer)) => {
            let server = answer.headers.get(header::SERVER).and_then(|value| value.to_str().ok()).map(str::to_owned);
            Found::OtherServer { status: answer.status, server }
        }
        (_, _, Err(SendError::NotSent { reason, .. } | SendError::InDoubt { reason })) => Found::Unreachable(reason),
        (_, _, Err(error)) => Found::Unreachable(error.to_string()),
    })
}

fn is_chroma(answer: &Answer) -> bool {
    let body = serde_json::from_slice::<serde_json::Value>(&answer.body);
    answer.status == 200 && body.is_ok_and(|body| body.get(HEARTBEAT_KEY).is_some())
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Spoken {
    PlainHttp,
    Tls,
    Unknown,
}

/// Finds out what the server speaks, from its answer to a plain HTTP request.
async fn spoken_at(address: SocketAddr) -> Spoken {
    let exchange = async {
        let mut stream = TcpStream::connect(address).await?;
        stream.write_all(b"GET / HTTP/1.1\r\nhost: check\r\nconnection: close\r\n\r\n").await?;
        let mut answer = Vec::new();
        // More is of no interest.
        stream.take(4096).read_to_end(&mut answer).await?;
        Ok::<_, std::io::Error>(answer)
    };
    exchange.await.map_or(Spoken::Unknown, |answer| spoken(&answer))
}

fn spoken(answer: &[u8]) -> Spoken {
    match answer {
        // A TLS alert, of any version 3.x: the server expected a handshake.
        [0x15, 0x03, ..] => Spoken::Tls,
        _ if !answer.starts_with(b"HTTP/") => Spoken::Unknown,
        // nginx and others answer this way to plain HTTP on a TLS port.
        _ if answer.starts_with(b"HTTP/1.1 400") && contains(answer, b"HTTPS") => Spoken::Tls,
        _ => Spoken::PlainHttp,
    }
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|window| window == part)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tls_and_http_are_told_apart_by_their_first_bytes() {
        assert_eq!(spoken(&[0x15, 0x03, 0x03, 0, 2, 2, 50]), Spoken::Tls);
        let nginx = b"HTTP/1.1 400 Bad Request\r\n\r\nThe plain HTTP request was sent to HTTPS port";
        assert_eq!(spoken(nginx), Spoken::Tls);
        assert_eq!(spoken(b"HTTP/1.1 404 Not Found\r\n\r\n"), Spoken::PlainHttp);
        assert_eq!(spoken(b"HTTP/1.1 400 Bad Request\r\n\r\n"), Spoken::PlainHttp);
        for unknown in [&b""[..], b"SSH-2.0-x", &[0x15]] {
            assert_eq!(spoken(unknown), Spoken::Unknown);
        }
    }
}
