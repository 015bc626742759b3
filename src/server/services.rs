//! Pingora's background services. Each begins its work, in its own runtime, when it is handed out.

use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use pingora::server::ShutdownWatch;
use pingora::services::ServiceReadyNotifier;
use pingora::services::background::BackgroundService;
use tokio::signal::unix::SignalKind;
use tokio::sync::{mpsc, oneshot, watch};

use crate::admin::Admin;
use crate::audit::Auditor;
use crate::coordinator::{Core, EXIT_CODE, Inspections, WorkQueue};
use crate::current::Current;
use crate::events::{Hub, Webhook};
use crate::executor::{MemoryWatch, Runner};
use crate::heal::Healer;
use crate::journal::retention::{self, RetentionOptions};
use crate::journal::{Ended, JournalTask, Store};
use crate::rejoin::Rejoin;

/// Sent to a process whose file would grow beyond its limit (signal(7), on every common architecture of Linux).
const SIGXFSZ: i32 = 25;

/// Work done once, in the runtime of its service.
#[async_trait]
pub(super) trait Work: Send + 'static {
    /// Services that depend on this one start when `ready` is notified or dropped.
    async fn work(self, shutdown: ShutdownWatch, ready: ServiceReadyNotifier);
}

/// A background service that waits for its work, and does it once.
pub(super) struct Task<W>(Mutex<Option<oneshot::Receiver<W>>>);

impl<W> Task<W> {
    /// Creates a task with its work.
    pub fn now(work: W) -> Self {
        let (give, task) = Task::later();
        // This cannot fail: the receiver is in the task.
        let _ = give.send(work);
        task
    }

    /// Creates a task whose work is given later, or never.
    pub fn later() -> (oneshot::Sender<W>, Self) {
        let (give, given) = oneshot::channel();
        (give, Task(Mutex::new(Some(given))))
    }
}

#[async_trait]
impl<W: Work> BackgroundService for Task<W> {
    async fn start_with_ready_notifier(&self, shutdown: ShutdownWatch, ready: ServiceReadyNotifier) {
        let given = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(given) = given else { return };
        match given.await {
            Ok(work) => {
                // If the work panicked in Pingora's task, Pingora would end the service and the process would live on
                // without it.
                #[allow(clippy::disallowed_methods, reason = "one for each service: it ends with the service's work")]
                let done = tokio::spawn(work.work(shutdown, ready)).await;
                if done.is_err_and(|ended| ended.is_panic()) {
                    tracing::error!(
                        "a service of the edge panicked: the process ends, and the journal restores the rest"
                    );
                    std::process::exit(EXIT_CODE);
                }
            }
            // The service will never be ready, and dropping the notifier would report that it is.
            Err(_) => std::future::pending().await,
        }
    }
}

/// The services that need the journal.
pub(super) struct Tasks {
    pub journal: Task<JournalService>,
    pub executor: Task<ExecutorService>,
    pub rejoin: Task<RejoinService>,
    pub heal: Task<HealService>,
    pub audit: Task<AuditService>,
    pub retention: Task<RetentionService>,
    pub events: Task<EventService>,
    pub observer: Task<ObserverService>,
}

/// The senders that hand out their work.
pub(super) struct HandOut {
    journal: oneshot::Sender<JournalService>,
    executor: oneshot::Sender<ExecutorService>,
    rejoin: oneshot::Sender<RejoinService>,
    heal: oneshot::Sender<HealService>,
    audit: oneshot::Sender<AuditService>,
    retention: oneshot::Sender<RetentionService>,
    events: oneshot::Sender<EventService>,
    observer: oneshot::Sender<ObserverService>,
}

/// Creates the services, and the senders that hand out their work.
pub(super) fn tasks() -> (HandOut, Tasks) {
    let (give_journal, journal) = Task::later();
    let (give_sync, executor) = Task::later();
    let (give_recovery, rejoin) = Task::later();
    let (give_heal, heal) = Task::later();
    let (give_audit, audit) = Task::later();
    let (give_retention, retention) = Task::later();
    let (give_events, events) = Task::later();
    let (give_observer, observer) = Task::later();
    let hand_out = HandOut {
        journal: give_journal,
        executor: give_sync,
        rejoin: give_recovery,
        heal: give_heal,
        audit: give_audit,
        retention: give_retention,
        events: give_events,
        observer: give_observer,
    };
    (hand_out, Tasks { journal, executor, rejoin, heal, audit, retention, events, observer })
}

