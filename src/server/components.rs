//! The rooms and how they are joined. Rooms that need no journal are built at once, all others when the journal is held
//! and loaded.

use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};

use super::options::{self, Options};
use super::reload::Reloader;
use super::services::{
    AuditService, EventService, ExecutorService, HandOut, HealService, JournalService, ObserverService, RejoinService,
    RetentionService,
};
use super::start_error::StartError;
use crate::admin::{Admin, Earlier, Listeners, shown_in_event};
use crate::audit::{AuditReport, Auditor};
use crate::clock::Timestamp;
use crate::config::{Config, GranularLocking};
use crate::coordinator::{Core, CoreParts, Inspections, LateWrites, Restored, restore};
use crate::current::Current;
use crate::events::{Hub, Webhook};
use crate::executor::{Holds, MemoryInUse, MemoryWatch, RecordWrites, ResourceLimits, Resources, Runner};
use crate::heal::{HealProgress, Healer};
use crate::instance::{Client, Health, Registry, Target};
use crate::journal::retention::ApplicationQuota;
use crate::journal::{Journal, JournalOptions, Store};
use crate::lease::Lease;
use crate::process::Observer;
use crate::proxy::{Admission, Edge, EdgeSlot, Objects, Vouch};
use crate::rejoin::{FirstLook, Inspector, Rejoin};
use crate::wire::{Descriptors, VisitorLimits, Visitors};

/// The parts that exist before the journal is loaded.
pub(super) struct Components {
    pub config: Current<Config>,
    pub options: Options,
    pub reloader: Arc<Reloader>,
    pub registry: Arc<Registry>,
    pub store: Arc<dyn Store>,
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
    /// Passed on by the program that this one has replaced.
    pub placements: Option<String>,
}

/// The active edge.
pub(super) struct Active {
    pub core: Arc<Core>,
    /// Resolves when clients are let in.
    pub serving: oneshot::Receiver<()>,
}

impl Components {
    /// Loads the journal. Only reads, except that it completes the statuses which an earlier edge left open when it ended.
    pub async fn load(&self) -> Result<Restored, StartError> {
        let names = self.registry.names();
        self.store.begin(&names, Timestamp::now()).await?;
        Ok(restore(self.store.as_ref(), &names, self.config.get().limits.merge).await?)
    }

    /// Builds the rooms that need the journal, and gives each service its work.
    pub fn activate(mut self, restored: Restored, first_look: FirstLook) -> Active {
        let config = self.config.get();
        let resources = self.resources(&config);
        let journal_options = JournalOptions { timeout: config.journal_timeout, ..JournalOptions::default() };
        let (journal, unconnected) = Journal::open(Arc::clone(&self.store), journal_options);
        let parts = CoreParts {
            registry: Arc::clone(&self.registry),
            store: Arc::clone(&self.store),
            lease: Arc::clone(&self.lease),
            journal: journal.clone(),
            applications: ApplicationQuota::new(self.options.retention.clone()),
            requests: Arc::clone(&resources) as _,
        };
        let (core, work) = Core::new(restored, parts);
        // Placements no longer apply once another edge has held the journal.
        if let Some(placements) = self.placements.take().filter(|_| first_look == FirstLook::InstancesAndAdoption) {
            core.resume(&placements);
        }
        let task = unconnected.connect(Arc::clone(&core) as _);
        let (streams, of_one) = (config.limits.event_streams, config.limits.event_streams_per_address);
        let hub = Hub::new(Arc::clone(&self.store), streams, of_one);
        let webhook = self.target.take().zip(config.webhook.as_ref()).map(|(target, webhook)| {
            let options = webhook.options.clone();
            Webhook::new(Arc::clone(&self.store), journal.clone(), target, options, shown_in_event)
        });
        let listeners = Listeners { hub: Arc::clone(&hub), webhook: webhook.as_ref().map(Webhook::gauges) };
        let events = EventService { hub, reports: journal.reports(), webhook };
        let inspections = Arc::new(Inspections::default());
        let (served, serving) = oneshot::channel();
        let runner = Runner::new(
            Arc::clone(&core),
            resources,
            self.client(&config),
            self.options.runner.clone(),
            Arc::clone(&inspections),
        );
        let memory = MemoryWatch::new(Arc::clone(&core), config.limits.merge, self.memory_in_use());
        let rejoin = self.rejoin(&core, &config, first_look);
        let (healer, healing) = self.healer(&core, &config);
        let audits = Arc::<AuditReport>::default();
        let auditor = self.auditor(&core, &config, &audits);
        let (edge, observer) = self.edge(&core, &config, listeners, (healing, audits));
        let (edge_slot, listen) = (self.edge_slot.clone(), config.listen);
        let ready = Box::new(move || {
            edge_slot.open(edge);
            tracing::info!(%listen, "serving");
            // The receiver is gone if the process is about to end.
            let _ = served.send(());
        });
        let retention = self.retention(&core);
        self.hand_out.give(
            JournalService { task, stop: self.journal_stopped, lost: self.lost },
            ExecutorService { runner, work, memory },
            RejoinService { rejoin, inspections, ready },
            (HealService(healer), AuditService(auditor)),
            retention,
            (events, observer),
        );
        Active { core, serving }
    }

