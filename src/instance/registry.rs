//! All instances and what is known of each: phase, address, requests in flight, last error.
//!
//! Shared by every runtime of the process. Locks are held for a few instructions and never across an await. It decides
//! nothing by itself: [`Condition`] has the rules, and probes, client and lanes supply the observations.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use pingora::protocols::l4::socket;
use pingora::upstreams::peer::HttpPeer;
use tokio::sync::watch;

use super::load::{Flights, InFlight, Load};
use super::options::{HealthOptions, InstanceOptions, Timeouts, UpstreamHeaders};
use super::outages::Outages;
use super::peer::{self, SetupError};
use super::phase::{Condition, Observation, Phase, Rules};
use super::presence::{Line, Presence};
use super::reads::Reads;
use super::url::InstanceUrl;
use crate::clock::{self, Timestamp};
use crate::current::Current;
use crate::ids::{InstanceId, InstanceName};

/// How many times an instance has returned or been replaced. An inspection is valid only for the generation it was made in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Generation(pub u64);

/// The outcome of [`Registry::admit`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    Admitted,
    /// The instance went away, or returned again, since it was inspected.
    Superseded,
}

/// The configured instances, in order of preference.
pub struct Registry {
    instances: Vec<Instance>,
    pub(super) timeouts: Current<Timeouts>,
    pub(super) health: Current<HealthOptions>,
    pub(super) changes: watch::Sender<u64>,
}

pub(super) struct Instance {
    name: InstanceName,
    pub(super) load: Arc<Load>,
    pub(super) reads: Mutex<Reads>,
    state: Mutex<State>,
}

pub(super) struct State {
    pub(super) options: InstanceOptions,
    url: Arc<InstanceUrl>,
    /// Changes with everything a connection to it depends on.
    pub(super) revision: u64,
    condition: Condition,
    since: Timestamp,
    generation: Generation,
    outages: Outages,
    presence: Presence,
    last_error: Option<String>,
    address: Option<SocketAddr>,
    peer: Arc<HttpPeer>,
}

impl Registry {
    /// Creates the registry of these instances, none of them probed yet. Reads their files.
    pub fn new(
        instances: Vec<InstanceOptions>,
        timeouts: Timeouts,
        health: HealthOptions,
    ) -> Result<Arc<Registry>, SetupError> {
        let instances: Result<Vec<Instance>, SetupError> =
            instances.into_iter().map(|options| Instance::new(options, &timeouts, &health)).collect();
        Ok(Arc::new(Registry {
            instances: instances?,
            timeouts: Current::new(timeouts),
            health: Current::new(health),
            changes: watch::Sender::new(0),
        }))
    }

    /// Every instance, the most preferred first.
    pub fn ids(&self) -> impl DoubleEndedIterator<Item = InstanceId> + ExactSizeIterator + use<> {
        (0..self.instances.len()).map(InstanceId)
    }

    /// The names of the configured instances, in their order.
    pub fn names(&self) -> Vec<InstanceName> {
        self.ids().map(|id| self.name(id).clone()).collect()
    }

    /// The instance with this name.
    pub fn id_of(&self, name: &str) -> Option<InstanceId> {
        self.ids().find(|id| self.name(*id).as_str() == name)
    }

    /// Its configured name.
    pub fn name(&self, id: InstanceId) -> &InstanceName {
        &self.instance(id).name
    }

    /// The headers sent with every request to it.
    pub fn headers(&self, id: InstanceId) -> UpstreamHeaders {
        self.state(id).options.headers.clone()
    }

    /// Its configured URL.
    pub fn url(&self, id: InstanceId) -> Arc<InstanceUrl> {
        Arc::clone(&self.state(id).url)
    }

    /// The configured timeouts.
    pub fn timeouts(&self) -> Timeouts {
        *self.timeouts.get()
    }

    /// How instances are probed.
    pub fn health(&self) -> HealthOptions {
        *self.health.get()
    }

    /// Its current phase.
    pub fn phase(&self, id: InstanceId) -> Phase {
        self.state(id).condition.phase()
    }

    /// Returns whether real traffic may go to it now: Up or Suspect.
    pub fn usable(&self, id: InstanceId) -> bool {
        self.phase(id).usable()
    }

    /// When its phase last changed.
    pub fn since(&self, id: InstanceId) -> Timestamp {
        self.state(id).since
    }

    /// Its latest error, for people.
    pub fn last_error(&self, id: InstanceId) -> Option<String> {
        self.state(id).last_error.clone()
    }