impl HandOut {
    /// Gives each service its work. A service that no longer takes it has ended because the process is ending.
    pub fn give(
        self,
        journal: JournalService,
        executor: ExecutorService,
        rejoin: RejoinService,
        (heal, audit): (HealService, AuditService),
        retention: RetentionService,
        (events, observer): (EventService, ObserverService),
    ) {
        let _ = self.journal.send(journal);
        let _ = self.executor.send(executor);
        let _ = self.rejoin.send(rejoin);
        let _ = self.heal.send(heal);
        let _ = self.audit.send(audit);
        let _ = self.retention.send(retention);
        let _ = self.events.send(events);
        let _ = self.observer.send(observer);
    }
}

pub(super) struct JournalService {
    pub task: JournalTask,
    pub stop: oneshot::Receiver<()>,
    pub lost: mpsc::Sender<String>,
}

#[async_trait]
impl Work for JournalService {
    /// Outlives the shutdown signal: writes in flight must still be journaled.
    async fn work(self, _shutdown: ShutdownWatch, _ready: ServiceReadyNotifier) {
        // Reaching the limit on the file's size should be handled like a full disk. With a handler, the write fails
        // instead of killing the process.
        let over_the_limit = tokio::signal::unix::signal(SignalKind::from_raw(SIGXFSZ));
        if let Ended::Superseded(by) = self.task.run(async move { drop(self.stop.await) }).await {
            // A closed channel means that the process is already ending.
            let _ = self.lost.send(by).await;
        }
        drop(over_the_limit);
    }
}

pub(super) struct ExecutorService {
    pub runner: Arc<Runner>,
    pub work: WorkQueue,
    pub memory: MemoryWatch,
}

#[async_trait]
impl Work for ExecutorService {
    async fn work(self, _shutdown: ShutdownWatch, _ready: ServiceReadyNotifier) {
        tokio::select! {
            () = self.runner.run(self.work) => {}
            () = self.memory.run() => {}
        }
    }
}

pub(super) struct RejoinService {
    pub rejoin: Rejoin,
    pub inspections: Arc<Inspections>,
    /// Lets clients in.
    pub ready: Box<dyn FnOnce() + Send>,
}

#[async_trait]
impl Work for RejoinService {
    async fn work(self, _shutdown: ShutdownWatch, _ready: ServiceReadyNotifier) {
        self.rejoin.run(self.inspections, self.ready).await;
    }
}

pub(super) struct HealService(pub Healer);

#[async_trait]
impl Work for HealService {
    async fn work(self, _shutdown: ShutdownWatch, _ready: ServiceReadyNotifier) {
        self.0.run().await;
    }
}

pub(super) struct AuditService(pub Auditor);

#[async_trait]
impl Work for AuditService {
    async fn work(self, _shutdown: ShutdownWatch, _ready: ServiceReadyNotifier) {
        self.0.run().await;
    }
}

pub(super) struct RetentionService {
    pub store: Arc<dyn Store>,
    pub options: Current<RetentionOptions>,
    pub core: Arc<Core>,
}

#[async_trait]
impl Work for RetentionService {
    async fn work(self, mut shutdown: ShutdownWatch, _ready: ServiceReadyNotifier) {
        let stopped = async move { drop(shutdown.wait_for(|stop| *stop).await) };
        let registry = Arc::clone(self.core.registry());
        let configured = move || registry.names();
        let journal = self.core.journal().clone();
        retention::run((self.store, journal), configured, self.options, self.core, stopped).await;
    }
}

/// Observes for the dashboards.
pub(super) struct ObserverService(pub Arc<Admin>);

#[async_trait]
impl Work for ObserverService {
    async fn work(self, mut shutdown: ShutdownWatch, _ready: ServiceReadyNotifier) {
        tokio::select! {
            () = self.0.observe() => {}
            _ = shutdown.wait_for(|stop| *stop) => {}
        }
    }
}

pub(super) struct EventService {
    pub hub: Arc<Hub>,
    pub reports: watch::Receiver<u64>,
    pub webhook: Option<Webhook>,
}

#[async_trait]
impl Work for EventService {
    /// Ends at once with the process: events not recorded as accepted are posted again, and streams are resumed.
    async fn work(self, mut shutdown: ShutdownWatch, _ready: ServiceReadyNotifier) {
        let post = async {
            match self.webhook {
                Some(webhook) => webhook.run().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = self.hub.run(self.reports) => {}
            () = post => {}
            _ = shutdown.wait_for(|stop| *stop) => {}
        }
    }
}
