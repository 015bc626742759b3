//! The fields of `/dashboard/live` that a terminal shows. Another version of the edge may omit any of them.

use serde::Deserialize;

/// The edge at one moment.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Picture {
    /// Milliseconds, by the edge's clock.
    pub at: i64,
    pub version: String,
    pub verdict: Verdict,
    pub instances: Vec<Instance>,
    pub pending_writes: u64,
    pub in_doubt: u64,
    pub collections: u64,
    pub without_second_copy: u64,
    pub quarantine: Quarantine,
    pub journal: Journal,
    pub requests: Requests,
    pub lanes: Vec<Lane>,
    pub healing: Vec<Healing>,
    pub healing_paused: bool,
    pub changes: Vec<Change>,
    pub samples: Vec<Sample>,
}

/// Whether the data is safe.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Verdict {
    pub level: String,
    pub headline: String,
    pub details: Vec<String>,
}

/// One server.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Instance {
    pub name: String,
    pub role: String,
    pub state: String,
    pub healthy: bool,
    pub since: i64,
    pub pending_writes: u64,
    pub lag_seconds: Option<f64>,
    pub in_flight: u64,
    pub total_requests: u64,
    pub diverged_collections: u64,
    pub last_error: Option<String>,
    pub unsupported: Option<String>,
    pub foreign: Option<String>,
    /// Requests per second since the previous picture.
    #[serde(skip)]
    pub rate: Option<f64>,
}

/// Quarantined requests, which are never sent again automatically.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Quarantine {
    pub writes: u64,
    pub reads: u64,
}

/// The journal's size.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Journal {
    pub store: String,
    pub used_bytes: u64,
    pub max_bytes: u64,
}

/// Clients' requests now.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Requests {
    pub under_way: u64,
    pub waiting: u64,
}

/// A lane with writes to apply or in doubt.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Lane {
    pub name: String,
    pub pending: u64,
    pub in_doubt: u64,
}

/// A copy that is being healed, or waits for it.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Healing {
    pub collection_id: String,
    pub collection_name: Option<String>,
    pub source: String,
    pub instance: String,
    pub state: String,
    pub percent: Option<f64>,
    pub records_per_second: f64,
    pub eta_seconds: Option<f64>,
    pub last_error: Option<String>,
}

/// A change, in words.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Change {
    pub at: i64,
    pub text: String,
}

/// One second's traffic.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Sample {
    pub requests: u64,
    pub failed: u64,
    pub p50_ms: Option<f64>,
    pub p99_ms: Option<f64>,
}

impl Picture {
    /// Fills in the rates between two pictures. A counter that has decreased belongs to another process, so its rate is
    /// unknown.
    pub(super) fn rates_since(&mut self, before: &Picture) {
        let seconds = (self.at - before.at) as f64 / 1000.0;
        for one in &mut self.instances {
            let earlier = before.instances.iter().find(|earlier| earlier.name == one.name);
            let more = earlier.and_then(|earlier| one.total_requests.checked_sub(earlier.total_requests));
            one.rate = more.filter(|_| seconds > 0.0).map(|more| more as f64 / seconds);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn picture(at: i64, requests: u64) -> Picture {
        let instance = Instance { name: "a".to_owned(), total_requests: requests, ..Instance::default() };
        Picture { at, instances: vec![instance], ..Picture::default() }
    }

    #[test]
    fn requests_are_counted_between_two_pictures_of_one_process() {
        let rate = |mut now: Picture, before: &Picture| {
            now.rates_since(before);
            now.instances[0].rate
        };
        let before = picture(1000, 100);
        assert_eq!(rate(picture(3000, 140), &before), Some(20.0));
        assert_eq!(rate(picture(3000, 7), &before), None, "the edge was started anew");
        assert_eq!(rate(picture(1000, 140), &before), None);
        assert_eq!(rate(picture(3000, 140), &Picture::default()), None, "it was not there");
    }

    #[test]
    fn what_an_edge_leaves_out_or_adds_is_no_mistake() {
        let said = serde_json::json!({ "instances": [{ "name": "a", "lag_seconds": null, "more": 1 }], "audit": null });
        let picture: Picture = serde_json::from_value(said).unwrap();
        assert_eq!((picture.instances[0].name.as_str(), picture.pending_writes), ("a", 0));
    }
}
