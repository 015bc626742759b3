//! `/metrics.json`: the process's use of the machine, in the earlier system's names.

use http::HeaderMap;
use http::header::ACCEPT;
use serde_json::{Map, Value};

use super::rounded;
use crate::clock::Timestamp;
use crate::process::Observer;
use crate::web::rfc3339;

const MIB: f64 = 1024.0 * 1024.0;

impl super::Earlier {
    /// `GET /metrics.json`.
    pub(in crate::admin) fn machine(&self) -> Value {
        page(&self.observer)
    }
}

/// Builds the page. Values that cannot be read are absent.
pub(in crate::admin) fn page(observer: &Observer) -> Value {
    let mut fields = Map::new();
    let mut set = |name: &str, value: Option<f64>| {
        if let Some(value) = value {
            fields.insert(name.to_owned(), rounded(value).into());
        }
    };
    let memory = observer.memory();
    set("memory_usage_mb", memory.map(|memory| memory.resident as f64 / MIB));
    set("memory_percent", memory.and_then(|memory| memory.percent()));
    set("cpu_percent", observer.cpu_percent());
    set("peak_memory_usage", memory.map(|memory| memory.peak as f64 / MIB));
    fields.insert("timestamp".to_owned(), rfc3339::text(Timestamp::now()).into());
    Value::Object(fields)
}

/// Returns whether the request prefers JSON to text. A client that accepts anything gets text, as Prometheus does.
pub(in crate::admin) fn wants_json(headers: &HeaderMap) -> bool {
    let values = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let (mut json, mut text) = (0.0_f64, 0.0_f64);
    for item in values.flat_map(|value| value.split(',')) {
        let mut parts = item.split(';').map(str::trim);
        let kind = parts.next().unwrap_or_default().to_ascii_lowercase();
        let quality = parts.find_map(|part| part.strip_prefix("q=")).map_or(Some(1.0), |text| text.parse().ok());
        let quality: f64 = quality.unwrap_or(0.0);
        match kind.as_str() {
            "application/json" => json = json.max(quality),
            "text/plain" | "text/*" | "application/openmetrics-text" => text = text.max(quality),
            _ => {}
        }
    }
    json > text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_for_those_who_prefer_it() {
        let wants = |accept: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(ACCEPT, accept.parse().unwrap());
            wants_json(&headers)
        };
        assert!(wants("application/json") && wants("Application/JSON;q=0.9, text/plain;q=0.5"));
        for text in [
            "*/*",
            "application/json;q=0",
            "application/json, text/plain, */*",
            "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
            "text/html,application/xhtml+xml,*/*;q=0.8",
        ] {
            assert!(!wants(text), "{text}");
        }
        assert!(!wants_json(&HeaderMap::new()));
    }

    #[test]
    fn this_process_is_shown() {
        let page = page(&Observer::default());
        let names = ["memory_usage_mb", "memory_percent", "cpu_percent", "timestamp", "peak_memory_usage"];
        assert!(names.iter().all(|name| page.get(name).is_some()), "{page}");
    }
}
