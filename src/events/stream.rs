//! One stream of server-sent events: from a position in the journal's order onwards, as text.

use std::fmt::Write;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::{Instant, sleep_until};

use super::hub::Subscription;
use super::message::{self, Show, name_of};
use crate::clock;
use crate::journal::{ClientKey, EventId, EventPage, EventRow, EventScope, ReadError, Status};
use crate::metrics;

/// The most events in one piece of the stream.
const PIECE: u32 = 32;
/// A comment is sent after this much idle time, since intermediaries close idle connections.
const PING: Duration = Duration::from_secs(10);
/// The pause after a failed read of the journal.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// Where a stream begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resume {
    /// No position given: start now or, for one transaction, at its first event.
    Fresh,
    After(EventId),
    /// The position is not from this journal.
    Unknown,
}

/// The result of subscribing.
pub enum Opened {
    Stream(EventStream),
    /// The transaction has ended, and the client has received its last event.
    Over,
}

/// The transactions that a stream reports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Audience {
    Everyone,
    /// Only those of the principal with this name.
    Only(String),
}

impl Audience {
    fn hears(&self, row: &EventRow) -> bool {
        let principal = || row.transaction.client_key.as_ref().and_then(ClientKey::principal);
        match self {
            Audience::Everyone => true,
            Audience::Only(name) => principal() == Some(name),
        }
    }
}

/// An open stream.
pub struct EventStream {
    subscription: Subscription,
    show: Show,
    audience: Audience,
    /// Every event up to this one has been handed out.
    seen: EventId,
    /// Handed out before anything else.
    first: Option<Bytes>,
    /// Whether there is more than the last piece contained.
    more: bool,
    ended: bool,
    ping_at: Instant,
    look_at: Option<Instant>,
}

impl EventStream {
    /// Opens a stream that contains everything that becomes durable from now on. `status` is the recent status of the
    /// transaction, for a stream about one transaction.
    ///
    /// # Errors
    /// The journal cannot be read.
    pub async fn open(
        subscription: Subscription,
        show: Show,
        audience: Audience,
        resume: Resume,
        status: Option<Status>,
    ) -> Result<Opened, ReadError> {
        let one = matches!(subscription.scope, EventScope::Transaction(_));
        let page = subscription.hub.store.events(&subscription.scope, EventId::END, 0).await?;
        let (seen, missed) = match resume {
            Resume::Fresh if one => (EventId::FIRST, false),
            Resume::Fresh => (page.last, false),
            Resume::After(event) if event <= page.last => (event, event < page.forgotten),
            // The position is from another journal, or from one that has lost its tail.
            Resume::After(_) | Resume::Unknown => (EventId::FIRST, true),
        };
        // A lone `id:` is not an event, but the client can resume from it.
        let mut text = format!("id: {seen}\n");
        if missed {
            text.push_str("event: stream:reset\ndata: {}\n");
        }
        text.push('\n');
        let ping_at = clock::runtime_now() + PING;
        let first = Some(Bytes::from(text));
        let stream =
            EventStream { subscription, show, audience, seen, first, more: true, ended: false, ping_at, look_at: None };
        let over = one && status.is_some_and(Status::is_final) && !stream.has_an_end().await?;
        Ok(if over { Opened::Over } else { Opened::Stream(stream) })
    }

    /// Returns whether this stream will still deliver the final event of its one transaction.
    async fn has_an_end(&self) -> Result<bool, ReadError> {
        let to_come = self.subscription.hub.store.events(&self.subscription.scope, self.seen, PIECE).await?;
        Ok(to_come.events.iter().any(|row| row.status.is_final()))
    }

    /// Returns the next piece, or `None` at the end.
    pub async fn next(&mut self) -> Option<Bytes> {
        if let Some(first) = self.first.take() {
            return Some(first);
        }
        while !self.ended {
            if !self.more {
                let until = self.look_at.map_or(self.ping_at, |at| at.min(self.ping_at));
                tokio::select! {
                    () = self.subscription.woken() => {}
                    () = sleep_until(until) => {}
                }
            }
            if let Some(piece) = self.look().await {
                self.ping_at = clock::runtime_now() + PING;
                return Some(piece);
            }
            if clock::runtime_now() >= self.ping_at {
                self.ping_at = clock::runtime_now() + PING;
                return Some(Bytes::from_static(b": ping\n\n"));
            }
        }
        None
    }

    async fn look(&mut self) -> Option<Bytes> {
        self.look_at = None;
        self.more = false;
        match self.subscription.hub.store.events(&self.subscription.scope, self.seen, PIECE).await {
            Ok(page) => self.piece(&page),
            Err(error) => {
                tracing::debug!(%error, "cannot read events");
                self.look_at = Some(clock::runtime_now() + LOOK_AGAIN);
                None
            }
        }
    }

    fn piece(&mut self, page: &EventPage) -> Option<Bytes> {
        let mut text = String::new();
        let mut told = 0;
        for row in &page.events {
            self.seen = row.event;
            if !self.audience.hears(row) {
                continue;
            }
            told += 1;
            let data = serde_json::Value::Object(message::data(row, self.show));
            // Writing to a String cannot fail.
            let _ = write!(text, "id: {}\nevent: {}\ndata: {data}\n\n", row.event, name_of(row.status));
            self.ended |= row.status.is_final() && matches!(self.subscription.scope, EventScope::Transaction(_));
        }
        self.more = page.events.len() >= PIECE as usize;
        if !self.more {
            // The page is a snapshot, so nothing of the scope is missing up to its last event.
            self.seen = self.seen.max(page.last);
        }
        metrics::events_sent(told);
        (!text.is_empty()).then(|| Bytes::from(text))
    }
}
