//! One HTTP/1 connection as Pingora reads it: only bytes that the scanner has understood pass.
//!
//! A flawed head is replaced by a request that the proxy recognizes, so that its answer has the usual shape and comes
//! after the answers to earlier requests. Nothing after the flawed head is read.

use std::fmt;
use std::future::Future;
use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::sync::{Arc, LazyLock};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use async_trait::async_trait;
use bytes::BytesMut;
use pingora::protocols::raw_connect::ProxyDigest;
use pingora::protocols::tls::SslDigest;
use pingora::protocols::{ALPN, Peek, Ssl, Stream};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;
use uuid::Uuid;

use super::head::{Flaw, HeadLimits};
use super::joined::Joined;
use super::scanner::{Flawed, Scanner};
use super::through::connection_passes_through;
use super::visitors::{Visitor, digest_of};

/// How much is read at once while looking for heads and chunks.
const PIECE: usize = 8 * 1024;

/// The path prefix of the request that replaces a flawed one. No client knows it.
static MARK: LazyLock<String> = LazyLock::new(|| format!("/{}/", Uuid::new_v4().simple()));

/// Returns the flaw of the request that this path stands for; `None` if the request is a client's own.
pub fn flaw_of(path: &str) -> Option<Flaw> {
    path.strip_prefix(MARK.as_str())?.parse().ok().and_then(Flaw::numbered)
}

fn stand_in(flaw: Flaw) -> String {
    format!("GET {}{} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n", *MARK, flaw.number())
}

/// Stands between a connection and Pingora's HTTP/1 parser.
pub struct Gate {
    inner: Stream,
    scanner: Scanner,
    /// Bytes that are understood and not handed on yet.
    ready: BytesMut,
    /// Bytes that are not understood yet.
    raw: BytesMut,
    end: End,
    /// The deadline of the head that is coming in, with the number of heads before it.
    deadline: Option<(u64, Pin<Box<Sleep>>)>,
    head_timeout: Duration,
    connection: Option<Arc<ProxyDigest>>,
    /// The way out: answers.
    written: Joined,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    No,
    /// Nothing more is read.
    Quiet,
    /// A flaw in the middle of a body.
    Broken(Flaw),
}

impl Gate {
    /// A gate over an open connection, of which `begun` has already been read.
    pub fn new(
        (inner, begun): (Stream, BytesMut),
        limits: HeadLimits,
        head_timeout: Duration,
        visitor: &Arc<Visitor>,
    ) -> Gate {
        let mut gate = Gate {
            inner,
            scanner: Scanner::new(limits),
            ready: BytesMut::new(),
            raw: begun,
            end: End::No,
            deadline: None,
            head_timeout,
            connection: digest_of(visitor),
            written: Joined::default(),
        };
        gate.understand();
        gate
    }

    /// Hands on bytes of a body of known length, without a copy.
    fn read_plain(&mut self, context: &mut Context<'_>, buf: &mut ReadBuf<'_>, left: u64) -> Poll<io::Result<()>> {
        let most = buf.remaining().min(usize::try_from(left).unwrap_or(usize::MAX));
        let mut part = ReadBuf::new(buf.initialize_unfilled_to(most));
        ready!(Pin::new(&mut self.inner).poll_read(context, &mut part))?;
        let read = part.filled().len();
        buf.advance(read);
        self.scanner.pass(read as u64);
        Poll::Ready(Ok(()))
    }

    /// Reads more, and moves what is understood to `ready`.
    fn read_scanned(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut piece = [const { MaybeUninit::uninit() }; PIECE];
        let mut part = ReadBuf::uninit(&mut piece);
        ready!(Pin::new(&mut self.inner).poll_read(context, &mut part))?;
        if part.filled().is_empty() {
            self.end = End::Quiet;
            return Poll::Ready(Ok(()));
        }
        self.raw.extend_from_slice(part.filled());
        self.understand();
        Poll::Ready(Ok(()))
    }

    fn understand(&mut self) {
        match self.scanner.feed(&mut self.raw, &mut self.ready) {
            Ok(()) => {}
            Err(Flawed::Head(flaw)) => {
                self.ready.extend_from_slice(stand_in(flaw).as_bytes());
                self.end = End::Quiet;
            }
            Err(Flawed::Body(flaw)) => self.end = End::Broken(flaw),
        }
    }

    /// Returns whether a head has begun and not ended in time.
    fn is_late(&mut self, context: &mut Context<'_>) -> bool {
        if !self.scanner.is_within_head() {
            self.deadline = None;
            return false;
        }
        let (timeout, heads) = (self.head_timeout, self.scanner.heads());
        // A client that pipelines is always within a head, and each head has its own deadline.
        self.deadline.take_if(|(before, _)| *before != heads);
        let (_, deadline) = self.deadline.get_or_insert_with(|| (heads, Box::pin(tokio::time::sleep(timeout))));
        deadline.as_mut().poll(context).is_ready()
    }
}

impl AsyncRead for Gate {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let gate = self.get_mut();
        loop {
            if !gate.ready.is_empty() {
                let most = gate.ready.len().min(buf.remaining());
                buf.put_slice(&gate.ready.split_to(most));
                return Poll::Ready(Ok(()));
            }
            match gate.end {
                End::No => {}
                End::Quiet => return Poll::Ready(Ok(())),
                End::Broken(flaw) => return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, flaw.text()))),
            }
            match gate.scanner.plain_bytes() {
                0 => {
                    let read = gate.read_scanned(context);
                    if gate.is_late(context) && gate.ready.is_empty() {
                        gate.end = End::Quiet;
                        continue;
                    }
                    ready!(read)?;
                }
                left => return gate.read_plain(context, buf, left),
            }
        }
    }
}

impl AsyncWrite for Gate {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let Gate { inner, written, .. } = self.get_mut();
        written.poll_write(inner, context, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let Gate { inner, written, .. } = self.get_mut();
        written.poll_write_vectored(inner, context, pieces)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Gate { inner, written, .. } = self.get_mut();
        written.poll_flush(inner, context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Gate { inner, written, .. } = self.get_mut();
        ready!(written.poll_flush(inner, context))?;
        Pin::new(inner).poll_shutdown(context)
    }
}

connection_passes_through!(Gate);

impl fmt::Debug for Gate {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(to, "Gate({:?})", self.inner)
    }
}

impl Ssl for Gate {
    fn get_ssl_digest(&self) -> Option<Arc<SslDigest>> {
        self.inner.get_ssl_digest()
    }

    fn selected_alpn_proto(&self) -> Option<ALPN> {
        self.inner.selected_alpn_proto()
    }
}

#[async_trait]
impl Peek for Gate {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_stand_in_is_taken_for_one() {
        for number in 0.. {
            let Some(flaw) = Flaw::numbered(number) else { break };
            let request = stand_in(flaw);
            let path = request.split(' ').nth(1).unwrap();
            assert_eq!(flaw_of(path), Some(flaw));
        }
        for path in ["/", "/0", "/00000000000000000000000000000000/0", &format!("{}999", *MARK), &format!("{}x", *MARK)]
        {
            assert_eq!(flaw_of(path), None, "{path}");
        }
    }
}
