//! Sends spans to the collector: many in one request, which is repeated a few times if it is not accepted.
//!
//! Nothing waits for the exporter. Whatever the collector does, spans that do not fit into the queue are dropped, and
//! so are those that the collector does not accept in time.

use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderValue, USER_AGENT};
use opentelemetry_proto::tonic::resource::v1::Resource;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{sleep, timeout_at};
use uuid::Uuid;

use super::encode;
use super::span::Span;
use crate::clock;
use crate::instance::{Target, TargetUrl, UpstreamHeaders};
use crate::lasting::Lasting;
use crate::metrics::{self, SpanDrop};

/// The most spans in one request.
const BATCH: usize = 512;
/// How long the first span of a request waits for others.
const DELAY: Duration = Duration::from_secs(1);
/// The pauses before a request is repeated. If the last repetition fails, its spans are dropped.
const PAUSES: [Duration; 3] = [Duration::from_secs(1), Duration::from_secs(2), Duration::from_secs(4)];

/// Where spans are sent, and which ones. Each field is named like its key under `traces`, except `url`, whose key is
/// `endpoint`.
#[derive(Clone, Debug)]
pub struct TraceOptions {
    pub url: TargetUrl,
    /// The certificate authority of an `https://` address, unless the system trusts it.
    pub ca_file: Option<PathBuf>,
    /// The share of the traces that begin here to record, from 0 to 1.
    pub sample_ratio: f64,
    /// Headers of every request, such as a token. Sensitive.
    pub headers: UpstreamHeaders,
    /// The limit of one request to the collector: connection, request and answer.
    pub timeout: Duration,
    /// The most spans that may wait to be sent.
    pub queue: usize,
    /// The name of the edge in the traces.
    pub service_name: String,
}

/// A message to the exporter.
pub(super) enum Message {
    Ended(Box<Span>),
    /// Send everything received so far, then confirm.
    Flush(oneshot::Sender<()>),
}

/// Sends the spans. Owns the receiving end of the queue.
pub struct Exporter {
    queue: mpsc::Receiver<Message>,
    target: Target,
    options: TraceOptions,
    resource: Resource,
    failing: Lasting,
}

/// Why the collector did not accept a request.
enum Refusal {
    /// A later attempt may succeed.
    ForNow(String),
    ForGood(String),
}

impl Exporter {
    pub(super) fn new(queue: mpsc::Receiver<Message>, target: Target, options: TraceOptions) -> Exporter {
        let resource = encode::resource(&options.service_name, &Uuid::new_v4().to_string());
        Exporter { queue, target, options, resource, failing: Lasting::new() }
    }

    /// Sends ended spans, until the process ends.
    pub async fn run(mut self) {
        while let Some(first) = self.queue.recv().await {
            let (spans, flushed) = self.gather(first).await;
            if !spans.is_empty() {
                self.deliver(&spans).await;
            }
            // The caller of `flush` may have stopped waiting.
            flushed.map(|flushed| flushed.send(()));
        }
    }

    /// Collects the spans for one request, beginning with this message.
    async fn gather(&mut self, first: Message) -> (Vec<Box<Span>>, Option<oneshot::Sender<()>>) {
        let until = clock::runtime_now() + DELAY;
        let (mut spans, mut next) = (Vec::new(), Some(first));
        while let Some(message) = next {
            match message {
                Message::Ended(span) => spans.push(span),
                Message::Flush(flushed) => return (spans, Some(flushed)),
            }
            if spans.len() >= BATCH {
                break;
            }
            next = timeout_at(until, self.queue.recv()).await.ok().flatten();
        }
        (spans, None)
    }

    async fn deliver(&mut self, spans: &[Box<Span>]) {
        let body = Bytes::from(encode::request(&self.resource, spans));
        let mut pauses = PAUSES.into_iter();
        loop {
            let refusal = match self.post(body.clone()).await {
                Ok(()) => {
                    metrics::spans_sent(spans.len());
                    if let Some(lasted) = self.failing.ended(clock::now()) {
                        let (seconds, times) = (lasted.time.as_secs(), lasted.times);
                        tracing::info!(seconds, times, "the collector takes spans again");
                    }
                    return;
                }
                Err(refusal) => refusal,
            };
            let (pause, reason) = match refusal {
                Refusal::ForNow(reason) => (pauses.next(), reason),
                Refusal::ForGood(reason) => (None, reason),
            };
            // At first, then once a minute.
            if let Some(times) = self.failing.seen(clock::now()).times() {
                tracing::warn!(
                    reason,
                    times,
                    "the collector does not take spans: what is not taken in time is dropped"
                );
            }
            let Some(pause) = pause else {
                return metrics::spans_dropped(SpanDrop::NotTaken, spans.len());
            };
            sleep(pause).await;
        }
    }

    async fn post(&self, body: Bytes) -> Result<(), Refusal> {
        let mut headers = vec![
            (CONTENT_TYPE, HeaderValue::from_static("application/x-protobuf")),
            (USER_AGENT, HeaderValue::from_static(concat!("chroma-edge/", env!("CARGO_PKG_VERSION")))),
        ];
        headers.extend(self.options.headers.iter().cloned());
        match self.target.post(headers, body, self.options.timeout).await {
            Ok(200..=299) => Ok(()),
            // OTLP allows these to be sent again.
            Ok(status @ (429 | 502 | 503 | 504)) => Err(Refusal::ForNow(format!("it answered {status}"))),
            Ok(status) => Err(Refusal::ForGood(format!("it answered {status}"))),
            Err(reason) => Err(Refusal::ForNow(reason)),
        }
    }
}
