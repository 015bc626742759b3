//! The rooms, and how they are joined: what needs no journal at once, everything else when the journal is ours and
//! loaded.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use super::services::{
    AuditService, EventService, ExecutorService, HandOut, HealService, JournalService, RejoinService, RetentionService,
};
use super::start_error::StartError;
use crate::admin::{Admin, AdminOptions, Listeners, StoreKind, shown_in_event};
use crate::audit::{AuditReport, Auditor};
use crate::clock::Timestamp;
use crate::config::{Config, ConnectionPooling};
use crate::coordinator::{Core, CoreParts, Inspections, Restored, restore};
use crate::events::{Hub, Webhook};
use crate::executor::{LateWrites, ResourceLimits, Resources, Runner, RunnerOptions};
use crate::heal::{HealProgress, Healer};
use crate::ids::InstanceName;
use crate::instance::{Client, Health, Registry, Target, Timeouts};
use crate::journal::{Journal, JournalOptions, Store};
use crate::lease::Lease;
use crate::proxy::{Admission, Edge, EdgeSlot, Objects, Vouch};
use crate::rejoin::{FirstLook, Inspector, Rejoin, RejoinOptions};

/// What is there before the journal is.
pub(super) struct Components {
    pub config: Arc<Config>,
    pub registry: Arc<Registry>,
    pub store: Arc<dyn Store>,
    pub kind: StoreKind,
    pub lease: Arc<Lease>,
    pub late_writes: Arc<LateWrites>,
    pub health: Arc<Health>,
    pub admission: Arc<Admission>,
    pub edge_slot: EdgeSlot,
    pub hand_out: HandOut,
    /// Where events are posted.
    pub target: Option<Target>,
    /// Notified when a commit shows that another edge has the journal.
    pub lost: mpsc::Sender<String>,
    pub journal_stopped: oneshot::Receiver<()>,
}

/// The edge at work.
pub(super) struct Active {
    pub core: Arc<Core>,
    /// Resolves when clients are let in.
    pub serving: oneshot::Receiver<()>,
}

impl Components {
    /// What the journal holds. Reads, but for the statuses that an end of an earlier edge left open.
    pub async fn load(&self) -> Result<Restored, StartError> {
        let names = self.names();
        self.store.begin(&names, Timestamp::now()).await?;
        Ok(restore(self.store.as_ref(), &names, self.config.limits.merge).await?)
    }

    /// Builds the rooms that need the journal and gives each service its work.
    pub fn activate(mut self, restored: Restored, first_look: FirstLook) -> Active {
        let resources = self.resources();
        let journal_options = JournalOptions { timeout: self.config.journal_timeout, ..JournalOptions::default() };
        let (journal, unconnected) = Journal::open(Arc::clone(&self.store), journal_options);
        let parts = CoreParts {
            registry: Arc::clone(&self.registry),
            store: Arc::clone(&self.store),
            lease: Arc::clone(&self.lease),
            journal: journal.clone(),
            requests: Arc::clone(&resources) as _,
        };
        let (core, work) = Core::new(restored, parts);
        let task = unconnected.connect(Arc::clone(&core) as _);
        let hub = Hub::new(Arc::clone(&self.store), self.config.limits.event_streams);
        let webhook = self.target.take().zip(self.config.webhook.as_ref()).map(|(target, webhook)| {
            let options = webhook.options.clone();
            Webhook::new(Arc::clone(&self.store), journal.clone(), target, options, shown_in_event)
        });
        let listeners = Listeners { hub: Arc::clone(&hub), webhook: webhook.as_ref().map(Webhook::gauges) };
        let events = EventService { hub, reports: journal.reports(), webhook };
        let inspections = Arc::new(Inspections::default());
        let (served, serving) = oneshot::channel();
        let runner =
            Runner::new(Arc::clone(&core), resources, self.client(), self.runner_options(), Arc::clone(&inspections));
        let rejoin = self.rejoin(&core, first_look);
        let (healer, healing) = self.healer(&core);
        let audits = Arc::<AuditReport>::default();
        let auditor = self.auditor(&core, &audits);
        let (edge_slot, edge, listen) =
            (self.edge_slot.clone(), self.edge(&core, listeners, (healing, audits)), self.config.listen);
        let ready = Box::new(move || {
            edge_slot.open(edge);
            tracing::info!(%listen, "serving");
            // The receiver is gone when the process is about to end.
            let _ = served.send(());
        });
        let retention = self.retention(&core);
        self.hand_out.give(
            JournalService { task, stop: self.journal_stopped, lost: self.lost },
            ExecutorService { runner, work },
            RejoinService { rejoin, inspections, ready },
            (HealService(healer), AuditService(auditor)),
            retention,
            events,
        );
        Active { core, serving }
    }