    /// Returns how many times it has returned, including the first time it was found alive, or was found to be replaced.
    pub fn generation(&self, id: InstanceId) -> Generation {
        self.state(id).generation
    }

    /// Returns how long its recent outages typically took; `None` if it has not been away since this edge started.
    pub fn typical_outage(&self, id: InstanceId) -> Option<Duration> {
        self.state(id).outages.typical()
    }

    /// The number of requests under way to it.
    pub fn in_flight(&self, id: InstanceId) -> usize {
        self.instance(id).load.count()
    }

    /// Counts one more request under way to it, until the guard is dropped.
    pub fn enter(&self, id: InstanceId) -> InFlight {
        self.instance(id).load.enter()
    }

    /// Returns whether a request that has just ended because the instance died was the only one.
    pub fn flights(&self, id: InstanceId) -> Flights {
        self.instance(id).load.flights()
    }

    /// Its address, once it is known.
    pub fn address(&self, id: InstanceId) -> Option<SocketAddr> {
        self.state(id).address
    }

    /// Returns how to connect to it, with every timeout set; `None` while its name is not resolved. Connections are
    /// pooled per generation: one opened before it went away is never used after it returned.
    pub fn peer(&self, id: InstanceId) -> Option<Arc<HttpPeer>> {
        let state = self.state(id);
        state.address.map(|_| Arc::clone(&state.peer))
    }

    /// Returns how to connect to it, with the address still to be filled in.
    pub(super) fn template(&self, id: InstanceId) -> HttpPeer {
        self.state(id).peer.as_ref().clone()
    }

    /// Records an observation of the instance.
    pub fn observe(&self, id: InstanceId, seen: Observation) {
        self.note(id, seen, None);
    }

    /// Records a failure of the instance, with the reason to show to people.
    pub fn observe_because(&self, id: InstanceId, seen: Observation, reason: &str) {
        self.note(id, seen, Some(reason));
    }

    /// Lets real traffic go to an instance that was inspected in the generation `inspected`.
    pub fn admit(&self, id: InstanceId, inspected: Generation) -> Admission {
        let state = self.state(id);
        if state.generation != inspected || state.condition.phase() != Phase::Returned {
            return Admission::Superseded;
        }
        let condition = state.condition.admitted();
        self.change(id, state, condition);
        Admission::Admitted
    }

    /// Resolves as soon as the instance is Down; at once if it is Down already.
    pub fn departed(&self, id: InstanceId) -> impl Future<Output = ()> + Send + '_ {
        // Going down and returning between two checks counts as a departure too.
        self.departed_since(id, self.generation(id))
    }

    /// Resolves as soon as the instance is Down, or has been Down since this generation.
    pub async fn departed_since(&self, id: InstanceId, generation: Generation) {
        let mut changes = self.changes.subscribe();
        while self.phase(id) != Phase::Down && self.generation(id) == generation {
            if changes.changed().await.is_err() {
                return;
            }
        }
    }

    /// Returns a receiver that changes whenever the phase of any instance changes.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// Records the address that the instance's name was resolved to.
    pub(super) fn located(&self, id: InstanceId, address: SocketAddr) {
        let mut state = self.state(id);
        state.address = Some(address);
        Arc::make_mut(&mut state.peer)._address = socket::SocketAddr::Inet(address);
    }

    pub(super) fn instance(&self, id: InstanceId) -> &Instance {
        &self.instances[id.0]
    }

    pub(super) fn state(&self, id: InstanceId) -> MutexGuard<'_, State> {
        self.instance(id).state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, id: InstanceId, seen: Observation, reason: Option<&str>) {
        let rules = Rules::new(self.health().failures);
        let mut state = self.state(id);
        if let Some(reason) = reason {
            state.last_error = Some(reason.to_owned());
        }
        let condition = state.condition.after(seen, clock::now(), &rules);
        if seen == Observation::Replaced {
            // Earlier answers may have come from the other server.
            state.begin_generation();
        }
        self.change(id, state, condition);
    }

    fn change(&self, id: InstanceId, mut state: MutexGuard<'_, State>, condition: Condition) {
        let (before, after) = (state.condition.phase(), condition.phase());
        state.condition = condition;
        let now = clock::now();
        let line = match (before, after) {
            (Phase::Down, Phase::Down) => state.presence.missed(now),
            (_, Phase::Down) => state.presence.left(now),
            // First contact: no log line has reported it down.
            (Phase::Unknown, Phase::Returned) => Line::Nothing,
            (Phase::Down, Phase::Returned) => state.presence.returned(),
            (Phase::Returned, Phase::Up) => state.presence.came(),
            (Phase::Up, Phase::Up) => state.presence.stays(now),
            _ => Line::Nothing,
        };
        self.tell(id, line, &state);
        if before == after {
            return;
        }
        state.since = Timestamp::now();
        match after {
            Phase::Down => state.outages.begins(now),
            Phase::Up => state.outages.ends(now),
            Phase::Unknown | Phase::Suspect | Phase::Returned => {}
        }
        if after == Phase::Returned {
            state.begin_generation();
        }
        let reason = state.last_error.clone().unwrap_or_default();
        drop(state);
        if after == Phase::Returned {
            self.reads_begin_anew(id);
        }
        let (instance, before, after) = (self.name(id), before.as_str(), after.as_str());
        tracing::debug!(%instance, before, after, reason, "an instance's phase has changed");
        self.tick();
    }

    pub(super) fn tick(&self) {
        self.changes.send_modify(|tick| *tick += 1);
    }

    fn tell(&self, id: InstanceId, line: Line, state: &State) {
        let instance = self.name(id);
        let reason = state.last_error.as_deref().unwrap_or_default();
        match line {
            Line::Nothing => {}
            Line::Down => tracing::warn!(%instance, reason, "instance is down"),
            Line::StillDown(lasted) => {
                let (seconds, times) = (lasted.time.as_secs(), lasted.times);
                tracing::warn!(%instance, reason, seconds, times, "instance is still down, or down again");
            }
            Line::Returned => tracing::info!(%instance, "instance has returned and will be inspected"),
            Line::Up => tracing::info!(%instance, "instance is up"),
            Line::UpForGood(lasted) => {
                let (seconds, times) = (lasted.time.as_secs(), lasted.times);
                tracing::info!(%instance, seconds, times, "instance has stopped going down repeatedly");
            }
        }
    }
}

