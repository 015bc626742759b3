//! One span: what was done, when, under which parent, and its attributes.
//!
//! A span that is dropped without [`Tracer::end`](super::Tracer::end) is not sent: the work that it describes did not
//! finish.

use std::borrow::Cow;
use std::num::NonZeroU64;
use std::time::Instant;

use crate::clock;
use crate::ids::TraceContext;

/// The most links of one span; further links are only counted.
const MOST_LINKS: usize = 128;

/// The kinds of spans, from OpenTelemetry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A request that was received.
    Server,
    /// A request that is sent.
    Client,
    Internal,
}

/// The key of an attribute. `docs/tracing.md` lists them all; a test compares the two. No attribute contains a client's
/// content, name or secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Key {
    Attempt,
    Batch,
    Collection,
    ErrorType,
    Instance,
    Method,
    Operation,
    Outcome,
    Purpose,
    Repeated,
    RequestId,
    Seq,
    Status,
    Writes,
}

impl Key {
    /// Every key, with its meaning.
    pub const ALL: [(Key, &str); 14] = [
        (Key::Attempt, "the number of a read's attempt, from 1"),
        (Key::Batch, "writes that became durable in the same commit"),
        (Key::Collection, "the collection's id, as clients know it"),
        (Key::ErrorType, "why it failed, in one word; of a request, the reason of the edge's refusal"),
        (Key::Instance, "the configured name of the instance"),
        (Key::Method, "of a request"),
        (Key::Operation, "the operation, as in the label of the metrics"),
        (Key::Outcome, "what became of it, as in the label of the metrics"),
        (Key::Purpose, "`execute`, or `replicate`"),
        (Key::Repeated, "`true` if an earlier attempt there may have been executed"),
        (Key::RequestId, "the request's `chroma-trace-id`, which the log has as `trace`"),
        (Key::Seq, "the position in the journal; of an attempt, that of its first write"),
        (Key::Status, "of the HTTP answer"),
        (Key::Writes, "clients' writes that share the attempt"),
    ];

    /// Returns the key as it is sent.
    pub const fn as_str(self) -> &'static str {
        match self {
            Key::Attempt => "chroma_edge.attempt",
            Key::Batch => "chroma_edge.batch_size",
            Key::Collection => "chroma_edge.collection_id",
            Key::ErrorType => "error.type",
            Key::Instance => "chroma_edge.instance",
            Key::Method => "http.request.method",
            Key::Operation => "chroma_edge.operation",
            Key::Outcome => "chroma_edge.outcome",
            Key::Purpose => "chroma_edge.purpose",
            Key::Repeated => "chroma_edge.repeated",
            Key::RequestId => "chroma_edge.request_id",
            Key::Seq => "chroma_edge.seq",
            Key::Status => "http.response.status_code",
            Key::Writes => "chroma_edge.writes",
        }
    }
}

/// The value of an attribute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    Text(Cow<'static, str>),
    Number(i64),
    Flag(bool),
}

impl From<&'static str> for Value {
    fn from(text: &'static str) -> Value {
        Value::Text(Cow::Borrowed(text))
    }
}

impl From<String> for Value {
    fn from(text: String) -> Value {
        Value::Text(Cow::Owned(text))
    }
}

impl From<u16> for Value {
    fn from(number: u16) -> Value {
        Value::Number(number.into())
    }
}

impl From<usize> for Value {
    fn from(number: usize) -> Value {
        Value::Number(i64::try_from(number).unwrap_or(i64::MAX))
    }
}

impl From<u64> for Value {
    fn from(number: u64) -> Value {
        Value::Number(i64::try_from(number).unwrap_or(i64::MAX))
    }
}

impl From<bool> for Value {
    fn from(flag: bool) -> Value {
        Value::Flag(flag)
    }
}

/// The record of one piece of work.
#[derive(Debug)]
pub struct Span {
    pub(super) context: TraceContext,
    pub(super) parent: Option<NonZeroU64>,
    pub(super) links: Vec<TraceContext>,
    pub(super) links_dropped: u32,
    pub(super) kind: Kind,
    pub(super) name: &'static str,
    began: Instant,
    pub(super) began_nanos: u64,
    pub(super) ended_nanos: u64,
    pub(super) attributes: Vec<(Key, Value)>,
    pub(super) has_failed: bool,
}

impl Span {
    pub(super) fn new(
        context: TraceContext,
        parent: Option<NonZeroU64>,
        kind: Kind,
        name: &'static str,
        began: Instant,
    ) -> Span {
        let began_nanos = clock::unix_nanos_at(began);
        Span {
            context,
            parent,
            links: Vec::new(),
            links_dropped: 0,
            kind,
            name,
            began,
            began_nanos,
            ended_nanos: began_nanos,
            attributes: Vec::new(),
            has_failed: false,
        }
    }

    /// Returns the span's context, for spans under it.
    pub fn context(&self) -> TraceContext {
        self.context
    }

    /// Returns whether the span has no parent.
    pub fn begins_its_trace(&self) -> bool {
        self.parent.is_none()
    }

    /// Renames the span, once it is known what it describes.
    pub fn rename(&mut self, name: &'static str) {
        self.name = name;
    }

    /// Adds an attribute.
    pub fn note(&mut self, key: Key, value: impl Into<Value>) {
        self.attributes.push((key, value.into()));
    }

    /// Marks the span as failed, with the reason in one word.
    pub fn fail(&mut self, why: &'static str) {
        self.has_failed = true;
        self.note(Key::ErrorType, why);
    }

    /// Records that the work was done for this span as well, if that one is recorded.
    pub fn link(&mut self, to: TraceContext) {
        if !to.is_sampled() {
            return;
        }
        if self.links.len() < MOST_LINKS {
            self.links.push(to);
        } else {
            self.links_dropped += 1;
        }
    }

    pub(super) fn end(&mut self) {
        let took = u64::try_from(self.began.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.ended_nanos = self.began_nanos.saturating_add(took);
    }
}
