//! Every metric in one place. Counters count events; gauges are read from the rooms themselves when the page is
//! requested, so they cannot drift from the truth. Requests are counted in `requests.rs`, the edge's own work in
//! `work.rs`. `docs/metrics.md` lists them all; a test compares the two.

mod families;
mod requests;
mod work;

use std::collections::HashMap;
use std::sync::LazyLock;
use std::time::Duration;

use prometheus::process_collector::ProcessCollector;
use prometheus::{Encoder, Gauge, GaugeVec, IntCounter, IntGauge, IntGaugeVec, Registry, TextEncoder};

use self::families::Families;
use self::requests::Requests;
pub use self::requests::{Answered, Traffic};
use self::work::Work;
pub use self::work::{AttemptCounters, AttemptOutcome, AttemptPurpose, Recovery, SpanDrop};

/// The gauges' values at one moment.
#[derive(Clone, Debug, Default)]
pub struct Gauges {
    /// One entry for each instance.
    pub instances: Vec<InstanceGauges>,
    /// The gauges that are single numbers.
    pub numbers: Vec<(Number, i64)>,
    /// Status and count.
    pub transactions: Vec<(&'static str, i64)>,
    /// The age of the oldest write that some instance in step lacks, 0 if there is none. `None` if unknown.
    pub oldest_unreplicated_seconds: Option<f64>,
}

/// The gauges that are single numbers.
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
    Connections,
    ConnectionsLimit,
    ConnectionsClosedIdle,
    ConnectionsRefused,
    IncomingBodies,
    IncomingBodiesLimit,
    BodyBytesLimit,
    ClientRateLimit,
    BatchDocuments,
    BatchDocumentsLimit,
    MemoryShort,
    BatchesReduced,
    JournalReadable,
    JournalWritable,
    JournalBytes,
    JournalUsedBytes,
    JournalApplicationBytes,
    JournalApplicationBytesLimit,
    ApplicationsRefused,
    ClientBytes,
    ClientBytesLimit,
    ClientsRefused,
    JournalBytesLimit,
    JournalQueue,
    JournalCommits,
    JournalFailedCommits,
    EventStreams,
    EventStreamsLimit,
    Dashboards,
    DashboardsLimit,
    SpansWaiting,
    SpansWaitingLimit,
    WebhookPending,
    WebhookFailed,
    QuarantinedWrites,
    QuarantinedReads,
    SuspectReads,
    SuspectWrites,
    CopiesMade,
    CopiesRepaired,
    CopiesFailed,
    CopiedRecords,
    HealComparedRecords,
    HealRepairedRecords,
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
    RecoveryRunning,
    AwaitingRecovery,
    WithoutSecondCopy,
}