impl State {
    fn begin_generation(&mut self) {
        self.generation.0 += 1;
        Arc::make_mut(&mut self.peer).group_key = self.generation.0;
    }

    /// Applies these options to connections opened from now on.
    pub(super) fn configure(&mut self, options: InstanceOptions, timeouts: &Timeouts) -> Result<(), SetupError> {
        if options.url != self.options.url {
            self.address = options.url.literal();
        }
        let mut peer = connects(&options, timeouts, self.address)?;
        peer.group_key = self.generation.0;
        self.peer = Arc::new(peer);
        self.url = Arc::new(options.url.clone());
        self.options = options;
        self.revision += 1;
        Ok(())
    }
}

impl Instance {
    fn new(options: InstanceOptions, timeouts: &Timeouts, health: &HealthOptions) -> Result<Self, SetupError> {
        let address = options.url.literal();
        let peer = connects(&options, timeouts, address)?;
        let name = options.name.clone();
        let state = State {
            url: Arc::new(options.url.clone()),
            options,
            revision: 0,
            condition: Condition::new(),
            since: Timestamp::now(),
            generation: Generation(0),
            outages: Outages::default(),
            presence: Presence::new(),
            last_error: None,
            address,
            peer: Arc::new(peer),
        };
        Ok(Instance { name, load: Load::new(), reads: Mutex::new(Reads::new(&health.reads)), state: Mutex::new(state) })
    }
}

fn connects(
    options: &InstanceOptions,
    timeouts: &Timeouts,
    address: Option<SocketAddr>,
) -> Result<HttpPeer, SetupError> {
    let mut peer = peer::template(options, timeouts)?;
    if let Some(address) = address {
        peer._address = socket::SocketAddr::Inet(address);
    }
    Ok(peer)
}

#[cfg(test)]
mod tests {
    use pingora::upstreams::peer::Peer;

    use super::super::options::Trust;
    use super::*;

    const ONLY: InstanceId = InstanceId(0);

    fn registry(url: &str) -> Arc<Registry> {
        let url = InstanceUrl::parse(url).unwrap();
        let options = InstanceOptions {
            name: InstanceName::new("primary"),
            url,
            trust: Trust::default(),
            headers: UpstreamHeaders::default(),
        };
        Registry::new(vec![options], Timeouts::default(), HealthOptions::default()).unwrap()
    }

