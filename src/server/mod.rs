//! The composition root: opens the store, registers Pingora's services, and serves until SIGTERM.
//!
//! Which rooms there are and how they are joined is said in [`house`], who holds the journal and what that allows in
//! [`tenure`], how the process ends in [`stop`].

mod house;
mod services;
mod stop;
mod store;
mod tenure;

use std::sync::Arc;

use pingora::server::Server;
use pingora::services::background::background_service;
use tokio::sync::{mpsc, oneshot};
use tracing::info;

use self::house::House;
use self::services::{Task, tasks};
use self::stop::Stopper;
use self::store::{Claiming, Opened};
use self::tenure::{Begin, Keeper, Tenancy};
use crate::admin::StandbyPages;
use crate::config::Config;
use crate::instance::Health;
use crate::journal::{CommitError, ReadError};
use crate::journal::{postgres, sqlite};
use crate::lease::Lease;
use crate::proxy::{Front, Standing};
use crate::replication::FirstLook;

/// Why the edge cannot serve.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error(transparent)]
    Journal(#[from] sqlite::OpenError),
    #[error(transparent)]
    SharedJournal(#[from] postgres::OpenError),
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

/// Serves until SIGTERM. Does not return then: the process ends with code 0 when everything is flushed. It ends with
/// code 1 when another edge has taken over the journal, or the journal turns out to be unusable.
///
/// # Errors
/// When a room cannot be built.
pub fn serve(mut config: Config) -> Result<(), StartError> {
    // Found out before anything else is started; Pingora would end the process without a word of why.
    drop(
        std::net::TcpListener::bind(config.listen)
            .map_err(|error| StartError::Listen { address: config.listen, error })?,
    );
    let registry = house::registry(&config)?;
    let Opened { store, tenure, kind, claiming } = store::open(&config)?;
    let pingora = std::mem::take(&mut config.pingora);
    let config = Arc::new(config);
    let health = background_service("health", Health::new(Arc::clone(&registry)).map_err(|e| setup(&e))?);
    let (gate, standing, lease) = (house::gate(&config), Arc::<Standing>::default(), Arc::new(Lease::none()));
    let pages = Arc::new(StandbyPages::new(Arc::clone(&standing), kind));
    let front = Front::new(Arc::clone(&standing), pages, Arc::clone(&gate));
    let (hand_out, tasks) = tasks();
    let (lost, losses) = mpsc::channel(1);
    let (stop_journal, journal_stopped) = oneshot::channel();
    let tenancy = Tenancy::new(tenure, Arc::clone(&lease), standing, config.settle_time);
    let house = House {
        config: Arc::clone(&config),
        registry,
        store,
        kind,
        lease,
        health: health.task(),
        gate: Arc::clone(&gate),
        door: front.door(),
        hand_out,
        target: house::target(&config)?,
        lost,
        journal_stopped,
    };
    let begin = match claiming {
        Claiming::Ours => {
            // A runtime of its own, gone before Pingora starts its threads.
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let runtime = runtime.map_err(StartError::Runtime)?;
            let restored = runtime.block_on(house.load())?;
            house.lease.hold_for_life();
            Begin::Active(house.activate(restored, FirstLook::InstancesAndAdoption))
        }
        Claiming::Needed => Begin::Claim(Box::new(house)),
    };
    let keeper = Task::now(Keeper { tenancy: Arc::clone(&tenancy), begin, losses });
    let stopper = Stopper::new(gate, tenancy, config.shutdown_grace, stop_journal);

    info!(listen = %config.listen, instances = config.instances.len(), "starting");
    let mut server = Server::new_with_opt_and_conf(None, pingora);
    server.bootstrap();
    let mut proxy = pingora::proxy::http_proxy_service(&server.configuration, front);
    proxy.add_tcp(&config.listen.to_string());
    let mut keeper = background_service("tenure", keeper);
    // Renewing must not wait for the journal's loading.
    keeper.threads = Some(2);
    server.add_service(background_service("journal", tasks.journal));
    server.add_service(background_service("sync", tasks.sync));
    server.add_service(background_service("retention", tasks.retention));
    server.add_service(background_service("events", tasks.events));
    server.add_service(background_service("stop", stopper));
    let recovery = server.add_service(background_service("recovery", tasks.recovery));
    let keeper = server.add_service(keeper);
    let health = server.add_service(health);
    let proxy = server.add_service(proxy);
    recovery.add_dependency(&health);
    proxy.add_dependency(&keeper);
    server.run_forever();
}

fn setup(error: &pingora::Error) -> StartError {
    StartError::Setup(error.to_string())
}
