//! The outcomes of the edge's own work: commits of the journal, attempts on instances, recovery.
//!
//! Code that counts holds its counters, or finds them without a lock.

use std::time::Duration;

use prometheus::core::Collector;
use prometheus::proto::Metric;
use prometheus::{Histogram, HistogramVec, IntCounter, IntCounterVec, Result};

use super::families::{Families, SECONDS, SIZES};

pub(super) struct Work {
    append_seconds: Histogram,
    commit_seconds: Histogram,
    commit_appends: Histogram,
    attempt_seconds: HistogramVec,
    attempts: IntCounterVec,
    pub holds: IntCounterVec,
    /// Writes that share a request.
    pub merged: HistogramVec,
    pub replication: Histogram,
    pub clients_cut: IntCounter,
    pub spans_sent: IntCounter,
    spans_dropped: IntCounterVec,
    timing_gaps: IntCounter,
    recoveries: IntCounterVec,
    recovery_seconds: Histogram,
}

impl Work {
    pub fn new(families: &mut Families) -> Result<Work> {
        Ok(Work {
            append_seconds: families.histogram(
                "journal_append_seconds",
                "Time from a write's append to its being durable, the wait for the commit included",
                SECONDS,
            )?,
            commit_seconds: families.histogram(
                "journal_commit_seconds",
                "Time of a commit of the journal, its flush included",
                SECONDS,
            )?,
            commit_appends: families.histogram(
                "journal_commit_appends",
                "Writes that became durable in one commit, of commits with any",
                SIZES,
            )?,
            attempt_seconds: families.histograms(
                "attempt_seconds",
                "Time of an attempt of writes on an instance, from its permit to its outcome",
                &["instance", "purpose"],
                SECONDS,
            )?,
            attempts: families.counters(
                "attempts_total",
                "Attempts of writes on an instance",
                &["instance", "purpose", "outcome"],
            )?,
            holds: families.counters(
                "holds_total",
                "Requests that were held for writers who were expected again, by who came",
                &["came"],
            )?,
            merged: families.histograms(
                "writes_per_request",
                "Writes of records in one request to an instance",
                &["purpose"],
                SIZES,
            )?,
            replication: families.histogram(
                "replication_seconds",
                "Time from a request's execution for its clients to its execution on another instance",
                SECONDS,
            )?,
            clients_cut: families
                .counter("clients_cut_total", "Clients that were disconnected as they read too slowly")?,
            spans_sent: families.counter("spans_sent_total", "Spans of traces that the collector has taken")?,
            spans_dropped: families.counters(
                "spans_dropped_total",
                "Spans of traces that were given up",
                &["reason"],
            )?,
            timing_gaps: families.counter("timing_gaps_total", "Writes answered that recovery is pending")?,
            recoveries: families.counters(
                "recoveries_total",
                "Transactions that recovery has finished",
                &["outcome"],
            )?,
            recovery_seconds: families.histogram(
                "recovery_seconds",
                "Time from the answer that recovery is pending, or this edge's start, to the end of recovery",
                SECONDS,
            )?,
        })
    }

    /// Creates series that exist from the start, so that the rate of something that has never happened is 0, not
    /// absent.
    pub fn begin(&self) {
        for outcome in [Recovery::Recovered, Recovery::Abandoned] {
            self.recoveries.with_label_values(&[outcome.as_str()]);
        }
    }

    /// Records how long the caller of a successful append waited.
    pub fn appended(&self, took: Duration) {
        self.append_seconds.observe(took.as_secs_f64());
    }

    /// Records a successful commit with this many appends.
    pub fn committed(&self, took: Duration, appends: usize) {
        self.commit_seconds.observe(took.as_secs_f64());
        if appends > 0 {
            self.commit_appends.observe(appends as f64);
        }
    }

    /// Counts spans that were dropped.
    pub fn spans_dropped(&self, why: SpanDrop, count: u64) {
        self.spans_dropped.with_label_values(&[why.as_str()]).inc_by(count);
    }

