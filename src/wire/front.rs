//! Takes in a connection: counts it, decrypts it, and hands it to Pingora through the gate.

use std::io;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::BytesMut;
use pingora::apps::ServerApp;
use pingora::protocols::Stream;
use pingora::server::ShutdownWatch;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::TlsAcceptor;

use super::encrypted::Encrypted;
use super::gate::Gate;
use super::head::HeadLimits;
use super::prior::{self, Prior, Spoken};
use super::tls::{HANDSHAKE_RECORD, HINT, TlsFiles, closed};
use super::visitors::{Visit, Visitors};
use crate::clock;
use crate::lasting::Lasting;

/// How long a TLS handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// How long a client may go on sending after it was told to use HTTPS.
const FAREWELL: Duration = Duration::from_secs(1);

/// The limits on a connection before its requests are parsed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrontOptions {
    pub head: HeadLimits,
    /// How long a request's head may take from its first byte.
    pub header_timeout: Duration,
    /// How long a connection may be silent.
    pub idle_timeout: Duration,
    pub clear_h2: ClearH2,
}

/// Whether HTTP/2 without TLS is accepted from clients that begin with it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ClearH2 {
    #[default]
    Refused,
    Accepted,
}

/// Stands in front of the proxy on a listener.
pub struct Front<A> {
    proxy: Arc<A>,
    options: FrontOptions,
    visitors: Arc<Visitors>,
    tls: Option<Arc<TlsFiles>>,
    crowded: Mutex<Lasting>,
}

impl<A> Front<A> {
    /// A front for this proxy. With `tls`, clients must use TLS.
    pub fn new(proxy: A, options: FrontOptions, visitors: Arc<Visitors>, tls: Option<Arc<TlsFiles>>) -> Front<A> {
        Front { proxy: Arc::new(proxy), options, visitors, tls, crowded: Mutex::default() }
    }

    /// The connections of this listener.
    pub fn visitors(&self) -> &Arc<Visitors> {
        &self.visitors
    }

    /// Counts a connection as soon as it is accepted. `None` if there are too many; the connection is then closed.
    pub fn enter(&self, stream: &Stream) -> Option<Visit> {
        let visit = self.visitors.enter(address_of(stream), clock::now());
        if visit.is_none() {
            self.turn_away();
        }
        visit
    }

    fn turn_away(&self) {
        let mut crowded = self.crowded.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(times) = crowded.seen(clock::now()).times() {
            let limits = self.visitors.limits();
            tracing::warn!(
                times,
                connections = self.visitors.count(),
                limit = limits.connections,
                per_address = limits.per_address,
                "connections are closed at once: too many are open, and none of them is idle"
            );
        }
    }
}

impl<A: ServerApp + Send + Sync + 'static> Front<A> {
    /// Serves a connection to its end.
    pub async fn attend(&self, stream: Stream, visit: Visit) {
        tokio::select! {
            biased;
            () = self.serve(stream, &visit, visit.ends()) => {}
            // No request is being served on it, so nothing is cut off.
            () = visit.sent_away() => {}
        }
    }

    /// Closes connections that are between two requests, and all others after their answers.
    pub async fn close_idle(&self) {
        self.proxy.cleanup().await;
    }

    async fn serve(&self, stream: Stream, visit: &Visit, shutdown: &ShutdownWatch) {
        let Some(tls) = &self.tls else {
            match self.options.clear_h2 {
                ClearH2::Refused => self.through_gate(stream, BytesMut::new(), visit, shutdown).await,
                ClearH2::Accepted => self.serve_either(stream, visit, shutdown).await,
            }
            return;
        };
        match tokio::time::timeout(HANDSHAKE, handshake(stream, tls)).await {
            Ok(Ok(Some(stream))) => {
                let stream = Encrypted::new(stream, visit.visitor());
                if stream.is_h2() {
                    self.serve_h2(Box::new(stream), visit, shutdown).await;
                } else {
                    self.through_gate(Box::new(stream), BytesMut::new(), visit, shutdown).await;
                }
            }
            Ok(Err(error)) => closed(&error),
            Ok(Ok(None)) | Err(_) => {}
        }
    }

    /// Serves HTTP/2, whose frames leave no doubt where a request ends. Pingora would wait for the greeting
    /// indefinitely, and log an error for each client that sends none.
    async fn serve_h2(&self, mut stream: Stream, visit: &Visit, shutdown: &ShutdownWatch) {
        let FrontOptions { header_timeout, .. } = self.options;
        if let Ok((Spoken::Http2, begun)) = prior::listen(&mut stream, header_timeout, header_timeout).await {
            self.proxy.process_new(Box::new(Prior::new(stream, begun, visit.visitor())), shutdown).await;
        }
    }

    /// Serves HTTP/1, or HTTP/2 if the connection begins with its greeting.
    async fn serve_either(&self, mut stream: Stream, visit: &Visit, shutdown: &ShutdownWatch) {
        let listening = prior::listen(&mut stream, self.options.idle_timeout, self.options.header_timeout);
        let Ok((spoken, begun)) = listening.await else { return };
        match spoken {
            Spoken::Http1 => self.through_gate(stream, begun, visit, shutdown).await,
            Spoken::Http2 => {
                self.proxy.process_new(Box::new(Prior::new(stream, begun, visit.visitor())), shutdown).await;
            }
        }
    }

    async fn through_gate(&self, stream: Stream, begun: BytesMut, visit: &Visit, shutdown: &ShutdownWatch) {
        let FrontOptions { head, header_timeout, .. } = self.options;
        let gate = Gate::new((stream, begun), head, header_timeout, visit.visitor());
        self.proxy.process_new(Box::new(gate), shutdown).await;
    }
}

/// Performs the TLS handshake. `None` if the client does not speak TLS; it has been sent a hint.
async fn handshake(mut stream: Stream, tls: &TlsFiles) -> io::Result<Option<tokio_rustls::server::TlsStream<Stream>>> {
    let mut first = [0];
    if stream.try_peek(&mut first).await? && first != [HANDSHAKE_RECORD] {
        stream.write_all(HINT).await?;
        stream.flush().await?;
        let _ = stream.shutdown().await;
        // Closed with unread bytes, the connection would be reset before the client has read the hint.
        let mut rest = [0; 1024];
        let drain = async { while stream.read(&mut rest).await.is_ok_and(|read| read > 0) {} };
        let _ = tokio::time::timeout(FAREWELL, drain).await;
        return Ok(None);
    }
    TlsAcceptor::from(tls.config()).accept(stream).await.map(Some)
}

fn address_of(stream: &Stream) -> Option<IpAddr> {
    Some(stream.get_socket_digest()?.peer_addr()?.as_inet()?.ip())
}
