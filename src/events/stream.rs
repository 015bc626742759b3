//! One stream of server-sent events: from a place in the journal's order onwards, as text.

use std::fmt::Write;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::{Instant, sleep_until};

use super::hub::Subscription;
use super::message::{self, Show, name_of};
use crate::clock;
use crate::journal::{EventId, EventPage, EventScope, ReadError, Status};
use crate::metrics;

/// Events in one piece of the stream.
const PIECE: u32 = 32;
/// After so much silence a comment is sent: intermediaries close what is silent for long.
const PING: Duration = Duration::from_secs(10);
/// After a read of the journal that failed.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// Where a stream begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resume {
    /// The client has seen nothing: from now on, or, for one transaction, with what it has had.
    Fresh,
    After(EventId),
    /// The client names a place that cannot be.
    Unknown,
}

/// What a subscription comes to.
pub enum Opened {
    Stream(EventStream),
    /// The transaction has ended, and the client has heard of it.
    Over,
}

/// An open stream.
pub struct EventStream {
    place: Subscription,
    show: Show,
    /// Everything up to here has been handed out.
    seen: EventId,
    /// Handed out before anything else.
    first: Option<Bytes>,
    /// There is more than the last piece held.
    more: bool,
    ended: bool,
    ping_at: Instant,
    look_at: Option<Instant>,
}

impl EventStream {
    /// Begins a stream: what becomes durable after this is in it. `status`: of the one transaction, a moment ago.
    ///
    /// # Errors
    /// When the journal cannot be read.
    pub async fn open(
        place: Subscription,
        show: Show,
        resume: Resume,
        status: Option<Status>,
    ) -> Result<Opened, ReadError> {
        let one = matches!(place.scope, EventScope::Transaction(_));
        let page = place.hub.store.events(&place.scope, EventId::END, 0).await?;
        let (seen, missed) = match resume {
            Resume::Fresh if one => (EventId::FIRST, false),
            Resume::Fresh => (page.last, false),
            Resume::After(event) if event <= page.last => (event, event < page.forgotten),
            // Of another journal, or of one that has lost its end.
            Resume::After(_) | Resume::Unknown => (EventId::FIRST, true),
        };
        // The number alone is no message, yet what the client resumes from if it hears nothing else.
        let mut text = format!("id: {seen}\n");
        if missed {
            text.push_str("event: stream:reset\ndata: {}\n");
        }
        text.push('\n');
        let ping_at = clock::runtime_now() + PING;
        let first = Some(Bytes::from(text));
        let stream = EventStream { place, show, seen, first, more: true, ended: false, ping_at, look_at: None };
        let over = one && status.is_some_and(Status::is_final) && !stream.has_an_end().await?;
        Ok(if over { Opened::Over } else { Opened::Stream(stream) })
    }

    /// Whether the end of the one transaction of this stream is still to come in it.
    async fn has_an_end(&self) -> Result<bool, ReadError> {
        let to_come = self.place.hub.store.events(&self.place.scope, self.seen, PIECE).await?;
        Ok(to_come.events.iter().any(|row| row.status.is_final()))
    }

    /// The next piece; `None` at the end.
    pub async fn next(&mut self) -> Option<Bytes> {
        if let Some(first) = self.first.take() {
            return Some(first);
        }
        while !self.ended {
            if !self.more {
                let until = self.look_at.map_or(self.ping_at, |at| at.min(self.ping_at));
                tokio::select! {
                    () = self.place.woken() => {}
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
        match self.place.hub.store.events(&self.place.scope, self.seen, PIECE).await {
            Ok(page) => self.piece(&page),
            Err(error) => {
                tracing::debug!(%error, "read events");
                self.look_at = Some(clock::runtime_now() + LOOK_AGAIN);
                None
            }
        }
    }

    fn piece(&mut self, page: &EventPage) -> Option<Bytes> {
        let mut text = String::new();
        for row in &page.events {
            let data = serde_json::Value::Object(message::data(row, self.show));
            // Writing to a String cannot fail.
            let _ = write!(text, "id: {}\nevent: {}\ndata: {data}\n\n", row.event, name_of(row.status));
            self.seen = row.event;
            self.ended |= row.status.is_final() && matches!(self.place.scope, EventScope::Transaction(_));
        }
        self.more = page.events.len() >= PIECE as usize;
        if !self.more {
            // Read in one moment: nothing of the scope is missing up to here.
            self.seen = self.seen.max(page.last);
        }
        metrics::events_sent(page.events.len());
        (!text.is_empty()).then(|| Bytes::from(text))
    }
}
