//! Probing: pingora-load-balancing drives it, the registry decides the phase.
//!
//! The load balancer's own health flags are not used: they start out healthy before anything is probed, and have only
//! two states. It provides the schedule, discovery, parallel probes and a fair rotation. A heartbeat only shows that
//! the process answers. A dead write path shows up in real traffic ([`Observation::Broken`]).

use std::collections::{BTreeSet, HashMap};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use http::Extensions;
use pingora::http::RequestHeader;
use pingora::lb::discovery::ServiceDiscovery;
use pingora::lb::health_check::{HealthCheck, HttpHealthCheck};
use pingora::lb::selection::RoundRobin;
use pingora::lb::{Backend, Backends, LoadBalancer};
use pingora::protocols::l4::socket;
use pingora::server::ShutdownWatch;
use pingora::services::ServiceReadyNotifier;
use pingora::services::background::BackgroundService;
use pingora::{Error, ErrorType, Result};

use super::phase::{Observation, Phase};
use super::registry::Registry;
use super::resolve::resolve;
use super::traffic::Ended;
use super::url::Tls;
use super::words::in_words;
use crate::clock::{self, Timestamp};
use crate::ids::InstanceId;

/// The probe. An instance answers it even during a long write, and it costs next to nothing.
pub(super) const HEARTBEAT: &str = "/api/v2/heartbeat";
/// How many times per round an instance that is down is probed, within these bounds. It rejoins when it answers.
const LOOKS_PER_ROUND: u32 = 8;
const BETWEEN_LOOKS: [Duration; 2] = [Duration::from_millis(50), Duration::from_millis(500)];

/// The background service that probes all instances, and the rotation among equally good ones.
///
/// Register it with `background_service("health", Health::new(registry)?)`; `task()` returns the value to call `select`
/// on. Services that depend on it start after the first round of probes.
pub struct Health {
    balancer: LoadBalancer<RoundRobin>,
    returns: Probes,
    registry: Arc<Registry>,
}

impl Health {
    /// Creates the service with the registry's [`HealthOptions`](super::HealthOptions). Fails only if a probe request
    /// cannot be built from a configured host name.
    pub fn new(registry: Arc<Registry>) -> Result<Health> {
        let discovery = Discovery { registry: Arc::clone(&registry) };
        let mut balancer = LoadBalancer::<RoundRobin>::from_backends(Backends::new(Box::new(discovery)));
        balancer.set_health_check(Box::new(Probes::new(&registry)?));
        balancer.parallel_health_check = true;
        let returns = Probes::new(&registry)?;
        Ok(Health { balancer, returns, registry })
    }

    /// Returns one of the candidates, in rotation. The caller makes sure that they are equally good. Returns `None`
    /// only if there are none.
    pub fn select(&self, candidates: &[InstanceId]) -> Option<InstanceId> {
        // The common case. The rotation below looks at every instance.
        if let [only] = candidates {
            return Some(*only);
        }
        let listed = |backend: &Backend, _| at(&self.registry, backend).is_some_and(|id| candidates.contains(&id));
        let steps = self.registry.ids().len();
        let chosen = self.balancer.select_with(b"", steps, listed);
        // Before the first discovery the balancer has no backends.
        chosen.and_then(|backend| at(&self.registry, &backend)).or_else(|| candidates.first().copied())
    }

    async fn run(&self, mut shutdown: ShutdownWatch) {
        tokio::select! {
            () = self.probe_regularly() => {}
            () = self.watch_for_returns() => {}
            _ = shutdown.wait_for(|stop| *stop) => {}
        }
    }

    /// Replaces the balancer's own loop, which keeps its initial interval for good.
    async fn probe_regularly(&self) {
        loop {
            let next = clock::runtime_now() + self.registry.health().interval;
            tokio::time::sleep_until(next).await;
            self.probe().await;
        }
    }

    /// Probes instances that are down more often than the rounds do. Sends nothing while none is down.
    async fn watch_for_returns(&self) {
        let [shortest, longest] = BETWEEN_LOOKS;
        loop {
            let pause = (self.registry.health().interval / LOOKS_PER_ROUND).clamp(shortest, longest);
            tokio::time::sleep(pause).await;
            let backends = self.balancer.backends().get_backend();
            let is_down = |backend: &&Backend| {
                at(&self.registry, backend).is_some_and(|id| self.registry.phase(id) == Phase::Down)
            };
            futures::future::join_all(backends.iter().filter(is_down).map(|backend| self.returns.check(backend))).await;
        }
    }

