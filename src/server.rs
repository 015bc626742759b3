//! The composition root: builds the rooms, registers Pingora's services, stops them in order.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use pingora::server::{Server, ShutdownWatch};
use pingora::services::ServiceReadyNotifier;
use pingora::services::background::{BackgroundService, background_service};
use tokio::signal::unix::SignalKind;
use tokio::sync::{mpsc, oneshot, watch};
use tracing::{info, warn};

use crate::admin::{Admin, AdminOptions, Listeners, shown_in_event};
use crate::clock::Timestamp;
use crate::config::{Config, ConnectionPooling, JournalStore, ReadConsistency, ResetPolicy};
use crate::events::{Hub, Webhook};
use crate::ids::{InstanceId, InstanceName};
use crate::instance::{Client, Health, HealthOptions, InstanceOptions, Registry, Target, Timeouts};
use crate::journal::retention::{self, RetentionOptions};
use crate::journal::sqlite::{OpenError, SqliteStore};
use crate::journal::{CommitError, Journal, JournalOptions, JournalTask, ReadError, Store};
use crate::order::{Consistency, MergeLimits};
use crate::proxy::{AdmitLimits, Edge, Gate, ProxyOptions, Reset};
use crate::replication::{
    Core, CoreOptions, Inspector, Recovery, RecoveryOptions, Restored, Runner, RunnerOptions, WorkQueue, restore,
};

/// Sent to a process whose file would grow over its limit (signal(7), on every common architecture of Linux).
const SIGXFSZ: i32 = 25;

