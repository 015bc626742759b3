//! Distributed traces: which requests are recorded, and how their spans get to a collector (OpenTelemetry, OTLP).
//!
//! Tracing is off unless the configuration names a collector: [`tracer`] is then `None`, and nothing else in this room
//! runs. Tracing blocks nothing: a finished span goes into a bounded queue, or is dropped and counted. The code that
//! begins and ends a span decides what it describes.

mod encode;
mod export;
mod sampler;
mod span;
#[cfg(test)]
mod tests;

use std::sync::OnceLock;
use std::time::{Duration, Instant};

use http::{HeaderMap, HeaderName};
use tokio::sync::{mpsc, oneshot};

use self::export::Message;
pub use self::export::{Exporter, TraceOptions};
use self::sampler::Sampler;
pub use self::span::{Key, Kind, Span, Value};
use crate::ids::{Sampling, TraceContext};
use crate::metrics::{self, SpanDrop};

/// The header that places a request in a trace.
pub const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// One per process, like the metrics.
static TRACER: OnceLock<Tracer> = OnceLock::new();

/// Returns the tracer, if tracing is on.
pub fn tracer() -> Option<&'static Tracer> {
    TRACER.get()
}

/// Turns tracing on for this process. Returns the exporter, which sends the spans and has to be run.
#[must_use = "no span is sent before it runs"]
pub fn start(options: TraceOptions, target: crate::instance::Target) -> Exporter {
    metrics::begin_spans();
    let (tracer, queue) = Tracer::new(options.sample_ratio, options.queue);
    // A second call in the same process keeps the first tracer.
    let _ = TRACER.set(tracer);
    Exporter::new(queue, target, options)
}

/// The trace of one client's request. Empty while tracing is off.
#[derive(Debug, Default)]
pub struct RequestTrace {
    /// The parent of everything done for the request: its own span or, if that is not recorded, its client's.
    pub context: Option<TraceContext>,
    pub span: Option<Box<Span>>,
}

/// Decides what is recorded, and accepts ended spans.
#[derive(Debug)]
pub struct Tracer {
    sampler: Sampler,
    queue: mpsc::Sender<Message>,
}

impl Tracer {
    fn new(ratio: f64, queue: usize) -> (Tracer, mpsc::Receiver<Message>) {
        let (queue, ended) = mpsc::channel(queue.max(1));
        (Tracer { sampler: Sampler::new(ratio), queue }, ended)
    }

    /// Begins the trace of a client's request that arrived at `began`. If the client has begun a trace, its sampling
    /// decision applies; a trace that begins here is recorded with the configured probability.
    pub fn request(&self, headers: &HeaderMap, began: Instant) -> RequestTrace {
        let parent = parent(headers);
        let trace = match parent {
            Some(parent) if !parent.is_sampled() => {
                return RequestTrace { context: Some(parent), span: None };
            }
            Some(parent) => parent.trace,
            None => match self.sampler.begin() {
                Some(trace) => trace,
                None => return RequestTrace::default(),
            },
        };
        let context = TraceContext { trace, span: self.sampler.span(), sampling: Sampling::Sampled };
        let span = Span::new(context, parent.map(|parent| parent.span), Kind::Server, "request", began);
        RequestTrace { context: Some(context), span: Some(Box::new(span)) }
    }

    /// Begins a span under `parent`, unless that trace is not recorded.
    pub fn child(&self, parent: TraceContext, kind: Kind, name: &'static str, began: Instant) -> Option<Box<Span>> {
        if !parent.is_sampled() {
            return None;
        }
        let context = TraceContext { span: self.sampler.span(), ..parent };
        Some(Box::new(Span::new(context, Some(parent.span), kind, name, began)))
    }

    /// Begins a span in a trace of its own, for work that is done later for all of these requests. The span is linked
    /// to each request that is recorded. Returns `None` if none is.
    pub fn linked(
        &self,
        to: impl Iterator<Item = TraceContext>,
        kind: Kind,
        name: &'static str,
        began: Instant,
    ) -> Option<Box<Span>> {
        let mut to = to.filter(|one| one.is_sampled()).peekable();
        to.peek()?;
        let (trace, span) = (self.sampler.trace(), self.sampler.span());
        let context = TraceContext { trace, span, sampling: Sampling::Sampled };
        let mut span = Span::new(context, None, kind, name, began);
        to.for_each(|one| span.link(one));
        Some(Box::new(span))
    }

    /// Ends the span. Never waits.
    pub fn end(&self, mut span: Box<Span>) {
        span.end();
        if self.queue.try_send(Message::Ended(span)).is_err() {
            metrics::spans_dropped(SpanDrop::QueueFull, 1);
        }
    }

    /// Returns how many spans wait to be sent, and how many may.
    pub fn waiting(&self) -> (usize, usize) {
        let most = self.queue.max_capacity();
        (most - self.queue.capacity(), most)
    }

    /// Waits until every span that has ended so far is sent, for at most `longest`.
    pub async fn flush(&self, longest: Duration) {
        let flushed = async {
            let (sent, done) = oneshot::channel();
            if self.queue.send(Message::Flush(sent)).await.is_ok() {
                // The exporter may have ended with the process.
                let _ = done.await;
            }
        };
        let _ = tokio::time::timeout(longest, flushed).await;
    }
}

/// Returns the context in the header, if there is a valid one.
fn parent(headers: &HeaderMap) -> Option<TraceContext> {
    let mut values = headers.get_all(TRACEPARENT).iter();
    let parent = values.next().and_then(|value| TraceContext::parse(value.to_str().ok()?));
    // If there are two, neither is reliable.
    parent.filter(|_| values.next().is_none())
}
