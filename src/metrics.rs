//! Every metric in one place. Counters count what happened; gauges are read from the rooms themselves when the page
//! is asked for, so that they cannot drift from what is true.

use std::collections::HashMap;
use std::sync::LazyLock;
use std::time::Duration;

use prometheus::{
    Encoder, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry, TextEncoder,
    histogram_opts,
};

/// The gauges' values at one moment.
#[derive(Clone, Debug, Default)]
pub struct Gauges {
    /// Instance, whether it is usable, entries it has yet to apply, requests under way.
    pub instances: Vec<InstanceGauges>,
    /// Everything that is one number.
    pub numbers: Vec<(Number, i64)>,
    /// Status and count.
    pub transactions: Vec<(&'static str, i64)>,
}

/// The gauges that are one number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Number {
    Active,
    LeaseHeld,
    PendingWrites,
    InDoubt,
    Collections,
    HaltedLanes,
    BacklogEntries,
    BacklogLimit,
    RequestsUnderWay,
    RequestsLimit,
    RequestsWaiting,
    WaitingLimit,
    BufferedBytes,
    BufferedBytesLimit,
    BodyBytesLimit,
    JournalReadable,
    JournalBytes,
    JournalUsedBytes,
    JournalBytesLimit,
    JournalQueue,
    JournalCommits,
    JournalFailedCommits,
    EventStreams,
    EventStreamsLimit,
    WebhookPending,
    WebhookFailed,
    QuarantinedWrites,
    QuarantinedReads,
    SuspectReads,
    SuspectWrites,
    CopiesMade,
    CopiesFailed,
    CopiedRecords,
    AuditedRecords,
    CondemnedCopies,
    DifferingCollections,
    CollectionCacheBytes,
    CollectionCacheLimit,
    CollectionCacheHits,
    CollectionCacheMisses,
    HealCopies,
    HealWaiting,
    HealRecordsLeft,
    HealPaused,
    ForeignServers,
}

impl Number {
    const ALL: [Number; 45] = [
        Number::Active,
        Number::LeaseHeld,
        Number::PendingWrites,
        Number::InDoubt,
        Number::Collections,
        Number::HaltedLanes,
        Number::BacklogEntries,
        Number::BacklogLimit,
        Number::RequestsUnderWay,
        Number::RequestsLimit,
        Number::RequestsWaiting,
        Number::WaitingLimit,
        Number::BufferedBytes,
        Number::BufferedBytesLimit,
        Number::BodyBytesLimit,
        Number::JournalReadable,
        Number::JournalBytes,
        Number::JournalUsedBytes,
        Number::JournalBytesLimit,
        Number::JournalQueue,
        Number::JournalCommits,
        Number::JournalFailedCommits,
        Number::EventStreams,
        Number::EventStreamsLimit,
        Number::WebhookPending,
        Number::WebhookFailed,
        Number::QuarantinedWrites,
        Number::QuarantinedReads,
        Number::SuspectReads,
        Number::SuspectWrites,
        Number::CopiesMade,
        Number::CopiesFailed,
        Number::CopiedRecords,
        Number::AuditedRecords,
        Number::CondemnedCopies,
        Number::DifferingCollections,
        Number::CollectionCacheBytes,
        Number::CollectionCacheLimit,
        Number::CollectionCacheHits,
        Number::CollectionCacheMisses,
        Number::HealCopies,
        Number::HealWaiting,
        Number::HealRecordsLeft,
        Number::HealPaused,
        Number::ForeignServers,
    ];