    /// Probes every instance now. Probes keep no connections, so this can be called on any runtime.
    pub async fn probe(&self) {
        if let Err(error) = self.balancer.update().await {
            tracing::warn!(%error, "cannot discover the instances");
        }
        self.balancer.backends().run_health_check(true).await;
    }
}

#[async_trait]
impl BackgroundService for Health {
    async fn start_with_ready_notifier(&self, shutdown: ShutdownWatch, ready: ServiceReadyNotifier) {
        let mut stop = shutdown.clone();
        tokio::select! {
            () = self.probe() => {}
            _ = stop.wait_for(|stop| *stop) => return,
        }
        ready.notify_ready();
        self.run(shutdown).await;
    }

    async fn start(&self, shutdown: ShutdownWatch) {
        let mut stop = shutdown.clone();
        tokio::select! {
            () = self.probe() => {}
            _ = stop.wait_for(|stop| *stop) => return,
        }
        self.run(shutdown).await;
    }
}

/// Returns the instance at a backend's address. It is looked up each time: backends are compared by address alone, so
/// an extension of the backend would go stale when two names exchange their addresses.
fn at(registry: &Registry, backend: &Backend) -> Option<InstanceId> {
    let address = backend.addr.as_inet()?;
    registry.ids().find(|id| registry.address(*id) == Some(*address))
}

struct Discovery {
    registry: Arc<Registry>,
}

#[async_trait]
impl ServiceDiscovery for Discovery {
    async fn discover(&self) -> Result<(BTreeSet<Backend>, HashMap<u64, bool>)> {
        resolve(&self.registry, self.registry.health().timeout).await;
        let mut taken: HashMap<SocketAddr, InstanceId> = HashMap::new();
        for id in self.registry.ids() {
            let Some(address) = self.registry.address(id) else { continue };
            if let Some(other) = taken.get(&address) {
                // Two names for one server would execute every write twice on it and count it as two copies.
                let reason = format!("{address} is instance {} already", self.registry.name(*other));
                self.registry.observe_because(id, Observation::Refused, &reason);
                continue;
            }
            taken.insert(address, id);
        }
        let backend = |address| Backend { addr: socket::SocketAddr::Inet(address), weight: 1, ext: Extensions::new() };
        Ok((taken.into_keys().map(backend).collect(), HashMap::new()))
    }
}

/// A prepared probe, with the instance's revision and the time limit it was built for.
type Prepared = ((u64, Duration), Arc<HttpHealthCheck>);

/// One prepared probe per instance.
struct Probes {
    registry: Arc<Registry>,
    probes: Mutex<HashMap<InstanceId, Prepared>>,
}

impl Probes {
    fn new(registry: &Arc<Registry>) -> Result<Self> {
        let probes = Probes { registry: Arc::clone(registry), probes: Mutex::default() };
        for id in registry.ids() {
            probes.of(id, registry.health().timeout)?;
        }
        Ok(probes)
    }

    fn of(&self, id: InstanceId, timeout: Duration) -> Result<Arc<HttpHealthCheck>> {
        let fits = (self.registry.revision(id), timeout);
        let mut probes = self.probes.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((made_for, probe)) = probes.get(&id)
            && *made_for == fits
        {
            return Ok(Arc::clone(probe));
        }
        let made = Arc::new(probe(&self.registry, id, timeout)?);
        probes.insert(id, (fits, Arc::clone(&made)));
        Ok(made)
    }

    async fn probe(&self, id: InstanceId, target: &Backend) -> Result<()> {
        let timeout = self.registry.health().timeout;
        let probe = self.of(id, timeout)?;
        match tokio::time::timeout(timeout, probe.check(target)).await {
            Ok(result) => result,
            Err(_) => Error::e_explain(ErrorType::ReadTimedout, format!("no heartbeat within {timeout:?}")),
        }
    }
}