    #[test]
    fn an_inspection_admits_only_the_return_it_looked_at() {
        let registry = registry("http://127.0.0.1:1");
        registry.observe(ONLY, Observation::ProbeOk);
        let seen = registry.generation(ONLY);
        registry.observe(ONLY, Observation::Refused);
        assert_eq!(registry.admit(ONLY, seen), Admission::Superseded);
        registry.observe(ONLY, Observation::ProbeOk);
        assert_eq!(registry.admit(ONLY, seen), Admission::Superseded);
        assert!(!registry.usable(ONLY));
        assert_eq!(registry.admit(ONLY, registry.generation(ONLY)), Admission::Admitted);
        assert!(registry.usable(ONLY));
        assert_eq!(registry.admit(ONLY, registry.generation(ONLY)), Admission::Superseded, "it is up already");
    }

    #[tokio::test]
    async fn departed_resolves_when_it_goes_down_even_if_it_is_back_before_anyone_looks() {
        let registry = registry("http://127.0.0.1:1");
        registry.observe(ONLY, Observation::ProbeOk);
        let departed = registry.departed(ONLY);
        registry.observe(ONLY, Observation::Unanswered);
        registry.observe(ONLY, Observation::Refused);
        registry.observe(ONLY, Observation::ProbeOk);
        tokio::time::timeout(Duration::from_secs(5), departed).await.unwrap();
        let waiting = tokio::time::timeout(Duration::from_millis(20), registry.departed(ONLY));
        assert!(waiting.await.is_err(), "it has returned and not left since");
        registry.observe(ONLY, Observation::Refused);
        registry.departed(ONLY).await;
    }

    #[tokio::test]
    async fn changes_tick_only_when_a_phase_changes() {
        let registry = registry("http://127.0.0.1:1");
        let mut changes = registry.changes();
        registry.observe_because(ONLY, Observation::ProbeFailed, "no answer");
        assert!(!changes.has_changed().unwrap());
        assert_eq!(registry.last_error(ONLY).as_deref(), Some("no answer"));
        registry.observe(ONLY, Observation::ProbeOk);
        assert!(changes.has_changed().unwrap());
        changes.mark_unchanged();
        registry.observe(ONLY, Observation::ProbeOk);
        assert!(!changes.has_changed().unwrap());
    }

    #[test]
    fn a_server_that_was_replaced_is_another_one_at_once() {
        let registry = registry("http://127.0.0.1:1");
        registry.observe(ONLY, Observation::ProbeOk);
        let seen = registry.generation(ONLY);
        registry.observe(ONLY, Observation::Replaced);
        let replaced = registry.generation(ONLY);
        assert_ne!(replaced, seen, "before it returns");
        registry.observe(ONLY, Observation::ProbeOk);
        assert_ne!(registry.generation(ONLY), replaced);
        assert_eq!(registry.admit(ONLY, replaced), Admission::Superseded);
    }

    #[test]
    fn requests_under_way_are_counted_until_they_end() {
        let registry = registry("http://127.0.0.1:1");
        let (first, second) = (registry.enter(ONLY), registry.enter(ONLY));
        assert_eq!(registry.in_flight(ONLY), 2);
        drop(first);
        drop(second);
        assert_eq!(registry.in_flight(ONLY), 0);
    }

    #[test]
    fn a_peer_has_every_timeout_and_a_pool_of_its_own_for_each_generation() {
        let registry = registry("http://127.0.0.1:8101");
        let peer = registry.peer(ONLY).unwrap();
        assert_eq!(peer.address().to_string(), "127.0.0.1:8101");
        let options = &peer.options;
        let set = [
            options.connection_timeout,
            options.total_connection_timeout,
            options.read_timeout,
            options.write_timeout,
            options.idle_timeout,
        ];
        assert!(set.iter().all(Option::is_some));
        assert!(options.tcp_keepalive.is_some(), "a connection whose other end is gone does not live for ever");
        registry.observe(ONLY, Observation::ProbeOk);
        assert_ne!(registry.peer(ONLY).unwrap().reuse_hash(), peer.reuse_hash());
    }

    #[test]
    fn a_name_has_no_peer_until_it_is_resolved() {
        let registry = registry("http://chroma.invalid:8101");
        assert!(registry.peer(ONLY).is_none());
        registry.located(ONLY, "127.0.0.9:8101".parse().unwrap());
        assert_eq!(registry.peer(ONLY).unwrap().address().to_string(), "127.0.0.9:8101");
    }
}