impl Number {
    /// Each with its name and its help.
    const ALL: [(Number, &str, &str); 73] = [
        (Number::Active, "active", "1 if this edge serves its journal, 0 while it stands by"),
        (Number::LeaseHeld, "lease_held", "1 while this edge may send writes to instances"),
        (Number::PendingWrites, "pending_writes", "Journaled writes that some instance in step has yet to apply"),
        (Number::InDoubt, "in_doubt", "Places where a request may have been executed without an answer"),
        (Number::Collections, "collections", "Collections in the catalog"),
        (Number::HaltedLanes, "halted_lanes", "Lanes in which nothing is done after repeated faults of the edge"),
        (Number::BacklogEntries, "backlog_entries", "Journaled entries held in memory for the lanes"),
        (Number::BacklogLimit, "backlog_entries_limit", "The limit of backlog_entries"),
        (Number::RequestsUnderWay, "requests_under_way", "Requests under way, waiting ones included"),
        (Number::RequestsLimit, "requests_limit", "How many requests are served at once"),
        (Number::RequestsWaiting, "requests_waiting", "Requests waiting for their turn"),
        (Number::WaitingLimit, "requests_waiting_limit", "How many requests may wait for their turn"),
        (Number::BufferedBytes, "buffered_bytes", "Bytes of request bodies held in memory"),
        (Number::BufferedBytesLimit, "buffered_bytes_limit", "The limit of buffered_bytes"),
        (Number::Connections, "connections", "Connections from clients that are open"),
        (Number::ConnectionsLimit, "connections_limit", "How many connections may be open"),
        (Number::ConnectionsClosedIdle, "connections_closed_idle", "Idle connections that made room since the start"),
        (Number::ConnectionsRefused, "connections_refused", "Connections closed at once since the start"),
        (Number::IncomingBodies, "incoming_bodies", "Request bodies that are being read"),
        (Number::IncomingBodiesLimit, "incoming_bodies_limit", "How many bodies may take their time"),
        (Number::BodyBytesLimit, "body_bytes_limit", "The largest request body"),
        (Number::ClientRateLimit, "client_rate_limit", "Requests a second that one client may make; 0: any number"),
        (Number::BatchDocuments, "batch_documents", "Documents that one merged request may hold now"),
        (Number::BatchDocumentsLimit, "batch_documents_limit", "The limit of batch_documents"),
        (Number::MemoryShort, "memory_pressure_events", "How often memory became short since the start"),
        (
            Number::BatchesReduced,
            "adaptive_batch_reductions",
            "How often batch_documents was reduced as memory was short, since the start",
        ),
        (Number::JournalReadable, "journal_readable", "1 if the journal answered when this page was made"),
        (Number::JournalWritable, "journal_writable", "1 while the journal takes writes, as far as is known"),
        (Number::JournalBytes, "journal_bytes", "Bytes the journal occupies"),
        (Number::JournalUsedBytes, "journal_used_bytes", "Bytes of the journal that count for its limit"),
        (
            Number::JournalApplicationBytes,
            "journal_application_bytes",
            "Bytes of the journal that applications' own operations take",
        ),
        (
            Number::JournalApplicationBytesLimit,
            "journal_application_bytes_limit",
            "The limit of journal_application_bytes",
        ),
        (
            Number::ApplicationsRefused,
            "applications_refused",
            "Applications' own operations refused since the start, as they took too much of the journal",
        ),
        (Number::ClientBytes, "journal_application_client_bytes", "Of them, those of the client that takes most"),
        (Number::ClientBytesLimit, "journal_application_client_bytes_limit", "What one client may take of them"),
        (Number::ClientsRefused, "applications_refused_to_clients", "Those refused as their client took too much"),
        (Number::JournalBytesLimit, "journal_bytes_limit", "The limit of journal_used_bytes"),
        (Number::JournalQueue, "journal_queue", "Appends waiting for a commit"),
        (Number::JournalCommits, "journal_commits", "Commits since the start"),
        (Number::JournalFailedCommits, "journal_failed_commits", "Commits that failed since the start"),
        (Number::EventStreams, "event_streams", "Streams of events that are open"),
        (Number::EventStreamsLimit, "event_streams_limit", "The limit of event_streams"),
        (Number::Dashboards, "dashboards", "Dashboards that are open"),
        (Number::DashboardsLimit, "dashboards_limit", "The limit of dashboards"),
        (Number::SpansWaiting, "spans_waiting", "Spans of traces that wait to be sent"),
        (Number::SpansWaitingLimit, "spans_waiting_limit", "The limit of spans_waiting; 0: nothing is traced"),
        (Number::WebhookPending, "webhook_pending", "Events that the webhook has yet to get past"),
        (
            Number::WebhookFailed,
            "webhook_failed",
            "Posts to the webhook that were not accepted since the start; each is repeated",
        ),
        (Number::QuarantinedWrites, "quarantined_writes", "Writes that are quarantined"),
        (Number::QuarantinedReads, "quarantined_reads", "Classes of reads that are quarantined"),
        (Number::SuspectReads, "suspect_reads", "Classes of reads held back until their instance is back"),
        (
            Number::SuspectWrites,
            "suspect_writes",
            "Open writes that are bound to an instance that died while it had them",
        ),
        (Number::CopiesMade, "copies_made", "Diverged copies of collections made anew since the start"),
        (
            Number::CopiesRepaired,
            "copies_repaired",
            "Diverged copies of collections repaired where they are since the start",
        ),
        (Number::CopiesFailed, "copies_failed", "Attempts to make a copy whole that failed since the start"),
        (Number::CopiedRecords, "copied_records", "Records of the copies that were made anew since the start"),
        (
            Number::HealComparedRecords,
            "heal_compared_records",
            "Records of the copies that were repaired since the start",
        ),
        (
            Number::HealRepairedRecords,
            "heal_repaired_records",
            "Records that repairs have written or removed since the start",
        ),
        (Number::AuditedRecords, "audited_records", "Records compared by audits since the start"),
        (Number::CondemnedCopies, "condemned_copies", "Copies that audits have shown to be wrong"),
        (
            Number::DifferingCollections,
            "differing_collections",
            "Collections whose copies differed at their last audit",
        ),
        (Number::CollectionCacheBytes, "collection_cache_bytes", "Bytes of collection objects that are kept"),
        (Number::CollectionCacheLimit, "collection_cache_bytes_limit", "The limit of collection_cache_bytes"),
        (Number::CollectionCacheHits, "collection_cache_hits", "Collection objects answered from what is kept"),
        (Number::CollectionCacheMisses, "collection_cache_misses", "Collection objects read from an instance"),
        (Number::HealCopies, "heal_copies", "Copies that are being repaired or made anew now"),
        (Number::HealWaiting, "heal_waiting", "Copies that could not be made whole, and wait"),
        (
            Number::HealRecordsLeft,
            "heal_records_left",
            "Records that the copies being healed have yet to be compared or given",
        ),
        (Number::HealPaused, "heal_paused", "1 while an operator has healing paused"),
        (Number::ForeignServers, "foreign_servers", "Servers that hold somebody else's data"),
        (Number::RecoveryRunning, "recovery_running", "1 while recovery runs"),
        (Number::AwaitingRecovery, "awaiting_recovery", "Writes without an outcome whose client waits no more"),
        (
            Number::WithoutSecondCopy,
            "collections_without_second_copy",
            "Collections that no two instances have in step",
        ),
    ];
}