fn probe(registry: &Registry, id: InstanceId, timeout: Duration) -> Result<HttpHealthCheck> {
    let url = registry.url(id);
    let mut probe = HttpHealthCheck::new(url.host(), url.tls() == Tls::Yes);
    probe.peer_template = registry.template(id);
    for limit in [
        &mut probe.peer_template.options.connection_timeout,
        &mut probe.peer_template.options.total_connection_timeout,
        &mut probe.peer_template.options.read_timeout,
        &mut probe.peer_template.options.write_timeout,
    ] {
        *limit = Some(timeout);
    }
    probe.req = RequestHeader::build("GET", HEARTBEAT.as_bytes(), None)?;
    probe.req.insert_header("Host", url.authority())?;
    registry.headers(id).put(&mut probe.req)?;
    Ok(probe)
}

#[async_trait]
impl HealthCheck for Probes {
    /// Probes once, and immediately once more if that fails: a hung server is detected within one round, and one lost
    /// packet does not count.
    async fn check(&self, target: &Backend) -> Result<()> {
        let Some(id) = at(&self.registry, target) else { return Ok(()) };
        let first = self.probe(id, target).await;
        let result = match report(&self.registry, id, first) {
            Err(_) if self.registry.phase(id) != Phase::Down => {
                report(&self.registry, id, self.probe(id, target).await)
            }
            result => result,
        };
        tracing::trace!(instance = %self.registry.name(id), phase = self.registry.phase(id).as_str(), "probed");
        result
    }

    fn health_threshold(&self, _success: bool) -> usize {
        1
    }
}

fn report(registry: &Registry, id: InstanceId, result: Result<()>) -> Result<()> {
    let how = if result.is_ok() { Ended::Answered } else { Ended::Failed };
    registry.traffic(id).probed(how, Timestamp::now());
    match &result {
        Ok(()) => registry.observe(id, Observation::ProbeOk),
        Err(error) if error.etype() == &ErrorType::ConnectRefused => {
            registry.observe_because(id, Observation::Refused, &format!("probe: {}", in_words(error)));
        }
        Err(error) => {
            registry.observe_because(id, Observation::ProbeFailed, &format!("probe: {}", in_words(error)));
        }
    }
    result
}

#[cfg(test)]
mod tests {
    use super::super::options::{HealthOptions, InstanceOptions, Timeouts, Trust, UpstreamHeaders};
    use super::super::url::InstanceUrl;
    use super::*;
    use crate::ids::InstanceName;

    fn registry(urls: &[&str]) -> Arc<Registry> {
        let options = |(place, url): (usize, &&str)| InstanceOptions {
            name: InstanceName::new(&format!("i{place}")),
            url: InstanceUrl::parse(url).unwrap(),
            trust: Trust::default(),
            headers: UpstreamHeaders::default(),
        };
        let instances = urls.iter().enumerate().map(options).collect();
        Registry::new(instances, Timeouts::default(), HealthOptions::default()).unwrap()
    }

    #[tokio::test]
    async fn the_rotation_gives_each_candidate_its_turn() {
        let registry = registry(&["http://127.0.0.1:1", "http://127.0.0.1:2", "http://127.0.0.1:3"]);
        let health = Health::new(Arc::clone(&registry)).unwrap();
        let [a, b, c] = [0, 1, 2].map(InstanceId);
        assert_eq!(health.select(&[c]), Some(c), "before the first discovery");
        health.balancer.update().await.unwrap();
        let mut seen = [0; 3];
        for _ in 0..30 {
            seen[health.select(&[a, b, c]).unwrap().0] += 1;
        }
        assert_eq!(seen, [10, 10, 10]);
        for _ in 0..30 {
            assert!(matches!(health.select(&[a, c]), Some(id) if id != b));
            assert_eq!(health.select(&[b]), Some(b));
        }
        assert_eq!(health.select(&[]), None);
    }

    #[tokio::test]
    async fn two_names_for_one_server_do_not_count_as_two_instances() {
        let registry = registry(&["http://127.0.0.1:7", "http://localhost:7"]);
        let health = Health::new(Arc::clone(&registry)).unwrap();
        health.balancer.update().await.unwrap();
        assert_eq!(registry.phase(InstanceId(1)), Phase::Down);
        assert_eq!(registry.last_error(InstanceId(1)).unwrap(), "127.0.0.1:7 is instance i0 already");
        assert_eq!(health.balancer.backends().get_backend().len(), 1);
    }
}
