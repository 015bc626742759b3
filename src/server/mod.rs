//! The composition root: opens the store, registers Pingora's services, and serves until SIGTERM.
//!
//! Which rooms there are and how they are joined is said in [`components`], who holds the journal and what that allows in
//! [`leadership`], how the process ends in [`stop`].

mod components;
mod leadership;
mod services;
mod signals;
mod start_error;
mod stop;
mod store;

use std::sync::Arc;

use pingora::server::{RunArgs, Server};
use pingora::services::ServiceHandle;
use pingora::services::background::background_service;
use tokio::sync::{mpsc, oneshot};
use tracing::info;

use self::components::Components;
use self::leadership::{Begin, LeaseHolder, LeaseRenewer};
use self::services::{Task, Tasks, tasks};
use self::signals::Signals;
pub use self::start_error::StartError;
use self::stop::Stopper;
use self::store::{Claiming, Opened};
use crate::admin::StandbyPages;
use crate::config::Config;
use crate::instance::Health;
use crate::lease::Lease;
use crate::proxy::{Listener, StandbyState};
use crate::rejoin::FirstLook;

/// Serves until SIGTERM. Does not return then: the process ends with code 0 when everything is flushed. It ends with
/// code 1 when another edge has taken over the journal, or the journal turns out to be unusable.
///
/// # Errors
/// When a room cannot be built.
pub fn serve(mut config: Config) -> Result<(), StartError> {
    // A runtime of its own, gone before Pingora starts its threads.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(StartError::Runtime)?;
    signals::ignore_from_now_on(&runtime).map_err(StartError::Runtime)?;
    // Tried before anything else is started: Pingora would end the process without saying why.
    drop(bind(config.listen)?);
    let registry = components::registry(&config)?;
    let Opened { store, leadership, kind, claiming } = store::open(&config)?;
    let pingora = std::mem::take(&mut config.pingora);
    let config = Arc::new(config);
    let health = background_service("health", Health::new(Arc::clone(&registry)).map_err(|e| setup(&e))?);
    let (standby, lease) = (Arc::<StandbyState>::default(), Arc::new(Lease::none()));
    let admission = components::admission(&config);
    let pages = Arc::new(StandbyPages::new(Arc::clone(&standby), kind));
    let listener = Listener::new(Arc::clone(&standby), pages, Arc::clone(&admission));
    let (hand_out, tasks) = tasks();
    let (lost, losses) = mpsc::channel(1);
    let (stop_journal, journal_stopped) = oneshot::channel();
    let holder = LeaseHolder::new(leadership, Arc::clone(&lease), standby, config.settle_time);
    let components = Components {
        config: Arc::clone(&config),
        registry,
        store,
        kind,
        lease,
        late_writes: Arc::clone(holder.late_writes()),
        health: health.task(),
        admission: Arc::clone(&admission),
        edge_slot: listener.edge_slot(),
        hand_out,
        target: components::target(&config)?,
        lost,
        journal_stopped,
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
    let stopper = Stopper::new(admission, holder, config.shutdown_grace, stop_journal);

    info!(listen = %config.listen, instances = config.instances.len(), "starting");
    let mut server = Server::new_with_opt_and_conf(None, pingora);
    server.bootstrap();
    let mut proxy = pingora::proxy::http_proxy_service(&server.configuration, listener);
    proxy.add_tcp(&config.listen.to_string());
    let mut renewer = background_service("leadership", renewer);
    // Renewing must not wait for the journal's loading.
    renewer.threads = Some(2);
    server.add_service(background_service("stop", stopper));
    let rejoin = add_tasks(&mut server, tasks);
    let renewer = server.add_service(renewer);
    let health = server.add_service(health);
    let proxy = server.add_service(proxy);
    rejoin.add_dependency(&health);
    proxy.add_dependency(&renewer);
    server.run(RunArgs { shutdown_signal: Box::new(Signals) });
    // Pingora has ended its services; what is left of the process is ended by `stop`.
    std::process::exit(0);
}

/// Adds the services that need the journal. Returned: the one that others wait for.
fn add_tasks(server: &mut Server, tasks: Tasks) -> ServiceHandle {
    server.add_service(background_service("journal", tasks.journal));
    server.add_service(background_service("executor", tasks.executor));
    server.add_service(background_service("heal", tasks.heal));
    server.add_service(background_service("audit", tasks.audit));
    server.add_service(background_service("retention", tasks.retention));
    server.add_service(background_service("events", tasks.events));
    server.add_service(background_service("rejoin", tasks.rejoin))
}

fn bind(address: std::net::SocketAddr) -> Result<std::net::TcpListener, StartError> {
    std::net::TcpListener::bind(address).map_err(|error| StartError::Listen { address, error })
}

fn setup(error: &pingora::Error) -> StartError {
    StartError::Setup(error.to_string())
}
