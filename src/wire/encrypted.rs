//! A TLS connection after its handshake, in the form that Pingora takes.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use async_trait::async_trait;
use pingora::protocols::raw_connect::ProxyDigest;
use pingora::protocols::tls::SslDigest;
use pingora::protocols::{
    ALPN, GetProxyDigest, GetSocketDigest, GetTimingDigest, Peek, Shutdown, SocketDigest, Ssl, Stream, TimingDigest,
    UniqueID, UniqueIDType,
};
use tokio::io::{AsyncRead, AsyncWriteExt, ReadBuf};
use tokio_rustls::server::TlsStream;

use super::through::writes_pass_through;
use super::visitors::{Visitor, digest_of};

/// TLS over another connection.
#[derive(Debug)]
pub struct Encrypted {
    inner: TlsStream<Stream>,
    tls: Arc<SslDigest>,
    connection: Option<Arc<ProxyDigest>>,
}

impl Encrypted {
    /// Wraps the connection after its handshake.
    pub fn new(inner: TlsStream<Stream>, visitor: &Arc<Visitor>) -> Encrypted {
        let session = inner.get_ref().1;
        let version = session.protocol_version().and_then(|version| version.as_str()).unwrap_or("");
        let suite = session.negotiated_cipher_suite().and_then(|suite| suite.suite().as_str()).unwrap_or("");
        let tls = Arc::new(SslDigest::new(suite, version, None, None, Vec::new()));
        Encrypted { inner, tls, connection: digest_of(visitor) }
    }

    /// Returns whether the client has chosen HTTP/2.
    pub fn is_h2(&self) -> bool {
        self.inner.get_ref().1.alpn_protocol() == Some(b"h2")
    }

    fn transport(&self) -> &Stream {
        self.inner.get_ref().0
    }
}

impl AsyncRead for Encrypted {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(context, buf)
    }
}

writes_pass_through!(Encrypted);

#[async_trait]
impl Shutdown for Encrypted {
    async fn shutdown(&mut self) {
        // A client that is gone needs no close notification.
        let _ = self.inner.shutdown().await;
    }
}

impl UniqueID for Encrypted {
    fn id(&self) -> UniqueIDType {
        self.transport().id()
    }
}

impl Ssl for Encrypted {
    fn get_ssl_digest(&self) -> Option<Arc<SslDigest>> {
        Some(Arc::clone(&self.tls))
    }

    fn selected_alpn_proto(&self) -> Option<ALPN> {
        Some(if self.is_h2() { ALPN::H2 } else { ALPN::H1 })
    }
}

impl GetTimingDigest for Encrypted {
    fn get_timing_digest(&self) -> Vec<Option<TimingDigest>> {
        self.transport().get_timing_digest()
    }
}

impl GetProxyDigest for Encrypted {
    fn get_proxy_digest(&self) -> Option<Arc<ProxyDigest>> {
        self.connection.clone()
    }
}

impl GetSocketDigest for Encrypted {
    fn get_socket_digest(&self) -> Option<Arc<SocketDigest>> {
        self.transport().get_socket_digest()
    }
}

#[async_trait]
impl Peek for Encrypted {}