    fn resources(&self, config: &Config) -> Arc<Resources> {
        // The cache has no key: it gets a part of the memory configured for bodies.
        let limits = ResourceLimits {
            cached_bytes: config.limits.admission.buffered_bytes as u64 / 4,
            holds: Holds { writers: config.batching.hold, replicas: config.batching.replica_lag },
            concurrent_attempts: config.limits.admission.concurrent_attempts,
            record_writes: match config.granular_locking {
                GranularLocking::Enabled => RecordWrites::SideBySide,
                GranularLocking::Disabled => RecordWrites::OneByOne,
            },
        };
        let instances = self.registry.ids().len();
        Resources::new(Arc::clone(&self.store), instances, Arc::clone(&self.late_writes), &limits)
    }

    /// Returns how full memory is, in percent of its limit: that of the bodies or of the process, whichever is higher.
    fn memory_in_use(&self) -> MemoryInUse {
        // The process's memory takes longer to read and changes more slowly.
        const EACH: u32 = 4;
        let (admission, observer) = (Arc::clone(&self.admission), Observer::default());
        let (mut looks, mut process) = (0_u32, 0.0);
        Box::new(move || {
            if looks.is_multiple_of(EACH) {
                process = observer.memory().and_then(|memory| memory.percent()).unwrap_or_default();
            }
            looks = looks.wrapping_add(1);
            admission.bodies_percent().max(process)
        })
    }

    fn client(&self, config: &Config) -> Client {
        let most = config.limits.answer_bytes.as_usize();
        Client::new(Arc::clone(&self.registry)).with_max_answer_bytes(most)
    }

    fn rejoin(&self, core: &Arc<Core>, config: &Config, first_look: FirstLook) -> Rejoin {
        let tenants = config.adopt.tenants.clone();
        let inspector = Inspector::new(Arc::clone(core), self.client(config), tenants);
        Rejoin::new(Arc::clone(core), inspector, self.client(config), self.options.rejoin.clone(), first_look)
    }

    fn healer(&self, core: &Arc<Core>, config: &Config) -> (Healer, Arc<HealProgress>) {
        let progress = Arc::new(HealProgress::default());
        let options = self.options.heal.clone();
        let (client, late_writes) = (self.client(config), Arc::clone(&self.late_writes));
        (Healer::new(Arc::clone(core), client, late_writes, options, Arc::clone(&progress)), progress)
    }

    fn auditor(&self, core: &Arc<Core>, config: &Config, report: &Arc<AuditReport>) -> Auditor {
        Auditor::new(Arc::clone(core), self.client(config), self.options.audit.clone(), Arc::clone(report))
    }

    fn retention(&self, core: &Arc<Core>) -> RetentionService {
        RetentionService {
            store: Arc::clone(&self.store),
            options: self.options.retention.clone(),
            core: Arc::clone(core),
        }
    }

    /// Builds the proxy, and the observer for its pages.
    fn edge(
        &self,
        core: &Arc<Core>,
        config: &Config,
        listeners: Listeners,
        progress: (Arc<HealProgress>, Arc<AuditReport>),
    ) -> (Edge, ObserverService) {
        let (health, admission) = (Arc::clone(&self.health), Arc::clone(&self.admission));
        let vouch = Vouch::new(Arc::clone(core), config.vouch.clone(), self.options.quarantine_wait.clone());
        let (shared, known) = (Arc::clone(&admission), Arc::clone(&vouch));
        let objects = Objects::new(config.limits.collection_cache_bytes.as_usize());
        let (options, reload) = (self.options.admin.clone(), Arc::clone(&self.reloader) as _);
        let of_admin = (known, Arc::clone(&objects));
        let (parts, others) = ((Arc::clone(core), shared, Arc::clone(&health)), (progress, self.earlier(core, config)));
        let pages = Admin::new(parts, listeners, of_admin, others, (options, reload));
        let pages = Arc::new(pages);
        let (observer, proxy) = (ObserverService(Arc::clone(&pages)), self.options.proxy.clone());
        let edge = Edge::new(Arc::clone(core), health, admission, pages, self.client(config), (vouch, objects), proxy);
        (edge, observer)
    }
}

impl Components {
    /// Builds the pages under an earlier system's names.
    fn earlier(&self, core: &Arc<Core>, config: &Config) -> Earlier {
        let (core, admission, health) = (Arc::clone(core), Arc::clone(&self.admission), Arc::clone(&self.health));
        Earlier::new(core, admission, health, self.client(config), self.options.admin.clone())
    }
}

pub(super) fn registry(config: &Config) -> Result<Arc<Registry>, StartError> {
    let registry = Registry::new(config.instances.clone(), options::timeouts(config), config.health);
    registry.map_err(|error| StartError::Setup(error.to_string()))
}

/// Returns where events are posted, if anywhere.
pub(super) fn target(config: &Config) -> Result<Option<Target>, StartError> {
    let target =
        config.webhook.as_ref().map(|webhook| Target::new("webhook", webhook.url.clone(), webhook.ca_file.clone()));
    target.transpose().map_err(|error| StartError::Setup(error.to_string()))
}

pub(super) fn admission(config: &Config, descriptors: Descriptors) -> Arc<Admission> {
    let (wanted, possible) = (config.limits.wire.connections, descriptors.connections());
    if wanted > possible {
        tracing::warn!(
            descriptors = descriptors.0,
            connections = possible,
            wanted,
            "this process may open too few files for limits.connections: raise its limit (LimitNOFILE, ulimit -n)"
        );
    }
    let limits = VisitorLimits {
        connections: wanted.min(possible),
        per_address: config.limits.wire.connections_per_address.min(possible),
        proxies: config.proxy.entrance.trusted.clone(),
    };
    Admission::new(config.limits.admission.clone(), Visitors::new(limits))
}
