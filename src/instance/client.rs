//! Sends one request to one instance and reports exactly what is known afterwards.
//!
//! There are three outcomes: an answer; [`SendError::NotSent`], when no instance can have executed the request; and
//! [`SendError::InDoubt`], when that cannot be known. The client never sends a write twice and never guesses. An
//! abandoned request is in doubt, and its connection is closed at once, not half-closed: a Chroma server drops the
//! handler of a closed connection, but executes what it read from a half-closed one. A write is sent only while its
//! lease lasts. What an answer *means* is classified by the caller.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use pingora::http::RequestHeader;
use pingora::protocols::Stream;
use pingora::protocols::http::v1::client::HttpSession;
use pingora::upstreams::peer::HttpPeer;
use pingora::{BError, ErrorType};

mod connections;
mod transfer;

use self::connections::{Connections, Reuse};
use self::transfer::{
    Written, for_licence, is_sent_at_once, read_answer, read_final_header, write_at_once, write_body,
};
use super::health::HEARTBEAT;
use super::incoming::{Cause, Incoming, Unanswered, in_doubt};
use super::message::{Answer, Outgoing};
use super::phase::{Observation, Phase};
use super::registry::{Generation, Registry};
use super::sent::{Licence, Refused, SendError, Sent, Wait};
use super::traffic::{Ended, Pooled};
use super::words::in_words;
use crate::clock;
use crate::ids::InstanceId;
use crate::proof::{self, CrashPoint};

const DEFAULT_MOST: usize = 256 * 1024 * 1024;
/// The longest heartbeat answer that is read; Chroma's is never longer.
const HEARTBEAT_ANSWER: usize = 64 * 1024;
/// How often to check whether a late answer is still worth waiting for.
const LOOK: Duration = Duration::from_millis(250);

/// Sends requests to instances, over connections that are kept for later requests.
///
/// One per runtime: a kept connection lives in the runtime that opened it.
pub struct Client {
    registry: Arc<Registry>,
    connections: Connections,
    most: usize,
}

/// Whether an instance that lost a request is alive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Vital {
    Answers,
    /// No connection, or a connection without a heartbeat: the process is gone, or was replaced by another one.
    Gone,
    /// Nothing came back within the time limit: it hangs, or cannot be reached.
    Silent,
}

/// An attempt's failure, with what the retry rules need to know.
struct Failure {
    error: SendError,
    connection: Connection,
    cause: Cause,
}

/// A request, and the path and query it is sent to.
#[derive(Clone, Copy)]
struct Addressed<'a> {
    request: &'a Outgoing,
    path: &'a str,
}

impl<'a> Addressed<'a> {
    /// Addresses a request to its own path.
    fn of(request: &'a Outgoing) -> Self {
        Addressed { request, path: &request.path }
    }
}

/// How much of an answer an attempt waits for.
#[derive(Clone, Copy)]
enum Until {
    /// All of it, if it is no longer than this.
    Whole {
        most: usize,
    },
    Header,
}

/// The result of an attempt.
enum Got {
    Answer(Answer),
    Header(Box<Incoming>),
}

impl Got {
    /// Returns the answer. An attempt that waits for the whole answer never gets a bare header.
    fn whole(self) -> Result<Answer, SendError> {
        match self {
            Got::Answer(answer) => Ok(answer),
            Got::Header(_) => Err(SendError::InDoubt { reason: "a part of an answer".to_owned() }),
        }
    }
}

/// Whether a read that fails on a reused connection is sent once more, on a fresh one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Repeat {
    Once,
    Never,
}

/// Whether the connection was opened for this attempt or has served an earlier one.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Connection {
    Fresh,
    Reused,
}

impl Client {
    /// Creates a client with an empty pool. Answers longer than 256 MiB are not read to their end.
    pub fn new(registry: Arc<Registry>) -> Self {
        Client { registry, connections: Connections::new(), most: DEFAULT_MOST }
    }

    /// Sets the longest answer that is read, in bytes. A longer one is in doubt.
    #[must_use]
    pub fn with_max_answer_bytes(mut self, most: usize) -> Self {
        self.most = most;
        self
    }