    /// Returns how many applied requests contained writes of records, and how many writes those were.
    pub fn sent(&self) -> (u64, u64) {
        let families = self.merged.collect();
        let all = families.iter().flat_map(|family| family.get_metric()).map(Metric::get_histogram);
        // Counts whole numbers, so this is exact for longer than any process lives.
        all.fold((0, 0), |(requests, writes), one| {
            (requests + one.get_sample_count(), writes + one.get_sample_sum() as u64)
        })
    }

    /// Counts a write whose client was answered that recovery is pending.
    pub fn timing_gap(&self) {
        self.timing_gaps.inc();
    }

    /// Records that recovery has finished a transaction. `took`: the time since its client was answered that recovery
    /// is pending, or since this edge's start.
    pub fn recovered(&self, outcome: Recovery, took: Duration) {
        self.recoveries.with_label_values(&[outcome.as_str()]).inc();
        self.recovery_seconds.observe(took.as_secs_f64());
    }
}

/// Why a span was dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SpanDrop {
    /// The queue was full.
    QueueFull,
    /// The collector refused it, or did not accept it in time.
    NotTaken,
}

impl SpanDrop {
    const fn as_str(self) -> &'static str {
        match self {
            SpanDrop::QueueFull => "queue_full",
            SpanDrop::NotTaken => "not_taken",
        }
    }
}

/// How recovery finished a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recovery {
    /// It was executed, or there was nothing left to execute.
    Recovered,
    /// It was rejected, or given up.
    Abandoned,
}

impl Recovery {
    const fn as_str(self) -> &'static str {
        match self {
            Recovery::Recovered => "recovered",
            Recovery::Abandoned => "abandoned",
        }
    }
}

/// Why an attempt is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AttemptPurpose {
    Execute,
    Replicate,
}

/// The outcome of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AttemptOutcome {
    Applied,
    Rejected,
    NotSent,
    InDoubt,
    Failed,
    Unfit,
}

const PURPOSES: [&str; 2] = ["execute", "replicate"];
const OUTCOMES: [&str; 6] = ["applied", "rejected", "not_sent", "in_doubt", "failed", "unfit"];

impl AttemptOutcome {
    /// Returns the label's value.
    pub const fn as_str(self) -> &'static str {
        OUTCOMES[self.place()]
    }

    const fn place(self) -> usize {
        match self {
            AttemptOutcome::Applied => 0,
            AttemptOutcome::Rejected => 1,
            AttemptOutcome::NotSent => 2,
            AttemptOutcome::InDoubt => 3,
            AttemptOutcome::Failed => 4,
            AttemptOutcome::Unfit => 5,
        }
    }
}

/// The counters of the attempts on one instance.
#[derive(Debug)]
pub struct AttemptCounters(Option<[OfPurpose; 2]>);

#[derive(Debug)]
struct OfPurpose {
    seconds: Histogram,
    ended: [IntCounter; 6],
}

impl AttemptCounters {
    /// Returns the counters of the instance with this name. Without `work`, nothing is counted.
    pub(super) fn of(work: Option<&Work>, instance: &str) -> AttemptCounters {
        AttemptCounters(work.map(|work| {
            PURPOSES.map(|purpose| OfPurpose {
                seconds: work.attempt_seconds.with_label_values(&[instance, purpose]),
                ended: OUTCOMES.map(|outcome| work.attempts.with_label_values(&[instance, purpose, outcome])),
            })
        }))
    }

    /// Records that an attempt has ended.
    pub fn ended(&self, purpose: AttemptPurpose, outcome: AttemptOutcome, took: Duration) {
        let Some(counters) = &self.0 else { return };
        let counters = match purpose {
            AttemptPurpose::Execute => &counters[0],
            AttemptPurpose::Replicate => &counters[1],
        };
        counters.ended[outcome.place()].inc();
        if outcome != AttemptOutcome::NotSent {
            counters.seconds.observe(took.as_secs_f64());
        }
    }
}
