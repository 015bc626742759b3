//! How the edge identifies itself to instances: `headers`, sent with every request, and the certificates of TLS.
//!
//! A header's value is in the file, in a separate file (`file:PATH`) or in a variable (`env:NAME`). No message repeats
//! it.

use std::path::PathBuf;

use http::{HeaderName, HeaderValue};
use zeroize::Zeroizing;

use super::mistake::{Ledger, Location};
use super::section::Section;
use super::tree::{Node, Value};
use crate::instance::{Contents, OwnCertificate, Tls, Trust, UpstreamHeaders};

/// The edge sets framing and addressing itself.
const OURS: [&str; 10] = [
    "host",
    "content-length",
    "content-type",
    "content-encoding",
    "transfer-encoding",
    "connection",
    "expect",
    "te",
    "trailer",
    "upgrade",
];

/// Reads the headers of one instance. Keys are the names of headers.
pub(super) fn headers(
    instance: &Section<'_>,
    lookup: &dyn Fn(&str) -> Option<String>,
    ledger: &Ledger,
) -> UpstreamHeaders {
    let mut found = Vec::new();
    for entry in instance.entries("headers") {
        let report = |what: String| ledger.report(entry.place, format!("headers.{}: {what}", entry.key));
        let name = match HeaderName::try_from(entry.key.as_str()) {
            Ok(name) if OURS.contains(&name.as_str()) => {
                report("this header is the edge's own".to_owned());
                continue;
            }
            Ok(name) => name,
            Err(_) => {
                report("is not the name of a header".to_owned());
                continue;
            }
        };
        match value(&entry.node, lookup) {
            Ok(value) => found.push((name, value)),
            Err(wrong) => report(wrong),
        }
    }
    UpstreamHeaders::new(found)
}

/// Reads the TLS files of one instance.
pub(super) fn trust(instance: &Section<'_>, tls: Option<Tls>, place: Location, ledger: &Ledger) -> Trust {
    let mut contents = Vec::new();
    let mut file = |key: &'static str| {
        let found = instance.optional(key, |text| Ok(PathBuf::from(text)))?;
        let place = found.place.unwrap_or(place);
        if tls == Some(Tls::No) {
            ledger.report(place, format!("{key} requires an https:// url"));
        } else {
            match std::fs::read(&found.value) {
                Ok(bytes) => contents.push(Zeroizing::new(bytes)),
                Err(error) => {
                    ledger.report(place, format!("{key} {} cannot be read: {error}", found.value.display()));
                }
            }
        }
        Some(found.value)
    };
    let (ca_file, cert, key) = (file("ca_file"), file("cert_file"), file("key_file"));
    if cert.is_some() != key.is_some() {
        ledger.report(place, "cert_file and key_file belong together");
    }
    let own = cert.zip(key).map(|(cert_file, key_file)| OwnCertificate { cert_file, key_file });
    Trust { ca_file, own, contents: Contents::of(&contents) }
}

fn value(node: &Node, lookup: &dyn Fn(&str) -> Option<String>) -> Result<HeaderValue, String> {
    let Value::Scalar(text) = &node.value else { return Err("must be a single value".to_owned()) };
    let value = Zeroizing::new(if let Some(name) = text.strip_prefix("env:") {
        lookup(name).ok_or_else(|| format!("the variable {name} is not set"))?
    } else if let Some(path) = text.strip_prefix("file:") {
        std::fs::read_to_string(path).map_err(|error| format!("{path} cannot be read: {error}"))?
    } else {
        text.clone()
    });
    let mut header =
        HeaderValue::from_str(value.trim()).map_err(|_| "the value cannot stand in a header".to_owned())?;
    if header.is_empty() {
        return Err("the value is empty".to_owned());
    }
    header.set_sensitive(true);
    Ok(header)
}
