//! Sends one request to one instance and says exactly what is known afterwards.
//!
//! Three ends: an answer; [`SendError::NotSent`], when no instance can have executed it; [`SendError::InDoubt`],
//! when that cannot be known. It never sends a write twice, and never guesses: an abandoned request is in doubt, its
//! connection is closed at once and not half-closed (a Chroma server drops the handler of a closed connection,
//! but executes what it read of a half-closed one). A write goes out only while its lease lasts. What an answer
//! *means* is classified by the caller.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use pingora::connectors::ConnectorOptions;
use pingora::connectors::http::v1::Connector;
use pingora::http::RequestHeader;
use pingora::protocols::http::v1::client::HttpSession;
use pingora::upstreams::peer::HttpPeer;
use pingora::{BError, ErrorType};

use super::health::HEARTBEAT;
use super::message::{Answer, Outgoing};
use super::phase::{Observation, Phase};
use super::registry::{Generation, Registry};
use super::sent::{Licence, Refused, SendError, Sent, Wait};
use crate::clock;
use crate::ids::InstanceId;
use crate::proof::{self, CrashPoint};

/// A body is written in pieces of this size, with a look for an early answer between them.
const PIECE: usize = 128 * 1024;
/// Idle connections kept for all instances together.
const POOL: usize = 128;
const DEFAULT_MOST: usize = 256 * 1024 * 1024;
/// More of a heartbeat's answer is none of Chroma's.
const HEARTBEAT_ANSWER: usize = 64 * 1024;
/// Between two looks whether an answer that is late is still worth waiting for.
const LOOK: Duration = Duration::from_millis(250);
/// How long to look for an answer after the instance stopped taking the body.
const EARLY_ANSWER: Duration = Duration::from_millis(500);

/// Sends requests to instances, over connections that are kept for the next one.
///
/// One per runtime: a kept connection lives in the runtime that opened it.
pub struct Client {
    registry: Arc<Registry>,
    connector: Connector,
    most: usize,
    /// Numbers the connections that must not come from the pool.
    fresh: AtomicU64,
}

/// Whether an instance that lost a request is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Vital {
    Answers,
    /// No connection, or a connection without a heartbeat: no process is there, or another one.
    Gone,
    /// Nothing came back in time: it hangs, or cannot be reached.
    Silent,
}

/// An attempt's failure, with what the retry rules need to know.
struct Failure {
    error: SendError,
    connection: Connection,
}

/// Whether the connection was opened for the attempt or had served another before.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Connection {
    Fresh,
    Reused,
}

impl Client {
    /// A client with an empty pool; answers of more than 256 MiB are not read to their end.
    pub fn new(registry: Arc<Registry>) -> Self {
        let connector = Connector::new(Some(ConnectorOptions::new(POOL)));
        Client { registry, connector, most: DEFAULT_MOST, fresh: AtomicU64::new(0) }
    }

    /// The same client, with this many bytes as the longest answer that is read: a longer one is in doubt.
    #[must_use]
    pub fn with_max_answer_bytes(mut self, most: usize) -> Self {
        self.most = most;
        self
    }

    /// The longest answer that is read, in bytes.
    pub fn max_answer_bytes(&self) -> usize {
        self.most
    }

    /// Sends the request at most once. It ends within the wait (or deadline), and as soon as the instance is Down.
    ///
    /// Dropping the future closes the connection; the request is then in doubt.
    pub async fn send(
        &self,
        id: InstanceId,
        request: &Outgoing,
        wait: impl Into<Wait<'_>>,
        licence: Licence<'_>,
    ) -> Result<Answer, SendError> {
        let started = clock::runtime_now();
        let (wait, most) = (wait.into(), self.most);
        match self.attempt(id, request, wait, Reuse::Allowed, licence, most).await {
            // A connection that the instance had closed while it was idle: nothing has happened.
            Err(Failure { error: SendError::NotSent { .. }, connection: Connection::Reused }) => {
                let left = wait.after(started.elapsed());
                self.attempt(id, request, left, Reuse::Forbidden, licence, most).await.map_err(|failure| failure.error)
            }
            result => result.map_err(|failure| failure.error),
        }
    }

