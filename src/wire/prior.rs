//! HTTP/2's greeting: tells HTTP/2 from HTTP/1 without TLS, awaits the greeting under TLS, and wraps the connection for
//! Pingora.
//!
//! Only a connection whose first bytes are exactly HTTP/2's greeting is HTTP/2. The gate reads everything else as
//! HTTP/1.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use async_trait::async_trait;
use bytes::BytesMut;
use pingora::protocols::raw_connect::ProxyDigest;
use pingora::protocols::tls::SslDigest;
use pingora::protocols::{ALPN, Peek, Ssl, Stream};
use tokio::io::{AsyncRead, AsyncReadExt, ReadBuf};
use tokio::time::timeout;

use super::through::{connection_passes_through, writes_pass_through};
use super::visitors::{Visitor, digest_of};

/// The beginning of every HTTP/2 connection (RFC 9113, section 3.4).
const GREETING: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// The HTTP version that a connection speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Spoken {
    Http1,
    Http2,
}

/// Reads until the version is known. Returns it with the bytes read, which are the beginning of the conversation.
///
/// # Errors
/// The connection was silent for too long, or began like HTTP/2 and did not go on in time.
pub(super) async fn listen(stream: &mut Stream, silence: Duration, rest: Duration) -> io::Result<(Spoken, BytesMut)> {
    let mut begun = BytesMut::with_capacity(GREETING.len());
    timeout(silence, read_on(stream, &mut begun)).await??;
    timeout(rest, whole(stream, begun)).await?
}

async fn whole(stream: &mut Stream, mut begun: BytesMut) -> io::Result<(Spoken, BytesMut)> {
    loop {
        if let Some(spoken) = spoken(&begun) {
            return Ok((spoken, begun));
        }
        if read_on(stream, &mut begun).await? == 0 {
            return Ok((Spoken::Http1, begun));
        }
    }
}

/// Reads more, but not beyond the greeting.
async fn read_on(stream: &mut Stream, begun: &mut BytesMut) -> io::Result<usize> {
    let mut piece = [0; GREETING.len()];
    let room = GREETING.len() - begun.len();
    let read = stream.read(piece.get_mut(..room).unwrap_or_default()).await?;
    begun.extend_from_slice(piece.get(..read).unwrap_or_default());
    Ok(read)
}

/// Returns `None` while the version is unknown.
fn spoken(begun: &[u8]) -> Option<Spoken> {
    match GREETING.starts_with(begun) {
        false => Some(Spoken::Http1),
        true => (begun.len() == GREETING.len()).then_some(Spoken::Http2),
    }
}

/// A connection that speaks HTTP/2.
#[derive(Debug)]
pub(super) struct Prior {
    inner: Stream,
    /// Bytes that have already been read.
    begun: BytesMut,
    connection: Option<Arc<ProxyDigest>>,
}

impl Prior {
    /// Wraps a connection from which `begun` has been read.
    pub fn new(inner: Stream, begun: BytesMut, visitor: &Arc<Visitor>) -> Prior {
        Prior { inner, begun, connection: digest_of(visitor) }
    }
}

impl AsyncRead for Prior {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if !self.begun.is_empty() {
            let most = self.begun.len().min(buf.remaining());
            buf.put_slice(&self.begun.split_to(most));
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.inner).poll_read(context, buf)
    }
}

writes_pass_through!(Prior);
connection_passes_through!(Prior);

impl Ssl for Prior {
    fn get_ssl_digest(&self) -> Option<Arc<SslDigest>> {
        self.inner.get_ssl_digest()
    }

    /// Reported as if negotiated, so that Pingora need not look at the bytes again.
    fn selected_alpn_proto(&self) -> Option<ALPN> {
        Some(ALPN::H2)
    }
}

#[async_trait]
impl Peek for Prior {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_whole_greeting_is_http2() {
        for length in 0..GREETING.len() {
            assert_eq!(spoken(&GREETING[..length]), None, "{length}");
            let mut other = GREETING[..length].to_vec();
            other.push(b'x');
            assert_eq!(spoken(&other), Some(Spoken::Http1), "{length}");
        }
        assert_eq!(spoken(GREETING), Some(Spoken::Http2));
        for text in ["POST / HTTP/1.1\r\n", "PRI * HTTP/1.1\r\n", "pri * HTTP/2.0\r\n\r\nSM\r\n\r\n", "\r\nPRI"] {
            assert_eq!(spoken(text.as_bytes()), Some(Spoken::Http1), "{text:?}");
        }
    }
}
