//! The webhook: every event of the configured names is posted to one address, in order, until it is accepted.
//!
//! It reads the journal from a cursor that the journal keeps, one page at a time: a receiver that is unreachable for
//! days costs no memory and blocks nothing. An accepted event is recorded in a later commit, so after a crash the last
//! events may be posted again: at least once, never out of order.

mod signature;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderName, HeaderValue, USER_AGENT};
use serde_json::{Map, Value};
use tokio::sync::watch;
use uuid::Uuid;

pub use self::signature::Secret;
use super::message::{self, Show, name_of};
use crate::clock::{self, Timestamp};
use crate::instance::Target;
use crate::journal::{EventId, EventRow, EventScope, Fact, Journal, ReadError, Store};
use crate::lasting::Lasting;

/// The most events in one read.
const PAGE: u32 = 32;
/// The first and the longest pause after an attempt that was refused or got no answer.
const PAUSE: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(300));
/// The pause after a failed read of the journal.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
/// How often the position is stored while only unselected events occur.
const REMEMBER: Duration = Duration::from_secs(5);

const TIMESTAMP: HeaderName = HeaderName::from_static("chroma-edge-timestamp");
const SIGNATURE: HeaderName = HeaderName::from_static("chroma-edge-signature");
const EVENT: HeaderName = HeaderName::from_static("chroma-edge-event");

/// The webhook's settings.
#[derive(Clone, Debug)]
pub struct WebhookOptions {
    pub secret: Secret,
    /// The names of the events to post, from [`super::NAMES`].
    pub events: Vec<&'static str>,
    /// The limit of one attempt: connection, request and answer.
    pub timeout: Duration,
}

/// The webhook's metrics.
#[derive(Debug, Default)]
pub struct WebhookGauges {
    through: AtomicU64,
    failed: AtomicU64,
}

impl WebhookGauges {
    /// Returns the last event of which it is known that all up to it were accepted, or not selected.
    pub fn through(&self) -> EventId {
        EventId::new(self.through.load(Ordering::Relaxed))
    }

    /// Returns how many attempts were refused or got no answer since the start.
    pub fn failed(&self) -> u64 {
        self.failed.load(Ordering::Relaxed)
    }
}

/// Posts events.
pub struct Webhook {
    store: Arc<dyn Store>,
    journal: Journal,
    target: Target,
    options: WebhookOptions,
    show: Show,
    gauges: Arc<WebhookGauges>,
}

impl Webhook {
    /// Creates a webhook for this journal.
    pub fn new(
        store: Arc<dyn Store>,
        journal: Journal,
        target: Target,
        options: WebhookOptions,
        show: Show,
    ) -> Webhook {
        Webhook { store, journal, target, options, show, gauges: Arc::default() }
    }

    /// Returns the webhook's metrics.
    pub fn gauges(&self) -> Arc<WebhookGauges> {
        Arc::clone(&self.gauges)
    }

    /// Posts every event, forever. Can be dropped at any time: events after the stored position are posted again.
    pub async fn run(self) {
        let mut reports = self.journal.reports();
        let mut through = self.position().await;
        let mut remembered = clock::runtime_now();
        loop {
            self.gauges.through.store(through.get(), Ordering::Relaxed);
            let page = match self.store.events(&EventScope::All, through, PAGE).await {
                Ok(page) => page,
                Err(error) => {
                    self.wait_after(&error).await;
                    continue;
                }
            };
            if through < page.forgotten {
                tracing::warn!(after = %through, "retention has removed events that the webhook had not accepted");
            }
            for row in &page.events {
                if self.options.events.contains(&name_of(row.status)) {
                    self.deliver(row).await;
                    self.remember(row.event);
                    remembered = clock::runtime_now();
                }
                through = row.event;
                self.gauges.through.store(through.get(), Ordering::Relaxed);
            }
            if page.events.len() >= PAGE as usize {
                continue;
            }
            through = through.max(page.last);
            self.gauges.through.store(through.get(), Ordering::Relaxed);
            if page.delivered < Some(through) && remembered.elapsed() >= REMEMBER {
                self.remember(through);
                remembered = clock::runtime_now();
            }
            self.next_report(&mut reports, page.last).await;
        }
    }

    /// Returns the stored position, or the end of the journal if none is stored.
    async fn position(&self) -> EventId {
        loop {
            match self.store.events(&EventScope::All, EventId::END, 0).await {
                Ok(page) => {
                    let through = page.delivered.unwrap_or(page.last);
                    if page.delivered.is_none() {
                        self.journal.record(vec![Fact::Delivered(through)]).await;
                    }
                    return through;
                }
                Err(error) => self.wait_after(&error).await,
            }
        }
    }

    async fn wait_after(&self, error: &ReadError) {
        tracing::debug!(%error, "cannot read events for the webhook");
        tokio::time::sleep(LOOK_AGAIN).await;
    }

    async fn next_report(&self, reports: &mut watch::Receiver<u64>, _seen: EventId) {
        if reports.changed().await.is_err() {
            // This task holds a journal handle, so the sender cannot be dropped.
            std::future::pending::<()>().await;
        }
    }

    fn remember(&self, through: EventId) {
        self.journal.record_later(vec![Fact::Delivered(through)]);
    }

    /// Posts the event until it is accepted.
    async fn deliver(&self, row: &EventRow) {
        let (mut pause, mut refusing) = (PAUSE.0, Lasting::default());
        loop {
            let Err(reason) = self.post(row).await else {
                if let Some(lasted) = refusing.ended(clock::now()) {
                    let (seconds, times) = (lasted.time.as_secs(), lasted.times);
                    tracing::info!(event = %row.event, seconds, times, "the webhook accepted an event after all");
                }
                return;
            };
            self.gauges.failed.fetch_add(1, Ordering::Relaxed);
            let again = jittered(pause);
            if let Some(times) = refusing.seen(clock::now()).times() {
                tracing::warn!(event = %row.event, reason, times, again = ?again, "the webhook did not accept an event");
            }
            tokio::time::sleep(again).await;
            pause = (pause * 2).min(PAUSE.1);
        }
    }

    async fn post(&self, row: &EventRow) -> Result<(), String> {
        let body = self.body(row);
        let seconds = (Timestamp::now().millis() / 1000).to_string();
        let signature = self.options.secret.sign(&seconds, &body);
        let header = |text: &str| HeaderValue::from_str(text).map_err(|error| error.to_string());
        let headers = vec![
            (CONTENT_TYPE, HeaderValue::from_static("application/json")),
            (USER_AGENT, HeaderValue::from_static(concat!("chroma-edge/", env!("CARGO_PKG_VERSION")))),
            (EVENT, HeaderValue::from_static(name_of(row.status))),
            (TIMESTAMP, header(&seconds)?),
            (SIGNATURE, header(&signature)?),
        ];
        match self.target.post(headers, body, self.options.timeout).await? {
            200..=299 => Ok(()),
            status => Err(format!("it answered {status}")),
        }
    }

    fn body(&self, row: &EventRow) -> Bytes {
        let mut body = Map::new();
        body.insert("id".to_owned(), Value::String(row.event.to_string()));
        body.insert("event".to_owned(), Value::String(name_of(row.status).to_owned()));
        body.insert("data".to_owned(), Value::Object(message::data(row, self.show)));
        Bytes::from(Value::Object(body).to_string())
    }
}

/// Returns between half the pause and all of it, so that edges that failed on the same receiver do not retry in step.
fn jittered(pause: Duration) -> Duration {
    let random = Uuid::new_v4().as_u64_pair().1 % 1000;
    pause / 2 + pause.mul_f64(random as f64 / 2000.0)
}