    const fn name_and_help(self) -> (&'static str, &'static str) {
        match self {
            Number::Active => ("active", "1 if this edge serves its journal, 0 while it stands by"),
            Number::LeaseHeld => ("lease_held", "1 while this edge may send writes to instances"),
            Number::PendingWrites => ("pending_writes", "Journaled writes that some instance in step has yet to apply"),
            Number::InDoubt => ("in_doubt", "Places where a request may have been executed without an answer"),
            Number::Collections => ("collections", "Collections in the catalog"),
            Number::HaltedLanes => ("halted_lanes", "Lanes in which nothing is done after repeated faults of the edge"),
            Number::BacklogEntries => ("backlog_entries", "Journaled entries held in memory for the lanes"),
            Number::BacklogLimit => ("backlog_entries_limit", "The limit of backlog_entries"),
            Number::RequestsUnderWay => ("requests_under_way", "Requests under way, waiting ones included"),
            Number::RequestsLimit => ("requests_limit", "How many requests are served at once"),
            Number::RequestsWaiting => ("requests_waiting", "Requests waiting for their turn"),
            Number::WaitingLimit => ("requests_waiting_limit", "How many requests may wait for their turn"),
            Number::BufferedBytes => ("buffered_bytes", "Bytes of request bodies held in memory"),
            Number::BufferedBytesLimit => ("buffered_bytes_limit", "The limit of buffered_bytes"),
            Number::BodyBytesLimit => ("body_bytes_limit", "The largest request body"),
            Number::JournalReadable => ("journal_readable", "1 if the journal answered when this page was made"),
            Number::JournalBytes => ("journal_bytes", "Bytes the journal occupies"),
            Number::JournalUsedBytes => ("journal_used_bytes", "Bytes of the journal that count for its limit"),
            Number::JournalBytesLimit => ("journal_bytes_limit", "The limit of journal_used_bytes"),
            Number::JournalQueue => ("journal_queue", "Appends waiting for a commit"),
            Number::JournalCommits => ("journal_commits", "Commits since the start"),
            Number::JournalFailedCommits => ("journal_failed_commits", "Commits that failed since the start"),
            Number::EventStreams => ("event_streams", "Streams of events that are open"),
            Number::EventStreamsLimit => ("event_streams_limit", "The limit of event_streams"),
            Number::WebhookPending => ("webhook_pending", "Events that the webhook has yet to get past"),
            Number::QuarantinedWrites => ("quarantined_writes", "Writes that are quarantined"),
            Number::QuarantinedReads => ("quarantined_reads", "Classes of reads that are quarantined"),
            Number::SuspectWrites => {
                ("suspect_writes", "Open writes that are bound to an instance that died while it had them")
            }
            Number::SuspectReads => {
                ("suspect_reads", "Classes of reads that are held back until their instance is back")
            }
            Number::WebhookFailed => {
                ("webhook_failed", "Posts to the webhook that were not accepted since the start; each is repeated")
            }
            Number::CopiesMade => ("copies_made", "Diverged copies of collections made anew since the start"),
            Number::CopiesFailed => ("copies_failed", "Attempts to make a copy anew that failed since the start"),
            Number::CopiedRecords => ("copied_records", "Records of the copies that were made anew since the start"),
            Number::AuditedRecords => ("audited_records", "Records compared by audits since the start"),
            Number::CondemnedCopies => {
                ("condemned_copies", "Copies that audits have shown to be wrong since the start")
            }
            Number::DifferingCollections => {
                ("differing_collections", "Collections whose copies differed at their last audit")
            }
            Number::CollectionCacheBytes => ("collection_cache_bytes", "Bytes of collection objects that are kept"),
            Number::CollectionCacheLimit => ("collection_cache_bytes_limit", "The limit of collection_cache_bytes"),
            Number::CollectionCacheHits => {
                ("collection_cache_hits", "Collection objects that were answered from what is kept, since the start")
            }
            Number::CollectionCacheMisses => {
                ("collection_cache_misses", "Collection objects that had to be read from an instance, since the start")
            }
            Number::HealCopies => ("heal_copies", "Copies that are being made anew now"),
            Number::HealWaiting => ("heal_waiting", "Copies that could not be made anew, and wait"),
            Number::HealRecordsLeft => ("heal_records_left", "Records that the copies being made still lack"),
            Number::HealPaused => ("heal_paused", "1 while an operator has healing paused"),
            Number::ForeignServers => ("foreign_servers", "Servers that hold somebody else's data"),
        }
    }
}

/// One instance's gauges.
#[derive(Clone, Debug)]
pub struct InstanceGauges {
    pub name: String,
    pub up: i64,
    pub primary: i64,
    pub drained: i64,
    pub pending: i64,
    pub in_flight: i64,
    pub diverged: i64,
    pub holds_journal: i64,
}

struct Metrics {
    registry: Registry,
    requests: IntCounterVec,
    seconds: HistogramVec,
    refused: IntCounterVec,
    up: IntGaugeVec,
    primary: IntGaugeVec,
    drained: IntGaugeVec,
    pending: IntGaugeVec,
    in_flight: IntGaugeVec,
    diverged: IntGaugeVec,
    holds_journal: IntGaugeVec,
    numbers: HashMap<Number, IntGauge>,
    transactions: IntGaugeVec,
    events: IntCounter,
}

