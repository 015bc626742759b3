//! A collector of traces: accepts OTLP posts, decodes them with the official types, and keeps the spans.

use std::collections::BTreeMap;
use std::time::Duration;

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1 as proto;
use prost::Message;

use super::place::wait_for;
use super::webhook::{Post, Receiver};

/// A span as received.
#[derive(Clone, Debug)]
pub struct SpanSeen {
    pub trace: String,
    pub id: String,
    /// Empty for the root of a trace.
    pub parent: String,
    pub name: String,
    pub is_server: bool,
    pub has_failed: bool,
    /// The traces and spans that it is linked to.
    pub links: Vec<(String, String)>,
    pub attributes: BTreeMap<String, String>,
    pub nanos: (u64, u64),
    pub service: String,
}

impl SpanSeen {
    /// Returns the attribute's value as text, or an empty string if there is none.
    pub fn get(&self, key: &str) -> &str {
        self.attributes.get(key).map_or("", String::as_str)
    }

    /// Returns the header that propagates the span.
    pub fn traceparent(&self) -> String {
        format!("00-{}-{}-01", self.trace, self.id)
    }
}

/// A running collector.
#[derive(Debug)]
pub struct Collector(Receiver);

impl Collector {
    /// Starts a collector that answers these statuses first, then accepts everything.
    pub fn start(answers: &[u16]) -> Collector {
        Collector(Receiver::start(answers))
    }

    /// Returns its address, without the path of traces.
    pub fn endpoint(&self) -> String {
        self.0.address()
    }

    /// Returns every post so far.
    pub fn posts(&self) -> Vec<Post> {
        self.0.posts()
    }

    /// Returns every span that it has accepted.
    pub fn spans(&self) -> Vec<SpanSeen> {
        self.posts().iter().filter(|post| post.status < 300).flat_map(spans_in).collect()
    }

    /// Waits until `find` finds something in the spans, and returns it.
    #[track_caller]
    pub fn wait<T>(&self, what: &str, find: impl Fn(&[SpanSeen]) -> Option<T>) -> T {
        wait_for(what, Duration::from_secs(60), || find(&self.spans()))
    }
}

fn spans_in(post: &Post) -> Vec<SpanSeen> {
    assert_eq!((post.path.as_str(), post.header("content-type")), ("/v1/traces", "application/x-protobuf"));
    let request = ExportTraceServiceRequest::decode(post.body.as_slice()).expect("a request of OTLP");
    let mut found = Vec::new();
    for of_resource in request.resource_spans {
        let resource = attributes(&of_resource.resource.unwrap_or_default().attributes);
        let service = resource.get("service.name").cloned().unwrap_or_default();
        let spans = of_resource.scope_spans.into_iter().flat_map(|scope| scope.spans);
        found.extend(spans.map(|span| seen(span, &service)));
    }
    found
}

fn seen(span: proto::Span, service: &str) -> SpanSeen {
    SpanSeen {
        trace: hex(&span.trace_id),
        id: hex(&span.span_id),
        parent: hex(&span.parent_span_id),
        is_server: span.kind() == proto::span::SpanKind::Server,
        has_failed: span.status.as_ref().is_some_and(|status| status.code() == proto::status::StatusCode::Error),
        links: span.links.iter().map(|link| (hex(&link.trace_id), hex(&link.span_id))).collect(),
        attributes: attributes(&span.attributes),
        nanos: (span.start_time_unix_nano, span.end_time_unix_nano),
        service: service.to_owned(),
        name: span.name,
    }
}

fn attributes(pairs: &[KeyValue]) -> BTreeMap<String, String> {
    let text = |pair: &KeyValue| match pair.value.as_ref().and_then(|value| value.value.as_ref()) {
        Some(Value::StringValue(text)) => text.clone(),
        Some(Value::IntValue(number)) => number.to_string(),
        Some(Value::BoolValue(flag)) => flag.to_string(),
        other => panic!("no such value is sent: {other:?}"),
    };
    pairs.iter().map(|pair| (pair.key.clone(), text(pair))).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