/// One instance's gauges.
#[derive(Clone, Debug)]
pub struct InstanceGauges {
    pub name: String,
    pub up: i64,
    pub primary: i64,
    pub drained: i64,
    pub pending: i64,
    pub lag_bytes: i64,
    /// The age of the oldest write that it has yet to apply. `None` if unknown.
    pub lag_seconds: Option<f64>,
    pub in_flight: i64,
    pub breaker: i64,
    pub breaker_opened: i64,
    pub diverged: i64,
    pub holds_journal: i64,
}

struct Metrics {
    registry: Registry,
    /// The registered metrics, to compare with the document.
    #[cfg(test)]
    families: Vec<families::Family>,
    /// Metrics of every process, under Prometheus' own names: memory, CPU, open files.
    process: Registry,
    requests: Requests,
    work: Work,
    up: IntGaugeVec,
    primary: IntGaugeVec,
    drained: IntGaugeVec,
    pending: IntGaugeVec,
    lag_bytes: IntGaugeVec,
    lag_seconds: GaugeVec,
    in_flight: IntGaugeVec,
    breaker: IntGaugeVec,
    breaker_opened: IntGaugeVec,
    diverged: IntGaugeVec,
    holds_journal: IntGaugeVec,
    oldest_unreplicated: Gauge,
    numbers: HashMap<Number, IntGauge>,
    transactions: IntGaugeVec,
    events: IntCounter,
}

static METRICS: LazyLock<Option<Metrics>> = LazyLock::new(|| Metrics::new().ok());