    /// As [`Client::send`], for a request that may be executed twice (a read): one that fails on a connection that had
    /// been idle is sent once more, on a fresh one, within the same deadline.
    pub async fn send_idempotent(
        &self,
        id: InstanceId,
        request: &Outgoing,
        deadline: Duration,
    ) -> Result<Answer, SendError> {
        self.send_idempotent_within(id, request, deadline, self.most).await
    }

    /// As [`Client::send_idempotent`], and of a longer answer than `most` bytes no more than its header is read:
    /// [`SendError::TooLong`].
    pub async fn send_idempotent_within(
        &self,
        id: InstanceId,
        request: &Outgoing,
        deadline: Duration,
        most: usize,
    ) -> Result<Answer, SendError> {
        let started = clock::runtime_now();
        let (licence, most) = (Licence::NotNeeded, most.min(self.most));
        match self.attempt(id, request, deadline.into(), Reuse::Allowed, licence, most).await {
            Err(Failure { error: error @ SendError::TooLong { .. }, .. }) => Err(error),
            Err(Failure { connection: Connection::Reused, .. })
                if started.elapsed() < deadline && self.registry.phase(id) != Phase::Down =>
            {
                let left = deadline.saturating_sub(started.elapsed()).into();
                self.attempt(id, request, left, Reuse::Forbidden, licence, most).await.map_err(|failure| failure.error)
            }
            result => result.map_err(|failure| failure.error),
        }
    }

    /// Whether the process is there: asked right after a request that began in the generation `since` was lost. A
    /// server that has died answers nothing; one that closed this connection answers at once on another.
    pub async fn vital(&self, id: InstanceId, since: Generation) -> Vital {
        let (method, path) = (http::Method::GET, HEARTBEAT.to_owned());
        let heartbeat = Outgoing { method, path, headers: Vec::new(), body: bytes::Bytes::new() };
        // Also where the probes have given it up: they do not tell who has died from who hangs.
        let header = heartbeat.header(&self.registry.url(id).authority());
        let (Ok(header), Some(peer)) = (header, self.registry.peer(id)) else { return Vital::Gone };
        let progress = Progress::default();
        let how = (Reuse::Forbidden, HEARTBEAT_ANSWER);
        let exchange = self.exchange(header, &[], &peer, how, &progress, Licence::NotNeeded);
        match tokio::time::timeout(self.registry.health().timeout, exchange).await {
            // One that has gone and is back has died all the same.
            Ok(Ok(answer)) if answer.status == 200 && self.registry.generation(id) == since => Vital::Answers,
            Ok(Ok(_)) => Vital::Gone,
            Ok(Err(error)) => {
                self.observe(id, &error, progress.connection());
                Vital::Gone
            }
            Err(_) => Vital::Silent,
        }
    }

    async fn attempt(
        &self,
        id: InstanceId,
        request: &Outgoing,
        wait: Wait<'_>,
        reuse: Reuse,
        licence: Licence<'_>,
        most: usize,
    ) -> Result<Answer, Failure> {
        let _under_way = self.registry.enter(id);
        let progress = Progress::default();
        let fail = |error| Failure { error, connection: progress.connection() };
        let (header, peer) = self.prepare(id, request).map_err(fail)?;
        let result = tokio::select! {
            biased;
            result = self.exchange(header, &request.body, &peer, (reuse, most), &progress, licence) => result,
            // The probes have reported it already.
            () = self.registry.departed(id) => {
                let error = progress.abandoned("the instance is down".to_owned());
                return Err(fail(progress.judged(error, licence)));
            }
            waited = progress.waited_enough(wait) => Err(progress.abandoned(format!("no answer within {waited:?}"))),
        };
        result.map_err(|error| {
            let error = progress.judged(error, licence);
            self.observe(id, &error, progress.connection());
            fail(error)
        })
    }

    /// Failures here are not the instance's, or are known already.
    fn prepare(&self, id: InstanceId, request: &Outgoing) -> Result<(RequestHeader, HttpPeer), SendError> {
        let refuse = |reason| SendError::NotSent { reason, refused: Refused::No };
        if self.registry.phase(id) == Phase::Down {
            return Err(refuse("the instance is down".to_owned()));
        }
        let url = self.registry.url(id);
        let header = request.header(&url.authority()).map_err(|error| refuse(error.to_string()))?;
        let unknown = || refuse(format!("the address of {} is not known yet", url.host()));
        Ok((header, self.registry.peer(id).ok_or_else(unknown)?))
    }