/// Why the edge cannot serve.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error(transparent)]
    Journal(#[from] OpenError),
    #[error(transparent)]
    Restore(#[from] ReadError),
    #[error(transparent)]
    Finish(#[from] CommitError),
    #[error("cannot set up the instances: {0}")]
    Setup(String),
    #[error("cannot listen on {address}: {error}")]
    Listen { address: std::net::SocketAddr, error: std::io::Error },
    #[error("cannot start a runtime: {0}")]
    Runtime(std::io::Error),
}

/// Serves until SIGTERM. Does not return then: the process ends with code 0 when everything is flushed.
///
/// # Errors
/// When a room cannot be built.
pub fn serve(config: Config) -> Result<(), StartError> {
    // Found out before anything else is started; Pingora would end the process without a word of why.
    drop(
        std::net::TcpListener::bind(config.listen)
            .map_err(|error| StartError::Listen { address: config.listen, error })?,
    );
    let registry = registry(&config)?;
    let store: Arc<dyn Store> = match &config.journal.store {
        JournalStore::Sqlite { path } => Arc::new(SqliteStore::open_with(path, config.journal_timeout / 4)?),
        JournalStore::Postgres { url } => return Err(StartError::Setup(format!("{url}: not supported yet"))),
    };
    let (core, work) = core(&config, &registry, &store)?;
    let (journal, journal_task) = Journal::start(Arc::clone(&store), journal_options(&config), Arc::clone(&core) as _);
    core.connect(journal.clone());
    let hub = Hub::new(Arc::clone(&store), config.limits.event_streams);
    let webhook = webhook(&config, &store, &journal)?;
    let listeners = Listeners { hub: Arc::clone(&hub), webhook: webhook.as_ref().map(|webhook| webhook.gauges()) };
    let events = Task::new(EventService { hub, reports: journal.reports() });
    let health = background_service("health", Health::new(Arc::clone(&registry)).map_err(|e| setup(&e))?);
    let gate = gate(&config);
    let edge = edge(&config, &core, health.task(), &gate, listeners);

    let options = Rooms { config: &config, core: &core, registry: &registry, store: &store };
    let (inspections, inspect) = mpsc::channel(64);
    let (stop_journal, journal_stopped) = oneshot::channel();
    let sync = options.sync(work, inspections);
    let recovery = options.recovery(inspect);
    let retention = options.retention();
    let journal = Task::new(JournalService { task: journal_task, stop: journal_stopped });
    let stopper =
        Stopper { gate, core: Arc::clone(&core), grace: config.shutdown_grace, stop: Mutex::new(Some(stop_journal)) };

    info!(listen = %config.listen, instances = config.instances.len(), "starting");
    let listen = config.listen.to_string();
    let mut server = Server::new_with_opt_and_conf(None, config.pingora);
    server.bootstrap();
    let mut proxy = pingora::proxy::http_proxy_service(&server.configuration, edge);
    proxy.add_tcp(&listen);
    server.add_service(background_service("journal", journal));
    server.add_service(background_service("sync", sync));
    let recovery = server.add_service(background_service("recovery", recovery));
    server.add_service(background_service("retention", retention));
    server.add_service(background_service("events", events));
    if let Some(webhook) = webhook {
        server.add_service(background_service("webhook", Task::new(WebhookService(webhook))));
    }
    server.add_service(background_service("stop", stopper));
    let health = server.add_service(health);
    let proxy = server.add_service(proxy);
    recovery.add_dependency(&health);
    proxy.add_dependency(&recovery);
    server.run_forever();
}

fn setup(error: &pingora::Error) -> StartError {
    StartError::Setup(error.to_string())
}

fn registry(config: &Config) -> Result<Arc<Registry>, StartError> {
    let mut instances = Vec::new();
    for instance in &config.instances {
        let url = instance.url.clone();
        instances.push(InstanceOptions { name: instance.name.clone(), url, ca_file: instance.ca_file.clone() });
    }
    let timeouts = Timeouts {
        attempt: config.attempt_timeout,
        read: config.attempt_timeout,
        idle: match config.connection_pooling {
            ConnectionPooling::Enabled => Timeouts::default().idle,
            // Kept for no time at all.
            ConnectionPooling::Disabled => Duration::ZERO,
        },
        ..Timeouts::default()
    };
    let failures = u32::try_from(config.health.failures).unwrap_or(u32::MAX);
    let health = HealthOptions { interval: config.health.interval, timeout: config.health.timeout, failures };
    Registry::new(instances, timeouts, health).map_err(|error| StartError::Setup(error.to_string()))
}

fn core(
    config: &Config,
    registry: &Arc<Registry>,
    store: &Arc<dyn Store>,
) -> Result<(Arc<Core>, WorkQueue), StartError> {
    let names: Vec<InstanceName> = config.instances.iter().map(|instance| instance.name.clone()).collect();
    let limits = MergeLimits {
        documents: u32::try_from(config.limits.merge_documents).unwrap_or(u32::MAX),
        bytes: config.limits.merge_bytes.get(),
    };
    // A runtime of its own, gone before Pingora starts its threads.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(StartError::Runtime)?;
    runtime.block_on(store.begin(&names, Timestamp::now()))?;
    let Restored { board, effects } = runtime.block_on(restore(store.as_ref(), &names, limits))?;
    let cached_bytes = config.limits.buffered_bytes.get() / 4;
    Ok(Core::new(board, effects, Arc::clone(registry), Arc::clone(store), &CoreOptions { cached_bytes }))
}

fn webhook(config: &Config, store: &Arc<dyn Store>, journal: &Journal) -> Result<Option<Webhook>, StartError> {
    let Some(webhook) = &config.webhook else { return Ok(None) };
    let target = Target::new(webhook.url.clone(), webhook.ca_file.clone());
    let target = target.map_err(|error| StartError::Setup(error.to_string()))?;
    let options = webhook.options.clone();
    Ok(Some(Webhook::new(Arc::clone(store), journal.clone(), target, options, shown_in_event)))
}

fn journal_options(config: &Config) -> JournalOptions {
    JournalOptions { timeout: config.journal_timeout, ..JournalOptions::default() }
}

fn gate(config: &Config) -> Arc<Gate> {
    Gate::new(AdmitLimits {
        concurrent_requests: config.limits.concurrent_requests,
        queued_requests: config.limits.queued_requests,
        queue_wait: config.limits.queue_wait,
        body_bytes: config.limits.body_bytes.as_usize(),
        buffered_bytes: config.limits.buffered_bytes.as_usize(),
    })
}

fn edge(config: &Config, core: &Arc<Core>, health: Arc<Health>, gate: &Arc<Gate>, listeners: Listeners) -> Edge {
    let options = ProxyOptions {
        consistency: match config.read_consistency {
            ReadConsistency::Fresh => Consistency::Fresh,
            ReadConsistency::Any => Consistency::Any,
        },
        replica_ratio: config.read_replica_ratio.get(),
        write_wait: config.write_wait,
        read_wait: config.read_wait,
        catalog_wait: config.catalog_wait,
        request_timeout: config.request_timeout,
        answer_bytes: config.limits.answer_bytes.as_usize(),
        backlog_entries: config.limits.backlog_entries,
        reset: match config.protection.reset {
            ResetPolicy::Refused => Reset::Refused,
            ResetPolicy::Allowed => Reset::Allowed,
        },
        protected: config.protection.collections.clone(),
        trusted_proxies: config.trusted_proxies.clone(),
        origins: config.origins.clone(),
    };
    let client = Client::new(Arc::clone(core.registry())).with_max_answer_bytes(config.limits.answer_bytes.as_usize());
    let pages =
        AdminOptions { backlog_limit: config.limits.backlog_entries, recovery_interval: config.recovery_interval };
    let pages = Arc::new(Admin::new(Arc::clone(core), Arc::clone(gate), Arc::clone(&health), listeners, &pages));
    Edge::new(Arc::clone(core), health, Arc::clone(gate), pages, client, options)
}

/// What the background services are made from.
struct Rooms<'a> {
    config: &'a Config,
    core: &'a Arc<Core>,
    registry: &'a Arc<Registry>,
    store: &'a Arc<dyn Store>,
}

impl Rooms<'_> {
    fn client(&self) -> Client {
        Client::new(Arc::clone(self.registry)).with_max_answer_bytes(self.config.limits.answer_bytes.as_usize())
    }

    fn sync(&self, work: WorkQueue, inspections: mpsc::Sender<InstanceId>) -> Task<SyncService> {
        let options = RunnerOptions {
            attempt_timeout: self.config.attempt_timeout,
            settle_time: self.config.settle_time,
            concurrent_attempts: self.config.limits.concurrent_requests,
        };
        Task::new(SyncService { runner: Runner::new(Arc::clone(self.core), self.client(), options, inspections), work })
    }

    fn recovery(&self, inspect: mpsc::Receiver<InstanceId>) -> Task<RecoveryService> {
        let deadline = self.config.attempt_timeout;
        let tenants = self.config.adopt.tenants.clone();
        let inspector = Inspector::new(Arc::clone(self.core), self.client(), tenants, deadline);
        let options = RecoveryOptions { interval: self.config.recovery_interval, deadline };
        let recovery = Recovery::new(Arc::clone(self.core), inspector, self.client(), options);
        Task::new(RecoveryService { recovery, inspect, listen: self.config.listen })
    }

    fn retention(&self) -> Task<RetentionService> {
        Task::new(RetentionService {
            store: Arc::clone(self.store),
            instances: self.config.instances.iter().map(|instance| instance.name.clone()).collect(),
            options: RetentionOptions { keep: self.config.retention, ..RetentionOptions::default() },
        })
    }
}

