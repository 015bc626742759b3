//! The composition root: opens the store, registers Pingora's services, and serves until SIGTERM.
//!
//! [`components`] defines which rooms there are and how they are joined, [`leadership`] holds the journal and decides
//! what that allows, and [`stop`] ends the process.

mod components;
mod handover;
mod image;
mod leadership;
mod listeners;
mod options;
mod reload;
mod services;
mod signals;
mod start_error;
mod stop;
mod store;
mod traces;

use std::sync::Arc;

use pingora::server::configuration::ServerConf;
use pingora::server::{RunArgs, Server};
use pingora::services::ServiceHandle;
use pingora::services::background::{GenBackgroundService, background_service};
use tokio::sync::{mpsc, oneshot};
use tracing::info;

use self::components::Components;
use self::handover::Handover;
use self::image::{Image, Inherited};
use self::leadership::{Begin, LeaseHolder, LeaseRenewer};
use self::listeners::Sockets;
use self::options::{Options, ProcessLimits};
use self::reload::Reloader;
use self::services::{Task, Tasks, tasks};
use self::signals::Signals;
pub use self::start_error::StartError;
use self::stop::Stopper;
use self::store::{Claiming, Opened};
use self::traces::TraceService;
use crate::admin::StandbyPages;
use crate::config::{Config, JournalStore, SetLog};
use crate::current::Current;
use crate::instance::Health;
use crate::lease::Lease;
use crate::process::forbid_core_dumps;
use crate::proxy::{Listener, StandbyState};
use crate::rejoin::FirstLook;
use crate::wire::Descriptors;

/// Serves until SIGTERM and does not return: the process ends with code 0 once everything is flushed. It ends with code
/// 1 if another edge has taken over the journal, or if the journal turns out to be unusable.
///
/// # Errors
/// A room cannot be built.
pub fn serve(mut config: Config, set_log: SetLog) -> Result<(), StartError> {
    // A separate runtime, gone before Pingora starts its threads.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(StartError::Runtime)?;
    signals::ignore_from_now_on(&runtime).map_err(StartError::Runtime)?;
    let mut inherited = Inherited::take();
    let handover = Handover::new(Image::of_this_process().map_err(StartError::Runtime)?);
    let sockets = Sockets::of(&config, &mut inherited)?;
    forbid_core_dumps();
    let registry = components::registry(&config)?;
    let Opened { store, leadership, kind, claiming } = store::open(&config)?;
    let pingora = std::mem::take(&mut config.pingora);
    let process = ProcessLimits { workers: pingora.threads, kept_connections: pingora.upstream_keepalive_pool_size };
    let config = Current::new(config);
    let begun = config.get();
    let options = Options::of(&begun, kind, process);
    let health = background_service("health", Health::new(Arc::clone(&registry)).map_err(|e| setup(&e))?);
    let (standby, lease) = (Arc::<StandbyState>::default(), Arc::new(Lease::none()));
    let holder = LeaseHolder::new(leadership, Arc::clone(&lease), Arc::clone(&standby), options.settle_time.clone());
    let reloader = Reloader::new(
        config.clone(),
        (options.clone(), Arc::clone(&registry)),
        (Arc::clone(&handover), Arc::clone(&holder)),
        set_log,
    );
    let admission = components::admission(&begun, Descriptors::raised());
    let pages = Arc::new(StandbyPages::new(Arc::clone(&standby), kind, Arc::clone(&reloader) as _));
    let listener = listeners::listener(&begun, (standby, pages, options.proxy.clone()), &admission);
    let (hand_out, tasks) = tasks();
    let (lost, losses) = mpsc::channel(1);
    let (stop_journal, journal_stopped) = oneshot::channel();
    let components = Components {
        config,
        options,
        reloader: Arc::clone(&reloader),
        registry,
        store,
        lease,
        late_writes: Arc::clone(holder.late_writes()),
        health: health.task(),
        admission: Arc::clone(&admission),
        edge_slot: listener.edge_slot(),
        hand_out,
        target: components::target(&begun)?,
        lost,
        journal_stopped,
        placements: inherited.placements,
    };
    let begin = match claiming {
        Claiming::Ours => {
            let restored = runtime.block_on(components.load())?;
            components.lease.hold_for_life();
            Begin::Active(components.activate(restored, FirstLook::InstancesAndAdoption))
        }
        Claiming::Needed => Begin::Claim(Box::new(components)),
    };
    drop(runtime);
    let renewer = Task::now(LeaseRenewer { holder: Arc::clone(&holder), begin, losses });
    let stopper = Stopper::new(admission, (holder, Arc::clone(&handover)), begun.shutdown_grace, stop_journal);

    let renewer = background_service("leadership", renewer);
    let services = (health, renewer, background_service("stop", stopper));
    let traces = traces::service(&begun)?;
    run(pingora, services, (tasks, traces), (listener, sockets), (&begun, reloader, handover))
}

/// Runs the services in Pingora. Returns only on an error.
fn run(
    pingora: ServerConf,
    (health, mut renewer, stopper): (
        GenBackgroundService<Health>,
        GenBackgroundService<Task<LeaseRenewer>>,
        GenBackgroundService<Stopper>,
    ),
    (tasks, traces): (Tasks, Option<Task<TraceService>>),
    (listener, sockets): (Listener, Sockets),
    (begun, reloader, handover): (&Config, Arc<Reloader>, Arc<Handover>),
) -> Result<(), StartError> {
    say_what_starts(begun);
    let mut server = Server::new_with_opt_and_conf(None, pingora);
    server.bootstrap();
    let (listening, doors) = listeners::services(&server, (listener, sockets), begun)?;
    handover.set_doors(doors);
    // Renewing the lease must not wait until the journal is loaded.
    renewer.threads = Some(2);
    server.add_service(stopper);
    if let Some(traces) = traces {
        server.add_service(background_service("traces", traces));
    }
    let rejoin = add_tasks(&mut server, tasks);
    let renewer = server.add_service(renewer);
    let health = server.add_service(health);
    rejoin.add_dependency(&health);
    for service in listening {
        server.add_service(service).add_dependency(&renewer);
    }
    server.run(RunArgs { shutdown_signal: Box::new(Signals { reloader, handover }) });
    // Pingora has ended its services; `stop` ends the rest of the process.
    std::process::exit(0);
}

fn say_what_starts(config: &Config) {
    let journal = match &config.journal.store {
        // By default it is in the folder where the process was started.
        JournalStore::Sqlite { path } => std::path::absolute(path).as_ref().unwrap_or(path).display().to_string(),
        JournalStore::Postgres { url } => url.to_string(),
    };
    info!(listen = %config.listen, instances = config.instances.len(), journal, "starting");
    info!("access: {}", config.proxy.entrance.gate.summary());
}

/// Adds the services that need the journal. Returns the one that others wait for.
fn add_tasks(server: &mut Server, tasks: Tasks) -> ServiceHandle {
    server.add_service(background_service("journal", tasks.journal));
    server.add_service(background_service("executor", tasks.executor));
    server.add_service(background_service("heal", tasks.heal));
    server.add_service(background_service("audit", tasks.audit));
    server.add_service(background_service("retention", tasks.retention));
    server.add_service(background_service("events", tasks.events));
    server.add_service(background_service("observer", tasks.observer));
    server.add_service(background_service("rejoin", tasks.rejoin))
}

fn setup(error: &pingora::Error) -> StartError {
    StartError::Setup(error.to_string())
}