    /// A kept connection that fails says little of the instance: it may have been closed long ago.
    fn observe(&self, id: InstanceId, error: &SendError, connection: Connection) {
        match error {
            SendError::NotSent { refused: Refused::Yes, reason } => {
                self.registry.observe_because(id, Observation::Refused, reason);
            }
            SendError::NotSent { .. } if connection == Connection::Reused => {}
            SendError::LeaseEnded(_) | SendError::TooLong { .. } => {}
            SendError::NotSent { reason, .. } | SendError::InDoubt { reason } => {
                self.registry.observe_because(id, Observation::Unanswered, reason);
            }
        }
    }

    async fn exchange(
        &self,
        header: RequestHeader,
        body: &[u8],
        peer: &HttpPeer,
        (reuse, most): (Reuse, usize),
        progress: &Progress,
        licence: Licence<'_>,
    ) -> Result<Answer, SendError> {
        let not_sent = |error: BError| not_sent(&error);
        let mut session = self.connect(peer, reuse, progress).await.map_err(not_sent)?;
        licence.check().map_err(|_| SendError::LeaseEnded(Sent::Nothing))?;
        progress.sent.store(true, Ordering::Relaxed);
        progress.last_piece.store(body.is_empty(), Ordering::Relaxed);
        // An error here means that the kernel did not take the whole header, and a request without a whole header is
        // none. (A cancellation here, by contrast, proves nothing.)
        session.write_request_header(Box::new(header)).await.map_err(not_sent)?;
        let written = write_body(&mut session, body, progress, licence).await?;
        if written == Written::Whole {
            licence.handed_over().map_err(|_| SendError::LeaseEnded(Sent::Whole))?;
            progress.in_time.store(true, Ordering::Relaxed);
            if matches!(licence, Licence::Lease(_)) {
                proof::pass(CrashPoint::AfterSend);
            }
        }
        let answer = read_answer(&mut session, most).await.map_err(|error| match (error, licence) {
            // A read is asked again in parts; what a write came to is not known.
            (error @ SendError::TooLong { .. }, Licence::NotNeeded) => error,
            (SendError::TooLong { most }, _) => {
                SendError::InDoubt { reason: format!("an answer longer than {most} bytes") }
            }
            (error, _) => error,
        })?;
        if written == Written::Whole {
            self.keep(session, peer).await;
        }
        Ok(answer)
    }

    async fn connect(&self, peer: &HttpPeer, reuse: Reuse, progress: &Progress) -> Result<HttpSession, BError> {
        let (session, reused) = match reuse {
            Reuse::Allowed => self.connector.get_http_session(peer).await?,
            Reuse::Forbidden => {
                let mut lonely = peer.clone();
                // No connection is ever pooled under such a key.
                lonely.group_key = u64::MAX - self.fresh.fetch_add(1, Ordering::Relaxed);
                self.connector.get_http_session(&lonely).await?
            }
        };
        progress.reused.store(reused, Ordering::Relaxed);
        Ok(session)
    }