/// Work that is done once, in the runtime of its service.
#[async_trait]
trait Work: Send + 'static {
    /// Others that depend on it start when `ready` says so, or is dropped.
    async fn work(self, shutdown: ShutdownWatch, ready: ServiceReadyNotifier);
}

/// A background service around work that is consumed when it starts.
struct Task<W>(Mutex<Option<W>>);

impl<W> Task<W> {
    fn new(work: W) -> Self {
        Task(Mutex::new(Some(work)))
    }
}

#[async_trait]
impl<W: Work> BackgroundService for Task<W> {
    async fn start_with_ready_notifier(&self, shutdown: ShutdownWatch, ready: ServiceReadyNotifier) {
        let work = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(work) = work {
            work.work(shutdown, ready).await;
        }
    }
}

struct JournalService {
    task: JournalTask,
    stop: oneshot::Receiver<()>,
}

#[async_trait]
impl Work for JournalService {
    /// Outlives the shutdown signal: what is in flight still has to be journaled.
    async fn work(self, _shutdown: ShutdownWatch, _ready: ServiceReadyNotifier) {
        // A limit on the file's size is a disk that is full, not a reason to die: with a handler, the write fails instead.
        let over_the_limit = tokio::signal::unix::signal(SignalKind::from_raw(SIGXFSZ));
        self.task.run(async move { drop(self.stop.await) }).await;
        drop(over_the_limit);
    }
}

