//! The outcomes of clients' requests, and how long they took.
//!
//! Every label has few values: operations and reasons are constants, instances are the configured ones, and statuses
//! are those that this edge and Chroma answer with. Each thread finds its counters without a lock.

use std::cell::RefCell;
use std::collections::HashMap;
use std::time::Duration;

use prometheus::core::Collector;
use prometheus::proto::Metric;
use prometheus::{Histogram, HistogramVec, IntCounter, IntCounterVec, Result};

use super::families::{Families, SECONDS};

pub(super) struct Requests {
    answered: IntCounterVec,
    seconds: HistogramVec,
    refused: IntCounterVec,
}

impl Requests {
    pub fn new(families: &mut Families) -> Result<Requests> {
        Ok(Requests {
            answered: families.counters("requests_total", "Requests answered", &["operation", "status"])?,
            seconds: families.histograms(
                "request_seconds",
                "Time from a request's header to the end of its answer",
                &["operation", "instance", "outcome"],
                SECONDS,
            )?,
            refused: families.counters("refused_total", "Requests the edge itself refused", &["reason"])?,
        })
    }

    /// Counts one answered request.
    pub fn count(&self, answered: &Answered<'_>) {
        let Answered { operation, status, refused, took, .. } = *answered;
        let (outcome, instance) = (answered.outcome(), answered.instance.unwrap_or("edge"));
        FOUND.with_borrow_mut(|found| {
            if !found.contains_key(instance) {
                found.insert(instance.to_owned(), HashMap::new());
            }
            let Some(found) = found.get_mut(instance) else { return };
            let (counter, seconds) = found.entry(Key { operation, status, outcome }).or_insert_with(|| {
                let counter = self.answered.with_label_values(&[operation, &status.to_string()]);
                (counter, self.seconds.with_label_values(&[operation, instance, outcome]))
            });
            counter.inc();
            seconds.observe(took.as_secs_f64());
        });
        if let Some(reason) = refused {
            self.refused.with_label_values(&[reason]).inc();
        }
    }

    /// Returns how many requests were refused for this reason.
    pub fn refused_for(&self, reason: &str) -> u64 {
        self.refused.with_label_values(&[reason]).get()
    }

    /// Returns what has been counted so far.
    pub fn traffic(&self) -> Traffic {
        let of = |metric: &Metric, label: &str, wanted: &dyn Fn(&str) -> bool| {
            metric.get_label().iter().any(|pair| pair.name() == label && wanted(pair.value()))
        };
        let own = |metric: &Metric| of(metric, "operation", &|operation| matches!(operation, "own_page" | "preflight"));
        let mut traffic = Traffic::default();
        for family in self.answered.collect() {
            for metric in family.get_metric().iter().filter(|metric| !own(metric)) {
                // Counts whole numbers, so this is exact for longer than any process lives.
                let count = metric.get_counter().get_value() as u64;
                traffic.answered += count;
                if of(metric, "status", &|status| status.starts_with('5')) {
                    traffic.failed += count;
                }
            }
        }
        let within = &mut traffic.within;
        for family in self.seconds.collect() {
            for metric in family.get_metric().iter().filter(|metric| !own(metric)) {
                let buckets = metric.get_histogram().get_bucket();
                within.resize(within.len().max(buckets.len()), (f64::INFINITY, 0));
                for (bucket, sum) in buckets.iter().zip(within.iter_mut()) {
                    *sum = (bucket.upper_bound(), sum.1 + bucket.cumulative_count());
                }
            }
        }
        traffic
    }
}

/// Clients' requests since the start, without the edge's own pages, some of which stay open for hours.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Traffic {
    pub answered: u64,
    /// Answered with 5xx.
    pub failed: u64,
    /// Pairs of an upper bound in seconds and how many requests took at most that long.
    pub within: Vec<(f64, u64)>,
    /// Applied requests to instances that contain writes of records.
    pub sent_requests: u64,
    /// The writes in those requests.
    pub sent_writes: u64,
}

/// A request whose answer has ended.
#[derive(Clone, Copy, Debug)]
pub struct Answered<'a> {
    pub operation: &'static str,
    /// 0 if the client disconnected before an answer.
    pub status: u16,
    /// The instance that answered; `None` if the edge did.
    pub instance: Option<&'a str>,
    /// Why the edge refused it, if it did.
    pub refused: Option<&'static str>,
    pub took: Duration,
}

impl Answered<'_> {
    /// Returns the value of the label `outcome`.
    pub const fn outcome(&self) -> &'static str {
        match (self.status, self.refused) {
            (0, _) => "gone",
            (500.., _) => "failed",
            (_, Some(_)) => "refused",
            (400.., None) => "rejected",
            (..400, None) => "ok",
        }
    }
}

/// The counter and histogram of one series.
type Handles = (IntCounter, Histogram);

#[derive(PartialEq, Eq, Hash)]
struct Key {
    operation: &'static str,
    status: u16,
    outcome: &'static str,
}

thread_local! {
    /// By instance, then by the kind of answer: one entry per series.
    static FOUND: RefCell<HashMap<String, HashMap<Key, Handles>>> = RefCell::default();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outcome_says_who_is_to_look() {
        let outcome = |status, refused| {
            Answered { operation: "add", status, instance: None, refused, took: Duration::ZERO }.outcome()
        };
        assert_eq!([outcome(201, None), outcome(404, None), outcome(500, None)], ["ok", "rejected", "failed"]);
        assert_eq!([outcome(403, Some("protected")), outcome(503, Some("queue_full"))], ["refused", "failed"]);
        assert_eq!(outcome(0, None), "gone");
    }
}
