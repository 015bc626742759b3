//! What the edge knows about the instances' contents: whether each has been inspected since the edge started, which
//! tenants clients have named, what could not be inspected, and the collections' indexes.
//!
//! It decides nothing: `rejoin/` inspects and reports here, and the executor and the proxy read it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use super::demands::CopyDoubts;
use super::differences::Differences;
use super::indexes::Indexes;
use super::markers::Markers;
use super::repairs::Repairs;
use super::servers::Servers;
use crate::ids::{InstanceId, shown};

/// The most tenants that are remembered because clients have named them and an instance has them. Any others are
/// adopted when a collection of theirs is created.
const MOST_TENANTS: usize = 1024;

/// For each instance, the most parts that are listed as not inspected.
const MOST_UNSEEN: usize = 32;

/// What is known about the instances' contents.
#[derive(Debug)]
pub struct Discovery {
    seen: Vec<AtomicBool>,
    tenants: Mutex<BTreeSet<String>>,
    unseen: Mutex<BTreeMap<InstanceId, Vec<String>>>,
    servers: Servers,
    markers: Markers,
    indexes: Indexes,
    differences: Differences,
    doubts: CopyDoubts,
    /// How often each server's process may have been replaced unnoticed.
    endings: Vec<AtomicU64>,
    repairs: Repairs,
    ticks: watch::Sender<u64>,
}

impl Discovery {
    /// Creates the state for this many instances, with nothing known about them.
    pub fn new(instances: usize, markers: Markers) -> Discovery {
        Discovery {
            seen: (0..instances).map(|_| AtomicBool::new(false)).collect(),
            tenants: Mutex::default(),
            unseen: Mutex::default(),
            servers: Servers::new(instances),
            markers,
            indexes: Indexes::default(),
            differences: Differences::default(),
            doubts: CopyDoubts::default(),
            endings: (0..instances).map(|_| AtomicU64::new(0)).collect(),
            repairs: Repairs::default(),
            ticks: watch::Sender::new(0),
        }
    }

    /// What is known about the servers' markers.
    pub fn markers(&self) -> &Markers {
        &self.markers
    }

    /// What the servers can do.
    pub fn servers(&self) -> &Servers {
        &self.servers
    }

    /// Notes that a connection to the server has ended: another process may answer now, with the same data.
    pub fn may_be_another_process(&self, instance: InstanceId) {
        self.endings[instance.0].fetch_add(1, Ordering::Relaxed);
    }

    /// Returns how often the server's process may have been replaced.
    pub fn endings(&self, instance: InstanceId) -> u64 {
        self.endings[instance.0].load(Ordering::Relaxed)
    }

    /// The copies whose repair in place has begun.
    pub fn repairs(&self) -> &Repairs {
        &self.repairs
    }

    /// The copies to check.
    pub fn doubts(&self) -> &CopyDoubts {
        &self.doubts
    }

    /// The collections' indexes.
    pub fn indexes(&self) -> &Indexes {
        &self.indexes
    }

    /// The copies that existed before the edge and differ.
    pub fn differences(&self) -> &Differences {
        &self.differences
    }

    /// Returns whether everything that the instance held when the edge started is in the catalog, or on its way there.
    pub fn is_seen(&self, instance: InstanceId) -> bool {
        self.seen[instance.0].load(Ordering::Acquire)
    }

    /// Notes that the first inspection of the instance is over, and what it found is adopted.
    pub(crate) fn saw(&self, instance: InstanceId) {
        if !self.seen[instance.0].swap(true, Ordering::AcqRel) {
            self.ticks.send_modify(|tick| *tick += 1);
        }
    }

    /// Returns a receiver that changes when an instance has been seen for the first time.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.ticks.subscribe()
    }

    /// Notes that some instance has this tenant: inspections look into it from now on.
    pub fn hear_of(&self, tenant: &str) {
        let mut tenants = self.tenants.lock().unwrap_or_else(PoisonError::into_inner);
        if tenants.len() < MOST_TENANTS {
            tenants.insert(tenant.to_owned());
        }
    }

    /// The tenants that clients have named.
    pub(crate) fn tenants(&self) -> BTreeSet<String> {
        self.tenants.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Notes that these parts of the instance could not be inspected, and that it was admitted without them. Returns
    /// those that were not known before.
    pub(crate) fn not_seen<'a>(&self, instance: InstanceId, parts: impl Iterator<Item = &'a str>) -> Vec<String> {
        let mut unseen = self.unseen();
        let before = unseen.remove(&instance).unwrap_or_default();
        let now: Vec<String> = parts.take(MOST_UNSEEN).map(|part| shown(part).into_owned()).collect();
        let new = now.iter().filter(|part| !before.contains(part)).cloned().collect();
        unseen.insert(instance, now);
        new
    }

    /// Returns which parts of the instance could not be inspected, shortened.
    pub fn unseen_on(&self, instance: InstanceId) -> Vec<String> {
        self.unseen().get(&instance).cloned().unwrap_or_default()
    }

    fn unseen(&self) -> MutexGuard<'_, BTreeMap<InstanceId, Vec<String>>> {
        self.unseen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