    async fn keep(&self, mut session: HttpSession, peer: &HttpPeer) {
        session.respect_keepalive();
        // Dropping closes; releasing such a session would half-close it first.
        if session.will_keepalive() {
            self.connector.release_http_session(session, peer, peer.options.idle_timeout).await;
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Reuse {
    Allowed,
    Forbidden,
}

/// How far an attempt got, readable after it was abandoned.
#[derive(Default)]
struct Progress {
    sent: AtomicBool,
    reused: AtomicBool,
    /// From here on the instance may have the whole request.
    last_piece: AtomicBool,
    /// The whole request was handed over while its lease lasted.
    in_time: AtomicBool,
}

impl Progress {
    fn connection(&self) -> Connection {
        if self.reused.load(Ordering::Relaxed) { Connection::Reused } else { Connection::Fresh }
    }

    /// Resolves, with the time since the start, when the answer is waited for no longer.
    async fn waited_enough(&self, wait: Wait<'_>) -> Duration {
        let started = clock::runtime_now();
        tokio::time::sleep(wait.attempt).await;
        loop {
            let elapsed = started.elapsed();
            if elapsed >= wait.answer {
                return wait.answer;
            }
            if !self.in_time.load(Ordering::Relaxed) || !(wait.worth)(elapsed) {
                return Duration::from_millis(u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX));
            }
            tokio::time::sleep(LOOK.min(wait.answer - elapsed)).await;
        }
    }

    fn abandoned(&self, reason: String) -> SendError {
        if self.sent.load(Ordering::Relaxed) {
            SendError::InDoubt { reason }
        } else {
            SendError::NotSent { reason, refused: Refused::No }
        }
    }

    /// What is in doubt and may have been handed over after its lease is said to be so.
    fn judged(&self, error: SendError, licence: Licence<'_>) -> SendError {
        let doubtful = matches!(error, SendError::InDoubt { .. });
        let whole = self.last_piece.load(Ordering::Relaxed) && !self.in_time.load(Ordering::Relaxed);
        if doubtful && whole && licence.check().is_err() { SendError::LeaseEnded(Sent::Whole) } else { error }
    }
}

/// Whether the instance took the whole body before it answered.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Written {
    Whole,
    AnsweredEarly,
}

async fn write_body(
    session: &mut HttpSession,
    body: &[u8],
    progress: &Progress,
    licence: Licence<'_>,
) -> Result<Written, SendError> {
    let pieces = body.len().div_ceil(PIECE);
    for (index, piece) in body.chunks(PIECE).enumerate() {
        if body.len() > PIECE && answered_early(session).await? {
            return Ok(Written::AnsweredEarly);
        }
        licence.check().map_err(|_| SendError::LeaseEnded(Sent::Part))?;
        progress.last_piece.store(index + 1 == pieces, Ordering::Relaxed);
        if let Err(error) = session.write_body(piece).await {
            return early_answer(session, error).await;
        }
    }
    match session.finish_body().await {
        Ok(_) => Ok(Written::Whole),
        Err(error) => early_answer(session, error).await,
    }
}

/// Whether a final answer is there already, without waiting for it.
async fn answered_early(session: &mut HttpSession) -> Result<bool, SendError> {
    tokio::select! {
        biased;
        read = session.read_response() => read.map(|_| is_final(session)).map_err(|error| in_doubt(&error)),
        () = std::future::ready(()) => Ok(false),
    }
}

/// An instance that refuses a body answers and closes without reading the rest; the answer is still to be read.
async fn early_answer(session: &mut HttpSession, error: BError) -> Result<Written, SendError> {
    match tokio::time::timeout(EARLY_ANSWER, read_final_header(session)).await {
        Ok(Ok(())) => Ok(Written::AnsweredEarly),
        Ok(Err(_)) | Err(_) => Err(in_doubt(&error)),
    }
}

fn is_final(session: &HttpSession) -> bool {
    session.get_status().is_some_and(|status| !status.is_informational())
}

async fn read_final_header(session: &mut HttpSession) -> Result<(), BError> {
    while !is_final(session) {
        session.read_response().await?;
        // No request here asks for an upgrade; what follows a 101 is not HTTP.
        if session.get_status() == Some(http::StatusCode::SWITCHING_PROTOCOLS) {
            return pingora::Error::e_explain(ErrorType::InvalidHTTPHeader, "the instance switched protocols");
        }
    }
    Ok(())
}

async fn read_answer(session: &mut HttpSession, most: usize) -> Result<Answer, SendError> {
    read_final_header(session).await.map_err(|error| in_doubt(&error))?;
    let Some(header) = session.resp_header() else {
        return Err(SendError::InDoubt { reason: "an answer without a header".to_owned() });
    };
    let (status, headers) = (header.status, header.headers.clone());
    let announced = headers.get(http::header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
    if announced.is_some_and(|length: usize| length > most) {
        return Err(SendError::TooLong { most });
    }
    let mut body = bytes::BytesMut::new();
    while let Some(piece) = session.read_body_ref().await.map_err(|error| in_doubt(&error))? {
        if body.len() + piece.len() > most {
            return Err(SendError::TooLong { most });
        }
        body.extend_from_slice(piece);
    }
    Ok(Answer::new(status, headers, body.freeze()))
}

fn not_sent(error: &BError) -> SendError {
    let refused = if error.etype() == &ErrorType::ConnectRefused { Refused::Yes } else { Refused::No };
    SendError::NotSent { reason: error.to_string(), refused }
}

fn in_doubt(error: &BError) -> SendError {
    SendError::InDoubt { reason: error.to_string() }
}

#[cfg(test)]
mod tests;