    fn names(&self) -> Vec<InstanceName> {
        self.config.instances.iter().map(|instance| instance.name.clone()).collect()
    }

    fn resources(&self) -> Arc<Resources> {
        // No key of its own sets the cache: it has a part of what is set for bodies.
        let limits = ResourceLimits {
            cached_bytes: self.config.limits.admission.buffered_bytes as u64 / 4,
            concurrent_attempts: self.config.limits.concurrent_attempts,
        };
        let instances = self.registry.ids().len();
        Resources::new(Arc::clone(&self.store), instances, Arc::clone(&self.late_writes), &limits)
    }

    fn client(&self) -> Client {
        let most = self.config.limits.answer_bytes.as_usize();
        Client::new(Arc::clone(&self.registry)).with_max_answer_bytes(most)
    }

    /// Copied: other rooms use each of these values too.
    fn runner_options(&self) -> RunnerOptions {
        RunnerOptions {
            attempt_timeout: self.config.attempt_timeout,
            request_timeout: self.config.proxy.request_timeout,
            settle_time: self.config.settle_time,
            quarantine_wait: self.config.quarantine_wait,
        }
    }

    fn rejoin(&self, core: &Arc<Core>, first_look: FirstLook) -> Rejoin {
        let deadline = self.config.attempt_timeout;
        let tenants = self.config.adopt.tenants.clone();
        let inspector = Inspector::new(Arc::clone(core), self.client(), tenants, deadline);
        // Copied: the pages and other rooms use the first two values too, and the start decides the third.
        let options = RejoinOptions {
            interval: self.config.recovery_interval,
            deadline,
            first_look,
            marker_interval: self.config.marker_interval,
            foreign: self.config.foreign,
            settle_time: self.config.settle_time,
        };
        Rejoin::new(Arc::clone(core), inspector, self.client(), options)
    }

    fn healer(&self, core: &Arc<Core>) -> (Healer, Arc<HealProgress>) {
        let (deadline, options) = (self.config.attempt_timeout, self.config.heal);
        let progress = Arc::new(HealProgress::default());
        (Healer::new(Arc::clone(core), self.client(), deadline, options, Arc::clone(&progress)), progress)
    }

    fn auditor(&self, core: &Arc<Core>, report: &Arc<AuditReport>) -> Auditor {
        let (options, report) = (self.config.audit, Arc::clone(report));
        Auditor::new(Arc::clone(core), self.client(), options, self.config.attempt_timeout, report)
    }

    fn retention(&self, core: &Arc<Core>) -> RetentionService {
        RetentionService {
            store: Arc::clone(&self.store),
            instances: self.names(),
            options: self.config.journal.retention.clone(),
            core: Arc::clone(core),
        }
    }

    fn edge(&self, core: &Arc<Core>, listeners: Listeners, progress: (Arc<HealProgress>, Arc<AuditReport>)) -> Edge {
        let (health, admission) = (Arc::clone(&self.health), Arc::clone(&self.admission));
        // Copied: `rejoin` and the proxy use the configured values too.
        let options = AdminOptions {
            recovery_interval: self.config.recovery_interval,
            store: self.kind,
            key_headers: self.config.proxy.idempotency.clone(),
        };
        let vouch = Vouch::new(Arc::clone(core), self.config.vouch.clone(), self.config.quarantine_wait);
        let (shared, known) = (Arc::clone(&admission), Arc::clone(&vouch));
        let objects = Objects::new(self.config.limits.collection_cache_bytes.as_usize());
        let of_admin = (known, Arc::clone(&objects));
        let pages = Admin::new(Arc::clone(core), shared, Arc::clone(&health), listeners, of_admin, progress, &options);
        let pages = Arc::new(pages);
        Edge::new(
            Arc::clone(core),
            health,
            admission,
            pages,
            self.client(),
            (vouch, objects),
            self.config.proxy.clone(),
        )
    }
}

pub(super) fn registry(config: &Config) -> Result<Arc<Registry>, StartError> {
    // Derived: one key sets two of them, a switch sets the third, and none sets the last.
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
    let registry = Registry::new(config.instances.clone(), timeouts, config.health);
    registry.map_err(|error| StartError::Setup(error.to_string()))
}

/// Where events are posted, if anywhere.
pub(super) fn target(config: &Config) -> Result<Option<Target>, StartError> {
    let target = config.webhook.as_ref().map(|webhook| Target::new(webhook.url.clone(), webhook.ca_file.clone()));
    target.transpose().map_err(|error| StartError::Setup(error.to_string()))
}

pub(super) fn admission(config: &Config) -> Arc<Admission> {
    Admission::new(config.limits.admission.clone())
}