impl Metrics {
    fn new() -> prometheus::Result<Metrics> {
        let mut families = Families::new()?;
        let mut of_instance = |name: &str, help: &str| families.counts(name, help, &["instance"]);
        let up = of_instance("instance_up", "1 while requests may be sent to the instance")?;
        let primary = of_instance("instance_primary", "1 for the preferred instance")?;
        let drained = of_instance("instance_drained", "1 while the instance is drained")?;
        let pending = of_instance("instance_pending_writes", "Journaled writes the instance has yet to apply")?;
        let lag_bytes = of_instance("instance_lag_bytes", "Bytes of the writes the instance has yet to apply")?;
        let in_flight = of_instance("instance_in_flight", "Requests under way to the instance")?;
        let breaker =
            of_instance("instance_breaker", "0: reads go to the instance; 1: single ones; 2: reads avoid it")?;
        let breaker_opened =
            of_instance("instance_breaker_opened", "How often reads began to avoid the instance since the start")?;
        let diverged = of_instance("instance_diverged_collections", "Collections not served from the instance")?;
        let holds_journal =
            of_instance("instance_holds_journal", "1 while the journal is over its limit for this instance")?;
        let lag_seconds = families.numbers(
            "instance_lag_seconds",
            "Age of the oldest write the instance has yet to apply; 0 if there is none",
            &["instance"],
        )?;
        let oldest_unreplicated = families.number(
            "oldest_unreplicated_seconds",
            "Age of the oldest write that some instance in step has yet to apply; 0 if there is none",
        )?;
        let mut numbers = HashMap::new();
        for (number, name, help) in Number::ALL {
            numbers.insert(number, families.count(name, help)?);
        }
        let transactions = families.counts("transactions", "Transactions in the journal, by status", &["status"])?;
        let requests = Requests::new(&mut families)?;
        let work = Work::new(&mut families)?;
        work.begin();
        let events = families.counter("events_sent_total", "Events sent to streams")?;
        families
            .counts("build_info", "1, with the version of this edge", &["version"])?
            .with_label_values(&[env!("CARGO_PKG_VERSION")])
            .set(1);
        let process = Registry::new();
        process.register(Box::new(ProcessCollector::for_self()))?;
        Ok(Metrics {
            registry: families.registry,
            #[cfg(test)]
            families: families.list,
            process,
            requests,
            work,
            up,
            primary,
            drained,
            pending,
            lag_bytes,
            lag_seconds,
            in_flight,
            breaker,
            breaker_opened,
            diverged,
            holds_journal,
            oldest_unreplicated,
            numbers,
            transactions,
            events,
        })
    }

    fn set_instances(&self, instances: &[InstanceGauges]) {
        // A reload may have removed an instance, and its series must go with it.
        let of_instances = [&self.up, &self.primary, &self.drained, &self.pending, &self.lag_bytes];
        let of_instances = of_instances.into_iter().chain([&self.in_flight, &self.diverged, &self.holds_journal]);
        let of_instances = of_instances.chain([&self.breaker, &self.breaker_opened]);
        of_instances.for_each(IntGaugeVec::reset);
        self.lag_seconds.reset();
        for instance in instances {
            let label = &[instance.name.as_str()];
            self.up.with_label_values(label).set(instance.up);
            self.primary.with_label_values(label).set(instance.primary);
            self.drained.with_label_values(label).set(instance.drained);
            self.pending.with_label_values(label).set(instance.pending);
            self.lag_bytes.with_label_values(label).set(instance.lag_bytes);
            self.in_flight.with_label_values(label).set(instance.in_flight);
            self.breaker.with_label_values(label).set(instance.breaker);
            self.breaker_opened.with_label_values(label).set(instance.breaker_opened);
            self.diverged.with_label_values(label).set(instance.diverged);
            self.holds_journal.with_label_values(label).set(instance.holds_journal);
            if let Some(seconds) = instance.lag_seconds {
                self.lag_seconds.with_label_values(label).set(seconds);
            }
        }
    }
}

/// Counts one answered request.
pub fn request(answered: &Answered<'_>) {
    if let Some(metrics) = METRICS.as_ref() {
        metrics.requests.count(answered);
    }
}

/// Returns what has been counted so far.
pub fn traffic() -> Traffic {
    let Some(metrics) = METRICS.as_ref() else { return Traffic::default() };
    let (sent_requests, sent_writes) = metrics.work.sent();
    Traffic { sent_requests, sent_writes, ..metrics.requests.traffic() }
}