static METRICS: LazyLock<Option<Metrics>> = LazyLock::new(|| Metrics::new().ok());

impl Metrics {
    fn new() -> prometheus::Result<Metrics> {
        let registry = Registry::new_custom(Some("chroma_edge".to_owned()), None)?;
        let gauge = |name: &str, help: &str, label: &str| -> prometheus::Result<IntGaugeVec> {
            let gauge = IntGaugeVec::new(Opts::new(name, help), &[label])?;
            registry.register(Box::new(gauge.clone()))?;
            Ok(gauge)
        };
        let up = gauge("instance_up", "1 while requests may be sent to the instance", "instance")?;
        let primary = gauge("instance_primary", "1 for the preferred instance", "instance")?;
        let drained = gauge("instance_drained", "1 while the instance is drained", "instance")?;
        let pending = gauge("instance_pending_writes", "Journaled writes the instance has yet to apply", "instance")?;
        let in_flight = gauge("instance_in_flight", "Requests under way to the instance", "instance")?;
        let diverged = gauge("instance_diverged_collections", "Collections not served from the instance", "instance")?;
        let holds_journal =
            gauge("instance_holds_journal", "1 while the journal is over its limit for this instance", "instance")?;
        let mut numbers = HashMap::new();
        for number in Number::ALL {
            let (name, help) = number.name_and_help();
            let gauge = IntGauge::new(name, help)?;
            registry.register(Box::new(gauge.clone()))?;
            numbers.insert(number, gauge);
        }
        let transactions = gauge("transactions", "Transactions in the journal, by status", "status")?;
        let requests = IntCounterVec::new(Opts::new("requests_total", "Requests answered"), &["operation", "status"])?;
        registry.register(Box::new(requests.clone()))?;
        let refused = IntCounterVec::new(Opts::new("refused_total", "Requests the edge itself refused"), &["reason"])?;
        registry.register(Box::new(refused.clone()))?;
        let seconds = HistogramVec::new(
            histogram_opts!("request_seconds", "Time from a request's header to the end of its answer"),
            &["operation"],
        )?;
        registry.register(Box::new(seconds.clone()))?;
        let events = IntCounter::new("events_sent_total", "Events sent to streams")?;
        registry.register(Box::new(events.clone()))?;
        Ok(Metrics {
            registry,
            requests,
            seconds,
            refused,
            up,
            primary,
            drained,
            pending,
            in_flight,
            diverged,
            holds_journal,
            numbers,
            transactions,
            events,
        })
    }
}

/// Counts one answered request. `status` 0: the client was gone before an answer.
pub fn request(operation: &'static str, status: u16, refused: Option<&'static str>, took: Duration) {
    let Some(metrics) = METRICS.as_ref() else { return };
    metrics.requests.with_label_values(&[operation, &status.to_string()]).inc();
    metrics.seconds.with_label_values(&[operation]).observe(took.as_secs_f64());
    if let Some(reason) = refused {
        metrics.refused.with_label_values(&[reason]).inc();
    }
}

/// Counts events that were handed to streams.
pub fn events_sent(count: usize) {
    let Some(metrics) = METRICS.as_ref() else { return };
    metrics.events.inc_by(u64::try_from(count).unwrap_or(u64::MAX));
}

/// The page's media type.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4";

/// The page, in Prometheus' text format.
pub fn page(gauges: &Gauges) -> Vec<u8> {
    let mut text = Vec::new();
    let Some(metrics) = METRICS.as_ref() else { return text };
    for instance in &gauges.instances {
        let label = &[instance.name.as_str()];
        metrics.up.with_label_values(label).set(instance.up);
        metrics.primary.with_label_values(label).set(instance.primary);
        metrics.drained.with_label_values(label).set(instance.drained);
        metrics.pending.with_label_values(label).set(instance.pending);
        metrics.in_flight.with_label_values(label).set(instance.in_flight);
        metrics.diverged.with_label_values(label).set(instance.diverged);
        metrics.holds_journal.with_label_values(label).set(instance.holds_journal);
    }
    for (number, value) in &gauges.numbers {
        if let Some(gauge) = metrics.numbers.get(number) {
            gauge.set(*value);
        }
    }
    for (status, count) in &gauges.transactions {
        metrics.transactions.with_label_values(&[*status]).set(*count);
    }
    if let Err(error) = TextEncoder::new().encode(&metrics.registry.gather(), &mut text) {
        tracing::warn!(%error, "cannot write the metrics page");
    }
    text
}