    /// The longest answer that is read, in bytes.
    pub fn max_answer_bytes(&self) -> usize {
        self.most
    }

    /// Sends the request at most once. Ends within the wait (or deadline), or as soon as the instance is Down.
    ///
    /// Dropping the future closes the connection; the request is then in doubt.
    pub async fn send(
        &self,
        id: InstanceId,
        request: &Outgoing,
        wait: impl Into<Wait<'_>>,
        licence: Licence<'_>,
    ) -> Result<Answer, SendError> {
        let (started, request) = (clock::runtime_now(), Addressed::of(request));
        let (wait, until) = (wait.into(), Until::Whole { most: self.most });
        let result = match self.attempt(id, request, wait, Reuse::Allowed, licence, until).await {
            // The instance had closed this connection while it was idle: nothing has happened.
            Err(Failure { error: SendError::NotSent { .. }, connection: Connection::Reused, .. }) => {
                let left = wait.after(started.elapsed());
                self.attempt(id, request, left, Reuse::Forbidden, licence, until).await
            }
            result => result,
        };
        result.map_err(|failure| failure.error).and_then(Got::whole)
    }

    /// Like [`Client::send`], for a request that may be executed twice (a read). If it fails on a reused connection, it
    /// is sent once more, on a fresh one, within the same deadline.
    pub async fn send_idempotent(
        &self,
        id: InstanceId,
        request: &Outgoing,
        deadline: Duration,
    ) -> Result<Answer, SendError> {
        self.send_idempotent_within(id, request, deadline, self.most).await
    }

    /// Like [`Client::send_idempotent`], but reads only the header of an answer longer than `most` bytes and returns
    /// [`SendError::TooLong`].
    pub async fn send_idempotent_within(
        &self,
        id: InstanceId,
        request: &Outgoing,
        deadline: Duration,
        most: usize,
    ) -> Result<Answer, SendError> {
        let until = Until::Whole { most: most.min(self.most) };
        let got = self.attempt_idempotent(id, Addressed::of(request), deadline, until).await;
        got.map_err(|failure| failure.error).and_then(Got::whole)
    }

    /// Sends a read to this path instead of its own, and resolves with the header of its answer. The body is read by
    /// [`Incoming::piece`].
    ///
    /// # Errors
    /// The instance gave no answer within the deadline. Only a request that was not sent counts against the instance
    /// here: a connection that closes later may be its handler's failure at this very request.
    pub async fn open(
        &self,
        id: InstanceId,
        (request, path): (&Outgoing, &str),
        deadline: Duration,
        repeat: Repeat,
    ) -> Result<Incoming, Unanswered> {
        let request = Addressed { request, path };
        let got = match repeat {
            Repeat::Once => self.attempt_idempotent(id, request, deadline, Until::Header).await,
            Repeat::Never => {
                self.attempt(id, request, deadline.into(), Reuse::Allowed, Licence::NotNeeded, Until::Header).await
            }
        };
        match got {
            Ok(Got::Header(incoming)) => Ok(*incoming),
            Ok(Got::Answer(_)) => Err(Unanswered::of("an answer without a header".to_owned())),
            Err(Failure { error, cause, .. }) => Err(Unanswered { error, cause }),
        }
    }

    /// Keeps the connection of an answer that was read to its end.
    pub async fn finish(&self, incoming: Incoming) {
        if let Some((session, peer)) = incoming.into_kept() {
            self.connections.keep(session, &peer).await;
        }
    }

    async fn attempt_idempotent(
        &self,
        id: InstanceId,
        request: Addressed<'_>,
        deadline: Duration,
        until: Until,
    ) -> Result<Got, Failure> {
        let (started, licence) = (clock::runtime_now(), Licence::NotNeeded);
        match self.attempt(id, request, deadline.into(), Reuse::Allowed, licence, until).await {
            Err(failure @ Failure { error: SendError::TooLong { .. }, .. }) => Err(failure),
            Err(Failure { connection: Connection::Reused, .. })
                if started.elapsed() < deadline && self.registry.phase(id) != Phase::Down =>
            {
                let left = deadline.saturating_sub(started.elapsed()).into();
                self.attempt(id, request, left, Reuse::Forbidden, licence, until).await
            }
            result => result,
        }
    }