fn work() -> Option<&'static Work> {
    METRICS.as_ref().map(|metrics| &metrics.work)
}

/// Records how long the caller of a successful append waited.
pub fn appended(took: Duration) {
    work().into_iter().for_each(|work| work.appended(took));
}

/// Records a successful commit of the journal with this many appends.
pub fn committed(took: Duration, appends: usize) {
    work().into_iter().for_each(|work| work.committed(took, appends));
}

/// Counts a write whose client was answered that recovery is pending.
pub fn timing_gap() {
    work().into_iter().for_each(Work::timing_gap);
}

/// Records that recovery has finished a transaction. `took`: the time since its client was told, or since the start.
pub fn recovered(outcome: Recovery, took: Duration) {
    work().into_iter().for_each(|work| work.recovered(outcome, took));
}

/// Returns the counters of the attempts on the instance with this name.
pub fn attempts_on(instance: &str) -> AttemptCounters {
    AttemptCounters::of(work(), instance)
}

/// Returns how many requests the edge has refused for this reason since the start.
pub fn refused_for(reason: &str) -> u64 {
    METRICS.as_ref().map_or(0, |metrics| metrics.requests.refused_for(reason))
}

/// Counts events that were handed to streams.
pub fn events_sent(count: usize) {
    let Some(metrics) = METRICS.as_ref() else { return };
    metrics.events.inc_by(u64::try_from(count).unwrap_or(u64::MAX));
}

/// Counts a request that was held. `came`: who of the expected writers came meanwhile.
pub fn hold(came: &'static str) {
    let Some(metrics) = METRICS.as_ref() else { return };
    metrics.work.holds.with_label_values(&[came]).inc();
}

/// Counts an applied request with this many writes. `purpose`: `first`, or `replicated`.
pub fn writes_sent(purpose: &'static str, writes: usize) {
    let Some(metrics) = METRICS.as_ref() else { return };
    metrics.work.merged.with_label_values(&[purpose]).observe(writes as f64);
}

/// Records the time from a request's execution for its clients to its execution on another instance.
pub fn replicated(after: Duration) {
    let Some(metrics) = METRICS.as_ref() else { return };
    metrics.work.replication.observe(after.as_secs_f64());
}

/// Shows the counters of dropped spans as 0 rather than absent, because spans are recorded from now on.
pub fn begin_spans() {
    [SpanDrop::QueueFull, SpanDrop::NotTaken].into_iter().for_each(|why| spans_dropped(why, 0));
}

/// Counts spans that the collector has accepted.
pub fn spans_sent(count: usize) {
    work().into_iter().for_each(|work| work.spans_sent.inc_by(u64::try_from(count).unwrap_or(u64::MAX)));
}

/// Counts spans that were dropped.
pub fn spans_dropped(why: SpanDrop, count: usize) {
    work().into_iter().for_each(|work| work.spans_dropped(why, u64::try_from(count).unwrap_or(u64::MAX)));
}

/// Counts a client that was disconnected because it did not read its answer.
pub fn client_cut() {
    let Some(metrics) = METRICS.as_ref() else { return };
    metrics.work.clients_cut.inc();
}

/// The page's media type.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4";

/// Renders the page, in Prometheus' text format.
pub fn page(gauges: &Gauges) -> Vec<u8> {
    let mut text = Vec::new();
    let Some(metrics) = METRICS.as_ref() else { return text };
    metrics.set_instances(&gauges.instances);
    if let Some(seconds) = gauges.oldest_unreplicated_seconds {
        metrics.oldest_unreplicated.set(seconds);
    }
    for (number, value) in &gauges.numbers {
        if let Some(gauge) = metrics.numbers.get(number) {
            gauge.set(*value);
        }
    }
    for (status, count) in &gauges.transactions {
        metrics.transactions.with_label_values(&[*status]).set(*count);
    }
    for registry in [&metrics.registry, &metrics.process] {
        if let Err(error) = TextEncoder::new().encode(&registry.gather(), &mut text) {
            tracing::warn!(%error, "cannot write the metrics page");
        }
    }
    text
}

#[cfg(test)]
mod tests;
