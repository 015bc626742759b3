//! Encodes spans for OTLP, in protobuf.

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1 as proto;
use prost::Message as _;

use super::span::{Kind, Span, Value};
use crate::ids::TraceContext;

/// The flag for sampled, as in a `traceparent`.
const SAMPLED: u32 = 1;

/// Returns the sender of the spans, which is the same in every request.
pub(super) fn resource(service: &str, instance: &str) -> Resource {
    let text = |key: &str, text: &str| attribute(key, Any::StringValue(text.to_owned()));
    let attributes = vec![
        text("service.name", service),
        text("service.version", env!("CARGO_PKG_VERSION")),
        text("service.instance.id", instance),
    ];
    Resource { attributes, ..Resource::default() }
}

/// Returns the body of one request to the collector.
pub(super) fn request(resource: &Resource, spans: &[Box<Span>]) -> Vec<u8> {
    let scope = InstrumentationScope { name: "chroma-edge".to_owned(), ..InstrumentationScope::default() };
    let scope_spans = proto::ScopeSpans {
        scope: Some(scope),
        spans: spans.iter().map(|span| encoded(span)).collect(),
        schema_url: String::new(),
    };
    let resource_spans = proto::ResourceSpans {
        resource: Some(resource.clone()),
        scope_spans: vec![scope_spans],
        schema_url: String::new(),
    };
    ExportTraceServiceRequest { resource_spans: vec![resource_spans] }.encode_to_vec()
}

fn encoded(span: &Span) -> proto::Span {
    let kind = match span.kind {
        Kind::Server => proto::span::SpanKind::Server,
        Kind::Client => proto::span::SpanKind::Client,
        Kind::Internal => proto::span::SpanKind::Internal,
    };
    let (trace_id, span_id) = ids(span.context);
    let code = if span.has_failed { proto::status::StatusCode::Error } else { proto::status::StatusCode::Unset };
    proto::Span {
        trace_id,
        span_id,
        parent_span_id: span.parent.map(|parent| parent.get().to_be_bytes().to_vec()).unwrap_or_default(),
        flags: SAMPLED,
        name: span.name.to_owned(),
        kind: kind.into(),
        start_time_unix_nano: span.began_nanos,
        end_time_unix_nano: span.ended_nanos,
        attributes: span.attributes.iter().map(|(key, value)| attribute(key.as_str(), any(value))).collect(),
        links: span.links.iter().map(|to| link(*to)).collect(),
        dropped_links_count: span.links_dropped,
        status: Some(proto::Status { message: String::new(), code: code.into() }),
        ..proto::Span::default()
    }
}

fn ids(context: TraceContext) -> (Vec<u8>, Vec<u8>) {
    (context.trace.get().to_be_bytes().to_vec(), context.span.get().to_be_bytes().to_vec())
}

fn link(to: TraceContext) -> proto::span::Link {
    let (trace_id, span_id) = ids(to);
    proto::span::Link { trace_id, span_id, flags: SAMPLED, ..proto::span::Link::default() }
}

fn any(value: &Value) -> Any {
    match value {
        Value::Text(text) => Any::StringValue(text.as_ref().to_owned()),
        Value::Number(number) => Any::IntValue(*number),
        Value::Flag(flag) => Any::BoolValue(*flag),
    }
}

fn attribute(key: &str, value: Any) -> KeyValue {
    KeyValue { key: key.to_owned(), value: Some(AnyValue { value: Some(value) }), ..KeyValue::default() }
}