    /// Returns whether the process is alive. Called right after a request that began in the generation `since` was
    /// lost: a server that has died does not answer, and one that only closed this connection answers at once on
    /// another.
    pub async fn vital(&self, id: InstanceId, since: Generation) -> Vital {
        let (method, path) = (http::Method::GET, HEARTBEAT.to_owned());
        let heartbeat = Outgoing { method, path, headers: Vec::new(), body: bytes::Bytes::new() };
        // Ask even if the probes report it down: they cannot tell a dead process from a hung one.
        let header = self.header(id, &heartbeat, HEARTBEAT);
        let (Ok(header), Some(peer)) = (header, self.registry.peer(id)) else { return Vital::Gone };
        let progress = Progress::default();
        let exchange = async {
            let licence = Licence::NotNeeded;
            let (mut session, _) = self.begin(header, &[], &peer, Reuse::Forbidden, &progress, licence).await?;
            let answer = read_answer(&mut session, HEARTBEAT_ANSWER).await?;
            self.connections.keep(session, &peer).await;
            Ok(answer)
        };
        match tokio::time::timeout(self.registry.health().timeout, exchange).await {
            // An instance that went away and returned in between has died all the same.
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
        request: Addressed<'_>,
        wait: Wait<'_>,
        reuse: Reuse,
        licence: Licence<'_>,
        until: Until,
    ) -> Result<Got, Failure> {
        let under_way = self.registry.enter(id);
        let progress = &Progress::default();
        let fail = |error, cause| Failure { error, connection: progress.connection(), cause };
        let (header, peer) = self.prepare(id, request).map_err(|error| fail(error, Cause::Other))?;
        let since = self.registry.generation(id);
        // Pinned in place: moving the future would copy all of its state.
        let exchange = pin!(async move {
            let (mut session, written) =
                self.begin(header, &request.request.body, &peer, reuse, progress, licence).await?;
            match until {
                Until::Header => {
                    let kept = (written == Written::Whole).then_some(peer);
                    Ok(Got::Header(Box::new(Incoming::new(session, kept, under_way))))
                }
                Until::Whole { most } => {
                    let answer = read_answer(&mut session, most).await.map_err(|error| for_licence(error, licence))?;
                    if written == Written::Whole {
                        self.connections.keep(session, &peer).await;
                    }
                    Ok(Got::Answer(answer))
                }
            }
        });
        let (result, cause) = tokio::select! {
            biased;
            result = exchange => (result, Cause::Other),
            // The probes have reported this already.
            () = self.registry.departed_since(id, since) => {
                self.registry.traffic(id).ended(Ended::Failed);
                let error = progress.abandoned("the instance is down".to_owned());
                return Err(fail(progress.judged(error, licence), Cause::Other));
            }
            waited = progress.waited_enough(wait) => {
                (Err(progress.abandoned(format!("no answer within {waited:?}"))), Cause::Silence)
            }
        };
        self.count(id, &result, progress.connection());
        result.map_err(|error| {
            let error = progress.judged(error, licence);
            // A lost connection or silence during a read may be the fault of its own handler.
            let of_a_read = matches!(until, Until::Header) && matches!(error, SendError::InDoubt { .. });
            if !of_a_read {
                self.observe(id, &error, progress.connection());
            }
            fail(error, cause)
        })
    }

    /// Counts how a request has ended. One that failed on a connection closed long ago does not count, as it is
    /// repeated at once.
    fn count(&self, id: InstanceId, result: &Result<Got, SendError>, connection: Connection) {
        let how = match result {
            Ok(Got::Answer(answer)) => Ended::with(answer.status),
            Ok(Got::Header(incoming)) => Ended::with(incoming.status().as_u16()),
            Err(SendError::TooLong { .. }) => Ended::Answered,
            Err(SendError::NotSent { .. }) if connection == Connection::Reused => return,
            Err(_) => Ended::Failed,
        };
        self.registry.traffic(id).ended(how);
    }

    /// Returns the header as it is sent to this instance.
    fn header(&self, id: InstanceId, request: &Outgoing, path: &str) -> Result<RequestHeader, BError> {
        let mut header = request.header_at(path, &self.registry.url(id).authority())?;
        self.registry.headers(id).put(&mut header)?;
        Ok(header)
    }

    /// Failures here are not the instance's, or are already known.
    fn prepare(
        &self,
        id: InstanceId,
        Addressed { request, path }: Addressed<'_>,
    ) -> Result<(RequestHeader, Arc<HttpPeer>), SendError> {
        let refuse = |reason| SendError::NotSent { reason, refused: Refused::No };
        if self.registry.phase(id) == Phase::Down {
            return Err(refuse("the instance is down".to_owned()));
        }
        let header = self.header(id, request, path).map_err(|error| refuse(error.to_string()))?;
        let url = self.registry.url(id);
        let unknown = || refuse(format!("the address of {} is not known yet", url.host()));
        Ok((header, self.registry.peer(id).ok_or_else(unknown)?))
    }

    /// Reports a failure to the registry. A failed reused connection says little about the instance: it may have been
    /// closed long ago.
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

    /// Sends the request and waits for the final header of its answer, which may arrive before the body is sent.
    async fn begin(
        &self,
        header: RequestHeader,
        body: &[u8],
        peer: &HttpPeer,
        reuse: Reuse,
        progress: &Progress,
        licence: Licence<'_>,
    ) -> Result<(HttpSession, Written), SendError> {
        let not_sent = |error: BError| not_sent(&error);
        let stream = self.connect(peer, reuse, progress).await.map_err(not_sent)?;
        licence.check().map_err(|_| SendError::LeaseEnded(Sent::Nothing))?;
        progress.sent.store(true, Ordering::Relaxed);
        let (mut session, written) = if is_sent_at_once(&header, body, licence) {
            progress.last_piece.store(true, Ordering::Relaxed);
            write_at_once(stream, peer, &header, body).await?
        } else {
            progress.last_piece.store(body.is_empty(), Ordering::Relaxed);
            let mut session = HttpSession::new_with_options(stream, peer);
            // An error here means that the kernel did not take the whole header, and an instance cannot execute a
            // request without one. (A cancellation here, by contrast, proves nothing.)
            session.write_request_header(Box::new(header)).await.map_err(not_sent)?;
            let written = write_body(&mut session, body, &progress.last_piece, licence).await?;
            (session, written)
        };
        if written == Written::Whole {
            licence.handed_over().map_err(|_| SendError::LeaseEnded(Sent::Whole))?;
            progress.in_time.store(true, Ordering::Relaxed);
            if matches!(licence, Licence::Lease(_)) {
                proof::pass(CrashPoint::AfterSend);
            }
        }
        read_final_header(&mut session).await.map_err(|error| in_doubt(&error))?;
        Ok((session, written))
    }

    async fn connect(&self, peer: &HttpPeer, reuse: Reuse, progress: &Progress) -> Result<Stream, BError> {
        let (stream, pooled) = self.connections.take(peer, reuse).await?;
        progress.reused.store(pooled == Pooled::Hit, Ordering::Relaxed);
        self.registry.connected(peer, pooled);
        Ok(stream)
    }
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

    /// Resolves, with the time since the start, when the answer is no longer waited for.
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

    /// Turns an in-doubt error into [`SendError::LeaseEnded`] if the whole request may have been handed over after its
    /// lease ended.
    fn judged(&self, error: SendError, licence: Licence<'_>) -> SendError {
        let doubtful = matches!(error, SendError::InDoubt { .. });
        let whole = self.last_piece.load(Ordering::Relaxed) && !self.in_time.load(Ordering::Relaxed);
        if doubtful && whole && licence.check().is_err() { SendError::LeaseEnded(Sent::Whole) } else { error }
    }
}

fn not_sent(error: &BError) -> SendError {
    let refused = if error.etype() == &ErrorType::ConnectRefused { Refused::Yes } else { Refused::No };
    SendError::NotSent { reason: in_words(error), refused }
}

#[cfg(test)]
mod tests;
