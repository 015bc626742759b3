//! Where spans of distributed traces are sent, and which of them. Without an endpoint, tracing is off.

use std::time::Duration;

use super::mistake::{Ledger, Location};
use super::section::Section;
use super::{outside, upstream};
use crate::instance::{TargetUrl, Tls};
use crate::traces::TraceOptions;

/// The OTLP path below a collector's address.
const PATH: &str = "/v1/traces";
/// The edge's default service name.
const SERVICE: &str = "chroma-edge";

pub(super) fn traces(
    edge: &Section<'_>,
    lookup: &dyn Fn(&str) -> Option<String>,
    ledger: &Ledger,
) -> Option<TraceOptions> {
    let section = edge.section("traces");
    let url = section.optional("endpoint", |text| TargetUrl::parse(text).map_err(|error| error.to_string()));
    let tls = url.as_ref().map_or(Tls::No, |url| url.value.tls());
    let ca_file = outside::ca_file(&section, ("endpoint", tls), Location::Whole, ledger);
    let sample_ratio = section.number("sample_ratio", 1.0, 0.0..=1.0);
    let timeout =
        section.duration("timeout", Duration::from_secs(10), Duration::from_millis(10)..=Duration::from_secs(60));
    let queue = section.count("queue", 4096, 1..=1_000_000);
    let service_name = section.text("service_name", SERVICE, service_name);
    let headers = upstream::headers(&section, lookup, ledger);
    section.finish();
    let url = url?.value.with_path_end(PATH);
    Some(TraceOptions { url, ca_file, sample_ratio, headers, timeout, queue, service_name: service_name? })
}

fn service_name(text: &str) -> Result<String, String> {
    match text.trim() {
        "" => Err("must be a name".to_owned()),
        name if name.len() > 255 => Err("must have at most 255 bytes".to_owned()),
        name => Ok(name.to_owned()),
    }
}
