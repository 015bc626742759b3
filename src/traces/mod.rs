//! Distributed traces: which requests are recorded, and how their spans get to a collector (OpenTelemetry, OTLP).
//!
//! Off unless the configuration names a collector; then [`tracer`] is `None`, and nothing else of this room is reached. It
//! holds nobody up: a finished span is put into a bounded queue, or dropped and counted. What the spans are about is decided
//! where they begin and end.

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

/// The header that says in which trace a request is.
pub const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// One for the process, as its metrics are.
static TRACER: OnceLock<Tracer> = OnceLock::new();

/// Who records spans, if anybody does.
pub fn tracer() -> Option<&'static Tracer> {
    TRACER.get()
}

/// Turns tracing on for this process. Returned: what sends the spans, to be run.
#[must_use = "no span is sent before it runs"]
pub fn start(options: TraceOptions, target: crate::instance::Target) -> Exporter {
    metrics::begin_spans();
    let (tracer, queue) = Tracer::new(options.sample_ratio, options.queue);
    // A second one of the same process would find the first.
    let _ = TRACER.set(tracer);
    Exporter::new(queue, target, options)
}

/// What is traced of one client's request. Empty while tracing is off.
#[derive(Debug, Default)]
pub struct RequestTrace {
    /// What is done for the request belongs under it: its own span or, if it is not recorded, its client's.
    pub context: Option<TraceContext>,
    pub span: Option<Box<Span>>,
}

/// Decides what is recorded, and takes what has ended.
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

    /// A client's request that came at `began`. Whoever began its trace decides whether it is recorded; a trace that begins
    /// here is recorded with the configured probability.
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

    /// A span under `parent`, unless that trace is not recorded.
    pub fn child(&self, parent: TraceContext, kind: Kind, name: &'static str, began: Instant) -> Option<Box<Span>> {
        if !parent.is_sampled() {
            return None;
        }
        let context = TraceContext { span: self.sampler.span(), ..parent };
        Some(Box::new(Span::new(context, Some(parent.span), kind, name, began)))
    }

    /// A span that begins a trace of its own, for what is done later than the requests of these contexts, and for all of
    /// them: it is linked to each that is recorded. `None`: none of them is.
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

    /// The span has ended now. Never waits.
    pub fn end(&self, mut span: Box<Span>) {
        span.end();
        if self.queue.try_send(Message::Ended(span)).is_err() {
            metrics::spans_dropped(SpanDrop::QueueFull, 1);
        }
    }

    /// Spans that wait to be sent, and how many may.
    pub fn waiting(&self) -> (usize, usize) {
        let most = self.queue.max_capacity();
        (most - self.queue.capacity(), most)
    }

    /// Returns when what has ended so far is sent, or after `longest`.
    pub async fn flush(&self, longest: Duration) {
        let flushed = async {
            let (sent, done) = oneshot::channel();
            if self.queue.send(Message::Flush(sent)).await.is_ok() {
                // The exporter may be ending with the process.
                let _ = done.await;
            }
        };
        let _ = tokio::time::timeout(longest, flushed).await;
    }
}

/// The context in the header, if there is one and it is valid.
fn parent(headers: &HeaderMap) -> Option<TraceContext> {
    let mut values = headers.get_all(TRACEPARENT).iter();
    let parent = values.next().and_then(|value| TraceContext::parse(value.to_str().ok()?));
    // Of two, neither can be relied on.
    parent.filter(|_| values.next().is_none())
}