struct SyncService {
    runner: Arc<Runner>,
    work: WorkQueue,
}

#[async_trait]
impl Work for SyncService {
    async fn work(self, _shutdown: ShutdownWatch, _ready: ServiceReadyNotifier) {
        self.runner.run(self.work).await;
    }
}

struct RecoveryService {
    recovery: Recovery,
    inspect: mpsc::Receiver<InstanceId>,
    listen: std::net::SocketAddr,
}

#[async_trait]
impl Work for RecoveryService {
    async fn work(self, _shutdown: ShutdownWatch, ready: ServiceReadyNotifier) {
        let ready = || {
            info!(listen = %self.listen, "serving");
            ready.notify_ready();
        };
        self.recovery.run(self.inspect, ready).await;
    }
}

struct EventService {
    hub: Arc<Hub>,
    reports: watch::Receiver<u64>,
}

#[async_trait]
impl Work for EventService {
    async fn work(self, _shutdown: ShutdownWatch, _ready: ServiceReadyNotifier) {
        self.hub.run(self.reports).await;
    }
}

struct WebhookService(Webhook);

#[async_trait]
impl Work for WebhookService {
    /// Ends at once with the process: what was not remembered as accepted is posted again.
    async fn work(self, mut shutdown: ShutdownWatch, _ready: ServiceReadyNotifier) {
        tokio::select! {
            () = self.0.run() => {}
            _ = shutdown.wait_for(|stop| *stop) => {}
        }
    }
}

struct RetentionService {
    store: Arc<dyn Store>,
    instances: Vec<InstanceName>,
    options: RetentionOptions,
}

#[async_trait]
impl Work for RetentionService {
    async fn work(self, mut shutdown: ShutdownWatch, _ready: ServiceReadyNotifier) {
        let stopped = async move { drop(shutdown.wait_for(|stop| *stop).await) };
        retention::run(self.store, self.instances, self.options, stopped).await;
    }
}

/// Ends the process as soon as what is in flight is answered and flushed, within the grace period: Pingora itself
/// would sleep through all of it.
struct Stopper {
    gate: Arc<Gate>,
    core: Arc<Core>,
    grace: Duration,
    stop: Mutex<Option<oneshot::Sender<()>>>,
}

#[async_trait]
impl BackgroundService for Stopper {
    async fn start(&self, mut shutdown: ShutdownWatch) {
        if shutdown.wait_for(|stop| *stop).await.is_err() {
            return;
        }
        info!(under_way = self.gate.under_way(), "stopping: no new requests");
        let finish = async {
            self.gate.drained().await;
            if let Some(journal) = self.core.journal() {
                // Everything handed over before is durable when this is.
                journal.record(Vec::new()).await;
            }
        };
        if tokio::time::timeout(self.grace, finish).await.is_err() {
            warn!(
                under_way = self.gate.under_way(),
                "stopping with requests under way: recovery finishes them at the next start"
            );
        }
        drop(self.stop.lock().unwrap_or_else(PoisonError::into_inner).take());
        info!("stopped");
        std::process::exit(0);
    }
}
